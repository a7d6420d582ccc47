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

    /// Notes that a service was heard again (D-21).
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
        // The first one stays: whoever changes an octet that does not count, in the padding say, must
        // not make the sender's own a stranger.
        if let (None, Some(datagram)) = (&entry.datagram, datagram) {
            entry.datagram = Some(datagram);
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

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;
    use crate::discovery::tests::{sign, with_json};
    use crate::discovery::{Description, Offer};

    fn seconds(seconds: u64) -> Instant {
        Instant::from_epoch(Duration::from_secs(seconds))
    }

    fn service(identity: &str, weight: u32, port: u16, time: i64) -> Announcement {
        let uri = format!("beepish+tls://192.0.2.7:{port}").parse().unwrap();
        let mut service = Description::new(identity, uri);
        service.weight = weight;
        service.actions.push(Offer::new("A.b").unwrap());
        sign(&service, time * 1_000_000)
    }

    fn receive(registry: &mut Registry, now: u64, announcement: Announcement) -> Change {
        registry.receive(seconds(now), UnixTime::default(), announcement, None)
    }

    fn ports(registry: &Registry) -> Vec<u16> {
        registry
            .instances()
            .map(|instance| instance.uri().port())
            .collect()
    }

    /// D-20, D-21, D-24, X-54, N-40: newer replaces, older is a replay, equal is taken; the same
    /// octets refresh; weight 0 withdraws, and what was before cannot be replayed after it.
    #[test]
    fn replacing_and_replaying() {
        let mut registry = Registry::default();
        let mut step = |announcement, expected: Change, left: &[u16]| {
            assert_eq!(receive(&mut registry, 0, announcement), expected);
            assert_eq!(ports(&registry), left);
        };
        step(service("a", 1, 1, 100), Change::Added, &[1]);
        step(service("a", 1, 1, 100), Change::Refreshed, &[1]);
        step(service("a", 1, 2, 99), Change::Replayed, &[1]);
        step(service("a", 1, 3, 100), Change::Replaced, &[3]);
        step(service("a", 1, 4, 105), Change::Replaced, &[4]);
        step(service("b", 1, 9, 1), Change::Added, &[4, 9]);
        step(service("a", 0, 4, 106), Change::Withdrawn, &[9]);
        step(service("a", 0, 4, 106), Change::Ignored, &[9]);
        step(service("a", 0, 4, 107), Change::Ignored, &[9]);
        step(service("a", 1, 4, 106), Change::Replayed, &[9]);
        step(service("a", 1, 5, 107), Change::Added, &[5, 9]);
        step(service("c", 0, 4, 5), Change::Ignored, &[5, 9]);
    }

    /// D-22, X-55, X-58, N-17, N-40: forgotten 2.1 intervals after it was last heard, 10.5 s at the
    /// least; its own timestamp, from 1970, counts for nothing.
    #[test]
    fn forgetting() {
        for (interval, ttl) in [
            (5000, 10_500),
            (2500, 10_500),
            (0, 10_500),
            (20_000, 42_000),
        ] {
            let uri = "beepish+tls://192.0.2.7:1".parse().unwrap();
            let mut description = Description::new("a", uri);
            description.interval = Duration::from_millis(interval);
            let mut registry = Registry::default();
            receive(&mut registry, 5, sign(&description, 1));
            receive(&mut registry, 9, sign(&description, 1));
            let end = seconds(9) + Duration::from_millis(ttl);
            assert_eq!(registry.poll_timeout(), Some(end));
            assert!(!registry.handle_timeout(seconds(9) + Duration::from_millis(ttl - 1)));
            assert_eq!(registry.len(), 1);
            assert!(registry.handle_timeout(end) && registry.is_empty());
            // Heard again with the same octets, it is back; with older ones it is not.
            let late = 9 + ttl / 1000 + 5;
            assert_eq!(
                receive(&mut registry, late, sign(&description, 0)),
                Change::Replayed
            );
            assert_eq!(
                receive(&mut registry, late, sign(&description, 1)),
                Change::Added
            );
        }
        // An interval beyond all reason is no reason to panic.
        let endless =
            with_json(r#"[3,"x","main",1,1e300,"beepish+tls://192.0.2.7:1",["json"],[],1]"#);
        let mut registry = Registry::default();
        receive(&mut registry, 5, endless.unwrap());
        assert!(!registry.handle_timeout(seconds(1 << 40)));
    }

    /// D-21: the last timestamp outlives the service by an hour, and not by more.
    #[test]
    fn marks_are_forgotten() {
        let mut registry = Registry::default();
        receive(&mut registry, 0, service("a", 1, 1, 100));
        receive(&mut registry, 1, service("a", 0, 1, 101));
        assert_eq!(
            receive(&mut registry, 3600, service("a", 1, 1, 100)),
            Change::Replayed
        );
        assert_eq!(registry.poll_timeout(), Some(seconds(3601)));
        assert_eq!(
            receive(&mut registry, 3601, service("a", 1, 1, 100)),
            Change::Added
        );
        let mut registry = Registry::default();
        for n in 0..REPLAY_MARKS + 5 {
            receive(&mut registry, 0, service(&format!("gone {n:05}"), 0, 1, 1));
        }
        assert_eq!(
            (registry.marks.len(), registry.mark_ends.len()),
            (REPLAY_MARKS, REPLAY_MARKS)
        );
    }

    /// N-8, HD-37: another certificate with the same identity takes nothing over.
    #[test]
    fn keys_have_both_parts() {
        let text = service("a", 1, 7, 500).text().to_string();
        let [json, _, signature, _] = &text.split("\n\n").collect::<Vec<_>>()[..] else {
            panic!("four parts");
        };
        let other = include_str!("../../tests/data/other.crt");
        let text = format!("{json}\n\n{other}\n\n{signature}\n\n");
        let other = crate::discovery::Unverified::split(text.as_bytes())
            .unwrap()
            .trusted()
            .unwrap();
        let mut registry = Registry::default();
        receive(&mut registry, 0, service("a", 1, 1, 900));
        assert_eq!(receive(&mut registry, 0, other), Change::Added);
        assert_eq!(registry.len(), 2);
    }

    /// HD-36: at each limit the newcomer is refused, and those accepted stay and may change.
    #[test]
    fn limits() {
        let mut registry = Registry::default();
        for n in 0..SERVICES_PER_FINGERPRINT {
            let change = receive(&mut registry, 0, service(&format!("{n:03}"), 1, 1, 1));
            assert_eq!(change, Change::Added);
        }
        let refused = Change::Refused("discovery.services_per_fingerprint", 256);
        assert_eq!(receive(&mut registry, 0, service("x", 1, 1, 1)), refused);
        assert_eq!(
            receive(&mut registry, 0, service("000", 1, 2, 2)),
            Change::Replaced
        );
        assert_eq!(
            receive(&mut registry, 0, service("001", 0, 2, 2)),
            Change::Withdrawn
        );
        assert_eq!(
            receive(&mut registry, 0, service("x", 1, 1, 1)),
            Change::Added
        );

        let many = |identity: &str, count: u32, time: u32| {
            with_json(&format!(
                r#"[3,"{identity}","m",1,1,"beepish+tls://192.0.2.7:1",[{{"acname":[[{count},"a"]],"acns":"N","acsec":"s","acenv":"j"}}],[],{time}]"#
            ))
            .unwrap()
        };
        let mut registry = Registry::default();
        for n in 0..10 {
            assert_eq!(
                receive(&mut registry, 0, many(&n.to_string(), 100_000, 1)),
                Change::Added
            );
        }
        let refused = Change::Refused("discovery.actions", 1_000_000);
        assert_eq!(receive(&mut registry, 0, many("x", 1, 1)), refused);
        assert_eq!(
            receive(&mut registry, 0, many("0", 100_000, 2)),
            Change::Replaced
        );
        assert_eq!(
            receive(&mut registry, 0, many("0", 99_999, 3)),
            Change::Replaced
        );
        assert_eq!(receive(&mut registry, 0, many("x", 1, 1)), Change::Added);
        assert_eq!(receive(&mut registry, 0, many("0", 100_000, 4)), refused);
        assert_eq!(registry.len(), 11);
    }

    /// D-22: an announcement may be too old for networks that want fresh ones, whatever its unit.
    #[test]
    fn freshness() {
        let mut registry = Registry::new(MIN_TTL, Some(Duration::from_secs(60)));
        let wall = UnixTime::from_micros(1_700_000_100_000_000);
        let json = |identity: &str, time: &str| {
            with_json(&format!(
                r#"[3,"{identity}","main",1,5000,"beepish+tls://192.0.2.7:1",["json"],[],{time}]"#
            ))
            .unwrap()
        };
        for (time, expected) in [
            ("1700000040", Change::Added),
            ("1700000039.9", Change::TooOld),
            ("1700000040000", Change::Added),
            ("1700000039900", Change::TooOld),
            ("1800000000", Change::Added),
        ] {
            let change = registry.receive(seconds(0), wall, json(time, time), None);
            assert_eq!(change, expected, "{time}");
        }
    }

    /// D-7: the datagram that brought what counts refreshes it without being looked into; one that
    /// brought what does not count any more does not.
    #[test]
    fn datagrams_are_recognized() {
        let mut registry = Registry::default();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let wall = UnixTime::default();
        registry.receive(seconds(0), wall, service("a", 1, 1, 1), Some(old));
        assert_eq!(registry.touch(seconds(5), &old).unwrap().uri().port(), 1);
        assert_eq!(registry.poll_timeout(), Some(seconds(5) + MIN_TTL));
        registry.receive(seconds(6), wall, service("a", 1, 2, 2), Some(new));
        assert!(registry.touch(seconds(6), &old).is_none());
        // The same text in another wrapping, which anybody could make.
        registry.receive(seconds(6), wall, service("a", 1, 2, 2), Some(old));
        assert!(registry.touch(seconds(6), &old).is_none());
        assert!(registry.touch(seconds(6), &new).is_some());
        assert!(registry.touch(seconds(60), &new).is_none());
        assert!(registry.by_datagram.is_empty());
    }

    /// Q-13, HD-36: after anything at all, the counts are those of what is there.
    #[test]
    fn counts_are_exact() {
        let mut rng = crate::Rng::new(3);
        let mut registry = Registry::default();
        let mut now = 0;
        for _ in 0..2000 {
            now += rng.below(3);
            let identity = ["a", "b", "c", "d"][rng.below(4) as usize];
            let weight = rng.below(4) as u32;
            let announcement = service(
                identity,
                weight,
                1 + rng.below(3) as u16,
                rng.below(30) as i64,
            );
            let datagram = Digest::of(announcement.text().as_bytes());
            if rng.chance(1, 2) {
                registry.touch(seconds(now), &datagram);
            }
            registry.receive(
                seconds(now),
                UnixTime::default(),
                announcement,
                Some(datagram),
            );
            let entries: Vec<_> = registry.entries.values().collect();
            let octets: usize = entries
                .iter()
                .map(|entry| entry.announcement.text().len())
                .sum();
            assert_eq!(
                (registry.octets, registry.actions),
                (octets, entries.len() as u64)
            );
            assert_eq!(registry.ends.len(), entries.len());
            assert_eq!(registry.by_datagram.len(), entries.len());
            assert_eq!(
                registry.per_fingerprint.values().sum::<usize>(),
                entries.len()
            );
            assert_eq!(registry.marks.len(), registry.mark_ends.len());
            let identities: Vec<String> = registry
                .instances()
                .map(|it| it.identity().into())
                .collect();
            assert!(identities.is_sorted() && vec![identities.len()] <= vec![4]);
        }
    }
}
