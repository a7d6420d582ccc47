//! The server's end of one connection.

use alloc::borrow::Cow;
use alloc::collections::VecDeque;
use core::time::Duration;

use super::error::CloseReason;
use super::frame::{Content, Frame};
use super::id::PeerId;
use super::incoming::Incoming;
use super::outgoing::{Freed, Outgoing};
use crate::duplex::{Duplex, End};
use crate::limits;
use crate::{Instant, Outbox};

/// The settings of the server's end of each connection.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Largest content of a frame accepted, in octets, from 18 to 65 535 (WD-34).
    pub max_frame: usize,
    /// Malformed frames in a row that end the connection (WD-33).
    pub malformed_in_a_row: u32,
    /// The transport must take something in this time while something waits (WD-42).
    pub stall_timeout: Duration,
    /// A peer from which nothing comes for so long is closed; `None` is never (WD-43).
    pub idle_timeout: Option<Duration>,
    /// A frame once begun must be complete within this time (HD-30).
    pub frame_timeout: Duration,
    /// How long what waits may take to leave after [`Peer::close`] (WD-44).
    pub linger: Duration,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            max_frame: limits::WADDELL_FRAME,
            malformed_in_a_row: limits::WADDELL_MALFORMED,
            stall_timeout: limits::WADDELL_STALL,
            idle_timeout: None,
            frame_timeout: limits::PACKET_TIMEOUT,
            linger: limits::CLOSE_LINGER,
        }
    }
}

/// The server's end of one connection: frames in, for the [`Router`](super::Router), and frames out,
/// from it.
///
/// It knows no other peer. Whoever drives it carries its messages to the router, carries the router's
/// orders to the peers they are for, and tells the router what has left
/// ([`take_freed`](Self::take_freed)). It holds no buffer while it is idle (WD-45).
///
/// ```text
/// New ──assign──> Joined ──close──> Closing ──flushed, or linger──> Closed
///                    └──too long, malformed, stalled, idle, lost─────^
/// ```
///
/// # Example
///
/// ```
/// use scamp_proto::waddell::{Peer, PeerConfig, PeerEvent, PeerId, TopicId};
/// use scamp_proto::{Duplex, Instant, Outbox};
///
/// let now = Instant::EPOCH;
/// let mut peer = Peer::new(PeerConfig::default(), now);
/// peer.assign(now, PeerId::from_octets([7; 16]));
/// let mut out = Outbox::default();
/// assert_eq!(peer.poll_transmit(now, &mut out), Some(20));
///
/// peer.receive(now, b"\x01\x00k"); // a keepalive: no answer
/// peer.receive(now, &[&[19, 0][..], &[8; 16], &[1, 0], b"x"].concat());
/// let Some(PeerEvent::Message(frame)) = peer.poll_event() else { panic!() };
/// assert_eq!((frame.id(), frame.topic(), frame.body()), (PeerId::from_octets([8; 16]), TopicId(1), &b"x"[..]));
/// ```
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    state: State,
    incoming: Incoming,
    outgoing: Outgoing,
    events: VecDeque<PeerEvent>,
    /// Octets of the messages in `events`.
    untaken: usize,
    /// Whether the router has asked for a pause (WD-41).
    paused: bool,
    /// When something last came (WD-43).
    last_heard: Instant,
    /// Malformed frames since the last good one.
    malformed: u32,
    freed: Freed,
}

#[derive(Debug)]
enum State {
    /// The transport is not ready, or the router has not been asked.
    New,
    Joined(PeerId),
    /// What waits is leaving.
    Closing {
        until: Instant,
        reason: CloseReason,
    },
    Closed,
}

/// What a peer has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A message for the router, with the recipient's id.
    Message(Frame),
    /// Frames came that hold no message; they are dropped (WD-33).
    Malformed {
        /// Octets of the last one's content.
        length: usize,
        /// How many there were since the event before.
        count: u64,
    },
    /// Always the last event: the router is to be told.
    Closed(CloseReason),
}

impl Peer {
    /// A peer over a transport that is ready, or will be.
    pub fn new(config: PeerConfig, now: Instant) -> Self {
        Self {
            state: State::New,
            incoming: Incoming::new(config.max_frame, config.frame_timeout),
            outgoing: Outgoing::default(),
            events: VecDeque::new(),
            untaken: 0,
            paused: false,
            last_heard: now,
            malformed: 0,
            freed: Freed::default(),
            config,
        }
    }

    /// Tells the peer the id under which the router knows it, once (WD-20).
    pub fn assign(&mut self, now: Instant, id: PeerId) {
        if matches!(self.state, State::New) {
            self.state = State::Joined(id);
            self.last_heard = now;
            self.outgoing.push(now, Frame::assignment(id));
        }
    }

    /// The id that was assigned, while the connection is open.
    pub fn id(&self) -> Option<PeerId> {
        match self.state {
            State::Joined(id) => Some(id),
            State::New | State::Closing { .. } | State::Closed => None,
        }
    }

    /// Queues a frame that the router has for this peer.
    ///
    /// The router minds how much that may be; one that comes after the end is dropped.
    pub fn deliver(&mut self, now: Instant, frame: Frame) {
        match self.state {
            State::New | State::Joined(_) => self.outgoing.push(now, frame),
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// Stops reading, or goes on with it, as the router asks (WD-41).
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if paused {
            self.incoming.pause();
        }
    }

    /// What has been handed to the transport since the last call, for
    /// [`Router::freed`](super::Router::freed).
    pub fn take_freed(&mut self) -> Option<Freed> {
        let freed = core::mem::take(&mut self.freed);
        (freed != Freed::default()).then_some(freed)
    }

    /// Flushes what waits for `linger`, then ends; what still comes is ignored.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        match self.state {
            State::New | State::Joined(_) if !self.outgoing.is_empty() => {
                let until = now + self.config.linger;
                self.state = State::Closing { until, reason };
            }
            State::New | State::Joined(_) => self.end(reason),
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// The next event, or `None` for now.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        let event = self.events.pop_front()?;
        if let PeerEvent::Message(frame) = &event {
            self.untaken -= cost(frame);
        }
        if self.events.is_empty() && self.events.capacity() > IDLE {
            self.events = VecDeque::new();
        }
        Some(event)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether something waits to leave.
    pub fn is_busy(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Octets held for this connection: what waits to leave, what waits to be taken, and the frame
    /// that is arriving.
    pub fn held(&self) -> usize {
        self.outgoing.octets() + self.untaken + self.incoming.held()
    }

    fn listens(&self) -> bool {
        matches!(self.state, State::New | State::Joined(_))
    }

    fn content(&mut self, content: Cow<'_, [u8]>) {
        let length = content.len();
        if Content::decode(&content) == Content::Keepalive {
            self.malformed = 0;
            return;
        }
        if let Some(frame) = Frame::from_content(content) {
            self.malformed = 0;
            self.untaken += cost(&frame);
            self.events.push_back(PeerEvent::Message(frame));
            return;
        }
        match self.events.back_mut() {
            Some(PeerEvent::Malformed {
                length: last,
                count,
            }) => {
                *last = length;
                *count = count.saturating_add(1);
            }
            _ => self
                .events
                .push_back(PeerEvent::Malformed { length, count: 1 }),
        }
        self.malformed = self.malformed.saturating_add(1);
        if self.malformed >= self.config.malformed_in_a_row {
            self.end(CloseReason::Malformed(self.malformed));
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.state = State::Closed;
            self.outgoing.take_all();
            self.events.push_back(PeerEvent::Closed(reason));
        }
    }

    /// What came while a closing connection was being flushed does not change why it closed.
    fn end_unless_closing(&mut self, reason: CloseReason) {
        let first = match &self.state {
            State::Closing { reason, .. } => reason.clone(),
            State::New | State::Joined(_) | State::Closed => reason,
        };
        self.end(first);
    }
}

impl Duplex for Peer {
    fn receive(&mut self, now: Instant, mut bytes: &[u8]) {
        if self.listens() && !bytes.is_empty() {
            self.last_heard = now;
        }
        while self.listens() {
            match self.incoming.cut(now, &mut bytes) {
                Ok(Some(content)) => self.content(content),
                Ok(None) => break,
                Err(error) => self.end(error.into()),
            }
        }
        if !self.wants_read() {
            self.incoming.pause();
        }
    }

    fn receive_end(&mut self, _now: Instant, end: End) {
        self.end_unless_closing(match end {
            End::Lost(loss) => loss.into(),
            // A frame that was cut off is lost, and nobody counts on any (WD-2).
            End::Eof | End::Cut => CloseReason::ClosedByPeer,
        });
    }

    fn wants_read(&self) -> bool {
        self.listens() && !self.paused && self.untaken < limits::WADDELL_UNTAKEN
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        let before = bytes::Buf::remaining(out);
        let freed = self.outgoing.transmit(now, out);
        if let Some(freed) = freed {
            self.freed.frames += freed.frames;
            self.freed.octets += freed.octets;
        }
        if let State::Closing { reason, .. } = &self.state {
            if self.outgoing.is_empty() {
                let reason = reason.clone();
                self.end(reason);
            }
        }
        freed.map(|_| bytes::Buf::remaining(out) - before)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Closing { until, .. } => Some(until),
            State::New | State::Joined(_) => None,
            State::Closed => return None,
        };
        let idle = match self.state {
            // A pause of ours is not the peer's silence.
            State::Joined(_) if self.wants_read() => self.config.idle_timeout,
            State::Joined(_) | State::New | State::Closing { .. } | State::Closed => None,
        };
        let idle = idle.map(|timeout| self.last_heard + timeout);
        let stall = self.outgoing.waits_since();
        let stall = stall.map(|since| since + self.config.stall_timeout);
        let frame = self.incoming.deadline(self.wants_read());
        [state, idle, stall, frame].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        let reading = self.wants_read();
        match &self.state {
            State::Closing { until, reason } if *until <= now => {
                let reason = reason.clone();
                return self.end(reason);
            }
            State::Joined(_) if !reading => self.last_heard = now,
            State::Joined(_) => {
                let timeout = self.config.idle_timeout;
                if let Some(timeout) = timeout.filter(|idle| self.last_heard + *idle <= now) {
                    return self.end(CloseReason::Idle(timeout));
                }
            }
            State::Closed => return,
            State::New | State::Closing { .. } => {}
        }
        let timeout = self.config.stall_timeout;
        let waits_since = self.outgoing.waits_since();
        if waits_since.is_some_and(|since| since + timeout <= now) {
            return self.end_unless_closing(CloseReason::Stalled(timeout));
        }
        if let Some(timeout) = self.incoming.expire(now, reading) {
            self.end_unless_closing(CloseReason::FrameTimeout(timeout));
        }
    }

    fn is_drained(&self) -> bool {
        self.is_closed()
    }
}

/// Places an idle connection keeps.
const IDLE: usize = 4;

/// What a frame costs beside its octets is about this much.
fn cost(frame: &Frame) -> usize {
    frame.wire_len() + 64
}
