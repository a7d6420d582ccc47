//! A cache manager: hears announcements, and keeps the cache file.
//!
//! ```text
//!  datagrams ──receive──> queue ──poll_pending──> Pending ──verify──> Checked ──checked──> Registry
//!                         known ones: refreshed at once     (no lock)                        │
//!  poll_command <── Send: relays, greetings ── Peering                 Write, Touch <── Writer
//! ```
//!
//! A datagram that brings what counts already costs one hash, whatever else is going on. All others
//! cost what [`Budget`] allows, and wait in a queue of 256. The order of what is done with one is size,
//! inflating, parts, authorized_services, seen before, signature, JSON (D-6, HD-35).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use super::cache_file::{Task, Writer, encode, tell_oddities};
use super::datagram::{Inflater, most};
use super::intake::Budget;
use super::known::{Digest, Known, Recall};
use super::peering::{Message, Peering};
use super::registry::{Change, Registry};
use super::{
    Announcement, AnnouncementError, DatagramError, Event, Instance, UnixTime, Unverified,
};
use crate::auth::{AuthorizedServices, Fingerprint, Verify};
use crate::config::Network;
use crate::limits::{
    CACHE_FIRST_WRITE, CACHE_MAX_AGE, DATAGRAM_QUEUE, DATAGRAM_SENT, DATAGRAMS,
    DATAGRAMS_PER_SOURCE, INFLATED, MIN_TTL, NOTES, SIGNATURES,
};
use crate::note::Bucket;
use crate::{Instant, Rng};

/// How a cache manager behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How old the file may become for its readers (`discovery.cache_max_age`).
    pub cache_max_age: Duration,
    /// How old the file is that is there already, if there is one.
    pub existing_age: Option<Duration>,
    /// How long the first write waits at most, where such a file is there (D-34).
    pub first_write: Duration,
    /// `discovery.min_ttl`.
    pub min_ttl: Duration,
    /// `discovery.max_announcement_age`.
    pub max_announcement_age: Option<Duration>,
    /// Keeps services of unlisted certificates, too (`discovery.cache_unlisted`).
    pub cache_unlisted: bool,
    /// Lists services of this host by itself (`discovery.auth_localhost`, for development).
    pub auth_localhost: bool,
    /// Our addresses.
    pub own_addresses: Vec<IpAddr>,
    /// `discovery.seed_hosts`.
    pub seed_hosts: Vec<IpAddr>,
    /// `discovery.peer_allow`; none given means all.
    pub peer_allow: Vec<Network>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_max_age: CACHE_MAX_AGE,
            existing_age: None,
            first_write: CACHE_FIRST_WRITE,
            min_ttl: MIN_TTL,
            max_announcement_age: None,
            cache_unlisted: false,
            auth_localhost: false,
            own_addresses: Vec::new(),
            seed_hosts: Vec::new(),
            peer_allow: Vec::new(),
        }
    }
}

/// Which socket a datagram came by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Via {
    /// The multicast group.
    Multicast,
    /// The port for peering.
    Peering,
}

/// Something for the driver to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Send this to the peering port of a host.
    Send(IpAddr, Bytes),
    /// Set the cache file's time of change to now, and answer with [`CacheManager::written`].
    Touch,
    /// Write the cache file anew, aside, rename that over it, and answer with
    /// [`CacheManager::written`].
    Write(Bytes),
    /// Write the authorized_services file, if [`may_write_authorized`] says so.
    WriteAuthorized(Bytes),
}

/// How much came, and what became of it; all since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Datagrams received.
    pub datagrams: u64,
    /// Those dropped because a budget or the queue was full (HD-34, HD-38).
    pub dropped: u64,
    /// Those that were no announcement to be believed.
    pub bad: u64,
    /// Those of unlisted certificates (HD-35).
    pub unlisted: u64,
    /// Those that told nothing new.
    pub refreshed: u64,
    /// Those that were older than what is known (D-21).
    pub replayed: u64,
    /// Signatures verified.
    pub verified: u64,
    /// Datagrams relayed to peers.
    pub relayed: u64,
    /// Times the file was written.
    pub written: u64,
    /// Events left out because there were too many (HD-29).
    pub events_left_out: u64,
}

/// The machine; it owns no socket and no file.
#[derive(Debug)]
pub struct CacheManager {
    settings: Settings,
    authorized: Arc<AuthorizedServices>,
    registry: Registry,
    known: Known,
    budget: Budget,
    inflater: Inflater,
    peering: Peering,
    writer: Writer,
    rng: Rng,
    /// What waits to be looked into.
    queue: VecDeque<Datagram>,
    /// What came by peering, and waits for multicast to be quicker (D-39).
    delayed: BTreeMap<(Instant, u64), Datagram>,
    order: u64,
    commands: VecDeque<Command>,
    /// The content last written.
    content: Option<Digest>,
    writing: Option<Digest>,
    /// Who announced from this host, and in which sectors (D-41).
    local: BTreeMap<Fingerprint, BTreeSet<String>>,
    events: VecDeque<Event>,
    event_budget: Bucket,
    stats: Stats,
}

#[derive(Clone, Debug)]
struct Datagram {
    octets: Bytes,
    digest: Digest,
    from: IpAddr,
    via: Via,
}

/// An announcement whose signature is to be verified, apart from the manager and its lock.
#[derive(Debug)]
pub struct Pending {
    unverified: Unverified,
    datagram: Datagram,
}

/// An announcement whose signature was verified, for [`CacheManager::checked`].
#[derive(Debug)]
pub struct Checked {
    result: Result<Announcement, AnnouncementError>,
    datagram: Datagram,
}

impl Pending {
    /// Verifies the signature. `accept_pss` is `discovery.accept_pss`.
    pub fn verify(self, verify: &dyn Verify, accept_pss: bool) -> Checked {
        Checked {
            result: match accept_pss {
                false => self.unverified.verify(verify),
                true => self.unverified.verify_or_pss(verify),
            },
            datagram: self.datagram,
        }
    }
}

impl CacheManager {
    /// A manager that knows no service yet. `seed` spreads what would else come at one time.
    pub fn new(now: Instant, settings: Settings, seed: u64) -> Self {
        Self {
            authorized: Arc::new(AuthorizedServices::none()),
            registry: Registry::new(settings.min_ttl, settings.max_announcement_age),
            known: Known::new(),
            budget: Budget::new(now),
            inflater: Inflater::new(),
            peering: Peering::new(
                now,
                settings.seed_hosts.clone(),
                settings.own_addresses.clone(),
                settings.peer_allow.clone(),
            ),
            writer: Writer::new(now, settings.existing_age, settings.cache_max_age)
                .first_write(now, settings.first_write),
            rng: Rng::new(seed),
            queue: VecDeque::new(),
            delayed: BTreeMap::new(),
            order: 0,
            commands: VecDeque::new(),
            content: None,
            writing: None,
            local: BTreeMap::new(),
            events: VecDeque::new(),
            event_budget: Bucket::new(NOTES, Duration::from_secs(NOTES), now),
            stats: Stats::default(),
            settings,
        }
    }

    /// Decides from now on by these who is kept (D-42).
    pub fn set_authorized(&mut self, authorized: Arc<AuthorizedServices>) {
        self.authorized = authorized;
        self.writer.changed();
    }

    /// Takes a datagram. What it brings is to be had from [`poll_pending`](Self::poll_pending).
    pub fn receive(&mut self, now: Instant, from: IpAddr, via: Via, octets: &[u8]) {
        self.handle_timeout(now);
        self.stats.datagrams = self.stats.datagrams.saturating_add(1);
        let digest = Digest::of(octets);
        let from = from.to_canonical();
        if via == Via::Peering {
            // Greetings are as cheap as they are small, and still are counted like the rest.
            if !self.budget.datagram(now, from) {
                return self.drop_datagram(now, "discovery.datagrams", DATAGRAMS);
            }
            match self.peering.receive(now, from, octets) {
                Message::Greeting => return,
                Message::NotAllowed => {
                    return self.refuse(now, from, DatagramError::NotAllowed);
                }
                Message::Announcement => {}
            }
        }
        if let Some(instance) = self.registry.touch(now, &digest) {
            let instance = instance.clone();
            self.stats.refreshed = self.stats.refreshed.saturating_add(1);
            if via == Via::Multicast {
                self.relay(now, instance.uri().ip(), octets);
            }
            return;
        }
        if via == Via::Multicast && !self.budget.datagram(now, from) {
            return self.drop_datagram(now, "discovery.datagrams_per_source", DATAGRAMS_PER_SOURCE);
        }
        let datagram = Datagram {
            octets: Bytes::copy_from_slice(octets),
            digest,
            from,
            via,
        };
        if self.queue.len().saturating_add(self.delayed.len()) >= DATAGRAM_QUEUE {
            let limit = u64::try_from(DATAGRAM_QUEUE).unwrap_or(u64::MAX);
            // The oldest waits longest, and is the most likely to be said again.
            if self.queue.pop_front().is_none() {
                self.delayed.pop_first();
            }
            self.drop_datagram(now, "discovery.datagram_queue", limit);
        }
        match via {
            Via::Multicast => self.queue.push_back(datagram),
            Via::Peering => {
                let delay = Duration::from_micros(self.rng.below(300_001).saturating_add(200_000));
                self.order = self.order.saturating_add(1);
                self.delayed.insert((now + delay, self.order), datagram);
            }
        }
    }

    /// The next announcement that must be verified; to be asked until there is none.
    ///
    /// Verify it without holding the manager, then hand it to [`checked`](Self::checked).
    pub fn poll_pending(&mut self, now: Instant, wall: UnixTime) -> Option<Pending> {
        while let Some(entry) = self
            .delayed
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let datagram = entry.remove();
            self.queue.push_back(datagram);
        }
        while let Some(datagram) = self.queue.pop_front() {
            match self.look_into(now, &datagram) {
                Ok(Recall::New(unverified)) => {
                    return Some(Pending {
                        unverified,
                        datagram,
                    });
                }
                Ok(Recall::Known(result)) => self.take(now, wall, Checked { result, datagram }),
                Err(Some(error)) => self.refuse(now, datagram.from, error),
                Err(None) => {}
            }
        }
        None
    }

    /// Takes an announcement after its signature was verified.
    pub fn checked(&mut self, now: Instant, wall: UnixTime, checked: Checked) {
        self.stats.verified = self.stats.verified.saturating_add(1);
        if let Ok(announcement) = &checked.result {
            self.known.remember(announcement);
        }
        self.take(now, wall, checked);
    }

    /// What to do next.
    pub fn poll_command(&mut self, now: Instant) -> Option<Command> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        if let Some((host, greeting)) = self.peering.poll_greeting(now) {
            return Some(Command::Send(host, greeting));
        }
        match self.writer.poll_task(now)? {
            Task::Touch => Some(Command::Touch),
            Task::Write => {
                let mut events = Vec::new();
                let kept = self.registry.announcements().filter(|announcement| {
                    self.settings.cache_unlisted
                        || self.is_local(&announcement.fingerprint())
                        || self.authorized.lists(&announcement.fingerprint())
                });
                let content = encode(kept, &mut |event| events.push(event));
                events.into_iter().for_each(|event| self.tell(now, event));
                let digest = Digest::of(&content);
                if self.content == Some(digest) {
                    // Identical content is not written again (D-33).
                    self.writer.skipped(now);
                    return self.poll_command(now);
                }
                self.writing = Some(digest);
                Some(Command::Write(content.into()))
            }
        }
    }

    /// Takes note of how a [`Command::Write`] or [`Command::Touch`] ended; an error in the system's
    /// words.
    pub fn written(&mut self, now: Instant, result: Result<(), &str>) {
        let writing = self.writing.take();
        match result {
            Ok(()) => {
                if writing.is_some() {
                    self.content = writing;
                    self.stats.written = self.stats.written.saturating_add(1);
                }
            }
            Err(why) => {
                // Whatever is there now, it is not known to be right.
                self.content = None;
                self.tell(now, Event::FileUnwritable(why.to_string()));
            }
        }
        self.writer.done(now, result.is_ok());
    }

    /// The services heard.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.registry.instances()
    }

    /// What somebody may want to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How much came, and what became of it.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and to ask for commands and pending
    /// announcements again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let times = [
            Some(self.peering.poll_timeout()),
            self.registry.poll_timeout(),
            self.writer.poll_timeout(),
            delayed,
        ];
        times.into_iter().flatten().min()
    }

    /// Forgets services that were not heard for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.registry.handle_timeout(now) {
            self.writer.changed();
        }
    }

    /// All that can be found out without verifying; an error without a name was told already.
    fn look_into(
        &mut self,
        now: Instant,
        datagram: &Datagram,
    ) -> Result<Recall, Option<DatagramError>> {
        // Multicast may have been quicker than peering.
        if self.registry.touch(now, &datagram.digest).is_some() {
            self.stats.refreshed = self.stats.refreshed.saturating_add(1);
            return Err(None);
        }
        // It is counted with what it may inflate to at most, or else the work is done before.
        let room = most(datagram.octets.len());
        if !self.budget.has_inflated(now, room) {
            self.drop_datagram(now, "discovery.inflated", INFLATED);
            return Err(None);
        }
        let (octets, text) = {
            let result = self.inflater.text(&datagram.octets);
            match result {
                Ok(text) => (text.len(), Ok(Unverified::split(text))),
                Err(error) => (room, Err(error)),
            }
        };
        self.budget.inflated(now, octets);
        let unverified = text?.map_err(|error| Some(error.into()))?;
        let fingerprint = unverified.fingerprint();
        let is_local = self.settings.auth_localhost && datagram.from.is_loopback();
        if !self.settings.cache_unlisted && !is_local && !self.authorized.lists(&fingerprint) {
            self.stats.unlisted = self.stats.unlisted.saturating_add(1);
            return Err(Some(AnnouncementError::NotListed.into()));
        }
        let recall = self.known.recall(unverified);
        if let Recall::New(unverified) = &recall {
            let bits = unverified.key_bits().unwrap_or(0);
            if !self.budget.signature(now, bits) {
                self.drop_datagram(now, "discovery.signatures", SIGNATURES);
                return Err(None);
            }
        }
        Ok(recall)
    }

    fn take(&mut self, now: Instant, wall: UnixTime, checked: Checked) {
        let Checked { result, datagram } = checked;
        let announcement = match result {
            Ok(announcement) => announcement,
            Err(error) => return self.refuse(now, datagram.from, error.into()),
        };
        let mut events = Vec::new();
        let uri = announcement.uri().ip();
        let fingerprint = announcement.fingerprint();
        let identity = announcement.identity().to_string();
        let sectors = self.local_sectors(&datagram, &announcement);
        tell_oddities(&announcement, &mut |event| events.push(event));
        let change = self
            .registry
            .receive(now, wall, announcement, Some(datagram.digest));
        if change.is_change() {
            events.into_iter().for_each(|event| self.tell(now, event));
            self.writer.changed();
        }
        match change {
            Change::Refreshed | Change::Ignored => {
                self.stats.refreshed = self.stats.refreshed.saturating_add(1);
            }
            Change::Replayed | Change::TooOld => {
                self.stats.replayed = self.stats.replayed.saturating_add(1);
                let event = Event::Replayed {
                    fingerprint,
                    identity,
                };
                self.tell(now, event);
            }
            Change::Refused(name, value) => self.drop_datagram(now, name, value),
            Change::Added | Change::Replaced | Change::Withdrawn => {}
        }
        if change.is_accepted() {
            self.authorize_locally(fingerprint, sectors);
            if datagram.via == Via::Multicast {
                self.relay(now, uri, &datagram.octets);
            }
        }
    }

    /// Sends a datagram of ours, or of another program of this host, to the peers (D-40).
    fn relay(&mut self, now: Instant, uri: Option<IpAddr>, octets: &[u8]) {
        let is_ours = uri.is_some_and(|ip| self.peering.is_own(ip) && !ip.is_loopback());
        if !is_ours || octets.len() > DATAGRAM_SENT {
            return;
        }
        let octets = Bytes::copy_from_slice(octets);
        let hosts: Vec<_> = self.peering.seen(now).collect();
        for host in hosts {
            if self.commands.len() >= COMMANDS {
                return self.drop_datagram(now, "discovery.commands", COMMANDS_NUMBER);
            }
            self.stats.relayed = self.stats.relayed.saturating_add(1);
            self.commands.push_back(Command::Send(host, octets.clone()));
        }
    }

    fn is_local(&self, fingerprint: &Fingerprint) -> bool {
        self.settings.auth_localhost && self.local.contains_key(fingerprint)
    }

    /// The sectors to be authorized for a service of this host (D-41).
    fn local_sectors(&self, datagram: &Datagram, announcement: &Announcement) -> BTreeSet<String> {
        if !self.settings.auth_localhost || !datagram.from.is_loopback() {
            return BTreeSet::new();
        }
        let own = announcement
            .actions()
            .map(|action| action.sector.to_string());
        own.filter(|sector| is_plain_word(sector)).collect()
    }

    fn authorize_locally(&mut self, fingerprint: Fingerprint, sectors: BTreeSet<String>) {
        if sectors.is_empty() {
            return;
        }
        let known = self.local.entry(fingerprint).or_default();
        let before = known.len();
        known.extend(sectors);
        if known.len() == before {
            return;
        }
        let mut text = Vec::from(AUTHORIZED_BY_US);
        for (fingerprint, sectors) in &self.local {
            text.extend_from_slice(fingerprint.to_string().as_bytes());
            for (index, sector) in sectors.iter().enumerate() {
                text.extend_from_slice(if index == 0 { b"\t" } else { b", " });
                text.extend_from_slice(sector.as_bytes());
                text.extend_from_slice(b":ALL");
            }
            text.push(b'\n');
        }
        self.commands
            .retain(|command| !matches!(command, Command::WriteAuthorized(_)));
        self.commands
            .push_back(Command::WriteAuthorized(text.into()));
    }

    fn refuse(&mut self, now: Instant, from: IpAddr, error: DatagramError) {
        // A later version is nobody's fault (D-15).
        if matches!(
            error,
            DatagramError::Announcement(AnnouncementError::TooNew(_))
        ) {
            return;
        }
        self.stats.bad = self.stats.bad.saturating_add(1);
        self.tell(now, Event::BadDatagram { from, error });
    }

    fn drop_datagram(&mut self, now: Instant, name: &'static str, value: u64) {
        self.stats.dropped = self.stats.dropped.saturating_add(1);
        self.tell(now, Event::LimitHit(name, value));
    }

    /// Tells ten events at once, and then one a second (HD-29).
    fn tell(&mut self, now: Instant, event: Event) {
        if self.events.len() < EVENTS && self.event_budget.take(now, 1) {
            self.events.push_back(event);
        } else {
            self.stats.events_left_out = self.stats.events_left_out.saturating_add(1);
        }
    }
}

/// Whether a file that says this, or none, may be replaced by [`Command::WriteAuthorized`]: only one
/// that was written by us (D-41).
pub fn may_write_authorized(existing: Option<&[u8]>) -> bool {
    existing.is_none_or(|text| text.starts_with(AUTHORIZED_BY_US))
}

/// Whether a sector means itself in authorized_services.
fn is_plain_word(sector: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    !sector.is_empty() && sector.bytes().all(is_plain)
}

/// How a file begins that was written by us.
const AUTHORIZED_BY_US: &[u8] = b"# Written by the cache manager (discovery.auth_localhost).\n";

/// Datagrams to be sent that are kept.
const COMMANDS: usize = 4096;
const COMMANDS_NUMBER: u64 = 4096;

/// Events that are kept until somebody asks for them.
const EVENTS: usize = 100;

#[cfg(test)]
mod tests;
