//! What a handler answers.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;

use bytes::Bytes;

use crate::runtime::Work;
use crate::writer::BodyWriter;

/// The answer of a handler that has one; an error is answered with
/// [`RemoteError`](scamp_proto::wire::RemoteError).
///
/// # Example
///
/// ```
/// use futures_util::AsyncWriteExt;
/// use scamp_async::Reply;
///
/// let whole = Reply::new("\"Hello World\"").extra("served_by", "\"greeter-3\"");
/// let stream = Reply::stream(|mut body| async move {
///     for n in 0..1_000_000 {
///         body.write_all(format!("{n}\n").as_bytes()).await?;
///     }
///     body.finish().await?;
///     Ok(())
/// });
/// ```
pub struct Reply {
    pub(crate) content: Content,
    pub(crate) extras: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

pub(crate) enum Content {
    Whole(Bytes),
    Stream(Box<dyn FnOnce(BodyWriter) -> Work<Produced> + Send>),
}

/// What came of writing a body; nobody but its peer is told why it was not finished.
pub(crate) type Produced = Result<(), Box<dyn Error + Send + Sync>>;

impl Reply {
    /// A reply with this body.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Whole(body.into()),
            extras: Vec::new(),
        }
    }

    /// A reply whose body is written while it leaves.
    ///
    /// `produce` runs after the handler has returned, in the same task, and must
    /// [`finish`](BodyWriter::finish) the body: one that is dropped unfinished, by an error for
    /// instance, ends with TXERR, so that the caller does not take it for complete (S-4).
    pub fn stream<F, W>(produce: F) -> Self
    where
        F: FnOnce(BodyWriter) -> W + Send + 'static,
        W: Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let produce = Box::new(|writer| Box::pin(produce(writer)) as Work<Produced>);
        Self {
            content: Content::Stream(produce),
            extras: Vec::new(),
        }
    }

    /// Adds a field to the header; `json` must be JSON.
    ///
    /// A field that cannot be sent turns the reply into the error `general`.
    pub fn extra(
        mut self,
        name: impl Into<Cow<'static, str>>,
        json: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.extras.push((name.into(), json.into()));
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("extras", &self.extras)
            .finish_non_exhaustive()
    }
}
