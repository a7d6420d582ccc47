//! The commands of a message on its way out.

use alloc::string::ToString;

use bytes::Bytes;

use super::outgoing::{Ending, Outgoing};
use super::table::Table;
use super::window::Window;
use super::{Connection, SendId, State};
use crate::Instant;
use crate::error::SendError;
use crate::limits::{HEADER_SENT, LAST_NUMBER};
use crate::wire::{Header, MsgNo, txerr_text};

impl Connection {
    /// Opens a message with this header. Its HEADER leaves in the order of these calls.
    ///
    /// # Errors
    ///
    /// [`SendError::HeaderTooLarge`] over 126 976 octets (W-7), [`SendError::MsgnoExhausted`] at
    /// 2^53 - 1 (W-5), [`SendError::WouldBlock`] while more than [`Config::max_queued`](super::Config::max_queued) octets of
    /// headers wait, [`SendError::Closed`]. No message number is used then.
    pub fn open(&mut self, now: Instant, header: &Header) -> Result<SendId, SendError> {
        self.open_text(now, header.as_json().as_bytes(), false)
    }

    /// As [`open`](Self::open), with a text that is known to be a JSON object.
    ///
    /// An answer that is given as a matter of course, such as a refusal, always finds room; it
    /// stops reading instead when there are too many (HD-22).
    pub(crate) fn open_text(
        &mut self,
        now: Instant,
        header: &[u8],
        is_answer: bool,
    ) -> Result<SendId, SendError> {
        self.tick(now);
        if !matches!(self.state, State::Open | State::HalfOpen(_)) {
            return Err(SendError::Closed);
        }
        if header.len() > HEADER_SENT {
            return Err(SendError::HeaderTooLarge(header.len()));
        }
        if self.next_out.0 > LAST_NUMBER {
            return Err(SendError::MsgnoExhausted);
        }
        if !is_answer && self.queues.heads() > self.config.max_queued {
            return Err(SendError::WouldBlock);
        }
        let msgno = self.next_out;
        self.next_out = msgno.next();
        self.stats.messages_out += 1;
        let window = Window::new(self.growth.start());
        self.queues.push_head(msgno, header, is_answer);
        self.outgoing
            .push(Outgoing::new(header.len(), is_answer, window));
        self.settle();
        Ok(SendId(msgno))
    }

    /// Queues octets of a message's body, taking them from the front of `body`.
    ///
    /// Returns how many were taken. Fewer than offered means that as much as may be in flight is
    /// queued or unacknowledged, or that [`Config::max_queued`](super::Config::max_queued) octets wait on this connection;
    /// wait for [`Event::Writable`](super::Event::Writable). Nothing is copied, and nothing is framed before
    /// [`poll_transmit`](crate::Duplex::poll_transmit).
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] after [`finish`](Self::finish), [`abort`](Self::abort) or
    /// [`Event::Lost`](super::Event::Lost), and [`SendError::Closed`] once the connection has ended. `body` is then
    /// left as it was.
    pub fn write(
        &mut self,
        now: Instant,
        id: SendId,
        body: &mut Bytes,
    ) -> Result<usize, SendError> {
        self.tick(now);
        let chunk = self.config.chunk_size;
        let message = open_for_writing(&self.state, &mut self.outgoing, id)?;
        let room = match message.window.width(&self.growth) {
            None => usize::MAX,
            Some(width) => {
                let width = usize::try_from(width)
                    .unwrap_or(usize::MAX)
                    .max(chunk)
                    .saturating_add(chunk);
                let flying = usize::try_from(message.window.in_flight()).unwrap_or(usize::MAX);
                width.saturating_sub(flying).saturating_sub(message.queued)
            }
        };
        let room_in_all = self.config.max_queued.saturating_sub(self.queued);
        let taken = body.len().min(room).min(room_in_all);
        if taken < body.len() {
            message.wants_room = true;
            if room_in_all < room && !message.is_blocked {
                message.is_blocked = true;
                self.queues.push_blocked(id.0);
            }
        }
        if taken > 0 {
            message.queue.push(body.split_to(taken));
            message.queued += taken;
            self.queued += taken;
            self.schedule(id.0);
        }
        self.settle();
        Ok(taken)
    }

    /// Ends a message in the ordinary way once its octets are sent.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn finish(&mut self, now: Instant, id: SendId) -> Result<(), SendError> {
        self.tick(now);
        let message = open_for_writing(&self.state, &mut self.outgoing, id)?;
        message.ending = Ending::Finish;
        self.schedule(id.0);
        self.settle();
        Ok(())
    }

    /// Ends a message with an error; octets that wait are dropped.
    ///
    /// The text is cut at 4096 octets, and replaced if it is empty or `0` (S-9).
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if the message has ended, [`SendError::Closed`]. A message that was
    /// finished but has not left yet can still be aborted.
    pub fn abort(&mut self, now: Instant, id: SendId, text: &str) -> Result<(), SendError> {
        self.tick(now);
        if matches!(self.state, State::Closed { .. }) {
            return Err(SendError::Closed);
        }
        let message = self.outgoing.get(id.0).ok_or(SendError::NotOpen)?;
        if matches!(message.ending, Ending::Abort(_)) {
            return Err(SendError::NotOpen);
        }
        self.abort_message(id.0, text);
        self.settle();
        Ok(())
    }

    pub(super) fn abort_message(&mut self, msgno: MsgNo, text: &str) {
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        self.queued -= core::mem::take(&mut message.queued);
        message.queue.clear();
        message.blocked_since = None;
        let text = txerr_text(text).to_string();
        message.ending = Ending::Abort(text);
        self.schedule(msgno);
    }
}

/// The message, if octets may still be added to it.
fn open_for_writing<'a>(
    state: &State,
    outgoing: &'a mut Table<Outgoing>,
    id: SendId,
) -> Result<&'a mut Outgoing, SendError> {
    match state {
        State::Open | State::HalfOpen(_) => {}
        State::Closing(..) | State::Closed { .. } => return Err(SendError::Closed),
    }
    outgoing
        .get_mut(id.0)
        .filter(|message| message.is_open())
        .ok_or(SendError::NotOpen)
}
