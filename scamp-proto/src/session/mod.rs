//! Messages in, requests and replies out, and the reverse.
//!
//! A [`Session`] is one end of one SCAMP connection, seen as exchanges: requests that each have one
//! outcome, bodies that stream both ways, notifications, and subscriptions. Either end may send
//! any of them.
//!
//! ```text
//!  request() ──> Exchange ──reply──> Event::Reply, read() … End
//!                   │ deadline, cancel, loss
//!                   └──────────────> Event::Failed
//!
//!  Event::Request ──> you ──> reply(), write() … finish()
//! ```
//!
//! # Rules
//!
//! * Those of [`connection`](crate::connection), which lies beneath.
//! * **One outcome.** A request of ours ends in exactly one of [`Event::Failed`] and
//!   [`Event::Reply`] with the end of its body.
//! * **One reply.** A request of theirs has one answer; [`abandon`](Session::abandon) gives it when
//!   nobody else does.
//! * **Bodies are handles.** Every [`RecvId`] told must be read to its end or discarded.
//!
//! # Example
//!
//! Two ends in one process, no socket in sight.
//!
//! ```
//! use bytes::{Buf, Bytes};
//! use scamp_proto::connection::Read;
//! use scamp_proto::session::{Config, Event, RequestOptions, Session, Side};
//! use scamp_proto::wire::{ReplyHead, RequestHead};
//! use scamp_proto::{Duplex, Instant, Outbox};
//!
//! fn carry(now: Instant, from: &mut Session, to: &mut Session) {
//!     let mut out = Outbox::default();
//!     while from.poll_transmit(now, &mut out).is_some() {}
//!     to.receive(now, &out.take_all());
//! }
//!
//! let now = Instant::EPOCH;
//! let mut client = Session::new(Config::new(Side::Client), Side::Client, now);
//! let mut server = Session::new(Config::new(Side::Server), Side::Server, now);
//!
//! let head = RequestHead::new("Greetings.hello");
//! let (exchange, body) = client.request(now, &head, &RequestOptions::default())?;
//! client.write(now, body, &mut Bytes::from_static(b"\"World\""))?;
//! client.finish(now, body)?;
//! carry(now, &mut client, &mut server);
//!
//! let Some(Event::Request { id, header, body }) = server.poll_event() else { panic!() };
//! assert_eq!(header.action().as_deref(), Some("Greetings.hello"));
//! assert_eq!(server.read(now, body), Read::Data("\"World\"".into()));
//! let reply = server.reply(now, id, &ReplyHead::default())?;
//! server.write(now, reply, &mut Bytes::from_static(b"\"Hello World\""))?;
//! server.finish(now, reply)?;
//! carry(now, &mut server, &mut client);
//!
//! let Some(Event::Reply { id, body, .. }) = client.poll_event() else { panic!() };
//! assert_eq!(id, exchange);
//! assert_eq!(client.read(now, body), Read::Data("\"Hello World\"".into()));
//! assert_eq!(client.read(now, body), Read::End);
//! # Ok::<(), scamp_proto::SendError>(())
//! ```

mod arrival;
mod config;
mod event;
mod exchange;
mod serving;
mod subscription;

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

pub use self::config::{Config, Serialize, Side};
pub use self::event::{Event, ExchangeId, ServeId};
pub use self::exchange::RequestOptions;
pub use self::subscription::{Board, Change};
pub use crate::connection::{AckPolicy, Read, RecvId, SendId};

use self::arrival::Purpose;
use self::exchange::Exchange;
use self::serving::Serving;
use self::subscription::Pending;
use crate::connection::Connection;
use crate::duplex::{Duplex, End};
use crate::error::{BodyError, CloseReason, Phase, SendError};
use crate::limits::{ABORTS, BAD_HEADERS, FLOOD_SPAN};
use crate::note::Bucket;
use crate::ordered::Ordered;
use crate::wire::write_plain;
use crate::{Instant, Outbox};

/// One end of one connection, as requests and replies. The module's page has the whole picture.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    config: Config,
    side: Side,
    /// Whether the transport has taken or brought anything: before that, nothing was sent for
    /// certain, and a loss is `NotEstablished` (S-30).
    established: bool,
    /// Whether nothing new is begun, and the connection closes when all else has ended (S-35).
    draining: bool,
    /// Whether it drains because its numbers are used up (W-5).
    is_exhausted: bool,
    /// The id of the next request.
    next_request: u64,
    exchanges: Ordered<u64, Exchange>,
    /// Replies that are arriving, and the exchanges they belong to.
    replies: Ordered<RecvId, u64>,
    /// Messages that ended without our doing, and how far each had come.
    lost: BTreeMap<SendId, Phase>,
    /// Ids given up, whose replies are still expected.
    discarded: BTreeSet<u64>,
    deadlines: Ordered<(Instant, u64), ()>,
    serialized: bool,
    /// The request that must leave before the next, where requests are serialized.
    leaving: Option<SendId>,
    wants_room: bool,
    next_serve: u64,
    serving: Ordered<u64, Serving>,
    /// Requests with a limit that have not come to their end.
    arriving: BTreeMap<RecvId, u64>,
    /// When limits of requests are over.
    due: BTreeSet<(Instant, u64)>,
    /// Replies that are leaving, and the requests they answer.
    answers: Ordered<SendId, u64>,
    /// Bodies the session reads itself.
    own_bodies: BTreeMap<RecvId, (Purpose, Vec<u8>)>,
    /// The topics the peer subscribes to.
    subscriber: Option<Vec<String>>,
    pending: Pending,
    /// Bodies of our own making that did not fit at once.
    trailing: Vec<(SendId, Bytes)>,
    /// Whether a subscription of ours is in force.
    subscribed: bool,
    aborts: Bucket,
    bad_headers: Bucket,
    events: VecDeque<Event>,
    /// Whether anything is in progress, as the connection was told.
    busy: bool,
    /// Whether the connection's events are being taken.
    processing: bool,
    /// Header text being written.
    scratch: Vec<u8>,
}

impl Session {
    /// A session over a transport that is ready, or will be.
    pub fn new(config: Config, side: Side, now: Instant) -> Self {
        Self {
            connection: Connection::new(config.connection.clone(), now),
            side,
            established: false,
            draining: false,
            is_exhausted: false,
            next_request: 1,
            exchanges: Ordered::new(),
            replies: Ordered::new(),
            lost: BTreeMap::new(),
            discarded: BTreeSet::new(),
            deadlines: Ordered::new(),
            serialized: config.serialize == Serialize::Always,
            leaving: None,
            wants_room: false,
            next_serve: 0,
            serving: Ordered::new(),
            arriving: BTreeMap::new(),
            due: BTreeSet::new(),
            answers: Ordered::new(),
            own_bodies: BTreeMap::new(),
            subscriber: None,
            pending: Pending::default(),
            trailing: Vec::new(),
            subscribed: false,
            aborts: Bucket::new(ABORTS, FLOOD_SPAN, now),
            bad_headers: Bucket::new(BAD_HEADERS, FLOOD_SPAN, now),
            events: VecDeque::new(),
            busy: false,
            processing: false,
            scratch: Vec::new(),
            config,
        }
    }

    /// Tells the peer something that has no answer; returns the body to write.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`], and [`SendError::Draining`].
    pub fn notify(&mut self, now: Instant) -> Result<SendId, SendError> {
        self.send_other(now, "notify", &[])
    }

    /// Opens a message of any type, with these fields: names, and values as JSON (H-6).
    ///
    /// # Errors
    ///
    /// As [`Connection::open`]; [`SendError::BadField`] for an empty type or a field that is none;
    /// [`SendError::Draining`].
    pub fn send_other(
        &mut self,
        now: Instant,
        kind: &str,
        fields: &[(Cow<'_, str>, Cow<'_, str>)],
    ) -> Result<SendId, SendError> {
        if self.draining {
            return Err(SendError::Draining);
        }
        self.scratch.clear();
        write_plain(kind, None, fields, &mut self.scratch)?;
        let id = self.connection.open_text(now, &self.scratch, false)?;
        self.settle(now);
        Ok(id)
    }

    /// Queues octets of a body; see [`Connection::write`].
    ///
    /// # Errors
    ///
    /// As [`Connection::write`].
    pub fn write(
        &mut self,
        now: Instant,
        id: SendId,
        body: &mut Bytes,
    ) -> Result<usize, SendError> {
        self.connection.write(now, id, body)
    }

    /// Ends a body in the ordinary way.
    ///
    /// # Errors
    ///
    /// As [`Connection::finish`].
    pub fn finish(&mut self, now: Instant, id: SendId) -> Result<(), SendError> {
        self.connection.finish(now, id)?;
        self.answered(id);
        self.settle(now);
        Ok(())
    }

    /// Ends a body with an error text (S-10).
    ///
    /// # Errors
    ///
    /// As [`Connection::abort`].
    pub fn fail(&mut self, now: Instant, id: SendId, text: &str) -> Result<(), SendError> {
        self.connection.abort(now, id, text)?;
        self.answered(id);
        self.settle(now);
        Ok(())
    }

    /// Ends a body whose writer is gone, if it has not ended yet (S-4).
    pub fn drop_body(&mut self, now: Instant, id: SendId) {
        // A body that has ended already is what the caller wants.
        let _ = self.fail(now, id, "message abandoned");
    }

    /// Takes the next octets of a body; see [`Connection::read`].
    pub fn read(&mut self, now: Instant, id: RecvId) -> Read {
        let read = self.connection.read(now, id);
        self.after_read(now, id, matches!(read, Read::Data(_) | Read::Pending));
        read
    }

    /// Takes at most `limit` octets of a body.
    pub fn read_up_to(&mut self, now: Instant, id: RecvId, limit: usize) -> Read {
        let read = self.connection.read_up_to(now, id, limit);
        self.after_read(now, id, matches!(read, Read::Data(_) | Read::Pending));
        read
    }

    /// Copies the next octets of a body into `room`.
    pub fn read_into(&mut self, now: Instant, id: RecvId, room: &mut [u8]) -> Read<usize> {
        let read = self.connection.read_into(now, id, room);
        self.after_read(now, id, matches!(read, Read::Data(_) | Read::Pending));
        read
    }

    /// Takes a collected body that is complete, in one piece.
    ///
    /// # Errors
    ///
    /// Why the body is not complete; one that is still arriving, or gone, reads as lost.
    pub fn take_whole(&mut self, now: Instant, id: RecvId) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        loop {
            match self.read(now, id) {
                Read::Data(piece) if first.is_empty() => first = piece,
                Read::Data(piece) => {
                    if more.is_empty() {
                        more.extend_from_slice(&first);
                    }
                    more.extend_from_slice(&piece);
                }
                Read::End if more.is_empty() => return Ok(first),
                Read::End => return Ok(more.freeze()),
                Read::Failed(error) => return Err(error),
                Read::Pending | Read::Gone => return Err(BodyError::ConnectionLost),
            }
        }
    }

    /// Drops what is unread of a body and what still comes (A-11).
    pub fn discard(&mut self, now: Instant, id: RecvId) {
        self.connection.discard(now, id);
        self.after_read(now, id, false);
    }

    /// Keeps a body back until it is complete, if it has at most `limit` octets; see
    /// [`Connection::collect`].
    pub fn collect(&mut self, now: Instant, id: RecvId, limit: usize) {
        self.connection.collect(now, id, limit);
        self.settle(now);
    }

    /// Sets when a body's octets are acknowledged (A-3).
    pub fn set_ack_policy(&mut self, now: Instant, id: RecvId, policy: AckPolicy) {
        self.connection.set_ack_policy(now, id, policy);
    }

    /// Acknowledges `total` octets of a body under [`AckPolicy::Manual`].
    ///
    /// # Errors
    ///
    /// As [`Connection::ack`].
    pub fn ack(&mut self, now: Instant, id: RecvId, total: u64) -> Result<(), SendError> {
        self.connection.ack(now, id, total)
    }

    /// Begins nothing new; closes when what is in progress has ended (S-35).
    ///
    /// Requests of the peer's are refused as certainly not processed; our own fail with
    /// [`SendError::Draining`].
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.settle(now);
    }

    /// Flushes what can be flushed and ends; what is in progress is lost.
    pub fn close(&mut self, now: Instant) {
        self.connection.close(now);
        self.process(now);
    }

    /// The next event, or `None` for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The connection beneath, for its counters and questions.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Lowers or restores the bound on octets waiting for the application (HD-26).
    pub fn set_allowance(&mut self, now: Instant, octets: usize) {
        self.connection.set_allowance(now, octets);
    }

    /// Whether a read of this body would bring something.
    pub fn is_readable(&self, id: RecvId) -> bool {
        self.connection.is_readable(id)
    }

    /// Whether requests may be begun: open, and neither draining nor suspect (S-22).
    pub fn is_open(&self) -> bool {
        self.connection.is_open() && !self.draining
    }

    /// Requests of ours whose reply is not read to its end.
    pub fn outstanding(&self) -> usize {
        self.exchanges.len()
    }

    /// Requests of the peer's that are not answered.
    pub fn serving(&self) -> usize {
        self.serving.len()
    }

    /// Whether every table is empty: nothing is in progress and nothing is kept (R-11).
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
            && self.replies.is_empty()
            && self.deadlines.is_empty()
            && self.serving.is_empty()
            && self.arriving.is_empty()
            && self.due.is_empty()
            && self.answers.is_empty()
            && self.own_bodies.is_empty()
            && (self.discarded.is_empty() || !self.connection.is_closed())
            && self.connection.is_empty()
    }

    /// What follows from any change.
    #[inline]
    fn settle(&mut self, now: Instant) {
        // What has come may have begun something, so it is taken first.
        if self.connection.has_events() {
            self.process(now);
        }
        let lasting = self.subscriber.is_some() || self.subscribed;
        let busy = !self.serving.is_empty()
            || (self.connection.is_open() && (lasting || !self.exchanges.is_empty()));
        if busy != self.busy {
            self.busy = busy;
            self.connection.hold(now, busy);
            if !busy {
                self.release();
            }
        }
        if self.wants_room {
            self.offer_room();
        }
        if self.subscriber.is_some() {
            self.tell_subscriber(now);
        }
        if self.draining {
            self.close_if_done(now);
        }
        if self.connection.has_events() {
            self.process(now);
        }
    }

    /// Gives memory back; an idle session keeps none worth mentioning (performance 3, rule 12).
    fn release(&mut self) {
        self.exchanges.release();
        self.replies.release();
        self.deadlines.release();
        self.serving.release();
        self.answers.release();
    }

    /// A session that begins nothing new closes when what was begun has ended (S-35).
    fn close_if_done(&mut self, now: Instant) {
        let done = self.exchanges.is_empty() && self.serving.is_empty();
        if done && !self.connection.is_sending() && self.connection.is_open() {
            let reason = match self.is_exhausted {
                true => CloseReason::MsgnoExhausted,
                false => CloseReason::ClosedLocally,
            };
            self.connection.close_as(now, reason);
        }
    }
}

impl Duplex for Session {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.established = true;
        self.connection.receive(now, bytes);
        self.settle(now);
    }

    fn receive_end(&mut self, now: Instant, end: End) {
        self.connection.receive_end(now, end);
        self.process(now);
        if !self.connection.is_open() && !self.connection.is_closed() {
            self.peer_is_done(now);
        }
        self.settle(now);
    }

    fn wants_read(&self) -> bool {
        self.connection.wants_read()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        self.established = true;
        let count = self.connection.poll_transmit(now, out);
        self.settle(now);
        count
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| at);
        let due = self.due.first().map(|(at, _)| *at);
        [deadline, due, self.connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.expire_serving(now);
        self.connection.handle_timeout(now);
        self.settle(now);
    }

    fn is_drained(&self) -> bool {
        self.connection.is_drained()
    }
}
