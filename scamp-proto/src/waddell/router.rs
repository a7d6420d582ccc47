//! Who is connected, and what goes to whom.

use alloc::collections::{BTreeMap, VecDeque};

use super::error::{CloseReason, JoinError};
use super::frame::Frame;
use super::id::PeerId;
use super::outgoing::Freed;
use crate::Instant;
use crate::limits;

/// The settings of a [`Router`].
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Peers connected at once.
    pub max_peers: usize,
    /// Octets that wait for one peer, or one message (WD-40, HD-47).
    pub peer_queue: usize,
    /// Frames that wait for one peer (HD-47).
    pub peer_frames: usize,
    /// Octets that wait for all peers together (WD-40).
    pub total_queue: usize,
    /// What happens to a message for which there is no room (WD-41).
    pub on_full: OnFull,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            max_peers: usize::MAX,
            peer_queue: limits::WADDELL_PEER_QUEUE,
            peer_frames: limits::WADDELL_PEER_FRAMES,
            total_queue: limits::WADDELL_TOTAL_QUEUE,
            on_full: OnFull::default(),
        }
    }
}

/// What happens to a message for which there is no room (WD-41).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFull {
    /// It is dropped, like one to an unknown id.
    #[default]
    DropNewest,
    /// It is dropped, and so is its recipient's connection.
    Disconnect,
    /// Its sender is not read until there is room, or until the recipient is gone.
    ///
    /// Nothing is lost then, and a recipient can hold up those who write to it until it is closed for
    /// taking nothing (WD-42): this is for closed groups.
    PauseSender,
}

/// Who is connected, and what goes to whom.
///
/// A router knows ids and counts; the frames that wait are in the [`Peer`](super::Peer)s. It belongs to
/// all connections of a server together, and no call to it waits for anything. `K` is whatever its
/// owner finds a connection by: each order that comes out bears the one that was given with
/// [`join`](Self::join).
///
/// ```text
///  Peer ──PeerEvent::Message──> route() ──look-up, room?──> Order::Deliver ──> deliver() of another Peer
///  Peer ──take_freed()──> freed() ─┘ room again
///  Peer ──PeerEvent::Closed──> leave()
/// ```
///
/// # Example
///
/// ```
/// use scamp_proto::Instant;
/// use scamp_proto::waddell::{Frame, Order, Router, RouterConfig, TopicId};
///
/// let now = Instant::EPOCH;
/// let mut router = Router::new(RouterConfig::default());
/// let mut octets = [1; 16]; // from a cryptographic source
/// let mut draw = || { octets[0] += 1; octets };
/// let anna = router.join("anna", &mut draw)?;
/// let bert = router.join("bert", &mut draw)?;
///
/// router.route(now, anna, Frame::message(bert, TopicId(1), &[b"Hello"])?);
/// let Some(Order::Deliver { to, frame }) = router.poll_order() else { panic!() };
/// assert_eq!((to, frame.id()), ("bert", anna));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Router<K> {
    config: RouterConfig,
    seats: BTreeMap<PeerId, Seat<K>>,
    /// Octets that wait for all peers.
    octets: usize,
    /// Senders that wait for room in `total_queue`.
    line: Line,
    next_ticket: u64,
    is_closing: bool,
    orders: VecDeque<Order<K>>,
    events: VecDeque<RouterEvent>,
    stats: RouterStats,
}

/// A peer that is connected.
#[derive(Debug)]
struct Seat<K> {
    peer: K,
    /// What waits for it.
    waiting: Freed,
    /// Senders that wait for room for this peer.
    line: Line,
    /// Messages of its own for which there is no room yet.
    parked: VecDeque<Frame>,
    /// Where it stands in line for the first of them.
    stands: Option<(Full, u64)>,
    /// Whether it has been ordered to close.
    is_closing: bool,
    unknown: Ration,
    full: Ration,
    malformed: Ration,
}

/// Senders in the order they came.
type Line = BTreeMap<u64, PeerId>;

/// What has no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Full {
    Peer(PeerId),
    Total,
}

/// Something the owner is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Order<K> {
    /// [`deliver`](super::Peer::deliver) a frame.
    Deliver {
        /// To this peer.
        to: K,
        /// The frame, with the sender's id.
        frame: Frame,
    },
    /// [`close`](super::Peer::close) a connection.
    Close {
        /// This peer's.
        peer: K,
        /// For this reason.
        reason: CloseReason,
    },
    /// [`pause`](super::Peer::pause) reading, or go on.
    Pause {
        /// From this peer.
        peer: K,
        /// Whether to stop.
        paused: bool,
    },
}

/// What a router has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RouterEvent {
    /// A peer has been given an id.
    Joined {
        /// The id.
        id: PeerId,
    },
    /// A peer is gone, and its id with it.
    Left {
        /// The id it had.
        id: PeerId,
        /// Why its connection ended.
        why: CloseReason,
    },
    /// Messages were dropped; at most once a second for each peer and cause (WD-41).
    Dropped {
        /// The recipient where it was full; else the sender.
        id: PeerId,
        /// How many since the last such event.
        count: u64,
        /// Why.
        why: Dropped,
    },
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Dropped {
    /// Nobody has the recipient's id, or nobody any more (WD-31).
    Unknown,
    /// There was no room (WD-41).
    Full,
    /// It was no message (WD-33).
    Malformed,
}

/// Counts of a router.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RouterStats {
    /// Peers connected.
    pub peers: usize,
    /// Octets that wait for peers.
    pub queued: usize,
    /// Messages delivered to a peer's queue.
    pub routed: u64,
    /// Messages to ids that nobody has.
    pub unknown: u64,
    /// Messages dropped for want of room.
    pub full: u64,
    /// Frames that were no messages.
    pub malformed: u64,
}

impl<K: Clone> Router<K> {
    /// A router without peers.
    pub fn new(config: RouterConfig) -> Self {
        Self {
            config,
            seats: BTreeMap::new(),
            octets: 0,
            line: Line::new(),
            next_ticket: 0,
            is_closing: false,
            orders: VecDeque::new(),
            events: VecDeque::new(),
            stats: RouterStats::default(),
        }
    }

    /// Gives a peer an id, under which it can be reached from now on (WD-20).
    ///
    /// `draw` brings 16 octets of a cryptographic random source with each call (WD-9). The id is to be
    /// [assigned](super::Peer::assign) to the peer.
    ///
    /// # Errors
    ///
    /// Any [`JoinError`]; the transport is to be closed then.
    pub fn join(
        &mut self,
        peer: K,
        mut draw: impl FnMut() -> [u8; PeerId::LEN],
    ) -> Result<PeerId, JoinError> {
        if self.is_closing {
            return Err(JoinError::ShuttingDown);
        }
        if self.seats.len() >= self.config.max_peers {
            return Err(JoinError::Full(self.config.max_peers));
        }
        let mut drawn = (0..limits::WADDELL_DRAWS).map(|_| PeerId::from_random(draw()));
        let id = drawn
            .find(|id| !self.seats.contains_key(id))
            .ok_or(JoinError::Collision)?;
        // The assignment is on its way.
        let waiting = Freed {
            frames: 1,
            octets: Frame::assignment(id).wire_len(),
        };
        self.octets += waiting.octets;
        let seat = Seat {
            peer,
            waiting,
            line: Line::new(),
            parked: VecDeque::new(),
            stands: None,
            is_closing: false,
            unknown: Ration::default(),
            full: Ration::default(),
            malformed: Ration::default(),
        };
        self.seats.insert(id, seat);
        self.tell(RouterEvent::Joined { id });
        Ok(id)
    }

    /// Takes a message of a peer's, whose recipient's id it bears (WD-30).
    pub fn route(&mut self, now: Instant, from: PeerId, frame: Frame) {
        let Some(sender) = self.seats.get_mut(&from) else {
            return;
        };
        if !sender.parked.is_empty() {
            sender.parked.push_back(frame);
            return;
        }
        let Err((full, frame)) = self.place(now, from, frame, false) else {
            return;
        };
        match self.config.on_full {
            OnFull::PauseSender => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.park(from, full, ticket, frame);
                self.pause(from, true);
            }
            OnFull::Disconnect => {
                self.dropped_full(now, frame.id());
                // Where all together is full, the recipient is not to blame.
                if let Full::Peer(id) = full {
                    self.close_peer(id, CloseReason::TooSlow);
                }
            }
            OnFull::DropNewest => self.dropped_full(now, frame.id()),
        }
    }

    /// Notes frames of a peer's that were no messages (WD-33).
    pub fn malformed(&mut self, now: Instant, from: PeerId, count: u64) {
        self.stats.malformed = self.stats.malformed.saturating_add(count);
        let ration = self.seats.get_mut(&from).map(|seat| &mut seat.malformed);
        let told = ration.and_then(|ration| ration.add(now, count));
        self.tell_dropped(from, told, Dropped::Malformed);
    }

    /// Notes what a peer's transport has taken, so that there is room again.
    pub fn freed(&mut self, now: Instant, id: PeerId, freed: Freed) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        let octets = freed.octets.min(seat.waiting.octets);
        seat.waiting.octets -= octets;
        seat.waiting.frames = seat.waiting.frames.saturating_sub(freed.frames);
        self.octets -= octets;
        self.call(now, Full::Peer(id));
        self.call(now, Full::Total);
    }

    /// A peer's connection has ended: its id is nobody's any more (WD-22).
    pub fn leave(&mut self, now: Instant, id: PeerId, why: CloseReason) {
        let Some(mut seat) = self.seats.remove(&id) else {
            return;
        };
        self.octets -= seat.waiting.octets;
        if let Some((full, ticket)) = seat.stands {
            if let Some(line) = self.line_mut(full) {
                line.remove(&ticket);
            }
        }
        for (ration, why) in [
            (&mut seat.unknown, Dropped::Unknown),
            (&mut seat.full, Dropped::Full),
            (&mut seat.malformed, Dropped::Malformed),
        ] {
            let rest = core::mem::take(&mut ration.untold);
            self.tell_dropped(id, (rest > 0).then_some(rest), why);
        }
        self.tell(RouterEvent::Left { id, why });
        // What waited to be sent to it is for nobody now.
        for (ticket, sender) in seat.line {
            self.advance(now, sender, ticket);
        }
        self.call(now, Full::Total);
    }

    /// Lets nobody in any more, and orders all connections to close (WD-44).
    pub fn close(&mut self) {
        self.is_closing = true;
        let ids: alloc::vec::Vec<_> = self.seats.keys().copied().collect();
        for id in ids {
            self.close_peer(id, CloseReason::ShuttingDown);
        }
    }

    /// The next thing to do, or `None` for now; ask after every other call.
    pub fn poll_order(&mut self) -> Option<Order<K>> {
        self.orders.pop_front()
    }

    /// The next event, or `None` for now; the newest 1024 are kept.
    pub fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop_front()
    }

    /// The connection that has this id.
    pub fn peer(&self, id: PeerId) -> Option<&K> {
        self.seats.get(&id).map(|seat| &seat.peer)
    }

    /// All connections.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, &K)> {
        self.seats.iter().map(|(id, seat)| (*id, &seat.peer))
    }

    /// The counts.
    pub fn stats(&self) -> RouterStats {
        RouterStats {
            peers: self.seats.len(),
            queued: self.octets,
            ..self.stats
        }
    }

    /// Whether nothing is kept for anybody.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.line.is_empty() && self.octets == 0
    }

    /// Delivers a message or drops it as one to nobody; gives it back if there is no room.
    ///
    /// `is_next` says that those in line are not passed over.
    fn place(
        &mut self,
        now: Instant,
        from: PeerId,
        mut frame: Frame,
        is_next: bool,
    ) -> Result<(), (Full, Frame)> {
        let (to, octets) = (frame.id(), frame.wire_len());
        let config = &self.config;
        let recipient = self.seats.get_mut(&to).filter(|seat| !seat.is_closing);
        let Some(seat) = recipient else {
            self.stats.unknown = self.stats.unknown.saturating_add(1);
            let sender = self.seats.get_mut(&from);
            let told = sender.and_then(|sender| sender.unknown.add(now, 1));
            self.tell_dropped(from, told, Dropped::Unknown);
            return Ok(());
        };
        let waiting = seat.waiting;
        let fits = waiting.frames == 0
            || (waiting.frames < config.peer_frames
                && waiting.octets + octets <= config.peer_queue);
        if !fits || (!is_next && !seat.line.is_empty()) {
            return Err((Full::Peer(to), frame));
        }
        let fits = self.octets == 0 || self.octets + octets <= config.total_queue;
        if !fits || (!is_next && !self.line.is_empty()) {
            return Err((Full::Total, frame));
        }
        seat.waiting.frames += 1;
        seat.waiting.octets += octets;
        self.octets += octets;
        self.stats.routed = self.stats.routed.saturating_add(1);
        frame.set_id(from);
        let to = seat.peer.clone();
        self.orders.push_back(Order::Deliver { to, frame });
        Ok(())
    }

    fn line_mut(&mut self, full: Full) -> Option<&mut Line> {
        match full {
            Full::Total => Some(&mut self.line),
            Full::Peer(id) => self.seats.get_mut(&id).map(|seat| &mut seat.line),
        }
    }

    /// Puts a message back to the front of what its sender has parked, and the sender in line.
    fn park(&mut self, from: PeerId, full: Full, ticket: u64, frame: Frame) {
        if let Some(line) = self.line_mut(full) {
            line.insert(ticket, from);
        }
        if let Some(sender) = self.seats.get_mut(&from) {
            sender.stands = Some((full, ticket));
            sender.parked.push_front(frame);
        }
    }

    /// Calls those in line, one after the other, as long as there is room.
    fn call(&mut self, now: Instant, full: Full) {
        while let Some((ticket, sender)) = self.line_mut(full).and_then(BTreeMap::pop_first) {
            if self.advance(now, sender, ticket) == Some(full) {
                break;
            }
        }
    }

    /// Delivers what a sender has parked, up to what has no room; says what that is.
    fn advance(&mut self, now: Instant, sender: PeerId, ticket: u64) -> Option<Full> {
        loop {
            let seat = self.seats.get_mut(&sender)?;
            seat.stands = None;
            let Some(frame) = seat.parked.pop_front() else {
                seat.parked = VecDeque::new();
                self.pause(sender, false);
                return None;
            };
            if let Err((full, frame)) = self.place(now, sender, frame, true) {
                self.park(sender, full, ticket, frame);
                return Some(full);
            }
        }
    }

    fn pause(&mut self, id: PeerId, paused: bool) {
        if let Some(seat) = self.seats.get(&id) {
            let peer = seat.peer.clone();
            self.orders.push_back(Order::Pause { peer, paused });
        }
    }

    fn close_peer(&mut self, id: PeerId, reason: CloseReason) {
        let seat = self.seats.get_mut(&id).filter(|seat| !seat.is_closing);
        if let Some(seat) = seat {
            seat.is_closing = true;
            let peer = seat.peer.clone();
            self.orders.push_back(Order::Close { peer, reason });
        }
    }

    fn dropped_full(&mut self, now: Instant, to: PeerId) {
        self.stats.full = self.stats.full.saturating_add(1);
        let ration = self.seats.get_mut(&to).map(|seat| &mut seat.full);
        let told = ration.and_then(|ration| ration.add(now, 1));
        self.tell_dropped(to, told, Dropped::Full);
    }

    fn tell_dropped(&mut self, id: PeerId, count: Option<u64>, why: Dropped) {
        if let Some(count) = count {
            self.tell(RouterEvent::Dropped { id, count, why });
        }
    }

    fn tell(&mut self, event: RouterEvent) {
        if self.events.len() >= limits::WADDELL_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Lets one event a second pass, and counts what the others would have said.
#[derive(Clone, Copy, Debug, Default)]
struct Ration {
    told_at: Option<Instant>,
    untold: u64,
}

impl Ration {
    /// Adds to the count; returns it if it is to be told now.
    fn add(&mut self, now: Instant, count: u64) -> Option<u64> {
        self.untold = self.untold.saturating_add(count);
        let due = self
            .told_at
            .is_none_or(|at| now - at >= limits::WADDELL_DROP_NOTE);
        if !due {
            return None;
        }
        self.told_at = Some(now);
        Some(core::mem::take(&mut self.untold))
    }
}
