//! The JSON object that opens a message.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt;

use bytes::Bytes;

use super::json::{Span, members};
use super::number::parse_digits;
use crate::limits::{ACTION, ENVELOPE, HEADER_TEXT, REQUEST_ID};

/// The header of a message: its text, and where the known fields stand in it.
///
/// The text is kept as it came; fields are slices of it. `null` counts as absent (H-2), of
/// duplicate keys the last counts (H-1), unknown fields are kept (H-4). A known field that cannot
/// be used does not spoil the header: it reads as absent, and [`bad_field`](Self::bad_field) names
/// it (H-3).
///
/// Its `Debug` output leaves out ticket and token (HD-12).
///
/// # Example
///
/// ```
/// use scamp_proto::wire::{Header, MessageType};
///
/// let header = Header::decode(br#"{"type":"request","request_id":"5","action":"A.b","x":[1]}"#)?;
/// assert_eq!(header.kind(), Some(MessageType::Request));
/// assert_eq!(header.action().as_deref(), Some("A.b"));
/// assert_eq!(header.version(), 1);
/// assert_eq!(header.request_id().and_then(|id| id.number()), Some(5));
/// assert_eq!(header.get("x").as_deref(), Some("[1]"));
/// # Ok::<(), scamp_proto::wire::NotObject>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Header {
    text: Bytes,
    fields: Fields,
}

/// The body of a HEADER was not one JSON object in UTF-8, at most 128 levels deep (H-1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("header is not a JSON object")]
pub struct NotObject;

/// What a message is, by its header's `type` (H-6).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MessageType {
    /// Asks for an action and expects one reply.
    Request,
    /// Answers a request.
    Reply,
    /// Carries changes of subscribed topics.
    Event,
    /// Subscribes to topics.
    Subscribe,
    /// Answers a subscribe.
    SubscribeDone,
    /// Tells something and expects nothing.
    Notify,
    /// Any other word; [`Header::type_text`] has it.
    Other,
}

impl MessageType {
    /// The word on the wire; empty for [`Other`](Self::Other).
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Reply => "reply",
            Self::Event => "event",
            Self::Subscribe => "subscribe",
            Self::SubscribeDone => "subscribe_done",
            Self::Notify => "notify",
            Self::Other => "",
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "request" => Self::Request,
            "reply" => Self::Reply,
            "event" => Self::Event,
            "subscribe" => Self::Subscribe,
            "subscribe_done" => Self::SubscribeDone,
            "notify" => Self::Notify,
            _ => Self::Other,
        }
    }
}

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

    /// Its place in [`ALL`](Self::ALL).
    #[expect(clippy::as_conversions, reason = "the places are 0 to 14")]
    const fn index(self) -> usize {
        self as usize
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "request_id" => Self::RequestId,
            "action" => Self::Action,
            "version" => Self::Version,
            "envelope" => Self::Envelope,
            "ticket" => Self::Ticket,
            "identifying_token" => Self::IdentifyingToken,
            "client_id" => Self::ClientId,
            "terminal" => Self::Terminal,
            "sector" => Self::Sector,
            "error" => Self::Error,
            "error_code" => Self::ErrorCode,
            "error_data" => Self::ErrorData,
            "new_session" => Self::NewSession,
            "new_terminal" => Self::NewTerminal,
            _ => return None,
        })
    }
}

/// A request's id, as it was written: an integer or a string (H-5).
///
/// An answer echoes the same JSON value with the same type, so the text is kept.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct RequestId {
    text: [u8; REQUEST_ID],
    len: usize,
}

impl RequestId {
    fn new(text: &str) -> Option<Self> {
        let mut room = [0; REQUEST_ID];
        room.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self {
            text: room,
            len: text.len(),
        })
    }

    /// The id as JSON.
    pub fn as_json(&self) -> &str {
        let text = self.text.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// The id as a number, if it is one or the decimal text of one: `5` and `"5"` are the same.
    pub fn number(&self) -> Option<u64> {
        let text = self.as_json();
        match text.strip_prefix('"') {
            Some(text) => match unescape(self.as_json())? {
                Cow::Borrowed(_) => parse_digits(text.strip_suffix('"')?.as_bytes()),
                Cow::Owned(text) => parse_digits(text.as_bytes()),
            },
            None => integer(text).and_then(|value| u64::try_from(value).ok()),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

/// An error that the other end reports in a reply's header (H-12), or that we report in one.
///
/// ```
/// use scamp_proto::wire::RemoteError;
///
/// let error = RemoteError::new("no_action", "No such action: nope.nope.v1");
/// assert_eq!(error.to_string(), "No such action: nope.nope.v1 (no_action)");
/// assert!(!error.is_dispatch_failure());
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text} ({code})")]
pub struct RemoteError {
    /// `error_code`; `general` where the peer gave none.
    pub code: String,
    /// `error`; for people.
    pub text: String,
    /// `error_data`, as JSON.
    pub data: Option<String>,
}

impl RemoteError {
    /// An error with this code and text. Codes in use are listed with H-13.
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            text: text.into(),
            data: None,
        }
    }

    /// The same error with `error_data`, which must be JSON.
    pub fn with_data(self, json: impl Into<String>) -> Self {
        Self {
            data: Some(json.into()),
            ..self
        }
    }

    /// An error that says the request was certainly not processed (H-13, V-9).
    pub fn refusal(code: &str, text: &str) -> Self {
        Self::new(code, text).with_data("{\"dispatch_failure\":true}")
    }

    /// Whether the request was certainly not processed (H-13).
    pub fn is_dispatch_failure(&self) -> bool {
        if self.code == "dispatch_failure" {
            return true;
        }
        let Some(data) = &self.data else { return false };
        let mut truthy = false;
        let whole = members(data, |member| {
            if unescape(member.key.of(data)).as_deref() == Some("dispatch_failure") {
                truthy = !matches!(
                    member.value.of(data),
                    "false" | "null" | "0" | "-0" | "\"\""
                );
            }
        });
        whole.is_some() && truthy
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Fields {
    kind: Option<MessageType>,
    version: Option<u32>,
    client_id: Option<u64>,
    bad: Option<Field>,
    slots: [Slot; Field::ALL.len()],
}

impl Header {
    /// Reads a HEADER's body.
    ///
    /// # Errors
    ///
    /// [`NotObject`], which ends a connection (H-1).
    pub fn decode(body: &[u8]) -> Result<Self, NotObject> {
        let fields = Fields::scan(body)?;
        Ok(Self {
            text: Bytes::copy_from_slice(body),
            fields,
        })
    }

    /// As [`decode`](Self::decode), without a copy.
    ///
    /// # Errors
    ///
    /// [`NotObject`].
    pub fn decode_bytes(body: Bytes) -> Result<Self, NotObject> {
        let fields = Fields::scan(&body)?;
        Ok(Self { text: body, fields })
    }

    /// The JSON text, as it came.
    pub fn as_json(&self) -> &str {
        core::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// What the message is; `None` if the header does not say.
    pub fn kind(&self) -> Option<MessageType> {
        self.fields.kind
    }

    /// The word in `type`.
    pub fn type_text(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::Type)
    }

    /// The request this message is or answers (H-5).
    pub fn request_id(&self) -> Option<RequestId> {
        RequestId::new(self.raw(Field::RequestId)?)
    }

    /// The action asked for.
    pub fn action(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::Action)
    }

    /// The action's version; 1 if none is given, or 0 is.
    pub fn version(&self) -> u32 {
        self.fields.version.unwrap_or(1)
    }

    /// How the body is to be understood; `json` if nothing is said (H-9).
    pub fn envelope(&self) -> Cow<'_, str> {
        self.text_of(Field::Envelope)
            .unwrap_or(Cow::Borrowed("json"))
    }

    /// The ticket that says who asks. A secret: keep it out of logs.
    pub fn ticket(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::Ticket)
            .filter(|ticket| !ticket.is_empty())
    }

    /// A second ticket, naming the real user. A secret, too.
    pub fn identifying_token(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::IdentifyingToken)
            .filter(|token| !token.is_empty())
    }

    /// The client the request is made for; 0 if none is given.
    pub fn client_id(&self) -> u64 {
        self.fields.client_id.unwrap_or(0)
    }

    /// The terminal the request comes from.
    pub fn terminal(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::Terminal)
    }

    /// The sector, which JS requesters put on the wire and nobody needs.
    pub fn sector(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::Sector)
    }

    /// The error a reply reports, if it is one (H-12).
    pub fn error(&self) -> Option<RemoteError> {
        let text = |field| self.scalar(field).unwrap_or_default();
        let (code, error) = (text(Field::ErrorCode), text(Field::Error));
        if code.is_empty() && error.is_empty() {
            return None;
        }
        let code = if code.is_empty() {
            "general".into()
        } else {
            code.into_owned()
        };
        let data = self.raw(Field::ErrorData).map(ToString::to_string);
        Some(RemoteError {
            code,
            text: error.into_owned(),
            data,
        })
    }

    /// The first known field whose value cannot be used (H-3).
    pub fn bad_field(&self) -> Option<Field> {
        self.fields.bad
    }

    /// The value of any field, as JSON; `None` if it is absent. Of duplicates, the last.
    pub fn get(&self, name: &str) -> Option<&str> {
        let text = self.as_json();
        let mut found = None;
        members(text, |member| {
            if unescape(member.key.of(text)).as_deref() == Some(name) {
                found = Some(member.value.of(text));
            }
        })?;
        found
    }

    /// All fields in the order they were written: key and value, the value as JSON.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &str)) {
        let text = self.as_json();
        let _ = members(text, |member| {
            if let Some(key) = unescape(member.key.of(text)) {
                visit(&key, member.value.of(text));
            }
        });
    }

    /// Octets of the text.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    fn value(&self, field: Field) -> Option<Value<'_>> {
        let slot = self.fields.slot(field)?;
        let raw = core::str::from_utf8(self.text.get(slot.span.range())?).ok()?;
        Some(Value {
            raw,
            escaped: slot.escaped,
        })
    }

    fn raw(&self, field: Field) -> Option<&str> {
        Some(self.value(field)?.raw)
    }

    fn text_of(&self, field: Field) -> Option<Cow<'_, str>> {
        self.value(field)?.text()
    }

    fn scalar(&self, field: Field) -> Option<Cow<'_, str>> {
        let value = self.value(field)?;
        match value.raw.starts_with('"') {
            true => value.text(),
            false => Some(Cow::Borrowed(value.raw)),
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        self.for_each(|key, value| {
            let secret =
                matches!(key, "ticket" | "identifying_token" | "secret") && value != "null";
            map.entry(
                &key,
                &format_args!("{}", if secret { "<redacted>" } else { value }),
            );
        });
        map.finish()
    }
}

impl Fields {
    /// Finds the known fields of `body` and judges each (H-1…H-5).
    fn scan(body: &[u8]) -> Result<Self, NotObject> {
        let text = core::str::from_utf8(body).map_err(|_| NotObject)?;
        let mut fields = Self::default();
        members(text, |member| {
            let raw = member.key.of(text);
            let field = match member.key_escaped {
                false => {
                    Field::from_name(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default())
                }
                true => unescape(raw).and_then(|key| Field::from_name(&key)),
            };
            if let Some(slot) = field.and_then(|field| fields.slots.get_mut(field.index())) {
                *slot = match member.value.of(text) {
                    "null" => Slot::default(),
                    _ => Slot {
                        span: member.value,
                        escaped: member.value_escaped,
                    },
                };
            }
        })
        .ok_or(NotObject)?;
        for field in Field::ALL {
            if fields.judge(field, text).is_none() {
                fields.bad = fields.bad.or(Some(field));
                if let Some(slot) = fields.slots.get_mut(field.index()) {
                    *slot = Slot::default();
                }
            }
        }
        Ok(fields)
    }

    /// Whether a field's value can be used; `None` if not.
    fn judge(&mut self, field: Field, text: &str) -> Option<()> {
        let Some(slot) = self.slot(field) else {
            return Some(());
        };
        let value = Value {
            raw: slot.span.of(text),
            escaped: slot.escaped,
        };
        let raw = value.raw;
        let is_text = raw.starts_with('"');
        match field {
            Field::Type => {
                let name = value.text_within(HEADER_TEXT)?;
                self.kind = Some(MessageType::from_name(&name));
            }
            Field::RequestId => {
                if raw.len() > REQUEST_ID {
                    return None;
                }
                match is_text {
                    true => drop(value.text()?),
                    false if is_integral(raw) => {}
                    false => return None,
                }
            }
            Field::Action => drop(value.text_within(ACTION)?),
            Field::Version => {
                let value = match is_text {
                    true => u128::from(parse_digits(value.text()?.as_bytes())?),
                    false => u128::try_from(integer(raw)?).ok()?,
                };
                let version = u32::try_from(value)
                    .ok()
                    .filter(|v| i32::try_from(*v).is_ok())?;
                self.version = Some(version.max(1));
            }
            Field::Envelope => drop(value.text_within(ENVELOPE)?),
            Field::Ticket
            | Field::IdentifyingToken
            | Field::Terminal
            | Field::Sector
            | Field::NewSession
            | Field::NewTerminal => {
                drop(value.text_within(HEADER_TEXT)?);
            }
            Field::ClientId => {
                let value = match is_text {
                    true => match value.text()?.as_ref() {
                        "" => 0,
                        digits => parse_digits(digits.as_bytes())?,
                    },
                    false if raw == "-0" => 0,
                    false => parse_digits(raw.as_bytes())?,
                };
                self.client_id = Some(value);
            }
            Field::Error | Field::ErrorCode => match raw.as_bytes().first()? {
                b'"' => drop(value.text_within(HEADER_TEXT)?),
                b'{' | b'[' => return None,
                b't' | b'f' if field == Field::ErrorCode => return None,
                _ => {}
            },
            Field::ErrorData => {}
        }
        Some(())
    }

    #[inline]
    fn slot(&self, field: Field) -> Option<Slot> {
        self.slots
            .get(field.index())
            .copied()
            .filter(|slot| !slot.span.is_empty())
    }
}

/// Where a field's value stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Slot {
    span: Span,
    /// Whether it has a backslash in it.
    escaped: bool,
}

/// A field's value, as JSON.
#[derive(Clone, Copy)]
struct Value<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Value<'a> {
    /// What it says, if it is a string.
    #[inline]
    fn text(self) -> Option<Cow<'a, str>> {
        match self.escaped {
            false => Some(Cow::Borrowed(
                self.raw.strip_prefix('"')?.strip_suffix('"')?,
            )),
            true => unescape(self.raw),
        }
    }

    /// What it says, if it is a string of at most `limit` octets.
    fn text_within(self, limit: usize) -> Option<Cow<'a, str>> {
        self.text().filter(|text| text.len() <= limit)
    }
}

/// What a JSON string says; `None` if `raw` is not one, or has half a surrogate pair.
#[inline]
pub(super) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    match inner.as_bytes().contains(&b'\\') {
        false => Some(Cow::Borrowed(inner)),
        true => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
    }
}

/// Whether a JSON number is an integer, however large, and in whatever way it is written.
fn is_integral(raw: &str) -> bool {
    if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return false;
    }
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let (down, digits) = match exponent.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let exponent = parse_digits(digits.as_bytes()).unwrap_or(u64::MAX);
    let places = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let significant = whole.trim_start_matches(['-', '0']);
    if significant.is_empty() && fraction.is_empty() {
        return true;
    }
    match down {
        false => places(fraction.len()) <= exponent,
        true => {
            let zeros = whole
                .len()
                .saturating_sub(whole.trim_end_matches('0').len());
            fraction.is_empty() && exponent <= places(zeros)
        }
    }
}

/// The value of a JSON number, if it is an integer, in whatever way it is written: `5`, `5.0`, `5e0`.
fn integer(raw: &str) -> Option<i128> {
    if let Some(small) = parse_digits(raw.as_bytes()) {
        return Some(i128::from(small));
    }
    let (negative, text) = match raw.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, raw),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let (down, digits) = match exponent.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let shift =
        parse_digits(digits.as_bytes()).map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
    let shift = if down { shift.saturating_neg() } else { shift };
    let mut shift = shift.saturating_sub(i64::try_from(fraction.len()).ok()?);
    let mut value = 0_i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(i128::from(digit.wrapping_sub(b'0')))?;
    }
    while shift > 0 && value != 0 {
        value = value.checked_mul(10)?;
        shift = shift.saturating_sub(1);
    }
    while shift < 0 && value != 0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
        shift = shift.saturating_add(1);
    }
    Some(if negative {
        value.saturating_neg()
    } else {
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Header {
        Header::decode(text.as_bytes()).expect("an object")
    }

    /// E-6, E-7, E-8: headers as the peers send them.
    #[test]
    fn headers_of_the_peers() {
        let perl = header(
            r#"{"request_id":1,"type":"request","version":1,"envelope":"json","ticket":null,"identifying_token":null,"action":"api.status.health_check"}"#,
        );
        assert_eq!(perl.bad_field(), None);
        assert_eq!(perl.ticket(), None);
        assert_eq!(perl.action().as_deref(), Some("api.status.health_check"));
        let go = header(
            "{\"action\":\"Logger.log\",\"envelope\":\"json\",\"request_id\":1,\"client_id\":0,\"ticket\":\"\",\"identifying_token\":\"\",\"type\":\"request\",\"version\":1}\n",
        );
        assert_eq!(
            (go.bad_field(), go.ticket(), go.client_id()),
            (None, None, 0)
        );
        let cs = header(
            r#"{"envelope":"json","action":"CSharp.CSharpTest","version":1,"request_id":"1","type":"request"}"#,
        );
        assert_eq!(
            cs.request_id()
                .map(|id| id.as_json().to_string())
                .as_deref(),
            Some("\"1\"")
        );
        assert_eq!(cs.request_id().and_then(|id| id.number()), Some(1));
    }

    /// H-1: of duplicate keys the last wins, also when it is `null`; escaped keys are the same keys.
    #[test]
    fn the_last_duplicate_wins() {
        let twice = header(r#"{"request_id":5,"request_id":1,"action":"A.b","ac\u0074ion":null}"#);
        assert_eq!(twice.request_id().and_then(|id| id.number()), Some(1));
        assert_eq!(twice.action(), None);
    }

    /// H-3, H-5: a field that cannot be used is named and reads as absent.
    #[test]
    fn bad_fields() {
        for (text, field) in [
            (r#"{"request_id":1.5}"#, Field::RequestId),
            (r#"{"request_id":true}"#, Field::RequestId),
            (r#"{"request_id":{}}"#, Field::RequestId),
            (r#"{"action":5}"#, Field::Action),
            (r#"{"action":"\ud800"}"#, Field::Action),
            (r#"{"version":"x"}"#, Field::Version),
            (r#"{"version":2147483648}"#, Field::Version),
            (r#"{"version":-1}"#, Field::Version),
            (r#"{"envelope":[]}"#, Field::Envelope),
            (r#"{"client_id":"x"}"#, Field::ClientId),
            (r#"{"error":{}}"#, Field::Error),
            (r#"{"error_code":[]}"#, Field::ErrorCode),
            (r#"{"type":1,"action":2}"#, Field::Type),
        ] {
            let header = header(text);
            assert_eq!(header.bad_field(), Some(field), "{text}");
            assert_eq!(
                (header.request_id(), header.action(), header.error()),
                (None, None, None)
            );
        }
        let long = alloc::format!("{{\"request_id\":\"{}\"}}", "x".repeat(REQUEST_ID - 1));
        assert_eq!(header(&long).bad_field(), Some(Field::RequestId));
        let fits = alloc::format!("{{\"request_id\":\"{}\"}}", "x".repeat(REQUEST_ID - 2));
        assert_eq!(header(&fits).bad_field(), None);
    }

    /// H's table: the ways a version may be written.
    #[test]
    fn versions() {
        for (text, version) in [
            ("1", 1),
            ("0", 1),
            ("2.0", 2),
            ("\"7\"", 7),
            ("2147483647", 2_147_483_647),
            ("3e0", 3),
            ("null", 1),
        ] {
            let header = header(&alloc::format!("{{\"version\":{text}}}"));
            assert_eq!(
                (header.version(), header.bad_field()),
                (version, None),
                "{text}"
            );
        }
    }

    /// H-12, X-35: an `error` without a code is an error all the same; empty ones are none.
    #[test]
    fn errors() {
        let error = |text: &str| header(text).error().map(|e| (e.code, e.text));
        let pair = |a: &str, b: &str| Some((a.to_string(), b.to_string()));
        assert_eq!(
            error(r#"{"error":"went wrong"}"#),
            pair("general", "went wrong")
        );
        assert_eq!(
            error(r#"{"error":"went wrong","error_code":""}"#),
            pair("general", "went wrong")
        );
        assert_eq!(error(r#"{"error_code":7,"error":"x"}"#), pair("7", "x"));
        assert_eq!(error(r#"{"error":null,"error_code":null}"#), None);
        assert_eq!(error(r#"{"error":"","error_code":""}"#), None);
    }

    /// H-13: what counts as a dispatch failure.
    #[test]
    fn dispatch_failures() {
        for (data, yes) in [
            ("{\"dispatch_failure\":true}", true),
            ("{\"dispatch_failure\":1}", true),
            ("{\"dispatch_failure\":\"x\"}", true),
            ("{\"dispatch_failure\":false}", false),
            ("{\"dispatch_failure\":0}", false),
            ("{\"dispatch_failure\":null}", false),
            ("{}", false),
            ("[\"dispatch_failure\"]", false),
        ] {
            let header = header(&alloc::format!("{{\"error\":\"x\",\"error_data\":{data}}}"));
            assert_eq!(
                header.error().map(|e| e.is_dispatch_failure()),
                Some(yes),
                "{data}"
            );
        }
        assert!(RemoteError::new("dispatch_failure", "").is_dispatch_failure());
    }

    /// HD-12: secrets stay out of `Debug`.
    #[test]
    fn debug_redacts() {
        let text = alloc::format!(
            "{:?}",
            header(r#"{"ticket":"S3CRET","identifying_token":"S3CRET","action":"A.b"}"#)
        );
        assert!(text.contains("A.b") && !text.contains("S3CRET"), "{text}");
    }

    #[test]
    fn integers() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("10", Some(10)),
            ("1.0", Some(1)),
            ("1e2", Some(100)),
            ("1.5e1", Some(15)),
            ("100e-2", Some(1)),
            ("1.5", None),
            ("1e-1", None),
            ("1e999", None),
            ("0e999999999999999999999", Some(0)),
            ("-7", Some(-7)),
        ] {
            assert_eq!(integer(text), value, "{text}");
            assert_eq!(
                is_integral(text),
                value.is_some() || text == "1e999",
                "{text}"
            );
        }
    }
}
