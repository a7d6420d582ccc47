//! What each packet does (W-14).

use alloc::string::{String, ToString};
use core::mem;

use super::inbound::Arrival;
use super::incoming::{Incoming, Mode};
use super::{Connection, Event, RecvId, State};
use crate::error::{BodyError, ViolationKind};
use crate::note::What;
use crate::wire::{Header, Line, MsgNo, PacketType, parse_ack};

impl Connection {
    /// Takes bytes in until they are used up or one of them breaks a rule.
    pub(super) fn take_in(&mut self, mut bytes: &[u8]) {
        let begun = (self.inbound.is_in_packet(), self.inbound.packet_offset());
        let max_body = self.config.max_packet_body;
        loop {
            let step = match self.inbound.next(&mut bytes, max_body) {
                Ok(None) => break,
                Ok(Some(arrival)) => self.arrived(arrival),
                Err(kind) => Err(kind),
            };
            if let Err(kind) = step {
                return self.violated(kind);
            }
        }
        if begun != (true, self.inbound.packet_offset()) {
            self.timers.note_packet(self.clock);
        }
    }

    #[inline]
    fn arrived(&mut self, arrival: Arrival<'_>) -> Result<(), ViolationKind> {
        match arrival {
            Arrival::Packet(line, body) => self.packet(line, body),
            Arrival::Kept(line) => {
                let body = self.inbound.take_body();
                self.packet(line, &body)
            }
            Arrival::Piece(line, octets) => {
                if let Some(message) = self.incoming.get_mut(line.msgno) {
                    if !message.ended && message.mode != Mode::Discard {
                        message.body.push(octets, &mut self.spare);
                        *held_in(message.mode, &mut self.buffered, &mut self.collected) +=
                            octets.len();
                    }
                }
                Ok(())
            }
            Arrival::Sealed(line) => {
                self.stats.packets_in += 1;
                self.data_complete(line)
            }
        }
    }

    #[inline]
    fn packet(&mut self, line: Line, body: &[u8]) -> Result<(), ViolationKind> {
        self.stats.packets_in += 1;
        match line.kind {
            PacketType::Data => self.data(line, body),
            PacketType::Header => self.header(line.msgno, body),
            PacketType::Eof => self.ended(line.msgno, Ok(())),
            PacketType::TxErr => {
                let text = match body {
                    b"" | b"0" if self.config.strict_txerr => {
                        return Err(ViolationKind::TxErrEmpty);
                    }
                    b"" | b"0" => "unspecified error".to_string(),
                    text => String::from_utf8_lossy(text).into_owned(),
                };
                self.ended(line.msgno, Err(BodyError::PeerError(text)))
            }
            PacketType::Ack => self.acked(line.msgno, body),
            PacketType::Ping => {
                self.floods.ping(self.clock)?;
                self.timers.note_ping(self.clock);
                self.queues.push_pong(line.msgno);
                Ok(())
            }
            PacketType::Pong => match self.timers.take_pong() {
                true => Ok(()),
                false => self.floods.pong(self.clock),
            },
        }
    }

    fn header(&mut self, msgno: MsgNo, body: &[u8]) -> Result<(), ViolationKind> {
        if msgno != self.next_in {
            return Err(ViolationKind::MsgnoOutOfSequence {
                expected: self.next_in,
                got: msgno,
            });
        }
        let header = Header::decode(body).map_err(|_| ViolationKind::HeaderNotObject)?;
        self.next_in = msgno.next();
        self.stats.messages_in += 1;
        let limit = self.config.max_open_messages;
        if self.open_in >= limit.saturating_mul(2) {
            return Err(ViolationKind::TooManyMessages);
        }
        self.open_in += 1;
        let mut message = Incoming::new(self.clock, header.len());
        if self.state != State::Open {
            // Nobody listens any more.
            message.set_aside(None);
        } else if self.open_in > limit {
            // One too many: its header is passed on so that it can be answered.
            message.set_aside(Some(BodyError::Overloaded));
            self.note(What::LimitHit("wire.max_open_messages", limit as u64));
        }
        self.buffered += message.header_cost;
        self.incoming.push(message);
        self.emit(Event::Opened {
            id: RecvId(msgno),
            header,
        });
        Ok(())
    }

    /// A whole DATA packet in one piece.
    #[inline]
    fn data(&mut self, line: Line, body: &[u8]) -> Result<(), ViolationKind> {
        let message = match self.incoming.get_mut(line.msgno) {
            Some(message) if !message.ended => message,
            _ => return Err(ViolationKind::NoSuchMessage(line.msgno)),
        };
        if body.is_empty() {
            return self.floods.empty_data(self.clock, &mut message.empty_data);
        }
        if message.mode != Mode::Discard {
            message.body.push(body, &mut self.spare);
            *held_in(message.mode, &mut self.buffered, &mut self.collected) += body.len();
        }
        self.data_complete(line)
    }

    /// All octets of a DATA packet are with their message.
    #[inline]
    fn data_complete(&mut self, line: Line) -> Result<(), ViolationKind> {
        let message = match self.incoming.get_mut(line.msgno) {
            Some(message) if !message.ended => message,
            _ => return Err(ViolationKind::NoSuchMessage(line.msgno)),
        };
        message.received += line.size as u64;
        message.last_octet = self.clock;
        if message.mode == Mode::Discard {
            message.consumed = message.received;
        } else {
            message.body.seal();
            self.floods.data(line.size, &mut message.small_debt)?;
        }
        if let Mode::Collect { .. } = message.mode {
            self.after_arrival(line.msgno);
            return Ok(());
        }
        // The common case, without looking for the message again.
        if !message.readable_queued && message.is_readable() && self.state == State::Open {
            message.readable_queued = true;
            self.events.push_back(Event::Readable(RecvId(line.msgno)));
        }
        if !message.ack_queued && message.wants_ack() {
            message.ack_queued = true;
            self.queues.push_ack(line.msgno);
        }
        Ok(())
    }

    /// Collected bodies have bounds; the rest is told and acknowledged.
    pub(super) fn after_arrival(&mut self, msgno: MsgNo) {
        let Some(message) = self.incoming.get_mut(msgno) else {
            return;
        };
        if let Mode::Collect { limit } = message.mode {
            let limit = limit.min(self.config.max_body);
            let fault = if message.body.held() > limit {
                Some((BodyError::BodyTooLarge(limit), "rpc.max_body", limit))
            } else if self.collected > self.config.max_collected {
                Some((
                    BodyError::Overloaded,
                    "rpc.max_collected",
                    self.config.max_collected,
                ))
            } else {
                None
            };
            if let Some((error, key, value)) = fault {
                self.note(What::LimitHit(key, value as u64));
                self.discard_message(msgno, Some(error));
                return;
            }
        }
        self.announce(msgno);
        self.queue_ack(msgno);
    }

    /// EOF or TXERR.
    fn ended(&mut self, msgno: MsgNo, outcome: Result<(), BodyError>) -> Result<(), ViolationKind> {
        let message = match self.incoming.get_mut(msgno) {
            Some(message) if !message.ended => message,
            _ => return Err(ViolationKind::NoSuchMessage(msgno)),
        };
        message.ended = true;
        if message.mode != Mode::Discard {
            message.outcome = Some(outcome);
        }
        self.open_in -= 1;
        self.announce(msgno);
        self.emit(Event::Ended(RecvId(msgno)));
        self.free_if_done(msgno);
        Ok(())
    }

    fn acked(&mut self, msgno: MsgNo, body: &[u8]) -> Result<(), ViolationKind> {
        let message = match self.outgoing.get_mut(msgno) {
            Some(message) if message.header_len == 0 => message,
            // Late, or for a message that never was: ignored, whatever it says.
            _ => return self.floods.idle_ack(self.stats.data_out),
        };
        let count = parse_ack(body).ok_or(ViolationKind::AckMalformed(msgno))?;
        let news = message.window.ack(msgno, count)?;
        self.in_flight -= news;
        message
            .window
            .grow(self.clock, &self.growth, self.in_flight);
        if let Some(since) = mem::take(&mut message.blocked_since) {
            self.growth.note_wait(self.clock - since);
        }
        self.schedule(msgno);
        self.offer_room(msgno);
        Ok(())
    }
}

/// Where the octets of a message in this mode are counted.
#[inline]
fn held_in<'a>(mode: Mode, buffered: &'a mut usize, collected: &'a mut usize) -> &'a mut usize {
    match mode {
        Mode::Collect { .. } => collected,
        Mode::Stream | Mode::Discard => buffered,
    }
}
