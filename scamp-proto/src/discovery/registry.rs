//! The services heard on the network, and when each was last heard.
//!
//! A service is its fingerprint and its identity (HD-37). An older announcement of it never takes the
//! place of a newer one; one that is not heard any more is forgotten (D-20…D-24).
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | services | 10 000 | [`SERVICES`] |
//! | services of one certificate | 256 | [`SERVICES_PER_FINGERPRINT`] |
//! | actions of all together | 1 000 000 | [`SERVICE_ACTIONS`] |
//! | octets of their texts | 64 MiB | [`CACHE_WRITTEN`] |
//! | services gone whose last timestamp is remembered | 10 000 | [`REPLAY_MARKS`] |
//!
//! At a limit the newcomer is refused; those accepted stay, so that no flood drives them out.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::time::Duration;

use super::body::Timestamp;
use super::known::Digest;
use super::{Announcement, Instance, UnixTime};
use crate::Instant;
use crate::auth::Fingerprint;
use crate::limits::{
    CACHE_WRITTEN, MIN_TTL, REPLAY_MARK_AGE, REPLAY_MARKS, SERVICE_ACTIONS, SERVICES,
    SERVICES_PER_FINGERPRINT,
};

/// The services heard.
#[derive(Clone, Debug)]
pub struct Registry {
    min_ttl: Duration,
    max_age: Option<Duration>,
    entries: BTreeMap<Key, Entry>,
    per_fingerprint: BTreeMap<Fingerprint, usize>,
    actions: u64,
    octets: usize,
    /// When each entry is forgotten.
    ends: BTreeSet<(Instant, Key)>,
    /// The entries by the datagram that brought them.
    by_datagram: BTreeMap<Digest, Key>,
    /// The last timestamps of services that are gone, and when each is forgotten.
    marks: BTreeMap<Key, (Timestamp, Instant)>,
    mark_ends: BTreeSet<(Instant, Key)>,
}

/// What a service is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    fingerprint: Fingerprint,
    identity: Arc<str>,
}

#[derive(Clone, Debug)]
struct Entry {
    instance: Arc<Instance>,
    announcement: Arc<Announcement>,
    datagram: Option<Digest>,
    end: Instant,
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// A service that was not known.
    Added,
    /// It withdraws a service that was not known.
    Ignored,
    /// The same as before: the service lives.
    Refreshed,
    /// A limit is reached: its key, and its value.
    Refused(&'static str, u64),
    /// A service says something new about itself.
    Replaced,
    /// It is older than one taken before (D-21).
    Replayed,
    /// It is older than `discovery.max_announcement_age` (D-22).
    TooOld,
    /// The service withdrew.
    Withdrawn,
}

impl Change {
    /// Whether the services known, or what is known of them, are others now.
    pub fn is_change(self) -> bool {
        matches!(self, Self::Added | Self::Replaced | Self::Withdrawn)
    }

    /// Whether the announcement was believed, changed anything or not.
    pub fn is_accepted(self) -> bool {
        self.is_change() || matches!(self, Self::Refreshed | Self::Ignored)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(MIN_TTL, None)
    }
}

impl Registry {
    /// A registry of nothing (`discovery.min_ttl`, `discovery.max_announcement_age`).
    pub fn new(min_ttl: Duration, max_age: Option<Duration>) -> Self {
        Self {
            min_ttl,
            max_age,
            entries: BTreeMap::new(),
            per_fingerprint: BTreeMap::new(),
            actions: 0,
            octets: 0,
            ends: BTreeSet::new(),
            by_datagram: BTreeMap::new(),
            marks: BTreeMap::new(),
            mark_ends: BTreeSet::new(),
        }
    }

    /// Takes a verified announcement, which a datagram with this digest brought.
    ///
    /// `wall` is looked at only where there is a limit to an announcement's age.
    pub fn receive(
        &mut self,
        now: Instant,
        wall: UnixTime,
        announcement: Announcement,
        datagram: Option<Digest>,
    ) -> Change {
        self.handle_timeout(now);
        if self.is_too_old(wall, announcement.timestamp()) {
            return Change::TooOld;
        }
        let key = Key {
            fingerprint: announcement.fingerprint(),
            identity: announcement.identity().into(),
        };
        let timestamp = announcement.timestamp();
        let before = self.entries.get(&key);
        let mark = match before {
            Some(entry) => Some(entry.announcement.timestamp()),
            None => self.marks.get(&key).map(|(timestamp, _)| *timestamp),
        };
        if mark.is_some_and(|mark| timestamp < mark) {
            return Change::Replayed;
        }
        if announcement.is_withdrawal() {
            let change = match self.remove(&key) {
                Some(_) => Change::Withdrawn,
                None => Change::Ignored,
            };
            self.mark(now, key, timestamp);
            return change;
        }
        if before.is_some_and(|entry| entry.announcement.text() == announcement.text()) {
            self.refresh(now, &key, datagram);
            return Change::Refreshed;
        }
        if let Some(limit) = self.limit(&key, &announcement, before) {
            return limit;
        }
        let change = match self.remove(&key) {
            Some(_) => Change::Replaced,
            None => Change::Added,
        };
        if let Some((_, end)) = self.marks.remove(&key) {
            self.mark_ends.remove(&(end, key.clone()));
        }
        self.insert(now, key, Arc::new(announcement), datagram);
        change
    }

    /// Takes a datagram whose announcement counts at present, without looking into it.
    ///
    /// Returns the service that lives, or `None` if this is no such datagram.
    pub fn touch(&mut self, now: Instant, datagram: &Digest) -> Option<&Arc<Instance>> {
        self.handle_timeout(now);
        let key = self.by_datagram.get(datagram)?.clone();
        self.refresh(now, &key, None);
        self.entries.get(&key).map(|entry| &entry.instance)
    }

    /// The services, by fingerprint and identity.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.entries.values().map(|entry| &entry.instance)
    }

    /// Their announcements, in the same order.
    pub fn announcements(&self) -> impl Iterator<Item = &Announcement> {
        self.entries.values().map(|entry| &*entry.announcement)
    }

    /// How many services there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the next service is forgotten, unless it is heard before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = [self.ends.first(), self.mark_ends.first()];
        ends.into_iter().flatten().map(|(end, _)| *end).min()
    }

    /// Forgets those not heard for too long, and says whether there were any (D-22).
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((end, key)) = self.ends.first().filter(|(end, _)| *end <= now) {
            let (end, key) = (*end, key.clone());
            any = true;
            match self.remove(&key) {
                Some(entry) => self.mark(now, key, entry.announcement.timestamp()),
                None => {
                    self.ends.remove(&(end, key));
                }
            }
        }
        while let Some((end, key)) = self.mark_ends.first().filter(|(end, _)| *end <= now) {
            let mark = (*end, key.clone());
            self.marks.remove(&mark.1);
            self.mark_ends.remove(&mark);
        }
        any
    }

    fn is_too_old(&self, wall: UnixTime, timestamp: Timestamp) -> bool {
        let age = wall.seconds() - timestamp.seconds();
        self.max_age.is_some_and(|most| age > most.as_secs_f64())
    }

    fn limit(
        &self,
        key: &Key,
        announcement: &Announcement,
        before: Option<&Entry>,
    ) -> Option<Change> {
        let number = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
        let (mut actions, mut octets) = (self.actions, self.octets);
        match before {
            Some(entry) => {
                actions = actions.saturating_sub(entry.announcement.action_count().into());
                octets = octets.saturating_sub(entry.announcement.text().len());
            }
            None => {
                if self.entries.len() >= SERVICES {
                    return Some(Change::Refused("discovery.services", number(SERVICES)));
                }
                let own = self.per_fingerprint.get(&key.fingerprint);
                if own.is_some_and(|count| *count >= SERVICES_PER_FINGERPRINT) {
                    let limit = number(SERVICES_PER_FINGERPRINT);
                    return Some(Change::Refused("discovery.services_per_fingerprint", limit));
                }
            }
        }
        if actions.saturating_add(announcement.action_count().into()) > SERVICE_ACTIONS {
            return Some(Change::Refused("discovery.actions", SERVICE_ACTIONS));
        }
        if octets.saturating_add(announcement.text().len()) > CACHE_WRITTEN {
            return Some(Change::Refused(
                "discovery.cache_written",
                number(CACHE_WRITTEN),
            ));
        }
        None
    }

    fn insert(
        &mut self,
        now: Instant,
        key: Key,
        announcement: Arc<Announcement>,
        datagram: Option<Digest>,
    ) {
        self.actions = self
            .actions
            .saturating_add(announcement.action_count().into());
        self.octets = self.octets.saturating_add(announcement.text().len());
        let count = self.per_fingerprint.entry(key.fingerprint).or_default();
        *count = count.saturating_add(1);
        if let Some(datagram) = datagram {
            self.by_datagram.insert(datagram, key.clone());
        }
        let end = self.end(now, &announcement);
        self.ends.insert((end, key.clone()));
        let entry = Entry {
            instance: Arc::new(Instance::heard(announcement.clone())),
            announcement,
            datagram,
            end,
        };
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.actions = self
            .actions
            .saturating_sub(entry.announcement.action_count().into());
        self.octets = self.octets.saturating_sub(entry.announcement.text().len());
        self.ends.remove(&(entry.end, key.clone()));
        if let Some(datagram) = &entry.datagram {
            self.by_datagram.remove(datagram);
        }
        if let Some(count) = self.per_fingerprint.get_mut(&key.fingerprint) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_fingerprint.remove(&key.fingerprint);
            }
        }
        Some(entry)
    }

    /// Notes that a service was heard again; by another datagram, if there is one (D-21).
    fn refresh(&mut self, now: Instant, key: &Key, datagram: Option<Digest>) {
        let Some(announcement) = self
            .entries
            .get(key)
            .map(|entry| entry.announcement.clone())
        else {
            return;
        };
        let end = self.end(now, &announcement);
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.ends.remove(&(entry.end, key.clone()));
        self.ends.insert((end, key.clone()));
        entry.end = end;
        if let Some(datagram) = datagram {
            if let Some(old) = entry.datagram.replace(datagram) {
                self.by_datagram.remove(&old);
            }
            self.by_datagram.insert(datagram, key.clone());
        }
    }

    /// When a service is forgotten that is heard now and then no more (D-22).
    fn end(&self, now: Instant, announcement: &Announcement) -> Instant {
        let ttl = announcement.interval().checked_div(10).unwrap_or_default();
        let ttl = ttl.saturating_mul(21);
        now + ttl.max(self.min_ttl)
    }

    fn mark(&mut self, now: Instant, key: Key, timestamp: Timestamp) {
        let end = now + REPLAY_MARK_AGE;
        if let Some((_, old)) = self.marks.insert(key.clone(), (timestamp, end)) {
            self.mark_ends.remove(&(old, key.clone()));
        }
        self.mark_ends.insert((end, key));
        if self.marks.len() > REPLAY_MARKS {
            if let Some((_, oldest)) = self.mark_ends.pop_first() {
                self.marks.remove(&oldest);
            }
        }
    }
}
