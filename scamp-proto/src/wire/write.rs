//! Headers we send, written by hand: compact, never `null`, nothing any peer closes on (H-10, H-11).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::field::Field;
use super::header::{MessageType, RemoteError, RequestId};
use super::json::{is_value, special_octets};
use super::number::{parse_digits, write_digits};
use crate::error::SendError;

/// What a request's header says, beside the id, which the session gives it.
///
/// ```
/// use scamp_proto::wire::RequestHead;
///
/// let head = RequestHead::new("Greetings.hello").version(2).client_id(7);
/// assert_eq!(head.action, "Greetings.hello");
/// ```
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// `Namespace.name`; the case of the registry entry (H-8).
    pub action: Cow<'a, str>,
    /// The action's version, from 1.
    pub version: u32,
    /// How the body is to be understood: `json` unless said otherwise (H-9).
    pub envelope: Cow<'a, str>,
    /// Says who asks. A secret.
    pub ticket: Option<Secret<'a>>,
    /// A second ticket, naming the real user. A secret.
    pub identifying_token: Option<Secret<'a>>,
    /// The client the request is made for.
    pub client_id: Option<u64>,
    /// The terminal the request comes from.
    pub terminal: Option<Cow<'a, str>>,
    /// More fields: name, and value as JSON.
    pub extras: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Text that must not appear in logs: its `Debug` shows nothing (HD-12).
#[derive(Clone, Eq, PartialEq)]
pub struct Secret<'a>(pub Cow<'a, str>);

impl core::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<'a> RequestHead<'a> {
    /// A request for version 1 of `action`, with a JSON body.
    pub fn new(action: impl Into<Cow<'a, str>>) -> Self {
        Self {
            action: action.into(),
            version: 1,
            envelope: Cow::Borrowed("json"),
            ticket: None,
            identifying_token: None,
            client_id: None,
            terminal: None,
            extras: Vec::new(),
        }
    }

    /// Asks for this version.
    pub fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// Says how the body is to be understood.
    pub fn envelope(self, envelope: impl Into<Cow<'a, str>>) -> Self {
        Self {
            envelope: envelope.into(),
            ..self
        }
    }

    /// Presents a ticket.
    pub fn ticket(self, ticket: impl Into<Cow<'a, str>>) -> Self {
        Self {
            ticket: Some(Secret(ticket.into())),
            ..self
        }
    }

    /// Presents a second ticket, naming the real user.
    pub fn identifying_token(self, token: impl Into<Cow<'a, str>>) -> Self {
        Self {
            identifying_token: Some(Secret(token.into())),
            ..self
        }
    }

    /// Names the client the request is made for.
    pub fn client_id(self, client_id: u64) -> Self {
        Self {
            client_id: Some(client_id),
            ..self
        }
    }

    /// Names the terminal the request comes from.
    pub fn terminal(self, terminal: impl Into<Cow<'a, str>>) -> Self {
        Self {
            terminal: Some(terminal.into()),
            ..self
        }
    }

    /// Adds a field of the caller's; `json` must be JSON. A `null` is left out (H-10).
    pub fn extra(mut self, name: impl Into<Cow<'a, str>>, json: impl Into<Cow<'a, str>>) -> Self {
        self.extras.push((name.into(), json.into()));
        self
    }

    /// The same with nothing borrowed.
    pub fn into_owned(self) -> RequestHead<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        let extras = self
            .extras
            .into_iter()
            .map(|(name, json)| (own(name), own(json)));
        RequestHead {
            action: own(self.action),
            version: self.version,
            envelope: own(self.envelope),
            ticket: self.ticket.map(|secret| Secret(own(secret.0))),
            identifying_token: self.identifying_token.map(|secret| Secret(own(secret.0))),
            client_id: self.client_id,
            terminal: self.terminal.map(own),
            extras: extras.collect(),
        }
    }

    /// Writes the header of request number `id` (H-10).
    pub(crate) fn write(&self, id: u64, out: &mut Vec<u8>) -> Result<(), SendError> {
        if self.version == 0 || i32::try_from(self.version).is_err() {
            return Err(SendError::BadField("version"));
        }
        let mut object = Object::begin(MessageType::Request.name(), out);
        object.number(Field::RequestId, id);
        object.text(Field::Action, &self.action);
        object.number(Field::Version, self.version.into());
        object.text(Field::Envelope, &self.envelope);
        if let Some(ticket) = &self.ticket {
            object.text(Field::Ticket, &ticket.0);
        }
        if let Some(token) = &self.identifying_token {
            object.text(Field::IdentifyingToken, &token.0);
        }
        if let Some(client_id) = self.client_id {
            object.number(Field::ClientId, client_id);
        }
        if let Some(terminal) = &self.terminal {
            object.text(Field::Terminal, terminal);
        }
        object.extras(&self.extras)?;
        object.end();
        Ok(())
    }
}

impl<'a> From<&'a str> for RequestHead<'a> {
    /// `Namespace.name`, or `Namespace.name~version`; a version that is none stays in the name.
    fn from(text: &'a str) -> Self {
        let versioned = text.split_once('~').and_then(|(name, version)| {
            let version = parse_digits(version.as_bytes()).and_then(|v| u32::try_from(v).ok())?;
            Some(Self::new(name).version(version))
        });
        versioned.unwrap_or_else(|| Self::new(text))
    }
}

/// What a reply's header says, beside the id it echoes.
#[derive(Clone, Debug, Default)]
pub struct ReplyHead<'a> {
    /// The error the reply reports, if it is one (H-12).
    pub error: Option<RemoteError>,
    /// More fields: name, and value as JSON.
    pub extras: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl ReplyHead<'_> {
    /// Writes the header of the reply to `id` (H-11).
    pub(crate) fn write(&self, id: &RequestId, out: &mut Vec<u8>) -> Result<(), SendError> {
        let mut object = Object::begin(MessageType::Reply.name(), out);
        object.raw(Field::RequestId, id.octets());
        if let Some(error) = &self.error {
            object.text(
                Field::ErrorCode,
                if error.code.is_empty() {
                    "general"
                } else {
                    &error.code
                },
            );
            object.text(Field::Error, &error.text);
            if let Some(data) = error.data.as_deref().filter(|data| *data != "null") {
                if !is_value(data) {
                    return Err(SendError::BadField("error_data"));
                }
                object.raw(Field::ErrorData, data.as_bytes());
            }
        }
        object.extras(&self.extras)?;
        object.end();
        Ok(())
    }
}

/// Writes a header that has a type, perhaps an id, and the caller's fields.
pub(crate) fn write_plain(
    kind: &str,
    id: Option<&str>,
    extras: &[(Cow<'_, str>, Cow<'_, str>)],
    out: &mut Vec<u8>,
) -> Result<(), SendError> {
    if kind.is_empty() {
        return Err(SendError::BadField("type"));
    }
    let mut object = Object::begin(kind, out);
    if let Some(id) = id {
        object.raw(Field::RequestId, id.as_bytes());
    }
    object.extras(extras)?;
    object.end();
    Ok(())
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len().saturating_add(2));
    out.push(b'"');
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        text.bytes().for_each(|byte| push_escaped(byte, out));
    }
    out.push(b'"');
}

/// Whether no octet needs an escape.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let words = text.chunks_exact(8);
    let rest = words.remainder();
    let mut special = 0;
    for word in words {
        special |= special_octets(<[u8; 8]>::try_from(word).map_or(0, u64::from_le_bytes));
    }
    special == 0
        && rest
            .iter()
            .all(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\')
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..=0x1F => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.push(digit(byte >> 4));
            out.push(digit(byte & 0xF));
        }
        _ => out.push(byte),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    #[inline]
    fn begin(kind: &str, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(b"{\"type\":");
        push_string(kind, out);
        Self { out }
    }

    /// Writes the key of one of our own fields, which needs no escapes.
    #[inline]
    fn key(&mut self, field: Field) {
        self.out.extend_from_slice(field.key().as_bytes());
    }

    #[inline]
    fn raw(&mut self, field: Field, json: &[u8]) {
        self.key(field);
        self.out.extend_from_slice(json);
    }

    #[inline]
    fn text(&mut self, field: Field, text: &str) {
        self.key(field);
        push_string(text, self.out);
    }

    #[inline]
    fn number(&mut self, field: Field, value: u64) {
        self.key(field);
        self.out
            .extend_from_slice(write_digits(value, &mut [0; 20]));
    }

    fn extras(&mut self, extras: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<(), SendError> {
        for (index, (name, json)) in extras.iter().enumerate() {
            if json == "null" {
                continue;
            }
            let earlier = extras.get(..index).unwrap_or_default();
            if Field::from_name(name.as_bytes()).is_some()
                || earlier.iter().any(|(other, _)| other == name)
            {
                return Err(SendError::BadField("a name that is used already"));
            }
            if !is_value(json) {
                return Err(SendError::BadField("a value that is not JSON"));
            }
            self.out.push(b',');
            push_string(name, self.out);
            self.out.push(b':');
            self.out.extend_from_slice(json.as_bytes());
        }
        Ok(())
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Header;
    use super::*;
    use alloc::string::String;

    fn request(head: &RequestHead<'_>, id: u64) -> String {
        let mut out = Vec::new();
        head.write(id, &mut out).expect("a good head");
        String::from_utf8(out).expect("UTF-8")
    }

    /// H-10, E-1: the fields, their order, and nothing that is absent.
    #[test]
    fn requests() {
        assert_eq!(
            request(&RequestHead::new("Greetings.hello"), 1),
            r#"{"type":"request","request_id":1,"action":"Greetings.hello","version":1,"envelope":"json"}"#
        );
        let full = RequestHead::new("A.b")
            .version(3)
            .envelope("web")
            .ticket("t")
            .identifying_token("i");
        let full = full
            .client_id(7)
            .terminal("x\"y")
            .extra("psgi_scheme", "\"https\"")
            .extra("gone", "null");
        assert_eq!(
            request(&full, 2),
            r#"{"type":"request","request_id":2,"action":"A.b","version":3,"envelope":"web","ticket":"t","identifying_token":"i","client_id":7,"terminal":"x\"y","psgi_scheme":"https"}"#
        );
    }

    /// H-11, H-12, E-2, E-3: replies echo the id as it was written.
    #[test]
    fn replies() {
        let reply = |id: &str, error: Option<RemoteError>| {
            let header = Header::decode(alloc::format!("{{\"request_id\":{id}}}").as_bytes())
                .expect("object");
            let mut out = Vec::new();
            let head = ReplyHead {
                error,
                extras: Vec::new(),
            };
            head.write(&header.request_id().expect("an id"), &mut out)
                .expect("a good head");
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(reply("1", None), r#"{"type":"reply","request_id":1}"#);
        assert_eq!(reply("\"1\"", None), r#"{"type":"reply","request_id":"1"}"#);
        assert_eq!(
            reply(
                "2",
                Some(RemoteError::new(
                    "no_action",
                    "No such action: nope.nope.v1"
                ))
            ),
            r#"{"type":"reply","request_id":2,"error_code":"no_action","error":"No such action: nope.nope.v1"}"#
        );
        assert_eq!(
            reply(
                "7",
                Some(RemoteError::refusal(
                    "transport",
                    "Service is shutting down"
                ))
            ),
            r#"{"type":"reply","request_id":7,"error_code":"transport","error":"Service is shutting down","error_data":{"dispatch_failure":true}}"#
        );
    }

    /// An action may be named with its version, as the command lines do.
    #[test]
    fn heads_from_text() {
        let named = |text| {
            let head = RequestHead::from(text);
            (head.action.into_owned(), head.version)
        };
        assert_eq!(named("A.b"), ("A.b".into(), 1));
        assert_eq!(named("A.b~3"), ("A.b".into(), 3));
        assert_eq!(named("A.b~x"), ("A.b~x".into(), 1));
    }

    /// H-10: extras that would break the header are local errors.
    #[test]
    fn extras_are_checked() {
        for (name, json) in [("type", "1"), ("x", "{"), ("x", "1 "), ("x", "")] {
            let head = RequestHead::new("A.b").extra(name, json);
            assert!(
                matches!(head.write(1, &mut Vec::new()), Err(SendError::BadField(_))),
                "{name} {json}"
            );
        }
    }

    proptest::proptest! {
        /// Q-2: any text comes back as it was.
        #[test]
        fn strings_come_back(text in ".*") {
            let mut out = Vec::new();
            push_string(&text, &mut out);
            let back: String = serde_json::from_slice(&out).expect("JSON");
            proptest::prop_assert_eq!(back, text);
        }
    }
}
