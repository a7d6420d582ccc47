//! How a connection ends.

use alloc::vec::Vec;

use super::incoming::Mode;
use super::transmit::Queues;
use super::{Connection, Event, RecvId, SendId, State};
use crate::Instant;
use crate::error::{BodyError, CloseReason, Violation, ViolationKind};
use crate::wire::MsgNo;

impl Connection {
    /// Flushes what can be flushed and ends; messages that are not finished are lost.
    pub fn close(&mut self, now: Instant) {
        self.tick(now);
        self.close_for(CloseReason::ClosedLocally);
        self.settle();
    }

    /// As [`close`](Self::close), for another reason.
    pub(crate) fn close_as(&mut self, now: Instant, reason: CloseReason) {
        self.tick(now);
        self.close_for(reason);
        self.settle();
    }

    /// Ends at once because of something only the layer above can see.
    pub(crate) fn fail(&mut self, now: Instant, kind: ViolationKind) {
        self.tick(now);
        self.violated(kind);
    }

    /// A half-open or closing connection ends when nothing is left to send.
    pub(super) fn end_if_done(&mut self) {
        let done = !self.queues.has_output() && self.outgoing.is_empty();
        match &self.state {
            State::HalfOpen(reason) if done && !self.timers.held => {
                let reason = reason.clone();
                self.end(reason, true);
            }
            State::Closing(reason, until) if done || *until <= self.clock => {
                let reason = reason.clone();
                self.end(reason, true);
            }
            _ => {}
        }
    }

    /// Gives up what is not finished, and leaves time for what is.
    ///
    /// The peer cannot know yet: what it still sends of its messages is swallowed.
    pub(super) fn close_for(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::Open | State::HalfOpen(_)) {
            return;
        }
        let arriving: Vec<_> = self
            .incoming
            .iter()
            .filter(|(_, message)| !message.ended && message.mode != Mode::Discard)
            .map(|(msgno, _)| msgno)
            .collect();
        for msgno in arriving {
            self.discard_message(msgno, Some(BodyError::ConnectionLost));
            self.emit(Event::Ended(RecvId(msgno)));
        }
        let leaving: Vec<_> = self
            .outgoing
            .iter()
            .filter(|(_, message)| message.is_open())
            .map(|(msgno, _)| msgno)
            .collect();
        for msgno in leaving {
            self.abort_message(msgno, "connection closed");
            // Its HEADER leaves now, if it has not left before.
            self.tell_lost(msgno);
        }
        self.state = State::Closing(reason, self.clock + self.config.close_timeout);
    }

    /// The one door out.
    pub(super) fn end(&mut self, reason: CloseReason, orderly: bool) {
        if self.is_closed() {
            return;
        }
        self.lose_incoming();
        for (msgno, message) in self.outgoing.take_all() {
            if !message.is_lost {
                self.events.push_back(Event::Lost {
                    id: SendId(msgno),
                    begun: message.header_len == 0,
                });
            }
        }
        self.queued = 0;
        self.in_flight = 0;
        self.queues = Queues::default();
        self.inbound.clear();
        self.timers.clear();
        self.pause.clear();
        self.events.push_back(Event::Closed(reason));
        self.state = State::Closed { orderly };
    }

    pub(super) fn violated(&mut self, kind: ViolationKind) {
        let offset = match kind {
            ViolationKind::TruncatedPacket | ViolationKind::PacketTimeout => {
                self.inbound.packet_offset()
            }
            _ => self.inbound.offender(),
        };
        self.end(CloseReason::Violation(Violation { kind, offset }), false);
    }

    /// Every message the peer has not ended is lost; what it brought can still be read (S-30).
    pub(super) fn lose_incoming(&mut self) {
        let mut told = Vec::new();
        for (msgno, message) in self.incoming.iter_mut() {
            if message.ended {
                continue;
            }
            message.ended = true;
            let dropped = message.body.unpush(&mut self.spare);
            match message.mode {
                Mode::Collect { .. } => self.collected -= dropped,
                Mode::Stream | Mode::Discard => self.buffered -= dropped,
            }
            if message.mode != Mode::Discard && message.outcome.is_none() {
                message.outcome = Some(Err(BodyError::ConnectionLost));
            }
            told.push(msgno);
        }
        self.open_in = 0;
        for msgno in told {
            self.announce(msgno);
            self.emit(Event::Ended(RecvId(msgno)));
            self.free_if_done(msgno);
        }
    }

    /// Tells the application that a message, of which something has left or will, ended.
    pub(super) fn tell_lost(&mut self, msgno: MsgNo) {
        if let Some(message) = self.outgoing.get_mut(msgno) {
            message.is_lost = true;
            self.emit(Event::Lost {
                id: SendId(msgno),
                begun: true,
            });
        }
    }
}
