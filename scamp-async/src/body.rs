//! A body on its way in.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use futures_io::AsyncRead;
use scamp_proto::session::{AckPolicy, ExchangeId, Read, RecvId};
use scamp_proto::{BodyError, SendError};

use crate::shared::Shared;

/// The body of a request or a reply, as it comes.
///
/// It is a [`Stream`] of pieces as they lie in memory, and an [`AsyncRead`]; with the feature
/// `tokio` also tokio's `AsyncRead`. Reading acknowledges, so that a slow reader slows its peer.
///
/// A body that ended with an error is never complete, and its end cannot be taken for an ordinary
/// one (R-14, HD-50): the stream's last item is the error, and every read from then on fails, with
/// [`io::ErrorKind::ConnectionReset`] if the connection was lost and [`io::ErrorKind::Other`]
/// otherwise. The [`BodyError`] is inside the [`io::Error`].
///
/// Dropping it drops what is unread; that of a reply also gives the request up (S-14).
///
/// # Example
///
/// ```
/// use scamp_async::{Body, BodyError};
///
/// async fn count_lines(mut body: Body) -> Result<usize, BodyError> {
///     let mut lines = 0;
///     while let Some(piece) = body.chunk().await? {
///         lines += piece.iter().filter(|octet| **octet == b'\n').count();
///     }
///     Ok(lines)
/// }
/// ```
pub struct Body {
    source: Source,
    /// What was taken and not passed on.
    rest: Bytes,
}

enum Source {
    /// All of it is at hand.
    Whole,
    /// It comes over the connection; if it is a reply's, for this exchange.
    Stream(Arc<Shared>, RecvId, Option<ExchangeId>),
    /// It has ended.
    Ended(Result<(), BodyError>),
}

impl Body {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            source: Source::Whole,
            rest: bytes,
        }
    }

    pub(crate) fn stream(shared: Arc<Shared>, id: RecvId, exchange: Option<ExchangeId>) -> Self {
        Self {
            source: Source::Stream(shared, id, exchange),
            rest: Bytes::new(),
        }
    }

    /// What is there without asking the connection.
    pub(crate) fn at_hand(&self) -> &Bytes {
        &self.rest
    }

    /// The next octets, as they lie in memory; `None` is the end of a complete body.
    ///
    /// # Errors
    ///
    /// Why the body is not complete.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The rest of the body in one piece.
    ///
    /// # Errors
    ///
    /// [`BodyError::BodyTooLarge`] for more than `limit` octets, and why the body is not complete.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let mut whole = BytesMut::new();
        let mut next = Some(first.clone());
        while let Some(piece) = next {
            if piece.len() > limit.saturating_sub(whole.len()) {
                return Err(BodyError::BodyTooLarge(limit));
            }
            next = self.chunk().await?;
            if next.is_none() && whole.is_empty() {
                return Ok(first);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Sets when octets are acknowledged; when they are read, unless told otherwise (A-3).
    pub fn set_ack_policy(&mut self, policy: AckPolicy) {
        if let Source::Stream(shared, id, _) = &self.source {
            shared.with(|state, now| {
                state.session().set_ack_policy(now, *id, policy);
                state.touch();
            });
        }
    }

    /// Acknowledges `total` octets, counted from the body's start, under [`AckPolicy::Manual`].
    ///
    /// # Errors
    ///
    /// [`SendError::AckOutOfRange`] for more than has come or less than before;
    /// [`SendError::NotOpen`] once the body has ended.
    pub fn ack(&mut self, total: u64) -> Result<(), SendError> {
        match &self.source {
            Source::Stream(shared, id, _) => shared.with(|state, now| {
                state.touch();
                state.session().ack(now, *id, total)
            }),
            Source::Whole | Source::Ended(_) => Err(SendError::NotOpen),
        }
    }

    /// Takes the next octets; `None` is the end of a complete body.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        let read = match &self.source {
            Source::Whole => Read::End,
            Source::Ended(end) => return Poll::Ready(end.clone().map(|()| None)),
            Source::Stream(shared, id, _) => {
                let id = *id;
                poll_read(shared, id, cx, |session, now| session.read(now, id))
            }
        };
        match read {
            Read::Data(piece) => Poll::Ready(Ok(Some(piece))),
            Read::Pending => Poll::Pending,
            read => Poll::Ready(self.end(read).map(|()| None)),
        }
    }

    /// Copies the next octets into `room` and says how many; 0 is the end of a complete body.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, BodyError>> {
        if room.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !self.rest.is_empty() {
            let count = room.len().min(self.rest.len());
            self.rest
                .copy_to_slice(room.get_mut(..count).unwrap_or_default());
            return Poll::Ready(Ok(count));
        }
        let read = match &self.source {
            Source::Whole => Read::End,
            Source::Ended(end) => return Poll::Ready(end.clone().map(|()| 0)),
            Source::Stream(shared, id, _) => {
                let id = *id;
                poll_read(shared, id, cx, |session, now| {
                    session.read_into(now, id, room)
                })
            }
        };
        match read {
            Read::Data(count) => Poll::Ready(Ok(count)),
            Read::Pending => Poll::Pending,
            read => Poll::Ready(self.end(read).map(|()| 0)),
        }
    }

    /// Notes how the body ended.
    fn end<T>(&mut self, read: Read<T>) -> Result<(), BodyError> {
        let end = match read {
            Read::Failed(error) => Err(error),
            Read::Gone => Err(BodyError::ConnectionLost),
            Read::End | Read::Data(_) | Read::Pending => Ok(()),
        };
        self.source = Source::Ended(end.clone());
        end
    }
}

/// Reads from the connection, or waits for it.
fn poll_read<T>(
    shared: &Shared,
    id: RecvId,
    cx: &mut Context<'_>,
    read: impl FnOnce(&mut scamp_proto::Session, scamp_proto::Instant) -> Read<T>,
) -> Read<T> {
    shared.with(|state, now| {
        let read = read(state.machine.inner_mut(), now);
        match (&read, state.bodies.get_mut(&id)) {
            // What is read of a body that goes on is acknowledged.
            (Read::Data(_), Some(reader)) if reader.ended => {}
            (Read::Data(_), _) => state.touch(),
            (Read::Pending, _) => {
                let reader = state.bodies.entry(id).or_default();
                state.wakers.park(&mut reader.waker, cx);
            }
            (Read::End | Read::Failed(_) | Read::Gone, _) => {
                let reader = state.bodies.remove(&id);
                state.wakers.discard(reader.and_then(|reader| reader.waker));
                // A connection that drains may be done now.
                if !state.session().is_open() {
                    state.touch();
                }
            }
        }
        read
    })
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Source::Stream(shared, id, exchange) = &self.source {
            shared.with(|state, now| {
                if let Some(exchange) = exchange {
                    return state.drop_exchange(now, *exchange, Some(*id));
                }
                state.session().discard(now, *id);
                let reader = state.bodies.remove(id);
                state.wakers.discard(reader.and_then(|reader| reader.waker));
                state.touch();
            });
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // The error is told once; a stream ends after it.
        if let Source::Ended(_) = this.source {
            return Poll::Ready(None);
        }
        this.poll_chunk(cx).map(Result::transpose)
    }
}

impl AsyncRead for Body {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_copy(cx, room).map_err(read_error)
    }
}

#[cfg(feature = "tokio")]
impl tokio::io::AsyncRead for Body {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.get_mut().poll_copy(cx, room.initialize_unfilled());
        count
            .map_ok(|count| room.advance(count))
            .map_err(read_error)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match &self.source {
            Source::Whole | Source::Stream(..) => None,
            Source::Ended(end) => Some(end),
        };
        f.debug_struct("Body")
            .field("end", &end)
            .finish_non_exhaustive()
    }
}

/// What a failed body is to a reader of octets (R-14).
fn read_error(error: BodyError) -> io::Error {
    let kind = match error {
        BodyError::ConnectionLost => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
