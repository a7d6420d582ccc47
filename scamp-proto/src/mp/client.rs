//! A client's end of its stream to the server.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::config::{ClientConfig, OnFull};
use super::encoding::{Decoder, Encoder, Queue};
use super::error::{CloseReason, DecodeError, OpenError, Reason, SendError};
use super::message::{ClientName, Data, Message, Meta, Text};
use crate::limits::{CONTROL, MP_BEFORE, MP_CONNECTION_ID, MP_EARLY, MP_PROTOCOL, TURN};
use crate::{Duplex, End, Instant, Outbox};

/// A client's end of its stream to the server, with all its connections.
///
/// ```text
///  open ──ConnSyn──> Opening ──ConnAck──> Open ──close, ConnClosed──> closed
///  Incoming <──ConnSyn── Offered ──accept──┘ └── send, read
///                           └──refuse, too late: UnknownProto
/// ```
///
/// It signs in at once; connections may be asked for before it has, and wait (MP-80). Messages are
/// taken with [`read`](Self::read) or, as one stream of octets, with
/// [`read_into`](Self::read_into). Whoever reads when told [`Event::Readable`], until there is
/// nothing more, has every message before the connection's end (MP-112).
///
/// ```
/// use scamp_proto::mp::{Client, ClientConfig, ClientName, Encoding, Event};
/// use scamp_proto::{Duplex, Instant, Outbox};
///
/// let now = Instant::EPOCH;
/// let name = ClientName::new("alpha").expect("a valid name");
/// let mut client = Client::new(ClientConfig::new(Encoding::Json), name, "secret".into(), now);
/// let mut out = Outbox::default();
/// client.poll_transmit(now, &mut out);
/// assert!(out.take_all().starts_with(br#"{"Meta":8,"OtherClient":"alpha""#));
///
/// client.receive(now, b"{\"Meta\":9,\"OtherClient\":\"alpha\"}\n");
/// assert_eq!(client.poll_event(), Some(Event::SignedIn));
/// ```
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    name: ClientName,
    state: State,
    decoder: Decoder,
    encoder: Encoder,
    /// What signs in, until it leaves.
    auth: Option<Message>,
    /// What arrived before the server's answer to it (MP-81).
    early: Vec<Message>,
    queue: Queue<Outgoing>,
    /// What the messages in `queue` cost that are not payload: a peer can ask for them.
    control: usize,
    /// Whether somebody waits for room in `queue`.
    wants_room: bool,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that are not closed, by what they are on the wire.
    index: BTreeMap<(Text, Text), ConnectionId>,
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    next_id: u64,
    /// The number of the next connection of ours on the wire.
    next_number: u32,
    numbers: BTreeSet<u32>,
    /// Offers that are not decided.
    offered: usize,
    /// Messages not taken, and what they cost.
    unread: (usize, usize),
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    SigningIn {
        until: Instant,
    },
    Open,
    /// Only what is queued leaves.
    Closing {
        until: Instant,
    },
    Closed,
}

/// Which connection; numbers are never used again (MP-132).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(u64);

/// What a client tells its application.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server knows this client.
    SignedIn,
    /// Another client wants a connection; [accept](Client::accept) or [refuse](Client::refuse) it.
    Incoming {
        /// The connection.
        id: ConnectionId,
        /// Who wants it.
        peer: Text,
        /// What for.
        protocol: Text,
    },
    /// A connection of ours is open.
    Opened {
        /// The connection.
        id: ConnectionId,
    },
    /// A connection of ours did not open.
    OpenFailed {
        /// The connection.
        id: ConnectionId,
        /// Why not.
        why: OpenError,
    },
    /// There is something to [read](Client::read); told once, until somebody found nothing there.
    Readable {
        /// The connection.
        id: ConnectionId,
    },
    /// A connection is closed: nothing more can be sent on it, and nothing more arrives. What
    /// arrived can still be read, unless this end closed it.
    Closed {
        /// The connection.
        id: ConnectionId,
        /// Why.
        why: CloseReason,
    },
    /// Somebody sent a message that means nothing here (MP-101).
    Odd {
        /// Who.
        peer: Text,
        /// What it was.
        meta: Meta,
    },
    /// There is room again for what found the queue full.
    Writable,
    /// Always the last event, once.
    Ended(Reason),
}

/// What reading a message gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Read {
    /// A message, or what is left of it.
    Message(Bytes),
    /// There will be no more.
    End,
    /// Not yet; wait for [`Event::Readable`].
    Pending,
}

/// What reading octets gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadInto {
    /// So many octets.
    Octets(usize),
    /// There will be no more.
    End,
    /// Not yet; wait for [`Event::Readable`].
    Pending,
}

#[derive(Debug)]
struct Connection {
    peer: Text,
    wire: Text,
    /// The number in `wire`, if it is ours.
    number: Option<u32>,
    stage: Stage,
    unread: VecDeque<Bytes>,
    /// What `unread` costs.
    cost: usize,
    /// Its payloads in the client's queue.
    queued: usize,
    /// Whether its reader knows that there is something, or has not been there since.
    is_told: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Opening {
        until: Instant,
    },
    Offered {
        until: Instant,
    },
    Open,
    /// It is closed, and not everything was read.
    Closed,
}

#[derive(Debug)]
struct Outgoing {
    message: Message,
    /// Whose payload it is.
    payload_of: Option<ConnectionId>,
}

impl Client {
    /// A client that signs in under this name, over a transport that is ready or will be.
    pub fn new(config: ClientConfig, name: ClientName, secret: Data, now: Instant) -> Self {
        let auth = Message::new(Meta::AUTH, name.as_text(), "", secret);
        Self {
            state: State::SigningIn {
                until: now + config.auth_timeout,
            },
            decoder: Decoder::new(config.encoding, config.decode),
            encoder: Encoder::new(config.encoding),
            auth: Some(auth),
            early: Vec::new(),
            queue: Queue::default(),
            control: 0,
            wants_room: false,
            connections: BTreeMap::new(),
            index: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_id: 0,
            next_number: config.first_number,
            numbers: BTreeSet::new(),
            offered: 0,
            unread: (0, 0),
            events: VecDeque::new(),
            name,
            config,
        }
    }

    /// Asks another client for a connection; how it comes out is told by an event.
    ///
    /// Any text is a protocol's name, also the empty one (MP-90).
    ///
    /// # Errors
    ///
    /// [`OpenError::SelfConnection`] (MP-94), [`OpenError::InvalidName`],
    /// [`OpenError::ProtocolTooLong`], [`OpenError::TooMany`], [`OpenError::Full`], and
    /// [`OpenError::ClientClosed`] when the stream has ended.
    pub fn open(
        &mut self,
        now: Instant,
        peer: &str,
        protocol: &str,
    ) -> Result<ConnectionId, OpenError> {
        if let State::Closing { .. } | State::Closed = self.state {
            return Err(OpenError::ClientClosed);
        }
        if *self.name == *peer {
            return Err(OpenError::SelfConnection);
        }
        if protocol.len() > MP_PROTOCOL {
            return Err(OpenError::ProtocolTooLong(MP_PROTOCOL));
        }
        if self.connections.len() >= self.config.max_connections {
            return Err(OpenError::TooMany(self.config.max_connections));
        }
        // Who opens and closes without end would fill the queue with it.
        if self.control >= CONTROL {
            return Err(OpenError::Full);
        }
        let peer = ClientName::new(peer).ok_or(OpenError::InvalidName)?;
        while self.numbers.contains(&self.next_number) {
            self.next_number = self.next_number.wrapping_add(1);
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        self.numbers.insert(number);
        let wire = Text::from(format!("{}:{number:x}", self.name));
        let peer = peer.as_text().clone();
        let until = now + self.config.open_timeout;
        let stage = Stage::Opening { until };
        let id = self.add(peer.clone(), wire.clone(), Some(number), stage);
        self.deadlines.insert((until, id));
        let data = Data::from(protocol);
        self.control(Message::new(Meta::CONN_SYN, peer, wire, data));
        Ok(id)
    }

    /// Takes a connection that was [offered](Event::Incoming).
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when the offer does not stand any more.
    pub fn accept(&mut self, id: ConnectionId) -> Result<(), SendError> {
        let Some(Stage::Offered { until }) = self.stage(id) else {
            return Err(SendError::Closed);
        };
        let Some(offer) = self.connections.get_mut(&id) else {
            return Err(SendError::Closed);
        };
        offer.stage = Stage::Open;
        let (peer, wire) = (offer.peer.clone(), offer.wire.clone());
        self.deadlines.remove(&(until, id));
        self.offered -= 1;
        self.control(Message::bare(Meta::CONN_ACK, peer, wire));
        Ok(())
    }

    /// Refuses a connection that was [offered](Event::Incoming); the reason is always that the
    /// protocol is unknown (MP-95). Does nothing when the offer does not stand any more.
    pub fn refuse(&mut self, id: ConnectionId) {
        if let Some(Stage::Offered { .. }) = self.stage(id) {
            self.say(id, Meta::UNKNOWN_PROTO);
            self.forget(id);
        }
    }

    /// Sends one message, also an empty one.
    ///
    /// Success means that it is queued, and no more (MP-97, MP-110).
    ///
    /// # Errors
    ///
    /// Those of [`SendError`]; nothing was queued then (MP-115).
    pub fn send(&mut self, id: ConnectionId, data: Bytes) -> Result<(), SendError> {
        let connection = self.connections.get_mut(&id).ok_or(SendError::Closed)?;
        match connection.stage {
            Stage::Opening { .. } | Stage::Offered { .. } => return Err(SendError::NotOpen),
            Stage::Closed => return Err(SendError::Closed),
            Stage::Open => {}
        }
        if data.len() > self.config.max_message {
            return Err(SendError::TooLarge(self.config.max_message));
        }
        let (peer, wire) = (connection.peer.clone(), connection.wire.clone());
        let message = Message::new(Meta::NONE, peer, wire, Data::Octets(data));
        let cost = message.cost();
        if !self.queue.is_empty() && self.queue.cost() + cost > self.config.send_queue {
            self.wants_room = true;
            return Err(SendError::Full);
        }
        connection.queued += 1;
        let payload_of = Some(id);
        let outgoing = Outgoing {
            message,
            payload_of,
        };
        self.queue.push(outgoing, cost);
        Ok(())
    }

    /// Sends octets from the front of `data`, as one message of a size that suits both ends, and
    /// says how many; for those who do not care about messages.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `data` is then left as it was.
    pub fn write(&mut self, id: ConnectionId, data: &mut Bytes) -> Result<usize, SendError> {
        if data.is_empty() {
            return Ok(0);
        }
        let len = data.len().min(WRITE).min(self.config.max_message);
        self.send(id, data.slice(..len))?;
        data.advance(len);
        Ok(len)
    }

    /// Takes the next message, or what [`read_into`](Self::read_into) has left of it.
    pub fn read(&mut self, id: ConnectionId) -> Read {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Read::End;
        };
        match connection.unread.pop_front() {
            Some(message) => {
                let cost = READ_COST + message.len();
                connection.cost -= cost;
                self.unread = (self.unread.0 - 1, self.unread.1 - cost);
                Read::Message(message)
            }
            None if connection.stage == Stage::Closed => {
                self.connections.remove(&id);
                Read::End
            }
            None => {
                connection.is_told = false;
                connection.unread = VecDeque::new();
                Read::Pending
            }
        }
    }

    /// Takes octets, as many as are there and as `room` has place for: where messages begin and end
    /// is lost, and empty ones are skipped (MP-116).
    pub fn read_into(&mut self, id: ConnectionId, room: &mut [u8]) -> ReadInto {
        let mut taken = 0;
        while let Some(room) = room.get_mut(taken..).filter(|room| !room.is_empty()) {
            match self.read(id) {
                Read::Message(mut message) => {
                    let len = message.len().min(room.len());
                    let rest = message.split_off(len);
                    message.copy_to_slice(room.get_mut(..len).unwrap_or_default());
                    taken += len;
                    if !rest.is_empty() {
                        self.put_back(id, rest);
                    }
                }
                Read::End | Read::Pending if taken > 0 => {
                    // The reader comes back for this.
                    break;
                }
                Read::End => return ReadInto::End,
                Read::Pending => return ReadInto::Pending,
            }
        }
        ReadInto::Octets(taken)
    }

    /// Closes a connection, after what was sent on it before; what was not read is discarded
    /// (MP-113). Closing twice does nothing (MP-117).
    pub fn close(&mut self, id: ConnectionId) {
        match self.stage(id) {
            None => {}
            Some(Stage::Offered { .. }) => self.refuse(id),
            Some(Stage::Opening { .. }) => {
                self.say(id, Meta::CONN_CLOSED);
                self.forget(id);
            }
            Some(Stage::Open) => {
                self.say(id, Meta::CONN_CLOSED);
                self.forget(id);
                let why = CloseReason::ByUs;
                self.events.push_back(Event::Closed { id, why });
            }
            Some(Stage::Closed) => self.forget(id),
        }
    }

    /// Ends the client: what is queued may still leave for a moment (MP-83).
    pub fn shutdown(&mut self, now: Instant) {
        match self.state {
            State::Open => {
                self.end(Reason::Local);
                let until = now + self.config.linger;
                self.state = State::Closing { until };
            }
            // What waits for the server's answer will not have it (MP-80).
            State::SigningIn { .. } => self.fail(Reason::Local),
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let next = self.events.pop_front();
        if self.events.is_empty() && self.events.capacity() > 8 {
            self.events = VecDeque::new();
        }
        next
    }

    /// The name it signs in under.
    pub fn name(&self) -> &ClientName {
        &self.name
    }

    /// Whether the server knows it.
    pub fn is_signed_in(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Who is at the other end of a connection.
    pub fn peer(&self, id: ConnectionId) -> Option<&Text> {
        self.connections.get(&id).map(|connection| &connection.peer)
    }

    /// The number of its next connection on the wire (MP-9), for a successor under the same name.
    pub fn next_number(&self) -> u32 {
        self.next_number
    }

    /// How many connections there are, with those of which not everything was read.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What it keeps to send and to be read, in octets.
    pub fn held(&self) -> usize {
        self.queue.cost() + self.unread.1
    }

    fn add(&mut self, peer: Text, wire: Text, number: Option<u32>, stage: Stage) -> ConnectionId {
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.index.insert((peer.clone(), wire.clone()), id);
        let connection = Connection {
            peer,
            wire,
            number,
            stage,
            unread: VecDeque::new(),
            cost: 0,
            queued: 0,
            is_told: false,
        };
        self.connections.insert(id, connection);
        id
    }

    fn stage(&self, id: ConnectionId) -> Option<Stage> {
        self.connections.get(&id).map(|connection| connection.stage)
    }

    /// Queues a message that is not payload; it never finds the queue full.
    fn control(&mut self, message: Message) {
        let cost = message.cost();
        self.control += cost;
        let outgoing = Outgoing {
            message,
            payload_of: None,
        };
        self.queue.push(outgoing, cost);
    }

    /// Queues a message about a connection.
    fn say(&mut self, id: ConnectionId, meta: Meta) {
        if let Some(connection) = self.connections.get(&id) {
            let (peer, wire) = (connection.peer.clone(), connection.wire.clone());
            self.control(Message::bare(meta, peer, wire));
        }
    }

    /// Answers a message with its own names; nobody is answered under our own name (MP-94).
    fn answer(&mut self, meta: Meta, message: &Message) {
        if !message.other_client.is_empty() && message.other_client != *self.name.as_text() {
            let (peer, wire) = (&message.other_client, &message.connection_id);
            self.control(Message::bare(meta, peer.detached(), wire.detached()));
        }
    }

    /// Takes a connection off the wire; what is unread stays.
    fn unlink(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match core::mem::replace(&mut connection.stage, Stage::Closed) {
            Stage::Closed => return,
            Stage::Open => {}
            Stage::Opening { until } => {
                self.deadlines.remove(&(until, id));
            }
            Stage::Offered { until } => {
                self.deadlines.remove(&(until, id));
                self.offered -= 1;
            }
        }
        if let Some(number) = connection.number {
            self.numbers.remove(&number);
        }
        let pair = (connection.peer.clone(), connection.wire.clone());
        self.index.remove(&pair);
    }

    /// Forgets a connection, and what is unread of it.
    fn forget(&mut self, id: ConnectionId) {
        self.unlink(id);
        if let Some(connection) = self.connections.remove(&id) {
            let (messages, cost) = self.unread;
            self.unread = (messages - connection.unread.len(), cost - connection.cost);
        }
    }

    /// A connection ends from the other side, or with the client: its application is told.
    fn lose(&mut self, id: ConnectionId, open_failed: OpenError, closed: CloseReason) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let is_read = connection.unread.is_empty();
        let event = match connection.stage {
            Stage::Closed => return,
            Stage::Opening { .. } => Event::OpenFailed {
                id,
                why: open_failed,
            },
            Stage::Offered { .. } | Stage::Open => Event::Closed { id, why: closed },
        };
        // What was not begun would only be answered one by one (MP-98).
        if connection.queued > 0 {
            self.queue
                .retain(|outgoing| outgoing.payload_of != Some(id));
        }
        self.unlink(id);
        if is_read {
            self.connections.remove(&id);
        }
        self.events.push_back(event);
    }

    /// The stream is over: all connections are, and then the client, once (MP-82).
    fn end(&mut self, reason: Reason) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        // What is queued may still leave.
        let queue = core::mem::take(&mut self.queue);
        for id in ids {
            self.lose(id, OpenError::ClientClosed, CloseReason::ClientClosed);
        }
        self.queue = queue;
        self.early = Vec::new();
        self.events.push_back(Event::Ended(reason));
    }

    /// The stream is over, and nothing more can leave.
    fn fail(&mut self, reason: Reason) {
        self.end(reason);
        self.close_stream();
    }

    fn close_stream(&mut self) {
        self.state = State::Closed;
        self.queue.clear();
        self.control = 0;
        self.auth = None;
    }

    fn put_back(&mut self, id: ConnectionId, rest: Bytes) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let cost = READ_COST + rest.len();
            connection.cost += cost;
            self.unread = (self.unread.0 + 1, self.unread.1 + cost);
            connection.unread.push_front(rest);
        }
    }

    /// A message, as far as the stream is (MP-81).
    fn take(&mut self, now: Instant, message: Message) {
        match (self.state, message.meta) {
            (State::SigningIn { .. }, Meta::AUTH_OK) => {
                self.state = State::Open;
                self.events.push_back(Event::SignedIn);
                for message in core::mem::take(&mut self.early) {
                    self.handle(now, message);
                }
            }
            (State::SigningIn { .. }, Meta::AUTH_FAILURE) => {
                let text = String::from_utf8_lossy(&message.data.to_bytes()).into_owned();
                self.fail(Reason::AuthRefused(Text::from(text)));
            }
            (State::SigningIn { .. }, _) => {
                self.early.push(message);
                let cost: usize = self.early.iter().map(Message::cost).sum();
                if self.early.len() > MP_EARLY || cost > MP_BEFORE {
                    let error = DecodeError::Malformed("too much before AuthOk");
                    self.fail(Reason::Decode(error));
                }
            }
            (State::Open, _) => self.handle(now, message),
            (State::Closing { .. } | State::Closed, _) => {}
        }
    }

    /// A message of another client's, or about one.
    fn handle(&mut self, now: Instant, message: Message) {
        let pair = (message.other_client.clone(), message.connection_id.clone());
        let id = self.index.get(&pair).copied();
        let stage = id.and_then(|id| self.stage(id));
        match message.meta {
            Meta::NONE => match (id, stage) {
                (Some(id), Some(Stage::Open)) => self.deliver(id, message.data.to_bytes()),
                _ => self.answer(Meta::NO_SUCH_CONNECTION, &message),
            },
            Meta::CONN_SYN => self.offer(now, id, &message),
            Meta::CONN_ACK => match (id, stage) {
                (Some(id), Some(Stage::Opening { until })) => {
                    self.deadlines.remove(&(until, id));
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.stage = Stage::Open;
                    }
                    self.events.push_back(Event::Opened { id });
                }
                // Once is enough (MP-92).
                (Some(_), _) => {}
                (None, _) => self.answer(Meta::NO_SUCH_CONNECTION, &message),
            },
            Meta::CONN_CLOSED => self.lose_any(id, OpenError::PeerClosed, CloseReason::ByPeer),
            Meta::UNKNOWN_PROTO => {
                self.lose_any(id, OpenError::UnknownProtocol, CloseReason::ByPeer);
            }
            Meta::NO_SUCH_CONNECTION => {
                let (failed, closed) = (OpenError::NoSuchClient, CloseReason::NoSuchConnection);
                if message.other_client == *self.name.as_text() {
                    // An original server that could not write to the peer says it so (MP-91).
                    let wire = &message.connection_id;
                    let with_id = self.connections.iter();
                    let with_id = with_id.filter(|(_, one)| one.wire == *wire);
                    let ids: Vec<_> = with_id.map(|(id, _)| *id).collect();
                    for id in ids {
                        self.lose(id, failed.clone(), closed.clone());
                    }
                } else {
                    self.lose_any(id, failed, closed);
                }
            }
            Meta::CLIENT_CLOSED => {
                let peer = message.other_client;
                let from = (peer.clone(), Text::default());
                let with_peer = self.index.range(from..);
                let with_peer = with_peer.take_while(|((name, _), _)| *name == peer);
                let mut ids: Vec<_> = with_peer.map(|(_, id)| *id).collect();
                // In the order in which they were opened (MP-102).
                ids.sort_unstable();
                for id in ids {
                    self.lose(id, OpenError::PeerClosed, CloseReason::PeerGone);
                }
            }
            Meta::AUTH | Meta::AUTH_OK | Meta::AUTH_FAILURE => self.answer(Meta::WAT, &message),
            meta => {
                let peer = message.other_client.detached();
                self.events.push_back(Event::Odd { peer, meta });
            }
        }
    }

    fn lose_any(&mut self, id: Option<ConnectionId>, failed: OpenError, closed: CloseReason) {
        if let Some(id) = id {
            self.lose(id, failed, closed);
        }
    }

    /// Somebody wants a connection.
    fn offer(&mut self, now: Instant, id: Option<ConnectionId>, message: &Message) {
        if message.other_client.is_empty() || message.other_client == *self.name.as_text() {
            return;
        }
        if let Some(id) = id {
            // A pair that exists: its peer is confused, and so would we be (MP-93).
            self.lose(id, OpenError::PeerClosed, CloseReason::IdReused);
            return self.answer(Meta::NO_SUCH_CONNECTION, message);
        }
        let protocol = Text::from_utf8(message.data.to_bytes());
        let protocol = protocol.filter(|protocol| protocol.len() <= MP_PROTOCOL);
        let is_room = self.offered < self.config.max_offered
            && self.connections.len() < self.config.max_connections
            && message.connection_id.len() <= MP_CONNECTION_ID;
        let Some(protocol) = protocol.filter(|_| is_room) else {
            return self.answer(Meta::UNKNOWN_PROTO, message);
        };
        let (peer, wire) = (
            message.other_client.detached(),
            message.connection_id.detached(),
        );
        let until = now + self.config.open_timeout;
        let id = self.add(peer.clone(), wire, None, Stage::Offered { until });
        self.deadlines.insert((until, id));
        self.offered += 1;
        self.events
            .push_back(Event::Incoming { id, peer, protocol });
    }

    /// One message of a connection's.
    fn deliver(&mut self, id: ConnectionId, data: Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let cost = READ_COST + data.len();
        connection.cost += cost;
        connection.unread.push_back(data);
        self.unread = (self.unread.0 + 1, self.unread.1 + cost);
        if !core::mem::replace(&mut connection.is_told, true) {
            self.events.push_back(Event::Readable { id });
        }
        let is_full = self.unread.1 > self.config.receive_buffer && self.unread.0 > 1;
        if is_full && self.config.on_full == OnFull::CloseConnection {
            self.overflow();
        }
    }

    /// Closes the connection that holds most (MP-99).
    fn overflow(&mut self) {
        let live = self.connections.iter();
        let most = live.max_by_key(|(id, one)| (one.cost, core::cmp::Reverse(**id)));
        if let Some((&id, connection)) = most {
            let was_open = connection.stage == Stage::Open;
            if was_open {
                self.say(id, Meta::CONN_CLOSED);
            }
            self.forget(id);
            if was_open {
                let why = CloseReason::Overflow;
                self.events.push_back(Event::Closed { id, why });
            }
        }
    }

    fn has_output(&self) -> bool {
        let may_send = !matches!(self.state, State::SigningIn { .. });
        self.auth.is_some() || !self.encoder.is_between() || may_send && !self.queue.is_empty()
    }
}

impl Duplex for Client {
    fn receive(&mut self, now: Instant, mut bytes: &[u8]) {
        while let State::SigningIn { .. } | State::Open = self.state {
            match self.decoder.decode(&mut bytes) {
                Ok(Some(message)) => self.take(now, message),
                Ok(None) => return,
                Err(error) => self.fail(Reason::Decode(error)),
            }
        }
    }

    fn receive_end(&mut self, _now: Instant, end: End) {
        match self.state {
            State::SigningIn { .. } | State::Open => {
                self.fail(Reason::from_end(end, self.decoder.is_between()));
            }
            // The server may have closed only its own side.
            State::Closing { .. } if matches!(end, End::Eof | End::Cut) => {}
            State::Closing { .. } | State::Closed => self.close_stream(),
        }
    }

    fn wants_read(&self) -> bool {
        let is_full = self.unread.1 >= self.config.receive_buffer
            && self.config.on_full == OnFull::Pause
            || self.events.len() >= EVENTS
            || self.control >= CONTROL;
        matches!(self.state, State::SigningIn { .. } | State::Open) && !is_full
    }

    fn poll_transmit(&mut self, _now: Instant, out: &mut Outbox) -> Option<usize> {
        if let State::Closed = self.state {
            return None;
        }
        let before = out.remaining();
        while out.remaining() - before < TURN {
            if self.encoder.go_on(out) {
                continue;
            }
            let next = match (self.auth.take(), self.state) {
                (Some(auth), _) => auth,
                (None, State::SigningIn { .. }) => break,
                (None, _) => match self.queue.pop() {
                    None => break,
                    Some((outgoing, cost)) => {
                        match outgoing.payload_of {
                            None => self.control -= cost,
                            Some(id) => {
                                if let Some(connection) = self.connections.get_mut(&id) {
                                    connection.queued -= 1;
                                }
                            }
                        }
                        outgoing.message
                    }
                },
            };
            self.encoder.begin(&next, out);
        }
        if self.wants_room && self.queue.cost() <= self.config.send_queue / 2 {
            self.wants_room = false;
            self.events.push_back(Event::Writable);
        }
        Some(out.remaining() - before).filter(|added| *added > 0)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let connection = self.deadlines.first().map(|(at, _)| *at);
        match self.state {
            State::SigningIn { until } => Some(connection.map_or(until, |at| at.min(until))),
            State::Open => connection,
            State::Closing { until } => Some(until),
            State::Closed => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::SigningIn { until } if until <= now => {
                return self.fail(Reason::Timeout("signing in", self.config.auth_timeout));
            }
            State::Closing { until } if until <= now => return self.close_stream(),
            State::Closing { .. } | State::Closed => return,
            State::SigningIn { .. } | State::Open => {}
        }
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let meta = match self.stage(id) {
                Some(Stage::Offered { .. }) => Meta::UNKNOWN_PROTO,
                _ => Meta::CONN_CLOSED,
            };
            self.say(id, meta);
            let timeout = OpenError::Timeout(self.config.open_timeout);
            self.lose(id, timeout, CloseReason::NotDecided);
        }
    }

    fn is_drained(&self) -> bool {
        match self.state {
            State::Closed => true,
            State::Closing { .. } => !self.has_output(),
            State::SigningIn { .. } | State::Open => false,
        }
    }
}

/// What a message that is not taken costs beside its octets.
const READ_COST: usize = 64;

/// Octets of one message of [`Client::write`]: few enough that others have their turn.
const WRITE: usize = 64 * 1024;

/// Events not taken, beyond which nothing more is read.
const EVENTS: usize = 1024;
