//! The fields of a header that have a meaning, and what they may hold.

use alloc::borrow::Cow;
use alloc::string::String;

use super::header::{MessageType, NotObject};
use super::json::{Member, Span, members};
use super::number::parse_digits;
use crate::limits::{ACTION, ENVELOPE, HEADER_TEXT, REQUEST_ID};

/// The fields of a header that have a meaning here, in the order of the protocol's table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs)]
pub enum Field {
    Type,
    RequestId,
    Action,
    Version,
    Envelope,
    Ticket,
    IdentifyingToken,
    ClientId,
    Terminal,
    Sector,
    Error,
    ErrorCode,
    ErrorData,
    NewSession,
    NewTerminal,
}

impl Field {
    /// All of them, in the order of the protocol's table.
    pub const ALL: [Self; 15] = [
        Self::Type,
        Self::RequestId,
        Self::Action,
        Self::Version,
        Self::Envelope,
        Self::Ticket,
        Self::IdentifyingToken,
        Self::ClientId,
        Self::Terminal,
        Self::Sector,
        Self::Error,
        Self::ErrorCode,
        Self::ErrorData,
        Self::NewSession,
        Self::NewTerminal,
    ];

    /// The field's key on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::RequestId => "request_id",
            Self::Action => "action",
            Self::Version => "version",
            Self::Envelope => "envelope",
            Self::Ticket => "ticket",
            Self::IdentifyingToken => "identifying_token",
            Self::ClientId => "client_id",
            Self::Terminal => "terminal",
            Self::Sector => "sector",
            Self::Error => "error",
            Self::ErrorCode => "error_code",
            Self::ErrorData => "error_data",
            Self::NewSession => "new_session",
            Self::NewTerminal => "new_terminal",
        }
    }

    /// The key as it is written behind another member: comma, quotes and colon included.
    #[inline]
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Type => ",\"type\":",
            Self::RequestId => ",\"request_id\":",
            Self::Action => ",\"action\":",
            Self::Version => ",\"version\":",
            Self::Envelope => ",\"envelope\":",
            Self::Ticket => ",\"ticket\":",
            Self::IdentifyingToken => ",\"identifying_token\":",
            Self::ClientId => ",\"client_id\":",
            Self::Terminal => ",\"terminal\":",
            Self::Sector => ",\"sector\":",
            Self::Error => ",\"error\":",
            Self::ErrorCode => ",\"error_code\":",
            Self::ErrorData => ",\"error_data\":",
            Self::NewSession => ",\"new_session\":",
            Self::NewTerminal => ",\"new_terminal\":",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    #[expect(clippy::as_conversions, reason = "the places are 0 to 14")]
    const fn index(self) -> usize {
        self as usize
    }

    /// Its bit in a set of fields.
    const fn bit(self) -> u16 {
        1 << self.index()
    }

    #[inline]
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"type" => Self::Type,
            b"request_id" => Self::RequestId,
            b"action" => Self::Action,
            b"version" => Self::Version,
            b"envelope" => Self::Envelope,
            b"ticket" => Self::Ticket,
            b"identifying_token" => Self::IdentifyingToken,
            b"client_id" => Self::ClientId,
            b"terminal" => Self::Terminal,
            b"sector" => Self::Sector,
            b"error" => Self::Error,
            b"error_code" => Self::ErrorCode,
            b"error_data" => Self::ErrorData,
            b"new_session" => Self::NewSession,
            b"new_terminal" => Self::NewTerminal,
            _ => return None,
        })
    }
}

/// Where the known fields of a header stand, and what was found out about them on the way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Fields {
    pub(super) kind: Option<MessageType>,
    /// The version; 0 where none is given.
    pub(super) version: u32,
    pub(super) client_id: u64,
    /// A bit for each field that is there and can be used.
    good: u16,
    /// A bit for each field that is there and cannot.
    bad: u16,
    /// A bit for each field whose value has a backslash in it.
    escaped: u16,
    spans: [Span; Field::ALL.len()],
}

impl Fields {
    /// Finds the known fields of `body` and judges each (H-1…H-5).
    pub(super) fn scan(body: &[u8]) -> Result<Self, NotObject> {
        if !body.is_ascii() && core::str::from_utf8(body).is_err() {
            return Err(NotObject);
        }
        let mut fields = Self::default();
        members(body, |member| {
            let field = match (member.key_escaped, member.key) {
                (false, [b'"', name @ .., b'"']) => Field::from_name(name),
                (_, raw) => unescape(raw).and_then(|key| Field::from_name(key.as_bytes())),
            };
            if let Some(field) = field {
                fields.note(field, &member);
            }
        })
        .ok_or(NotObject)?;
        Ok(fields)
    }

    /// Takes a known field; of duplicates the last counts, whatever the others were (H-1).
    #[inline]
    fn note(&mut self, field: Field, member: &Member<'_>) {
        let value = Value {
            raw: member.value,
            escaped: member.value_escaped,
        };
        if (self.good | self.bad) & field.bit() != 0 {
            self.forget(field);
        }
        if value.raw == b"null" {
            return;
        }
        let place = self.judge(field, value).and_then(|()| member.span());
        let Some(span) = place else {
            self.bad |= field.bit();
            return;
        };
        self.good |= field.bit();
        if member.value_escaped {
            self.escaped |= field.bit();
        }
        if let Some(room) = self.spans.get_mut(field.index()) {
            *room = span;
        }
    }

    #[cold]
    fn forget(&mut self, field: Field) {
        self.good &= !field.bit();
        self.bad &= !field.bit();
        self.escaped &= !field.bit();
        match field {
            Field::Type => self.kind = None,
            Field::Version => self.version = 0,
            Field::ClientId => self.client_id = 0,
            _ => {}
        }
        if let Some(span) = self.spans.get_mut(field.index()) {
            *span = Span::default();
        }
    }

    /// The first field whose value cannot be used (H-3).
    pub(super) fn bad(&self) -> Option<Field> {
        // Without any, this is one more than there are fields.
        let first = usize::try_from(self.bad.trailing_zeros()).ok()?;
        Field::ALL.get(first).copied()
    }

    /// A field's value, if it has one that can be used.
    #[inline]
    pub(super) fn value<'a>(&self, field: Field, body: &'a [u8]) -> Option<Value<'a>> {
        if self.good & field.bit() == 0 {
            return None;
        }
        Some(Value {
            raw: self.spans.get(field.index())?.of(body),
            escaped: self.escaped & field.bit() != 0,
        })
    }

    /// Whether a field's value can be used; `None` if not.
    #[inline]
    fn judge(&mut self, field: Field, value: Value<'_>) -> Option<()> {
        let is_text = value.raw.first() == Some(&b'"');
        match field {
            Field::Type => {
                value.fits(HEADER_TEXT)?;
                self.kind = Some(match value.raw {
                    b"\"request\"" => MessageType::Request,
                    b"\"reply\"" => MessageType::Reply,
                    _ => MessageType::from_name(&value.text()?),
                });
            }
            Field::RequestId => {
                if value.raw.len() > REQUEST_ID {
                    return None;
                }
                match is_text {
                    true => value.fits(REQUEST_ID)?,
                    false => is_integral(value.raw).then_some(())?,
                }
            }
            Field::Action => value.fits(ACTION)?,
            Field::Version => {
                let number = match is_text {
                    true => parse_digits(value.text()?.as_bytes())?,
                    false => integer(value.raw)?,
                };
                let version = u32::try_from(number)
                    .ok()
                    .filter(|v| i32::try_from(*v).is_ok())?;
                self.version = version.max(1);
            }
            Field::Envelope => value.fits(ENVELOPE)?,
            Field::Ticket
            | Field::IdentifyingToken
            | Field::Terminal
            | Field::Sector
            | Field::NewSession
            | Field::NewTerminal => value.fits(HEADER_TEXT)?,
            Field::ClientId => {
                let number = match value.raw {
                    b"\"\"" | b"-0" => 0,
                    raw if is_text => match value.escaped {
                        false => parse_digits(raw.get(1..raw.len().saturating_sub(1))?)?,
                        true => parse_digits(value.text()?.as_bytes())?,
                    },
                    raw => parse_digits(raw)?,
                };
                self.client_id = number;
            }
            Field::Error | Field::ErrorCode => match value.raw.first()? {
                b'"' => value.fits(HEADER_TEXT)?,
                b'{' | b'[' => return None,
                b't' | b'f' if field == Field::ErrorCode => return None,
                _ => {}
            },
            Field::ErrorData => {}
        }
        Some(())
    }
}

/// A field's value, as JSON.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) raw: &'a [u8],
    pub(super) escaped: bool,
}

impl<'a> Value<'a> {
    /// What it says, if it is a string.
    #[inline]
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match (self.escaped, self.raw) {
            (false, [b'"', text @ .., b'"']) => core::str::from_utf8(text).ok().map(Cow::Borrowed),
            (true, raw) => unescape(raw),
            (false, _) => None,
        }
    }

    /// Whether it is a string of at most `limit` octets.
    #[inline]
    fn fits(self, limit: usize) -> Option<()> {
        let len = match (self.escaped, self.raw) {
            (false, [b'"', text @ .., b'"']) => text.len(),
            (true, raw) => unescape(raw)?.len(),
            (false, _) => return None,
        };
        (len <= limit).then_some(())
    }
}

/// What a JSON string says; `None` if `raw` is not one, or has half a surrogate pair.
#[inline]
pub(super) fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let [b'"', inner @ .., b'"'] = raw else {
        return None;
    };
    match inner.contains(&b'\\') {
        false => core::str::from_utf8(inner).ok().map(Cow::Borrowed),
        true => serde_json::from_slice::<String>(raw).ok().map(Cow::Owned),
    }
}

/// Whether a JSON number is an integer, however large, and in whatever way it is written: `5`,
/// `5.0`, `5e0`.
fn is_integral(raw: &[u8]) -> bool {
    let plain = raw.iter().all(u8::is_ascii_digit);
    plain || Decimal::parse(raw).is_some_and(|number| number.is_zero() || number.shift() >= 0)
}

/// The value of a JSON number, if it is an integer from 0 to 2^64 - 1.
pub(super) fn integer(raw: &[u8]) -> Option<u64> {
    if let Some(plain) = parse_digits(raw) {
        return Some(plain);
    }
    let number = Decimal::parse(raw)?;
    if number.is_zero() {
        return Some(0);
    }
    if number.negative {
        return None;
    }
    let mut value = 0_u64;
    for digit in number.digits() {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit.wrapping_sub(b'0')))?;
    }
    let places = u32::try_from(number.shift()).ok()?;
    value.checked_mul(10_u64.checked_pow(places)?)
}

/// A JSON number, taken apart: its digits without the zeros at the end, and how far they are
/// shifted to the left.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn parse(raw: &'a [u8]) -> Option<Self> {
        let text = core::str::from_utf8(raw).ok()?;
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (down, digits) = match exponent.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
        };
        // No header is long enough for the exact value of a larger one to matter.
        let exponent = parse_digits(digits.as_bytes()).unwrap_or(u64::MAX);
        let exponent = i64::try_from(exponent).unwrap_or(i64::MAX);
        let exponent = if down {
            exponent.saturating_neg()
        } else {
            exponent
        };
        Some(Self {
            negative,
            whole,
            fraction: fraction.trim_end_matches('0'),
            exponent,
        })
    }

    fn is_zero(&self) -> bool {
        self.whole.bytes().all(|digit| digit == b'0') && self.fraction.is_empty()
    }

    /// The digits, without zeros at the end.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let whole = match self.fraction {
            "" => self.whole.trim_end_matches('0'),
            _ => self.whole,
        };
        whole.bytes().chain(self.fraction.bytes())
    }

    /// How many zeros stand between the last of the digits and the point; negative behind it.
    fn shift(&self) -> i64 {
        let places = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let zeros = match self.fraction {
            "" => self
                .whole
                .len()
                .saturating_sub(self.whole.trim_end_matches('0').len()),
            _ => 0,
        };
        self.exponent
            .saturating_sub(places(self.fraction.len()))
            .saturating_add(places(zeros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H-5: the ways an integer may be written.
    #[test]
    fn integers() {
        for (text, integral, value) in [
            ("0", true, Some(0)),
            ("-0", true, Some(0)),
            ("10", true, Some(10)),
            ("1.0", true, Some(1)),
            ("1e2", true, Some(100)),
            ("1.5e1", true, Some(15)),
            ("100e-2", true, Some(1)),
            ("100.0e-2", true, Some(1)),
            ("18446744073709551615", true, Some(u64::MAX)),
            ("18446744073709551616", true, None),
            ("1e999", true, None),
            ("-7", true, None),
            ("0e999999999999999999999", true, Some(0)),
            ("1e-99999999999999999999", false, None),
            ("1.5", false, None),
            ("1e-1", false, None),
            ("true", false, None),
            ("{}", false, None),
        ] {
            assert_eq!(
                (is_integral(text.as_bytes()), integer(text.as_bytes())),
                (integral, value),
                "{text}"
            );
        }
    }
}
