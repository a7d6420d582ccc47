//! A client that stays connected.

use alloc::collections::{BTreeSet, VecDeque};

use super::client::{Client, ClientConfig, ClientEvent};
use super::error::{CloseReason, SendError};
use super::frame::{Frame, Message};
use super::id::{PeerId, TopicId};
use super::inboxes::{InboxConfig, Inboxes, Put};
use super::reconnect::{Generation, Outlook, Reconnect, ReconnectConfig};
use crate::duplex::{Duplex, End};
use crate::error::Loss;
use crate::limits;
use crate::{Instant, Outbox};

/// The settings of a [`Station`].
#[derive(Clone, Debug, Default)]
pub struct StationConfig {
    /// Those of each connection.
    pub client: ClientConfig,
    /// When to dial, and when to give up.
    pub reconnect: ReconnectConfig,
    /// How much of each topic is kept.
    pub inboxes: InboxConfig,
    /// Whether [`Station::send`] refuses while there is no connection, instead of keeping what is
    /// sent for the next one (WD-76).
    pub fail_fast: bool,
    /// Whether a full topic stops reading, instead of dropping what is new (WD-85).
    ///
    /// This stops all topics, and the news that a connection has ended, until the one that is full
    /// is read.
    pub pause_when_full: bool,
}

/// A client that stays connected: it says when to dial, is each connection's client in turn, keeps
/// what is sent meanwhile, and sorts what comes by topic.
///
/// It is a [`Duplex`] for whichever transport it was last told of. The owner dials when
/// [`poll_dial`](Self::poll_dial) says so, tells of the result, drives the transport until
/// [`is_drained`](Duplex::is_drained), and asks again; between two transports it waits for
/// [`poll_timeout`](Duplex::poll_timeout).
///
/// ```text
///  poll_dial() ──> owner dials ──> connected() ──> the transport is driven ──is_drained──┐
///     ▲                └─────────> failed() ──────────────────────────────────┐          │
///     └──────────────────────────── pause ─────────────────────────────────<──┴──────────┘
/// ```
///
/// # Example
///
/// ```
/// use scamp_proto::waddell::{Station, StationConfig, StationEvent, PeerId, Take, TopicId};
/// use scamp_proto::{Duplex, Instant, Outbox};
///
/// let now = Instant::EPOCH;
/// let mut station = Station::new(StationConfig::default(), now);
/// let (own, friend) = (PeerId::from_octets([7; 16]), PeerId::from_octets([8; 16]));
/// station.open(TopicId(1));
/// station.send(now, friend, TopicId(1), &[b"kept until there is a connection"])?;
///
/// let generation = station.poll_dial(now).expect("the first try is at once");
/// // … the owner opens a transport …
/// assert!(station.connected(now, generation));
/// station.receive(now, &[&[18, 0][..], &own.octets(), &[0, 0]].concat());
/// assert_eq!(station.poll_event(), Some(StationEvent::Assigned { id: own, generation }));
/// assert_eq!(station.id(), Some(own));
/// let mut out = Outbox::default();
/// assert_eq!(station.poll_transmit(now, &mut out), Some(52));
///
/// station.receive(now, &[&[20, 0][..], &friend.octets(), &[1, 0], b"Hi"].concat());
/// assert_eq!(station.poll_event(), Some(StationEvent::Readable(TopicId(1))));
/// let Take::Message(message) = station.take(now, TopicId(1)) else { panic!() };
/// assert_eq!((message.from, &message.body[..]), (friend, &b"Hi"[..]));
/// # Ok::<(), scamp_proto::waddell::SendError>(())
/// ```
#[derive(Debug)]
pub struct Station {
    config: StationConfig,
    phase: Phase,
    reconnect: Reconnect,
    /// The client of the transport in use.
    client: Option<Client>,
    inboxes: Inboxes,
    /// What was sent without a connection.
    backlog: VecDeque<Frame>,
    /// Octets of `backlog` on the wire.
    backlog_octets: usize,
    /// Whether a send was refused for want of room.
    wants_room: bool,
    events: VecDeque<StationEvent>,
    /// Topics whose readers are to be told.
    readable: BTreeSet<TopicId>,
    malformed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
    /// What is queued is leaving.
    Closing,
    /// Only the last event is missing.
    Ending,
    Over,
}

/// What a station has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StationEvent {
    /// There is a connection, and a new id; once for each, before any message of it (WD-75).
    ///
    /// Nobody else is told: peers that knew the old id write to nobody (WD-78).
    Assigned {
        /// The id, which [`Station::id`] says from now on.
        id: PeerId,
        /// Which connection.
        generation: Generation,
    },
    /// A connection that had been assigned an id is gone; once for each (WD-77).
    Disconnected {
        /// Which connection.
        generation: Generation,
        /// Why.
        reason: CloseReason,
    },
    /// [`Station::take`] has something for the reader of this topic.
    Readable(TopicId),
    /// There is room again after [`SendError::Full`].
    Writable,
    /// All tries have failed, the last one for this reason (WD-72); `Closed` follows.
    GaveUp(CloseReason),
    /// Always the last event.
    Closed,
}

/// What a topic's reader gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Take {
    /// The oldest message.
    Message(Message),
    /// Nothing now; [`StationEvent::Readable`] tells when there is.
    Empty,
    /// Nothing any more: the station is closed (WD-86).
    Ended,
}

impl Station {
    /// A station that wants to be connected at once.
    pub fn new(config: StationConfig, now: Instant) -> Self {
        Self {
            phase: Phase::Running,
            reconnect: Reconnect::new(config.reconnect.clone(), now),
            client: None,
            inboxes: Inboxes::new(config.inboxes.clone()),
            backlog: VecDeque::new(),
            backlog_octets: 0,
            wants_room: false,
            events: VecDeque::new(),
            readable: BTreeSet::new(),
            malformed: 0,
            config,
        }
    }

    /// The connection to make now, if one is to be made; it is told once.
    pub fn poll_dial(&mut self, now: Instant) -> Option<Generation> {
        match (&self.client, self.phase) {
            (None, Phase::Running) => self.reconnect.poll_dial(now),
            (Some(_), _) | (_, Phase::Closing | Phase::Ending | Phase::Over) => None,
        }
    }

    /// A transport is open, or will be once TLS has shaken hands; it is this station's from now on.
    ///
    /// Returns `false` if it is not wanted any more and must be closed (WD-71, WD-74).
    #[must_use]
    pub fn connected(&mut self, now: Instant, generation: Generation) -> bool {
        let wanted = self.phase == Phase::Running
            && self.client.is_none()
            && self.reconnect.is_dialling(generation);
        if wanted {
            self.client = Some(Client::new(self.config.client.clone(), now));
        }
        wanted
    }

    /// No transport could be opened.
    pub fn failed(&mut self, now: Instant, generation: Generation, loss: Loss) {
        if self.client.is_none() {
            self.note_failure(now, generation, loss.into());
        }
    }

    /// The current id; none while there is no connection (WD-75).
    pub fn id(&self) -> Option<PeerId> {
        self.client.as_ref().and_then(Client::id)
    }

    /// The newest connection, or the one that is being made.
    pub fn generation(&self) -> Generation {
        self.reconnect.generation()
    }

    /// Sends a message whose body is all `parts` joined, at once or with the next connection (WD-52,
    /// WD-76).
    ///
    /// # Errors
    ///
    /// `TooLong`, `Full`, `NotConnected` with `fail_fast`, and `Closed`. Nothing is sent then; after
    /// `Full`, [`StationEvent::Writable`] tells when to try again.
    pub fn send(
        &mut self,
        now: Instant,
        to: PeerId,
        topic: TopicId,
        parts: &[&[u8]],
    ) -> Result<(), SendError> {
        if self.phase != Phase::Running {
            return Err(SendError::Closed);
        }
        if let Some(client) = self.client.as_mut().filter(|client| client.id().is_some()) {
            let sent = client.send(now, to, topic, parts);
            self.wants_room |= sent == Err(SendError::Full);
            return sent;
        }
        if self.config.fail_fast {
            return Err(SendError::NotConnected);
        }
        let frame = Frame::message(to, topic, parts)?;
        let octets = self.backlog_octets + frame.wire_len();
        if !self.backlog.is_empty() && octets > self.config.client.send_queue {
            self.wants_room = true;
            return Err(SendError::Full);
        }
        self.backlog_octets = octets;
        self.backlog.push_back(frame);
        Ok(())
    }

    /// Says that this end is still there, unless something is queued that says so, too (WD-54).
    ///
    /// # Errors
    ///
    /// [`SendError::NotConnected`] and [`SendError::Closed`].
    pub fn keepalive(&mut self, now: Instant) -> Result<(), SendError> {
        match (self.phase, &mut self.client) {
            (Phase::Running, Some(client)) => client.keepalive(now),
            (Phase::Running, None) => Err(SendError::NotConnected),
            (Phase::Closing | Phase::Ending | Phase::Over, _) => Err(SendError::Closed),
        }
    }

    /// Opens a topic's inbox; one that is open stays as it is (WD-83).
    pub fn open(&mut self, topic: TopicId) {
        self.inboxes.open(topic);
    }

    /// Forgets a topic that nobody reads any more, and what waits in it.
    pub fn shut(&mut self, now: Instant, topic: TopicId) {
        self.inboxes.shut(topic);
        self.readable.remove(&topic);
        self.settle(now);
    }

    /// Takes the oldest message of an open topic.
    pub fn take(&mut self, now: Instant, topic: TopicId) -> Take {
        match self.inboxes.take(topic) {
            Some(message) => {
                if self.config.pause_when_full {
                    self.settle(now);
                }
                Take::Message(message)
            }
            None if self.is_closed() => Take::Ended,
            None => Take::Empty,
        }
    }

    /// The inboxes, for their counts.
    pub fn inboxes(&self) -> &Inboxes {
        &self.inboxes
    }

    /// Frames received that held no message (WD-57).
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Flushes what is queued for `linger` if there is a connection, then ends (WD-59).
    pub fn close(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Closing;
        self.reconnect.close();
        match &mut self.client {
            Some(client) => {
                client.close(now);
                self.settle(now);
            }
            None => self.end(),
        }
    }

    /// The next event, or `None` for now.
    pub fn poll_event(&mut self) -> Option<StationEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if let Some(topic) = self.readable.pop_first() {
            return Some(StationEvent::Readable(topic));
        }
        if self.phase == Phase::Ending {
            self.phase = Phase::Over;
            return Some(StationEvent::Closed);
        }
        None
    }

    /// Whether it is over: closed, or given up.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Ending | Phase::Over)
    }

    /// Whether something waits to leave by the transport in use.
    pub fn is_busy(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_busy)
    }

    /// Takes what the client has to tell.
    fn settle(&mut self, now: Instant) {
        while let Some(client) = &mut self.client {
            if self.config.pause_when_full && is_held_up(client, &self.inboxes) {
                break;
            }
            let Some(event) = client.poll_event() else {
                break;
            };
            match event {
                ClientEvent::Assigned(id) => self.note_assigned(now, id),
                ClientEvent::Message(message) => {
                    let topic = message.topic;
                    if self.inboxes.put(message) == Put::First {
                        self.readable.insert(topic);
                    }
                }
                ClientEvent::Malformed { count, .. } => {
                    self.malformed = self.malformed.saturating_add(count);
                }
                ClientEvent::Writable => {}
                ClientEvent::Closed(reason) => self.note_closed(now, reason),
            }
        }
        let queued = self.client.as_ref().map_or(0, Client::queued) + self.backlog_octets;
        if self.wants_room && queued <= self.config.client.send_queue / 2 {
            self.wants_room = false;
            self.tell(StationEvent::Writable);
        }
    }

    fn note_assigned(&mut self, now: Instant, id: PeerId) {
        let generation = self.reconnect.generation();
        if self.reconnect.connected(now, generation) {
            self.tell(StationEvent::Assigned { id, generation });
        }
        self.backlog_octets = 0;
        let backlog = core::mem::take(&mut self.backlog);
        if let Some(client) = &mut self.client {
            client.resend(now, backlog);
        }
    }

    /// The transport in use has ended.
    fn note_closed(&mut self, now: Instant, reason: CloseReason) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        let generation = self.reconnect.generation();
        if self.phase != Phase::Running {
            if client.was_assigned() {
                self.tell(StationEvent::Disconnected { generation, reason });
            }
            return self.end();
        }
        match self.reconnect.lost(now, generation) {
            Outlook::Stale => self.note_failure(now, generation, reason),
            Outlook::Again | Outlook::GaveUp => {
                if !self.config.fail_fast {
                    self.backlog_octets += client.queued();
                    let later = core::mem::replace(&mut self.backlog, client.take_unsent());
                    self.backlog.extend(later);
                }
                self.tell(StationEvent::Disconnected { generation, reason });
            }
        }
    }

    fn note_failure(&mut self, now: Instant, generation: Generation, reason: CloseReason) {
        match self.reconnect.failed(now, generation) {
            Outlook::Again | Outlook::Stale => {}
            Outlook::GaveUp => {
                self.tell(StationEvent::GaveUp(reason));
                self.end();
            }
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Ending;
        self.backlog = VecDeque::new();
        self.backlog_octets = 0;
        self.wants_room = false;
    }

    fn tell(&mut self, event: StationEvent) {
        if self.events.len() >= limits::WADDELL_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Whether the next message is for an open topic that has no room.
fn is_held_up(client: &Client, inboxes: &Inboxes) -> bool {
    client
        .next_message()
        .is_some_and(|message| inboxes.is_open(message.topic) && !inboxes.has_room(message))
}

impl Duplex for Station {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        if let Some(client) = &mut self.client {
            client.receive(now, bytes);
            self.settle(now);
        }
    }

    fn receive_end(&mut self, now: Instant, end: End) {
        if let Some(client) = &mut self.client {
            client.receive_end(now, end);
            self.settle(now);
        }
    }

    fn wants_read(&self) -> bool {
        self.client.as_ref().is_some_and(Client::wants_read)
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        let sent = self.client.as_mut()?.poll_transmit(now, out);
        self.settle(now);
        sent
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.as_ref().and_then(Client::poll_timeout);
        [client, self.reconnect.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(client) = &mut self.client {
            client.handle_timeout(now);
            self.settle(now);
        }
        self.reconnect.handle_timeout(now);
        if self.reconnect.is_late(now) {
            // The transport, if there is one, is closed with its client (WD-71).
            self.client = None;
            let generation = self.reconnect.generation();
            let loss = Loss::ConnectTimeout(self.config.reconnect.dial_timeout);
            self.note_failure(now, generation, loss.into());
        }
    }

    /// Whether the transport in use, if any, can be dropped.
    fn is_drained(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_drained)
    }
}
