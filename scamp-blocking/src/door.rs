//! Where connections come in.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use scamp_proto::service::Occurrence;

use crate::service::Shared;
use crate::socket::Socket;

/// Takes connections in.
pub(crate) struct Door<'a> {
    shared: &'a Arc<Shared>,
    /// Held back, so that a connection can be taken and closed when there are no more files.
    spare: Option<File>,
}

impl<'a> Door<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>) -> Self {
        let mut door = Self {
            shared,
            spare: None,
        };
        door.hold_spare();
        door
    }

    /// Nothing will be accepted any more.
    pub(crate) fn close(&mut self) {
        self.spare = None;
    }

    fn hold_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
    }

    /// Accepts what waits. An error is worth waiting a while.
    pub(crate) fn accept_all(&mut self, listener: &TcpListener) -> io::Result<()> {
        self.hold_spare();
        while !self.shared.is_refusing() {
            match listener.accept() {
                Ok((stream, address)) => self.admit(stream, address)?,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.turn_away(listener);
                        return Err(error);
                    }
                },
            }
        }
        Ok(())
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        if self.shared.is_full() {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            self.shared.tell(Some(address), Occurrence::Refused);
            return Ok(());
        }
        // Some systems hand the listener's mode on.
        stream.set_nonblocking(false)?;
        self.shared
            .serve(Box::new(Socket::from(stream)), Some(address))
    }

    /// Takes a connection only to close it, so that its client need not wait.
    fn turn_away(&mut self, listener: &TcpListener) {
        if self.spare.take().is_some() {
            // There may be none, or another error: all the same now.
            drop(listener.accept());
            self.hold_spare();
        }
    }
}
