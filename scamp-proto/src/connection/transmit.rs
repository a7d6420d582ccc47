//! What leaves next (W-17, HD-74, HD-75).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::outgoing::Ending;
use super::timers::Alarm;
use super::{Connection, Event, SendId};
use crate::Outbox;
use crate::limits::{PONGS, TURN, WHOLE_TURN};
use crate::wire::{MsgNo, Packet, PacketType, TRAILER};
use crate::wire::{encode_ack, encode_line};

/// Everything that waits to leave, by the order it may.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pongs: VecDeque<MsgNo>,
    ping: bool,
    /// Incoming messages with octets to acknowledge.
    acks: VecDeque<MsgNo>,
    /// Messages whose HEADER has not left, in the order of their numbers.
    heads: VecDeque<MsgNo>,
    /// The texts of those headers, one after the other.
    head_text: Vec<u8>,
    head_sent: usize,
    /// Messages of which only a short rest or the end is left.
    short: VecDeque<MsgNo>,
    /// Messages with DATA to send and window to send it in, by turns.
    ring: VecDeque<MsgNo>,
    /// Messages whose writers wait for the connection's queue to shrink.
    blocked: VecDeque<MsgNo>,
    /// Octets of headers that answer what was read, and so must not grow without bound (HD-22).
    answers: usize,
    /// Octets of short messages since the ring had its turn.
    short_run: u64,
}

impl Queues {
    pub(super) fn push_head(&mut self, msgno: MsgNo, text: &[u8], is_answer: bool) {
        if is_answer {
            self.answers += text.len();
        }
        self.heads.push_back(msgno);
        self.head_text.extend_from_slice(text);
    }

    pub(super) fn push_pong(&mut self, msgno: MsgNo) {
        if self.pongs.len() >= PONGS {
            self.pongs.pop_front();
        }
        self.pongs.push_back(msgno);
    }

    pub(super) fn ask_ping(&mut self) {
        self.ping = true;
    }

    pub(super) fn push_ack(&mut self, msgno: MsgNo) {
        self.acks.push_back(msgno);
    }

    pub(super) fn push_blocked(&mut self, msgno: MsgNo) {
        self.blocked.push_back(msgno);
    }

    /// Octets of headers that wait.
    pub(super) fn heads(&self) -> usize {
        self.head_text.len() - self.head_sent
    }

    /// Octets of them that answer what was read.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    pub(super) fn has_output(&self) -> bool {
        self.ping
            || !(self.pongs.is_empty()
                && self.acks.is_empty()
                && self.heads.is_empty()
                && self.short.is_empty()
                && self.ring.is_empty())
    }
}

impl Connection {
    /// Adds packets to `out` until a turn's worth is there or nothing is left (rules 1 and 2).
    pub(super) fn fill(&mut self, out: &mut Outbox) {
        let enough = bytes::Buf::remaining(out) + TURN;
        while bytes::Buf::remaining(out) < enough && self.emit_next(out) {}
        if self.queued <= self.config.max_queued / 2 {
            while let Some(msgno) = self.queues.blocked.pop_front() {
                if let Some(message) = self.outgoing.get_mut(msgno) {
                    message.is_blocked = false;
                }
                self.offer_room(msgno);
            }
        }
    }

    fn emit_next(&mut self, out: &mut Outbox) -> bool {
        if let Some(msgno) = self.queues.pongs.pop_front() {
            Packet::pong(msgno).encode(out);
        } else if core::mem::take(&mut self.queues.ping) {
            Packet::ping().encode(out);
        } else if let Some(msgno) = self.queues.acks.pop_front() {
            self.emit_ack(msgno, out);
        } else if let Some(msgno) = self.next_short() {
            let before = bytes::Buf::remaining(out);
            self.emit_short(msgno, out);
            self.queues.short_run += (bytes::Buf::remaining(out) - before) as u64;
        } else if let Some(msgno) = self.queues.ring.pop_front() {
            self.queues.short_run = 0;
            self.emit_turn(msgno, out);
        } else {
            return false;
        }
        true
    }

    /// Ends and HEADERs, unless so much of them has passed that the ring is due.
    fn next_short(&mut self) -> Option<MsgNo> {
        if self.queues.short_run >= WHOLE_TURN && !self.queues.ring.is_empty() {
            return None;
        }
        self.queues
            .short
            .pop_front()
            .or_else(|| self.queues.heads.pop_front())
    }

    fn emit_ack(&mut self, msgno: MsgNo, out: &mut Outbox) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        message.ack_queued = false;
        if let Some(count) = message.due_ack() {
            message.acked = count;
            encode_ack(msgno, count, out);
        }
    }

    /// A HEADER if it is due, and the rest of the message if that is short.
    fn emit_short(&mut self, msgno: MsgNo, out: &mut Outbox) {
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        message.end_queued = false;
        let head_len = core::mem::take(&mut message.header_len);
        if head_len > 0 {
            let queues = &mut self.queues;
            let text = queues
                .head_text
                .get(queues.head_sent..queues.head_sent + head_len);
            Packet::header(msgno, text.unwrap_or_default()).encode(out);
            queues.head_sent += head_len;
            if message.is_answer {
                queues.answers -= head_len;
            }
            if queues.head_sent == queues.head_text.len() {
                queues.head_text.clear();
                queues.head_sent = 0;
            }
        }
        if self.is_short(msgno) {
            self.emit_rest(msgno, out);
        } else {
            self.schedule(msgno);
        }
    }

    /// One turn in the ring: the rest of a message that is all here, or one DATA.
    fn emit_turn(&mut self, msgno: MsgNo, out: &mut Outbox) {
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        message.in_ring = false;
        let whole = !message.is_open()
            && message.queued as u64 <= WHOLE_TURN
            && message.queued as u64 <= message.window.room(&self.growth);
        if whole {
            self.emit_rest(msgno, out);
        } else {
            let len = message
                .window
                .next_len(message.queued, self.config.chunk_size, &self.growth);
            if len > 0 {
                self.emit_data(msgno, len, out);
            }
            self.schedule(msgno);
        }
        self.offer_room(msgno);
    }

    /// All that is left of a message, as far as the window goes, and its end.
    fn emit_rest(&mut self, msgno: MsgNo, out: &mut Outbox) {
        loop {
            let Some(message) = self.outgoing.get_mut(msgno) else {
                return;
            };
            if message.queued == 0 {
                break;
            }
            let len = message
                .window
                .next_len(message.queued, self.config.chunk_size, &self.growth);
            if len == 0 {
                return self.schedule(msgno);
            }
            self.emit_data(msgno, len, out);
        }
        let Some(message) = self.outgoing.get(msgno) else {
            return;
        };
        match &message.ending {
            Ending::Abort(text) => Packet::tx_err(msgno, text).encode(out),
            Ending::Finish | Ending::Open => Packet::eof(msgno).encode(out),
        }
        self.in_flight -= message.window.in_flight();
        self.outgoing.remove(msgno);
    }

    #[inline]
    fn emit_data(&mut self, msgno: MsgNo, len: usize, out: &mut Outbox) {
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        encode_line(PacketType::Data, msgno, len, out);
        message.take(len, |piece| out.lend(piece));
        out.put(TRAILER);
        message.window.note_sent(len as u64);
        self.queued -= len;
        self.in_flight += len as u64;
        self.stats.data_out += 1;
    }

    /// Whether the rest of a message is complete, one packet long at most, and fits its window.
    fn is_short(&self, msgno: MsgNo) -> bool {
        self.outgoing.get(msgno).is_some_and(|message| {
            !message.is_open()
                && message.queued <= self.config.chunk_size
                && message.queued as u64 <= message.window.room(&self.growth)
        })
    }

    /// Puts a message where it belongs among those that wait: with the short ones, in the ring, or
    /// nowhere while its window is shut or it has nothing to send.
    pub(super) fn schedule(&mut self, msgno: MsgNo) {
        let short = self.is_short(msgno);
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        if message.header_len > 0 {
            return;
        }
        if short {
            if !message.end_queued {
                message.end_queued = true;
                self.queues.short.push_back(msgno);
            }
        } else if message.queued > 0 {
            let len = message
                .window
                .next_len(message.queued, self.config.chunk_size, &self.growth);
            if len == 0 {
                message.window.note_full(self.clock);
                if message.blocked_since.is_none() {
                    message.blocked_since = Some(self.clock);
                    if !message.stall_armed {
                        message.stall_armed = true;
                        self.arm(self.clock + self.config.send_stall, Alarm::Stall(msgno));
                    }
                }
            } else if !message.in_ring {
                message.in_ring = true;
                self.queues.ring.push_back(msgno);
            }
        }
    }

    /// Tells a writer that was cut short that there is room again.
    pub(super) fn offer_room(&mut self, msgno: MsgNo) {
        let chunk = self.config.chunk_size;
        let crowded = self.queued >= self.config.max_queued;
        let Some(message) = self.outgoing.get_mut(msgno) else {
            return;
        };
        if !message.wants_room || !message.is_open() {
            return;
        }
        if crowded {
            if !message.is_blocked {
                message.is_blocked = true;
                self.queues.push_blocked(msgno);
            }
        } else if message.queued <= chunk / 2 {
            message.wants_room = false;
            self.emit(Event::Writable(SendId(msgno)));
        }
    }

    /// The peer will not acknowledge any more, so nobody waits for it (F-2).
    pub(super) fn unblock_all(&mut self) {
        let all: Vec<MsgNo> = self.outgoing.iter().map(|(msgno, _)| msgno).collect();
        for msgno in all {
            if let Some(message) = self.outgoing.get_mut(msgno) {
                message.blocked_since = None;
            }
            self.schedule(msgno);
            self.offer_room(msgno);
        }
    }
}
