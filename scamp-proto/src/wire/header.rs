//! The JSON object that opens a message.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt;

use bytes::Bytes;

use super::field::{Field, Fields, Value, integer, unescape};
use super::json::members;
use super::number::parse_digits;
use crate::limits::REQUEST_ID;

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

    pub(super) fn from_name(name: &str) -> Self {
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

/// A request's id, as it was written: an integer or a string (H-5).
///
/// An answer echoes the same JSON value with the same type, so the text is kept.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct RequestId {
    text: [u8; REQUEST_ID],
    len: usize,
}

impl RequestId {
    /// An id with this JSON text, which must be UTF-8.
    fn new(text: &[u8]) -> Option<Self> {
        let mut room = [0; REQUEST_ID];
        room.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self {
            text: room,
            len: text.len(),
        })
    }

    /// The id as JSON.
    pub fn as_json(&self) -> &str {
        core::str::from_utf8(self.octets()).unwrap_or_default()
    }

    #[inline]
    pub(super) fn octets(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// The id as a number, if it is one or the decimal text of one: `5` and `"5"` are the same.
    pub fn number(&self) -> Option<u64> {
        match self.octets() {
            text @ [b'"', ..] => parse_digits(unescape(text)?.as_bytes()),
            text => integer(text),
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
        let data = data.as_bytes();
        let whole = members(data, |member| {
            if unescape(member.key).as_deref() == Some("dispatch_failure") {
                truthy = !matches!(member.value, b"false" | b"null" | b"0" | b"-0" | b"\"\"");
            }
        });
        whole.is_some() && truthy
    }
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

    /// Whether the text ends in a line feed (S-18).
    pub(crate) fn ends_in_lf(&self) -> bool {
        self.text.last() == Some(&b'\n')
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
        RequestId::new(self.value(Field::RequestId)?.raw)
    }

    /// The action asked for.
    pub fn action(&self) -> Option<Cow<'_, str>> {
        self.text_of(Field::Action)
    }

    /// The action's version; 1 if none is given, or 0 is.
    pub fn version(&self) -> u32 {
        self.fields.version.max(1)
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
        self.fields.client_id
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
        self.fields.bad()
    }

    /// The value of any field, as JSON; `None` if it is absent. Of duplicates, the last.
    pub fn get(&self, name: &str) -> Option<&str> {
        let text = &self.text[..];
        let mut found = None;
        members(text, |member| {
            if unescape(member.key).as_deref() == Some(name) {
                found = Some(member.value);
            }
        })?;
        core::str::from_utf8(found?).ok()
    }

    /// All fields in the order they were written: key and value, the value as JSON.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &str)) {
        let text = &self.text[..];
        let _ = members(text, |member| {
            let value = core::str::from_utf8(member.value).unwrap_or_default();
            if let Some(key) = unescape(member.key) {
                visit(&key, value);
            }
        });
    }

    /// Octets of the text.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    fn value(&self, field: Field) -> Option<Value<'_>> {
        self.fields.value(field, &self.text)
    }

    fn raw(&self, field: Field) -> Option<&str> {
        core::str::from_utf8(self.value(field)?.raw).ok()
    }

    fn text_of(&self, field: Field) -> Option<Cow<'_, str>> {
        self.value(field)?.text()
    }

    fn scalar(&self, field: Field) -> Option<Cow<'_, str>> {
        self.text_of(field)
            .or_else(|| self.raw(field).map(Cow::Borrowed))
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
}
