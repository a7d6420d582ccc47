//! When to dial, and when to give up.

use core::time::Duration;

use crate::limits;
use crate::{Instant, Rng};

/// The settings of [`Reconnect`].
#[derive(Clone, Debug)]
pub struct ReconnectConfig {
    /// Tries that may fail one after the other, beside the first (WD-70, `reconnect_attempts`).
    pub attempts: u32,
    /// A try, up to the assignment of an id, may take this long (WD-71).
    pub dial_timeout: Duration,
    /// What is added to the pause with each try (WD-70).
    pub pause_step: Duration,
    /// The longest pause (WD-70).
    pub pause_most: Duration,
    /// A connection that lived this long makes the pauses start anew (WD-73).
    pub stable_after: Duration,
    /// With a seed, each pause is up to half as long again, so that the clients of one server do not
    /// all come back at once (WD-70).
    pub seed: Option<u64>,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            attempts: 0,
            dial_timeout: limits::CONNECT_TIMEOUT,
            pause_step: limits::WADDELL_PAUSE,
            pause_most: limits::WADDELL_PAUSE_MOST,
            stable_after: limits::WADDELL_STABLE,
            seed: None,
        }
    }
}

/// Which connection of a client, counted from 1 (WD-74).
///
/// What is told of an older one than the newest is of no account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u64);

/// When to dial and when to give up: the policy alone, without a socket (WD-122).
///
/// ```text
///  Pausing ──poll_dial──> Dialling ──connected──> Up ──lost──> Pausing
///     ^                      └── failed, too long ──┐
///     └──────────────────────────────<──────────────┴── too often ──> Over
/// ```
///
/// Two counts rule it (WD-73). *Failures* start anew with every assignment, and one more than
/// `attempts` of them end it. *Tries* make the pauses longer, and start anew only after a connection
/// that was stable, so a server that assigns and closes is dialled ever more slowly.
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
/// use scamp_proto::waddell::{Outlook, Reconnect, ReconnectConfig};
///
/// let config = ReconnectConfig { attempts: 1, ..Default::default() };
/// let mut reconnect = Reconnect::new(config, Instant::EPOCH);
/// let first = reconnect.poll_dial(Instant::EPOCH).expect("no pause before the first");
/// assert_eq!(reconnect.failed(Instant::EPOCH, first), Outlook::Again);
///
/// let later = Instant::EPOCH + Duration::from_millis(100);
/// assert_eq!(reconnect.poll_dial(Instant::EPOCH), None);
/// assert_eq!(reconnect.poll_timeout(), Some(later));
/// let second = reconnect.poll_dial(later).expect("the pause is over");
/// assert_eq!(reconnect.failed(later, second), Outlook::GaveUp);
/// ```
#[derive(Debug)]
pub struct Reconnect {
    config: ReconnectConfig,
    rng: Option<Rng>,
    state: State,
    generation: Generation,
    /// Consecutive tries that failed.
    failures: u32,
    /// Tries since the start, or since the last connection that was stable.
    tries: u32,
}

#[derive(Debug)]
enum State {
    Pausing {
        until: Instant,
    },
    /// The pause is over.
    Due,
    Dialling {
        since: Instant,
    },
    Up {
        since: Instant,
    },
    Over,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outlook {
    /// There will be another try.
    Again,
    /// All tries have failed (WD-72).
    GaveUp,
    /// It concerned an older connection, or none, and changed nothing (WD-74).
    Stale,
}

impl Reconnect {
    /// A client that is to be connected at once.
    pub fn new(config: ReconnectConfig, now: Instant) -> Self {
        Self {
            rng: config.seed.map(Rng::new),
            config,
            state: State::Pausing { until: now },
            generation: Generation(0),
            failures: 0,
            tries: 0,
        }
    }

    /// The connection to make now, if one is to be made; it is told once.
    pub fn poll_dial(&mut self, now: Instant) -> Option<Generation> {
        self.handle_timeout(now);
        match self.state {
            State::Due => {
                self.tries = self.tries.saturating_add(1);
                self.generation.0 = self.generation.0.saturating_add(1);
                self.state = State::Dialling { since: now };
                Some(self.generation)
            }
            State::Pausing { .. } | State::Dialling { .. } | State::Up { .. } | State::Over => None,
        }
    }

    /// When the pause, or a try that takes too long, is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pausing { until } => Some(until),
            State::Dialling { since } => Some(since + self.config.dial_timeout),
            State::Due | State::Up { .. } | State::Over => None,
        }
    }

    /// Notes that a pause is over; [`poll_dial`](Self::poll_dial) says what follows.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Pausing { until } if until <= now => self.state = State::Due,
            State::Pausing { .. }
            | State::Due
            | State::Dialling { .. }
            | State::Up { .. }
            | State::Over => {}
        }
    }

    /// Whether the try in progress has taken too long (WD-71); it is to be told as failed then.
    pub fn is_late(&self, now: Instant) -> bool {
        match self.state {
            State::Dialling { since } => since + self.config.dial_timeout <= now,
            State::Pausing { .. } | State::Due | State::Up { .. } | State::Over => false,
        }
    }

    /// A try has succeeded: an id has been assigned.
    ///
    /// Returns `false` if that connection is not wanted any more and must be closed.
    #[must_use]
    pub fn connected(&mut self, now: Instant, generation: Generation) -> bool {
        let wanted = self.is_dialling(generation);
        if wanted {
            self.failures = 0;
            self.state = State::Up { since: now };
        }
        wanted
    }

    /// A try has failed: to dial, to shake hands, or to be assigned an id.
    pub fn failed(&mut self, now: Instant, generation: Generation) -> Outlook {
        if !self.is_dialling(generation) {
            return Outlook::Stale;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures > self.config.attempts {
            self.state = State::Over;
            return Outlook::GaveUp;
        }
        self.pause(now);
        Outlook::Again
    }

    /// A connection that had been assigned an id is gone.
    pub fn lost(&mut self, now: Instant, generation: Generation) -> Outlook {
        match self.state {
            State::Up { since } if generation == self.generation => {
                if now - since >= self.config.stable_after {
                    self.tries = 0;
                }
                self.pause(now);
                Outlook::Again
            }
            State::Pausing { .. }
            | State::Due
            | State::Dialling { .. }
            | State::Up { .. }
            | State::Over => Outlook::Stale,
        }
    }

    /// Dials no more.
    pub fn close(&mut self) {
        self.state = State::Over;
    }

    /// Whether this connection is being made.
    pub fn is_dialling(&self, generation: Generation) -> bool {
        matches!(self.state, State::Dialling { .. }) && generation == self.generation
    }

    /// The newest connection.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    fn pause(&mut self, now: Instant) {
        let pause = self.config.pause_step.saturating_mul(self.tries);
        let pause = pause.min(self.config.pause_most);
        let longer = self
            .rng
            .as_mut()
            .map_or(0, |rng| rng.below(10 * limits::WADDELL_JITTER + 1));
        let longer = u32::try_from(longer).unwrap_or_default();
        let until = now + pause + pause.saturating_mul(longer) / 1000;
        self.state = State::Pausing { until };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn at(millis: u64) -> Instant {
        Instant::EPOCH + Duration::from_millis(millis)
    }

    fn config(attempts: u32) -> ReconnectConfig {
        ReconnectConfig {
            attempts,
            ..ReconnectConfig::default()
        }
    }

    /// Waits for the pause to end.
    fn dial(reconnect: &mut Reconnect, now: &mut Instant) -> Generation {
        *now = reconnect.poll_timeout().expect("it goes on").max(*now);
        reconnect.poll_dial(*now).expect("the pause is over")
    }

    /// WD-70: before the n-th try come 100 ms more than before the one before it, up to 5 s.
    #[test]
    fn wd_70_pauses() {
        let mut reconnect = Reconnect::new(config(59), at(0));
        let mut now = at(0);
        let mut times = Vec::new();
        let outlook = loop {
            let generation = dial(&mut reconnect, &mut now);
            times.push(now);
            match reconnect.failed(now, generation) {
                Outlook::Again => {}
                outlook => break outlook,
            }
        };
        assert_eq!((outlook, times.len()), (Outlook::GaveUp, 60));
        for (index, pair) in times.windows(2).enumerate() {
            let tenths = (index as u64 + 1).min(50);
            assert_eq!(pair[1] - pair[0], Duration::from_millis(100 * tenths));
        }
        assert_eq!(reconnect.poll_timeout(), None);
        assert_eq!(
            reconnect.poll_dial(now + Duration::MAX),
            None,
            "WD-72: it is over"
        );
    }

    /// WD-71, defect 9: a try has ten seconds, and its late success is refused.
    #[test]
    fn wd_71_late_tries() {
        let mut reconnect = Reconnect::new(config(1), at(0));
        let first = reconnect.poll_dial(at(0)).unwrap();
        assert_eq!(reconnect.poll_timeout(), Some(at(10_000)));
        assert!(!reconnect.is_late(at(9_999)) && reconnect.is_late(at(10_000)));
        assert_eq!(reconnect.failed(at(10_000), first), Outlook::Again);
        assert!(!reconnect.connected(at(10_001), first), "it must be closed");
        assert!(reconnect.poll_dial(at(10_100)).is_some());
    }

    /// WD-73, defect 10: a server that assigns and closes is dialled ever more slowly, and never given
    /// up for it; one that lived five seconds is dialled at once.
    #[test]
    fn wd_73_two_counts() {
        let mut reconnect = Reconnect::new(config(0), at(0));
        let mut now = at(0);
        for tries in 1..100 {
            let generation = dial(&mut reconnect, &mut now);
            assert!(reconnect.connected(now, generation));
            now = now + Duration::from_millis(4999);
            assert_eq!(reconnect.lost(now, generation), Outlook::Again);
            let pause = reconnect.poll_timeout().unwrap() - now;
            assert_eq!(pause, Duration::from_millis(100 * tries.min(50)));
        }
        let generation = dial(&mut reconnect, &mut now);
        assert!(reconnect.connected(now, generation));
        now = now + Duration::from_secs(5);
        assert_eq!(reconnect.lost(now, generation), Outlook::Again);
        assert_eq!(reconnect.poll_timeout(), Some(now));
    }

    /// WD-74, defect 7: what is told of an older connection, or twice, changes nothing.
    #[test]
    fn wd_74_older_generations() {
        let mut reconnect = Reconnect::new(config(5), at(0));
        let first = reconnect.poll_dial(at(0)).unwrap();
        assert!(reconnect.connected(at(0), first));
        assert_eq!(reconnect.lost(at(6000), first), Outlook::Again);
        assert_eq!(reconnect.lost(at(6000), first), Outlook::Stale);
        let second = reconnect.poll_dial(at(6000)).unwrap();
        assert_eq!(reconnect.failed(at(6000), first), Outlook::Stale);
        assert!(!reconnect.connected(at(6000), first));
        assert!(reconnect.connected(at(6000), second));
        assert_eq!(reconnect.lost(at(6001), first), Outlook::Stale);
        assert_eq!(reconnect.failed(at(6001), second), Outlook::Stale);
        assert_eq!(reconnect.poll_timeout(), None, "the second is still up");
    }

    /// WD-70: a seed lengthens pauses by up to half, and the same seed does it alike.
    #[test]
    fn wd_70_jitter() {
        let pauses = |seed| {
            let config = ReconnectConfig {
                seed: Some(seed),
                ..config(40)
            };
            let mut reconnect = Reconnect::new(config, at(0));
            let mut now = at(0);
            let mut pauses = Vec::new();
            for _ in 0..40 {
                let generation = dial(&mut reconnect, &mut now);
                assert_eq!(reconnect.failed(now, generation), Outlook::Again);
                pauses.push(reconnect.poll_timeout().unwrap() - now);
            }
            pauses
        };
        for (index, pause) in pauses(7).into_iter().enumerate() {
            let plain = Duration::from_millis(100 * (index as u64 + 1));
            assert!(pause >= plain && pause <= plain * 3 / 2, "{pause:?}");
        }
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    proptest! {
        /// WD-127: whatever is told in whatever order, the times of dialling are those of a plain
        /// reading of WD-70 and WD-73.
        #[test]
        fn wd_127_dial_times(
            attempts in 0_u32..5,
            lives in prop::collection::vec(prop::option::of(0_u64..10_000), 0..40),
        ) {
            let mut reconnect = Reconnect::new(config(attempts), at(0));
            let (mut now, mut tries, mut failures) = (0, 0, 0);
            for life in lives {
                now += (100 * tries).min(5000);
                if now > 0 {
                    prop_assert_eq!(reconnect.poll_dial(at(now - 1)), None);
                }
                let generation = reconnect.poll_dial(at(now)).unwrap();
                tries += 1;
                let Some(life) = life else {
                    failures += 1;
                    let outlook = reconnect.failed(at(now), generation);
                    if failures > attempts {
                        prop_assert_eq!(outlook, Outlook::GaveUp);
                        return Ok(());
                    }
                    prop_assert_eq!(outlook, Outlook::Again);
                    continue;
                };
                failures = 0;
                prop_assert!(reconnect.connected(at(now), generation));
                now += life;
                prop_assert_eq!(reconnect.lost(at(now), generation), Outlook::Again);
                if life >= 5000 {
                    tries = 0;
                }
            }
        }
    }
}
