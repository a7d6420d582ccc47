//! Received messages, sorted by topic.

use alloc::collections::{BTreeMap, VecDeque};

use super::frame::Message;
use super::id::TopicId;
use crate::limits;

/// The settings of [`Inboxes`].
#[derive(Clone, Debug)]
pub struct InboxConfig {
    /// Messages that wait for the reader of one topic (WD-81).
    pub topic_messages: usize,
    /// Octets of their bodies, or one message (WD-81).
    pub topic_queue: usize,
    /// Messages kept of a topic that nobody has opened yet (WD-82).
    pub unopened_messages: usize,
    /// Octets of their bodies, or one message (WD-82).
    pub unopened_queue: usize,
    /// Topics that nobody has opened of which something is kept (WD-82).
    pub unopened_topics: usize,
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self {
            topic_messages: limits::WADDELL_TOPIC_MESSAGES,
            topic_queue: limits::WADDELL_TOPIC_QUEUE,
            unopened_messages: limits::WADDELL_UNOPENED_MESSAGES,
            unopened_queue: limits::WADDELL_UNOPENED_QUEUE,
            unopened_topics: limits::WADDELL_UNOPENED_TOPICS,
        }
    }
}

/// Received messages by topic, each with a bound of its own, so that no topic waits for another.
///
/// A message that finds its topic's inbox full is dropped and counted (WD-81). What comes before a
/// topic is opened is kept, up to a smaller bound, so that a reader that opens late misses nothing
/// of the beginning (WD-82).
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use scamp_proto::waddell::{Inboxes, Message, PeerId, Put, TopicId};
///
/// let mut inboxes = Inboxes::default();
/// let (from, topic) = (PeerId::from_octets([7; 16]), TopicId(1));
/// let message = Message { from, topic, body: Bytes::from_static(b"early") };
/// assert_eq!(inboxes.put(message.clone()), Put::Kept);
/// inboxes.open(topic);
/// assert_eq!(inboxes.take(topic), Some(message));
/// assert_eq!(inboxes.take(topic), None);
/// ```
#[derive(Debug, Default)]
pub struct Inboxes {
    config: InboxConfig,
    topics: BTreeMap<TopicId, Inbox>,
    /// How many of `topics` nobody has opened.
    unopened: usize,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Inbox {
    is_open: bool,
    messages: VecDeque<Message>,
    /// Octets of their bodies.
    octets: usize,
    dropped: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Put {
    /// It waits for a reader, who had nothing before.
    First,
    /// It waits behind others.
    More,
    /// It waits until somebody opens the topic.
    Kept,
    /// There was no room for it.
    Dropped,
}

impl Inboxes {
    /// Inboxes with these bounds.
    pub fn new(config: InboxConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Opens a topic; one that is open stays as it is (WD-83).
    pub fn open(&mut self, topic: TopicId) {
        let inbox = self.topics.entry(topic).or_insert_with(|| {
            self.unopened += 1;
            Inbox::default()
        });
        if !inbox.is_open {
            inbox.is_open = true;
            self.unopened -= 1;
        }
    }

    /// Forgets a topic that nobody reads any more, and what waits in it.
    pub fn shut(&mut self, topic: TopicId) {
        if let Some(inbox) = self.topics.remove(&topic) {
            self.unopened -= usize::from(!inbox.is_open);
        }
    }

    /// Puts a message into its topic's inbox, if there is room.
    pub fn put(&mut self, message: Message) -> Put {
        let config = &self.config;
        let inbox = match self.topics.get_mut(&message.topic) {
            Some(inbox) => inbox,
            None if self.unopened >= config.unopened_topics => {
                self.dropped = self.dropped.saturating_add(1);
                return Put::Dropped;
            }
            None => {
                self.unopened += 1;
                self.topics.entry(message.topic).or_default()
            }
        };
        let (messages, octets) = match inbox.is_open {
            true => (config.topic_messages, config.topic_queue),
            false => (config.unopened_messages, config.unopened_queue),
        };
        let sum = inbox.octets + message.body.len();
        let first = inbox.messages.is_empty();
        if inbox.messages.len() >= messages || (sum > octets && !first) {
            inbox.dropped = inbox.dropped.saturating_add(1);
            self.dropped = self.dropped.saturating_add(1);
            return Put::Dropped;
        }
        inbox.octets = sum;
        inbox.messages.push_back(message);
        match (inbox.is_open, first) {
            (false, _) => Put::Kept,
            (true, true) => Put::First,
            (true, false) => Put::More,
        }
    }

    /// Whether a message would find room.
    pub fn has_room(&self, message: &Message) -> bool {
        let Some(inbox) = self
            .topics
            .get(&message.topic)
            .filter(|inbox| inbox.is_open)
        else {
            return false;
        };
        let sum = inbox.octets + message.body.len();
        inbox.messages.is_empty()
            || (inbox.messages.len() < self.config.topic_messages && sum <= self.config.topic_queue)
    }

    /// Takes the oldest message of an open topic.
    pub fn take(&mut self, topic: TopicId) -> Option<Message> {
        let inbox = self.topics.get_mut(&topic).filter(|inbox| inbox.is_open)?;
        let message = inbox.messages.pop_front()?;
        inbox.octets -= message.body.len();
        if inbox.messages.is_empty() && inbox.messages.capacity() > IDLE {
            inbox.messages = VecDeque::new();
        }
        Some(message)
    }

    /// Whether a topic is open.
    pub fn is_open(&self, topic: TopicId) -> bool {
        self.topics.get(&topic).is_some_and(|inbox| inbox.is_open)
    }

    /// Messages that wait for the reader of a topic.
    pub fn waiting(&self, topic: TopicId) -> usize {
        self.topics
            .get(&topic)
            .map_or(0, |inbox| inbox.messages.len())
    }

    /// Messages of a topic that were dropped for want of room.
    pub fn dropped(&self, topic: TopicId) -> u64 {
        self.topics.get(&topic).map_or(0, |inbox| inbox.dropped)
    }

    /// Messages of all topics that were dropped for want of room.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped
    }
}

/// Places an empty inbox keeps.
const IDLE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waddell::PeerId;
    use bytes::Bytes;
    use std::vec;
    use std::vec::Vec;

    fn message(topic: u16, len: usize) -> Message {
        Message {
            from: PeerId::from_octets([1; 16]),
            topic: TopicId(topic),
            body: Bytes::from(vec![b'x'; len]),
        }
    }

    /// WD-81, defect 6: a full topic drops what is new, and no other topic waits for it.
    #[test]
    fn wd_81_no_topic_waits_for_another() {
        let mut inboxes = Inboxes::default();
        inboxes.open(TopicId(1));
        inboxes.open(TopicId(2));
        let put: Vec<_> = (0..300).map(|len| inboxes.put(message(1, len))).collect();
        assert_eq!(put[0], Put::First);
        assert!(put[1..256].iter().all(|put| *put == Put::More));
        assert!(put[256..].iter().all(|put| *put == Put::Dropped));
        assert_eq!(inboxes.dropped(TopicId(1)), 44);
        assert_eq!(inboxes.put(message(2, 9)), Put::First);
        assert_eq!(inboxes.take(TopicId(2)).unwrap().body.len(), 9);
        let kept: Vec<_> = core::iter::from_fn(|| inboxes.take(TopicId(1))).collect();
        let lens: Vec<_> = kept.iter().map(|message| message.body.len()).collect();
        assert_eq!(lens, (0..256).collect::<Vec<_>>(), "the oldest, in order");
        assert_eq!(inboxes.put(message(1, 0)), Put::First);
        assert_eq!(inboxes.dropped(TopicId(2)), 0);

        // A mebibyte in all, or one message whatever its size.
        let fit = (0..100)
            .filter(|_| inboxes.put(message(3, 0)) == Put::Kept)
            .count();
        assert_eq!(fit, 16);
        let fit = (0..100)
            .filter(|_| inboxes.put(message(2, 65_517)) != Put::Dropped)
            .count();
        assert_eq!(fit, 16);
        let mut narrow = Inboxes::new(InboxConfig {
            topic_queue: 1,
            ..InboxConfig::default()
        });
        narrow.open(TopicId(1));
        assert_eq!(narrow.put(message(1, 9)), Put::First);
        assert_eq!(narrow.put(message(1, 9)), Put::Dropped);
    }

    /// WD-82, defect 5: what comes before a topic is opened is kept, within bounds, and counted
    /// beyond them.
    #[test]
    fn wd_82_what_comes_first_is_kept() {
        let mut inboxes = Inboxes::default();
        for topic in 0..64 {
            for len in 0..16 {
                assert_eq!(inboxes.put(message(topic, len)), Put::Kept);
            }
            assert_eq!(inboxes.put(message(topic, 0)), Put::Dropped);
        }
        assert_eq!(inboxes.put(message(64, 0)), Put::Dropped, "the 65th topic");
        assert_eq!(inboxes.dropped_in_all(), 65);
        inboxes.open(TopicId(5));
        assert_eq!(inboxes.put(message(5, 99)), Put::More);
        for len in (0..16).chain([99]) {
            assert_eq!(inboxes.take(TopicId(5)).unwrap().body.len(), len);
        }
        assert_eq!(
            inboxes.put(message(64, 0)),
            Put::Kept,
            "there is a place again"
        );

        let mut inboxes = Inboxes::default();
        assert_eq!(inboxes.put(message(1, 60_000)), Put::Kept);
        assert_eq!(inboxes.put(message(1, 6_000)), Put::Dropped);
        assert_eq!(inboxes.put(message(1, 5_000)), Put::Kept);
    }

    /// WD-83: a topic opened twice is one; a topic that is shut is as if it had never been opened.
    #[test]
    fn wd_83_one_and_only() {
        let mut inboxes = Inboxes::default();
        inboxes.open(TopicId(1));
        inboxes.put(message(1, 1));
        inboxes.put(message(1, 2));
        inboxes.open(TopicId(1));
        assert_eq!(inboxes.waiting(TopicId(1)), 2);
        assert_eq!(inboxes.take(TopicId(1)).unwrap().body.len(), 1);
        inboxes.shut(TopicId(1));
        assert!(!inboxes.is_open(TopicId(1)) && inboxes.waiting(TopicId(1)) == 0);
        assert_eq!(inboxes.put(message(1, 3)), Put::Kept);
        inboxes.shut(TopicId(1));
        inboxes.shut(TopicId(2));
        assert_eq!(inboxes.unopened, 0);
    }
}
