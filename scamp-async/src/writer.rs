//! A body on its way out.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::AsyncWrite;
use scamp_proto::SendError;
use scamp_proto::session::SendId;

use crate::shared::Shared;

/// The body of a request or a reply, to be written piece by piece.
///
/// It is an [`AsyncWrite`], and with the feature `tokio` also tokio's; closing it, or shutting it
/// down, is [`finish`](Self::finish). Writing waits while as much is under way as may be (A-6,
/// A-9); nothing needs flushing.
///
/// Dropped unfinished, it ends with TXERR `message abandoned`, so that the peer does not take it
/// for complete (S-4). Writing fails with [`io::ErrorKind::ConnectionReset`] if the connection is
/// lost, and with [`io::ErrorKind::BrokenPipe`] if nobody wants the body any more; the [`SendError`]
/// is inside the [`io::Error`].
///
/// # Example
///
/// ```
/// use futures_util::AsyncWriteExt;
/// use scamp_async::{BodyWriter, Bytes};
///
/// async fn send_log(mut body: BodyWriter) -> Result<(), Box<dyn std::error::Error>> {
///     body.write_all(b"first line\n").await?; // copied
///     body.write_bytes(Bytes::from_static(b"last line\n")).await?; // lent
///     body.finish().await?;
///     Ok(())
/// }
/// ```
pub struct BodyWriter {
    shared: Arc<Shared>,
    id: SendId,
    state: State,
}

#[derive(Debug, Eq, PartialEq)]
enum State {
    Open,
    Finished,
}

impl BodyWriter {
    pub(crate) fn new(shared: Arc<Shared>, id: SendId) -> Self {
        Self {
            shared,
            id,
            state: State::Open,
        }
    }

    /// Sends octets without copying them, and returns when all are queued.
    ///
    /// Dropped before, it leaves some of them sent and some not.
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if nobody wants the body any more; [`SendError::Closed`] once the
    /// connection has ended.
    pub async fn write_bytes(&mut self, octets: impl Into<Bytes>) -> Result<(), SendError> {
        let mut octets = octets.into();
        while !octets.is_empty() {
            poll_fn(|cx| self.poll_send(cx, &mut octets)).await?;
        }
        Ok(())
    }

    /// Ends the body in the ordinary way. What is queued leaves without further ado.
    ///
    /// # Errors
    ///
    /// As [`write_bytes`](Self::write_bytes).
    pub async fn finish(mut self) -> Result<(), SendError> {
        self.end()
    }

    /// Ends the body with an error text, which the peer sees as the body's end (S-10).
    ///
    /// # Errors
    ///
    /// As [`write_bytes`](Self::write_bytes).
    pub fn fail(mut self, text: &str) -> Result<(), SendError> {
        self.state = State::Finished;
        self.shared.with(|state, now| {
            state.touch();
            state.session().fail(now, self.id, text)
        })
    }

    fn end(&mut self) -> Result<(), SendError> {
        if self.state == State::Finished {
            return Ok(());
        }
        self.state = State::Finished;
        self.shared.with(|state, now| {
            state.touch();
            state.session().finish(now, self.id)
        })
    }

    /// Queues octets from the front of `octets`, at least one if there is one.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        octets: &mut Bytes,
    ) -> Poll<Result<usize, SendError>> {
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let id = self.id;
        self.shared
            .with(|state, now| match state.session().write(now, id, octets) {
                Ok(0) => {
                    let mut waker = state.writers.remove(&id);
                    state.wakers.park(&mut waker, cx);
                    state.writers.extend(waker.map(|waker| (id, waker)));
                    Poll::Pending
                }
                sent => {
                    state.touch();
                    Poll::Ready(sent)
                }
            })
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.state == State::Finished {
            return Poll::Ready(Err(write_error(SendError::NotOpen)));
        }
        let piece = octets.get(..COPIED).unwrap_or(octets);
        self.poll_send(cx, &mut Bytes::copy_from_slice(piece))
            .map_err(write_error)
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        self.shared.with(|state, now| {
            if self.state == State::Open {
                state.session().drop_body(now, self.id);
                state.touch();
            }
            let waker = state.writers.remove(&self.id);
            state.wakers.discard(waker);
        });
    }
}

impl AsyncWrite for BodyWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_copy(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().end().map_err(write_error))
    }
}

#[cfg(feature = "tokio")]
impl tokio::io::AsyncWrite for BodyWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_copy(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().end().map_err(write_error))
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter")
            .field("id", &self.id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a body that cannot be sent is to a writer of octets (R-14).
fn write_error(error: SendError) -> io::Error {
    let kind = match error {
        SendError::Closed => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::BrokenPipe,
    };
    io::Error::new(kind, error)
}

/// Octets copied at a time by writers that do not lend theirs: as much as a window holds at first.
const COPIED: usize = 65_536;
