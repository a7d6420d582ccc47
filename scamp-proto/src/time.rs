//! The clock the machines are told, as a value.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on a monotonic clock, counted from an epoch the caller picks.
///
/// The machines never read a clock: every call that needs the time is told it. An adapter picks
/// its epoch once (usually when it starts) and passes the time since then; tests begin at
/// [`Instant::EPOCH`]. Arithmetic saturates, so `Duration::MAX` is a legal timeout (HD-32).
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
///
/// let start = Instant::EPOCH;
/// let later = start + Duration::from_secs(2);
/// assert_eq!(later - start, Duration::from_secs(2));
/// assert_eq!(start - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(Duration);

impl Instant {
    /// The moment the clock starts from.
    pub const EPOCH: Self = Self(Duration::ZERO);

    /// The moment `since` after the epoch.
    pub const fn from_epoch(since: Duration) -> Self {
        Self(since)
    }

    /// How long after the epoch this moment is.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
