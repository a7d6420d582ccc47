//! What both ends do with the octets that arrive.

use alloc::borrow::Cow;
use core::time::Duration;

use super::frames::{FrameTooLong, Frames};
use crate::Instant;

/// A cutter that minds how long a frame takes to be complete (HD-30).
#[derive(Debug)]
pub(super) struct Incoming {
    frames: Frames,
    timeout: Duration,
    /// When the incomplete frame began.
    begun: Option<Instant>,
    /// Whether the stream was not being read when last looked at: what we do not read is not the
    /// peer's slowness.
    paused: bool,
}

impl Incoming {
    pub(super) fn new(limit: usize, timeout: Duration) -> Self {
        Self {
            frames: Frames::new(limit),
            timeout,
            begun: None,
            paused: false,
        }
    }

    /// As [`Frames::cut`].
    pub(super) fn cut<'a>(
        &mut self,
        now: Instant,
        input: &mut &'a [u8],
    ) -> Result<Option<Cow<'a, [u8]>>, FrameTooLong> {
        let content = self.frames.cut(input)?;
        self.begun = match content.is_none() && self.frames.is_inside() {
            true => self.begun.or(Some(now)),
            false => None,
        };
        Ok(content)
    }

    /// Octets held of the frame that is arriving.
    pub(super) fn held(&self) -> usize {
        self.frames.held()
    }

    /// Notes that the stream is not read for now.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// When the incomplete frame must be complete, if the stream is being read.
    pub(super) fn deadline(&self, reading: bool) -> Option<Instant> {
        let begun = self.begun.filter(|_| reading)?;
        Some(begun + self.timeout)
    }

    /// Returns the timeout if an incomplete frame has taken longer than that.
    pub(super) fn expire(&mut self, now: Instant, reading: bool) -> Option<Duration> {
        if !reading {
            self.paused = true;
        } else if core::mem::take(&mut self.paused) {
            self.begun = self.begun.map(|_| now);
        }
        let due = self.deadline(reading).is_some_and(|at| at <= now);
        due.then_some(self.timeout)
    }
}
