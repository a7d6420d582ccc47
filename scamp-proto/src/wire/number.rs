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
    const EACH: u64 = 0x0101_0101_0101_0101;
    if let Some(word) = input.first_chunk::<8>() {
        // An octet is a digit if, without the bits of `0`, it is below ten: then its high nibble
        // is empty, before and after adding six. A carry comes only from an octet that is none,
        // and the first that is none is all that counts.
        let word = u64::from_le_bytes(*word) ^ EACH.wrapping_mul(0x30);
        let others = (word | word.wrapping_add(EACH.wrapping_mul(6))) & EACH.wrapping_mul(0xF0);
        let count = others.trailing_zeros() / 8;
        if 0 < count && count < 8 {
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

    #[test]
    fn digits_come_back() {
        let mut room = [0; 20];
        for value in [0, 9, 10, 131_072, u64::MAX] {
            let text = write_digits(value, &mut room).to_vec();
            assert_eq!(parse_digits(&text), Some(value));
        }
    }
}
