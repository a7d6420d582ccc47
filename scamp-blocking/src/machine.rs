//! The machine a link holds.

use scamp_proto::{Duplex, End, Instant, Outbox, Session};
use scamp_tls::{Peer, Tls};

/// A session, inside TLS or not.
pub(crate) enum Machine {
    Plain(Box<Session>),
    Tls(Box<Tls<Session>>),
}

impl Machine {
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

    /// Whether the session speaks with its peer already.
    pub(crate) fn is_established(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_established(),
        }
    }

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
