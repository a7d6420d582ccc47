//! Pieces of a byte stream, put together to packets.

use alloc::vec::Vec;

use crate::error::ViolationKind;
use crate::wire::{Line, LineDecoder, PacketType, Step, TRAILER, check_trailer};

/// Cuts the inbound stream into packets, whatever pieces it arrives in.
///
/// ```text
/// Line ──line complete──> Body ──all octets there──> Trailer ──END CR LF──> Line
/// ```
///
/// Only the pieces of a control packet's body are kept here. Those of a DATA are handed on at
/// once, to be held back by their message until the trailer has been seen (W-10).
#[derive(Debug, Default)]
pub(super) struct Inbound {
    stage: Stage,
    decoder: LineDecoder,
    /// Offset of the next octet in the stream.
    offset: u64,
    /// Offset of the current packet's first octet.
    packet_offset: u64,
    /// The body so far of a control packet that arrives in pieces.
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Line,
    Body {
        line: Line,
        left: usize,
    },
    Trailer {
        line: Line,
        seen: usize,
    },
}

/// What a piece of input brought.
#[derive(Debug)]
pub(super) enum Arrival<'a> {
    /// A packet whose body, if it has one that matters, is all here.
    Packet(Line, &'a [u8]),
    /// Octets of a DATA packet that is not complete yet.
    Piece(Line, &'a [u8]),
    /// A control packet is complete; its body is in [`Inbound::take_body`].
    Kept(Line),
    /// The DATA packet whose pieces came before is complete.
    Sealed(Line),
}

impl Inbound {
    /// Takes the next packet, or part of one, from the front of `input`; `None` once it is used up.
    #[inline]
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        max_body: usize,
    ) -> Result<Option<Arrival<'a>>, ViolationKind> {
        loop {
            if input.is_empty() {
                return Ok(None);
            }
            match self.stage {
                Stage::Line => {
                    if !self.decoder.is_begun() {
                        self.packet_offset = self.offset;
                    }
                    let line = match self.decoder.advance(input, max_body)? {
                        Step::Done(line, used) => {
                            self.take(input, used);
                            line
                        }
                        Step::More => {
                            self.take(input, input.len());
                            return Ok(None);
                        }
                    };
                    if let Some((body, rest)) = input.split_at_checked(line.size) {
                        if check_trailer(rest, 0)? == TRAILER.len() {
                            self.take(input, line.size + TRAILER.len());
                            return Ok(Some(Arrival::Packet(line, body)));
                        }
                    }
                    self.stage = match line.size {
                        0 => Stage::Trailer { line, seen: 0 },
                        size => Stage::Body { line, left: size },
                    };
                }
                Stage::Body { line, left } => {
                    let piece = self.take(input, left.min(input.len()));
                    self.stage = match left - piece.len() {
                        0 => Stage::Trailer { line, seen: 0 },
                        left => Stage::Body { line, left },
                    };
                    match line.kind {
                        PacketType::Data => return Ok(Some(Arrival::Piece(line, piece))),
                        PacketType::Ping | PacketType::Pong => {}
                        _ => self.body.extend_from_slice(piece),
                    }
                }
                Stage::Trailer { line, seen } => {
                    let now_seen = check_trailer(input, seen)?;
                    self.take(input, now_seen - seen);
                    if now_seen < TRAILER.len() {
                        self.stage = Stage::Trailer {
                            line,
                            seen: now_seen,
                        };
                        return Ok(None);
                    }
                    self.stage = Stage::Line;
                    return Ok(Some(match line.kind {
                        PacketType::Data if line.size > 0 => Arrival::Sealed(line),
                        _ => Arrival::Kept(line),
                    }));
                }
            }
        }
    }

    /// The body of the control packet that has just become complete.
    pub(super) fn take_body(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.body)
    }

    /// Whether the stream is inside a packet.
    pub(super) fn is_in_packet(&self) -> bool {
        !matches!(self.stage, Stage::Line) || self.decoder.is_begun()
    }

    /// Offset of the current packet's first octet.
    pub(super) fn packet_offset(&self) -> u64 {
        match self.is_in_packet() {
            true => self.packet_offset,
            false => self.offset,
        }
    }

    /// Offset of the first octet of the packet that was last looked at.
    pub(super) fn offender(&self) -> u64 {
        self.packet_offset
    }

    /// Octets of unfinished packets held here.
    pub(super) fn held(&self) -> usize {
        self.body.capacity()
    }

    /// Gives memory back after the end.
    pub(super) fn clear(&mut self) {
        self.body = Vec::new();
    }

    #[inline]
    fn take<'a>(&mut self, input: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = input.split_at_checked(count).unwrap_or((input, &[]));
        *input = rest;
        self.offset += taken.len() as u64;
        taken
    }
}
