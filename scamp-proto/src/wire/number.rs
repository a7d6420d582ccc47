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

    #[test]
    fn digits_come_back() {
        let mut room = [0; 20];
        for value in [0, 9, 10, 131_072, u64::MAX] {
            let text = write_digits(value, &mut room).to_vec();
            assert_eq!(parse_digits(&text), Some(value));
        }
    }
}
