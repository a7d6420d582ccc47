//! One packet: line, body, trailer.

use alloc::borrow::Cow;
use alloc::format;

use super::line::{LineDecoder, Step};
use super::number::{MsgNo, ShortDigits, write_digits};
use crate::Outbox;
use crate::error::ViolationKind;
use crate::limits::TXERR_SENT;

/// The seven packet types (W-14).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PacketType {
    /// Opens a message.
    Header,
    /// Octets of a message's body.
    Data,
    /// Ends a message in the ordinary way.
    Eof,
    /// Ends a message with an error text.
    TxErr,
    /// Counts the octets of a message that were taken.
    Ack,
    /// Asks for a PONG.
    Ping,
    /// Answers a PING.
    Pong,
}

impl PacketType {
    /// All types, in the order of the protocol's table.
    pub const ALL: [Self; 7] = [
        Self::Header,
        Self::Data,
        Self::Eof,
        Self::TxErr,
        Self::Ack,
        Self::Ping,
        Self::Pong,
    ];

    /// The type as it is written on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "HEADER",
            Self::Data => "DATA",
            Self::Eof => "EOF",
            Self::TxErr => "TXERR",
            Self::Ack => "ACK",
            Self::Ping => "PING",
            Self::Pong => "PONG",
        }
    }

    /// The type whose name and blank `input` begins with, and the length of the two.
    #[inline]
    pub(super) fn from_start(input: &[u8]) -> Option<(Self, usize)> {
        match input {
            [b'D', b'A', b'T', b'A', b' ', ..] => Some((Self::Data, 5)),
            [b'A', b'C', b'K', b' ', ..] => Some((Self::Ack, 4)),
            [b'E', b'O', b'F', b' ', ..] => Some((Self::Eof, 4)),
            [b'H', b'E', b'A', b'D', b'E', b'R', b' ', ..] => Some((Self::Header, 7)),
            _ => None,
        }
    }

    /// The type with these letters, packed into a number, first letter highest.
    #[inline]
    pub(super) fn from_packed(letters: u64) -> Option<Self> {
        match letters {
            HEADER => Some(Self::Header),
            DATA => Some(Self::Data),
            EOF => Some(Self::Eof),
            TXERR => Some(Self::TxErr),
            ACK => Some(Self::Ack),
            PING => Some(Self::Ping),
            PONG => Some(Self::Pong),
            _ => None,
        }
    }
}

/// What closes every packet (W-8).
pub const TRAILER: &[u8; 5] = b"END\r\n";

/// A packet: received ones borrow their body, and ones to send can only be built right.
///
/// ```
/// use scamp_proto::wire::Packet;
/// use scamp_proto::{MsgNo, Outbox};
///
/// let mut out = Outbox::default();
/// Packet::data(MsgNo(3), b"hello").encode(&mut out);
/// Packet::eof(MsgNo(3)).encode(&mut out);
/// assert_eq!(out.take_all(), b"DATA 3 5\r\nhelloEND\r\nEOF 3 0\r\nEND\r\n");
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    kind: PacketType,
    msgno: MsgNo,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// A HEADER with `json` as it is.
    pub fn header(msgno: MsgNo, json: &'a [u8]) -> Self {
        Self {
            kind: PacketType::Header,
            msgno,
            body: json,
        }
    }

    /// A DATA with these octets.
    pub fn data(msgno: MsgNo, octets: &'a [u8]) -> Self {
        Self {
            kind: PacketType::Data,
            msgno,
            body: octets,
        }
    }

    /// An EOF.
    pub fn eof(msgno: MsgNo) -> Self {
        Self {
            kind: PacketType::Eof,
            msgno,
            body: b"",
        }
    }

    /// A TXERR; pass its text through [`txerr_text`] first.
    pub fn tx_err(msgno: MsgNo, text: &'a str) -> Self {
        Self {
            kind: PacketType::TxErr,
            msgno,
            body: text.as_bytes(),
        }
    }

    /// A PING with number 0, as JS sends it (S-27).
    pub fn ping() -> Self {
        Self {
            kind: PacketType::Ping,
            msgno: MsgNo(0),
            body: b"",
        }
    }

    /// The PONG that answers a PING (W-14).
    pub fn pong(msgno: MsgNo) -> Self {
        Self {
            kind: PacketType::Pong,
            msgno,
            body: b"",
        }
    }

    /// The packet's type.
    pub fn kind(&self) -> PacketType {
        self.kind
    }

    /// The message it belongs to, or PING's own number.
    pub fn msgno(&self) -> MsgNo {
        self.msgno
    }

    /// The octets between line and trailer.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, out: &mut Outbox) {
        encode_line(self.kind, self.msgno, self.body.len(), out);
        out.put(self.body);
        out.put(TRAILER);
    }
}

/// Appends the ACK of `count` octets of message `msgno` (A-1).
#[inline]
pub(crate) fn encode_ack(msgno: MsgNo, count: u64, out: &mut Outbox) {
    let mut room = [0; 20];
    let digits = write_digits(count, &mut room);
    encode_line(PacketType::Ack, msgno, digits.len(), out);
    out.put(digits);
    out.put(TRAILER);
}

/// Appends a header line; ours are at most 33 octets long (W-4).
#[inline]
pub(crate) fn encode_line(kind: PacketType, msgno: MsgNo, size: usize, out: &mut Outbox) {
    match kind {
        PacketType::Header => out.put(b"HEADER "),
        PacketType::Data => out.put(b"DATA "),
        PacketType::Eof => out.put(b"EOF "),
        PacketType::TxErr => out.put(b"TXERR "),
        PacketType::Ack => out.put(b"ACK "),
        PacketType::Ping => out.put(b"PING "),
        PacketType::Pong => out.put(b"PONG "),
    }
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if let (Some(msgno), Some(size @ ShortDigits { len: ..=5, .. })) =
        (ShortDigits::new(msgno.0), ShortDigits::new(size))
    {
        // At most sixteen octets, put together in a register from their end.
        let line = u128::from(u16::from_le_bytes(*b"\r\n"));
        let line = (line << size.bits()) | u128::from(size.octets);
        let line = (line << 8) | u128::from(b' ');
        let line = (line << msgno.bits()) | u128::from(msgno.octets);
        return out.put_some(
            &line.to_le_bytes(),
            msgno.len.wrapping_add(size.len).wrapping_add(3),
        );
    }
    let mut digits = [0; 20];
    out.put(write_digits(msgno.0, &mut digits));
    out.put(b" ");
    out.put(write_digits(size, &mut digits));
    out.put(b"\r\n");
}

/// The outcome of looking for one packet at the front of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decoded<'a> {
    /// A whole packet, and how many bytes it took.
    Packet(Packet<'a>, usize),
    /// Not yet: at least this many more bytes are needed.
    Need(usize),
}

/// Looks for one packet at the front of `input`, whose body may have `max_body` octets.
///
/// # Errors
///
/// The rule that the bytes break, raised at the first byte that no valid packet can have there.
/// Whether the packet fits the state of its connection (W-14) is not judged here.
pub fn decode(input: &[u8], max_body: usize) -> Result<Decoded<'_>, ViolationKind> {
    let (line, used) = match LineDecoder::decode(input, max_body)? {
        Step::Done(line, used) => (line, used),
        Step::More => return Ok(Decoded::Need(1)),
    };
    let rest = input.get(used..).unwrap_or_default();
    let Some((body, tail)) = rest.split_at_checked(line.size) else {
        let missing = line.size.saturating_sub(rest.len());
        return Ok(Decoded::Need(missing.saturating_add(TRAILER.len())));
    };
    let seen = check_trailer(tail, 0)?;
    if seen < TRAILER.len() {
        return Ok(Decoded::Need(TRAILER.len().saturating_sub(seen)));
    }
    let len = used.saturating_add(line.size).saturating_add(TRAILER.len());
    Ok(Decoded::Packet(
        Packet {
            kind: line.kind,
            msgno: line.msgno,
            body,
        },
        len,
    ))
}

/// Compares `input` with the trailer from its octet `seen` on; returns how much of it is there now.
///
/// # Errors
///
/// `TrailerMalformed` at the first octet that differs (W-8).
#[inline]
pub fn check_trailer(input: &[u8], seen: usize) -> Result<usize, ViolationKind> {
    if let ([b'E', b'N', b'D', b'\r', b'\n', ..], 0) = (input, seen) {
        return Ok(TRAILER.len());
    }
    let due = TRAILER.get(seen..).unwrap_or_default();
    let len = due.len().min(input.len());
    match due.get(..len) == input.get(..len) {
        true => Ok(seen.saturating_add(len)),
        false => Err(ViolationKind::TrailerMalformed),
    }
}

/// The text a TXERR may carry: never empty or `0`, at most 4096 octets (S-9).
pub fn txerr_text(text: &str) -> Cow<'_, str> {
    match text {
        "" => Cow::Borrowed("unspecified error"),
        "0" => Cow::Owned(format!("error {text}")),
        _ => {
            let mut end = text.len().min(TXERR_SENT);
            while !text.is_char_boundary(end) {
                end = end.saturating_sub(1);
            }
            Cow::Borrowed(text.get(..end).unwrap_or_default())
        }
    }
}

const HEADER: u64 = pack(b"HEADER");
const DATA: u64 = pack(b"DATA");
const EOF: u64 = pack(b"EOF");
const TXERR: u64 = pack(b"TXERR");
const ACK: u64 = pack(b"ACK");
const PING: u64 = pack(b"PING");
const PONG: u64 = pack(b"PONG");

#[expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, over the seven names above"
)]
const fn pack(name: &[u8]) -> u64 {
    let mut packed = 0;
    let mut at = 0;
    while at < name.len() {
        packed = (packed << 8) | name[at] as u64;
        at += 1;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PACKET_BODY;
    use alloc::vec::Vec;

    fn kind_of(input: &[u8]) -> ViolationKind {
        decode(input, PACKET_BODY).expect_err("malformed")
    }

    /// W-1…W-9, E-12: malformed lines and trailers, each at its first offending octet.
    #[test]
    fn malformed_packets() {
        use ViolationKind::*;
        let long = [b"DATA ".to_vec(), [b'0'; 75].to_vec()].concat();
        let too_big = [b"DATA ".to_vec(), [b'9'; 19].to_vec()].concat();
        let cases: Vec<(&[u8], ViolationKind)> = [
            (&b"HEADER  "[..], HeaderLineMalformed),
            (b" ", HeaderLineMalformed),
            (b"HEADER 0 2 ", HeaderLineMalformed),
            (b"HEADER 0\r", HeaderLineMalformed),
            (b"HEADER\t", HeaderLineMalformed),
            (b"HEADER 0 2\n", HeaderLineMalformed),
            (b"HEADER 0 2\rX", HeaderLineMalformed),
            (b"HEADER -", HeaderLineMalformed),
            (b"HEADER 0 -", HeaderLineMalformed),
            (b"HEADER 0x", HeaderLineMalformed),
            (b"h", HeaderLineMalformed),
            (b"HEADERS", HeaderLineMalformed),
            (b"HELLO 0 0\r\n", UnknownPacketType),
            (b"GET /", HeaderLineMalformed),
            (
                b"DATA 0 131073\r\n",
                PacketTooLarge {
                    size: 131_073,
                    limit: 131_072,
                },
            ),
            (b"HEADER 9223372036854775808", HeaderLineMalformed),
            (
                b"HEADER 0 99999999999999999999\r\n",
                PacketTooLarge {
                    size: u64::MAX,
                    limit: 131_072,
                },
            ),
            (b"HEADER 0 2\r\n{}END\n", TrailerMalformed),
            (b"HEADER 0 2\r\n{}X", TrailerMalformed),
            (b"EOF 0 1\r\n", EofNotEmpty),
            (&long, HeaderLineTooLong),
            (&too_big, HeaderLineMalformed),
        ]
        .to_vec();
        for (input, kind) in cases {
            assert_eq!(kind_of(input), kind, "{:?}", core::str::from_utf8(input));
            let shorter = &input[..input.len() - 1];
            assert!(
                matches!(decode(shorter, PACKET_BODY), Ok(Decoded::Need(_))),
                "{shorter:?}"
            );
        }
    }

    /// W-5, X-4: leading zeros are accepted; W-4: eighty octets are a line, eighty-one are not.
    #[test]
    fn leading_zeros() {
        let packet = decode(b"HEADER 00 02\r\n{}END\r\n", PACKET_BODY);
        assert_eq!(
            packet,
            Ok(Decoded::Packet(Packet::header(MsgNo(0), b"{}"), 21))
        );
        let mut line = b"EOF ".to_vec();
        line.resize(76, b'0');
        line.extend(b" 0\r\nEND\r\n");
        assert_eq!(
            decode(&line, PACKET_BODY),
            Ok(Decoded::Packet(Packet::eof(MsgNo(0)), 85))
        );
        line.insert(4, b'0');
        assert_eq!(kind_of(&line), ViolationKind::HeaderLineTooLong);
    }

    /// S-9: what we never send as TXERR.
    #[test]
    fn txerr_texts() {
        assert_eq!(txerr_text(""), "unspecified error");
        assert_eq!(txerr_text("0"), "error 0");
        assert_eq!(txerr_text("é"), "é");
        let long = "é".repeat(4096);
        assert_eq!(txerr_text(&long).len(), 4096);
        let odd = alloc::format!("x{long}");
        assert_eq!(txerr_text(&odd).len(), 4095);
    }

    /// W-4: our longest line.
    #[test]
    fn lines_we_write_are_short() {
        let mut out = Outbox::default();
        encode_line(
            PacketType::Header,
            MsgNo(crate::limits::LAST_NUMBER),
            PACKET_BODY,
            &mut out,
        );
        assert!(out.take_all().len() <= 40);
    }
}
