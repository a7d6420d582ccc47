//! A machine, inside TLS or not.

use scamp_proto::{Duplex, End, Instant, Outbox};

use crate::{Peer, Tls, TlsVersion};

/// A machine, inside TLS or not: what a driver of sockets holds.
///
/// Without TLS, the transport itself must be trusted: a tunnel, a Unix socket, a test.
#[derive(Debug)]
pub enum Channel<M> {
    /// What the machine says is what passes over the transport.
    Plain(Box<M>),
    /// TLS records are.
    Tls(Box<Tls<M>>),
}

impl<M: Duplex> Channel<M> {
    /// The machine inside.
    pub fn inner(&self) -> &M {
        match self {
            Self::Plain(machine) => machine,
            Self::Tls(tls) => tls.inner(),
        }
    }

    /// The machine inside; take what comes out of the channel afterwards.
    pub fn inner_mut(&mut self) -> &mut M {
        match self {
            Self::Plain(machine) => machine,
            Self::Tls(tls) => tls.inner_mut(),
        }
    }

    /// Whether the machine can be heard by the peer; stays true afterwards.
    pub fn is_established(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_established(),
        }
    }

    /// Whom a client has reached.
    pub fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.peer(),
        }
    }

    /// The TLS version both ends speak, once the channel is established; `None` without TLS.
    pub fn tls_version(&self) -> Option<TlsVersion> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.version(),
        }
    }

    fn duplex(&self) -> &dyn Duplex {
        match self {
            Self::Plain(machine) => &**machine,
            Self::Tls(tls) => &**tls,
        }
    }

    fn duplex_mut(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Plain(machine) => &mut **machine,
            Self::Tls(tls) => &mut **tls,
        }
    }
}

impl<M: Duplex> Duplex for Channel<M> {
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
