//! What is written to the cache file, and when (D-33, D-34).

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use super::MARK;
use crate::Instant;
use crate::discovery::{Announcement, Event};
use crate::limits::{CACHE_FIRST_WRITE, CACHE_WRITE};

/// The file's octets: these announcements in their order, each as it was received.
///
/// One of which a line is `%%%` would end its record early and is left out, with an event. One that
/// does not end in an empty line is completed, since its end is not signed.
pub fn encode<'a>(
    announcements: impl IntoIterator<Item = &'a Announcement>,
    on_event: &mut dyn FnMut(Event),
) -> Vec<u8> {
    let mut out = Vec::new();
    for announcement in announcements {
        let text = announcement.text().as_bytes();
        let mut lines = text.split(|octet| *octet == b'\n');
        if lines.any(|line| line.strip_suffix(b"\r").unwrap_or(line) == MARK) {
            on_event(Event::Unwritable {
                fingerprint: announcement.fingerprint(),
                identity: announcement.identity().to_string(),
            });
            continue;
        }
        out.push(b'\n');
        out.extend_from_slice(MARK);
        out.push(b'\n');
        out.extend_from_slice(text);
        while !out.ends_with(b"\n\n") {
            out.push(b'\n');
        }
    }
    out
}

/// Something to do with the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// Set its time of change to now.
    Touch,
    /// Write it anew, aside, and rename that over it.
    Write,
}

/// When to write the file, and when to show that it is still looked after.
///
/// Changes are gathered to one write a second. A manager that finds a file younger than it may get
/// waits ten seconds before its first write, so that services can be heard (D-34).
#[derive(Clone, Debug)]
pub struct Writer {
    touch_every: Duration,
    /// Not before this.
    write_at: Instant,
    touch_at: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The file has what it should.
    Clean,
    /// It must be written.
    Changed,
    /// It is being written or touched; and whether it changed since.
    Busy(Task, bool),
    /// It could not be written, and nothing changed since.
    Failed,
}

impl Writer {
    /// A writer that begins now, where there is a file of this age or none.
    pub fn new(now: Instant, existing: Option<Duration>, max_age: Duration) -> Self {
        // Nine tenths, less the wait.
        let young = max_age
            .saturating_mul(9)
            .checked_div(10)
            .unwrap_or_default();
        let young = young.saturating_sub(CACHE_FIRST_WRITE);
        let touch_every = max_age.checked_div(2).unwrap_or_default();
        let waits = existing.is_some_and(|age| age < young);
        Self {
            touch_every,
            write_at: if waits { now + CACHE_FIRST_WRITE } else { now },
            touch_at: now + touch_every,
            // What is known then is written, even if that is nothing.
            state: if waits { State::Changed } else { State::Clean },
        }
    }

    /// Waits no longer than this, from `now`, before the first write.
    pub fn first_write(self, now: Instant, wait: Duration) -> Self {
        Self {
            write_at: self.write_at.min(now + wait),
            ..self
        }
    }

    /// Notes that the file should have another content now.
    pub fn changed(&mut self) {
        self.state = match self.state {
            State::Clean | State::Changed | State::Failed => State::Changed,
            State::Busy(task, _) => State::Busy(task, true),
        };
    }

    /// What to do now; it must be answered with [`done`](Self::done).
    pub fn poll_task(&mut self, now: Instant) -> Option<Task> {
        let task = match self.state {
            State::Changed if self.write_at <= now => Task::Write,
            State::Clean if self.touch_at <= now => Task::Touch,
            // Without a write it would be taken for dead, so another is tried.
            State::Failed if self.touch_at <= now => Task::Write,
            State::Clean | State::Changed | State::Failed | State::Busy(..) => return None,
        };
        self.state = State::Busy(task, false);
        Some(task)
    }

    /// Takes note of how the task ended.
    pub fn done(&mut self, now: Instant, is_done: bool) {
        let State::Busy(task, changed) = self.state else {
            return;
        };
        if task == Task::Write {
            self.write_at = now + CACHE_WRITE;
        }
        self.touch_at = now + self.touch_every;
        self.state = match (changed, is_done) {
            (true, _) => State::Changed,
            (false, true) => State::Clean,
            (false, false) => State::Failed,
        };
    }

    /// Takes note that there was nothing to write, since the file has this content already.
    pub fn skipped(&mut self, now: Instant) {
        if let State::Busy(Task::Write, _) = self.state {
            self.write_at = now + CACHE_WRITE;
            self.state = State::Clean;
        }
    }

    /// When [`poll_task`](Self::poll_task) has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Clean | State::Failed => Some(self.touch_at),
            State::Changed => Some(self.write_at),
            State::Busy(..) => None,
        }
    }
}
