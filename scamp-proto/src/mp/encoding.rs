//! Octets to messages and back, in either encoding, and which of the two a stream speaks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base64::Engine;
use bytes::Bytes;

use super::error::DecodeError;
use super::gob;
use super::json;
use super::message::{Data, LENIENT, Message};
use crate::Outbox;
use crate::limits::{MP_FRAME, MP_JSON_DEPTH, MP_MESSAGE_MOST, TURN};

/// How messages are written on a stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Encoding {
    /// One JSON object after the other (mp.md §2): the one for programs that are not Go.
    Json,
    /// Go's `encoding/gob`, as far as this one record needs it (mp.md §3).
    Gob,
}

impl Encoding {
    /// The encoding of a stream that begins with these octets (MP-40).
    ///
    /// `None` means that one more octet is needed; two always suffice. The octets are still part
    /// of the stream.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TlsOnPlainPort`] and [`DecodeError::UnknownFormat`].
    ///
    /// ```
    /// use scamp_proto::mp::Encoding;
    ///
    /// assert_eq!(Encoding::sniff(b"{"), Ok(None));
    /// assert_eq!(Encoding::sniff(b"{\"Meta\":8"), Ok(Some(Encoding::Json)));
    /// assert_eq!(Encoding::sniff(b"\x48\xff"), Ok(Some(Encoding::Gob)));
    /// assert!(Encoding::sniff(b"GET / HTTP/1.1").is_err());
    /// ```
    pub fn sniff(begin: &[u8]) -> Result<Option<Self>, DecodeError> {
        match *begin {
            [] => Ok(None),
            [0x80..=0xff, ..] | [_, 0x7f..=0xff, ..] => Ok(Some(Self::Gob)),
            [_] => Ok(None),
            [b'\t' | b'\n' | b'\r' | b' ' | b'{', ..] => Ok(Some(Self::Json)),
            [0x16, 0x03, ..] => Err(DecodeError::TlsOnPlainPort),
            [..] => Err(DecodeError::UnknownFormat),
        }
    }
}

/// What a decoder accepts at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeLimits {
    /// Octets of a payload.
    pub payload: usize,
    /// Brackets open at once in a JSON value.
    pub json_depth: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            payload: MP_MESSAGE_MOST,
            json_depth: MP_JSON_DEPTH,
        }
    }
}

impl DecodeLimits {
    /// The longest value or block, in octets (MP-15, mp.md §12).
    pub(super) fn frame(&self, encoding: Encoding) -> usize {
        let payload = match encoding {
            Encoding::Json => self.payload.saturating_mul(4) / 3,
            Encoding::Gob => self.payload,
        };
        payload.saturating_add(MP_FRAME)
    }
}

/// A stream's octets to messages (MP-130).
///
/// However the octets are cut, the messages are the same. It never looks at an octet twice to find
/// the end of a message (MP-14), and takes memory only for what has arrived (MP-39).
///
/// ```
/// use scamp_proto::mp::{DecodeLimits, Decoder, Encoding, Meta};
///
/// let mut decoder = Decoder::new(Encoding::Json, DecodeLimits::default());
/// let mut octets = &br#"{"Meta":5,"OtherClient":"al"} {"Me"#[..];
/// let syn = decoder.decode(&mut octets)?.expect("a whole message");
/// assert_eq!((syn.meta, &*syn.other_client), (Meta::CONN_SYN, "al"));
/// assert_eq!(decoder.decode(&mut octets)?, None);
/// assert!(octets.is_empty() && !decoder.is_between());
/// # Ok::<(), scamp_proto::mp::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Decoder(Kind);

#[derive(Debug)]
enum Kind {
    Json(json::Decoder),
    Gob(gob::Decoder),
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new(encoding: Encoding, limits: DecodeLimits) -> Self {
        Self(match encoding {
            Encoding::Json => Kind::Json(json::Decoder::new(limits)),
            Encoding::Gob => Kind::Gob(gob::Decoder::new(limits)),
        })
    }

    /// Takes octets off the front of `input` up to the end of the next message, or all of them if
    /// no message ends in them.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Malformed`] and [`DecodeError::TooLarge`]; there is no going on after either.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, DecodeError> {
        match &mut self.0 {
            Kind::Json(decoder) => decoder.decode(input),
            Kind::Gob(decoder) => decoder.decode(input),
        }
    }

    /// Whether the octets so far end where a message, or a definition, does: a stream may end here.
    pub fn is_between(&self) -> bool {
        match &self.0 {
            Kind::Json(decoder) => decoder.is_between(),
            Kind::Gob(decoder) => decoder.is_between(),
        }
    }

    /// How many octets were taken off the stream so far.
    pub fn offset(&self) -> u64 {
        match &self.0 {
            Kind::Json(decoder) => decoder.offset(),
            Kind::Gob(decoder) => decoder.offset(),
        }
    }

    /// Where in the stream the last message began, or what is not complete, or is malformed; a gob
    /// definition is not part of a message.
    pub fn message_offset(&self) -> u64 {
        match &self.0 {
            Kind::Json(decoder) => decoder.begin(),
            Kind::Gob(decoder) => decoder.begin(),
        }
    }

    /// What it speaks.
    pub fn encoding(&self) -> Encoding {
        match &self.0 {
            Kind::Json(_) => Encoding::Json,
            Kind::Gob(_) => Encoding::Gob,
        }
    }
}

/// Messages to a stream's octets (MP-130).
///
/// Long payloads are lent, and come out in pieces of about [`TURN`] octets, so that a
/// message of any length needs no memory beside its own.
///
/// ```
/// use scamp_proto::Outbox;
/// use scamp_proto::mp::{Data, Encoder, Encoding, Message, Meta};
///
/// let mut encoder = Encoder::new(Encoding::Json);
/// let mut out = Outbox::default();
/// let hello = Message::new(Meta::NONE, "bob", "al:0", Data::from("hi"));
/// encoder.encode(&hello, &mut out);
/// let json = br#"{"Meta":0,"OtherClient":"bob","ConnectionID":"al:0","Data":"aGk="}"#;
/// assert_eq!(out.take_all(), [&json[..], b"\n"].concat());
/// ```
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    /// Whether the gob definition has been written.
    is_defined: bool,
    /// What is left of the message that was begun.
    rest: Option<Rest>,
}

/// The end of a message.
#[derive(Debug)]
struct Rest {
    data: Bytes,
    /// Whether `data` leaves as base64.
    as_base64: bool,
    close: &'static [u8],
}

impl Encoder {
    /// An encoder at the beginning of a stream.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            is_defined: false,
            rest: None,
        }
    }

    /// What it speaks.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Writes a whole message, however long.
    pub fn encode(&mut self, message: &Message, out: &mut Outbox) {
        while self.go_on(out) {}
        self.begin(message, out);
        while self.go_on(out) {}
    }

    /// Writes the beginning of a message, if nothing is left of another.
    pub(super) fn begin(&mut self, message: &Message, out: &mut Outbox) {
        debug_assert!(self.rest.is_none(), "one message at a time");
        let (data, as_base64, close) = match (self.encoding, &message.data) {
            (Encoding::Json, Data::Absent) => (Bytes::new(), false, &b"null}\n"[..]),
            (Encoding::Json, Data::Octets(octets)) => (octets.clone(), true, &b"\"}\n"[..]),
            (Encoding::Json, Data::Base64(text)) => (text.as_bytes().clone(), false, &b"\"}\n"[..]),
            (Encoding::Gob, data) => (data.to_bytes(), false, &b"\0"[..]),
        };
        out.append_with(|out| match self.encoding {
            Encoding::Json => json::write_head(message, out),
            Encoding::Gob => {
                if !core::mem::replace(&mut self.is_defined, true) {
                    out.extend_from_slice(&gob::DEFINITION);
                }
                gob::write_head(message, data.len(), out);
            }
        });
        if data.is_empty() {
            out.put(close);
        } else {
            self.rest = Some(Rest {
                data,
                as_base64,
                close,
            });
        }
    }

    /// Writes more of the message that was begun; `false` if nothing is left of it.
    pub(super) fn go_on(&mut self, out: &mut Outbox) -> bool {
        let Some(rest) = &mut self.rest else {
            return false;
        };
        // Divisible by three, so that only the last piece of base64 is padded.
        let piece = rest.data.split_to(rest.data.len().min(PIECE));
        match rest.as_base64 {
            true => out.append_with(|out| {
                let from = out.len();
                out.resize(from + piece.len().div_ceil(3) * 4, 0);
                let room = out.get_mut(from..).unwrap_or_default();
                // The room is exactly as long as what is written.
                let _ = LENIENT.encode_slice(&piece, room);
            }),
            false => out.lend(piece),
        }
        if rest.data.is_empty() {
            out.put(rest.close);
            self.rest = None;
        }
        true
    }

    /// Whether the message that was begun is written whole.
    pub(super) fn is_between(&self) -> bool {
        self.rest.is_none()
    }
}

/// Octets of a payload that are written at once.
const PIECE: usize = TURN / 12 * 9;

/// A message encoded beforehand in both encodings, for many streams (MP-136).
#[derive(Clone, Debug)]
pub(super) struct Notice {
    json: Bytes,
    gob: Bytes,
}

impl Notice {
    pub(super) fn new(message: &Message) -> Self {
        let mut out = Outbox::default();
        Encoder::new(Encoding::Json).encode(message, &mut out);
        let json = out.take_all().into();
        let mut encoder = Encoder::new(Encoding::Gob);
        // It is never the first of its stream.
        encoder.is_defined = true;
        encoder.encode(message, &mut out);
        let gob = out.take_all().into();
        Self { json, gob }
    }

    pub(super) fn octets(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Json => &self.json,
            Encoding::Gob => &self.gob,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.json.len()
    }
}

/// A queue of things to send over one stream, with what they cost.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items: VecDeque<(T, usize)>,
    cost: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            cost: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, item: T, cost: usize) {
        self.items.push_back((item, cost));
        self.cost += cost;
    }

    pub(super) fn pop(&mut self) -> Option<(T, usize)> {
        let (item, cost) = self.items.pop_front()?;
        self.cost -= cost;
        // An idle stream owns no memory.
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        Some((item, cost))
    }

    /// What all of it costs together.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        self.items.retain(|(item, _)| wanted(item));
        self.cost = self.items.iter().map(|(_, cost)| cost).sum();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The four fields as a decoder finds them, in its input where they can be.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) meta: u8,
    pub(super) other_client: Field<'a>,
    pub(super) connection_id: Field<'a>,
    pub(super) data: FieldData<'a>,
}

/// Octets of a field.
#[derive(Debug)]
pub(super) enum Field<'a> {
    /// In the input.
    Lent(&'a [u8]),
    /// Not as they stand there.
    Own(Vec<u8>),
}

impl Default for Field<'_> {
    fn default() -> Self {
        Self::Lent(&[])
    }
}

impl Field<'_> {
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Lent(octets) => octets,
            Self::Own(octets) => octets,
        }
    }
}

/// A payload as a decoder finds it.
#[derive(Debug, Default)]
pub(super) enum FieldData<'a> {
    #[default]
    Absent,
    Octets(Field<'a>),
    Base64(Field<'a>),
}
