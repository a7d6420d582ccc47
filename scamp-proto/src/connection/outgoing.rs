//! One message on its way out.

use alloc::collections::VecDeque;
use alloc::string::String;

use bytes::{Buf, Bytes};

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
    pub(super) queue: VecDeque<Bytes>,
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
            queue: VecDeque::new(),
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
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if front.len() > count {
                put(front.split_to(count));
                return;
            }
            count -= front.remaining();
            if let Some(piece) = self.queue.pop_front() {
                put(piece);
            }
        }
    }
}
