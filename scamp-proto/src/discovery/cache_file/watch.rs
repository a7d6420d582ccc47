//! When to look at the cache file, whether to read it, and how old it is (D-35, D-36, HD-41).

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;

use crate::Instant;
use crate::discovery::{Event, UnixTime};
use crate::limits::{CACHE_MAX_AGE, FILE_LOOK, TORN_READS};

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// When it was last changed, by the wall clock.
    pub modified: UnixTime,
    /// Its length in octets.
    pub size: u64,
    /// Its inode, or 0 where there is no such thing.
    pub inode: u64,
}

/// What is found where the file should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look<'a> {
    /// A file.
    Found(Stat),
    /// Nothing.
    Absent,
    /// Something that cannot be read; the system's words for why.
    Unreadable(&'a str),
}

/// What lookups do when the cache file is too old (`discovery.stale_policy`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StalePolicy {
    /// They fail.
    #[default]
    Error,
    /// They go on, and an event is told.
    Warn,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Read the file, with a look at it right before and right after; then tell
    /// [`Watch::finished`].
    Read,
    /// What was just read counts: go on to [`Reading::finish`](super::Reading::finish).
    Take,
}

/// Decides about a file from what it is told, and touches none.
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::Instant;
/// use scamp_proto::discovery::UnixTime;
/// use scamp_proto::discovery::cache_file::{Look, Stat, StalePolicy, Step, Watch};
///
/// let mut watch = Watch::new(Duration::from_secs(120), StalePolicy::Error);
/// let (now, wall) = (Instant::EPOCH, UnixTime::from_micros(1_700_000_000_000_000));
/// let on_event = &mut |event| println!("{event}");
/// let file = Look::Found(Stat { modified: wall, size: 7_332, inode: 5 });
/// assert!(watch.is_stale(now), "it was never read");
/// assert_eq!(watch.look(now, file, on_event), Step::Read);
/// assert_eq!(watch.finished(now, wall, file, file, on_event), Step::Take);
/// assert!(!watch.is_stale(now + Duration::from_secs(120)));
/// assert!(watch.is_stale(now + Duration::from_secs(121)));
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    max_age: Duration,
    policy: StalePolicy,
    looked: Option<Instant>,
    /// The state whose content counts.
    taken: Option<Taken>,
    /// What was last told about the file, so that it is not told again.
    told: Told,
    is_staleness_told: bool,
    torn: u32,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    stat: Stat,
    /// How old it was, and when that was.
    age: Duration,
    at: Instant,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Told {
    #[default]
    Nothing,
    Torn,
    Unreadable(String),
}

impl Default for Watch {
    fn default() -> Self {
        Self::new(CACHE_MAX_AGE, StalePolicy::Error)
    }
}

impl Watch {
    /// A watch over a file not yet looked at.
    pub fn new(max_age: Duration, policy: StalePolicy) -> Self {
        Self {
            max_age,
            policy,
            looked: None,
            taken: None,
            told: Told::Nothing,
            is_staleness_told: false,
            torn: 0,
        }
    }

    /// When the file should next be looked at.
    pub fn poll_timeout(&self) -> Instant {
        self.looked
            .map_or(Instant::EPOCH, |looked| looked + FILE_LOOK)
    }

    /// Whether it is time to look at the file: once a second at most.
    pub fn wants_look(&self, now: Instant) -> bool {
        self.poll_timeout() <= now
    }

    /// Takes note of what the file is, and says whether it must be read.
    pub fn look(&mut self, now: Instant, look: Look<'_>, on_event: &mut dyn FnMut(Event)) -> Step {
        self.looked = Some(now);
        self.torn = 0;
        let step = match look {
            Look::Found(stat) if self.taken.is_some_and(|taken| taken.stat == stat) => {
                self.told = Told::Nothing;
                Step::Wait
            }
            Look::Found(_) => Step::Read,
            Look::Absent => self.unreadable(ABSENT, on_event),
            Look::Unreadable(why) => self.unreadable(why, on_event),
        };
        self.tell_staleness(now, on_event);
        step
    }

    /// Takes note that the file was read, between these two looks at it.
    ///
    /// [`Step::Take`] if both are one; else it is to be read again, three more times at most.
    pub fn finished(
        &mut self,
        now: Instant,
        wall: UnixTime,
        before: Look<'_>,
        after: Look<'_>,
        on_event: &mut dyn FnMut(Event),
    ) -> Step {
        match (before, after) {
            (Look::Found(before), Look::Found(after)) if before == after => {
                // An unchanged time ages by our clock, whatever happens to the wall's (F-48).
                let age = match self.taken {
                    Some(taken) if taken.stat.modified == after.modified => taken.age_at(now),
                    _ => wall.since(after.modified),
                };
                self.taken = Some(Taken {
                    stat: after,
                    age,
                    at: now,
                });
                self.told = Told::Nothing;
                self.is_staleness_told = false;
                self.tell_staleness(now, on_event);
                Step::Take
            }
            (Look::Unreadable(why), _) | (_, Look::Unreadable(why)) => {
                self.unreadable(why, on_event)
            }
            (Look::Absent, _) => self.unreadable(ABSENT, on_event),
            (Look::Found(_), Look::Found(_) | Look::Absent) => {
                self.torn = self.torn.saturating_add(1);
                if self.torn <= TORN_READS {
                    return Step::Read;
                }
                if self.told != Told::Torn {
                    self.told = Told::Torn;
                    on_event(Event::FileTorn);
                }
                Step::Wait
            }
        }
    }

    /// Whether what the file lists must not be used now (D-36); never with [`StalePolicy::Warn`].
    pub fn is_stale(&self, now: Instant) -> bool {
        match self.policy {
            StalePolicy::Error => self.age(now).is_none_or(|age| age > self.max_age),
            StalePolicy::Warn => false,
        }
    }

    /// How old the file is; `None` if it was never readable.
    ///
    /// One that disappears goes on ageing.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.taken.map(|taken| taken.age_at(now))
    }

    fn unreadable(&mut self, why: &str, on_event: &mut dyn FnMut(Event)) -> Step {
        if !matches!(&self.told, Told::Unreadable(told) if told == why) {
            self.told = Told::Unreadable(why.to_owned());
            on_event(Event::FileUnreadable(why.to_owned()));
        }
        Step::Wait
    }

    fn tell_staleness(&mut self, now: Instant, on_event: &mut dyn FnMut(Event)) {
        if let Some(age) = self.age(now).filter(|age| *age > self.max_age) {
            if !core::mem::replace(&mut self.is_staleness_told, true) {
                on_event(Event::FileStale { age });
            }
        }
    }
}

impl Taken {
    fn age_at(&self, now: Instant) -> Duration {
        self.age.saturating_add(now - self.at)
    }
}

const ABSENT: &str = "it does not exist";
