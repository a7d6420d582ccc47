//! Who offers an action: a picture of all known services at one moment.
//!
//! A [`Directory`] never changes; a new one takes its place. Looking something up allocates nothing
//! and takes a few steps, however many services there are.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use super::action::{ActionRef, Alias, Key};
use super::{Event, Instance};
use crate::auth::AuthorizedServices;
use crate::limits::SERVICE_ACTIONS;

/// The services known at one moment; cheap to clone.
///
/// # Example
///
/// ```
/// use scamp_proto::auth::{AuthorizedServices, Fingerprint};
/// use scamp_proto::discovery::{Description, Directory, Instance, LookupError, Offer, Query};
///
/// let mut greeter = Description::new("greeter:1", "beepish+tls://192.0.2.7:30100".parse()?);
/// greeter.actions.push(Offer::new("Greetings.hello")?.flags("read"));
/// let instance = Instance::fixed(&greeter, Fingerprint::of(b"its certificate"), None)?;
/// let directory = Directory::build([instance.into()], &mut |event| panic!("{event}"));
///
/// let query = Query::new("main", "greetings.HELLO");
/// let everyone = AuthorizedServices::allow_all();
/// let found = directory.lookup(&query, &everyone)?.next().expect("one was found");
/// assert_eq!(found.action.to_string(), "main:Greetings.hello~1");
/// assert_eq!(found.instance.uri().port(), 30100);
///
/// let nobody = AuthorizedServices::none();
/// assert_eq!(directory.lookup(&query, &nobody).err(), Some(LookupError::NotAuthorized));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Directory {
    index: Arc<Index>,
    /// Whether the cache file is too old, so that what it lists does not count (D-36).
    is_stale: bool,
}

/// What to look for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Query<'a> {
    /// The sector.
    pub sector: &'a str,
    /// `Namespace.name`, or `Namespace._read` for what has that flag (D-19).
    pub action: &'a str,
    /// The version.
    pub version: u32,
    /// The envelope it must be offered under.
    pub envelope: &'a str,
    /// The one instance wanted: its identity, or `fingerprint#identity`.
    pub instance: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// An action of version 1 with envelope `json`, at any instance.
    pub fn new(sector: &'a str, action: &'a str) -> Self {
        Self {
            sector,
            action,
            version: 1,
            envelope: "json",
            instance: None,
        }
    }
}

/// Why there is nobody to ask.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum LookupError {
    /// Services announce it, but none of them is authorized to provide it (§8).
    #[error("services announce it, but authorized_services lets none of them provide it")]
    NotAuthorized,
    /// No service announces it.
    #[error("no service announces it")]
    NotFound,
    /// The cache file is too old to be believed (D-36).
    #[error("the discovery cache is stale: is the cache manager running?")]
    StaleCache,
    /// Services offer it, but not under this envelope.
    #[error("no service offers it under this envelope")]
    UnsupportedEnvelope,
}

/// An instance that may be asked, and the action to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Who.
    pub instance: &'a Arc<Instance>,
    /// The real action, under whose name the request goes out (H-8, D-19).
    pub action: ActionRef<'a>,
}

/// Why an instance is not asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WhyNot {
    /// Its certificate is not authorized to provide the action.
    NotAuthorized,
    /// Another instance is wanted.
    OtherInstance,
    /// It has another version of the action.
    OtherVersion(u32),
    /// The cache file that lists it is too old.
    StaleCache,
    /// It does not offer the action under the envelope.
    UnsupportedEnvelope,
    /// It has withdrawn: its weight is 0.
    Withdrawn,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAuthorized => "not authorized",
            Self::OtherInstance => "not the instance wanted",
            Self::OtherVersion(version) => return write!(f, "it has version {version}"),
            Self::StaleCache => "the cache file is stale",
            Self::UnsupportedEnvelope => "not under this envelope",
            Self::Withdrawn => "withdrawn (weight 0)",
        })
    }
}

impl Directory {
    /// A directory of nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A directory of these services.
    ///
    /// Of several with one fingerprint and identity the newest counts; of equally new ones the last.
    /// Actions of all services together are bounded by [`SERVICE_ACTIONS`]; what is beyond is left
    /// out, with an event.
    pub fn build(
        instances: impl IntoIterator<Item = Arc<Instance>>,
        on_event: &mut dyn FnMut(Event),
    ) -> Self {
        Self {
            index: Arc::new(Index::build(instances.into_iter().collect(), on_event)),
            is_stale: false,
        }
    }

    /// The same services, where what the cache file lists counts or does not (D-36).
    pub fn with_stale_cache(&self, is_stale: bool) -> Self {
        Self {
            index: self.index.clone(),
            is_stale,
        }
    }

    /// Whether the cache file is too old.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// All services, by fingerprint and identity; those that have withdrawn, too.
    pub fn instances(&self) -> &[Arc<Instance>] {
        &self.index.instances
    }

    /// Who may be asked for an action (D-43).
    ///
    /// Authorization is judged now, for the real sector, namespace and name (Z-9, Z-10).
    ///
    /// # Errors
    ///
    /// [`LookupError`] if there is nobody.
    pub fn lookup<'a>(
        &'a self,
        query: &Query<'a>,
        authorized: &'a AuthorizedServices,
    ) -> Result<Candidates<'a>, LookupError> {
        let refs = self.index.find(query).unwrap_or_default();
        let mut candidates = Candidates {
            first: None,
            refs: refs.iter(),
            before: None,
            directory: self,
            query: *query,
            authorized,
        };
        candidates.first = candidates.next();
        match candidates.first {
            Some(_) => Ok(candidates),
            None => Err(self.why_nobody(refs, query, authorized)),
        }
    }

    /// What the directory knows of an action: every instance that has it, and why not to ask it.
    pub fn explain(
        &self,
        query: &Query<'_>,
        authorized: &AuthorizedServices,
    ) -> Vec<(Arc<Instance>, Option<WhyNot>)> {
        let Some(key) = Key::of(query.sector, query.action, query.version) else {
            return Vec::new();
        };
        let judge = |instance: &Instance, action: ActionRef<'_>| {
            let mut names = action.flags.aliases().map(|alias| Key {
                name: alias.name(),
                ..action.key()
            });
            if !action.key().is_same_action(&key) && !names.any(|own| own.is_same_action(&key)) {
                return None;
            }
            Some(match instance.weight() > 0.0 {
                false => Some(WhyNot::Withdrawn),
                true if action.version != query.version => {
                    Some(WhyNot::OtherVersion(action.version))
                }
                true => self.why_not(instance, &action, query, authorized),
            })
        };
        let mut known = Vec::new();
        for instance in &self.index.instances {
            let answers = instance
                .actions()
                .filter_map(|action| judge(instance, action));
            // No reason at all is the best one, and comes first in the order.
            if let Some(answer) = answers.min_by_key(|answer| answer.map(rank)) {
                known.push((instance.clone(), answer));
            }
        }
        known
    }

    /// Octets of memory of the index, instances not counted.
    pub fn memory(&self) -> usize {
        let Index {
            instances,
            refs,
            groups,
            buckets,
            ..
        } = &*self.index;
        [
            size_of_val(&**instances),
            size_of_val(&**refs),
            size_of_val(&**groups),
            size_of_val(&**buckets),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    fn why_not(
        &self,
        instance: &Instance,
        action: &ActionRef<'_>,
        query: &Query<'_>,
        authorized: &AuthorizedServices,
    ) -> Option<WhyNot> {
        if query
            .instance
            .is_some_and(|wanted| !instance.is_named(wanted))
        {
            return Some(WhyNot::OtherInstance);
        }
        if self.is_stale && instance.is_from_cache() {
            return Some(WhyNot::StaleCache);
        }
        let fingerprint = instance.fingerprint();
        if !authorized.allows(&fingerprint, action.sector, action.namespace, action.name) {
            return Some(WhyNot::NotAuthorized);
        }
        if !action.envelopes.contains(query.envelope) {
            return Some(WhyNot::UnsupportedEnvelope);
        }
        None
    }

    #[cold]
    fn why_nobody(
        &self,
        refs: &[Ref],
        query: &Query<'_>,
        authorized: &AuthorizedServices,
    ) -> LookupError {
        if self.is_stale {
            return LookupError::StaleCache;
        }
        let reasons = refs.iter().filter_map(|place| {
            let (instance, action) = self.index.get(*place)?;
            self.why_not(instance, &action, query, authorized)
        });
        match reasons.min_by_key(|reason| rank(*reason)) {
            Some(WhyNot::UnsupportedEnvelope) => LookupError::UnsupportedEnvelope,
            Some(WhyNot::NotAuthorized) => LookupError::NotAuthorized,
            _ => LookupError::NotFound,
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("instances", &self.index.instances.len())
            .field("is_stale", &self.is_stale)
            .finish_non_exhaustive()
    }
}

/// How near a reason is to none at all.
fn rank(reason: WhyNot) -> u8 {
    match reason {
        WhyNot::UnsupportedEnvelope => 0,
        WhyNot::NotAuthorized => 1,
        WhyNot::StaleCache => 2,
        WhyNot::OtherInstance => 3,
        WhyNot::OtherVersion(_) => 4,
        WhyNot::Withdrawn => 5,
    }
}

/// Those who may be asked, each instance once, by fingerprint and identity.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    first: Option<Candidate<'a>>,
    refs: core::slice::Iter<'a, Ref>,
    before: Option<u32>,
    directory: &'a Directory,
    query: Query<'a>,
    authorized: &'a AuthorizedServices,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = Candidate<'a>;

    fn next(&mut self) -> Option<Candidate<'a>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let place = *self.refs.next()?;
            if self.before == Some(place.instance) {
                continue;
            }
            let Some((instance, action)) = self.directory.index.get(place) else {
                continue;
            };
            let why_not = self
                .directory
                .why_not(instance, &action, &self.query, self.authorized);
            if why_not.is_none() {
                self.before = Some(place.instance);
                return Some(Candidate { instance, action });
            }
        }
    }
}

/// What makes looking up quick.
///
/// The keys' hashes are spread over buckets by their highest bits, and sorted. Keys of one hash are
/// sorted by themselves, so that whoever makes them equal on purpose gains nothing (HD-14).
#[derive(Default)]
struct Index {
    instances: Vec<Arc<Instance>>,
    /// Grouped by key.
    refs: Vec<Ref>,
    /// One for each key, and one more for where the last ends.
    groups: Vec<Group>,
    /// Where in `groups` each bucket begins, and one more for where the last ends.
    buckets: Vec<u32>,
    /// How many of a hash's bits do not count for its bucket.
    shift: u32,
}

/// An action of an instance.
#[derive(Clone, Copy, Debug)]
struct Ref {
    instance: u32,
    action: u32,
}

/// All that one key finds.
#[derive(Clone, Copy, Debug)]
struct Group {
    hash: u64,
    /// Where in `refs` it begins.
    begin: u32,
    alias: Option<Alias>,
}

/// A `Ref` before it has its place.
struct Entry {
    hash: u64,
    place: Ref,
    alias: Option<Alias>,
}

impl Index {
    fn build(mut instances: Vec<Arc<Instance>>, on_event: &mut dyn FnMut(Event)) -> Self {
        sort_and_unite(&mut instances);
        let mut index = Self {
            instances,
            ..Self::default()
        };
        let mut entries = index.collect(on_event);
        entries.sort_unstable_by_key(|entry| {
            (
                entry.hash,
                entry.place.instance,
                entry.place.action,
                entry.alias,
            )
        });
        index.sort_collisions(&mut entries);
        index.group(&entries);
        index
    }

    /// What the index is to find: each key of each action of each instance that has a weight (D-24).
    fn collect(&self, on_event: &mut dyn FnMut(Event)) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut actions = 0_u64;
        for (number, instance) in (0_u32..).zip(&self.instances) {
            if instance.weight() <= 0.0 {
                continue;
            }
            let sum = actions.saturating_add(instance.action_count().into());
            if sum > SERVICE_ACTIONS {
                on_event(Event::LimitHit("discovery.actions", SERVICE_ACTIONS));
                break;
            }
            actions = sum;
            let begin = entries.len();
            for action in 0..instance.action_count() {
                let Some(found) = instance.action(action) else {
                    continue;
                };
                let place = Ref {
                    instance: number,
                    action,
                };
                let key = found.key();
                entries.push(Entry {
                    hash: key.hash(),
                    place,
                    alias: None,
                });
                entries.extend(found.flags.aliases().map(|alias| Entry {
                    hash: with_alias(key, Some(alias)).hash(),
                    place,
                    alias: Some(alias),
                }));
            }
            self.leave_out_repeats(&mut entries, begin);
        }
        entries
    }

    /// A run of a hundred thousand takes little text, so what repeats an action is not kept.
    fn leave_out_repeats(&self, entries: &mut Vec<Entry>, begin: usize) {
        let own = entries.get_mut(begin..).unwrap_or_default();
        own.sort_unstable_by_key(|entry| (entry.hash, entry.place.action, entry.alias));
        let mut pairs = own.iter().zip(own.iter().skip(1));
        if !pairs.any(|(one, other)| one.hash == other.hash) {
            return;
        }
        let mut own = entries.split_off(begin);
        own.dedup_by(|later, kept| {
            later.hash == kept.hash
                && later.alias == kept.alias
                && match (self.get(later.place), self.get(kept.place)) {
                    (Some((_, later)), Some((_, kept))) => {
                        later.key() == kept.key()
                            && later.envelopes.iter().eq(kept.envelopes.iter())
                    }
                    _ => false,
                }
        });
        entries.append(&mut own);
    }

    /// Separates keys whose hashes are equal.
    fn sort_collisions(&self, entries: &mut [Entry]) {
        let same_key = |one: &Entry, other: &Entry| {
            let keys = (
                self.key(one.place, one.alias),
                self.key(other.place, other.alias),
            );
            one.hash == other.hash && keys.0 == keys.1
        };
        for same_hash in entries.chunk_by_mut(|one, other| one.hash == other.hash) {
            let mut pairs = same_hash.windows(2);
            let is_one_key = pairs.all(|pair| match pair {
                [one, other] => same_key(one, other),
                _ => true,
            });
            if !is_one_key {
                same_hash.sort_by(|one, other| {
                    let key = |entry: &Entry| self.key(entry.place, entry.alias);
                    let place = |entry: &Entry| (entry.place.instance, entry.place.action);
                    key(one)
                        .cmp(&key(other))
                        .then(place(one).cmp(&place(other)))
                });
            }
        }
    }

    fn group(&mut self, entries: &[Entry]) {
        let offset = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let chunks = entries.chunk_by(|one, other| {
            one.hash == other.hash
                && self.key(one.place, one.alias) == self.key(other.place, other.alias)
        });
        let mut groups = Vec::new();
        let mut refs = Vec::with_capacity(entries.len());
        for chunk in chunks {
            let Some(first) = chunk.first() else {
                continue;
            };
            groups.push(Group {
                hash: first.hash,
                begin: offset(refs.len()),
                alias: first.alias,
            });
            refs.extend(chunk.iter().map(|entry| entry.place));
        }
        let bits = groups.len().max(1).next_power_of_two().trailing_zeros();
        self.shift = u64::BITS.saturating_sub(bits);
        let count = groups.len().max(1).next_power_of_two();
        self.buckets = Vec::with_capacity(count.saturating_add(1));
        let mut at = 0;
        for bucket in 0..=count {
            while groups
                .get(at)
                .is_some_and(|group: &Group| self.bucket(group.hash) < bucket)
            {
                at = at.saturating_add(1);
            }
            self.buckets.push(offset(at));
        }
        groups.push(Group {
            hash: u64::MAX,
            begin: offset(refs.len()),
            alias: None,
        });
        groups.shrink_to_fit();
        refs.shrink_to_fit();
        self.groups = groups;
        self.refs = refs;
    }

    fn bucket(&self, hash: u64) -> usize {
        let bucket = hash.checked_shr(self.shift).unwrap_or(0);
        usize::try_from(bucket).unwrap_or(usize::MAX)
    }

    /// All that the query's key finds.
    fn find(&self, query: &Query<'_>) -> Option<&[Ref]> {
        let key = Key::of(query.sector, query.action, query.version)?;
        let hash = key.hash();
        let bucket = self.bucket(hash);
        let index = |offset: &u32| usize::try_from(*offset).unwrap_or(usize::MAX);
        let first = index(self.buckets.get(bucket)?);
        let last = index(self.buckets.get(bucket.saturating_add(1))?);
        let groups = self.groups.get(first..last)?;
        let mut at = groups.partition_point(|group| group.hash < hash);
        let next = groups.get(at.saturating_add(1));
        if next.is_some_and(|group| group.hash == hash) {
            at = groups.partition_point(|group| {
                group.hash < hash || group.hash == hash && self.group_key(group) < Some(key)
            });
        }
        let group = groups.get(at)?;
        if group.hash != hash || self.group_key(group) != Some(key) {
            return None;
        }
        let end = self
            .groups
            .get(first.saturating_add(at).saturating_add(1))?;
        self.refs.get(index(&group.begin)..index(&end.begin))
    }

    fn group_key(&self, group: &Group) -> Option<Key<'_>> {
        let first = self.refs.get(usize::try_from(group.begin).ok()?)?;
        self.key(*first, group.alias)
    }

    fn key(&self, place: Ref, alias: Option<Alias>) -> Option<Key<'_>> {
        let instance = self.instances.get(usize::try_from(place.instance).ok()?)?;
        Some(with_alias(instance.action(place.action)?.key(), alias))
    }

    fn get(&self, place: Ref) -> Option<(&Arc<Instance>, ActionRef<'_>)> {
        let instance = self.instances.get(usize::try_from(place.instance).ok()?)?;
        Some((instance, instance.action(place.action)?))
    }
}

/// Sorts by fingerprint and identity, and leaves one of each: a fixed one, else the newest (D-20).
fn sort_and_unite(instances: &mut Vec<Arc<Instance>>) {
    // Stable, so that of equals the last one counts.
    instances.sort_by(|one, other| {
        let key = |instance: &Instance| {
            let is_fixed = instance.announcement().is_none();
            (instance.fingerprint(), is_fixed, instance.timestamp())
        };
        let (one_key, other_key) = (key(one), key(other));
        one_key
            .0
            .cmp(&other_key.0)
            .then_with(|| one.identity().cmp(other.identity()))
            .then((one_key.1, one_key.2).cmp(&(other_key.1, other_key.2)))
    });
    instances.dedup_by(|later, kept| {
        let same = later.fingerprint() == kept.fingerprint() && later.identity() == kept.identity();
        if same {
            core::mem::swap(later, kept);
        }
        same
    });
}

fn with_alias(key: Key<'_>, alias: Option<Alias>) -> Key<'_> {
    match alias {
        Some(alias) => Key {
            name: alias.name(),
            ..key
        },
        None => key,
    }
}
