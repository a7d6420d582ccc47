//! One reading of the cache file, compared with what was known before (D-31, D-35).

use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Piece, Splitter};
use crate::auth::Verify;
use crate::discovery::announcement::Certificates;
use crate::discovery::known::Digest;
use crate::discovery::{Announcement, AnnouncementError, Event, Instance, Unverified};

/// What the cache file said, and what of it was good.
#[derive(Clone, Debug, Default)]
pub struct Content {
    records: Vec<Record>,
}

#[derive(Clone, Debug)]
enum Record {
    /// The text of its own only where the announcement left some of it out.
    Good(Arc<Instance>, Option<Box<[u8]>>),
    /// Kept, so that a bad signature is not verified each time again (N-57).
    Bad(Box<[u8]>, AnnouncementError),
}

impl Content {
    /// That of a file which was never read.
    pub fn new() -> Self {
        Self::default()
    }

    /// The services listed, in the order of the file; those that have withdrawn, too.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.records().filter_map(Result::ok)
    }

    /// The records in the order of the file, each text once: a service, or what is wrong with it.
    pub fn records(&self) -> impl Iterator<Item = Result<&Arc<Instance>, AnnouncementError>> {
        self.records.iter().map(|record| match record {
            Record::Good(instance, _) => Ok(instance),
            Record::Bad(_, error) => Err(*error),
        })
    }

    /// How many records there are, bad ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Record {
    fn text(&self) -> &[u8] {
        match self {
            Self::Good(_, Some(text)) => text,
            Self::Good(instance, None) => {
                let text = instance
                    .announcement()
                    .map(|announcement| announcement.text());
                text.unwrap_or_default().as_bytes()
            }
            Self::Bad(text, _) => text,
        }
    }
}

/// The cache file while it is read.
///
/// Texts that were there before are found again by comparing, and cost nothing more. The others are
/// verified by [`finish`](Self::finish), which holds no lock and needs nothing but what it is given
/// (D-7, D-35, HD-38).
///
/// # Example
///
/// ```
/// use scamp_proto::auth::{Padding, PublicKey, Verify};
/// use scamp_proto::discovery::cache_file::{Content, Reading};
///
/// # struct Trusting;
/// # impl Verify for Trusting {
/// #     fn verify(&self, _: &PublicKey<'_>, _: Padding, _: &[u8], _: &[u8]) -> bool {
/// #         true
/// #     }
/// # }
/// # let rsa = Trusting;
/// let file = [b"\n%%%\n", &include_bytes!("../../../tests/data/e13.txt")[..]].concat();
/// let before = Content::new();
/// let mut reading = Reading::new(&before);
/// reading.feed(&file);
/// let content = reading.finish(&rsa, false, &mut |event| println!("{event}"));
/// let content = content.expect("there is a record that was not there before");
/// assert_eq!(content.instances().count(), 1);
///
/// let mut reading = Reading::new(&content);
/// reading.feed(&file);
/// assert!(reading.finish(&rsa, false, &mut |event| println!("{event}")).is_none());
/// ```
#[derive(Debug)]
pub struct Reading<'a> {
    splitter: Splitter,
    found: Found<'a>,
}

/// What was found so far.
#[derive(Debug)]
struct Found<'a> {
    before: &'a Content,
    parts: Vec<Part>,
    /// Which record is expected next, since files change little.
    next: usize,
    /// Which records were found again.
    again: Vec<bool>,
    /// The records by their texts, once one was not the expected.
    by_text: Option<BTreeMap<&'a [u8], usize>>,
    /// The texts that are new, in the order of their parts.
    new: Vec<Box<[u8]>>,
    /// How they end, which is where their signatures differ.
    tails: BTreeMap<[u8; TAIL], Same>,
    events: Vec<Event>,
}

/// New texts that end alike.
#[derive(Debug)]
enum Same {
    /// Which of them.
    One(usize),
    Many(BTreeSet<Digest>),
}

#[derive(Debug)]
enum Part {
    /// A record known before.
    Kept(usize),
    /// A new one, of this index in the file.
    New(usize),
}

impl<'a> Reading<'a> {
    /// Begins to read a file that said `before` what it did.
    pub fn new(before: &'a Content) -> Self {
        Self {
            splitter: Splitter::new(),
            found: Found {
                before,
                parts: Vec::with_capacity(before.len()),
                next: 0,
                again: alloc::vec![false; before.len()],
                by_text: None,
                new: Vec::new(),
                tails: BTreeMap::new(),
                events: Vec::new(),
            },
        }
    }

    /// Where to read the file's next octets to; see [`Splitter::room`].
    pub fn room(&mut self) -> &mut [u8] {
        self.splitter.room()
    }

    /// Takes the first `len` octets of [`room`](Self::room).
    pub fn filled(&mut self, len: usize) {
        let Self { splitter, found } = self;
        splitter.add(len);
        while let Some(expected) = found.before.records.get(found.next) {
            if !splitter.pass(expected.text()) {
                break;
            }
            found.keep(found.next);
        }
        splitter.search_on(&mut |piece| found.take(piece));
    }

    /// Takes the file's next octets.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let room = self.room();
            let len = octets.len().min(room.len());
            let (first, rest) = octets.split_at_checked(len).unwrap_or((octets, b""));
            if let Some(room) = room.get_mut(..len) {
                room.copy_from_slice(first);
            }
            self.filled(len);
            octets = rest;
        }
    }

    /// Verifies what is new, and returns what the file says now; `None` if that is what it said
    /// before.
    ///
    /// `accept_pss` is `discovery.accept_pss` (D-8).
    pub fn finish(
        self,
        verify: &dyn Verify,
        accept_pss: bool,
        on_event: &mut dyn FnMut(Event),
    ) -> Option<Content> {
        let Self {
            splitter,
            mut found,
        } = self;
        splitter.finish(&mut |piece| found.take(piece));
        found.events.drain(..).for_each(&mut *on_event);
        let is_same = found.new.is_empty()
            && found.parts.len() == found.before.len()
            && (0..)
                .zip(&found.parts)
                .all(|(at, part)| matches!(part, Part::Kept(own) if *own == at));
        if is_same {
            return None;
        }
        let mut new = found.new.into_iter();
        let mut certificates = Certificates::default();
        let mut records = Vec::with_capacity(found.parts.len());
        for part in found.parts {
            match part {
                Part::Kept(at) => records.extend(found.before.records.get(at).cloned()),
                Part::New(index) => {
                    let Some(text) = new.next() else {
                        continue;
                    };
                    records.push(
                        match read_record(&text, &mut certificates, verify, accept_pss) {
                            Ok(announcement) => {
                                tell_oddities(&announcement, on_event);
                                let is_whole = announcement.text().len() == text.len();
                                Record::Good(
                                    Arc::new(Instance::from_cache(Arc::new(announcement))),
                                    (!is_whole).then_some(text),
                                )
                            }
                            Err(error) => {
                                // A later version is nobody's fault (D-15).
                                if !matches!(error, AnnouncementError::TooNew(_)) {
                                    on_event(Event::BadRecord { index, error });
                                }
                                Record::Bad(text, error)
                            }
                        },
                    );
                }
            }
        }
        Some(Content { records })
    }
}

impl Found<'_> {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Record(index, text) => self.take_record(index, text),
            Piece::TooLong(index) => self.events.push(Event::BadRecord {
                index,
                error: AnnouncementError::TooLong,
            }),
            Piece::Stray(octets) => self.events.push(Event::StrayText { octets }),
            Piece::LimitHit(name, value) => self.events.push(Event::LimitHit(name, value)),
        }
    }

    fn take_record(&mut self, index: usize, text: &[u8]) {
        let expected = self.before.records.get(self.next);
        let known = match expected.is_some_and(|record| record.text() == text) {
            true => Some(self.next),
            false => self.look_up(text),
        };
        match known {
            Some(at) => self.keep(at),
            None if self.is_repeat(text) => {}
            None => {
                self.new.push(text.into());
                self.parts.push(Part::New(index));
            }
        }
    }

    /// Notes that a record known before is there again; exact duplicates count once.
    fn keep(&mut self, at: usize) {
        self.next = at.saturating_add(1);
        let again = self.again.get_mut(at);
        if again.is_some_and(|again| !core::mem::replace(again, true)) {
            self.parts.push(Part::Kept(at));
        }
    }

    /// Whether this is one of the new texts again; if not, it is from now on.
    fn is_repeat(&mut self, text: &[u8]) -> bool {
        let tail = *text.trim_ascii_end().last_chunk().unwrap_or(&[0; TAIL]);
        match self.tails.entry(tail) {
            Entry::Vacant(place) => {
                place.insert(Same::One(self.new.len()));
                false
            }
            Entry::Occupied(place) => {
                let same = place.into_mut();
                if let Same::One(first) = *same {
                    let first = self.new.get(first).map_or(&[][..], |text| text);
                    *same = Same::Many(BTreeSet::from([Digest::of(first)]));
                }
                match same {
                    Same::Many(digests) => !digests.insert(Digest::of(text)),
                    Same::One(_) => false,
                }
            }
        }
    }

    fn look_up(&mut self, text: &[u8]) -> Option<usize> {
        let records = &self.before.records;
        let by_text = self.by_text.get_or_insert_with(|| {
            let texts = records.iter().zip(0..);
            texts.map(|(record, at)| (record.text(), at)).collect()
        });
        by_text.get(text).copied()
    }
}

fn read_record(
    text: &[u8],
    certificates: &mut Certificates,
    verify: &dyn Verify,
    accept_pss: bool,
) -> Result<Announcement, AnnouncementError> {
    let unverified = Unverified::split_with(text, Some(certificates))?;
    match accept_pss {
        false => unverified.verify(verify),
        true => unverified.verify_or_pss(verify),
    }
}

/// Events about what is good but not quite right.
pub(in crate::discovery) fn tell_oddities(
    announcement: &Announcement,
    on_event: &mut dyn FnMut(Event),
) {
    let fingerprint = announcement.fingerprint();
    let identity = || announcement.identity().to_string();
    if let (Some(first), count) = (
        announcement.bad_actions().0.first(),
        announcement.bad_actions().1,
    ) {
        on_event(Event::BadActions {
            fingerprint,
            identity: identity(),
            first: *first,
            count,
        });
    }
    if announcement.has_more() {
        on_event(Event::MoreText {
            fingerprint,
            identity: identity(),
        });
    }
}

/// Octets at the end of a text that tell nearly all texts apart.
const TAIL: usize = 24;
