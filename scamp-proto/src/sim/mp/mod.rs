//! MessagePasser in one thread, in virtual time: a server without sockets, and a town of clients.

mod town;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

pub use self::town::{Report, Town};

use crate::mp::{
    ClientName, Refusal, Router, RouterEvent, Secret, ServerConfig, Session, SessionId,
};
use crate::{Duplex, End, Instant, Outbox};

/// Whether this name and secret are let in, or `None` to say so later.
pub type Verify = fn(&ClientName, &Secret) -> Option<Result<(), Refusal>>;

/// A router with its sessions: a server in one thread, and the model of one.
///
/// After every call everything that the router and the sessions have for each other has been
/// carried.
///
/// ```
/// use scamp_proto::Instant;
/// use scamp_proto::mp::ServerConfig;
/// use scamp_proto::sim::mp::Hall;
///
/// let mut hall = Hall::new(ServerConfig::default(), |_, _| Some(Ok(())));
/// let al = hall.accept(Instant::EPOCH, None);
/// hall.receive(al, br#"{"Meta":8,"OtherClient":"al"}"#);
/// let said = hall.transmit(al, usize::MAX);
/// assert!(said.starts_with(br#"{"Meta":9,"OtherClient":"al""#));
/// ```
pub struct Hall {
    /// The table of names.
    pub router: Router,
    /// One for each transport that is open.
    pub sessions: BTreeMap<SessionId, Session>,
    /// What happened; the caller takes it out.
    pub events: Vec<RouterEvent>,
    /// The time now.
    pub now: Instant,
    config: ServerConfig,
    verify: Verify,
    outboxes: BTreeMap<SessionId, Outbox>,
    /// Sessions that may have something for the router.
    touched: VecDeque<SessionId>,
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (router, sessions) = (&self.router, &self.sessions);
        let mut hall = f.debug_struct("Hall");
        hall.field("router", router).field("sessions", sessions);
        hall.finish_non_exhaustive()
    }
}

impl Hall {
    /// A server without clients; the clock stands at the epoch.
    pub fn new(config: ServerConfig, verify: Verify) -> Self {
        Self {
            router: Router::new(config.clone()),
            sessions: BTreeMap::new(),
            events: Vec::new(),
            now: Instant::EPOCH,
            config,
            verify,
            outboxes: BTreeMap::new(),
            touched: VecDeque::new(),
        }
    }

    /// A transport was accepted.
    pub fn accept(&mut self, now: Instant, address: Option<IpAddr>) -> SessionId {
        self.now = self.now.max(now);
        let id = self.router.add(address);
        self.sessions
            .insert(id, Session::new(&self.config, self.now));
        self.touch(id);
        id
    }

    /// Octets arrived.
    pub fn receive(&mut self, id: SessionId, octets: &[u8]) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.receive(now, octets);
        }
        self.touch(id);
    }

    /// Nothing more will arrive.
    pub fn end(&mut self, id: SessionId, end: End) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.receive_end(now, end);
        }
        self.touch(id);
    }

    /// What a transport that takes at most this many octets takes.
    pub fn transmit(&mut self, id: SessionId, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let out = self.outboxes.entry(id).or_default();
            if out.is_empty() {
                let session = self.sessions.get_mut(&id);
                let moved = session.and_then(|session| session.poll_transmit(self.now, out));
                // Room was made.
                self.touch(id);
                if moved.is_none() {
                    break;
                }
                continue;
            }
            let chunk = bytes::Buf::chunk(out);
            let len = chunk.len().min(most - taken.len());
            taken.extend_from_slice(&chunk[..len]);
            bytes::Buf::advance(out, len);
        }
        taken
    }

    /// Whether octets of this session's transport are welcome.
    pub fn wants_read(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(Duplex::wants_read)
    }

    /// Whether this session's transport can be closed.
    pub fn is_over(&self, id: SessionId) -> bool {
        let is_drained = self.sessions.get(&id).is_none_or(Duplex::is_drained);
        is_drained && self.outboxes.get(&id).is_none_or(Outbox::is_empty)
    }

    /// Forgets a session whose transport is closed.
    pub fn forget(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.outboxes.remove(&id);
    }

    /// The verdict on somebody who waits for it.
    pub fn verdict(&mut self, id: SessionId, verdict: Result<(), Refusal>) {
        self.router.verdict(self.now, id, verdict);
        self.carry();
    }

    /// Does something with the router.
    pub fn with_router(&mut self, act: impl FnOnce(&mut Router)) {
        act(&mut self.router);
        self.carry();
    }

    /// When something happens by itself.
    pub fn next(&self) -> Option<Instant> {
        self.sessions
            .values()
            .filter_map(Duplex::poll_timeout)
            .min()
    }

    /// Goes to this moment, with every deadline on the way.
    pub fn advance_to(&mut self, at: Instant) {
        while let Some(next) = self.next().filter(|next| *next <= at) {
            self.now = self.now.max(next);
            let due = self.sessions.iter();
            let due = due.filter(|(_, one)| one.poll_timeout().is_some_and(|at| at <= next));
            let due: Vec<_> = due.map(|(id, _)| *id).collect();
            for id in due {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.handle_timeout(next);
                    let again = session.poll_timeout();
                    assert!(again.is_none_or(|at| at > next), "spins at {next:?} (Q-14)");
                }
                self.touch(id);
            }
        }
        self.now = self.now.max(at);
    }

    fn touch(&mut self, id: SessionId) {
        self.touched.push_back(id);
        self.carry();
    }

    fn carry(&mut self) {
        loop {
            if let Some((id, value)) = self.router.poll() {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.from_router(self.now, value);
                    self.touched.push_back(id);
                }
            } else if let Some(event) = self.router.poll_event() {
                if let RouterEvent::Verify {
                    session,
                    name,
                    secret,
                } = &event
                {
                    if let Some(verdict) = (self.verify)(name, secret) {
                        self.router.verdict(self.now, *session, verdict);
                    }
                }
                self.events.push(event);
            } else if let Some(&id) = self.touched.front() {
                match self.sessions.get_mut(&id).and_then(Session::poll_router) {
                    Some(value) => self.router.handle(self.now, id, value),
                    None => {
                        self.touched.pop_front();
                    }
                }
            } else {
                return;
            }
        }
    }
}
