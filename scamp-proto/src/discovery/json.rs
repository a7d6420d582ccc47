//! JSON as announcements have it: a cursor that takes one value after the other, and a writer.
//!
//! The cursor builds no tree and says where texts stand, so that they need not be copied. It does
//! not recurse, and it refuses more than [`ANNOUNCEMENT_DEPTH`] levels (D-5, HD-6).

use alloc::string::String;
use alloc::vec::Vec;

use crate::limits::{ANNOUNCEMENT_DEPTH, ANNOUNCEMENT_TEXT};

/// A place in a text, and what follows it.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    /// UTF-8.
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// Why the text cannot be read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// This is no JSON, from this octet on.
    Syntax(usize),
    /// Too many levels of arrays and objects.
    TooDeep,
    /// A text of more than [`ANNOUNCEMENT_TEXT`] octets.
    TooLong,
}

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Array,
    Bool,
    Null,
    Number,
    Object,
    String,
}

/// Where a string's content stands, quotes left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a> {
    pub(super) at: usize,
    pub(super) raw: &'a [u8],
    /// Whether there is a backslash in it.
    pub(super) escaped: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            depth: 0,
        }
    }

    /// The kind of the value that comes next.
    pub(super) fn kind(&mut self) -> Result<Kind, Fault> {
        self.blanks();
        match self.peek() {
            Some(b'[') => Ok(Kind::Array),
            Some(b'{') => Ok(Kind::Object),
            Some(b'"') => Ok(Kind::String),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => Err(self.fault()),
        }
    }

    /// Takes an array, each of its elements by one call of `each`, which is told its index.
    pub(super) fn array<E: From<Fault>>(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<usize, E> {
        self.open(b'[')?;
        let mut count = 0_usize;
        while self.more(b']', count == 0)? {
            each(self, count)?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Takes an object, each of its values by one call of `each`, which is told its key.
    pub(super) fn object<E: From<Fault>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Quoted<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{')?;
        let mut first = true;
        while self.more(b'}', first)? {
            first = false;
            let key = self.string()?;
            self.blanks();
            self.expect(b':')?;
            each(self, key)?;
        }
        Ok(())
    }

    /// Takes a string.
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, Fault> {
        self.blanks();
        self.expect(b'"')?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|octet| matches!(octet, b'"' | b'\\' | 0..=0x1F))
                .unwrap_or(rest.len());
            self.at = self.at.saturating_add(plain);
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    match self.next()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => self.hex()?,
                        _ => return Err(self.fault()),
                    }
                }
                _ => return Err(self.fault()),
            }
        }
        let raw = self.text.get(begin..self.at.saturating_sub(1));
        let raw = raw.unwrap_or_default();
        // An escape is at most six octets for one.
        let most = if escaped { 6 } else { 1 };
        if raw.len() > ANNOUNCEMENT_TEXT.saturating_mul(most) {
            return Err(Fault::TooLong);
        }
        Ok(Quoted {
            at: begin,
            raw,
            escaped,
        })
    }

    /// Takes a number, as it is written.
    pub(super) fn number(&mut self) -> Result<&'a str, Fault> {
        self.blanks();
        let begin = self.at;
        if self.peek() == Some(b'-') {
            self.skip_one();
        }
        match self.peek() {
            Some(b'0') => self.skip_one(),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.skip_one();
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.skip_one();
            if let Some(b'+' | b'-') = self.peek() {
                self.skip_one();
            }
            self.digits()?;
        }
        let raw = self.text.get(begin..self.at).unwrap_or_default();
        core::str::from_utf8(raw).map_err(|_| self.fault())
    }

    /// Takes `null`.
    pub(super) fn null(&mut self) -> Result<(), Fault> {
        self.blanks();
        self.word(b"null")
    }

    /// Passes over a value of any kind.
    ///
    /// What kind each open level is stands in one bit each of `objects`.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        let floor = self.depth;
        let mut objects = 0_u64;
        loop {
            match self.kind()? {
                kind @ (Kind::Array | Kind::Object) => {
                    let is_object = kind == Kind::Object;
                    let (open, close) = if is_object {
                        (b'{', b'}')
                    } else {
                        (b'[', b']')
                    };
                    self.open(open)?;
                    if self.more(close, true)? {
                        objects = (objects << 1) | u64::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Kind::String => {
                    self.string()?;
                }
                Kind::Number => {
                    self.number()?;
                }
                Kind::Bool if self.peek() == Some(b't') => self.word(b"true")?,
                Kind::Bool => self.word(b"false")?,
                Kind::Null => self.null()?,
            }
            // A value has ended; so may the levels around it.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                if self.more(if in_object { b'}' } else { b']' }, false)? {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                objects >>= 1;
            }
        }
    }

    /// Makes sure that nothing but blanks is left.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault()),
        }
    }

    fn key(&mut self) -> Result<(), Fault> {
        self.string()?;
        self.blanks();
        self.expect(b':')
    }

    fn open(&mut self, bracket: u8) -> Result<(), Fault> {
        self.blanks();
        self.expect(bracket)?;
        self.depth = self.depth.saturating_add(1);
        if self.depth > ANNOUNCEMENT_DEPTH {
            return Err(Fault::TooDeep);
        }
        Ok(())
    }

    /// Whether another element follows; takes the comma before it, or the bracket that ends all.
    fn more(&mut self, close: u8, first: bool) -> Result<bool, Fault> {
        self.blanks();
        match self.peek() {
            Some(octet) if octet == close => {
                self.skip_one();
                self.depth = self.depth.saturating_sub(1);
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.skip_one();
                Ok(true)
            }
            _ => Err(self.fault()),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_one(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let octet = self.peek().ok_or(self.fault())?;
        self.skip_one();
        Ok(octet)
    }

    fn expect(&mut self, octet: u8) -> Result<(), Fault> {
        if self.peek() != Some(octet) {
            return Err(self.fault());
        }
        self.skip_one();
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        word.iter().try_for_each(|octet| self.expect(*octet))
    }

    fn hex(&mut self) -> Result<(), Fault> {
        for _ in 0..4 {
            if !self.next()?.is_ascii_hexdigit() {
                return Err(self.fault());
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.skip_one();
        }
        if self.at == begin {
            return Err(self.fault());
        }
        Ok(())
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.skip_one();
        }
    }

    fn fault(&self) -> Fault {
        Fault::Syntax(self.at)
    }
}

impl<'a> Quoted<'a> {
    /// Whether this is the string `text`.
    pub(super) fn is(&self, text: &str) -> bool {
        if !self.escaped {
            return self.raw == text.as_bytes();
        }
        let mut own = String::new();
        self.unescape(&mut own);
        own == text
    }

    /// Appends the text without its escapes.
    ///
    /// Half of a surrogate pair becomes U+FFFD, as a text has no other way to say it.
    pub(super) fn unescape(&self, out: &mut String) {
        let mut rest = self.raw;
        while let Some(at) = rest.iter().position(|octet| *octet == b'\\') {
            let (plain, escape) = rest.split_at(at);
            out.push_str(core::str::from_utf8(plain).unwrap_or_default());
            let (letter, after) = match escape {
                [_, letter, after @ ..] => (*letter, after),
                _ => return,
            };
            rest = after;
            out.push(match letter {
                b'b' => '\u{8}',
                b'f' => '\u{C}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let Some((high, after)) = unit(rest) else {
                        return;
                    };
                    rest = after;
                    let low = match (high, rest) {
                        (0xD800..=0xDBFF, [b'\\', b'u', digits @ ..]) => {
                            unit(digits).filter(|(low, _)| (0xDC00..=0xDFFF).contains(low))
                        }
                        _ => None,
                    };
                    match low {
                        Some((low, after)) => {
                            rest = after;
                            let pair = ((high & 0x3FF) << 10) | (low & 0x3FF);
                            char::from_u32(pair.wrapping_add(0x1_0000))
                        }
                        None => char::from_u32(high),
                    }
                    .unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                other => char::from(other),
            });
        }
        out.push_str(core::str::from_utf8(rest).unwrap_or_default());
    }
}

/// Four hexadecimal digits, and what follows them.
fn unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digits = core::str::from_utf8(digits).ok()?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

/// The number as a whole one, if it is one: `7`, `7.0` and `70e-1` are seven.
///
/// `None` for any other, for one below zero, and for one of 2^64 or more.
pub(super) fn whole(number: &str) -> Option<u64> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (before, negative) = match before.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (before, false),
    };
    let point = i64::try_from(before.len()).ok()?.saturating_add(exponent);
    let mut value = 0_u64;
    let mut missing = point;
    for digit in before.bytes().chain(after.bytes()) {
        if missing > 0 {
            let digit = u64::from(digit.wrapping_sub(b'0'));
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else if digit != b'0' {
            return None;
        }
        missing = missing.saturating_sub(1);
    }
    // Zeros that the exponent adds: twenty of them are too many already.
    while missing > 0 && value > 0 {
        value = value.checked_mul(10)?;
        missing = missing.saturating_sub(1);
    }
    (!negative || value == 0).then_some(value)
}

/// Appends `text` as a JSON string of ASCII octets alone.
///
/// JavaScript's receiver takes datagrams for Latin-1 and then finds that the signature over other
/// octets does not fit, so what is not ASCII is escaped.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.extend(u8::try_from(character)),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        let digit = char::from_digit(u32::from((*unit >> shift) & 15), 16);
                        out.extend(digit.and_then(|digit| u8::try_from(digit).ok()));
                    }
                }
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// D-5: 32 levels are taken, 33 are not, and neither costs a level of our own stack.
    #[test]
    fn depth_is_exact() {
        for (levels, expected) in [(32, Ok(())), (33, Err(Fault::TooDeep))] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let text = format!("{}0{}", open.repeat(levels), close.repeat(levels));
                assert_eq!(Cursor::new(&text).skip(), expected, "{levels} {open}");
            }
        }
    }

    /// D-10, D-13: what is a whole number, however it is written.
    #[test]
    fn whole_numbers() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("70e-1", Some(7)),
            ("0.7E+1", Some(7)),
            ("7e2", Some(700)),
            ("0e999999999", Some(0)),
            ("0.000e5", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1e20", None),
            ("1e9223372036854775807", None),
            ("1e99999999999999999999", None),
            ("100e-2", Some(1)),
            ("1.50e1", Some(15)),
            ("7.5", None),
            ("75e-1", None),
            ("-1", None),
            ("1e-1", None),
            ("0.1", None),
        ] {
            assert_eq!(whole(text), value, "{text}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        for (text, value) in [
            (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0041\u00e9\ud83d\ude00!""#, "Aé😀!"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ude00x""#, "\u{fffd}x"),
        ] {
            let mut own = String::new();
            Cursor::new(text).string().unwrap().unescape(&mut own);
            assert_eq!(own, value, "{text}");
        }
    }

    proptest! {
        /// The cursor takes what serde_json takes, whole and damaged.
        #[test]
        fn same_language_as_serde_json(value in crate::arbitrary::json(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let whole = value.to_string();
            let mut cursor = Cursor::new(&whole);
            prop_assert_eq!(cursor.skip().and_then(|()| cursor.end()), Ok(()));
            let mut octets = whole.into_bytes();
            let at = at.index(octets.len());
            octets[at] = octet;
            if let Ok(text) = core::str::from_utf8(&octets) {
                let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
                let mut cursor = Cursor::new(text);
                let ours = cursor.skip().and_then(|()| cursor.end()).is_ok();
                prop_assert_eq!(ours, theirs, "{}", text);
            }
        }

        /// What is written is read again, and is ASCII.
        #[test]
        fn strings_come_back(text in ".{0,20}") {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert!(out.is_ascii());
            let written = std::str::from_utf8(&out).unwrap();
            let mut own = String::new();
            Cursor::new(written).string().unwrap().unescape(&mut own);
            prop_assert_eq!(&own, &text);
            prop_assert_eq!(serde_json::from_str::<String>(written).unwrap(), text);
        }

        /// Whole numbers are what they are to a reader of floating numbers.
        #[test]
        fn whole_numbers_like_floats(value in 0_u32.., fraction in "0{0,3}", exponent in -3_i32..4) {
            let text = match fraction.is_empty() {
                true => format!("{value}e{exponent}"),
                false => format!("{value}.{fraction}e{exponent}"),
            };
            let float: f64 = text.parse().unwrap();
            let expected = (float.fract() == 0.0 && (float * 1000.0).fract() == 0.0).then_some(float as u64);
            prop_assert_eq!(whole(&text), expected, "{}", text);
            prop_assert_eq!(whole(&value.to_string()), Some(value.into()));
        }
    }
}
