//! The commands of a message on its way in.

use core::time::Duration;

use bytes::Bytes;

use super::body::{Body, Spare};
use super::incoming::{AckPolicy, Mode, Read};
use super::timers::Alarm;
use super::{Connection, Event, RecvId};
use crate::Instant;
use crate::error::{BodyError, SendError};
use crate::wire::MsgNo;

impl Connection {
    /// Takes the next octets of a message's body, as they lie in memory.
    ///
    /// Under [`AckPolicy::OnConsume`] this is what acknowledges them.
    pub fn read(&mut self, now: Instant, id: RecvId) -> Read {
        self.tick(now);
        let result = self.read_with(id, |body, spare| body.read(usize::MAX, spare));
        self.settle();
        result
    }

    /// As [`read`](Self::read), at most `limit` octets.
    pub fn read_up_to(&mut self, now: Instant, id: RecvId, limit: usize) -> Read {
        self.tick(now);
        let result = self.read_with(id, |body, spare| body.read(limit, spare));
        self.settle();
        result
    }

    /// Copies the next octets of a message's body into `room`, and says how many.
    pub fn read_into(&mut self, now: Instant, id: RecvId, room: &mut [u8]) -> Read<usize> {
        self.tick(now);
        let result = self.read_with(id, |body, spare| body.read_into(room, spare));
        self.settle();
        result
    }

    /// Drops what is unread of a message and what still comes, acknowledging it.
    pub fn discard(&mut self, now: Instant, id: RecvId) {
        self.tick(now);
        self.discard_message(id.0, None);
        self.settle();
    }

    /// Keeps a message's body back until it is complete, if it has at most `limit` octets.
    ///
    /// The octets count against [`Config::max_collected`](super::Config::max_collected) instead of [`Config::max_buffered`](super::Config::max_buffered), and
    /// are acknowledged as they arrive. A body over either limit ends as
    /// [`BodyError::BodyTooLarge`] or [`BodyError::Overloaded`] at once; the rest is dropped.
    pub fn collect(&mut self, now: Instant, id: RecvId, limit: usize) {
        self.tick(now);
        let Some(message) = self.incoming.get_mut(id.0) else {
            return;
        };
        if message.mode == Mode::Stream {
            message.mode = Mode::Collect { limit };
            // What was told of it before was about octets that are held back now.
            message.readable_queued = false;
            let held = message.body.held();
            self.buffered -= held;
            self.collected += held;
            self.after_arrival(id.0);
        }
        self.settle();
    }

    /// Sets when a message's octets are acknowledged; what was acknowledged stays so.
    pub fn set_ack_policy(&mut self, now: Instant, id: RecvId, policy: AckPolicy) {
        self.tick(now);
        if let Some(message) = self.incoming.get_mut(id.0) {
            message.policy = policy;
            self.queue_ack(id.0);
        }
        self.settle();
    }

    /// Acknowledges `total` octets of a message under [`AckPolicy::Manual`].
    ///
    /// # Errors
    ///
    /// [`SendError::AckOutOfRange`] for more than was received or fewer than before,
    /// [`SendError::NotOpen`] if there is no such message.
    pub fn ack(&mut self, now: Instant, id: RecvId, total: u64) -> Result<(), SendError> {
        self.tick(now);
        let message = self.incoming.get_mut(id.0).ok_or(SendError::NotOpen)?;
        if total > message.received || total < message.manual {
            return Err(SendError::AckOutOfRange);
        }
        message.manual = total;
        self.queue_ack(id.0);
        self.settle();
        Ok(())
    }

    /// Ends a message that brings no octet for `limit`: [`BodyError::Timeout`] (HD-30).
    pub fn limit_silence(&mut self, now: Instant, id: RecvId, limit: Duration) {
        self.tick(now);
        if let Some(message) = self.incoming.get_mut(id.0) {
            message.idle_limit = Some(limit);
            if !message.idle_armed {
                message.idle_armed = true;
                let at = message.last_octet + limit;
                self.arm(at, Alarm::Silence(id.0));
            }
        }
        self.settle();
    }

    /// Gives up on a message: what is unread is dropped, and the application sees `error`.
    pub(crate) fn fail_message(&mut self, now: Instant, id: RecvId, error: BodyError) {
        self.tick(now);
        self.discard_message(id.0, Some(error));
        self.settle();
    }

    fn read_with<T: Size>(
        &mut self,
        id: RecvId,
        take: impl FnOnce(&mut Body, &mut Spare) -> T,
    ) -> Read<T> {
        let Some(message) = self.incoming.get_mut(id.0) else {
            return Read::Gone;
        };
        message.readable_queued = false;
        if !message.is_readable() {
            return match message.is_gone() {
                true => Read::Gone,
                false => Read::Pending,
            };
        }
        if message.mode != Mode::Discard && message.body.readable() > 0 {
            let before = message.body.held();
            let octets = take(&mut message.body, &mut self.spare);
            let count = octets.size();
            message.consumed += count as u64;
            let refund = match message.body.held() {
                0 => message.small_debt,
                _ => message.small_debt.saturating_mul(count as u64) / (before as u64).max(1),
            };
            message.small_debt -= refund;
            self.floods.small_debt -= refund;
            match message.mode {
                Mode::Collect { .. } => self.collected -= count,
                Mode::Stream | Mode::Discard => self.buffered -= count,
            }
            self.pause.note_progress(self.clock);
            self.queue_ack(id.0);
            return Read::Data(octets);
        }
        let outcome = message.outcome.take();
        message.mode = Mode::Discard;
        self.free_if_done(id.0);
        match outcome {
            Some(Ok(())) => Read::End,
            Some(Err(error)) => Read::Failed(error),
            None => Read::Pending,
        }
    }

    /// Drops a message's octets now and later; `error` is what the application is told, if anything.
    pub(super) fn discard_message(&mut self, msgno: MsgNo, error: Option<BodyError>) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        let dropped = message.body.clear();
        match message.mode {
            Mode::Collect { .. } => self.collected -= dropped,
            Mode::Stream | Mode::Discard => self.buffered -= dropped,
        }
        self.buffered -= core::mem::take(&mut message.header_cost);
        self.floods.small_debt -= core::mem::take(&mut message.small_debt);
        message.consumed = message.received;
        message.mode = Mode::Discard;
        message.outcome = error.map(Err);
        message.readable_queued = false;
        self.pause.note_progress(self.clock);
        self.queue_ack(msgno);
        self.announce(msgno);
        self.free_if_done(msgno);
    }

    /// Tells the application that a message has something to read, once until it reads.
    pub(super) fn announce(&mut self, msgno: MsgNo) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        if message.is_readable() && !message.readable_queued {
            message.readable_queued = true;
            self.emit(Event::Readable(RecvId(msgno)));
        }
    }

    pub(super) fn queue_ack(&mut self, msgno: MsgNo) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        if !message.ack_queued && message.wants_ack() {
            message.ack_queued = true;
            self.queues.push_ack(msgno);
        }
    }

    pub(super) fn free_if_done(&mut self, msgno: MsgNo) {
        if let Some(message) = self.incoming.get(msgno).filter(|message| message.is_done()) {
            self.buffered -= message.header_cost;
            self.floods.small_debt -= message.small_debt;
            self.incoming.remove(msgno);
        }
    }
}

/// How many octets a read brought.
trait Size {
    fn size(&self) -> usize;
}

impl Size for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Size for usize {
    fn size(&self) -> usize {
        *self
    }
}
