//! Pause, then shed, then close: what happens when the application falls behind (HD-24).

use alloc::vec::Vec;
use core::time::Duration;

use super::incoming::Mode;
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
    /// Whether nothing was left to shed.
    exhausted: bool,
}

impl Pause {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            since: None,
            progress: now,
            allowance: config.max_buffered,
            shed_after: config.shed_after,
            stall_timeout: config.stall_timeout,
            exhausted: false,
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
                self.exhausted = false;
                None
            }
            Some(since) if low => {
                self.since = None;
                Some(now - since)
            }
            _ => None,
        }
    }

    pub(super) fn note_progress(&mut self, now: Instant) {
        self.progress = now;
        self.exhausted = false;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let since = self.since?.max(self.progress);
        Some(
            since
                + if self.exhausted {
                    self.stall_timeout
                } else {
                    self.shed_after
                },
        )
    }

    pub(super) fn clear(&mut self) {
        self.since = None;
    }
}

impl Connection {
    /// Sheds the largest unread messages, or ends, if the application took nothing for too long.
    pub(super) fn expire_pause(&mut self) {
        if self.pause.next().is_none_or(|at| self.clock < at) {
            return;
        }
        let low = self.pause.allowance / 2;
        if self.buffered <= low {
            // It is the peer that does not take our answers; another timer watches that (HD-31).
            return self.pause.note_progress(self.clock);
        }
        if self.pause.exhausted {
            let reason = CloseReason::ReceiverStalled(self.pause.stall_timeout);
            return self.end(reason, false);
        }
        // One walk over the open messages in five seconds; ties go to the newest.
        let mut sizes: Vec<(usize, MsgNo)> = self
            .incoming
            .iter()
            .filter(|(_, message)| message.mode == Mode::Stream)
            .map(|(msgno, message)| (message.body.held() + message.header_cost, msgno))
            .filter(|(size, _)| *size > 0)
            .collect();
        sizes.sort_unstable();
        let progress = self.pause.progress;
        while self.buffered > low {
            let Some((_, msgno)) = sizes.pop() else { break };
            self.discard_message(msgno, Some(BodyError::Overloaded));
        }
        if self.buffered > low {
            // Shedding is not the application's progress.
            self.pause.progress = progress;
            self.pause.exhausted = true;
        }
    }
}
