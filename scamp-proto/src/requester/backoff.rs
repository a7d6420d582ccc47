//! How long to leave alone what could not be reached.

use core::time::Duration;

use crate::limits::{RECONNECT_FIRST, RECONNECT_JITTER, RECONNECT_MOST, RECONNECT_STEADY};
use crate::{Instant, Rng};

/// Waiting between attempts to establish a connection: 50 ms, doubling to 10 s, each 20 % more or
/// less (S-34).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Backoff {
    /// Consecutive failures.
    failures: u32,
    /// Before this no attempt is made.
    not_before: Instant,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            failures: 0,
            not_before: Instant::EPOCH,
        }
    }
}

impl Backoff {
    /// An attempt has failed.
    pub(super) fn failed(&mut self, now: Instant, rng: &mut Rng) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + jittered(delay(self.failures), rng);
    }

    /// A connection that was established at `since` is gone.
    ///
    /// One that stayed up is forgiven its failures. One that did not, waits as long as before, so
    /// that a server that closes whatever it accepts is not called without end.
    pub(super) fn lost(&mut self, now: Instant, since: Instant, rng: &mut Rng) {
        if now - since >= RECONNECT_STEADY {
            *self = Self::default();
        } else if self.failures > 0 {
            self.not_before = now + jittered(delay(self.failures), rng);
        }
    }

    /// When the next attempt may be made.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Whether there is a failure to remember.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }
}

/// The waiting after so many failures, before jitter.
fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    RECONNECT_FIRST.saturating_mul(factor).min(RECONNECT_MOST)
}

fn jittered(delay: Duration, rng: &mut Rng) -> Duration {
    // Thousandths, from 1000 - 10 * jitter to 1000 + 10 * jitter.
    let thousandths = 1000 - 10 * RECONNECT_JITTER + rng.below(20 * RECONNECT_JITTER + 1);
    delay.saturating_mul(u32::try_from(thousandths).unwrap_or(1000)) / 1000
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// S-34: 50 ms, 100 ms, … doubling to 10 s, each within 20 %.
    #[test]
    fn waiting_doubles_to_ten_seconds() {
        let expected = [
            50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000,
        ];
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut backoff = Backoff::default();
            for (failures, millis) in expected.into_iter().enumerate() {
                let now = Instant::EPOCH + Duration::from_secs(failures as u64);
                backoff.failed(now, &mut rng);
                let waiting = backoff.not_before() - now;
                let expected = Duration::from_millis(millis);
                assert!(waiting >= expected * 4 / 5, "{failures}: {waiting:?}");
                assert!(waiting <= expected * 6 / 5, "{failures}: {waiting:?}");
            }
        }
        let mut tired = Backoff {
            failures: u32::MAX,
            ..Backoff::default()
        };
        tired.failed(Instant::EPOCH, &mut Rng::new(1));
        assert!(tired.not_before() <= Instant::EPOCH + Duration::from_secs(12));
    }

    /// S-34, F-13: jitter does spread; the same seed gives the same waiting.
    #[test]
    fn seeds_differ() {
        let waiting = |seed| {
            let mut backoff = Backoff::default();
            backoff.failed(Instant::EPOCH, &mut Rng::new(seed));
            backoff.not_before()
        };
        let mut all: Vec<_> = (0..100).map(waiting).collect();
        assert_eq!(all, (0..100).map(waiting).collect::<Vec<_>>());
        all.sort();
        all.dedup();
        assert!(all.len() > 60, "{}", all.len());
    }

    /// S-34: forgiven once a connection has been established and stayed up for ten seconds.
    #[test]
    fn what_stays_up_is_forgiven() {
        let mut rng = Rng::new(3);
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.failed(Instant::EPOCH, &mut rng);
        }
        let up = Instant::EPOCH + Duration::from_secs(5);
        let mut short = backoff.clone();
        let lost = up + (RECONNECT_STEADY - Duration::from_nanos(1));
        short.lost(lost, up, &mut rng);
        assert!(short.not_before() >= lost + Duration::from_millis(640));
        backoff.lost(up + RECONNECT_STEADY, up, &mut rng);
        assert_eq!(backoff, Backoff::default());
    }
}
