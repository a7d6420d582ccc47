//! Frames and what they hold; nothing is kept between calls.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::error::SendError;
use super::id::{PeerId, TopicId};
use crate::Outbox;
use crate::limits::{WADDELL_BODY, WADDELL_FRAME};

/// Octets before a body: an id and a topic. Content that is shorter holds no message.
pub const HEAD: usize = PeerId::LEN + TopicId::LEN;

/// Octets before a content: its length, the least significant first (WD-1).
pub const LENGTH: usize = 2;

/// The frame by which a peer says that it is still there (WD-54).
pub const KEEPALIVE: [u8; 3] = [1, 0, b'k'];

/// What a frame's content means.
///
/// A server sends no keepalive, so a client takes one for malformed (WD-57).
///
/// ```
/// use scamp_proto::waddell::Content;
///
/// assert_eq!(Content::decode(b"k"), Content::Keepalive);
/// assert_eq!(Content::decode(b"kk"), Content::Malformed);
/// ```
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Content<'a> {
    /// The single octet `k`.
    Keepalive,
    /// A message, or, as the first content from a server, the assignment of an id (WD-6).
    Message {
        /// To whom, on the way to the server; from whom, on the way to a peer.
        id: PeerId,
        /// What it is about.
        topic: TopicId,
        /// The rest.
        body: &'a [u8],
    },
    /// Anything else; 16 and 17 octets, too, which have no whole topic (WD-33).
    Malformed,
}

impl<'a> Content<'a> {
    /// What this content means.
    pub fn decode(content: &'a [u8]) -> Self {
        if content == b"k" {
            return Self::Keepalive;
        }
        let Some((id, rest)) = content.split_first_chunk() else {
            return Self::Malformed;
        };
        let Some((topic, body)) = rest.split_first_chunk() else {
            return Self::Malformed;
        };
        Self::Message {
            id: PeerId::from_octets(*id),
            topic: TopicId(u16::from_le_bytes(*topic)),
            body,
        }
    }
}

/// Bodies are not shown (HD-12).
impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keepalive => f.write_str("Keepalive"),
            Self::Message { id, topic, body } => write!(f, "{id} {topic}, {} octets", body.len()),
            Self::Malformed => f.write_str("Malformed"),
        }
    }
}

/// A message on its way: an id, a topic and a body of at most 65 517 octets (WD-10).
///
/// On its way to the server the id is the recipient's; there it is replaced by the sender's, so that
/// a sender cannot be forged (WD-30).
///
/// # Example
///
/// ```
/// use scamp_proto::Outbox;
/// use scamp_proto::waddell::{Frame, PeerId, TopicId};
///
/// let to = PeerId::from_octets([7; 16]);
/// let frame = Frame::message(to, TopicId(258), &[b"Hel", b"lo"])?;
/// assert_eq!(frame.body(), b"Hello");
/// let mut out = Outbox::default();
/// frame.encode(&mut out);
/// assert_eq!(out.take_all(), [&[23, 0][..], &[7; 16], &[2, 1], b"Hello"].concat());
/// # Ok::<(), scamp_proto::waddell::SendError>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Frame {
    /// At least [`HEAD`] octets, in memory of just that size.
    content: Vec<u8>,
}

impl Frame {
    /// A message whose body is all `parts` joined.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLong`] if that is more than 65 517 octets (WD-52).
    pub fn message(id: PeerId, topic: TopicId, parts: &[&[u8]]) -> Result<Self, SendError> {
        let len = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if len > WADDELL_BODY {
            return Err(SendError::TooLong(len));
        }
        let mut content = Vec::with_capacity(HEAD + len);
        content.extend_from_slice(&id.octets());
        content.extend_from_slice(&topic.0.to_le_bytes());
        for part in parts {
            content.extend_from_slice(part);
        }
        Ok(Self { content })
    }

    /// What a server sends first: the peer's own id, topic 0 and no body (WD-20).
    pub fn assignment(id: PeerId) -> Self {
        let content = [&id.octets()[..], &TopicId::UNKNOWN.0.to_le_bytes()].concat();
        Self { content }
    }

    /// The message that is this content, if it is one; copied only if it is borrowed (WD-126).
    pub fn from_content(content: Cow<'_, [u8]>) -> Option<Self> {
        let fits = (HEAD..=WADDELL_FRAME).contains(&content.len());
        fits.then(|| Self {
            content: content.into_owned(),
        })
    }

    /// Whom it is to, or from.
    pub fn id(&self) -> PeerId {
        let id = self.content.first_chunk().copied();
        PeerId::from_octets(id.unwrap_or_default())
    }

    /// Replaces the id: 16 octets are overwritten, whatever the body's length.
    pub fn set_id(&mut self, id: PeerId) {
        if let Some(place) = self.content.first_chunk_mut() {
            *place = id.octets();
        }
    }

    /// What it is about.
    pub fn topic(&self) -> TopicId {
        let topic = self
            .content
            .get(PeerId::LEN..)
            .and_then(<[u8]>::first_chunk);
        TopicId(u16::from_le_bytes(topic.copied().unwrap_or_default()))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.content.get(HEAD..).unwrap_or_default()
    }

    /// Octets on the wire: its length, id, topic and body.
    pub fn wire_len(&self) -> usize {
        LENGTH + self.content.len()
    }

    /// Adds it to what is to leave, its length and content together (WD-3).
    pub fn encode(self, out: &mut Outbox) {
        let len = u16::try_from(self.content.len()).expect("no constructor makes a longer one");
        out.put(&len.to_le_bytes());
        out.lend(Bytes::from(self.content));
    }

    /// What a peer is given that receives it. The body is not copied (WD-56).
    pub(super) fn into_message(self) -> Message {
        let (from, topic) = (self.id(), self.topic());
        let mut body = Bytes::from(self.content);
        let body = body.split_off(HEAD.min(body.len()));
        Message { from, topic, body }
    }
}

/// Bodies are not shown (HD-12).
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, topic, len) = (self.id(), self.topic(), self.body().len());
        write!(f, "Frame({id} {topic}, {len} octets)")
    }
}

/// A message that has arrived.
#[derive(Clone, Eq, PartialEq)]
pub struct Message {
    /// Who sent it; the server vouches for that (WD-30).
    pub from: PeerId,
    /// What it is about.
    pub topic: TopicId,
    /// At most 65 517 octets, uninterpreted (WD-5).
    pub body: Bytes,
}

/// Bodies are not shown (HD-12).
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, topic, body } = self;
        write!(f, "Message(from {from} {topic}, {} octets)", body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    const ID: PeerId = PeerId::from_octets([9; 16]);

    /// WD-10, WD-52, defect 12: a body has 65 517 octets, not 65 515; one more is refused.
    #[test]
    fn wd_10_longest_body() {
        let body = vec![b'x'; WADDELL_BODY + 1];
        let (most, last) = body.split_at(WADDELL_BODY);
        let frame = Frame::message(ID, TopicId(1), &[most]).unwrap();
        assert_eq!(frame.wire_len(), 65_537);
        let mut out = Outbox::default();
        frame.encode(&mut out);
        assert_eq!(out.take_all()[..2], [0xff, 0xff]);
        let refused = Frame::message(ID, TopicId(1), &[most, last]);
        assert_eq!(refused, Err(SendError::TooLong(65_518)));
    }

    /// WD-33, defect 3: 16 and 17 octets have no whole topic and are no message.
    #[test]
    fn wd_33_lengths() {
        for len in 0..40 {
            let content = vec![b'k'; len];
            let is_message = matches!(Content::decode(&content), Content::Message { .. });
            assert_eq!(is_message, len >= 18, "{len}");
            assert_eq!(Content::decode(&content) == Content::Keepalive, len == 1);
            assert_eq!(Frame::from_content(content.into()).is_some(), len >= 18);
        }
        assert_eq!(Content::decode(b"K"), Content::Malformed);
    }

    /// HD-12: no body is shown.
    #[test]
    fn bodies_are_not_shown() {
        let frame = Frame::message(ID, TopicId(1), &[b"secret"]).unwrap();
        let shown = std::format!("{frame:?} {:?}", Content::decode(&frame.content));
        let shown = std::format!("{shown} {:?}", frame.into_message());
        assert!(
            !shown.contains("secret") && !shown.contains("115"),
            "{shown}"
        );
    }

    proptest! {
        /// WD-1, WD-4, WD-5: what is written is what is read, whatever topic and body; and the body
        /// of a message may be a `k`.
        #[test]
        fn wd_4_there_and_back(
            id in any::<[u8; 16]>(),
            other in any::<[u8; 16]>(),
            topic in any::<u16>(),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        ) {
            let (id, topic) = (PeerId::from_octets(id), TopicId(topic));
            let borrowed: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let mut frame = Frame::message(id, topic, &borrowed).unwrap();
            let joined = parts.concat();
            prop_assert_eq!((frame.id(), frame.topic()), (id, topic));
            let mut out = Outbox::default();
            frame.clone().encode(&mut out);
            let wire = out.take_all();
            prop_assert_eq!(wire.len(), frame.wire_len());
            let expected = Content::Message { id, topic, body: &joined };
            prop_assert_eq!(Content::decode(&wire[LENGTH..]), expected);
            frame.set_id(PeerId::from_octets(other));
            let message = frame.into_message();
            prop_assert_eq!(message.from.octets(), other);
            prop_assert_eq!((message.topic, &message.body[..]), (topic, &joined[..]));
        }
    }
}
