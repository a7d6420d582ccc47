//! Header JSON through a generic tree.
//!
//! The text becomes a `Json` tree that keeps every value as it was written and every pair of
//! every object; then each field of H's table is looked up in the root, the last of several
//! equal keys counting (H-1).
//!
//! Where the specification leaves room, this reader takes it to mean:
//!
//! * A whole number may be written with fraction and exponent in `request_id`, where only
//!   non-integral numbers are refused (H-5), and in `version`, where the table says so; in
//!   `client_id` the table says integer, so there it may not.
//! * Lengths are those of the decoded text, in octets of UTF-8, except for `request_id`, where
//!   they are those of the JSON value, quotes included ("as written").
//! * `client_id` is a number of 64 bits without a sign, and `""` means none (X-34).
//! * Numbers in `error` and `error_code` keep the text they were written with.

use std::sync::LazyLock;

use regex::Regex;

/// The fields of H's table that have a meaning here. `None` means absent or bad.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields {
    /// `type`.
    pub message_type: Option<String>,
    /// `request_id`.
    pub request_id: Option<RequestId>,
    /// `action`.
    pub action: Option<String>,
    /// `version`; 1 when absent, bad or 0.
    pub version: u32,
    /// `envelope`.
    pub envelope: Option<String>,
    /// `ticket`.
    pub ticket: Option<String>,
    /// `identifying_token`.
    pub identifying_token: Option<String>,
    /// `client_id`; 0 when absent, bad or empty.
    pub client_id: u64,
    /// `terminal`.
    pub terminal: Option<String>,
    /// `sector`.
    pub sector: Option<String>,
    /// `error`, scalars as text.
    pub error: Option<String>,
    /// `error_code`, numbers as text.
    pub error_code: Option<String>,
    /// `error_data` as written.
    pub error_data: Option<String>,
    /// The first unusable field, in the order of H's table (H-3).
    pub bad_field: Option<&'static str>,
}

/// A usable `request_id` (H-5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId {
    /// The JSON value as it stood in the header; a reply echoes exactly this.
    pub written: String,
    /// What two ids are compared by: `5` and `"5"` have the same key.
    pub key: String,
}

/// The body of a HEADER is not one JSON object (H-1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotObject;

/// Reads the body of a HEADER packet.
///
/// # Errors
///
/// [`NotObject`] if it is not one JSON object in UTF-8, at most 128 levels deep.
pub fn parse(body: &[u8]) -> Result<Fields, NotObject> {
    let text = std::str::from_utf8(body).map_err(|_| NotObject)?;
    let root = tree(text).ok_or(NotObject)?;
    let Value::Object(pairs) = root.value else {
        return Err(NotObject);
    };
    let mut lookup = Lookup {
        pairs,
        bad_field: None,
    };
    Ok(Fields {
        message_type: lookup.text("type", MAX_TEXT),
        request_id: lookup.field("request_id", request_id),
        action: lookup.text("action", MAX_ACTION),
        version: lookup.field("version", version).unwrap_or(1),
        envelope: lookup.text("envelope", MAX_ENVELOPE),
        ticket: lookup.text("ticket", MAX_TEXT),
        identifying_token: lookup.text("identifying_token", MAX_TEXT),
        client_id: lookup.field("client_id", client_id).unwrap_or(0),
        terminal: lookup.text("terminal", MAX_TEXT),
        sector: lookup.text("sector", MAX_TEXT),
        error: lookup.field("error", error),
        error_code: lookup.field("error_code", error_code),
        error_data: lookup.field("error_data", error_data),
        bad_field: {
            lookup.text("new_session", MAX_TEXT);
            lookup.text("new_terminal", MAX_TEXT);
            lookup.bad_field
        },
    })
}

impl Fields {
    /// Code and text, if this header says that a reply is an error (H-12).
    pub fn failure(&self) -> Option<(String, String)> {
        let code = self.error_code.clone().filter(|code| !code.is_empty());
        let text = self.error.clone().filter(|text| !text.is_empty());
        match (code, text) {
            (None, None) => None,
            (Some(code), text) => Some((code, text.unwrap_or_default())),
            (None, Some(text)) => Some(("general".to_owned(), text)),
        }
    }
}

struct Lookup {
    pairs: Vec<(Option<String>, Json)>,
    bad_field: Option<&'static str>,
}

impl Lookup {
    /// The field `name`, last wins (H-1), `null` is absent (H-2), refused by `usable` is bad (H-3).
    fn field<T>(&mut self, name: &'static str, usable: impl Fn(&Json) -> Option<T>) -> Option<T> {
        let (_, json) = self
            .pairs
            .iter()
            .rev()
            .find(|(key, _)| key.as_deref() == Some(name))?;
        if json.value == Value::Null {
            return None;
        }
        let found = usable(json);
        if found.is_none() && self.bad_field.is_none() {
            self.bad_field = Some(name);
        }
        found
    }

    fn text(&mut self, name: &'static str, limit: usize) -> Option<String> {
        self.field(name, |json| text(json, limit))
    }
}

fn text(json: &Json, limit: usize) -> Option<String> {
    match &json.value {
        Value::Text(Some(decoded)) if decoded.len() <= limit => Some(decoded.clone()),
        _ => None,
    }
}

fn request_id(json: &Json) -> Option<RequestId> {
    let key = match &json.value {
        Value::Text(Some(decoded)) => decoded.clone(),
        Value::Number => whole(&json.written)?,
        _ => return None,
    };
    let written = json.written.clone();
    (written.len() <= MAX_REQUEST_ID).then_some(RequestId { written, key })
}

fn version(json: &Json) -> Option<u32> {
    let value = match &json.value {
        Value::Text(Some(decoded)) => digits(decoded)?,
        Value::Number => digits(&whole(&json.written)?)?,
        _ => return None,
    };
    match value {
        0 => Some(1),
        1..=0x7fff_ffff => u32::try_from(value).ok(),
        _ => None,
    }
}

fn client_id(json: &Json) -> Option<u64> {
    match &json.value {
        Value::Text(Some(decoded)) if decoded.is_empty() => Some(0),
        Value::Text(Some(decoded)) => digits(decoded),
        Value::Number if is_integer(&json.written) => digits(&whole(&json.written)?),
        _ => None,
    }
}

fn error(json: &Json) -> Option<String> {
    match &json.value {
        Value::Bool | Value::Number => Some(json.written.clone()),
        _ => text(json, MAX_TEXT),
    }
}

fn error_code(json: &Json) -> Option<String> {
    match &json.value {
        Value::Number => Some(json.written.clone()),
        _ => text(json, MAX_TEXT),
    }
}

/// Any JSON, whatever is in it.
fn error_data(json: &Json) -> Option<String> {
    Some(json.written.clone())
}

fn is_integer(written: &str) -> bool {
    !written.contains(['.', 'e', 'E'])
}

/// The value of a decimal string: digits and nothing else, leading zeros allowed.
fn digits(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

/// A JSON number written out in digits, if it is a whole one.
///
/// Done on the text: digits times a power of ten, without floating point. A number too large to
/// write out is left as it was written.
fn whole(written: &str) -> Option<String> {
    let (mantissa, exponent) = written.split_once(['e', 'E']).unwrap_or((written, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{before}{after}");
    let significant = all.trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i64>() else {
        // Out of reach of any mantissa here.
        return if exponent.starts_with('-') {
            None
        } else {
            Some(written.to_owned())
        };
    };
    let trimmed = (all.len() - significant.len()) as i64;
    let zeros = exponent
        .saturating_sub(after.len() as i64)
        .saturating_add(trimmed);
    match zeros {
        ..0 => None,
        0..200 => {
            let significant = significant.trim_start_matches('0');
            Some(format!("{sign}{significant}{}", "0".repeat(zeros as usize)))
        }
        200.. => Some(written.to_owned()),
    }
}

/// A JSON value and the text it was written with.
#[derive(Clone, Debug, PartialEq)]
struct Json {
    value: Value,
    written: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool,
    Number,
    /// `None` when it has a surrogate without its other half.
    Text(Option<String>),
    Array(Vec<Json>),
    /// All pairs, in order.
    Object(Vec<(Option<String>, Json)>),
}

/// The tree of a whole text; `None` if it is not one JSON value, or too deep.
fn tree(text: &str) -> Option<Json> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    let root = reader.value(0)?;
    reader.skip_space();
    (reader.at == text.len()).then_some(root)
}

/// RFC 8259, one method per rule. `None` means that the text does not follow it.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        let start = self.at;
        let value = match self.rest().chars().next()? {
            '{' => self.object(depth + 1)?,
            '[' => self.array(depth + 1)?,
            '"' => Value::Text(self.string()?),
            't' => self.word("true", Value::Bool)?,
            'f' => self.word("false", Value::Bool)?,
            'n' => self.word("null", Value::Null)?,
            _ => {
                self.at += NUMBER.find(self.rest())?.len();
                Value::Number
            }
        };
        Some(Json {
            value,
            written: self.text[start..self.at].to_owned(),
        })
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut pairs = Vec::new();
        self.list(depth, '{', '}', |reader| {
            let key = reader.string()?;
            reader.skip_space();
            reader.expect(':')?;
            reader.skip_space();
            pairs.push((key, reader.value(depth)?));
            Some(())
        })?;
        Some(Value::Object(pairs))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.list(depth, '[', ']', |reader| {
            items.push(reader.value(depth)?);
            Some(())
        })?;
        Some(Value::Array(items))
    }

    /// What arrays and objects have in common.
    fn list(
        &mut self,
        depth: usize,
        open: char,
        close: char,
        mut element: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.expect(open)?;
        self.skip_space();
        if self.expect(close).is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            self.skip_space();
            if self.expect(close).is_some() {
                return Some(());
            }
            self.expect(',')?;
            self.skip_space();
        }
    }

    /// A string, as UTF-16 first: that is what its escapes are written in.
    fn string(&mut self) -> Option<Option<String>> {
        self.expect('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let plain = match self.take()? {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\\' => match self.take()? {
                    plain @ ('"' | '\\' | '/') => plain,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        units.push(self.hex()?);
                        continue;
                    }
                    _ => return None,
                },
                control if control < ' ' => return None,
                plain => plain,
            };
            units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
        }
    }

    fn hex(&mut self) -> Option<u16> {
        (0..4).try_fold(0, |unit, _| {
            Some(unit * 16 + self.take()?.to_digit(16)? as u16)
        })
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.rest()
            .starts_with(word)
            .then(|| self.at += word.len())?;
        Some(value)
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.rest()
            .starts_with(wanted)
            .then(|| self.at += wanted.len_utf8())
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
        .expect("the pattern is well-formed")
});

/// H-1: levels of objects and arrays, the header's own object being the first.
const MAX_DEPTH: usize = 128;

/// Hardening, section 4.2: octets of the value as written.
const MAX_REQUEST_ID: usize = 64;

/// Hardening, section 4.2: octets.
const MAX_ACTION: usize = 4096;

/// Hardening, section 4.2: octets.
const MAX_ENVELOPE: usize = 64;

/// Hardening, section 4.2: octets of any other known text field.
const MAX_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{generate, naive::PacketType, vectors::Vectors};

    fn fields(text: &str) -> Fields {
        parse(text.as_bytes()).expect("one JSON object")
    }

    fn bad(text: &str) -> Option<&'static str> {
        fields(text).bad_field
    }

    /// H-1, X-23, E-12: what is not one JSON object in UTF-8.
    #[test]
    fn only_an_object_is_a_header() {
        for text in [
            "null",
            "[]",
            "",
            "{",
            "5",
            "\"x\"",
            "{} x",
            "\u{feff}{}",
            "{\"a\":1,}",
            "{\"a\":01}",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(NotObject), "{text}");
        }
        assert_eq!(parse(b"{\"x\":\"\xff\xfe\"}"), Err(NotObject));
        assert_eq!(parse(b"{\"x\":\"\x00\"}"), Err(NotObject));
        assert!(parse(b" \t\r\n{} \t\r\n").is_ok());
    }

    /// H-1, F-35: 128 levels are taken, 129 are not, of arrays and objects alike.
    #[test]
    fn depth_is_limited() {
        let arrays = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
        let objects = |n: usize| format!("{}0{}", "{\"x\":".repeat(n), "}".repeat(n));
        assert!(parse(arrays(127).as_bytes()).is_ok());
        assert_eq!(parse(arrays(128).as_bytes()), Err(NotObject));
        assert!(parse(objects(128).as_bytes()).is_ok());
        assert_eq!(parse(objects(129).as_bytes()), Err(NotObject));
        assert_eq!(parse("{\"x\":[".repeat(100_000).as_bytes()), Err(NotObject));
    }

    /// H-1, H-2, H-3: the last of equal keys counts, also when it is `null`, good or bad.
    #[test]
    fn the_last_key_wins() {
        let id = |text| fields(text).request_id.map(|id| id.written);
        assert_eq!(
            id(r#"{"request_id":5,"request_id":1}"#),
            Some("1".to_owned())
        );
        assert_eq!(id(r#"{"request_id":5,"\u0072equest_id":null}"#), None);
        assert_eq!(bad(r#"{"action":5,"action":"a"}"#), None);
        assert_eq!(bad(r#"{"action":"a","action":5}"#), Some("action"));
    }

    /// H-5: any integer or string, echoed as written, compared as text.
    #[test]
    fn request_ids_keep_their_form() {
        let id = |text: &str| {
            fields(&format!("{{\"request_id\":{text}}}"))
                .request_id
                .map(|id| (id.written, id.key))
        };
        for (written, key) in [
            ("5", "5"),
            ("\"5\"", "5"),
            ("\"\\u0035\"", "5"),
            ("18446744073709551616", "18446744073709551616"),
            ("-1", "-1"),
            ("-0", "0"),
            ("1.0", "1"),
            ("120e-1", "12"),
            ("0.5e1", "5"),
            ("1e3", "1000"),
            ("1e999", "1e999"),
            ("\"abc\"", "abc"),
        ] {
            assert_eq!(id(written), Some((written.to_owned(), key.to_owned())));
        }
        for refused in [
            "true",
            "{}",
            "[]",
            "1.5",
            "1e-1",
            "1e-99999999999999999999",
            "\"\\ud800\"",
        ] {
            assert_eq!(id(refused), None);
            assert_eq!(
                bad(&format!("{{\"request_id\":{refused}}}")),
                Some("request_id")
            );
        }
        assert!(id(&"1".repeat(64)).is_some());
        assert!(id(&"1".repeat(65)).is_none());
    }

    /// H's table, X-32, X-33: `version` is an integer, integral float or decimal string.
    #[test]
    fn versions_have_several_forms() {
        let version = |text: &str| {
            let fields = fields(&format!("{{\"version\":{text}}}"));
            (fields.version, fields.bad_field)
        };
        for (text, value) in [
            ("null", 1),
            ("0", 1),
            ("-0", 1),
            ("2", 2),
            ("2.0", 2),
            ("20e-1", 2),
            ("0.2E+1", 2),
            ("\"2\"", 2),
            ("\"002\"", 2),
            ("2147483647", 0x7fff_ffff),
        ] {
            assert_eq!(version(text), (value, None), "{text}");
        }
        for text in [
            "2147483648",
            "-1",
            "1.5",
            "1e999",
            "\"\"",
            "\"1.0\"",
            "\"+1\"",
            "true",
            "[]",
        ] {
            assert_eq!(version(text), (1, Some("version")), "{text}");
        }
    }

    /// X-34: `client_id` null or empty is none; decimal strings count.
    #[test]
    fn client_ids_have_several_forms() {
        assert_eq!(fields(r#"{"client_id":"77"}"#).client_id, 77);
        assert_eq!(fields(r#"{"client_id":77}"#).client_id, 77);
        for none in ["null", "\"\"", "0"] {
            let fields = fields(&format!("{{\"client_id\":{none}}}"));
            assert_eq!((fields.client_id, fields.bad_field), (0, None));
        }
        for refused in [
            "1.5",
            "1.0",
            "1e0",
            "-1",
            "18446744073709551616",
            "\"1.0\"",
            "true",
        ] {
            let text = format!("{{\"client_id\":{refused}}}");
            assert_eq!(bad(&text), Some("client_id"), "{refused}");
        }
    }

    /// H-12, X-35: when a header is an error.
    #[test]
    fn errors_need_a_code_or_a_text() {
        let failure = |text| fields(text).failure();
        let some = |code: &str, text: &str| Some((code.to_owned(), text.to_owned()));
        assert_eq!(failure(r#"{"error":"","error_code":null}"#), None);
        assert_eq!(
            failure(r#"{"error":"went wrong"}"#),
            some("general", "went wrong")
        );
        assert_eq!(
            failure(r#"{"error":"w","error_code":""}"#),
            some("general", "w")
        );
        assert_eq!(
            failure(r#"{"error":true,"error_code":404}"#),
            some("404", "true")
        );
        assert_eq!(bad(r#"{"error_code":true}"#), Some("error_code"));
        assert_eq!(bad(r#"{"error":[]}"#), Some("error"));
    }

    /// Hardening, section 4.2: the limits of the text fields act exactly at their value.
    #[test]
    fn text_fields_have_limits() {
        for (name, limit) in [
            ("action", 4096),
            ("envelope", 64),
            ("type", 65_536),
            ("ticket", 65_536),
        ] {
            let text = |len: usize| format!("{{\"{name}\":\"{}\"}}", "é".repeat(len / 2));
            assert_eq!(bad(&text(limit)), None);
            assert_eq!(bad(&text(limit + 2)), Some(name));
        }
    }

    /// H-3: the first bad field in the order of the table is named, not the first in the text.
    #[test]
    fn the_table_orders_bad_fields() {
        assert_eq!(bad(r#"{"sector":1,"version":true,"type":5}"#), Some("type"));
        assert_eq!(bad(r#"{"new_session":1,"sector":1}"#), Some("sector"));
        assert_eq!(bad(r#"{"new_terminal":1}"#), Some("new_terminal"));
        assert_eq!(
            bad(r#"{"x":"\ud800","\ud800":1,"http_status":"\ud800"}"#),
            None
        );
        assert_eq!(bad(r#"{"error_data":["\ud800"]}"#), None);
        assert_eq!(bad(r#"{"terminal":"\ud800"}"#), Some("terminal"));
    }

    /// E-6, E-7, E-8, HD-60: headers as the peers send them, against a decoder of another hand.
    #[test]
    fn recorded_headers_have_the_recorded_fields() {
        let wire = Vectors::best().wire();
        wire.announce("header, wire");
        let mut seen = 0;
        for case in &wire.cases {
            for stream in [&case.client, &case.server] {
                let packets = crate::naive::packets::parse(&stream.bytes, 131_072).packets;
                let headers = packets
                    .iter()
                    .filter(|packet| packet.packet_type == PacketType::Header);
                for (packet, message) in headers.zip(&stream.messages) {
                    let recorded = &message["header"];
                    let fields = parse(&packet.body).expect("recorded headers are objects");
                    let text = |name: &str| recorded[name].as_str().map(str::to_owned);
                    assert_eq!(fields.bad_field, None, "{}", case.name);
                    assert_eq!(fields.message_type, text("type"));
                    assert_eq!(fields.action, text("action"));
                    assert_eq!(fields.envelope, text("envelope"));
                    assert_eq!(fields.ticket, text("ticket"));
                    assert_eq!(fields.identifying_token, text("identifying_token"));
                    assert_eq!(fields.error, text("error"));
                    assert_eq!(fields.error_code, text("error_code"));
                    assert_eq!(
                        fields.error_data.is_some(),
                        !recorded["error_data"].is_null()
                    );
                    let id = &recorded["request_id"];
                    let written = (!id.is_null()).then(|| id.to_string());
                    assert_eq!(fields.request_id.map(|id| id.written), written);
                    assert_eq!(
                        u64::from(fields.version),
                        recorded["version"].as_u64().unwrap_or(1).max(1)
                    );
                    let client_id = &recorded["client_id"];
                    let decimal = client_id.as_str().and_then(|text| text.parse().ok());
                    assert_eq!(
                        fields.client_id,
                        client_id.as_u64().or(decimal).unwrap_or(0)
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 100, "only {seen} headers compared");
    }

    proptest! {
        #![proptest_config(generate::config())]

        /// H-1: the tree takes what `serde_json` takes, surrogates and huge numbers aside.
        #[test]
        fn the_tree_agrees_with_another_parser(text in generate::header_text()) {
            if !text.contains(r"\ud") && !text.contains("1e999") {
                let theirs: Option<serde_json::Value> = serde_json::from_str(&text).ok();
                prop_assert_eq!(parse(text.as_bytes()).is_ok(), theirs.is_some_and(|json| json.is_object()));
            }
        }

        /// Q-20: unknown fields and another order change no known field.
        #[test]
        fn strangers_and_order_do_not_matter(mut fields in prop::collection::btree_map("[a-z_]{1,9}", "[a-z]{0,5}", 0..5), id in any::<u32>()) {
            fields.insert("action".to_owned(), "a.b".to_owned());
            let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
            let forwards = format!("{{\"request_id\":{id},{}}}", pairs.join(","));
            let backwards = format!("{{{},\"request_id\":{id}}}", pairs.iter().rev().cloned().collect::<Vec<_>>().join(","));
            prop_assert_eq!(parse(forwards.as_bytes()), parse(backwards.as_bytes()));
        }
    }
}
