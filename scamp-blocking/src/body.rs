//! A body on its way in.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use scamp_proto::session::{AckPolicy, ExchangeId, Read, RecvId};
use scamp_proto::{BodyError, SendError};

use crate::link::{Link, Wait};
use crate::waiters::Key;

/// A body on its way in: of a request, or of a reply.
///
/// Reading it is what acknowledges it, so a slow reader slows its peer. It can be read as
/// [`io::Read`], where 0 octets are its proper end and nothing else is, or in the pieces it came in:
/// [`chunk`](Self::chunk), or `for piece in body`.
///
/// Dropped before its end, what is left of it is discarded; the body of a reply then also gives up
/// its request, whose body is ended with TXERR if it is not complete (S-14).
///
/// # Errors of reading
///
/// An error wraps the [`BodyError`], and has kind [`ConnectionReset`](io::ErrorKind::ConnectionReset)
/// if the connection was lost, [`TimedOut`](io::ErrorKind::TimedOut) if the deadline passed, and
/// [`Other`](io::ErrorKind::Other) in all other cases. It is told again by later reads.
pub struct Body {
    source: Source,
}

enum Source {
    /// All there is.
    Whole(Bytes),
    Link {
        link: Arc<Link>,
        id: RecvId,
        /// The request to give up when this is dropped.
        exchange: Option<ExchangeId>,
    },
    Failed(BodyError),
}

impl Body {
    pub(crate) fn whole(octets: Bytes) -> Self {
        Self {
            source: Source::Whole(octets),
        }
    }

    pub(crate) fn of_request(link: Arc<Link>, id: RecvId) -> Self {
        Self::streaming(link, id, None)
    }

    /// The body of a reply; without `exchange`, dropping it leaves the request alone.
    pub(crate) fn streaming(link: Arc<Link>, id: RecvId, exchange: Option<ExchangeId>) -> Self {
        Self {
            source: Source::Link { link, id, exchange },
        }
    }

    /// The next piece, as it lies in memory; `None` is the end.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if the body did not come to its proper end.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Source::Whole(octets) = &mut self.source {
            let all = std::mem::take(octets);
            return Ok((!all.is_empty()).then_some(all));
        }
        self.read_with(|session, now, id| session.read(now, id))
    }

    /// Reads the rest of the body, if it has at most `limit` octets.
    ///
    /// # Errors
    ///
    /// [`BodyError::BodyTooLarge`], and as [`chunk`](Self::chunk).
    pub fn collect(mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.gather(limit)
    }

    pub(crate) fn gather(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let mut pieces = VecDeque::new();
        let mut len = 0;
        while let Some(piece) = self.chunk()? {
            len += piece.len();
            if len > limit {
                return Err(BodyError::BodyTooLarge(limit));
            }
            pieces.push_back(piece);
        }
        if pieces.len() < 2 {
            return Ok(pieces.pop_front().unwrap_or_default());
        }
        let mut whole = BytesMut::with_capacity(len);
        pieces
            .iter()
            .for_each(|piece| whole.extend_from_slice(piece));
        Ok(whole.freeze())
    }

    /// Sets when octets are acknowledged; [`AckPolicy::OnConsume`] unless set.
    pub fn set_ack_policy(&mut self, policy: AckPolicy) {
        if let Source::Link { link, id, .. } = &self.source {
            let mut core = link.lock();
            core.session().set_ack_policy(link.now(), *id, policy);
            core.flush_or_leave();
        }
    }

    /// Acknowledges `total` octets, counted from the body's start, under [`AckPolicy::Manual`].
    ///
    /// # Errors
    ///
    /// [`SendError::AckOutOfRange`] for more than came or fewer than before, [`SendError::NotOpen`]
    /// at the end.
    pub fn ack(&mut self, total: u64) -> Result<(), SendError> {
        let Source::Link { link, id, .. } = &self.source else {
            return Err(SendError::NotOpen);
        };
        let mut core = link.lock();
        core.session().ack(link.now(), *id, total)?;
        core.flush_or_leave();
        Ok(())
    }

    /// Reads once something is there; `None` is the end.
    fn read_with<T>(
        &mut self,
        mut read: impl FnMut(&mut scamp_proto::Session, scamp_proto::Instant, RecvId) -> Read<T>,
    ) -> Result<Option<T>, BodyError> {
        let (link, id) = match &self.source {
            Source::Whole(_) => return Ok(None),
            Source::Failed(error) => return Err(error.clone()),
            Source::Link { link, id, .. } => (link, *id),
        };
        let mut core = link.lock();
        let result = core.wait(|core, now| match read(core.session(), now, id) {
            Read::Data(octets) => Wait::Done(Ok(Some(octets))),
            Read::End => Wait::Done(Ok(None)),
            Read::Failed(error) => Wait::Done(Err(error)),
            Read::Gone => Wait::Done(Err(BodyError::ConnectionLost)),
            Read::Pending => Wait::For(Key::Body(id)),
        });
        // The octets read are acknowledged now.
        core.flush_or_leave();
        drop(core);
        match &result {
            Ok(Some(_)) => {}
            Ok(None) => self.source = Source::Whole(Bytes::new()),
            Err(error) => self.source = Source::Failed(error.clone()),
        }
        result
    }
}

/// A body of nothing, to leave in the place of one that is taken.
impl Default for Body {
    fn default() -> Self {
        Self::whole(Bytes::new())
    }
}

impl io::Read for Body {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        if let Source::Whole(octets) = &mut self.source {
            return octets.reader().read(room);
        }
        self.read_with(|session, now, id| session.read_into(now, id, room))
            .map(Option::unwrap_or_default)
            .map_err(io_error)
    }
}

impl IntoIterator for Body {
    type Item = Result<Bytes, BodyError>;
    type IntoIter = Chunks;

    fn into_iter(self) -> Chunks {
        Chunks { body: Some(self) }
    }
}

/// The pieces of a body, in the order they came; an error is the last.
#[derive(Debug)]
pub struct Chunks {
    body: Option<Body>,
}

impl Iterator for Chunks {
    type Item = Result<Bytes, BodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.body.as_mut()?.chunk().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.body = None;
        }
        next
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Source::Link { link, id, exchange } = &self.source {
            let mut core = link.lock();
            let now = link.now();
            if let Some(exchange) = exchange {
                core.session().cancel(now, *exchange);
            }
            core.session().discard(now, *id);
            core.flush_or_leave();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Whole(octets) => f.debug_tuple("Body").field(&octets.len()).finish(),
            Source::Link { id, .. } => f.debug_tuple("Body").field(&id.msgno()).finish(),
            Source::Failed(error) => f.debug_tuple("Body").field(error).finish(),
        }
    }
}

fn io_error(error: BodyError) -> io::Error {
    let kind = match &error {
        BodyError::ConnectionLost => io::ErrorKind::ConnectionReset,
        BodyError::Timeout => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
