//! `scamp dump`: a recorded packet stream as lines that can be read.
//!
//! The record is one direction of one connection with TLS taken off. It is read piece by piece, so
//! its length does not matter, and judged as its receiver would judge it, as far as one direction
//! proves anything: what an ACK may say depends on the other one, so no ACK is called wrong.

mod mp;
mod waddell;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use scamp_proto::ViolationKind;
use scamp_proto::limits::{OPEN_MESSAGES, PACKET_BODY, PACKET_BODY_MAX};
use scamp_proto::wire::{
    Header, Line, LineDecoder, MsgNo, PacketType, Step, TRAILER, check_trailer,
};

use crate::failure::Failure;
use crate::json::Object;
use crate::terminal::{FIELD, Terminal, outside, outside_octets, written};

/// Decode a recorded packet stream
#[derive(Args, Debug)]
pub(crate) struct Dump {
    /// The record: what one end sent, without TLS; `-` is standard input
    file: PathBuf,
    /// Accept packet bodies up to this many octets, at most 16777216
    #[arg(long, value_name = "OCTETS", default_value_t = PACKET_BODY, value_parser = packet_body)]
    max_packet_body: usize,
    /// Leave out the values of `ticket` and `identifying_token`, and the secrets of signing in
    #[arg(long)]
    redact: bool,
    /// What the record is a record of
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Protocol {
    /// SCAMP's packets
    #[default]
    Scamp,
    /// MessagePasser's messages, in JSON or gob
    Mp,
    /// waddell's frames
    Waddell,
}

fn packet_body(text: &str) -> Result<usize, String> {
    let octets = text
        .parse()
        .ok()
        .filter(|octets| (1..=PACKET_BODY_MAX).contains(octets));
    octets.ok_or_else(|| format!("not a number from 1 to {PACKET_BODY_MAX}"))
}

impl Dump {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let name = self.file.display().to_string();
        let mut input: Box<dyn Read> = match name.as_str() {
            "-" => Box::new(io::stdin().lock()),
            _ => Box::new(
                std::fs::File::open(&self.file).map_err(|error| Failure::file(&name, &error))?,
            ),
        };
        if self.protocol == Protocol::Waddell {
            return waddell::run(&name, &mut input, terminal);
        }
        let mut report = Report {
            out: BufWriter::with_capacity(PIECE, io::stdout().lock()),
            terminal,
            redact: self.redact,
        };
        match self.protocol {
            Protocol::Mp => mp::messages(&name, &mut *input, &mut report),
            _ => self.packets(&name, &mut *input, &mut report),
        }
    }

    fn packets(
        &self,
        name: &str,
        input: &mut dyn Read,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let mut record = Record::new(self.max_packet_body);
        let mut room = vec![0; PIECE];
        loop {
            let piece = match input.read(&mut room) {
                Ok(0) => break,
                Ok(len) => room.get(..len).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::file(name, &error)),
            };
            if let Err(stop) = record.take(piece, &mut |packet| report.packet(packet)) {
                let kind = match stop {
                    Stop::Violation(kind) => kind,
                    Stop::Output(error) => return Err(written(&error)),
                };
                report.end("violation", record.packet_offset, Some(kind.name()))?;
                let text = format!(
                    "{name}: {kind}, in the packet at octet {}",
                    record.packet_offset
                );
                return Err(Failure::local(text).told());
            }
        }
        match record.is_in_packet() {
            false => report.end("clean", record.offset, None),
            true => {
                let (kind, at) = (ViolationKind::TruncatedPacket, record.packet_offset);
                report.end("truncated", at, Some(kind.name()))?;
                let text = format!("{name}: {kind}: the packet at octet {at} is not complete");
                Err(Failure::local(text).told())
            }
        }
    }
}

/// Octets read at a time.
const PIECE: usize = 65_536;

/// Octets of a body that are kept to be shown, where nobody needs all of it.
const SHOWN: usize = 64;

/// One direction of a connection, cut into packets (W-20) and followed as far as it goes (W-14).
#[derive(Debug)]
struct Record {
    max_body: usize,
    stage: Stage,
    decoder: LineDecoder,
    /// Offset of the next octet.
    offset: u64,
    /// Offset of the current packet's first octet.
    packet_offset: u64,
    /// What is kept of the current packet's body.
    body: Vec<u8>,
    /// The number the next HEADER must have.
    next: MsgNo,
    open: BTreeSet<MsgNo>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Line,
    Body { line: Line, left: usize },
    Trailer { line: Line, seen: usize },
}

/// A packet that is complete and allowed where it stands.
#[derive(Debug)]
struct Seen<'a> {
    offset: u64,
    line: Line,
    /// The beginning of its body; all of it for HEADER and TXERR.
    body: &'a [u8],
    /// What a HEADER says.
    header: Option<&'a Header>,
}

#[derive(Debug)]
enum Stop {
    Violation(ViolationKind),
    Output(io::Error),
}

impl From<ViolationKind> for Stop {
    fn from(kind: ViolationKind) -> Self {
        Self::Violation(kind)
    }
}

impl Record {
    fn new(max_body: usize) -> Self {
        Self {
            max_body,
            stage: Stage::Line,
            decoder: LineDecoder::default(),
            offset: 0,
            packet_offset: 0,
            body: Vec::new(),
            next: MsgNo(0),
            open: BTreeSet::new(),
        }
    }

    /// Takes the next piece of the record and shows each packet that becomes complete.
    fn take(
        &mut self,
        mut input: &[u8],
        show: &mut dyn FnMut(&Seen<'_>) -> io::Result<()>,
    ) -> Result<(), Stop> {
        while !input.is_empty() {
            match self.stage {
                Stage::Line => {
                    if !self.decoder.is_begun() {
                        self.packet_offset = self.offset;
                    }
                    match self.decoder.advance(input, self.max_body)? {
                        Step::More => {
                            self.cut(&mut input, usize::MAX);
                        }
                        Step::Done(line, used) => {
                            self.cut(&mut input, used);
                            self.body.clear();
                            self.stage = after_body(line, line.size);
                        }
                    }
                }
                Stage::Body { line, left } => {
                    let piece = self.cut(&mut input, left);
                    let room = kept(line.kind).saturating_sub(self.body.len());
                    self.body
                        .extend_from_slice(piece.get(..room).unwrap_or(piece));
                    self.stage = after_body(line, left - piece.len());
                }
                Stage::Trailer { line, seen } => {
                    let now_seen = check_trailer(input, seen)?;
                    self.cut(&mut input, now_seen - seen);
                    self.stage = Stage::Trailer {
                        line,
                        seen: now_seen,
                    };
                    if now_seen == TRAILER.len() {
                        self.complete(line, show)?;
                        self.stage = Stage::Line;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_in_packet(&self) -> bool {
        !matches!(self.stage, Stage::Line) || self.decoder.is_begun()
    }

    /// A packet is complete: it is held against those before it, and shown.
    fn complete(
        &mut self,
        line: Line,
        show: &mut dyn FnMut(&Seen<'_>) -> io::Result<()>,
    ) -> Result<(), Stop> {
        let mut header = None;
        match line.kind {
            PacketType::Header => {
                if line.msgno != self.next {
                    let (expected, got) = (self.next, line.msgno);
                    return Err(ViolationKind::MsgnoOutOfSequence { expected, got }.into());
                }
                let decoded = Header::decode(&self.body);
                header = Some(decoded.map_err(|_| ViolationKind::HeaderNotObject)?);
                if self.open.len() >= OPEN_MESSAGES * 2 {
                    return Err(ViolationKind::TooManyMessages.into());
                }
                self.next = MsgNo(line.msgno.0 + 1);
                self.open.insert(line.msgno);
            }
            PacketType::Data if self.open.contains(&line.msgno) => {}
            PacketType::Eof | PacketType::TxErr if self.open.remove(&line.msgno) => {}
            PacketType::Data | PacketType::Eof | PacketType::TxErr => {
                return Err(ViolationKind::NoSuchMessage(line.msgno).into());
            }
            PacketType::Ack | PacketType::Ping | PacketType::Pong => {}
        }
        let seen = Seen {
            offset: self.packet_offset,
            line,
            body: &self.body,
            header: header.as_ref(),
        };
        show(&seen).map_err(Stop::Output)
    }

    /// Takes at most `count` octets off the front of `input`.
    fn cut<'a>(&mut self, input: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = input.split_at(count.min(input.len()));
        *input = rest;
        self.offset += taken.len() as u64;
        taken
    }
}

fn after_body(line: Line, left: usize) -> Stage {
    match left {
        0 => Stage::Trailer { line, seen: 0 },
        left => Stage::Body { line, left },
    }
}

/// How much of a packet's body is kept, by its type.
fn kept(kind: PacketType) -> usize {
    match kind {
        PacketType::Header | PacketType::TxErr => usize::MAX,
        _ => SHOWN,
    }
}

/// Writes what was found.
#[derive(Debug)]
struct Report {
    out: BufWriter<StdoutLock<'static>>,
    terminal: Terminal,
    redact: bool,
}

impl Report {
    fn packet(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        match self.terminal.json {
            true => {
                let text = self.object(seen);
                writeln!(self.out, "{text}")
            }
            false => {
                let Seen { offset, line, .. } = seen;
                let (kind, msgno, size) = (line.kind.name(), line.msgno, line.size);
                let text = self.summary(seen);
                let line = format!("{offset:>10}  {kind:<6} {msgno:>4} {size:>7}  {text}");
                writeln!(self.out, "{}", line.trim_end())
            }
        }
    }

    fn object(&self, seen: &Seen<'_>) -> String {
        let mut object = Object::default();
        object.number("offset", seen.offset);
        object.text("type", seen.line.kind.name());
        object.number("msgno", seen.line.msgno.0);
        object.number("len", seen.line.size as u64);
        match (seen.line.kind, seen.header) {
            (_, Some(header)) => object.raw("header", &self.header(header)),
            (PacketType::TxErr, _) => object.text("text", &String::from_utf8_lossy(seen.body)),
            (PacketType::Ack, _) => match acked(seen.body) {
                Some(count) => object.number("acked", count),
                None => object.null("acked"),
            },
            _ => {}
        }
        object.end()
    }

    fn summary(&self, seen: &Seen<'_>) -> String {
        let limit = if self.terminal.verbose {
            usize::MAX
        } else {
            FIELD
        };
        if let Some(header) = seen.header {
            return outside(&self.header(header), limit);
        }
        let text = match seen.line.kind {
            PacketType::TxErr => return outside_octets(seen.body, limit),
            _ => outside_octets(seen.body, SHOWN),
        };
        match seen.line.size > seen.body.len() && !text.ends_with("...") {
            true => format!("{text}..."),
            false => text,
        }
    }

    /// The header's JSON, without its secrets if that was asked for.
    fn header(&self, header: &Header) -> String {
        if !self.redact {
            return crate::json::one_line(header.as_json());
        }
        let mut object = Object::default();
        header.for_each(|name, value| match name {
            "ticket" | "identifying_token" if value != "null" => object.text(name, "<redacted>"),
            _ => object.raw(name, value),
        });
        object.end()
    }

    /// Says how the record ended; `offset` is where.
    fn end(&mut self, end: &str, offset: u64, kind: Option<&str>) -> Result<(), Failure> {
        let done = match self.terminal.json {
            true => {
                let mut object = Object::default();
                object.text("end", end);
                object.number("offset", offset);
                object.maybe("kind", kind);
                writeln!(self.out, "{}", object.end())
            }
            false => match kind {
                Some(kind) => writeln!(self.out, "{offset:>10}  {end}: {kind}"),
                None => writeln!(self.out, "{offset:>10}  {end} end"),
            },
        };
        done.and_then(|()| self.out.flush())
            .map_err(|error| written(&error))
    }
}

/// The count in an ACK, where it has the form of one.
fn acked(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let form = text.len() <= 19
        && text.bytes().all(|octet| octet.is_ascii_digit())
        && !text.starts_with('0');
    text.parse().ok().filter(|_| form)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record holds, cut into pieces of `piece` octets: the packets, and how it ends.
    fn dump(input: &[u8], piece: usize) -> (Vec<(u64, PacketType, u64, usize)>, String) {
        let mut record = Record::new(PACKET_BODY);
        let mut packets = Vec::new();
        for piece in input.chunks(piece) {
            let taken = record.take(piece, &mut |seen| {
                packets.push((
                    seen.offset,
                    seen.line.kind,
                    seen.line.msgno.0,
                    seen.line.size,
                ));
                Ok(())
            });
            if let Err(Stop::Violation(kind)) = taken {
                return (
                    packets,
                    format!("{} at {}", kind.name(), record.packet_offset),
                );
            }
        }
        let end = match record.is_in_packet() {
            true => format!("truncated at {}", record.packet_offset),
            false => format!("clean at {}", record.offset),
        };
        (packets, end)
    }

    /// W-14, W-19, W-20: every kind of end that one direction proves, however it is cut.
    #[test]
    fn ends() {
        let open = "HEADER 0 2\r\n{}END\r\n";
        for (rest, end) in [
            ("", "clean at 19"),
            ("EOF 0 0\r\nEND\r\n", "clean at 33"),
            ("EOF 0 0\r\nEND", "truncated at 19"),
            ("E", "truncated at 19"),
            (
                "EOF 0 0\r\nEND\r\nEOF 0 0\r\nEND\r\n",
                "NoSuchMessage at 33",
            ),
            ("DATA 1 1\r\nxEND\r\n", "NoSuchMessage at 19"),
            (
                "DATA 0 1\r\nxEND\r\nTXERR 1 1\r\nxEND\r\n",
                "NoSuchMessage at 35",
            ),
            ("HEADER 2 2\r\n{}END\r\n", "MsgnoOutOfSequence at 19"),
            ("HEADER 1 2\r\n[]END\r\n", "HeaderNotObject at 19"),
            ("HEADER 1 2\r\n{}EMD\r\n", "TrailerMalformed at 19"),
            ("EOF 0 1\r\n", "EofNotEmpty at 19"),
            ("DATA 0 131073\r\n", "PacketTooLarge at 19"),
            ("HELLO 0 0\r\n", "UnknownPacketType at 19"),
            ("data 0 0\r\n", "HeaderLineMalformed at 19"),
            // an ACK for a message that this end finished is ignored, whatever it says.
            ("ACK 7 3\r\n12aEND\r\nPING 0 0\r\nEND\r\n", "clean at 51"),
        ] {
            let input = format!("{open}{rest}");
            let whole = dump(input.as_bytes(), usize::MAX);
            assert_eq!(whole.1, end, "{rest:?}");
            for piece in [1, 2, 7] {
                assert_eq!(
                    dump(input.as_bytes(), piece),
                    whole,
                    "{rest:?} cut to {piece}"
                );
            }
        }
        let long = "0".repeat(80);
        assert_eq!(
            dump(format!("DATA {long}").as_bytes(), 3).1,
            "HeaderLineTooLong at 0"
        );
    }

    /// S-6: a record without end cannot fill the memory with open messages.
    #[test]
    fn open_messages_are_limited() {
        let headers = |count: usize| -> String {
            (0..count)
                .map(|n| format!("HEADER {n} 2\r\n{{}}END\r\n"))
                .collect()
        };
        let limit = OPEN_MESSAGES * 2;
        assert!(
            dump(headers(limit).as_bytes(), PIECE)
                .1
                .starts_with("clean")
        );
        assert!(
            dump(headers(limit + 1).as_bytes(), PIECE)
                .1
                .starts_with("TooManyMessages")
        );
    }

    /// A body is not kept, whatever its length says.
    #[test]
    fn bodies_are_not_kept() {
        let mut record = Record::new(PACKET_BODY_MAX);
        let mut piece = b"HEADER 0 2\r\n{}END\r\nDATA 0 16777216\r\n".to_vec();
        piece.resize(1_000_000, b'x');
        record
            .take(&piece, &mut |_| Ok(()))
            .expect("a valid prefix");
        assert!(record.body.capacity() <= 4 * SHOWN);
    }

    /// the form of a count.
    #[test]
    fn counts() {
        assert_eq!(acked(b"23"), Some(23));
        for bad in [
            &b""[..],
            b"0",
            b"01",
            b"+1",
            b"12a",
            b"12345678901234567890",
            b"\xff",
        ] {
            assert_eq!(acked(bad), None);
        }
    }
}
