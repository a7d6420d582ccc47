//! A server's end of one stream.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::config::ServerConfig;
use super::encoding::{Decoder, Encoder, Encoding, Notice, Queue};
use super::error::{DecodeError, Reason, Refusal};
use super::message::{ClientName, Data, Message, Meta, Secret, Text};
use crate::limits::{MP_BEFORE, MP_CONNECTION_ID, MP_FIRST, TURN};
use crate::{Duplex, End, Instant, Outbox};

/// A server's end of one stream: octets here, values for the [`Router`](super::Router) there.
///
/// ```text
///  Deciding ─> AwaitAuth ─> Verifying ─> Open ─────────────────────> Closed
///     │            │             └────────┴──refused, shut down──> Closing ─┘
///     └────────────┴── malformed: without a word (MP-42, MP-55) ────────────┘
/// ```
///
/// It knows one stream and no name but its own. What it has for the router comes out of
/// [`poll_router`](Self::poll_router), and what the router has for it goes into
/// [`from_router`](Self::from_router); whoever carries the two may do so at once, or through
/// channels. [The module](super) has an example.
///
/// Once [`is_drained`](Duplex::is_drained) and `poll_router` has nothing more, it can be dropped.
///
/// ```
/// use scamp_proto::mp::{Router, RouterEvent, ServerConfig, Session};
/// use scamp_proto::{Duplex, Instant};
///
/// let now = Instant::EPOCH;
/// let mut router = Router::new(ServerConfig::default());
/// let (id, mut session) = (router.add(None), Session::new(&ServerConfig::default(), now));
/// session.receive(now, br#"{"Meta":8,"OtherClient":"alpha","Data":"aGk="}"#);
/// assert!(!session.wants_read());
///
/// let sign_in = session.poll_router().expect("somebody signs in");
/// router.handle(now, id, sign_in);
/// let Some(RouterEvent::Verify { name, secret, .. }) = router.poll_event() else { panic!() };
/// assert_eq!((&*name, secret.to_bytes()), ("alpha", "hi".into()));
/// ```
#[derive(Debug)]
pub struct Session {
    config: ServerConfig,
    state: State,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
    /// What the client calls itself, right or wrong.
    name: Text,
    /// Octets that arrived before the session was open.
    arrived: usize,
    /// What arrived while the application thought about the sign-in.
    held: Vec<u8>,
    /// Whether a message of this session waits for room with the router.
    is_paused: bool,
    inbound: VecDeque<Up>,
    /// Why the session ended, until the router is told.
    gone: Option<Reason>,
    queue: Queue<Outgoing>,
    /// What the message costs that is being written.
    current: usize,
    /// What has left and was not reported to the router, which holds it against the session.
    released: usize,
    /// When the transport last took something, or something began to wait for it (MP-62).
    progress: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Which encoding it is; the first octet, if it alone has arrived.
    Deciding {
        first: Option<u8>,
        until: Instant,
    },
    AwaitAuth {
        until: Instant,
    },
    Verifying {
        until: Instant,
    },
    Open,
    /// Only what is queued leaves.
    Closing {
        until: Instant,
    },
    Closed,
}

#[derive(Debug)]
enum Outgoing {
    Message(Message),
    Notice(Notice),
}

/// What a session has to say to the router; its inside is theirs.
#[derive(Debug)]
pub struct ToRouter(pub(super) Up);

#[derive(Debug)]
pub(super) enum Up {
    SignIn {
        name: ClientName,
        secret: Secret,
    },
    Message(Message),
    /// So much of what was queued has left.
    Room(usize),
    Gone(Reason),
}

/// What the router has to say to a session; its inside is theirs.
#[derive(Debug)]
pub struct ToSession(pub(super) Down);

#[derive(Debug)]
pub(super) enum Down {
    Open,
    Refuse(Refusal),
    Deliver(Message, usize),
    Notice(Notice, usize),
    Pause,
    Resume,
    /// What is queued leaves, then the session ends.
    Finish,
    /// It ends at once.
    Close,
}

impl Session {
    /// A session over a transport that was accepted at `now`.
    pub fn new(config: &ServerConfig, now: Instant) -> Self {
        let until = now + config.auth_timeout;
        let state = match config.encoding {
            Some(_) => State::AwaitAuth { until },
            None => State::Deciding { first: None, until },
        };
        let decoder = |encoding| Decoder::new(encoding, config.decode);
        Self {
            state,
            decoder: config.encoding.map(decoder),
            encoder: config.encoding.map(Encoder::new),
            config: config.clone(),
            name: Text::default(),
            arrived: 0,
            held: Vec::new(),
            is_paused: false,
            inbound: VecDeque::new(),
            gone: None,
            queue: Queue::default(),
            current: 0,
            released: 0,
            progress: now,
        }
    }

    /// The next value for the router, to be handed to [`Router::handle`](super::Router::handle).
    ///
    /// Ask after any other call, until there is none. What the router answers is best carried to
    /// the session before it is asked again: then at most one message of it waits with the router.
    pub fn poll_router(&mut self) -> Option<ToRouter> {
        if self.released > 0 && self.released >= self.config.low_water / 2 {
            return Some(ToRouter(Up::Room(core::mem::take(&mut self.released))));
        }
        // Of a session that has ended, all goes that had been handed in (MP-71).
        if self.is_paused && self.gone.is_none() {
            return None;
        }
        let next = match self.inbound.pop_front() {
            Some(next) => next,
            None => Up::Gone(self.gone.take()?),
        };
        if self.inbound.is_empty() {
            self.inbound = VecDeque::new();
        }
        Some(ToRouter(next))
    }

    /// Takes a value of the router's that is for this session.
    pub fn from_router(&mut self, now: Instant, value: ToSession) {
        match (value.0, self.state) {
            (_, State::Closing { .. } | State::Closed) => {}
            (Down::Open, State::Verifying { .. }) => {
                self.state = State::Open;
                let held = core::mem::take(&mut self.held);
                self.take(now, &held);
            }
            (Down::Refuse(refusal), State::Verifying { .. }) => self.refuse(now, &refusal),
            (Down::Deliver(message, cost), State::Open) => {
                self.enqueue(now, Outgoing::Message(message), cost);
            }
            (Down::Notice(notice, cost), State::Open) => {
                self.enqueue(now, Outgoing::Notice(notice), cost);
            }
            (Down::Pause, _) => self.is_paused = true,
            (Down::Resume, _) => self.is_paused = false,
            (Down::Finish, _) => self.finish(now),
            (Down::Close, _) => self.close(),
            // Meant for the state it was in.
            (Down::Open | Down::Refuse(_) | Down::Deliver(..) | Down::Notice(..), _) => {}
        }
    }

    /// The encoding, once it is known.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoder.as_ref().map(Encoder::encoding)
    }

    /// Octets that this session keeps, as they are counted against its limits.
    pub fn queued(&self) -> usize {
        self.queue.cost() + self.current
    }

    fn take(&mut self, now: Instant, mut input: &[u8]) {
        while !input.is_empty() {
            match self.state {
                State::Deciding { first, until } => {
                    if let Err(error) = self.decide(first, until, input) {
                        self.fail(Reason::Decode(error));
                    } else if let (State::AwaitAuth { .. }, Some(first)) = (self.state, first) {
                        // It decided nothing, and is part of the stream.
                        self.await_auth(now, &mut &[first][..]);
                    } else if let State::Deciding { .. } = self.state {
                        return;
                    }
                }
                State::AwaitAuth { .. } => self.await_auth(now, &mut input),
                State::Verifying { .. } => {
                    self.held.extend_from_slice(input);
                    if self.arrived + self.held.len() > MP_BEFORE {
                        self.fail(Reason::Decode(DecodeError::TooLarge(MP_BEFORE)));
                    }
                    return;
                }
                State::Open => {
                    match self
                        .decoder
                        .as_mut()
                        .map(|decoder| decoder.decode(&mut input))
                    {
                        Some(Ok(Some(message)))
                            if message.connection_id.len() > MP_CONNECTION_ID =>
                        {
                            let error = DecodeError::Malformed("ConnectionID is too long");
                            self.fail(Reason::Decode(error));
                        }
                        Some(Ok(Some(message))) => self.inbound.push_back(Up::Message(message)),
                        Some(Ok(None)) | None => return,
                        Some(Err(error)) => self.fail(Reason::Decode(error)),
                    }
                }
                State::Closing { .. } | State::Closed => return,
            }
        }
    }

    fn decide(
        &mut self,
        first: Option<u8>,
        until: Instant,
        input: &[u8],
    ) -> Result<(), DecodeError> {
        let begin: Vec<u8> = first.iter().chain(input).copied().take(2).collect();
        match Encoding::sniff(&begin)? {
            None => {
                let first = begin.first().copied();
                self.state = State::Deciding { first, until };
            }
            Some(encoding) => {
                self.decoder = Some(Decoder::new(encoding, self.config.decode));
                self.encoder = Some(Encoder::new(encoding));
                self.state = State::AwaitAuth { until };
            }
        }
        Ok(())
    }

    /// Looks for the first message, which may not be long (HD-48).
    fn await_auth(&mut self, now: Instant, input: &mut &[u8]) {
        let room = MP_FIRST.saturating_sub(self.arrived);
        let mut window = input.get(..room).unwrap_or(input);
        let whole = window.len();
        let decoded = self
            .decoder
            .as_mut()
            .map(|decoder| decoder.decode(&mut window));
        let used = whole - window.len();
        self.arrived += used;
        *input = input.get(used..).unwrap_or_default();
        match decoded {
            Some(Ok(Some(message))) => self.sign_in(now, message),
            Some(Err(error)) => self.fail(Reason::Decode(error)),
            Some(Ok(None)) | None if !input.is_empty() => {
                self.fail(Reason::Decode(DecodeError::TooLarge(MP_FIRST)));
            }
            Some(Ok(None)) | None => {}
        }
    }

    /// The first message must be `Auth` with a name that can be one (MP-50).
    fn sign_in(&mut self, now: Instant, message: Message) {
        self.name = message.other_client.detached();
        if message.meta != Meta::AUTH {
            return self.refuse(now, &Refusal::NotFirst);
        }
        let State::AwaitAuth { until } = self.state else {
            return;
        };
        match ClientName::new(self.name.clone()) {
            None => self.refuse(now, &Refusal::InvalidName),
            Some(name) => {
                self.state = State::Verifying { until };
                let secret = Secret::from(message.data);
                self.inbound.push_back(Up::SignIn { name, secret });
            }
        }
    }

    /// Tells why, and ends (MP-54).
    fn refuse(&mut self, now: Instant, refusal: &Refusal) {
        let why = Text::from(refusal.to_string());
        if !self.config.silent_refusal {
            let data = Data::from(&why);
            let answer = Message::new(Meta::AUTH_FAILURE, self.name.clone(), "", data);
            let cost = answer.cost();
            self.enqueue(now, Outgoing::Message(answer), cost);
        }
        self.gone = Some(match refusal {
            Refusal::TimedOut => Reason::Timeout("signing in", self.config.auth_timeout),
            _ => Reason::AuthRefused(why),
        });
        self.finish(now);
    }

    fn enqueue(&mut self, now: Instant, what: Outgoing, cost: usize) {
        if !self.has_output() {
            self.progress = now;
        }
        self.queue.push(what, cost);
    }

    fn has_output(&self) -> bool {
        !self.queue.is_empty() || self.encoder.as_ref().is_some_and(|e| !e.is_between())
    }

    /// Nothing more is listened to; what is queued may leave.
    fn finish(&mut self, now: Instant) {
        let until = now + self.config.linger;
        self.held = Vec::new();
        self.state = State::Closing { until };
    }

    /// Ends at once; what is queued is discarded (MP-71).
    fn fail(&mut self, reason: Reason) {
        self.gone = Some(reason);
        self.close();
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.queue.clear();
        self.held = Vec::new();
        (self.decoder, self.encoder) = (None, None);
    }
}

impl Duplex for Session {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.take(now, bytes);
    }

    fn receive_end(&mut self, _now: Instant, end: End) {
        match self.state {
            State::Closed => {}
            // It may have closed only its own side, and still read what it is told.
            State::Closing { .. } => {
                if let End::Lost(_) = end {
                    self.close();
                }
            }
            State::Deciding { first, .. } => self.fail(Reason::from_end(end, first.is_none())),
            State::AwaitAuth { .. } | State::Verifying { .. } | State::Open => {
                let is_between = self.decoder.as_ref().is_none_or(Decoder::is_between);
                self.fail(Reason::from_end(end, is_between));
            }
        }
    }

    fn wants_read(&self) -> bool {
        match self.state {
            State::Deciding { .. } | State::AwaitAuth { .. } => true,
            State::Open => !self.is_paused && self.inbound.is_empty(),
            State::Verifying { .. } | State::Closing { .. } | State::Closed => false,
        }
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        let encoder = self.encoder.as_mut()?;
        let before = bytes::Buf::remaining(out);
        let mut added = 0;
        while added < TURN {
            if !encoder.go_on(out) {
                let Some((next, cost)) = self.queue.pop() else {
                    break;
                };
                self.current = cost;
                match next {
                    Outgoing::Message(message) => encoder.begin(&message, out),
                    Outgoing::Notice(notice) => out.lend(notice.octets(encoder.encoding()).clone()),
                }
            }
            if encoder.is_between() {
                self.released += core::mem::take(&mut self.current);
            }
            added = bytes::Buf::remaining(out) - before;
        }
        if added == 0 {
            return None;
        }
        self.progress = now;
        Some(added)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Deciding { until, .. }
            | State::AwaitAuth { until }
            | State::Verifying { until }
            | State::Closing { until } => Some(until),
            State::Open => self
                .has_output()
                .then(|| self.progress + self.config.stall_timeout),
            State::Closed => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        match self.state {
            State::Deciding { .. } => {
                let timeout = Reason::Timeout("signing in", self.config.auth_timeout);
                self.fail(timeout);
            }
            State::AwaitAuth { .. } | State::Verifying { .. } => {
                self.inbound.clear();
                self.refuse(now, &Refusal::TimedOut);
            }
            State::Open => self.fail(Reason::Stalled),
            State::Closing { .. } => self.close(),
            State::Closed => {}
        }
    }

    fn is_drained(&self) -> bool {
        match self.state {
            State::Closed => true,
            State::Closing { .. } => !self.has_output(),
            _ => false,
        }
    }
}
