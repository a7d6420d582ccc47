//! What comes back for a request.

use std::fmt;
use std::str::Utf8Error;
use std::sync::Arc;

use bytes::Bytes;
use scamp_proto::session::ExchangeId;
use scamp_proto::wire::RemoteError;
use scamp_proto::{BodyError, CallError, Header};

use crate::body::Body;
use crate::core::Outcome;
use crate::link::{Link, Wait};
use crate::waiters::Key;

/// A reply with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    /// The reply's header.
    pub header: Header,
    /// The reply's body.
    pub body: Bytes,
}

impl Response {
    /// The reply's body as text.
    ///
    /// # Errors
    ///
    /// [`Utf8Error`] if it is none.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.body)
    }
}

/// A request that has been sent, or is being sent.
///
/// Dropped, the request is given up (S-14).
pub struct PendingReply {
    link: Arc<Link>,
    id: ExchangeId,
    /// Whether the request's body is sent on when the reply's is dropped.
    keep_sending: bool,
    open: bool,
    told: Option<Told>,
}

/// Who else wants to know what becomes of a request: whether its reply is good, or `None` if it was
/// given up.
type Told = Box<dyn FnOnce(Option<Result<(), &CallError>>) + Send>;

impl PendingReply {
    pub(crate) fn new(link: Arc<Link>, id: ExchangeId, keep_sending: bool) -> Self {
        Self {
            link,
            id,
            keep_sending,
            open: true,
            told: None,
        }
    }

    /// Tells somebody what becomes of the request.
    pub(crate) fn then(
        mut self,
        told: impl FnOnce(Option<Result<(), &CallError>>) + Send + 'static,
    ) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// The request; its number is the request's id.
    pub fn id(&self) -> ExchangeId {
        self.id
    }

    /// Waits for the reply to begin.
    ///
    /// # Errors
    ///
    /// [`CallError::NoReply`]. A reply that reports an error is a reply: see
    /// [`IncomingReply::error`].
    pub fn wait(mut self) -> Result<IncomingReply, CallError> {
        self.open = false;
        let reply: Result<_, CallError> = match outcome(&self.link, self.id) {
            Outcome::Reply { header, body } => {
                let exchange = (!self.keep_sending).then_some(self.id);
                let body = Body::streaming(self.link.clone(), body, exchange);
                Ok(IncomingReply { header, body })
            }
            Outcome::Failed(error) => Err(error.into()),
            // Only a subscription is answered so.
            Outcome::Subscribed(_) => Err(BodyError::Cancelled.into()),
        };
        if let Some(told) = self.told.take() {
            let error = match &reply {
                Ok(reply) => reply.error().map(CallError::from),
                Err(error) => Some(error.clone()),
            };
            told(Some(error.as_ref().map_or(Ok(()), Err)));
        }
        reply
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if self.open {
            let mut core = self.link.lock();
            core.forget(self.link.now(), self.id);
            core.flush_or_leave();
            drop(core);
            if let Some(told) = self.told.take() {
                told(None);
            }
        }
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingReply").field(&self.id).finish()
    }
}

/// A reply that has begun.
#[derive(Debug)]
pub struct IncomingReply {
    /// The reply's header.
    pub header: Header,
    /// The reply's body, as it comes.
    pub body: Body,
}

impl IncomingReply {
    /// The error the reply reports, if it does (H-12).
    pub fn error(&self) -> Option<RemoteError> {
        self.header.error()
    }

    /// Reads the whole body, up to `limit` octets.
    ///
    /// # Errors
    ///
    /// [`CallError::Remote`] if the reply reports an error, [`CallError::Body`] if its body does not
    /// come to its proper end or is larger.
    pub fn whole(self, limit: usize) -> Result<Response, CallError> {
        if let Some(error) = self.error() {
            return Err(error.into());
        }
        let body = self.body.collect(limit)?;
        Ok(Response {
            header: self.header,
            body,
        })
    }
}

pub(crate) fn outcome(link: &Link, id: ExchangeId) -> Outcome {
    link.lock().wait(|core, _| match core.take_outcome(id) {
        Some(outcome) => Wait::Done(outcome),
        None => Wait::For(Key::Exchange(id)),
    })
}
