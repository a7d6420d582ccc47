//! What is worth knowing and ends nothing.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::Instant;
use crate::limits::{NOTES, NOTES_KEPT};

/// Something odd that was handled and is worth a line in a log.
///
/// At most ten of a kind come at once and then one a second; what was left out is counted in the
/// next one (HD-29).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// What happened.
    pub what: What,
    /// How many of the same kind were left out before it.
    pub suppressed: u64,
}

/// The things a [`Note`] can tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A ticket or token that was presented does not count, and why (T-5); the peer is not told.
    BadTicket(String),
    /// A header has a known field whose value cannot be used; the message was set aside (H-3).
    BadHeader(&'static str),
    /// An event's body, or one record of it, cannot be used and was skipped (S-41).
    BadRecord,
    /// A handler took longer than this, and its request was ended for it (S-20).
    HandlerTimeout(Duration),
    /// A limit acted: the limit's key, and its value (HD-15).
    LimitHit(&'static str, u64),
    /// A request was refused before anything was started for it; the text of the answer, at most
    /// 128 characters (R-17, V-6).
    RequestRefused(String),
    /// A request without a usable id cannot be answered and was not dispatched (S-7).
    RequestWithoutId,
    /// A reply that nobody waits for: an unknown id, a second one, or none (S-15).
    UnexpectedReply,
    /// The peer closed without the farewell its layer prescribes, with nothing open (F-3).
    UncleanClose,
    /// A message type that does not exist, or not in this direction (H-6); at most 64 octets.
    UnknownMessageType(String),
}

impl core::fmt::Display for What {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BadTicket(text) => write!(f, "ticket does not count: {text}"),
            Self::BadHeader(field) => write!(f, "header field {field} cannot be used"),
            Self::BadRecord => f.write_str("event record cannot be used"),
            Self::HandlerTimeout(limit) => {
                write!(f, "handler took longer than {} s", limit.as_secs_f64())
            }
            Self::LimitHit(name, value) => write!(f, "limit {name} = {value} reached"),
            Self::RequestRefused(text) => write!(f, "request refused: {text:?}"),
            Self::RequestWithoutId => f.write_str("request without a usable request_id"),
            Self::UnexpectedReply => f.write_str("reply that nobody waits for"),
            Self::UncleanClose => f.write_str("peer closed without close_notify"),
            Self::UnknownMessageType(word) => write!(f, "unknown message type {word:?}"),
        }
    }
}

impl What {
    fn kind(&self) -> usize {
        match self {
            Self::BadHeader(_) => 0,
            Self::BadRecord => 1,
            Self::LimitHit(..) => 2,
            Self::RequestWithoutId => 3,
            Self::UnexpectedReply => 4,
            Self::UncleanClose => 5,
            Self::UnknownMessageType(_) => 6,
            Self::RequestRefused(_) => 7,
            Self::BadTicket(_) => 8,
            Self::HandlerTimeout(_) => 9,
        }
    }
}

/// The newest of what is kept until somebody asks for it.
#[derive(Clone, Debug)]
pub struct Newest<T> {
    kept: VecDeque<T>,
    most: usize,
}

impl<T> Newest<T> {
    /// Keeps at most this many.
    pub fn new(most: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            most,
        }
    }

    /// Keeps one more; the oldest goes if that is one too many.
    pub fn push(&mut self, one: T) {
        if self.kept.len() >= self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(one);
    }

    /// Takes what is kept, the oldest first.
    pub fn take(&mut self) -> Vec<T> {
        self.kept.drain(..).collect()
    }
}

/// What a connection has to tell and nobody has asked for yet: the newest 256.
impl Default for Newest<Note> {
    fn default() -> Self {
        Self::new(NOTES_KEPT)
    }
}

/// Lets ten notes of a kind pass at once, then one a second.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    kinds: [Kind; 10],
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    bucket: Bucket,
    suppressed: u64,
}

impl Notes {
    pub(crate) fn new(now: Instant) -> Self {
        let bucket = Bucket::new(NOTES, Duration::from_secs(NOTES), now);
        Self {
            kinds: [Kind {
                bucket,
                suppressed: 0,
            }; 10],
        }
    }

    /// The note to pass on, if it is not one too many.
    pub(crate) fn admit(&mut self, now: Instant, what: What) -> Option<Note> {
        let kind = self.kinds.get_mut(what.kind())?;
        if kind.bucket.take(now, 1) {
            let suppressed = core::mem::take(&mut kind.suppressed);
            Some(Note { what, suppressed })
        } else {
            kind.suppressed = kind.suppressed.saturating_add(1);
            None
        }
    }
}

/// A budget that refills evenly: `size` within `span`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    size: u64,
    span: Duration,
    /// What is left, in 2^-20 of one.
    left: u128,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(size: u64, span: Duration, now: Instant) -> Self {
        Self {
            size,
            span,
            left: u128::from(size) << SHIFT,
            filled: now,
        }
    }

    /// Takes `count` out, or returns `false` if that much is not there.
    pub(crate) fn take(&mut self, now: Instant, count: u64) -> bool {
        let passed = now - self.filled;
        if passed > Duration::ZERO {
            let full = u128::from(self.size) << SHIFT;
            let gain = full.saturating_mul(passed.as_nanos()) / self.span.as_nanos().max(1);
            self.left = self.left.saturating_add(gain).min(full);
            self.filled = now;
        }
        let cost = u128::from(count) << SHIFT;
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

const SHIFT: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-27: a budget of a hundred in ten seconds gives a hundred at once and ten a second.
    #[test]
    fn budgets_refill() {
        let start = Instant::EPOCH;
        let mut bucket = Bucket::new(100, Duration::from_secs(10), start);
        assert!((0..100).all(|_| bucket.take(start, 1)));
        assert!(!bucket.take(start, 1));
        let later = start + Duration::from_millis(250);
        assert!(bucket.take(later, 1) && bucket.take(later, 1) && !bucket.take(later, 1));
        let much_later = start + Duration::MAX;
        assert!((0..100).all(|_| bucket.take(much_later, 1)) && !bucket.take(much_later, 1));
    }

    /// HD-29: the eleventh note of a kind is counted, not told.
    #[test]
    fn notes_are_rationed() {
        let mut notes = Notes::new(Instant::EPOCH);
        let told = (0..15).filter(|_| notes.admit(Instant::EPOCH, What::UnexpectedReply).is_some());
        assert_eq!(told.count(), 10);
        let next = notes.admit(
            Instant::EPOCH + Duration::from_secs(1),
            What::UnexpectedReply,
        );
        assert_eq!(next.map(|note| note.suppressed), Some(5));
    }

    /// HD-4: what is kept has a bound, and the oldest go first.
    #[test]
    fn the_newest_are_kept() {
        let mut newest = Newest::new(3);
        (0..5).for_each(|number| newest.push(number));
        assert_eq!(newest.take(), [2, 3, 4]);
        assert!(newest.take().is_empty());
    }
}
