//! A server's table of names.

use alloc::collections::{BTreeMap, VecDeque};
use core::net::IpAddr;
use core::time::Duration;

use super::config::{DuplicateName, ServerConfig, SlowClient};
use super::encoding::Notice;
use super::error::{Reason, Refusal};
use super::message::{ClientName, Message, Meta, Secret, Text};
use super::session::{Down, ToRouter, ToSession, Up};
use crate::Instant;
use crate::limits::{MP_FAILURES, MP_MESSAGE_COST, SOURCES};

/// A server's table of names: what one [`Session`](super::Session) says, to the others.
///
/// ```text
///  session ──poll_router──> handle ──┬── Verify ──> you ──> verdict
///  session <─from_router── poll <────┴── another session's queue, or its waiting line
/// ```
///
/// There is one for all streams of a server. It knows names and how much is queued for each, and
/// nothing of the connections that clients keep with each other (MP-60). Who writes to a client
/// whose queue is full waits; nobody else does (MP-61). [The module](super) has an example.
///
/// Nobody is let in unless somebody answers [`RouterEvent::Verify`].
///
/// ```
/// use scamp_proto::mp::{Router, ServerConfig};
///
/// let mut router = Router::new(ServerConfig::default());
/// let session = router.add(None);
/// assert_eq!(router.sessions(), (1, 0));
/// router.remove(session);
/// assert_eq!(router.sessions(), (0, 0));
/// ```
#[derive(Debug)]
pub struct Router {
    config: ServerConfig,
    seats: BTreeMap<SessionId, Seat>,
    /// Open sessions by name.
    names: BTreeMap<Text, SessionId>,
    /// Open sessions in the order in which they signed in (MP-137).
    order: BTreeMap<u64, SessionId>,
    next_session: u64,
    next_order: u64,
    out: VecDeque<(SessionId, ToSession)>,
    events: VecDeque<RouterEvent>,
    /// Sessions that are to depart, and why.
    doomed: VecDeque<(SessionId, Reason)>,
    /// Failed sign-ins in the second that began at the time, by address.
    failures: BTreeMap<IpAddr, (Instant, u64)>,
    is_shut: bool,
}

/// Which session; numbers are never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(u64);

/// What the router tells the application.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RouterEvent {
    /// A client wants to sign in; answer with [`Router::verdict`], now or later.
    Verify {
        /// Which session it is.
        session: SessionId,
        /// What the client calls itself.
        name: ClientName,
        /// What it knows.
        secret: Secret,
    },
    /// A client is signed in.
    Joined {
        /// Which session it is.
        session: SessionId,
        /// Under which name.
        name: ClientName,
    },
    /// A client that was signed in has left.
    Left {
        /// Which session it was.
        session: SessionId,
        /// Under which name.
        name: ClientName,
        /// Why it left.
        why: Reason,
    },
    /// A message had nobody to go to.
    Undeliverable {
        /// Whose it was.
        from: SessionId,
        /// Who should have had it.
        to: Text,
        /// What it was.
        meta: Meta,
    },
    /// A session ended that never was signed in.
    Refused {
        /// Which session it was.
        session: SessionId,
        /// Why it ended.
        why: Reason,
    },
}

/// What the router knows of one session.
#[derive(Debug, Default)]
struct Seat {
    place: Place,
    address: Option<IpAddr>,
    /// What is queued for it, as far as it has not reported that it left.
    level: usize,
    /// Of that, the server's own messages beyond the high water mark (MP-63).
    own: usize,
    /// What waits for room in its queue.
    waiting: VecDeque<Waiting>,
    /// What the messages in `waiting` cost whose senders have departed.
    orphans: usize,
    /// Messages of this session that wait for room elsewhere.
    parked: usize,
}

#[derive(Debug, Default)]
enum Place {
    /// It has not said who it is.
    #[default]
    New,
    Verifying(ClientName),
    Open {
        name: ClientName,
        order: u64,
    },
}

#[derive(Debug)]
struct Waiting {
    /// Who waits with it, if anybody still does.
    from: Option<SessionId>,
    what: Item,
    cost: usize,
}

#[derive(Debug)]
enum Item {
    Message(Message),
    Notice(Notice),
}

impl Router {
    /// A router that knows nobody.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config,
            seats: BTreeMap::new(),
            names: BTreeMap::new(),
            order: BTreeMap::new(),
            next_session: 0,
            next_order: 0,
            out: VecDeque::new(),
            events: VecDeque::new(),
            doomed: VecDeque::new(),
            failures: BTreeMap::new(),
            is_shut: false,
        }
    }

    /// A place for a session over a transport that was accepted, from this address if it has one.
    ///
    /// Three failed sign-ins of one address in a second are the last ones it gets in that second
    /// (HD-48).
    pub fn add(&mut self, address: Option<IpAddr>) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        if self.is_shut {
            self.out.push_back((id, ToSession(Down::Close)));
        } else {
            let seat = Seat {
                address,
                ..Seat::default()
            };
            self.seats.insert(id, seat);
        }
        id
    }

    /// Takes a value of this session's [`poll_router`](super::Session::poll_router).
    pub fn handle(&mut self, now: Instant, session: SessionId, value: ToRouter) {
        match value.0 {
            Up::SignIn { name, secret } => self.sign_in(now, session, name, secret),
            Up::Message(message) => self.route(session, message),
            Up::Room(count) => self.make_room(session, count),
            Up::Gone(reason) => match self.seats.get(&session) {
                None => {}
                Some(Seat {
                    place: Place::Open { .. },
                    ..
                }) => self.doomed.push_back((session, reason)),
                Some(_) => {
                    self.seats.remove(&session);
                    let why = reason;
                    self.events.push_back(RouterEvent::Refused { session, why });
                }
            },
        }
        self.bury();
    }

    /// The answer to [`RouterEvent::Verify`].
    ///
    /// For wrong credentials say [`Refusal::NotRecognized`], whichever of the two is wrong (MP-54).
    /// An answer that comes too late does nothing.
    pub fn verdict(&mut self, now: Instant, session: SessionId, verdict: Result<(), Refusal>) {
        let Some(seat) = self.seats.get_mut(&session) else {
            return;
        };
        let Place::Verifying(name) = &seat.place else {
            return;
        };
        let name = name.clone();
        let older = self.names.get(name.as_text()).copied();
        let verdict = match (verdict, older, self.config.duplicate_name) {
            (Ok(()), Some(_), DuplicateName::Refuse) => Err(Refusal::NameInUse),
            (Err(refusal), _, _) => {
                self.count_failure(now, session);
                Err(refusal)
            }
            (Ok(()), _, _) => Ok(older),
        };
        match verdict {
            Err(refusal) => self.tell(session, Down::Refuse(refusal)),
            Ok(older) => {
                // Whoever had the name is gone for everybody before the newcomer is there (MP-70).
                if let Some(older) = older {
                    self.tell(older, Down::Close);
                    self.doomed.push_back((older, Reason::Replaced));
                    self.bury();
                }
                self.open(session, name);
            }
        }
    }

    /// Ends this session; a client that is signed in departs with it (MP-71).
    pub fn remove(&mut self, session: SessionId) {
        self.tell(session, Down::Close);
        match self.seats.get(&session).map(|seat| &seat.place) {
            Some(Place::Open { .. }) => self.doomed.push_back((session, Reason::Local)),
            _ => {
                self.seats.remove(&session);
            }
        }
        self.bury();
    }

    /// Ends all sessions, each after what is queued for it or a moment; nobody is told of the others
    /// (MP-74).
    pub fn shutdown(&mut self) {
        self.is_shut = true;
        self.names.clear();
        self.order.clear();
        while let Some((session, seat)) = self.seats.pop_first() {
            self.tell(session, Down::Finish);
            let why = Reason::Local;
            self.events.push_back(match seat.place {
                Place::Open { name, .. } => RouterEvent::Left { session, name, why },
                _ => RouterEvent::Refused { session, why },
            });
        }
    }

    /// The next value for a session, to be handed to its
    /// [`from_router`](super::Session::from_router); in this order, for each session.
    pub fn poll(&mut self) -> Option<(SessionId, ToSession)> {
        let next = self.out.pop_front();
        if self.out.is_empty() && self.out.capacity() > IDLE {
            self.out = VecDeque::new();
        }
        next
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop_front()
    }

    /// How many sessions there are, signed in or not, and how many are signed in.
    pub fn sessions(&self) -> (usize, usize) {
        (self.seats.len(), self.order.len())
    }

    /// The session that is signed in under this name.
    pub fn find(&self, name: &str) -> Option<SessionId> {
        self.names.get(&Text::from(name)).copied()
    }

    /// What is queued for all sessions and what waits to be, in octets.
    pub fn held(&self) -> usize {
        let waiting = |seat: &Seat| seat.waiting.iter().map(|one| one.cost).sum::<usize>();
        self.seats
            .values()
            .map(|seat| seat.level + waiting(seat))
            .sum()
    }

    fn tell(&mut self, session: SessionId, what: Down) {
        self.out.push_back((session, ToSession(what)));
    }

    fn sign_in(&mut self, now: Instant, session: SessionId, name: ClientName, secret: Secret) {
        let has_failed = self.has_failed(now, session);
        let Some(seat) = self.seats.get_mut(&session) else {
            return;
        };
        seat.place = Place::Verifying(name.clone());
        if has_failed {
            return self.tell(session, Down::Refuse(Refusal::TooManyFailures));
        }
        self.events.push_back(RouterEvent::Verify {
            session,
            name,
            secret,
        });
    }

    /// Whether the session's address has used up its failures (HD-48).
    fn has_failed(&self, now: Instant, session: SessionId) -> bool {
        let address = self.seats.get(&session).and_then(|seat| seat.address);
        let failures = address.and_then(|address| self.failures.get(&address));
        failures.is_some_and(|(begun, count)| *count >= MP_FAILURES && now - *begun < SECOND)
    }

    fn count_failure(&mut self, now: Instant, session: SessionId) {
        let Some(address) = self.seats.get(&session).and_then(|seat| seat.address) else {
            return;
        };
        if self.failures.len() >= SOURCES && !self.failures.contains_key(&address) {
            self.failures.retain(|_, (begun, _)| now - *begun < SECOND);
            if self.failures.len() >= SOURCES {
                self.failures.pop_first();
            }
        }
        let (begun, count) = self.failures.entry(address).or_insert((now, 0));
        if now - *begun >= SECOND {
            (*begun, *count) = (now, 0);
        }
        *count += 1;
    }

    /// Makes a client routable and tells it so, in one step (MP-53).
    fn open(&mut self, session: SessionId, name: ClientName) {
        let order = self.next_order;
        self.next_order += 1;
        let text = name.as_text().clone();
        self.names.insert(text.clone(), session);
        self.order.insert(order, session);
        if let Some(seat) = self.seats.get_mut(&session) {
            let name = name.clone();
            seat.place = Place::Open { name, order };
        }
        self.events.push_back(RouterEvent::Joined { session, name });
        self.tell(session, Down::Open);
        self.answer(session, Message::bare(Meta::AUTH_OK, text, Text::default()));
    }

    /// One message of a client's (MP-56, MP-57, MP-58).
    fn route(&mut self, from: SessionId, mut message: Message) {
        let Some(Seat {
            place: Place::Open { name, .. },
            ..
        }) = self.seats.get(&from)
        else {
            return;
        };
        let (meta, sender) = (message.meta, name.as_text().clone());
        let is_routable = match meta {
            Meta::WAT | Meta::CLIENT_CLOSED => false,
            Meta(0..=3 | 5..=7) => true,
            _ => self.config.route_any_meta,
        };
        let answer = |what, message: Message| {
            Message::bare(what, message.other_client, message.connection_id)
        };
        if !is_routable {
            return self.answer(from, answer(Meta::WAT, message));
        }
        let Some(to) = self.names.get(&message.other_client).copied() else {
            let to = message.other_client.detached();
            self.events
                .push_back(RouterEvent::Undeliverable { from, to, meta });
            if let Meta::NONE | Meta::CONN_SYN | Meta::CONN_ACK = meta {
                self.answer(from, answer(Meta::NO_SUCH_CONNECTION, message));
            }
            return;
        };
        message.other_client = sender;
        let (high, cost) = (self.config.high_water, message.cost());
        let Some(seat) = self.seats.get_mut(&to) else {
            return;
        };
        if let SlowClient::Disconnect = self.config.slow_client {
            if seat.level > 0 && seat.level + cost > high {
                self.tell(to, Down::Close);
                self.doomed.push_back((to, Reason::Stalled));
                return;
            }
        } else if seat.level > high || !seat.waiting.is_empty() {
            seat.waiting.push_back(Waiting {
                from: Some(from),
                what: Item::Message(message),
                cost,
            });
            return self.park(from);
        }
        seat.level += cost;
        self.tell(to, Down::Deliver(message, cost));
    }

    /// A message of this session waits (MP-61).
    fn park(&mut self, session: SessionId) {
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.parked += 1;
            if seat.parked == 1 {
                self.tell(session, Down::Pause);
            }
        }
    }

    /// A message of this session waits no more.
    fn unpark(&mut self, session: SessionId) {
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.parked -= 1;
            if seat.parked == 0 {
                self.tell(session, Down::Resume);
            }
        }
    }

    /// So much has left this session's queue: those who wait may go on.
    fn make_room(&mut self, session: SessionId, count: usize) {
        let Some(seat) = self.seats.get_mut(&session) else {
            return;
        };
        seat.level = seat.level.saturating_sub(count);
        if seat.level <= self.config.high_water {
            seat.own = 0;
        }
        if seat.level >= self.config.low_water.max(1) {
            return;
        }
        while let Some(seat) = self.seats.get_mut(&session) {
            if seat.level > self.config.high_water {
                return;
            }
            let Some(next) = seat.waiting.pop_front() else {
                seat.waiting = VecDeque::new();
                return;
            };
            let Waiting { from, what, cost } = next;
            seat.level += cost;
            if from.is_none() {
                seat.orphans -= cost;
            }
            self.tell(
                session,
                match what {
                    Item::Message(message) => Down::Deliver(message, cost),
                    Item::Notice(notice) => Down::Notice(notice, cost),
                },
            );
            if let Some(from) = from {
                self.unpark(from);
            }
        }
    }

    /// A message of the server's own, which never waits (MP-63).
    fn answer(&mut self, to: SessionId, message: Message) {
        let cost = message.cost();
        if self.admit(to, cost) {
            self.tell(to, Down::Deliver(message, cost));
        }
    }

    fn admit(&mut self, to: SessionId, cost: usize) -> bool {
        let Some(seat) = self.seats.get_mut(&to) else {
            return false;
        };
        if seat.level > self.config.high_water {
            seat.own += cost;
        }
        if seat.own > self.config.reserve {
            self.doom(to);
            return false;
        }
        seat.level += cost;
        true
    }

    /// This session takes too little.
    fn doom(&mut self, session: SessionId) {
        self.tell(session, Down::Close);
        self.doomed.push_back((session, Reason::Stalled));
    }

    /// Takes those who are to depart out of the table, one after the other.
    fn bury(&mut self) {
        while let Some((session, why)) = self.doomed.pop_front() {
            self.depart(session, why);
        }
    }

    /// An open session ends: it is removed, and all others are told (MP-71).
    fn depart(&mut self, session: SessionId, why: Reason) {
        let Some(seat) = self.seats.remove(&session) else {
            return;
        };
        let Place::Open { name, order } = seat.place else {
            return;
        };
        self.names.remove(name.as_text());
        self.order.remove(&order);
        for from in seat.waiting.iter().filter_map(|waiting| waiting.from) {
            self.unpark(from);
        }
        let text = name.as_text().clone();
        let notice = Notice::new(&Message::bare(Meta::CLIENT_CLOSED, text, Text::default()));
        let cost = MP_MESSAGE_COST + notice.len();
        self.events
            .push_back(RouterEvent::Left { session, name, why });
        let others: VecDeque<SessionId> = self.order.values().copied().collect();
        for other in others {
            if seat.parked > 0 && self.orphan(other, session, &notice, cost) {
                continue;
            }
            if self.admit(other, cost) {
                self.tell(other, Down::Notice(notice.clone(), cost));
            }
        }
    }

    /// What the departed had handed in is delivered before the news of its departure (MP-71); says
    /// whether there is any such message for `other`.
    fn orphan(&mut self, other: SessionId, gone: SessionId, notice: &Notice, cost: usize) -> bool {
        let Some(seat) = self.seats.get_mut(&other) else {
            return false;
        };
        let mut any = false;
        for waiting in &mut seat.waiting {
            if waiting.from == Some(gone) {
                waiting.from = None;
                seat.orphans += waiting.cost;
                any = true;
            }
        }
        if any {
            seat.orphans += cost;
            seat.waiting.push_back(Waiting {
                from: None,
                what: Item::Notice(notice.clone()),
                cost,
            });
            // Nobody waits with these, so nothing else bounds them.
            if seat.orphans > self.config.high_water + self.config.reserve {
                self.doom(other);
            }
        }
        any
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Places an empty queue keeps.
const IDLE: usize = 64;
