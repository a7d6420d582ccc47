//! A body on its way out.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use scamp_proto::SendError;
use scamp_proto::limits::CHUNK;
use scamp_proto::session::SendId;

use crate::link::{Link, Wait};
use crate::waiters::Key;

/// A body on its way out: of a request, a reply, or a notification.
///
/// Small writes are gathered into chunks of 32 KiB. A chunk is handed over when it is full, at
/// [`flush`](io::Write::flush) and at [`finish`](Self::finish), and waits there for as long as the
/// peer takes nothing; the header leaves with the first one. Larger pieces go without a copy by
/// [`write_bytes`](Self::write_bytes).
///
/// Dropped before [`finish`](Self::finish) the body ends with TXERR `message abandoned`, so that the
/// peer never takes it for complete (S-4).
///
/// # Errors of writing
///
/// An error wraps the [`SendError`], and has kind [`BrokenPipe`](io::ErrorKind::BrokenPipe): the
/// connection has ended, or nobody wants the body any more, for instance because the reply to the
/// request is already complete (S-13).
pub struct BodyWriter {
    link: Arc<Link>,
    id: SendId,
    chunk: BytesMut,
    open: bool,
}

impl BodyWriter {
    pub(crate) fn new(link: Arc<Link>, id: SendId) -> Self {
        Self {
            link,
            id,
            chunk: BytesMut::new(),
            open: true,
        }
    }

    /// Hands over `octets`, after what was written before, without copying them.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] and [`SendError::NotOpen`]: nobody wants the body any more.
    pub fn write_bytes(&mut self, octets: Bytes) -> Result<(), SendError> {
        self.hand_over()?;
        self.send(octets)
    }

    /// Ends the body in the ordinary way.
    ///
    /// # Errors
    ///
    /// As [`write_bytes`](Self::write_bytes).
    pub fn finish(mut self) -> Result<(), SendError> {
        self.open = false;
        let rest = self.chunk.split().freeze();
        self.put(rest, true)
    }

    /// Ends the body with an error; what the peer has not got yet is dropped (S-10).
    ///
    /// # Errors
    ///
    /// As [`write_bytes`](Self::write_bytes).
    pub fn fail(mut self, text: &str) -> Result<(), SendError> {
        self.open = false;
        let mut core = self.link.lock();
        core.session().fail(self.link.now(), self.id, text)?;
        core.deliver();
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), SendError> {
        match self.chunk.is_empty() {
            true => Ok(()),
            false => {
                let chunk = self.chunk.split().freeze();
                self.send(chunk)
            }
        }
    }

    fn send(&mut self, octets: Bytes) -> Result<(), SendError> {
        self.put(octets, false)
    }

    fn put(&self, mut octets: Bytes, is_last: bool) -> Result<(), SendError> {
        let id = self.id;
        let mut core = self.link.lock();
        let put = core.wait(|core, now| {
            let session = core.session();
            match session.write(now, id, &mut octets) {
                Ok(_) if !octets.is_empty() => Wait::For(Key::Send(id)),
                Ok(_) if is_last => Wait::Done(session.finish(now, id)),
                Ok(_) => Wait::Done(Ok(())),
                Err(error) => Wait::Done(Err(error)),
            }
        });
        core.deliver();
        put
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= CHUNK {
            self.hand_over().map_err(io_error)?;
        }
        let room = CHUNK - self.chunk.len();
        let taken = octets.get(..room).unwrap_or(octets);
        self.chunk.extend_from_slice(taken);
        Ok(taken.len())
    }

    /// Hands over what was written, and returns when the socket has taken it, as far as the peer's
    /// window goes.
    fn flush(&mut self) -> io::Result<()> {
        let chunk = self.chunk.split().freeze();
        self.send(chunk).map_err(io_error)?;
        self.link.lock().wait_flushed();
        Ok(())
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if self.open {
            let mut core = self.link.lock();
            core.session().drop_body(self.link.now(), self.id);
            core.flush_or_leave();
        }
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyWriter").field(&self.id.msgno()).finish()
    }
}

fn io_error(error: SendError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}
