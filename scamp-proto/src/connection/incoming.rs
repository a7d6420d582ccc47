//! One message on its way in.

use bytes::Bytes;

use super::body::Body;
use crate::error::BodyError;
use crate::{Instant, limits};

/// When octets of an incoming message are acknowledged (A-3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AckPolicy {
    /// As soon as they have arrived: for bodies that are collected or dropped.
    OnReceive,
    /// When the application has read them, so that a slow reader slows its peer.
    #[default]
    OnConsume,
    /// When the application calls [`Connection::ack`](super::Connection::ack).
    Manual,
    /// Not at all, until another policy is set.
    Hold,
}

/// What reading a message brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Read<T = Bytes> {
    /// The next octets of the body; never empty.
    Data(T),
    /// The body is complete. The message is gone.
    End,
    /// The body ended, and is not complete (HD-50). The message is gone.
    Failed(BodyError),
    /// Nothing now; wait for [`Event::Readable`](super::Event::Readable).
    Pending,
    /// There is no such message (any more).
    Gone,
}

/// ```text
///        HEADER           EOF, TXERR, loss         End or Failed was read
/// ────────────────> Open ─────────────────> Ended ───────────────────────> gone
///                    │ discard, shed, too large             │ discard
///                    v                                      v
///                Discarding ──EOF, TXERR, loss───────────> gone
/// ```
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) body: Body,
    pub(super) mode: Mode,
    pub(super) policy: AckPolicy,
    /// How the peer's sending ended, once it has.
    pub(super) ended: bool,
    /// What the application is told after the octets it can still read.
    pub(super) outcome: Option<Result<(), BodyError>>,
    /// Octets received in complete packets.
    pub(super) received: u64,
    /// Octets the application has read or given up.
    pub(super) consumed: u64,
    /// Octets the application has acknowledged itself.
    pub(super) manual: u64,
    /// Octets the peer has been told of.
    pub(super) acked: u64,
    pub(super) ack_queued: bool,
    pub(super) readable_queued: bool,
    pub(super) empty_data: u32,
    /// What its small packets took from the flood budget and will give back (HD-27).
    pub(super) small_debt: u64,
    /// What the header costs, as unread input.
    pub(super) header_cost: usize,
    pub(super) last_octet: Instant,
    pub(super) idle_limit: Option<core::time::Duration>,
    pub(super) idle_armed: bool,
}

/// Where the octets of a message go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// To the application as they come.
    Stream,
    /// To the application when all are there, if they are no more than `limit`.
    Collect { limit: usize },
    /// Nowhere.
    Discard,
}

impl Incoming {
    pub(super) fn new(now: Instant, header_cost: usize) -> Self {
        Self {
            body: Body::default(),
            mode: Mode::Stream,
            policy: AckPolicy::default(),
            ended: false,
            outcome: None,
            received: 0,
            consumed: 0,
            manual: 0,
            acked: 0,
            ack_queued: false,
            readable_queued: false,
            empty_data: 0,
            small_debt: 0,
            header_cost,
            last_octet: now,
            idle_limit: None,
            idle_armed: false,
        }
    }

    /// Keeps nothing of it from the start; `error` is what the application is told, if anything.
    pub(super) fn set_aside(&mut self, error: Option<BodyError>) {
        self.mode = Mode::Discard;
        self.header_cost = 0;
        self.outcome = error.map(Err);
    }

    /// The count the peer may be told now, if that is news to it (A-2, A-4).
    pub(super) fn due_ack(&self) -> Option<u64> {
        if self.ended {
            return None;
        }
        let count = match (self.mode, self.policy) {
            (Mode::Discard, _) | (Mode::Collect { .. }, _) | (_, AckPolicy::OnReceive) => {
                self.received
            }
            (_, AckPolicy::OnConsume) => self.consumed,
            (_, AckPolicy::Manual) => self.manual,
            (_, AckPolicy::Hold) => 0,
        };
        (count > self.acked).then_some(count)
    }

    /// Whether the news is worth a packet: a fair part of a window, or all there is.
    pub(super) fn wants_ack(&self) -> bool {
        self.due_ack().is_some_and(|count| {
            count == self.received
                || count - self.acked >= ACK_STEP
                || self.policy == AckPolicy::Manual
        })
    }

    /// Whether the application has nothing more to hear of it.
    pub(super) fn is_gone(&self) -> bool {
        self.mode == Mode::Discard && self.outcome.is_none()
    }

    /// Whether a read would bring something.
    pub(super) fn is_readable(&self) -> bool {
        match self.mode {
            Mode::Stream => self.body.readable() > 0 || self.outcome.is_some(),
            Mode::Collect { .. } => self.outcome.is_some(),
            Mode::Discard => self.outcome.is_some(),
        }
    }

    /// Whether nobody will ask for it again.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.mode == Mode::Discard && self.outcome.is_none()
    }
}

/// An ACK is worth a packet from this many octets on: half a turn's input.
const ACK_STEP: u64 = (limits::TURN / 2) as u64;
