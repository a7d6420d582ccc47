//! The numbers of the protocol.

use core::fmt;

/// The number of a message in its direction: 0, 1, 2 … in the order of the HEADERs (W-15).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MsgNo(pub u64);

impl MsgNo {
    /// The number after this one.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for MsgNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Largest message number accepted (W-5: C#'s limit).
pub(super) const MSGNO_MAX: u64 = u64::MAX >> 1;

/// The body of an ACK: `[1-9][0-9]*`, at most 19 digits.
pub(crate) fn parse_ack(body: &[u8]) -> Option<u64> {
    if body.len() > 19 || body.first() == Some(&b'0') {
        return None;
    }
    parse_digits(body)
}

/// Decimal digits and nothing else: no sign, no blank, no `12x`.
pub(super) fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    if text.len() < 20 {
        // Below 10^19, so nothing overflows.
        let mut value = 0_u64;
        let mut others = 0;
        for &byte in text {
            let digit = byte.wrapping_sub(b'0');
            others |= u8::from(digit > 9);
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        return (others == 0).then_some(value);
    }
    let mut value = 0_u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// The number that `input` begins with, of one to ten digits, and what follows it.
#[inline]
pub(super) fn leading_digits(input: &[u8]) -> Option<(u64, &[u8])> {
    if let Some(word) = input.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let count = count_digits(word);
        if 0 < count && count < 8 {
            let word = word ^ EACH.wrapping_mul(0x30);
            // Behind zeros there are always eight digits: added up two, four, eight at a time.
            let eight = word.wrapping_shl(64_u32.wrapping_sub(count.wrapping_mul(8)));
            let pairs = eight.wrapping_mul(10 * 0x100 + 1) >> 8;
            let fours = (pairs & 0x00FF_00FF_00FF_00FF).wrapping_mul(100 * 0x1_0000 + 1) >> 16;
            let value = (fours & 0xFFFF_0000_FFFF).wrapping_mul(10_000 * 0x1_0000_0000 + 1) >> 32;
            return Some((value, input.get(usize::try_from(count).ok()?..)?));
        }
    }
    long_digits(input)
}

/// The same, digit by digit.
#[cold]
fn long_digits(input: &[u8]) -> Option<(u64, &[u8])> {
    let digits = input
        .iter()
        .take(11)
        .take_while(|byte| byte.is_ascii_digit());
    let (digits, rest) = input.split_at_checked(digits.count())?;
    match digits.len() {
        0..=10 => Some((parse_digits(digits)?, rest)),
        _ => None,
    }
}

/// With how many digits the eight octets of `word` begin; the lowest is the first.
#[inline]
pub(super) fn count_digits(word: u64) -> u32 {
    // An octet is a digit if, without the bits of `0`, it is below ten: then its high nibble is
    // empty, before and after adding six. A carry comes only from an octet that is none, and the
    // first that is none is all that counts.
    let word = word ^ EACH.wrapping_mul(0x30);
    let others = (word | word.wrapping_add(EACH.wrapping_mul(6))) & EACH.wrapping_mul(0xF0);
    others.trailing_zeros() / 8
}

const EACH: u64 = 0x0101_0101_0101_0101;

/// Decimal digits of `value`, written at the end of `room`; returns where they begin.
#[inline]
pub(super) fn write_digits(mut value: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut begin = room.len();
    for slot in room.iter_mut().rev() {
        *slot = b'0'.wrapping_add(u8::try_from(value % 10).unwrap_or(0));
        begin = begin.wrapping_sub(1);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    room.get(begin..).unwrap_or_default()
}

/// A number of at most eight digits as text, in a register: the first octet is the lowest.
#[derive(Clone, Copy)]
pub(super) struct ShortDigits {
    pub(super) octets: u64,
    pub(super) len: usize,
}

impl ShortDigits {
    /// The digits of `value`, unless there are more than eight.
    #[inline]
    pub(super) fn new(value: u64) -> Option<Self> {
        if value >= 100_000_000 {
            return None;
        }
        // Halves, quarters and eighths, each at once in its own part of the register; the
        // products stand for divisions by 100 and by 10, exact below 10000 and below 100.
        let halves = (value / 10_000) | ((value % 10_000) << 32);
        let above = (halves.wrapping_mul(10_486) >> 20) & 0x7F_0000_007F;
        let quarters = above | (halves.wrapping_sub(above.wrapping_mul(100)) << 16);
        let above = (quarters.wrapping_mul(103) >> 10) & 0xF_000F_000F_000F;
        let eighths = above | (quarters.wrapping_sub(above.wrapping_mul(10)) << 8);
        // Zeros in front are left out, but not the last one.
        let zeros = (eighths | (1 << 56)).trailing_zeros() / 8;
        let octets = (eighths | 0x3030_3030_3030_3030) >> zeros.wrapping_mul(8);
        Some(Self {
            octets,
            len: 8_usize.wrapping_sub(usize::try_from(zeros).unwrap_or(0)),
        })
    }

    /// How far what follows must be shifted.
    #[inline]
    pub(super) fn bits(self) -> usize {
        self.len.wrapping_mul(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    /// A-1, E-10: what an ACK body may be.
    #[test]
    fn ack_bodies() {
        for (text, value) in [
            ("1", 1),
            ("50", 50),
            ("9999999999999999999", 9_999_999_999_999_999_999),
        ] {
            assert_eq!(parse_ack(text.as_bytes()), Some(value));
        }
        for text in [
            "",
            "0",
            "-1",
            "+50",
            "050",
            "5e1",
            "50 ",
            " 50",
            "12abc",
            "12345678901234567890",
        ] {
            assert_eq!(parse_ack(text.as_bytes()), None, "{text}");
        }
    }

    /// W-4: numbers of any length are read alike, whatever follows them.
    #[test]
    fn numbers_in_lines() {
        for len in 1..=10_usize {
            let value = 9_876_543_210 % 10_u64.pow(len as u32);
            for rest in [
                "",
                " ",
                "\r\n",
                "/",
                ":",
                "x1234567",
                " 1234567",
                "\u{ff}123456",
            ] {
                let text = format!("{value:0len$}{rest}");
                let expected = Some((value, rest.as_bytes()));
                assert_eq!(leading_digits(text.as_bytes()), expected, "{text:?}");
            }
        }
        for text in ["", " 1", "-1234567", "12345678901", "/1234567", ":1234567"] {
            assert_eq!(leading_digits(text.as_bytes()), None, "{text:?}");
        }
    }

    /// W-4: all that numbers of up to eight digits are made of comes out as it should.
    #[test]
    fn short_digits() {
        let halves = (0..10_000).flat_map(|half| [half, half * 10_000, half * 10_001]);
        for value in halves.chain([99_999_999, 12_345_678]) {
            let digits = ShortDigits::new(value).expect("at most eight digits");
            let octets = digits.octets.to_le_bytes();
            assert_eq!(&octets[..digits.len], format!("{value}").as_bytes());
        }
        assert!(ShortDigits::new(100_000_000).is_none());
    }

    #[test]
    fn digits_come_back() {
        let mut room = [0; 20];
        for value in [0, 9, 10, 131_072, u64::MAX] {
            let text = write_digits(value, &mut room).to_vec();
            assert_eq!(parse_digits(&text), Some(value));
        }
    }
}
