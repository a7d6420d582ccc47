//! How much of one outgoing message may be in flight.

use crate::limits::{WINDOW, WINDOW_QUICK, WINDOW_SLOW, WINDOW_TOTAL};
use crate::wire::MsgNo;
use crate::{Instant, ViolationKind};

/// Octets sent and acknowledged, and how far apart they may be (A-6, A-6a).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The width; 0 is unlimited.
    width: u64,
    sent: u64,
    acked: u64,
    /// When the whole window was in use, and how much had been sent then.
    filled: Option<(Instant, u64)>,
}

impl Window {
    pub(super) fn new(width: u64) -> Self {
        Self {
            width,
            sent: 0,
            acked: 0,
            filled: None,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.sent - self.acked
    }

    /// Octets that may be sent now; all of `u64` where there is no window.
    pub(super) fn room(&self, growth: &Growth) -> u64 {
        match growth.width(self.width) {
            0 => u64::MAX,
            width => width.saturating_sub(self.in_flight()),
        }
    }

    /// The width now in force, or `None` where there is no window.
    pub(super) fn width(&self, growth: &Growth) -> Option<u64> {
        Some(growth.width(self.width)).filter(|width| *width > 0)
    }

    /// Length of the next DATA with `queued` octets waiting; 0 means wait.
    ///
    /// A packet is cut to fit only when at least half a chunk fits, or when nothing is in flight
    /// that could open the window further.
    #[inline]
    pub(super) fn next_len(&self, queued: usize, chunk: usize, growth: &Growth) -> usize {
        let whole = queued.min(chunk);
        let room = usize::try_from(self.room(growth)).unwrap_or(usize::MAX);
        if whole <= room {
            whole
        } else if self.in_flight() == 0 || room >= chunk.div_ceil(2) {
            room
        } else {
            0
        }
    }

    #[inline]
    pub(super) fn note_sent(&mut self, count: u64) {
        self.sent += count;
    }

    /// Notes that the window is shut with octets waiting.
    pub(super) fn note_full(&mut self, now: Instant) {
        if self.filled.is_none() {
            self.filled = Some((now, self.sent));
        }
    }

    /// Judges and takes an ACK.
    pub(super) fn ack(&mut self, msgno: MsgNo, count: u64) -> Result<u64, ViolationKind> {
        if count <= self.acked {
            return Err(ViolationKind::AckNotAdvancing {
                msgno,
                acked: count,
            });
        }
        if count > self.sent {
            return Err(ViolationKind::AckBeyondSent {
                msgno,
                acked: count,
                sent: self.sent,
            });
        }
        let news = count - self.acked;
        self.acked = count;
        Ok(news)
    }

    /// Widens the window if the whole of it was used and then acknowledged quickly (A-6a).
    pub(super) fn grow(&mut self, now: Instant, growth: &Growth, in_flight: u64) {
        let Some((since, mark)) = self.filled else {
            return;
        };
        if self.acked < mark {
            return;
        }
        self.filled = None;
        if growth.grows && now - since <= WINDOW_QUICK && in_flight <= WINDOW_TOTAL {
            self.width = self.width.saturating_mul(2).min(growth.cap.max(self.width));
        }
    }
}

/// What the windows of one connection have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    start: u64,
    cap: u64,
    grows: bool,
    /// Whether windows fell back for good (A-6a), or the peer can no longer acknowledge.
    fallen: bool,
    open: bool,
}

impl Growth {
    pub(super) fn new(fixed: Option<u64>, cap: u64) -> Self {
        let start = fixed.unwrap_or(WINDOW);
        Self {
            start,
            cap,
            grows: fixed.is_none() && cap > WINDOW,
            fallen: false,
            open: false,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Falls back for good if octets have waited this long for an ACK that advances (A-6a).
    pub(super) fn note_wait(&mut self, wait: core::time::Duration) {
        if self.grows && wait > WINDOW_SLOW {
            self.grows = false;
            self.fallen = true;
        }
    }

    /// Does without windows: the peer has closed its side and cannot acknowledge any more (F-2).
    pub(super) fn open_all(&mut self) {
        self.open = true;
    }

    fn width(&self, own: u64) -> u64 {
        if self.open {
            0
        } else if self.fallen {
            own.min(self.start)
        } else {
            own
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    /// A-5, E-10: with 100 octets sent and 40 acknowledged.
    #[test]
    fn acks_are_judged() {
        let mut window = Window::new(0);
        window.note_sent(100);
        assert_eq!(window.ack(MsgNo(0), 40), Ok(40));
        for count in [40, 39, 1] {
            let refused = window.ack(MsgNo(0), count);
            assert_eq!(
                refused,
                Err(ViolationKind::AckNotAdvancing {
                    msgno: MsgNo(0),
                    acked: count
                })
            );
        }
        let refused = window.ack(MsgNo(0), 101);
        assert_eq!(
            refused,
            Err(ViolationKind::AckBeyondSent {
                msgno: MsgNo(0),
                acked: 101,
                sent: 100
            })
        );
        assert_eq!(window.ack(MsgNo(0), 41), Ok(1));
        assert_eq!(window.ack(MsgNo(0), 100), Ok(59));
    }

    /// A-6a: quick ACKs of a full window double it up to the cap; slow ones do not.
    #[test]
    fn windows_grow_while_it_pays() {
        let growth = Growth::new(None, 262_144);
        let mut now = Instant::EPOCH;
        let mut window = Window::new(growth.start());
        let mut fill = |window: &mut Window, wait: u64, in_flight: u64| {
            window.note_sent(window.room(&growth));
            window.note_full(now);
            now = now + Duration::from_millis(wait);
            window.ack(MsgNo(0), window.sent).expect("advances");
            window.grow(now, &growth, in_flight);
            window.width(&growth)
        };
        assert_eq!(fill(&mut window, 101, 0), Some(65_536));
        assert_eq!(fill(&mut window, 100, WINDOW_TOTAL + 1), Some(65_536));
        assert_eq!(fill(&mut window, 100, 0), Some(131_072));
        assert_eq!(fill(&mut window, 100, 0), Some(262_144));
        assert_eq!(fill(&mut window, 100, 0), Some(262_144));
    }

    proptest! {
        /// whatever is acknowledged, no more is in flight than the window is wide.
        #[test]
        fn in_flight_is_bounded(width in 1_u64..200_000, chunk in 1_usize..131_072, acks in prop::collection::vec(any::<u64>(), 0..50)) {
            let growth = Growth::new(Some(width), 0);
            let mut window = Window::new(width);
            for ack in acks {
                let len = window.next_len(1 << 20, chunk, &growth);
                window.note_sent(len as u64);
                prop_assert!(window.in_flight() <= width);
                prop_assert!(len > 0 || window.in_flight() > 0);
                if window.in_flight() > 0 {
                    let count = window.sent - ack % window.in_flight();
                    prop_assert!(window.ack(MsgNo(0), count).is_ok());
                }
            }
        }
    }
}
