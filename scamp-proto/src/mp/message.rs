//! The one record that travels, and what its fields may be.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::encoding::{Field, FieldData, Fields};
use super::error::DecodeError;
use crate::limits::{MP_MESSAGE_COST, MP_NAME};

/// One message: four fields, and nothing else on the stream (MP-1).
///
/// ```
/// use scamp_proto::mp::{Data, Message, Meta};
///
/// let syn = Message::new(Meta::CONN_SYN, "clientA", "clientB:0", Data::from("greetings"));
/// assert_eq!(syn.data.to_bytes(), "greetings");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// What the message is.
    pub meta: Meta,
    /// Towards the server the recipient's name, from the server the sender's; in the messages of
    /// signing in, the client's own.
    pub other_client: Text,
    /// Which connection; the server does not look at it.
    pub connection_id: Text,
    /// Payload, secret, or protocol name.
    pub data: Data,
}

impl Message {
    /// A message of these fields.
    pub fn new(
        meta: Meta,
        other_client: impl Into<Text>,
        connection_id: impl Into<Text>,
        data: Data,
    ) -> Self {
        Self {
            meta,
            other_client: other_client.into(),
            connection_id: connection_id.into(),
            data,
        }
    }

    /// A message without data.
    pub(super) fn bare(meta: Meta, other_client: Text, connection_id: Text) -> Self {
        Self::new(meta, other_client, connection_id, Data::Absent)
    }

    /// The message of these fields, which were found in `owner` if there is one.
    ///
    /// Long payloads stay where they are; all else is copied into memory of its own, so that a
    /// short message does not keep a long buffer alive (MP-135).
    pub(super) fn assemble(
        fields: Fields<'_>,
        owner: Option<&Bytes>,
        payload_limit: usize,
    ) -> Result<Self, DecodeError> {
        let (client, id) = (fields.other_client.octets(), fields.connection_id.octets());
        let (field, is_base64) = match &fields.data {
            FieldData::Absent => (None, false),
            FieldData::Octets(field) => (Some(field), false),
            FieldData::Base64(field) => (Some(field), true),
        };
        let payload = field.map(Field::octets).unwrap_or_default();
        let mut pack = Vec::with_capacity(client.len() + id.len() + payload.len());
        let kept = match (owner, field) {
            (Some(owner), Some(Field::Lent(lent))) if lent.len() > owner.len() / 2 => {
                pack = Vec::with_capacity(client.len() + id.len());
                Some(owner.slice_ref(lent))
            }
            _ => None,
        };
        pack.extend_from_slice(client);
        pack.extend_from_slice(id);
        if kept.is_none() {
            pack.extend_from_slice(payload);
        }
        let (client, id) = (client.len(), id.len());
        let mut pack = Bytes::from(pack);
        let other_client = Text(pack.split_to(client));
        let connection_id = Text(pack.split_to(id));
        let payload = kept.unwrap_or(pack);
        let data = match (field, is_base64) {
            (None, _) => Data::Absent,
            (Some(_), false) => Data::Octets(payload),
            (Some(_), true) => Data::Base64(Base64(payload)),
        };
        if data.len() > payload_limit {
            return Err(DecodeError::TooLarge(payload_limit));
        }
        Ok(Self {
            meta: Meta(fields.meta),
            other_client,
            connection_id,
            data,
        })
    }

    /// What it costs to keep this message, in octets.
    pub(super) fn cost(&self) -> usize {
        MP_MESSAGE_COST + self.other_client.len() + self.connection_id.len() + self.data.kept()
    }
}

/// What a message is: a number from 0 to 255 (MP-5).
///
/// The numbers from 11 on mean nothing, and are carried all the same.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Meta(pub u8);

impl Meta {
    /// Payload of a connection.
    pub const NONE: Self = Self(0);
    /// The answer to what makes no sense; it is never answered itself.
    pub const WAT: Self = Self(1);
    /// There is no such connection, or no such client.
    pub const NO_SUCH_CONNECTION: Self = Self(2);
    /// A connection is refused.
    pub const UNKNOWN_PROTO: Self = Self(3);
    /// A client has left.
    pub const CLIENT_CLOSED: Self = Self(4);
    /// A connection is asked for.
    pub const CONN_SYN: Self = Self(5);
    /// A connection is accepted.
    pub const CONN_ACK: Self = Self(6);
    /// A connection is closed.
    pub const CONN_CLOSED: Self = Self(7);
    /// A client signs in.
    pub const AUTH: Self = Self(8);
    /// A client is signed in.
    pub const AUTH_OK: Self = Self(9);
    /// A client is not signed in, and why.
    pub const AUTH_FAILURE: Self = Self(10);

    /// The name of the number, if it has one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "None",
            1 => "WAT",
            2 => "NoSuchConnection",
            3 => "UnknownProto",
            4 => "ClientClosed",
            5 => "ConnSyn",
            6 => "ConnAck",
            7 => "ConnClosed",
            8 => "Auth",
            9 => "AuthOk",
            10 => "AuthFailure",
            _ => return None,
        })
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Text that shares its memory: cloning it costs no copy.
///
/// It is compared octet by octet: no case folding, no normalisation (MP-4).
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Bytes);

impl Text {
    /// These octets as text, if they are UTF-8 (MP-3).
    pub fn from_utf8(octets: Bytes) -> Option<Self> {
        core::str::from_utf8(&octets).ok()?;
        Some(Self(octets))
    }

    /// As a string slice.
    pub fn as_str(&self) -> &str {
        // Every constructor has checked it.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length in octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same text in memory of its own, so that it keeps no message alive.
    pub(super) fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a client: not empty, no `:`, at most 255 octets (MP-8).
///
/// ```
/// use scamp_proto::mp::ClientName;
///
/// assert!(ClientName::new("alpha").is_some());
/// assert!(ClientName::new("alpha:0").is_none());
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientName(Text);

impl ClientName {
    /// This name, if it can be one.
    pub fn new(name: impl Into<Text>) -> Option<Self> {
        let name = name.into();
        let is_valid =
            !name.is_empty() && name.len() <= MP_NAME && !name.as_bytes().contains(&b':');
        is_valid.then_some(Self(name))
    }

    /// The name as text.
    pub fn as_text(&self) -> &Text {
        &self.0
    }
}

impl Deref for ClientName {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The payload of a message.
///
/// Absent and empty are one thing to an application, and two in JSON, which a router keeps apart
/// (MP-2). What came as base64 stays so until somebody wants its octets, so that a router passes it
/// from JSON to JSON without touching it (MP-135).
#[derive(Clone, Default)]
pub enum Data {
    /// No payload.
    #[default]
    Absent,
    /// These octets, perhaps none.
    Octets(Bytes),
    /// Octets as base64.
    Base64(Base64),
}

impl Data {
    /// The octets; none if there is no payload. Only what came as base64 is copied.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Absent => Bytes::new(),
            Self::Octets(octets) => octets.clone(),
            Self::Base64(base64) => base64.decode(),
        }
    }

    /// How many octets it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Octets(octets) => octets.len(),
            Self::Base64(base64) => base64.len(),
        }
    }

    /// Whether there is no octet in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the field is absent, and not merely empty.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Octets it occupies.
    fn kept(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Octets(octets) => octets.len(),
            Self::Base64(base64) => base64.0.len(),
        }
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self::Octets(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Bytes> for Data {
    fn from(octets: Bytes) -> Self {
        Self::Octets(octets)
    }
}

impl From<&Text> for Data {
    fn from(text: &Text) -> Self {
        Self::Octets(text.0.clone())
    }
}

impl Eq for Data {}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.is_absent() == other.is_absent() && self.to_bytes() == other.to_bytes()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Octets(_) | Self::Base64(_) => fmt::Debug::fmt(&self.to_bytes(), f),
        }
    }
}

/// What a client knows and others should not: it is not shown in logs.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Data);

impl Secret {
    /// The octets; none if the client sent none.
    pub fn to_bytes(&self) -> Bytes {
        self.0.to_bytes()
    }
}

impl From<Data> for Secret {
    fn from(data: Data) -> Self {
        Self(data)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Base64 as we would write it ourselves: standard alphabet, padded, no bit left over (MP-10).
#[derive(Clone)]
pub struct Base64(Bytes);

impl Base64 {
    /// The text.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    fn decode(&self) -> Bytes {
        // It was checked when it was made.
        decode_base64(&self.0).map(Bytes::from).unwrap_or_default()
    }

    fn len(&self) -> usize {
        let padding = self.0.iter().rev().take(2).filter(|octet| **octet == b'=');
        (self.0.len() / 4 * 3).saturating_sub(padding.count())
    }
}

/// Base64 as Go's decoder takes it (MP-12): padded, and unused bits are nobody's business.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The octets of base64 text without line breaks.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}

/// Whether encoding what this text decodes to gives this text.
pub(super) fn is_canonical(text: &[u8]) -> bool {
    if text.len() % 4 != 0 {
        return false;
    }
    let (digits, unused) = match text {
        [digits @ .., b'=', b'='] => (digits, 0x0f),
        [digits @ .., b'='] => (digits, 0x03),
        digits => (digits, 0),
    };
    // Without a branch for each octet, so that many are looked at together.
    let all = digits.iter().fold(true, |all, &octet| {
        let letter = (octet | 0x20).wrapping_sub(b'a') < 26;
        let digit = octet.wrapping_sub(b'0') < 10;
        all & (letter | digit | (octet == b'+') | (octet == b'/'))
    });
    let last = digits.last().copied().unwrap_or(b'A');
    all && value(last) & unused == 0
}

/// What a digit of base64 stands for.
fn value(digit: u8) -> u8 {
    match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        _ => 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    /// MP-8: what a name may be, at its very limits.
    #[test]
    fn names_have_limits() {
        let valid = |name: &str| ClientName::new(name).is_some();
        assert!(valid("a") && valid(" ") && valid("é\n"));
        assert!(valid(&"n".repeat(255)) && !valid(&"n".repeat(256)));
        assert!(!valid("") && !valid(":") && !valid("a:0"));
    }

    /// MP-3: text is UTF-8 or it is none.
    #[test]
    fn text_is_utf8() {
        assert!(Text::from_utf8(Bytes::from_static(b"\xc3\xa9")).is_some());
        assert!(Text::from_utf8(Bytes::from_static(b"\xc3")).is_none());
    }

    /// MP-4: names are compared octet by octet.
    #[test]
    fn text_is_compared_octet_by_octet() {
        assert_ne!(Text::from("a"), Text::from("A"));
        assert_ne!(Text::from("\u{e9}"), Text::from("e\u{301}"));
    }

    /// MP-2: absent and empty differ inside and are the same to an application.
    #[test]
    fn absent_and_empty_are_read_alike() {
        let empty = Data::Octets(Bytes::new());
        assert_ne!(Data::Absent, empty);
        assert_eq!(Data::Absent.to_bytes(), empty.to_bytes());
    }

    /// MP-10: only what we would write ourselves is passed on as it is.
    #[test]
    fn canonical_base64() {
        for good in ["", "aGk=", "aA==", "aGlq", "+/+/"] {
            assert!(is_canonical(good.as_bytes()), "{good}");
        }
        for bad in [
            "aGl=", "aB==", "a===", "====", "aGk", "aG=k", "-_-_", "aGk=aGk=", "aG k", "@[`{",
        ] {
            assert!(!is_canonical(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        /// MP-10, MP-135: text counts as ours exactly if encoding anew gives it back.
        #[test]
        fn canonical_is_what_encodes_back(text in "[A-Da-d01+/=-]{0,12}") {
            let back = decode_base64(text.as_bytes()).map(|octets| STANDARD.encode(octets));
            prop_assert_eq!(is_canonical(text.as_bytes()), back == Some(text));
        }

        /// MP-135: what came as base64 is the octets it stands for.
        #[test]
        fn base64_is_its_octets(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = Bytes::from(STANDARD.encode(&octets));
            let data = Data::Base64(Base64(text));
            prop_assert_eq!(data.len(), octets.len());
            prop_assert_eq!(data.to_bytes(), octets.clone());
            prop_assert_eq!(data, Data::Octets(Bytes::from(octets)));
        }
    }
}
