//! Packets in, messages out, and the reverse.
//!
//! A [`Connection`] is one end of one SCAMP connection. It does not know whether it dialled or was
//! dialled: the protocol treats both ends alike, and so does this module. Nor does it know what a
//! header means; [`Session`](crate::Session) does.
//!
//! ```text
//!            bytes              packets              messages
//!  receive() ────> Inbound ──────────────> Incoming ──────────────> poll_event(), read()
//!                                              │ ACK
//!                                              v
//!  poll_transmit() <── control, then short messages, then one DATA each <── Outgoing <── open(), write()
//! ```
//!
//! # Rules
//!
//! * **Drain before you wait.** After any call that takes `&mut self`, take everything from
//!   [`poll_transmit`](Duplex::poll_transmit) and [`poll_event`](Connection::poll_event), then
//!   sleep until [`poll_timeout`](Duplex::poll_timeout).
//! * **Reading is acknowledging.** An ACK leaves when the application takes bytes, so a slow reader
//!   slows its peer; [`AckPolicy`] has the exceptions.
//! * **One door out.** Whatever ends the connection, the last event is [`Event::Closed`].
//! * **Short before long.** Control packets go first, then messages that fit in one packet, then
//!   the others in turn, one packet each.
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | octets of an unfinished packet | 80 + 131 072 + 5 | [`Config::max_packet_body`] |
//! | octets waiting for the application | 8 MiB, then pause, shed, close | [`Config::max_buffered`] |
//! | collected bodies | 16 MiB each, 32 MiB together | [`Config::max_body`], [`Config::max_collected`] |
//! | octets queued for sending | 1 MiB | [`Config::max_queued`] |
//! | octets in flight, per message | 64 KiB growing to 256 KiB | [`Config::max_inflight`] |
//! | open incoming messages | 4096, end at 8192 | [`Config::max_open_messages`] |
//!
//! # Example
//!
//! ```
//! use scamp_proto::connection::{Connection, Config, Event, Read};
//! use scamp_proto::{Duplex, Instant};
//!
//! let now = Instant::EPOCH;
//! let mut conn = Connection::new(Config::default(), now);
//! conn.receive(now, b"HEADER 0 2\r\n{}END\r\nDATA 0 2\r\nhiEND\r\nEOF 0 0\r\nEND\r\n");
//! let Some(Event::Opened { id, header }) = conn.poll_event() else { panic!("a message") };
//! assert_eq!(header.as_json(), "{}");
//! assert_eq!(conn.read(now, id), Read::Data("hi".into()));
//! assert_eq!(conn.read(now, id), Read::End);
//! ```

mod body;
mod config;
mod flood;
mod inbound;
mod incoming;
mod outgoing;
mod pause;
mod receive;
mod table;
mod timers;
mod transmit;
mod window;

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, Bytes};

pub use self::config::{Config, Heartbeat};
pub use self::incoming::{AckPolicy, Read};

use self::body::{Body, Spare};
use self::flood::Floods;
use self::inbound::Inbound;
use self::incoming::{Incoming, Mode};
use self::outgoing::{Ending, Outgoing};
use self::pause::Pause;
use self::table::Table;
use self::timers::Timers;
use self::transmit::Queues;
use self::window::{Growth, Window};
use crate::duplex::{Duplex, End};
use crate::error::{BodyError, CloseReason, Loss, SendError, Violation, ViolationKind};
use crate::limits::{HEADER_SENT, LAST_NUMBER};
use crate::note::{Note, Notes, What};
use crate::wire::{Header, MsgNo, txerr_text};
use crate::{Instant, Outbox};

/// A message we are sending, for as long as its connection lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SendId(pub(crate) MsgNo);

/// A message we are receiving, for as long as its connection lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecvId(pub(crate) MsgNo);

impl SendId {
    /// The message's number on the wire.
    pub fn msgno(self) -> MsgNo {
        self.0
    }
}

impl RecvId {
    /// The message's number on the wire.
    pub fn msgno(self) -> MsgNo {
        self.0
    }
}

/// What a connection tells its user.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer opened a message; its header is complete.
    Opened {
        /// The message, to read it by.
        id: RecvId,
        /// What it says it is.
        header: Header,
    },
    /// [`Connection::read`] has something new for this message. Told once until it is read.
    Readable(RecvId),
    /// The peer has ended a message, or it was lost. What it brought may still be unread.
    Ended(RecvId),
    /// A write was cut short; there is room again.
    Writable(SendId),
    /// A message of ours will not leave whole: the connection was lost, or its window stayed shut
    /// for too long.
    Lost {
        /// The message.
        id: SendId,
        /// Whether its HEADER had been handed to the transport.
        begun: bool,
    },
    /// Something odd was handled.
    Note(Note),
    /// The connection has ended. Always the last event, and always sent once.
    Closed(CloseReason),
}

/// What has passed over a connection since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Octets received.
    pub octets_in: u64,
    /// Octets handed to the transport.
    pub octets_out: u64,
    /// Packets received whole.
    pub packets_in: u64,
    /// DATA packets handed to the transport.
    pub data_out: u64,
    /// Messages the peer opened.
    pub messages_in: u64,
    /// Messages we opened.
    pub messages_out: u64,
    /// Times a limit acted.
    pub limits_hit: u64,
}

/// One end of one SCAMP connection. The module's page has the whole picture.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    state: State,
    clock: Instant,
    inbound: Inbound,
    incoming: Table<Incoming>,
    spare: Spare,
    outgoing: Table<Outgoing>,
    next_in: MsgNo,
    next_out: MsgNo,
    /// Incoming messages that the peer has not ended.
    open_in: usize,
    /// Octets that wait for the application, headers included.
    buffered: usize,
    /// Octets of collected bodies.
    collected: usize,
    /// Octets queued for sending.
    queued: usize,
    /// Octets sent and not acknowledged.
    in_flight: u64,
    growth: Growth,
    queues: Queues,
    pause: Pause,
    floods: Floods,
    timers: Timers,
    events: VecDeque<Event>,
    notes: Notes,
    stats: Stats,
}

/// ```text
/// Open ──peer's end──> HalfOpen ──all sent──> Closed
///   │ close, idle          │
///   v                      v violation, loss
/// Closing ──all sent, or time is up──> Closed
/// ```
#[derive(Clone, Debug, PartialEq)]
enum State {
    Open,
    /// The peer will send nothing more; what we still owe it is delivered (F-2).
    HalfOpen(CloseReason),
    /// We are done; what is queued is flushed until then.
    Closing(CloseReason, Instant),
    /// Whether the end was in order, so that the peer's own close is worth waiting for.
    Closed {
        orderly: bool,
    },
}

impl Connection {
    /// A connection over a transport that is ready, or will be.
    pub fn new(config: Config, now: Instant) -> Self {
        let config = config.clamped();
        let growth = Growth::new(config.max_inflight, config.max_inflight_cap);
        Self {
            state: State::Open,
            clock: now,
            inbound: Inbound::default(),
            incoming: Table::new(MsgNo(config.first_msgno)),
            spare: Spare::default(),
            outgoing: Table::new(MsgNo(config.first_msgno)),
            next_in: MsgNo(config.first_msgno),
            next_out: MsgNo(config.first_msgno),
            open_in: 0,
            buffered: 0,
            collected: 0,
            queued: 0,
            in_flight: 0,
            growth,
            queues: Queues::default(),
            pause: Pause::new(&config, now),
            floods: Floods::new(now),
            timers: Timers::new(&config, now),
            events: VecDeque::new(),
            notes: Notes::new(now),
            stats: Stats::default(),
            config,
        }
    }

    /// Opens a message with this header. Its HEADER leaves in the order of these calls.
    ///
    /// # Errors
    ///
    /// [`SendError::HeaderTooLarge`] over 126 976 octets (W-7), [`SendError::MsgnoExhausted`] at
    /// 2^53 - 1 (W-5), [`SendError::WouldBlock`] while more than [`Config::max_queued`] octets of
    /// headers wait, [`SendError::Closed`]. No message number is used then.
    pub fn open(&mut self, now: Instant, header: &Header) -> Result<SendId, SendError> {
        self.open_text(now, header.as_json().as_bytes(), false)
    }

    /// As [`open`](Self::open), with a text that is known to be a JSON object.
    ///
    /// An answer that is given as a matter of course, such as a refusal, always finds room; it
    /// stops reading instead when there are too many (HD-22).
    pub(crate) fn open_text(
        &mut self,
        now: Instant,
        header: &[u8],
        is_answer: bool,
    ) -> Result<SendId, SendError> {
        self.tick(now);
        if !matches!(self.state, State::Open | State::HalfOpen(_)) {
            return Err(SendError::Closed);
        }
        if header.len() > HEADER_SENT {
            return Err(SendError::HeaderTooLarge(header.len()));
        }
        if self.next_out.0 > LAST_NUMBER {
            return Err(SendError::MsgnoExhausted);
        }
        if !is_answer && self.queues.heads() > self.config.max_queued {
            return Err(SendError::WouldBlock);
        }
        let msgno = self.next_out;
        self.next_out = msgno.next();
        self.stats.messages_out += 1;
        let window = Window::new(self.growth.start());
        self.queues.push_head(msgno, header, is_answer);
        self.outgoing
            .push(Outgoing::new(header.len(), is_answer, window));
        self.settle();
        Ok(SendId(msgno))
    }

    /// Queues octets of a message's body, taking them from the front of `body`.
    ///
    /// Returns how many were taken. Fewer than offered means that as much as may be in flight is
    /// queued or unacknowledged, or that [`Config::max_queued`] octets wait on this connection;
    /// wait for [`Event::Writable`]. Nothing is copied, and nothing is framed before
    /// [`poll_transmit`](Duplex::poll_transmit).
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] after [`finish`](Self::finish), [`abort`](Self::abort) or
    /// [`Event::Lost`], and [`SendError::Closed`] once the connection has ended. `body` is then
    /// left as it was.
    pub fn write(
        &mut self,
        now: Instant,
        id: SendId,
        body: &mut Bytes,
    ) -> Result<usize, SendError> {
        self.tick(now);
        let chunk = self.config.chunk_size;
        let message = open_for_writing(&self.state, &mut self.outgoing, id)?;
        let room = match message.window.width(&self.growth) {
            None => usize::MAX,
            Some(width) => {
                let width = usize::try_from(width)
                    .unwrap_or(usize::MAX)
                    .max(chunk)
                    .saturating_add(chunk);
                let flying = usize::try_from(message.window.in_flight()).unwrap_or(usize::MAX);
                width.saturating_sub(flying).saturating_sub(message.queued)
            }
        };
        let room_in_all = self.config.max_queued.saturating_sub(self.queued);
        let taken = body.len().min(room).min(room_in_all);
        if taken < body.len() {
            message.wants_room = true;
            if room_in_all < room && !message.is_blocked {
                message.is_blocked = true;
                self.queues.push_blocked(id.0);
            }
        }
        if taken > 0 {
            message.queue.push(body.split_to(taken));
            message.queued += taken;
            self.queued += taken;
            self.schedule(id.0);
        }
        self.settle();
        Ok(taken)
    }

    /// Ends a message in the ordinary way once its octets are sent.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn finish(&mut self, now: Instant, id: SendId) -> Result<(), SendError> {
        self.tick(now);
        let message = open_for_writing(&self.state, &mut self.outgoing, id)?;
        message.ending = Ending::Finish;
        self.schedule(id.0);
        self.settle();
        Ok(())
    }

    /// Ends a message with an error; octets that wait are dropped.
    ///
    /// The text is cut at 4096 octets, and replaced if it is empty or `0` (S-9).
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if the message has ended, [`SendError::Closed`]. A message that was
    /// finished but has not left yet can still be aborted.
    pub fn abort(&mut self, now: Instant, id: SendId, text: &str) -> Result<(), SendError> {
        self.tick(now);
        if matches!(self.state, State::Closed { .. }) {
            return Err(SendError::Closed);
        }
        let message = self.outgoing.get(id.0).ok_or(SendError::NotOpen)?;
        if matches!(message.ending, Ending::Abort(_)) {
            return Err(SendError::NotOpen);
        }
        self.abort_message(id.0, text);
        self.settle();
        Ok(())
    }

    /// Takes the next octets of a message's body, as they lie in memory.
    ///
    /// Under [`AckPolicy::OnConsume`] this is what acknowledges them.
    pub fn read(&mut self, now: Instant, id: RecvId) -> Read {
        self.tick(now);
        let result = self.read_with(id, |body, spare| body.read(usize::MAX, spare));
        self.settle();
        result
    }

    /// As [`read`](Self::read), at most `limit` octets.
    pub fn read_up_to(&mut self, now: Instant, id: RecvId, limit: usize) -> Read {
        self.tick(now);
        let result = self.read_with(id, |body, spare| body.read(limit, spare));
        self.settle();
        result
    }

    /// Copies the next octets of a message's body into `room`, and says how many.
    pub fn read_into(&mut self, now: Instant, id: RecvId, room: &mut [u8]) -> Read<usize> {
        self.tick(now);
        let result = self.read_with(id, |body, spare| body.read_into(room, spare));
        self.settle();
        result
    }

    /// Drops what is unread of a message and what still comes, acknowledging it (A-11).
    pub fn discard(&mut self, now: Instant, id: RecvId) {
        self.tick(now);
        self.discard_message(id.0, None);
        self.settle();
    }

    /// Keeps a message's body back until it is complete, if it has at most `limit` octets (A-13).
    ///
    /// The octets count against [`Config::max_collected`] instead of [`Config::max_buffered`], and
    /// are acknowledged as they arrive. A body over either limit ends as
    /// [`BodyError::BodyTooLarge`] or [`BodyError::Overloaded`] at once; the rest is dropped.
    pub fn collect(&mut self, now: Instant, id: RecvId, limit: usize) {
        self.tick(now);
        let Some(message) = self.incoming.get_mut(id.0) else {
            return;
        };
        if message.mode == Mode::Stream {
            message.mode = Mode::Collect { limit };
            // What was told of it before was about octets that are held back now.
            message.readable_queued = false;
            let held = message.body.held();
            self.buffered -= held;
            self.collected += held;
            self.after_arrival(id.0);
        }
        self.settle();
    }

    /// Sets when a message's octets are acknowledged; what was acknowledged stays so (A-3).
    pub fn set_ack_policy(&mut self, now: Instant, id: RecvId, policy: AckPolicy) {
        self.tick(now);
        if let Some(message) = self.incoming.get_mut(id.0) {
            message.policy = policy;
            self.queue_ack(id.0);
        }
        self.settle();
    }

    /// Acknowledges `total` octets of a message under [`AckPolicy::Manual`].
    ///
    /// # Errors
    ///
    /// [`SendError::AckOutOfRange`] for more than was received or fewer than before,
    /// [`SendError::NotOpen`] if there is no such message.
    pub fn ack(&mut self, now: Instant, id: RecvId, total: u64) -> Result<(), SendError> {
        self.tick(now);
        let message = self.incoming.get_mut(id.0).ok_or(SendError::NotOpen)?;
        if total > message.received || total < message.manual {
            return Err(SendError::AckOutOfRange);
        }
        message.manual = total;
        self.queue_ack(id.0);
        self.settle();
        Ok(())
    }

    /// Ends a message that brings no octet for `limit`: [`BodyError::Timeout`] (HD-30).
    pub fn limit_silence(&mut self, now: Instant, id: RecvId, limit: Duration) {
        self.tick(now);
        if let Some(message) = self.incoming.get_mut(id.0) {
            message.idle_limit = Some(limit);
            if !message.idle_armed {
                message.idle_armed = true;
                let at = message.last_octet + limit;
                self.arm(at, timers::Alarm::Silence(id.0));
            }
        }
        self.settle();
    }

    /// Gives up on a message: what is unread is dropped, and the application sees `error`.
    pub(crate) fn fail_message(&mut self, now: Instant, id: RecvId, error: BodyError) {
        self.tick(now);
        self.discard_message(id.0, Some(error));
        self.settle();
    }

    /// Flushes what can be flushed and ends; messages that are not finished are lost.
    pub fn close(&mut self, now: Instant) {
        self.tick(now);
        self.close_for(CloseReason::ClosedLocally);
        self.settle();
    }

    /// As [`close`](Self::close), for another reason.
    pub(crate) fn close_as(&mut self, now: Instant, reason: CloseReason) {
        self.tick(now);
        self.close_for(reason);
        self.settle();
    }

    /// Ends at once because of something only the layer above can see.
    pub(crate) fn fail(&mut self, now: Instant, kind: ViolationKind) {
        self.tick(now);
        self.violated(kind);
    }

    /// Says whether the layer above has something in progress, which keeps the idle timer off
    /// (S-23), and a half-closed connection open (F-2).
    pub fn hold(&mut self, now: Instant, busy: bool) {
        if self.timers.held != busy {
            self.tick(now);
            self.timers.held = busy;
            self.settle();
        }
    }

    /// Lowers or restores the bound on octets waiting for the application (HD-26).
    ///
    /// The bound in force is the smaller of `octets` and [`Config::max_buffered`].
    pub fn set_allowance(&mut self, now: Instant, octets: usize) {
        self.tick(now);
        self.pause
            .set_allowance(octets.min(self.config.max_buffered));
        self.settle();
    }

    /// The next event, or `None` for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Passes a note on, if it is not one too many of its kind (HD-29).
    pub(crate) fn note(&mut self, what: What) {
        if matches!(what, What::LimitHit(..)) {
            self.stats.limits_hit += 1;
        }
        if let Some(note) = self.notes.admit(self.clock, what) {
            self.emit(Event::Note(note));
        }
    }

    /// What has passed so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The latest time it was told.
    pub(crate) fn clock(&self) -> Instant {
        self.clock
    }

    /// Octets held for the application and for the transport, as this connection counts them.
    pub fn memory(&self) -> usize {
        self.buffered + self.collected + self.queued + self.queues.heads() + self.inbound.held()
    }

    /// Octets that wait for the application, headers included.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether there is an event to take.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether anything is in progress (S-23).
    pub fn is_busy(&self) -> bool {
        match self.state {
            // A peer that has said its last listens for as long as silence may last anywhere.
            State::HalfOpen(_) => false,
            _ => self.open_in > 0 || !self.outgoing.is_empty() || self.timers.held,
        }
    }

    /// Whether the connection has ended; nothing will come from it any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether new messages may be opened.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Incoming messages the peer has not ended.
    pub fn open_incoming(&self) -> usize {
        self.open_in
    }

    /// Whether the peer's packets have ended a message that is not read to its end.
    pub(crate) fn body_error(&self, id: RecvId) -> Option<&BodyError> {
        match &self.incoming.get(id.0)?.outcome {
            Some(Err(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the HEADER of a message of ours has left; `None` once the message has left whole.
    pub(crate) fn is_begun(&self, id: SendId) -> Option<bool> {
        self.outgoing
            .get(id.0)
            .map(|message| message.header_len == 0)
    }

    /// Whether a message was one too many when it came (S-6).
    pub(crate) fn is_refused(&self, id: RecvId) -> bool {
        self.incoming.get(id.0).is_some_and(|message| {
            message.mode == Mode::Discard && message.outcome == Some(Err(BodyError::Overloaded))
        })
    }

    /// Whether a body's octets are dropped as they come.
    pub(crate) fn is_discarding(&self, id: RecvId) -> bool {
        self.incoming
            .get(id.0)
            .is_none_or(|message| message.mode == Mode::Discard)
    }

    /// Whether a message of ours is still open for writing.
    pub(crate) fn is_writable(&self, id: SendId) -> bool {
        self.outgoing.get(id.0).is_some_and(Outgoing::is_open)
    }

    /// Whether any message of ours has not left whole.
    pub(crate) fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether no message is left in either direction, read or unread.
    pub fn is_empty(&self) -> bool {
        self.incoming.is_empty()
            && self.outgoing.is_empty()
            && self.buffered == 0
            && self.queued == 0
    }

    /// Octets queued for sending, headers included.
    pub(crate) fn queued(&self) -> usize {
        self.queued + self.queues.heads()
    }

    /// Whether a read of this message would bring something.
    pub fn is_readable(&self, id: RecvId) -> bool {
        self.incoming.get(id.0).is_some_and(Incoming::is_readable)
    }

    /// Takes the time; it never goes back.
    fn tick(&mut self, now: Instant) {
        self.clock = self.clock.max(now);
    }

    #[inline]
    fn emit(&mut self, event: Event) {
        if matches!(self.state, State::Open | State::HalfOpen(_)) {
            self.events.push_back(event);
        }
    }

    /// What follows from any change: pausing, idling, waiting for the transport, ending.
    #[inline]
    fn settle(&mut self) {
        if self.pause.is_paused() || self.is_over() {
            self.settle_pause();
        }
        let busy = self.is_busy();
        if self.timers.note_busy(self.clock, busy) {
            self.spare.release();
            self.incoming.release();
            self.outgoing.release();
        }
        self.timers
            .note_output(self.clock, self.queues.has_output());
        if !matches!(self.state, State::Open) {
            self.end_if_done();
        }
    }

    /// Whether more waits than may.
    #[inline]
    fn is_over(&self) -> bool {
        self.buffered > self.pause.allowance() || self.queues.answers() > self.config.max_control
    }

    fn settle_pause(&mut self) {
        let over = self.is_over();
        let low = self.buffered <= self.pause.allowance() / 2
            && self.queues.answers() <= self.config.max_control / 2;
        let was_paused = self.pause.is_paused();
        if let Some(held) = self.pause.update(self.clock, over, low) {
            self.timers.extend_packet(held);
        } else if !was_paused && over {
            let (key, value) = match self.buffered > self.pause.allowance() {
                true => ("flow.max_buffered", self.pause.allowance()),
                false => ("flow.max_control", self.config.max_control),
            };
            self.note(What::LimitHit(key, value as u64));
        }
    }

    /// A half-open or closing connection ends when nothing is left to send.
    fn end_if_done(&mut self) {
        let done = !self.queues.has_output() && self.outgoing.is_empty();
        match &self.state {
            State::HalfOpen(reason) if done && !self.timers.held => {
                let reason = reason.clone();
                self.end(reason, true);
            }
            State::Closing(reason, until) if done || *until <= self.clock => {
                let reason = reason.clone();
                self.end(reason, true);
            }
            _ => {}
        }
    }

    /// Gives up what is not finished, and leaves time for what is.
    ///
    /// The peer cannot know yet: what it still sends of its messages is swallowed.
    fn close_for(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::Open | State::HalfOpen(_)) {
            return;
        }
        let arriving: Vec<_> = self
            .incoming
            .iter()
            .filter(|(_, message)| !message.ended && message.mode != Mode::Discard)
            .map(|(msgno, _)| msgno)
            .collect();
        for msgno in arriving {
            self.discard_message(msgno, Some(BodyError::ConnectionLost));
            self.emit(Event::Ended(RecvId(msgno)));
        }
        let leaving: Vec<_> = self
            .outgoing
            .iter()
            .filter(|(_, message)| message.is_open())
            .map(|(msgno, _)| msgno)
            .collect();
        for msgno in leaving {
            self.abort_message(msgno, "connection closed");
            // Its HEADER leaves now, if it has not left before.
            self.tell_lost(msgno);
        }
        self.state = State::Closing(reason, self.clock + self.config.close_timeout);
    }

    /// The one door out.
    fn end(&mut self, reason: CloseReason, orderly: bool) {
        if self.is_closed() {
            return;
        }
        self.lose_incoming();
        for (msgno, message) in self.outgoing.take_all() {
            if !message.is_lost {
                self.events.push_back(Event::Lost {
                    id: SendId(msgno),
                    begun: message.header_len == 0,
                });
            }
        }
        self.queued = 0;
        self.in_flight = 0;
        self.queues = Queues::default();
        self.inbound.clear();
        self.timers.clear();
        self.pause.clear();
        self.events.push_back(Event::Closed(reason));
        self.state = State::Closed { orderly };
    }

    fn violated(&mut self, kind: ViolationKind) {
        let offset = match kind {
            ViolationKind::TruncatedPacket | ViolationKind::PacketTimeout => {
                self.inbound.packet_offset()
            }
            _ => self.inbound.offender(),
        };
        self.end(CloseReason::Violation(Violation { kind, offset }), false);
    }

    /// Every message the peer has not ended is lost; what it brought can still be read (S-30).
    fn lose_incoming(&mut self) {
        let mut told = Vec::new();
        for (msgno, message) in self.incoming.iter_mut() {
            if message.ended {
                continue;
            }
            message.ended = true;
            let dropped = message.body.unpush(&mut self.spare);
            match message.mode {
                Mode::Collect { .. } => self.collected -= dropped,
                Mode::Stream | Mode::Discard => self.buffered -= dropped,
            }
            if message.mode != Mode::Discard && message.outcome.is_none() {
                message.outcome = Some(Err(BodyError::ConnectionLost));
            }
            told.push(msgno);
        }
        self.open_in = 0;
        for msgno in told {
            self.announce(msgno);
            self.emit(Event::Ended(RecvId(msgno)));
            self.free_if_done(msgno);
        }
    }

    fn read_with<T: Size>(
        &mut self,
        id: RecvId,
        take: impl FnOnce(&mut Body, &mut Spare) -> T,
    ) -> Read<T> {
        let Some(message) = self.incoming.get_mut(id.0) else {
            return Read::Gone;
        };
        message.readable_queued = false;
        if !message.is_readable() {
            return match message.is_gone() {
                true => Read::Gone,
                false => Read::Pending,
            };
        }
        if message.mode != Mode::Discard && message.body.readable() > 0 {
            let before = message.body.held();
            let octets = take(&mut message.body, &mut self.spare);
            let count = octets.size();
            message.consumed += count as u64;
            let refund = match message.body.held() {
                0 => message.small_debt,
                _ => message.small_debt.saturating_mul(count as u64) / (before as u64).max(1),
            };
            message.small_debt -= refund;
            self.floods.small_debt -= refund;
            match message.mode {
                Mode::Collect { .. } => self.collected -= count,
                Mode::Stream | Mode::Discard => self.buffered -= count,
            }
            self.pause.note_progress(self.clock);
            self.queue_ack(id.0);
            return Read::Data(octets);
        }
        let outcome = message.outcome.take();
        message.mode = Mode::Discard;
        self.free_if_done(id.0);
        match outcome {
            Some(Ok(())) => Read::End,
            Some(Err(error)) => Read::Failed(error),
            None => Read::Pending,
        }
    }

    /// Drops a message's octets now and later; `error` is what the application is told, if anything.
    fn discard_message(&mut self, msgno: MsgNo, error: Option<BodyError>) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        let dropped = message.body.clear();
        match message.mode {
            Mode::Collect { .. } => self.collected -= dropped,
            Mode::Stream | Mode::Discard => self.buffered -= dropped,
        }
        self.buffered -= core::mem::take(&mut message.header_cost);
        self.floods.small_debt -= core::mem::take(&mut message.small_debt);
        message.consumed = message.received;
        message.mode = Mode::Discard;
        message.outcome = error.map(Err);
        message.readable_queued = false;
        self.pause.note_progress(self.clock);
        self.queue_ack(msgno);
        self.announce(msgno);
        self.free_if_done(msgno);
    }

    fn abort_message(&mut self, msgno: MsgNo, text: &str) {
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        self.queued -= core::mem::take(&mut message.queued);
        message.queue.clear();
        message.blocked_since = None;
        let text = txerr_text(text).to_string();
        message.ending = Ending::Abort(text);
        self.schedule(msgno);
    }

    /// Tells the application that a message, of which something has left or will, ended.
    fn tell_lost(&mut self, msgno: MsgNo) {
        if let Some(message) = self.outgoing.get_mut(msgno) {
            message.is_lost = true;
            self.emit(Event::Lost {
                id: SendId(msgno),
                begun: true,
            });
        }
    }

    /// Tells the application that a message has something to read, once until it reads.
    fn announce(&mut self, msgno: MsgNo) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        if message.is_readable() && !message.readable_queued {
            message.readable_queued = true;
            self.emit(Event::Readable(RecvId(msgno)));
        }
    }

    fn queue_ack(&mut self, msgno: MsgNo) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        if !message.ack_queued && message.wants_ack() {
            message.ack_queued = true;
            self.queues.push_ack(msgno);
        }
    }

    fn free_if_done(&mut self, msgno: MsgNo) {
        if let Some(message) = self.incoming.get(msgno).filter(|message| message.is_done()) {
            self.buffered -= message.header_cost;
            self.floods.small_debt -= message.small_debt;
            self.incoming.remove(msgno);
        }
    }
}

impl Duplex for Connection {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.tick(now);
        if !matches!(self.state, State::Open | State::Closing(..)) || bytes.is_empty() {
            return;
        }
        self.stats.octets_in += bytes.len() as u64;
        self.timers.note_octets(self.clock);
        self.take_in(bytes);
        self.settle();
    }

    fn receive_end(&mut self, now: Instant, end: End) {
        self.tick(now);
        match self.state {
            State::Open => {}
            // Nobody listens any more, or nothing more was expected.
            State::Closing(ref reason, _) => {
                let reason = reason.clone();
                return self.end(reason, false);
            }
            State::HalfOpen(_) => match end {
                End::Lost(loss) => return self.end(CloseReason::Lost(loss), false),
                End::Eof | End::Cut => return,
            },
            State::Closed { .. } => {
                self.state = State::Closed { orderly: false };
                return;
            }
        }
        let open = self.open_in + self.outgoing.len() + usize::from(self.timers.held);
        match end {
            End::Lost(loss) => self.end(CloseReason::Lost(loss), false),
            _ if self.inbound.is_in_packet() => self.violated(ViolationKind::TruncatedPacket),
            End::Cut if open > 0 => {
                let text = "closed without close_notify".to_string();
                self.end(CloseReason::Lost(Loss::Io(text)), false);
            }
            End::Eof | End::Cut => {
                if end == End::Cut {
                    self.note(What::UncleanClose);
                }
                self.lose_incoming();
                self.growth.open_all();
                self.unblock_all();
                self.state = State::HalfOpen(match open {
                    0 => CloseReason::ClosedByPeer,
                    open => CloseReason::Unfinished { open },
                });
                self.settle();
            }
        }
    }

    fn wants_read(&self) -> bool {
        match self.state {
            State::Open | State::Closing(..) => !self.pause.is_paused(),
            State::HalfOpen(_) => false,
            State::Closed { orderly } => orderly,
        }
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        self.tick(now);
        let before = out.remaining();
        self.fill(out);
        let count = out.remaining() - before;
        if count > 0 {
            self.stats.octets_out += count as u64;
            self.timers.note_octets(self.clock);
            self.timers.note_taken(count as u64);
        }
        self.settle();
        (count > 0).then_some(count)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Closed { .. } => None,
            State::Closing(_, until) => Some(*until),
            State::Open | State::HalfOpen(_) => {
                let own = [
                    self.timers
                        .next(self.inbound.is_in_packet() && !self.pause.is_paused()),
                    self.pause.next(),
                ];
                own.into_iter().flatten().min()
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        if matches!(self.state, State::Open | State::HalfOpen(_)) {
            self.expire();
        }
        self.settle();
    }

    fn is_drained(&self) -> bool {
        self.is_closed()
    }
}

/// The message, if octets may still be added to it.
fn open_for_writing<'a>(
    state: &State,
    outgoing: &'a mut Table<Outgoing>,
    id: SendId,
) -> Result<&'a mut Outgoing, SendError> {
    match state {
        State::Open | State::HalfOpen(_) => {}
        State::Closing(..) | State::Closed { .. } => return Err(SendError::Closed),
    }
    outgoing
        .get_mut(id.0)
        .filter(|message| message.is_open())
        .ok_or(SendError::NotOpen)
}

/// How many octets a read brought.
trait Size {
    fn size(&self) -> usize;
}

impl Size for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Size for usize {
    fn size(&self) -> usize {
        *self
    }
}
