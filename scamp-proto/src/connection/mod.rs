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
mod closing;
mod config;
mod flood;
mod inbound;
mod incoming;
mod outgoing;
mod pause;
mod reading;
mod receive;
mod table;
mod timers;
mod transmit;
mod window;
mod writing;

use alloc::collections::VecDeque;
use alloc::string::ToString;

use bytes::Buf;

pub use self::config::{Config, Heartbeat};
pub use self::incoming::{AckPolicy, Read};

use self::body::Spare;
use self::flood::Floods;
use self::inbound::Inbound;
use self::incoming::{Incoming, Mode};
use self::outgoing::Outgoing;
use self::pause::Pause;
use self::table::Table;
use self::timers::Timers;
use self::transmit::Queues;
use self::window::Growth;
use crate::duplex::{Duplex, End};
use crate::error::{BodyError, CloseReason, Loss, ViolationKind};
use crate::note::{Note, Notes, What};
use crate::wire::{Header, MsgNo};
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

    /// Whether the peer has not ended a message yet.
    pub(crate) fn is_arriving(&self, id: RecvId) -> bool {
        let message = self.incoming.get(id.0);
        message.is_some_and(|message| !message.ended)
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
