//! The file's octets, cut into records as they arrive (D-31).

use alloc::vec::Vec;

use memchr::memchr;

use super::MARK;
use crate::limits::{ANNOUNCEMENT, CACHE_FILE, CACHE_RECORDS};

/// Finds the records in a cache file that is read piece by piece, however it is cut.
///
/// A line that is exactly `%%%` ends a record; a CR before its LF is tolerated, and one LF before it
/// belongs to it. Text before the first such line is a record if it begins with `[` or `{`.
///
/// # Example
///
/// ```
/// use scamp_proto::discovery::cache_file::{Piece, Splitter};
///
/// let mut records = Vec::new();
/// let mut take = |piece: Piece<'_>| match piece {
///     Piece::Record(index, text) => records.push((index, text.to_vec())),
///     other => panic!("{other:?}"),
/// };
/// let mut splitter = Splitter::new();
/// splitter.feed(b"\n%%%\none\n\n\n%", &mut take);
/// splitter.feed(b"%%\ntwo\n\n", &mut take);
/// splitter.finish(&mut take);
/// assert_eq!(records, [(0, b"one\n\n".to_vec()), (1, b"two\n\n".to_vec())]);
/// ```
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the record begins, how far it was searched, and where what was read ends.
    begin: usize,
    searched: usize,
    end: usize,
    /// What is before `begin` does not end a line: the beginning of a long record is gone.
    inside_line: bool,
    /// Octets of the record that are gone, since it is too long to be one.
    lost: usize,
    /// Whether a separator was met yet.
    separated: bool,
    index: usize,
    octets: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Reading,
    /// A limit was reached; what follows is ignored.
    Full,
}

/// What a [`Splitter`] finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// A record: its index, counted from 0, and its text.
    Record(usize, &'a [u8]),
    /// A record of this index that is longer than any announcement.
    TooLong(usize),
    /// Text before the first separator that is no record; how many octets.
    Stray(usize),
    /// A limit was reached, and the rest is ignored: its key and its value (D-32).
    LimitHit(&'static str, u64),
}

impl Splitter {
    /// One at the beginning of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to read the next octets of the file to, so that they need not be copied; call
    /// [`filled`](Self::filled) then.
    pub fn room(&mut self) -> &mut [u8] {
        if self.buffer.len().saturating_sub(self.end) < CHUNK {
            if self.begin > 0 {
                self.buffer.copy_within(self.begin..self.end, 0);
                self.end = self.end.saturating_sub(self.begin);
                self.searched = self.searched.saturating_sub(self.begin);
                self.begin = 0;
            }
            let len = self.end.saturating_add(CHUNK);
            if self.buffer.len() < len {
                self.buffer.resize(len, 0);
            }
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes the first `len` octets of [`room`](Self::room) for the file's next ones.
    pub fn filled(&mut self, len: usize, take: &mut dyn FnMut(Piece<'_>)) {
        self.add(len);
        self.search_on(take);
    }

    /// The first half of [`filled`](Self::filled): takes the octets.
    pub(super) fn add(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.buffer.len());
        let before = self.octets;
        self.octets = before.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if self.octets > CACHE_FILE {
            let excess = usize::try_from(self.octets.saturating_sub(CACHE_FILE.max(before)));
            self.end = self
                .end
                .saturating_sub(excess.unwrap_or(usize::MAX))
                .max(self.begin);
        }
    }

    /// The other half: finds the records in them.
    pub(super) fn search_on(&mut self, take: &mut dyn FnMut(Piece<'_>)) {
        self.search(false, take);
        if self.octets > CACHE_FILE {
            self.fill_up("discovery.cache_file", CACHE_FILE, take);
        }
        self.lose_what_is_too_long();
    }

    /// Passes over the next record without searching it, if it is this one and a separator follows.
    ///
    /// The text must have been a record before, so that no line of it is a separator. One that does
    /// not end with its line is left to the search.
    pub(super) fn pass(&mut self, record: &[u8]) -> bool {
        let is_between = self.separated && self.lost == 0 && self.state == State::Reading;
        if !is_between || self.index >= CACHE_RECORDS || !record.ends_with(b"\n") {
            return false;
        }
        let rest = self.buffer.get(self.begin..self.end).unwrap_or_default();
        let after = rest.strip_prefix(record);
        let Some(after) = after.and_then(|rest| rest.strip_prefix(b"\n%%%\n")) else {
            return false;
        };
        self.begin = self.end.saturating_sub(after.len());
        self.searched = self.begin;
        self.index = self.index.saturating_add(1);
        true
    }

    /// Takes the file's next octets.
    pub fn feed(&mut self, mut octets: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        while !octets.is_empty() {
            let room = self.room();
            let len = octets.len().min(room.len());
            let (first, rest) = octets.split_at_checked(len).unwrap_or((octets, b""));
            if let Some(room) = room.get_mut(..len) {
                room.copy_from_slice(first);
            }
            self.filled(len, take);
            octets = rest;
        }
    }

    /// Notes that the file ends here.
    pub fn finish(mut self, take: &mut dyn FnMut(Piece<'_>)) {
        self.search(true, take);
        let text = self.buffer.get(self.begin..self.end).unwrap_or_default();
        // After the last separator there may be nothing at all.
        if self.lost > 0 || !text.trim_ascii().is_empty() {
            self.emit(self.end, take);
        }
    }

    fn search(&mut self, is_end: bool, take: &mut dyn FnMut(Piece<'_>)) {
        if self.state == State::Full {
            (self.begin, self.searched, self.end) = (0, 0, 0);
            return;
        }
        while let Some(at) = self.next_mark(is_end) {
            let line = self.buffer.get(at..self.end).unwrap_or_default();
            let rest = line.strip_prefix(MARK).unwrap_or_default();
            let after = match rest {
                [] => b"".as_slice(),
                [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => after,
                other => other,
            };
            let next = self.end.saturating_sub(after.len());
            // One LF before it is the separator's own.
            let text = self.buffer.get(self.begin..at).unwrap_or_default();
            let own = usize::from(text.last() == Some(&b'\n'));
            self.emit(at.saturating_sub(own), take);
            if self.state == State::Full {
                return;
            }
            self.separated = true;
            (self.begin, self.searched) = (next, next);
            (self.inside_line, self.lost) = (false, 0);
        }
    }

    /// Where the next separator's line begins, if it is all there.
    fn next_mark(&mut self, is_end: bool) -> Option<usize> {
        loop {
            let rest = self.buffer.get(self.searched..self.end)?;
            let Some(found) = memchr(b'%', rest) else {
                self.searched = self.end;
                return None;
            };
            let at = self.searched.saturating_add(found);
            let begins_line = match at.checked_sub(1).filter(|_| at > self.begin) {
                Some(before) => self.buffer.get(before) == Some(&b'\n'),
                None => !self.inside_line,
            };
            let line = rest.get(found..).unwrap_or_default();
            if begins_line {
                match line.strip_prefix(MARK) {
                    Some([b'\n', ..] | [b'\r', b'\n', ..]) => return Some(at),
                    Some([]) if is_end => return Some(at),
                    // Not enough to say.
                    Some([] | [b'\r']) if !is_end => {
                        self.searched = at;
                        return None;
                    }
                    None if MARK.starts_with(line) && !is_end => {
                        self.searched = at;
                        return None;
                    }
                    Some(_) | None => {}
                }
            }
            self.searched = at.saturating_add(1);
        }
    }

    /// Hands out what ends at `end`.
    fn emit(&mut self, end: usize, take: &mut dyn FnMut(Piece<'_>)) {
        let text = self.buffer.get(self.begin..end).unwrap_or_default();
        let whole = self.lost == 0;
        let is_record = self.separated || whole && matches!(text.first(), Some(b'[' | b'{'));
        if !is_record {
            if !whole || !text.trim_ascii().is_empty() {
                take(Piece::Stray(text.len().saturating_add(self.lost)));
            }
        } else if self.index >= CACHE_RECORDS {
            let records = u64::try_from(CACHE_RECORDS).unwrap_or(u64::MAX);
            self.fill_up("discovery.cache_records", records, take);
        } else {
            take(match whole && text.len() <= ANNOUNCEMENT {
                true => Piece::Record(self.index, text),
                false => Piece::TooLong(self.index),
            });
            self.index = self.index.saturating_add(1);
        }
    }

    fn fill_up(&mut self, name: &'static str, value: u64, take: &mut dyn FnMut(Piece<'_>)) {
        if self.state == State::Reading {
            self.state = State::Full;
            take(Piece::LimitHit(name, value));
        }
        (self.begin, self.searched, self.end) = (0, 0, 0);
        self.lost = 0;
    }

    /// Keeps no more of a record than an announcement can have (F-44).
    fn lose_what_is_too_long(&mut self) {
        let len = self.searched.saturating_sub(self.begin);
        if len <= ANNOUNCEMENT.saturating_add(CHUNK) {
            return;
        }
        if !self.separated && self.lost == 0 {
            let first = self.buffer.get(self.begin);
            // It would have been a record, and stays one.
            self.separated = matches!(first, Some(b'[' | b'{'));
        }
        let last = self.searched.saturating_sub(1);
        self.inside_line = self.buffer.get(last) != Some(&b'\n');
        self.lost = self.lost.saturating_add(len);
        self.begin = self.searched;
    }
}

/// How much is read at a time, in octets.
const CHUNK: usize = 64 * 1024;
