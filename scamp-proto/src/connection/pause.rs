//! Pause, then shed, then close: what happens when the application falls behind (HD-24).

use alloc::vec::Vec;
use core::time::Duration;

use super::incoming::{Incoming, Mode};
use super::{Config, Connection};
use crate::Instant;
use crate::error::{BodyError, CloseReason};
use crate::wire::MsgNo;

/// Whether reading has stopped, and when the application last took something.
#[derive(Debug)]
pub(super) struct Pause {
    since: Option<Instant>,
    progress: Instant,
    /// Octets that may wait for the application.
    allowance: usize,
    shed_after: Duration,
    stall_timeout: Duration,
    next: Step,
}

/// What comes next while the application takes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// It is given time.
    Shed,
    /// It has had its time: whatever is too much from now on waits a moment at most.
    ///
    /// So many messages were shed. The application gives each of them up in its turn, which looks
    /// as if it took something.
    ShedSoon(usize),
    /// Nothing is left to shed.
    Close,
}

impl Pause {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            since: None,
            progress: now,
            allowance: config.max_buffered,
            shed_after: config.shed_after,
            stall_timeout: config.stall_timeout,
            next: Step::Shed,
        }
    }

    pub(super) fn allowance(&self) -> usize {
        self.allowance
    }

    pub(super) fn set_allowance(&mut self, octets: usize) {
        self.allowance = octets;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.since.is_some()
    }

    /// Starts or ends the pause; returns how long it was when it ends.
    pub(super) fn update(&mut self, now: Instant, over: bool, low: bool) -> Option<Duration> {
        match self.since {
            None if over => {
                self.since = Some(now);
                None
            }
            Some(since) if low => {
                self.since = None;
                self.next = Step::Shed;
                Some(now - since)
            }
            _ => None,
        }
    }

    /// Notes that the application took something, or gave something up.
    pub(super) fn note_progress(&mut self, now: Instant) {
        if let Step::ShedSoon(shed @ 1..) = &mut self.next {
            *shed -= 1;
        } else {
            self.give_time(now);
        }
    }

    fn give_time(&mut self, now: Instant) {
        self.progress = now;
        self.next = Step::Shed;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let since = self.since?.max(self.progress);
        Some(match self.next {
            Step::Shed => since + self.shed_after,
            Step::ShedSoon(_) => since + self.shed_after / SOON,
            Step::Close => since + self.stall_timeout,
        })
    }

    pub(super) fn clear(&mut self) {
        self.since = None;
    }
}

impl Connection {
    /// Sheds the largest unread messages, or ends, if the application took nothing for too long.
    ///
    /// Only the excess is shed, and reading goes on: what the application waits for may be behind
    /// what it does not read.
    pub(super) fn expire_pause(&mut self) {
        if self.pause.next().is_none_or(|at| self.clock < at) {
            return;
        }
        if self.pause.next == Step::Close {
            let reason = CloseReason::ReceiverStalled(self.pause.stall_timeout);
            return self.end(reason, false);
        }
        let (limit, progress) = (self.pause.allowance, self.pause.progress);
        let before = match self.pause.next {
            Step::ShedSoon(shed) => shed,
            Step::Shed | Step::Close => 0,
        };
        let shed = before + self.shed(limit);
        // Shedding is not the application's progress.
        self.pause.progress = progress;
        if self.buffered > limit {
            self.pause.next = Step::Close;
        } else if self.queues.answers() > self.config.max_control / 2 {
            // It is the peer that does not take our answers; another timer watches that (HD-31).
            self.pause.give_time(self.clock);
        } else {
            if let Some(held) = self.pause.update(self.clock, false, true) {
                self.timers.extend_packet(held);
            }
            self.pause.next = Step::ShedSoon(shed);
        }
    }

    /// Drops unread messages, the largest first and of these the newest, until no more than `limit`
    /// octets wait; returns how many.
    fn shed(&mut self, limit: usize) -> usize {
        if self.buffered <= limit {
            return 0;
        }
        let mut sizes: Vec<(usize, MsgNo)> = self
            .incoming
            .iter()
            .map(|(msgno, message)| (message.unread(), msgno))
            .filter(|(size, _)| *size > 0)
            .collect();
        sizes.sort_unstable();
        let open = sizes.len();
        while self.buffered > limit {
            let Some((_, msgno)) = sizes.pop() else { break };
            self.discard_message(msgno, Some(BodyError::Overloaded));
        }
        open - sizes.len()
    }
}

impl Incoming {
    /// Octets of [`Connection::buffered`] that are this message's; collected ones are not.
    fn unread(&self) -> usize {
        match self.mode {
            Mode::Stream => self.body.held() + self.header_cost,
            Mode::Collect { .. } => self.header_cost,
            Mode::Discard => 0,
        }
    }
}

/// The part of its time that an application has which took nothing in all of it.
const SOON: u32 = 1000;
