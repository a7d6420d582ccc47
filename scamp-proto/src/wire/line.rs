//! The header line: type, message number, size.

use super::PacketType;
use super::number::{MSGNO_MAX, MsgNo};
use crate::error::ViolationKind;
use crate::limits::LINE;

/// A complete header line whose size is within the limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line {
    /// The packet's type.
    pub kind: PacketType,
    /// The message it belongs to.
    pub msgno: MsgNo,
    /// Octets of its body.
    pub size: usize,
}

/// The line automaton of W-20, with its state between pieces of input.
///
/// ```text
/// Type ──SP──> MsgnoFirst ──digit──> Msgno ──SP──> SizeFirst ──digit──> Size ──CR──> Lf ──LF──> done
/// ```
///
/// ```
/// use scamp_proto::limits::PACKET_BODY;
/// use scamp_proto::wire::{LineDecoder, PacketType, Step};
///
/// let mut decoder = LineDecoder::default();
/// assert_eq!(decoder.advance(b"DATA 7", PACKET_BODY), Ok(Step::More));
/// let Ok(Step::Done(line, used)) = decoder.advance(b" 12\r\nhello", PACKET_BODY) else {
///     panic!("the line is complete");
/// };
/// assert_eq!((line.kind, line.msgno.0, line.size, used), (PacketType::Data, 7, 12, 5));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LineDecoder {
    state: State,
    /// Octets of the line so far.
    len: usize,
    /// The letters of the type, packed.
    kind: u64,
    msgno: u64,
    size: u64,
}

/// What a piece of a line brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The whole piece was used and the line goes on.
    More,
    /// The line is complete and ended after this many octets of the piece.
    Done(Line, usize),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Type,
    MsgnoFirst,
    Msgno,
    SizeFirst,
    Size,
    Lf,
}

impl LineDecoder {
    /// Whether any octet of a line has been seen.
    pub fn is_begun(&self) -> bool {
        self.len > 0
    }

    /// Reads on in a line, and starts afresh after a complete one.
    ///
    /// Each octet is looked at once. An error is raised at the first octet that no valid line can
    /// have there; checks that need the whole line come in the order of W-11.
    ///
    /// # Errors
    ///
    /// `HeaderLineTooLong`, `HeaderLineMalformed`, `UnknownPacketType`, `PacketTooLarge`,
    /// `EofNotEmpty`. The decoder is of no use afterwards.
    #[inline]
    pub fn advance(&mut self, input: &[u8], max_body: usize) -> Result<Step, ViolationKind> {
        const MALFORMED: Result<Step, ViolationKind> = Err(ViolationKind::HeaderLineMalformed);
        let Self {
            mut state,
            mut len,
            mut kind,
            mut msgno,
            mut size,
        } = *self;
        let mut used = 0_usize;
        for &byte in input {
            used = used.wrapping_add(1);
            len = len.wrapping_add(1);
            if len >= LINE && !(state == State::Lf && byte == b'\n') {
                return Err(ViolationKind::HeaderLineTooLong);
            }
            let digit = byte.wrapping_sub(b'0');
            match state {
                State::Type => match byte {
                    b'A'..=b'Z' if kind < 1 << 40 => kind = (kind << 8) | u64::from(byte),
                    b' ' if kind != 0 => state = State::MsgnoFirst,
                    _ => return MALFORMED,
                },
                State::MsgnoFirst | State::Msgno => match byte {
                    b'0'..=b'9' => {
                        msgno = match msgno.checked_mul(10) {
                            Some(tens) => tens.saturating_add(u64::from(digit)),
                            None => return MALFORMED,
                        };
                        if msgno > MSGNO_MAX {
                            return MALFORMED;
                        }
                        state = State::Msgno;
                    }
                    b' ' if state == State::Msgno => state = State::SizeFirst,
                    _ => return MALFORMED,
                },
                State::SizeFirst | State::Size => match byte {
                    b'0'..=b'9' => {
                        size = size.saturating_mul(10).saturating_add(u64::from(digit));
                        state = State::Size;
                    }
                    b'\r' if state == State::Size => state = State::Lf,
                    _ => return MALFORMED,
                },
                State::Lf => {
                    if byte != b'\n' {
                        return MALFORMED;
                    }
                    *self = Self::default();
                    return complete(kind, msgno, size, max_body)
                        .map(|line| Step::Done(line, used));
                }
            }
        }
        *self = Self {
            state,
            len,
            kind,
            msgno,
            size,
        };
        Ok(Step::More)
    }
}

/// The checks that need the whole line, in the order of W-11.
#[inline]
fn complete(kind: u64, msgno: u64, size: u64, max_body: usize) -> Result<Line, ViolationKind> {
    let Some(kind) = PacketType::from_packed(kind) else {
        return Err(ViolationKind::UnknownPacketType);
    };
    let limit = u64::try_from(max_body).unwrap_or(u64::MAX);
    let size = match usize::try_from(size) {
        Ok(small) if size <= limit => small,
        _ => return Err(ViolationKind::PacketTooLarge { size, limit }),
    };
    if kind == PacketType::Eof && size > 0 {
        return Err(ViolationKind::EofNotEmpty);
    }
    Ok(Line {
        kind,
        msgno: MsgNo(msgno),
        size,
    })
}
