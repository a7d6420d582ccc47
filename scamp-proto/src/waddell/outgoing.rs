//! What waits to leave one end of a connection.

use alloc::collections::VecDeque;

use super::frame::{Frame, KEEPALIVE};
use crate::limits::TURN;
use crate::{Instant, Outbox};

/// Frames that wait to leave, and since when the transport has taken nothing of them.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frames: VecDeque<Frame>,
    /// Octets of `frames` on the wire.
    octets: usize,
    /// Whether a keepalive is to leave, unless a frame does (WD-54).
    keepalive: bool,
    /// When the transport last took something, or the first of what waits came (WD-42, WD-125).
    waits_since: Option<Instant>,
}

/// Frames that have left, or will not any more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Freed {
    /// How many.
    pub frames: usize,
    /// Their octets on the wire.
    pub octets: usize,
}

impl Outgoing {
    pub(super) fn push(&mut self, now: Instant, frame: Frame) {
        self.octets += frame.wire_len();
        self.frames.push_back(frame);
        self.keepalive = false;
        self.waits_since = self.waits_since.or(Some(now));
    }

    pub(super) fn push_keepalive(&mut self, now: Instant) {
        if self.frames.is_empty() {
            self.keepalive = true;
            self.waits_since = self.waits_since.or(Some(now));
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && !self.keepalive
    }

    /// Octets of the frames that wait.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Since when something waits and the transport has taken nothing.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waits_since
    }

    /// Hands over whole frames, about a turn's worth; `None` if there is nothing.
    pub(super) fn transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<Freed> {
        if self.is_empty() {
            return None;
        }
        let mut freed = Freed::default();
        if core::mem::take(&mut self.keepalive) {
            out.put(&KEEPALIVE);
        }
        while freed.octets < TURN {
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            freed.frames += 1;
            freed.octets += frame.wire_len();
            frame.encode(out);
        }
        self.octets -= freed.octets;
        self.waits_since = (!self.frames.is_empty()).then_some(now);
        if self.frames.is_empty() && self.frames.capacity() > IDLE {
            self.frames = VecDeque::new();
        }
        Some(freed)
    }

    /// Takes everything out, and the memory with it.
    pub(super) fn take_all(&mut self) -> VecDeque<Frame> {
        core::mem::take(self).frames
    }
}

/// Places an idle connection keeps.
const IDLE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waddell::{PeerId, TopicId};
    use bytes::Buf;
    use core::time::Duration;

    fn frame(body: &[u8]) -> Frame {
        Frame::message(PeerId::from_octets([1; 16]), TopicId(1), &[body]).unwrap()
    }

    /// WD-3, defect 13: a frame's length and content are handed over together, and a turn ends
    /// between frames.
    #[test]
    fn wd_3_whole_frames() {
        let now = Instant::EPOCH;
        let mut outgoing = Outgoing::default();
        for _ in 0..3 {
            outgoing.push(now, frame(&[b'x'; 60_000]));
        }
        for left in [2, 1, 0] {
            let mut out = Outbox::default();
            let freed = outgoing.transmit(now, &mut out).unwrap();
            assert_eq!((freed.frames, freed.octets), (1, 60_020));
            assert_eq!(out.remaining(), 60_020);
            assert_eq!(outgoing.octets(), left * 60_020);
        }
        assert_eq!(outgoing.transmit(now, &mut Outbox::default()), None);
    }

    /// WD-54: a keepalive leaves only if nothing else does.
    #[test]
    fn wd_54_keepalive_or_frames() {
        let now = Instant::EPOCH;
        let sent = |outgoing: &mut Outgoing| {
            let mut out = Outbox::default();
            while outgoing.transmit(now, &mut out).is_some() {}
            out.take_all()
        };
        let mut outgoing = Outgoing::default();
        outgoing.push_keepalive(now);
        outgoing.push_keepalive(now);
        assert_eq!(sent(&mut outgoing), KEEPALIVE);
        outgoing.push(now, frame(b""));
        outgoing.push_keepalive(now);
        assert_eq!(sent(&mut outgoing).len(), 20);
        outgoing.push_keepalive(now);
        outgoing.push(now, frame(b""));
        assert_eq!(sent(&mut outgoing).len(), 20);
        assert!(outgoing.is_empty());
    }

    /// WD-125: the clock of a stalled transport starts with the first frame, and anew with each turn
    /// that took something; an empty queue has none.
    #[test]
    fn wd_125_progress() {
        let at = |seconds| Instant::EPOCH + Duration::from_secs(seconds);
        let mut outgoing = Outgoing::default();
        assert_eq!(outgoing.waits_since(), None);
        outgoing.push(at(1), frame(&[b'x'; 20_000]));
        outgoing.push(at(2), frame(b""));
        assert_eq!(outgoing.waits_since(), Some(at(1)));
        outgoing.transmit(at(3), &mut Outbox::default());
        assert_eq!(outgoing.waits_since(), Some(at(3)));
        outgoing.transmit(at(4), &mut Outbox::default());
        assert_eq!(outgoing.waits_since(), None);
    }
}
