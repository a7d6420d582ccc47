//! A client's end of one connection.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::error::{CloseReason, SendError};
use super::frame::{Content, Frame, Message};
use super::id::{PeerId, TopicId};
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use crate::duplex::{Duplex, End};
use crate::limits;
use crate::{Instant, Outbox};

/// The settings of one connection's client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The server must have assigned an id by then (WD-51).
    pub assign_timeout: Duration,
    /// Silence in the sending direction after which a keepalive is sent; `None` is never (WD-54).
    pub keepalive_interval: Option<Duration>,
    /// How long what is queued may take to leave after [`Client::close`] (WD-59).
    pub linger: Duration,
    /// Octets that wait to leave, or one message (WD-53).
    pub send_queue: usize,
    /// A frame once begun must be complete within this time (HD-30).
    pub frame_timeout: Duration,
    /// The transport must take something in this time while output waits (HD-31).
    pub write_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            assign_timeout: limits::WADDELL_ASSIGN,
            keepalive_interval: None,
            linger: limits::CLOSE_LINGER,
            send_queue: limits::WADDELL_SEND_QUEUE,
            frame_timeout: limits::PACKET_TIMEOUT,
            write_timeout: limits::WRITE_TIMEOUT,
        }
    }
}

/// A client's end of one connection, from its transport's first octet to its last.
///
/// It is given an id, sends, and receives. One that dials again when its connection is lost, and sorts
/// what it receives by topic, is a [`Station`](super::Station).
///
/// ```text
/// Waiting ──assigned──> Open ──close──> Closing ──flushed, or linger──> Closed
///    └─────too short, too late, lost──────┴───────────────────────────────^
/// ```
///
/// # Example
///
/// ```
/// use scamp_proto::waddell::{Client, ClientConfig, ClientEvent, PeerId, SendError, TopicId};
/// use scamp_proto::{Duplex, Instant, Outbox};
///
/// let now = Instant::EPOCH;
/// let mut client = Client::new(ClientConfig::default(), now);
/// let friend = PeerId::from_octets([8; 16]);
/// assert_eq!(client.send(now, friend, TopicId(1), &[b"Hi"]), Err(SendError::NotReady));
///
/// client.receive(now, &[&[18, 0][..], &[7; 16], &[0, 0]].concat());
/// let own = PeerId::from_octets([7; 16]);
/// assert_eq!(client.poll_event(), Some(ClientEvent::Assigned(own)));
///
/// client.send(now, friend, TopicId(1), &[b"Hi"])?;
/// let mut out = Outbox::default();
/// assert_eq!(client.poll_transmit(now, &mut out), Some(22));
/// # Ok::<(), SendError>(())
/// ```
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    state: State,
    /// Whether an id was ever assigned.
    assigned: bool,
    incoming: Incoming,
    outgoing: Outgoing,
    events: VecDeque<ClientEvent>,
    /// Octets of the messages in `events`.
    untaken: usize,
    /// Whether a send was refused for want of room.
    wants_room: bool,
    /// When the transport last took something.
    last_sent: Instant,
    malformed: u64,
}

#[derive(Debug)]
enum State {
    /// No id has been assigned.
    Waiting {
        until: Instant,
    },
    Open(PeerId),
    /// What is queued is leaving.
    Closing {
        until: Instant,
    },
    Closed,
}

/// What a client has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The server has assigned an id; once, and before any message (WD-75).
    Assigned(PeerId),
    /// A message has come (WD-55).
    Message(Message),
    /// Frames came that hold no message; the connection stays (WD-57).
    Malformed {
        /// Octets of the last one's content.
        length: usize,
        /// How many there were since the event before.
        count: u64,
    },
    /// There is room again after [`SendError::Full`].
    Writable,
    /// Always the last event.
    Closed(CloseReason),
}

impl Client {
    /// A client over a transport that is ready, or will be.
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        Self {
            state: State::Waiting {
                until: now + config.assign_timeout,
            },
            assigned: false,
            incoming: Incoming::new(limits::WADDELL_FRAME, config.frame_timeout),
            outgoing: Outgoing::default(),
            events: VecDeque::new(),
            untaken: 0,
            wants_room: false,
            last_sent: now,
            malformed: 0,
            config,
        }
    }

    /// The id that the server has assigned, while the connection is open.
    pub fn id(&self) -> Option<PeerId> {
        match self.state {
            State::Open(id) => Some(id),
            State::Waiting { .. } | State::Closing { .. } | State::Closed => None,
        }
    }

    /// Sends a message whose body is all `parts` joined (WD-52).
    ///
    /// Nothing says whether it arrives: the server drops what is for nobody, or for a peer that takes
    /// too little.
    ///
    /// # Errors
    ///
    /// Any [`SendError`] but `NotConnected`. Nothing is sent then, and the connection is as it was;
    /// after `Full`, [`ClientEvent::Writable`] tells when to try again.
    pub fn send(
        &mut self,
        now: Instant,
        to: PeerId,
        topic: TopicId,
        parts: &[&[u8]],
    ) -> Result<(), SendError> {
        match self.state {
            State::Open(_) => {}
            State::Waiting { .. } => return Err(SendError::NotReady),
            State::Closing { .. } | State::Closed => return Err(SendError::Closed),
        }
        let frame = Frame::message(to, topic, parts)?;
        let queued = self.outgoing.octets();
        if queued > 0 && queued + frame.wire_len() > self.config.send_queue {
            self.wants_room = true;
            return Err(SendError::Full);
        }
        self.outgoing.push(now, frame);
        Ok(())
    }

    /// Says that this end is still there, unless something is queued that says so, too (WD-54).
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`].
    pub fn keepalive(&mut self, now: Instant) -> Result<(), SendError> {
        match self.state {
            State::Waiting { .. } | State::Open(_) => {
                self.outgoing.push_keepalive(now);
                Ok(())
            }
            State::Closing { .. } | State::Closed => Err(SendError::Closed),
        }
    }

    /// Flushes what is queued for `linger`, then ends (WD-59); what still comes is ignored.
    pub fn close(&mut self, now: Instant) {
        match self.state {
            State::Waiting { .. } | State::Open(_) if !self.outgoing.is_empty() => {
                let until = now + self.config.linger;
                self.state = State::Closing { until };
            }
            State::Waiting { .. } | State::Open(_) => self.end(CloseReason::ClosedLocally),
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// The next event, or `None` for now.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        let event = self.events.pop_front()?;
        match &event {
            ClientEvent::Message(message) => self.untaken -= cost(message),
            ClientEvent::Closed(_) => self.events = VecDeque::new(),
            _ => {}
        }
        Some(event)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Octets that wait to leave.
    pub fn queued(&self) -> usize {
        self.outgoing.octets()
    }

    /// Frames received that held no message (WD-57).
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Whether something waits to leave.
    pub fn is_busy(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Queues what was to leave by an older connection (WD-76).
    pub(super) fn resend(&mut self, now: Instant, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.outgoing.push(now, frame);
        }
    }

    /// The message that the next event tells.
    pub(super) fn next_message(&self) -> Option<&Message> {
        match self.events.front() {
            Some(ClientEvent::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// Whether an id was ever assigned.
    pub(super) fn was_assigned(&self) -> bool {
        self.assigned
    }

    /// Takes the frames of which no octet was handed to the transport (WD-58).
    pub(super) fn take_unsent(&mut self) -> VecDeque<Frame> {
        self.outgoing.take_all()
    }

    fn listens(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Open(_))
    }

    fn content(&mut self, content: alloc::borrow::Cow<'_, [u8]>) {
        let length = content.len();
        match (&self.state, Content::decode(&content)) {
            (State::Waiting { .. }, Content::Message { id, .. }) => {
                self.state = State::Open(id);
                self.assigned = true;
                self.events.push_back(ClientEvent::Assigned(id));
            }
            (State::Waiting { .. }, Content::Keepalive | Content::Malformed) => {
                self.end(CloseReason::BadAssignment(length));
            }
            (State::Open(_), Content::Message { .. }) => {
                if let Some(frame) = Frame::from_content(content) {
                    let message = frame.into_message();
                    self.untaken += cost(&message);
                    self.events.push_back(ClientEvent::Message(message));
                }
            }
            (State::Open(_), Content::Keepalive | Content::Malformed) => {
                self.malformed = self.malformed.saturating_add(1);
                if let Some(ClientEvent::Malformed {
                    length: last,
                    count,
                }) = self.events.back_mut()
                {
                    *last = length;
                    *count = count.saturating_add(1);
                } else {
                    let count = 1;
                    self.events
                        .push_back(ClientEvent::Malformed { length, count });
                }
            }
            (State::Closing { .. } | State::Closed, _) => {}
        }
    }

    /// The connection has ended. What was queued stays for [`take_unsent`](Self::take_unsent).
    fn end(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.state = State::Closed;
            self.events.push_back(ClientEvent::Closed(reason));
        }
    }
}

impl Duplex for Client {
    fn receive(&mut self, now: Instant, mut bytes: &[u8]) {
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
        match end {
            End::Lost(loss) => self.end(loss.into()),
            // A frame that was cut off is lost, and nobody counts on any (WD-2).
            End::Eof | End::Cut => self.end(CloseReason::ClosedByPeer),
        }
    }

    fn wants_read(&self) -> bool {
        self.listens() && self.untaken < limits::WADDELL_UNTAKEN
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        if self.is_closed() {
            return None;
        }
        let before = bytes::Buf::remaining(out);
        let freed = self.outgoing.transmit(now, out);
        if freed.is_some() {
            self.last_sent = now;
        }
        if self.wants_room && self.outgoing.octets() <= self.config.send_queue / 2 {
            self.wants_room = false;
            self.events.push_back(ClientEvent::Writable);
        }
        if matches!(self.state, State::Closing { .. }) && self.outgoing.is_empty() {
            self.end(CloseReason::ClosedLocally);
        }
        freed.map(|_| bytes::Buf::remaining(out) - before)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Waiting { until } | State::Closing { until } => Some(until),
            State::Open(_) => None,
            State::Closed => return None,
        };
        let keepalive = self
            .config
            .keepalive_interval
            .filter(|_| self.listens() && self.outgoing.is_empty())
            .map(|interval| self.last_sent + interval);
        let frame = self.incoming.deadline(self.wants_read());
        let write = self.outgoing.waits_since();
        let write = write.map(|since| since + self.config.write_timeout);
        [state, keepalive, frame, write].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Waiting { until } if until <= now => {
                return self.end(CloseReason::NoAssignment(self.config.assign_timeout));
            }
            State::Closing { until } if until <= now => {
                self.outgoing.take_all();
                return self.end(CloseReason::ClosedLocally);
            }
            State::Closed => return,
            State::Waiting { .. } | State::Open(_) | State::Closing { .. } => {}
        }
        let timeout = self.config.write_timeout;
        if self
            .outgoing
            .waits_since()
            .is_some_and(|since| since + timeout <= now)
        {
            return self.end(CloseReason::Stalled(timeout));
        }
        let reading = self.wants_read();
        if let Some(timeout) = self.incoming.expire(now, reading) {
            return self.end(CloseReason::FrameTimeout(timeout));
        }
        let interval = self.config.keepalive_interval.filter(|_| self.listens());
        if interval.is_some_and(|interval| self.last_sent + interval <= now) {
            self.outgoing.push_keepalive(now);
        }
    }

    fn is_drained(&self) -> bool {
        self.is_closed()
    }
}

/// What a message costs beside its body's octets is about this much.
fn cost(message: &Message) -> usize {
    message.body.len() + 64
}
