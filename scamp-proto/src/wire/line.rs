//! The header line: type, message number, size.

use super::PacketType;
use super::number::{MSGNO_MAX, MsgNo, leading_digits};
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
    /// Each octet is looked at once, or twice if the line is cut. An error is raised at the first
    /// octet that no valid line can have there; checks that need the whole line come in the order
    /// of W-11.
    ///
    /// # Errors
    ///
    /// `HeaderLineTooLong`, `HeaderLineMalformed`, `UnknownPacketType`, `PacketTooLarge`,
    /// `EofNotEmpty`. The decoder is of no use afterwards.
    #[inline]
    pub fn advance(&mut self, input: &[u8], max_body: usize) -> Result<Step, ViolationKind> {
        if self.len == 0 {
            if let Some((kind, msgno, size, used)) = plain_line(input) {
                return judge(Some(kind), msgno, size, max_body).map(|line| Step::Done(line, used));
            }
        }
        self.step_through(input, max_body)
    }

    /// As [`advance`](Self::advance) with a fresh decoder, whose state is not needed afterwards.
    #[inline]
    pub(super) fn decode(input: &[u8], max_body: usize) -> Result<Step, ViolationKind> {
        match plain_line(input) {
            Some((kind, msgno, size, used)) => {
                judge(Some(kind), msgno, size, max_body).map(|line| Step::Done(line, used))
            }
            None => Self::default().step_through(input, max_body),
        }
    }

    /// The automaton, octet by octet.
    fn step_through(&mut self, input: &[u8], max_body: usize) -> Result<Step, ViolationKind> {
        const MALFORMED: Result<Step, ViolationKind> = Err(ViolationKind::HeaderLineMalformed);
        for (index, &byte) in input.iter().enumerate() {
            self.len = self.len.wrapping_add(1);
            if self.len >= LINE && !(self.state == State::Lf && byte == b'\n') {
                return Err(ViolationKind::HeaderLineTooLong);
            }
            let digit = u64::from(byte.wrapping_sub(b'0'));
            match (self.state, byte) {
                (State::Type, b'A'..=b'Z') if self.kind < 1 << 40 => {
                    self.kind = (self.kind << 8) | u64::from(byte);
                }
                (State::Type, b' ') if self.kind != 0 => self.state = State::MsgnoFirst,
                (State::MsgnoFirst | State::Msgno, b'0'..=b'9') => {
                    let Some(tens) = self.msgno.checked_mul(10) else {
                        return MALFORMED;
                    };
                    self.msgno = tens.saturating_add(digit);
                    if self.msgno > MSGNO_MAX {
                        return MALFORMED;
                    }
                    self.state = State::Msgno;
                }
                (State::Msgno, b' ') => self.state = State::SizeFirst,
                (State::SizeFirst | State::Size, b'0'..=b'9') => {
                    self.size = self.size.saturating_mul(10).saturating_add(digit);
                    self.state = State::Size;
                }
                (State::Size, b'\r') => self.state = State::Lf,
                (State::Lf, b'\n') => {
                    let Self {
                        kind, msgno, size, ..
                    } = core::mem::take(self);
                    let line = judge(PacketType::from_packed(kind), msgno, size, max_body)?;
                    return Ok(Step::Done(line, index.wrapping_add(1)));
                }
                _ => return MALFORMED,
            }
        }
        Ok(Step::More)
    }
}

/// A whole line as everybody writes it, without the automaton (performance 3, rule 9).
///
/// Returns `None` for anything unusual, which the automaton then judges.
#[inline(always)]
fn plain_line(input: &[u8]) -> Option<(PacketType, u64, u64, usize)> {
    let (kind, used) = PacketType::from_start(input)?;
    let (msgno, rest) = leading_digits(input.get(used..)?)?;
    let [b' ', rest @ ..] = rest else {
        return None;
    };
    let (size, rest) = leading_digits(rest)?;
    let [b'\r', b'\n', rest @ ..] = rest else {
        return None;
    };
    let used = input.len().wrapping_sub(rest.len());
    Some((kind, msgno, size, used))
}

/// The checks that need the whole line, in the order of W-11.
#[inline]
fn judge(
    kind: Option<PacketType>,
    msgno: u64,
    size: u64,
    max_body: usize,
) -> Result<Line, ViolationKind> {
    let Some(kind) = kind else {
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
