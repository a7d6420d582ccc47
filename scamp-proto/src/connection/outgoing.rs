//! One message on its way out.

use alloc::collections::VecDeque;
use alloc::string::String;

use bytes::Bytes;

use super::window::Window;
use crate::Instant;

/// ```text
/// Opening ──HEADER sent──> Open ──finish──> Finishing ──EOF sent──> gone
///    │                      │                   │                    ^
///    └────────abort─────────┴───────abort───────┴──> Aborting ──TXERR┘
/// ```
///
/// `finish` and `abort` may come before the HEADER has left; it then leaves first all the same,
/// since numbers and request ids have no gaps (W-15, H-5).
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Octets of its header still waiting among the connection's headers; 0 once sent.
    pub(super) header_len: usize,
    /// Whether it answers what was read, without a handler between (HD-22).
    pub(super) is_answer: bool,
    pub(super) ending: Ending,
    pub(super) queue: Pieces,
    /// Octets in `queue`.
    pub(super) queued: usize,
    pub(super) window: Window,
    /// Whether it has a place in the ring of messages ready to send.
    pub(super) in_ring: bool,
    /// Whether it has a place among the messages that only wait to end.
    pub(super) end_queued: bool,
    /// Whether the application was told to wait.
    pub(super) wants_room: bool,
    /// Whether it waits for the connection's queue to shrink.
    pub(super) is_blocked: bool,
    pub(super) stall_armed: bool,
    pub(super) blocked_since: Option<Instant>,
    /// Whether the application was told that it ended without its doing.
    pub(super) is_lost: bool,
}

/// Octets that wait, in the pieces they came in; the first needs no memory for itself, since most
/// messages have no other.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Empty when there is none.
    first: Bytes,
    more: VecDeque<Bytes>,
}

impl Pieces {
    /// Adds a piece, which is not empty.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.more.push_back(piece);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Debug, Default)]
pub(super) enum Ending {
    /// More may be written.
    #[default]
    Open,
    /// EOF when the queue is empty.
    Finish,
    /// TXERR with this text.
    Abort(String),
}

impl Outgoing {
    pub(super) fn new(header_len: usize, is_answer: bool, window: Window) -> Self {
        Self {
            header_len,
            is_answer,
            ending: Ending::Open,
            queue: Pieces::default(),
            queued: 0,
            window,
            in_ring: false,
            end_queued: false,
            wants_room: false,
            is_blocked: false,
            stall_armed: false,
            blocked_since: None,
            is_lost: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.ending, Ending::Open)
    }

    /// Takes `count` octets from the queue, piece by piece.
    pub(super) fn take(&mut self, mut count: usize, mut put: impl FnMut(Bytes)) {
        self.queued -= count;
        while count > 0 {
            let first = &mut self.queue.first;
            if first.len() > count {
                put(first.split_to(count));
                return;
            }
            count -= first.len();
            let next = self.queue.more.pop_front().unwrap_or_default();
            put(core::mem::replace(first, next));
        }
    }
}
