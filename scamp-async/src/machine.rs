//! The machine at one end of a byte stream.

use scamp_proto::{Duplex, End, Instant, Outbox, Session};
use scamp_tls::{Peer, Tls};

/// A session, inside TLS or not.
#[derive(Debug)]
pub(crate) enum Machine {
    /// The session's packets are what passes over the transport.
    Plain(Box<Session>),
    /// TLS records are.
    Tls(Box<Tls<Session>>),
}

impl Machine {
    #[cfg(test)]
    pub(crate) fn session(&self) -> &Session {
        match self {
            Self::Plain(session) => session,
            Self::Tls(tls) => tls.inner(),
        }
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        match self {
            Self::Plain(session) => session,
            Self::Tls(tls) => tls.inner_mut(),
        }
    }

    /// Whether the session can be heard by the peer; stays true afterwards.
    pub(crate) fn is_established(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_established(),
        }
    }

    /// Whom a client has reached.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.peer(),
        }
    }

    fn duplex(&self) -> &dyn Duplex {
        match self {
            Self::Plain(session) => &**session,
            Self::Tls(tls) => &**tls,
        }
    }

    fn duplex_mut(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Plain(session) => &mut **session,
            Self::Tls(tls) => &mut **tls,
        }
    }
}

impl Duplex for Machine {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.duplex_mut().receive(now, bytes);
    }

    fn receive_end(&mut self, now: Instant, end: End) {
        self.duplex_mut().receive_end(now, end);
    }

    fn wants_read(&self) -> bool {
        self.duplex().wants_read()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        self.duplex_mut().poll_transmit(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.duplex().poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.duplex_mut().handle_timeout(now);
    }

    fn is_drained(&self) -> bool {
        self.duplex().is_drained()
    }
}
