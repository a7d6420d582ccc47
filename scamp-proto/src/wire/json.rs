//! A scanner for one JSON object that hands out its members as slices.
//!
//! It accepts what RFC 8259 accepts and nothing else, up to a depth; it builds no tree, so its
//! memory does not depend on what the peer wrote (HD-7), and it does not recurse (HD-6).

use super::number::count_digits;
use crate::limits::HEADER_DEPTH;

/// A stretch of the text, by its byte offsets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    fn range(self) -> core::ops::Range<usize> {
        let offset = |at| usize::try_from(at).unwrap_or(usize::MAX);
        offset(self.start)..offset(self.end)
    }

    pub(super) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.range()).unwrap_or_default()
    }
}

/// One member of an object: its key, quotes included, and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// Where in the text the value begins.
    value_at: usize,
    /// Whether the key has a backslash in it.
    pub(super) key_escaped: bool,
    /// Whether the value has a backslash in it.
    pub(super) value_escaped: bool,
}

impl Member<'_> {
    /// Where the value stands.
    #[inline]
    pub(super) fn span(&self) -> Option<Span> {
        Span::new(self.value_at, self.value_at.wrapping_add(self.value.len()))
    }
}

/// Calls `visit` with each member of the object in `text`, which must be UTF-8.
///
/// Returns `None` when `text` is anything but one object with white space around it.
#[inline]
pub(super) fn members<'a>(text: &'a [u8], mut visit: impl FnMut(Member<'a>)) -> Option<()> {
    let mut scan = Scanner::new(text);
    scan.blanks();
    scan.expect(b'{')?;
    scan.blanks();
    if scan.peek() == Some(b'}') {
        scan.skip();
    } else {
        loop {
            scan.escaped = false;
            let begin = scan.rest;
            scan.string()?;
            let key = scan.since(begin)?;
            let key_escaped = core::mem::take(&mut scan.escaped);
            scan.colon()?;
            let begin = scan.rest;
            scan.value()?;
            visit(Member {
                key,
                value: scan.since(begin)?,
                value_at: text.len().wrapping_sub(begin.len()),
                key_escaped,
                value_escaped: scan.escaped,
            });
            if !scan.comma()? {
                break;
            }
        }
    }
    scan.blanks();
    match scan.peek() {
        None => Some(()),
        Some(_) => None,
    }
}

/// Whether `text` is exactly one JSON value.
pub(super) fn is_value(text: &str) -> bool {
    let mut scan = Scanner::new(text.as_bytes());
    scan.value().is_some() && scan.peek().is_none()
}

/// The high bits of those octets of `word` that are a quote, a backslash or a control character.
///
/// An octet below its bound borrows, so octets above a special one may seem special, too. The
/// lowest bit set is always right, and it is the only one that counts.
#[inline]
pub(super) fn special_octets(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES.wrapping_mul(bound)) & !word & HIGHS;
    let quote = word ^ ONES.wrapping_mul(0x22);
    let backslash = word ^ ONES.wrapping_mul(0x5C);
    below(word, 0x20) | below(quote, 1) | below(backslash, 1)
}

struct Scanner<'a> {
    /// What has not been looked at yet.
    rest: &'a [u8],
    /// Whether a backslash has passed.
    escaped: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            escaped: false,
        }
    }

    /// What has been looked at since `begin` was what had not been.
    #[inline]
    fn since(&self, begin: &'a [u8]) -> Option<&'a [u8]> {
        begin.get(..begin.len().wrapping_sub(self.rest.len()))
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn skip(&mut self) {
        self.next();
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.skip();
        }
    }

    /// A comma and the blanks around it, or whether it is the object's end instead.
    #[inline]
    fn comma(&mut self) -> Option<bool> {
        // Machines write none of the blanks.
        if let [b',', after @ ..] = self.rest {
            if let [b'"', ..] = after {
                self.rest = after;
                return Some(true);
            }
        }
        self.blanks();
        match self.next()? {
            b',' => {
                self.blanks();
                Some(true)
            }
            b'}' => Some(false),
            _ => None,
        }
    }

    /// A colon, and the blanks around it.
    #[inline]
    fn colon(&mut self) -> Option<()> {
        if let [b':', after @ ..] = self.rest {
            if let [b'!'..=b'~', ..] = after {
                self.rest = after;
                return Some(());
            }
        }
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Some(())
    }

    /// Reads something with a copy of the scanner, so that the scanner itself can stay in registers.
    #[inline]
    fn rarely(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let mut copy = Self {
            rest: self.rest,
            escaped: self.escaped,
        };
        read(&mut copy)?;
        *self = copy;
        Some(())
    }

    /// A string; its plain octets are looked at eight at a time.
    #[inline(always)]
    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let byte = match self.rest.split_first_chunk::<8>() {
                Some((word, after)) => {
                    let word = u64::from_le_bytes(*word);
                    let special = special_octets(word);
                    if special == 0 {
                        self.rest = after;
                        continue;
                    }
                    let plain = special.trailing_zeros() / 8;
                    let [byte, ..] = (word >> plain.wrapping_mul(8)).to_le_bytes();
                    let used = usize::try_from(plain).ok()?.wrapping_add(1);
                    self.rest = self.rest.get(used..)?;
                    byte
                }
                None => self.next()?,
            };
            if byte == b'"' {
                return Some(());
            }
            match byte {
                b'\\' => self.rarely(Self::escape)?,
                0..=0x1F => return None,
                _ => {}
            }
        }
    }

    #[inline(never)]
    fn escape(&mut self) -> Option<()> {
        self.escaped = true;
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                for _ in 0..4 {
                    if !self.next()?.is_ascii_hexdigit() {
                        return None;
                    }
                }
                Some(())
            }
            _ => None,
        }
    }

    #[inline]
    fn digits(&mut self) -> Option<()> {
        let before = self.rest.len();
        while let Some((word, after)) = self.rest.split_first_chunk::<8>() {
            let count = count_digits(u64::from_le_bytes(*word));
            if count < 8 {
                self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
                return (self.rest.len() < before).then_some(());
            }
            self.rest = after;
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.skip();
        }
        (self.rest.len() < before).then_some(())
    }

    #[inline]
    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.skip();
        }
        match self.peek()? {
            b'0' => self.skip(),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.skip();
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.skip();
            if let Some(b'+' | b'-') = self.peek() {
                self.skip();
            }
            self.digits()?;
        }
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        for &byte in word {
            self.expect(byte)?;
        }
        Some(())
    }

    /// One value, as deep as a member of a header may be.
    #[inline(always)]
    fn value(&mut self) -> Option<()> {
        // Nearly all are of these two kinds.
        match self.peek()? {
            b'"' => self.string(),
            b'0'..=b'9' => self.number(),
            _ => self.rarely(|scan| scan.any_value(HEADER_DEPTH.saturating_sub(1))),
        }
    }

    /// One value, with at most `room` (up to 127) levels of arrays and objects in it.
    ///
    /// What kind each open level is stands in one bit each of `objects`.
    #[inline(never)]
    fn any_value(&mut self, room: usize) -> Option<()> {
        let mut depth = 0_usize;
        let mut objects = 0_u128;
        loop {
            // A value is due.
            match self.peek()? {
                open @ (b'{' | b'[') => {
                    self.skip();
                    if depth == room {
                        return None;
                    }
                    self.blanks();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.skip();
                    } else {
                        depth = depth.wrapping_add(1);
                        objects = (objects << 1) | u128::from(open == b'{');
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            // A value has ended; so may the levels around it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.blanks();
                let in_object = objects & 1 == 1;
                match self.next()? {
                    b',' => {
                        self.blanks();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return None,
                }
                depth = depth.wrapping_sub(1);
                objects >>= 1;
            }
        }
    }

    /// A key, its colon, and the blanks after it.
    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.colon()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn is_object(text: &str) -> bool {
        members(text.as_bytes(), |_| ()).is_some()
    }

    /// H-1: 128 levels are accepted, 129 are not.
    #[test]
    fn depth_is_exact() {
        for (levels, ok) in [(127, true), (128, false)] {
            let text = alloc::format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
            assert_eq!(is_object(&text), ok, "{levels}");
            let text = alloc::format!(
                "{{\"a\":{}1{}}}",
                "{\"b\":".repeat(levels),
                "}".repeat(levels)
            );
            assert_eq!(is_object(&text), ok, "{levels}");
        }
    }

    /// H-1, F-35: shapes that are not one object.
    #[test]
    fn not_an_object() {
        for text in [
            "",
            " ",
            "null",
            "[]",
            "5",
            "\"x\"",
            "{",
            "}",
            "{}x",
            "{},",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":tru}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "\u{feff}{}",
            "{\"a\":[1}]",
            "{\"a\":NaN}",
        ] {
            assert!(!is_object(text), "{text}");
        }
        for text in [
            "{}",
            " {} \n",
            "{\"a\":-0}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "{\"\":[[],{}]}",
        ] {
            assert!(is_object(text), "{text}");
        }
    }

    proptest! {
        /// The scanner and serde_json accept the same texts, whole and damaged.
        #[test]
        fn same_language_as_serde_json(value in crate::arbitrary::json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let whole = value.to_string();
            prop_assert!(is_value(&whole));
            prop_assert_eq!(is_object(&whole), value.is_object());
            let mut bytes = whole.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = core::str::from_utf8(&bytes) {
                let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
                prop_assert_eq!(is_value(text.trim_matches([' ', '\n', '\r', '\t'])), theirs, "{}", text);
            }
        }
    }
}
