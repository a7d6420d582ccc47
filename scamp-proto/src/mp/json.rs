//! JSON as Go's encoder writes it and as its decoder accepts it (mp.md §2).

use alloc::vec::Vec;

use bytes::Bytes;
use memchr::memchr2;

use super::encoding::{DecodeLimits, Encoding, Field, FieldData, Fields};
use super::error::DecodeError;
use super::message::{Data, Message, decode_base64, is_canonical};

/// Writes a message up to and without its payload: to the value of `Data`, or, where there is a
/// payload, into its string (MP-10).
pub(super) fn write_head(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"Meta\":");
    write_number(message.meta.0, out);
    out.extend_from_slice(b",\"OtherClient\":\"");
    write_text(&message.other_client, out);
    out.extend_from_slice(b"\",\"ConnectionID\":\"");
    write_text(&message.connection_id, out);
    out.extend_from_slice(match message.data {
        Data::Absent => b"\",\"Data\":",
        Data::Octets(_) | Data::Base64(_) => b"\",\"Data\":\"",
    });
}

fn write_number(number: u8, out: &mut Vec<u8>) {
    for digit in [number / 100, number / 10 % 10] {
        if digit > 0 || (out.last().is_some_and(u8::is_ascii_digit)) {
            out.push(b'0' + digit);
        }
    }
    out.push(b'0' + number % 10);
}

/// Writes the inside of a string (MP-11).
fn write_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = |octet: &u8| {
        (0x20..0x80).contains(octet) && !matches!(octet, b'"' | b'\\' | b'<' | b'>' | b'&')
    };
    if text.as_bytes().iter().all(is_plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    let digit = (u32::from(letter) >> shift & 0xf) as u8;
                    out.push(if digit < 10 { b'0' } else { b'a' - 10 } + digit);
                }
            }
            _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Finds values in a stream, one after the other (MP-14).
#[derive(Debug)]
pub(super) struct Decoder {
    depth_limit: usize,
    frame_limit: usize,
    payload_limit: usize,
    /// What has arrived of a value that is not complete.
    partial: Vec<u8>,
    /// Brackets that are open.
    depth: usize,
    place: Place,
    /// How many octets were taken, and where among them the last value began.
    offset: u64,
    begin: u64,
}

/// Where in a value the next octet stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    Outside,
    String,
    Escape,
}

impl Decoder {
    pub(super) fn new(limits: DecodeLimits) -> Self {
        Self {
            depth_limit: limits.json_depth,
            frame_limit: limits.frame(Encoding::Json),
            payload_limit: limits.payload,
            partial: Vec::new(),
            depth: 0,
            place: Place::Outside,
            offset: 0,
            begin: 0,
        }
    }

    /// Where the last value began.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// How many octets were taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn is_between(&self) -> bool {
        self.depth == 0
    }

    pub(super) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, DecodeError> {
        if self.depth == 0 {
            let blank = input.iter().take_while(|octet| is_space(**octet)).count();
            *input = input.split_at(blank).1;
            self.offset += blank as u64;
            self.begin = self.offset;
            match input.first() {
                None => return Ok(None),
                Some(b'{') => {}
                Some(_) => return Err(DecodeError::Malformed("not an object")),
            }
        }
        // Judged before it is all there, and wherever it is cut (MP-15).
        let room = self.frame_limit.saturating_sub(self.partial.len());
        let window = input.get(..room).unwrap_or(input);
        let end = self.find_end(window)?;
        let is_beyond = end.is_none() && window.len() < input.len();
        let (piece, rest) = input.split_at(end.unwrap_or(window.len()));
        *input = rest;
        self.offset += piece.len() as u64;
        if is_beyond {
            return Err(DecodeError::TooLarge(self.frame_limit));
        }
        if end.is_none() {
            self.partial.extend_from_slice(piece);
            return Ok(None);
        }
        if self.partial.is_empty() {
            return self.parse(piece, None).map(Some);
        }
        self.partial.extend_from_slice(piece);
        let whole = core::mem::take(&mut self.partial);
        let whole = Bytes::from(whole.into_boxed_slice());
        self.parse(&whole, Some(&whole)).map(Some)
    }

    /// How many octets of `window` there are to the end of the value, if it ends in them.
    fn find_end(&mut self, window: &[u8]) -> Result<Option<usize>, DecodeError> {
        let mut at = 0;
        while let Some(&octet) = window.get(at) {
            at += 1;
            match (self.place, octet) {
                (Place::Outside, b'"') => self.place = Place::String,
                (Place::Outside, b'{' | b'[') => {
                    self.depth += 1;
                    if self.depth > self.depth_limit {
                        return Err(DecodeError::Malformed("nested too deep"));
                    }
                }
                (Place::Outside, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(at));
                    }
                }
                (Place::Outside, _) => {}
                (Place::String, b'"') => self.place = Place::Outside,
                (Place::String, b'\\') => self.place = Place::Escape,
                (Place::String, _) => {
                    let rest = window.get(at..).unwrap_or_default();
                    at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                }
                (Place::Escape, _) => self.place = Place::String,
            }
        }
        Ok(None)
    }

    fn parse(&self, value: &[u8], owner: Option<&Bytes>) -> Result<Message, DecodeError> {
        let mut parser = Parser { rest: value };
        let fields = parser.object()?;
        Message::assemble(fields, owner, self.payload_limit)
    }
}

/// Reads one value whose brackets are known to be few.
struct Parser<'a> {
    rest: &'a [u8],
}

type Result<T, E = DecodeError> = core::result::Result<T, E>;

impl<'a> Parser<'a> {
    /// The whole value: an object, of whose keys the last one of each name counts (MP-12).
    fn object(&mut self) -> Result<Fields<'a>> {
        let mut fields = Fields::default();
        self.expect(b'{')?;
        if self.next_is(b'}') {
            return Ok(fields);
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.expect(b':')?;
            self.skip_space();
            let is = |name: &str| key.octets().eq_ignore_ascii_case(name.as_bytes());
            if is("Meta") {
                // As Go does it: `null` leaves what an earlier key of the same name set.
                if let Some(meta) = self.nullable(Self::meta)? {
                    fields.meta = meta;
                }
            } else if is("OtherClient") {
                if let Some(text) = self.nullable(Self::string)? {
                    fields.other_client = text;
                }
            } else if is("ConnectionID") {
                if let Some(text) = self.nullable(Self::string)? {
                    fields.connection_id = text;
                }
            } else if is("Data") {
                fields.data = self.nullable(Self::data)?.unwrap_or_default();
            } else {
                self.skip_value()?;
            }
            match self.next()? {
                b',' => {}
                b'}' => return Ok(fields),
                _ => return bad("object"),
            }
        }
    }

    fn nullable<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.rest.first() == Some(&b'n') {
            return self.word(b"null").map(|()| None);
        }
        read(self).map(Some)
    }

    fn meta(&mut self) -> Result<u8> {
        self.small().ok_or(DecodeError::Malformed("Meta"))
    }

    /// A number from 0 to 255, as plain digits.
    fn small(&mut self) -> Option<u8> {
        let len = self.rest.iter().take_while(|o| is_number(**o)).count();
        let digits = self.cut(len);
        let has_zero = digits.len() > 1 && digits.first() == Some(&b'0');
        let is_plain = digits.iter().all(u8::is_ascii_digit) && !has_zero;
        let digits = core::str::from_utf8(digits).ok().filter(|_| is_plain)?;
        digits.parse().ok()
    }

    fn data(&mut self) -> Result<FieldData<'a>> {
        match self.rest.first() {
            Some(b'[') => self
                .array()
                .map(|octets| FieldData::Octets(Field::Own(octets))),
            Some(b'"') => {
                let inside = self.rest.get(1..).unwrap_or_default();
                let end = memchr2(b'"', b'\\', inside).unwrap_or(inside.len());
                let (digits, after) = inside.split_at(end);
                if let (true, [b'"', after @ ..]) = (is_canonical(digits), after) {
                    self.rest = after;
                    return Ok(FieldData::Base64(Field::Lent(digits)));
                }
                let text = self.string()?;
                let digits: Vec<u8> = text
                    .octets()
                    .iter()
                    .copied()
                    .filter(|octet| !matches!(octet, b'\r' | b'\n'))
                    .collect();
                let octets = decode_base64(&digits).ok_or(DecodeError::Malformed("base64"))?;
                Ok(FieldData::Octets(Field::Own(octets)))
            }
            _ => bad("Data"),
        }
    }

    /// Octets as a list of numbers.
    fn array(&mut self) -> Result<Vec<u8>> {
        let mut octets = Vec::new();
        self.expect(b'[')?;
        if self.next_is(b']') {
            return Ok(octets);
        }
        loop {
            self.skip_space();
            let element =
                self.nullable(|parser| parser.small().ok_or(DecodeError::Malformed("Data")))?;
            octets.push(element.unwrap_or(0));
            match self.next()? {
                b',' => {}
                b']' => return Ok(octets),
                _ => return bad("array"),
            }
        }
    }

    fn string(&mut self) -> Result<Field<'a>> {
        self.expect(b'"')?;
        let mut own: Option<Vec<u8>> = None;
        loop {
            let end = memchr2(b'"', b'\\', self.rest).ok_or(DecodeError::Malformed("string"))?;
            let plain = self.cut(end);
            let is_text = plain.iter().all(|octet| *octet >= 0x20);
            if !is_text || core::str::from_utf8(plain).is_err() {
                return bad("string");
            }
            if self.cut(1) == b"\"" {
                return Ok(match own {
                    None => Field::Lent(plain),
                    Some(mut text) => {
                        text.extend_from_slice(plain);
                        Field::Own(text)
                    }
                });
            }
            let text = own.get_or_insert_default();
            text.extend_from_slice(plain);
            let letter = self.escaped()?;
            text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// What stands after a backslash; one half of a pair of surrogates is no letter (MP-3).
    fn escaped(&mut self) -> Result<char> {
        Ok(match self.cut(1) {
            b"\"" => '"',
            b"\\" => '\\',
            b"/" => '/',
            b"b" => '\u{8}',
            b"f" => '\u{c}',
            b"n" => '\n',
            b"r" => '\r',
            b"t" => '\t',
            b"u" => {
                let first = self.hex()?;
                let code = match first {
                    0xd800..0xdc00 if self.cut(2) == b"\\u" => match self.hex()? {
                        second @ 0xdc00..0xe000 => {
                            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                        }
                        _ => return bad("surrogate"),
                    },
                    _ => first,
                };
                char::from_u32(code).ok_or(DecodeError::Malformed("surrogate"))?
            }
            _ => return bad("escape"),
        })
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.cut(4);
        let is_hex = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
        let digits = core::str::from_utf8(digits).ok().filter(|_| is_hex);
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.ok_or(DecodeError::Malformed("escape"))
    }

    /// Any value of a key we do not know.
    fn skip_value(&mut self) -> Result<()> {
        match self.rest.first() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'[') => {
                self.cut(1);
                if self.next_is(b']') {
                    return Ok(());
                }
                loop {
                    self.skip_space();
                    self.skip_value()?;
                    match self.next()? {
                        b',' => {}
                        b']' => return Ok(()),
                        _ => return bad("array"),
                    }
                }
            }
            Some(b'{') => {
                self.cut(1);
                if self.next_is(b'}') {
                    return Ok(());
                }
                loop {
                    self.skip_space();
                    self.string()?;
                    self.expect(b':')?;
                    self.skip_space();
                    self.skip_value()?;
                    match self.next()? {
                        b',' => {}
                        b'}' => return Ok(()),
                        _ => return bad("object"),
                    }
                }
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<()> {
        let digits = |parser: &mut Self| {
            let len = parser
                .rest
                .iter()
                .take_while(|o| o.is_ascii_digit())
                .count();
            parser.cut(len).len()
        };
        if self.rest.first() == Some(&b'-') {
            self.cut(1);
        }
        let has_zero = self.rest.first() == Some(&b'0');
        let whole = digits(self);
        let mut is_number = whole == 1 || whole > 1 && !has_zero;
        if self.rest.first() == Some(&b'.') {
            self.cut(1);
            is_number &= digits(self) > 0;
        }
        if let Some(b'e' | b'E') = self.rest.first() {
            self.cut(1);
            if let Some(b'+' | b'-') = self.rest.first() {
                self.cut(1);
            }
            is_number &= digits(self) > 0;
        }
        if is_number { Ok(()) } else { bad("value") }
    }

    fn word(&mut self, word: &[u8]) -> Result<()> {
        if self.cut(word.len()) == word {
            Ok(())
        } else {
            bad("value")
        }
    }

    /// The next octet that is not white space.
    fn next(&mut self) -> Result<u8> {
        self.skip_space();
        let next = self.cut(1).first().copied();
        next.ok_or(DecodeError::Malformed("value"))
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.next()? == wanted {
            Ok(())
        } else {
            bad("object")
        }
    }

    /// Takes the next octet that is not white space, if it is this one.
    fn next_is(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_next = self.rest.first() == Some(&wanted);
        if is_next {
            self.cut(1);
        }
        is_next
    }

    fn skip_space(&mut self) {
        let blank = self
            .rest
            .iter()
            .take_while(|octet| is_space(**octet))
            .count();
        self.cut(blank);
    }

    /// Takes at most `len` octets off the front.
    fn cut(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

fn bad<T>(what: &'static str) -> Result<T> {
    Err(DecodeError::Malformed(what))
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_number(octet: u8) -> bool {
    octet.is_ascii_digit() || matches!(octet, b'-' | b'+' | b'.' | b'e' | b'E')
}
