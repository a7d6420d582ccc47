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
mod tests {
    use std::{format, vec};

    use super::*;
    use crate::discovery::datagram::compress;
    use crate::discovery::tests::{Toy, certificate, sign, text_of};
    use crate::discovery::{Description, Offer};

    const FROM: &str = "192.0.2.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seconds(seconds: u64) -> Instant {
        Instant::from_epoch(Duration::from_secs(seconds))
    }

    fn service(identity: &str, host: &str, weight: u32, time: i64) -> Bytes {
        let uri = format!("beepish+tls://{host}:30100").parse().unwrap();
        let mut service = Description::new(identity, uri);
        service.weight = weight;
        service.actions.push(Offer::new("A.b").unwrap());
        service
            .actions
            .push(Offer::new("A.c").unwrap().sector("web"));
        compress(sign(&service, time * 1_000_000).text().as_bytes()).unwrap()
    }

    fn listed() -> Arc<AuthorizedServices> {
        let line = format!("{} main:ALL\n", Fingerprint::of(&certificate()));
        Arc::new(AuthorizedServices::parse(line.as_bytes(), &mut |event| {
            panic!("{event}")
        }))
    }

    fn manager(settings: Settings) -> CacheManager {
        let mut manager = CacheManager::new(seconds(0), settings, 7);
        manager.set_authorized(listed());
        manager
    }

    fn settle(manager: &mut CacheManager, now: Instant) {
        let wall = UnixTime::default();
        while let Some(pending) = manager.poll_pending(now, wall) {
            manager.checked(now, wall, pending.verify(&Toy, false));
        }
    }

    fn hear(manager: &mut CacheManager, now: Instant, datagram: &[u8]) {
        manager.receive(now, ip(FROM), Via::Multicast, datagram);
        settle(manager, now);
    }

    fn commands(manager: &mut CacheManager, now: Instant) -> Vec<Command> {
        let mut all = Vec::new();
        while let Some(command) = manager.poll_command(now) {
            if matches!(command, Command::Write(_) | Command::Touch) {
                manager.written(now, Ok(()));
            }
            all.push(command);
        }
        all
    }

    /// What is written next, as identities.
    fn written(commands: &[Command]) -> Vec<Vec<String>> {
        let write = |command: &Command| match command {
            Command::Write(octets) => {
                let before = super::super::cache_file::Content::new();
                let mut reading = super::super::cache_file::Reading::new(&before);
                reading.feed(octets);
                let content = reading.finish(&Toy, false, &mut |event| panic!("{event}"));
                let content = content.unwrap_or_default();
                Some(
                    content
                        .instances()
                        .map(|it| it.identity().to_string())
                        .collect(),
                )
            }
            _ => None,
        };
        commands.iter().filter_map(write).collect()
    }

    /// D-22, D-24, D-33, D-34: what is heard is written, once a second; what is not heard any more or
    /// withdraws is not; without change the file is touched.
    #[test]
    fn the_file_has_what_is_heard() {
        let mut manager = manager(Settings::default());
        let none = Vec::<Vec<String>>::new();
        assert_eq!(
            written(&commands(&mut manager, seconds(0))),
            [Vec::<String>::new()]
        );
        hear(&mut manager, seconds(1), &service("b", "192.0.2.7", 1, 1));
        assert_eq!(written(&commands(&mut manager, seconds(1))), [["b"]]);
        hear(&mut manager, seconds(1), &service("a", "192.0.2.7", 1, 1));
        assert_eq!(written(&commands(&mut manager, seconds(1))), none);
        assert_eq!(manager.poll_timeout(), Some(seconds(2)));
        assert_eq!(written(&commands(&mut manager, seconds(2))), [["a", "b"]]);
        // Known datagrams change nothing.
        for now in 3..8 {
            hear(&mut manager, seconds(now), &service("a", "192.0.2.7", 1, 1));
            assert_eq!(written(&commands(&mut manager, seconds(now))), none);
        }
        assert_eq!(
            (manager.stats().refreshed, manager.stats().verified),
            (5, 2)
        );
        hear(&mut manager, seconds(8), &service("a", "192.0.2.7", 0, 2));
        assert_eq!(written(&commands(&mut manager, seconds(8))), [["b"]]);
        let end = manager.registry.poll_timeout().unwrap();
        manager.handle_timeout(end);
        assert_eq!(
            written(&commands(&mut manager, end)),
            [Vec::<String>::new()]
        );
        // The same content again is not written again.
        manager.set_authorized(listed());
        let later = end + Duration::from_secs(5);
        assert_eq!(written(&commands(&mut manager, later)), none);
        let later = later + Duration::from_secs(60);
        assert!(commands(&mut manager, later).contains(&Command::Touch));
    }

    /// D-34: a restart listens before it writes, and then writes all it heard.
    #[test]
    fn a_restart_listens_first() {
        let existing_age = Some(Duration::from_secs(30));
        let mut manager = manager(Settings {
            existing_age,
            ..Settings::default()
        });
        hear(&mut manager, seconds(3), &service("a", "192.0.2.7", 1, 1));
        assert!(written(&commands(&mut manager, seconds(9))).is_empty());
        hear(&mut manager, seconds(9), &service("b", "192.0.2.7", 1, 1));
        assert_eq!(written(&commands(&mut manager, seconds(10))), [["a", "b"]]);
    }

    /// HD-35, D-42, G-10: an unlisted certificate costs no verification, is not written, and goes
    /// when it is taken off the list; `cache_unlisted` keeps it.
    #[test]
    fn unlisted_certificates() {
        let mut manager = manager(Settings::default());
        commands(&mut manager, seconds(0));
        hear(&mut manager, seconds(0), &service("a", "192.0.2.7", 1, 1));
        manager.set_authorized(Arc::new(AuthorizedServices::none()));
        assert_eq!(
            written(&commands(&mut manager, seconds(2))),
            [] as [Vec<String>; 0]
        );
        manager.receive(
            seconds(3),
            ip(FROM),
            Via::Multicast,
            &service("b", "192.0.2.7", 1, 1),
        );
        assert!(
            manager
                .poll_pending(seconds(3), UnixTime::default())
                .is_none()
        );
        assert_eq!(
            (manager.stats().unlisted, manager.instances().count()),
            (1, 1)
        );
        let mut open = CacheManager::new(
            seconds(0),
            Settings {
                cache_unlisted: true,
                ..Settings::default()
            },
            1,
        );
        hear(&mut open, seconds(0), &service("b", "192.0.2.7", 1, 1));
        open.handle_timeout(seconds(0));
        open.set_authorized(Arc::new(AuthorizedServices::none()));
        assert_eq!(written(&commands(&mut open, seconds(1))), [["b"]]);
    }

    /// D-26, N-43, X-57: plain, compressed and prefixed datagrams are one announcement.
    #[test]
    fn datagrams_of_all_kinds() {
        let text = text_of(r#"[3,"a","main",1,5000,"beepish+tls://192.0.2.7:1",["json"],[],1]"#);
        let packed = compress(text.as_bytes()).unwrap();
        let with = |octet: u8, rest: &[u8]| [&[octet], rest].concat();
        for datagram in [
            text.clone().into_bytes(),
            packed.to_vec(),
            with(b'R', &packed),
            with(b'D', text.as_bytes()),
            [&packed[..], b"trailing"].concat(),
        ] {
            let mut manager = manager(Settings::default());
            hear(&mut manager, seconds(0), &datagram);
            assert_eq!(manager.instances().count(), 1);
        }
        let mut bad = manager(Settings::default());
        for datagram in [&b""[..], b"R", b"x", &packed[..40], &with(b'X', &packed)] {
            hear(&mut bad, seconds(0), datagram);
        }
        assert_eq!((bad.stats().bad, bad.instances().count()), (5, 0));
    }

    /// D-37, D-38, D-39: peers are greeted; what they relay waits a little, and not if multicast was
    /// quicker.
    #[test]
    fn peers() {
        let mut manager = manager(Settings {
            seed_hosts: vec![ip("198.51.100.1")],
            ..Settings::default()
        });
        let all = commands(&mut manager, seconds(0));
        assert!(all.contains(&Command::Send(ip("198.51.100.1"), "X".into())));
        let peer = ip("198.51.100.2");
        manager.receive(seconds(0), peer, Via::Peering, b"X");
        manager.receive(
            seconds(0),
            peer,
            Via::Peering,
            &service("a", "192.0.2.7", 1, 1),
        );
        let due = manager.poll_timeout().unwrap();
        assert!(
            (200..=500).contains(&due.since_epoch().as_millis()),
            "{due:?}"
        );
        settle(
            &mut manager,
            Instant::from_epoch(Duration::from_millis(199)),
        );
        assert_eq!(manager.instances().count(), 0);
        settle(&mut manager, due);
        assert_eq!(
            (manager.instances().count(), manager.stats().verified),
            (1, 1)
        );
        // Relayed once more while multicast brings it.
        manager.receive(
            seconds(1),
            peer,
            Via::Peering,
            &service("b", "192.0.2.7", 1, 1),
        );
        hear(&mut manager, seconds(1), &service("b", "192.0.2.7", 1, 1));
        settle(&mut manager, seconds(2));
        assert_eq!(
            (manager.instances().count(), manager.stats().verified),
            (2, 2)
        );
        let all = commands(&mut manager, seconds(10));
        assert!(all.contains(&Command::Send(peer, "X198.51.100.2".into())));
        assert_eq!(
            manager.stats().relayed,
            0,
            "what came by peering is never relayed"
        );
    }

    /// D-40: what multicast brings of services of ours is relayed as it is to the hosts seen; that of
    /// others, and of loopback, is not.
    #[test]
    fn relaying() {
        let mut manager = manager(Settings {
            own_addresses: vec![ip("192.0.2.7"), ip("127.0.0.1")],
            ..Settings::default()
        });
        commands(&mut manager, seconds(0));
        let peer = ip("198.51.100.2");
        manager.receive(seconds(1), peer, Via::Peering, b"X");
        let sent = |manager: &mut CacheManager, now, datagram: &Bytes| {
            hear(manager, now, datagram);
            let all = commands(manager, now);
            all.contains(&Command::Send(peer, datagram.clone()))
        };
        let ours = service("ours", "192.0.2.7", 1, 1);
        assert!(sent(&mut manager, seconds(1), &ours));
        assert!(sent(&mut manager, seconds(2), &ours), "a refresh, too");
        assert!(sent(
            &mut manager,
            seconds(2),
            &service("ours", "192.0.2.7", 0, 2)
        ));
        assert!(!sent(&mut manager, seconds(2), &ours), "but no replay");
        assert!(!sent(
            &mut manager,
            seconds(3),
            &service("theirs", "192.0.2.8", 1, 1)
        ));
        assert!(!sent(
            &mut manager,
            seconds(3),
            &service("local", "127.0.0.1", 1, 1)
        ));
        manager.receive(
            seconds(3),
            peer,
            Via::Peering,
            &service("ours", "192.0.2.7", 1, 9),
        );
        settle(&mut manager, seconds(4));
        assert_eq!(manager.stats().relayed, 3);
    }

    /// D-41: for development, services of this host are listed by themselves.
    #[test]
    fn local_services_are_listed() {
        let mut manager = CacheManager::new(
            seconds(0),
            Settings {
                auth_localhost: true,
                ..Settings::default()
            },
            1,
        );
        manager.receive(
            seconds(0),
            ip(FROM),
            Via::Multicast,
            &service("far", "192.0.2.7", 1, 1),
        );
        manager.receive(
            seconds(0),
            ip("127.0.0.1"),
            Via::Multicast,
            &service("near", "127.0.0.1", 1, 1),
        );
        settle(&mut manager, seconds(0));
        let all = commands(&mut manager, seconds(1));
        let fingerprint = Fingerprint::of(&certificate());
        let text = format!(
            "# Written by the cache manager (discovery.auth_localhost).\n{fingerprint}\tmain:ALL, web:ALL\n"
        );
        assert!(
            all.contains(&Command::WriteAuthorized(text.clone().into())),
            "{all:?}"
        );
        assert_eq!(written(&all), [["near"]]);
        assert!(may_write_authorized(None) && may_write_authorized(Some(text.as_bytes())));
        assert!(!may_write_authorized(Some(b"")) && !may_write_authorized(Some(b"# mine")));
    }

    /// F-45: a failed write is told, and what was to be written is written at the next change.
    #[test]
    fn failed_writes() {
        let mut manager = manager(Settings::default());
        commands(&mut manager, seconds(0));
        hear(&mut manager, seconds(1), &service("a", "192.0.2.7", 1, 1));
        assert!(matches!(
            manager.poll_command(seconds(1)),
            Some(Command::Write(_))
        ));
        manager.written(seconds(1), Err("no space left on device"));
        assert_eq!(
            manager.poll_event(),
            Some(Event::FileUnwritable("no space left on device".into()))
        );
        assert_eq!(manager.poll_command(seconds(3)), None);
        hear(&mut manager, seconds(3), &service("b", "192.0.2.7", 1, 1));
        assert_eq!(written(&commands(&mut manager, seconds(3))), [["a", "b"]]);
    }

    /// F-50, HD-34, HD-36, HD-38, HD-29: a storm of a million datagrams, of new identities, replays,
    /// changed octets and bombs, from many addresses: work and memory stay within bounds, what is
    /// known is refreshed through it all, and nothing of the storm is kept.
    #[test]
    fn storms() {
        let mut manager = manager(Settings::default());
        let honest = service("honest", "192.0.2.7", 1, 100);
        let replay = service("honest", "192.0.2.7", 1, 50);
        hear(&mut manager, seconds(0), &honest);
        let bomb = compress(&vec![b' '; 8 << 20]).unwrap();
        let mut rng = Rng::new(5);
        let mut changed = honest.to_vec();
        let mut now = seconds(0);
        for n in 0..1_000_000_u32 {
            // Some hundred thousand in a second.
            now = now + Duration::from_micros(10);
            let from = IpAddr::V4(core::net::Ipv4Addr::from_bits(0xC633_0000 + n % 5000));
            match n % 100 {
                0 => manager.receive(now, from, Via::Multicast, &replay),
                1 => manager.receive(now, from, Via::Multicast, &bomb[..bomb.len().min(900)]),
                2 if n % 1000 == 2 => manager.receive(now, from, Via::Peering, &bomb),
                _ => {
                    let at = rng.below(honest.len() as u64) as usize;
                    changed[at] ^= 1 << rng.below(8);
                    manager.receive(now, from, Via::Multicast, &changed);
                    changed[at] = honest[at];
                }
            }
            if n % 100_000 == 7 {
                let before = manager.stats().refreshed;
                manager.receive(now, ip(FROM), Via::Multicast, &honest);
                assert_eq!(manager.stats().refreshed, before + 1);
            }
            // As often as a reader of a busy socket comes round.
            if n % 50 == 0 {
                settle(&mut manager, now);
                while manager.poll_event().is_some() {}
            }
            assert!(manager.queue.len() + manager.delayed.len() <= DATAGRAM_QUEUE);
        }
        let stats = manager.stats();
        assert!(stats.verified <= 500 * 11, "{stats:?}");
        assert!(stats.dropped > 900_000, "{stats:?}");
        assert_eq!(manager.instances().count(), 1);
        assert!(manager.inflater.memory() <= 4 << 20);
        assert!(manager.events.len() <= EVENTS);
    }

    /// F-50, HD-34, HD-36, D-43: a storm of new services, well signed by somebody who is listed: no more
    /// than may be of one certificate are taken, none of those is driven out again, and whoever looks
    /// services up in what is written finds the live ones all the while.
    #[test]
    fn storms_of_new_services() {
        use crate::discovery::cache_file::{Content, Reading};
        use crate::discovery::{Directory, Query};

        let mut manager = manager(Settings::default());
        let honest = service("honest", "192.0.2.7", 1, 100);
        hear(&mut manager, seconds(1), &honest);
        let all = AuthorizedServices::allow_all();
        let mut content = Content::new();
        let (mut lookups, mut most) = (0, 0);
        for n in 0..8_000_u32 {
            // A thousand in a second, from forty addresses.
            let now = seconds(1) + Duration::from_millis(n.into());
            let from = IpAddr::V4(core::net::Ipv4Addr::from_bits(0xC633_0000 + n % 40));
            let intruder = service(&format!("intruder {n}"), "198.51.100.1", 1, 1);
            manager.receive(now, from, Via::Multicast, &intruder);
            if n % 1000 == 0 {
                manager.receive(now, ip(FROM), Via::Multicast, &honest);
            }
            settle(&mut manager, now);
            while manager.poll_event().is_some() {}
            most = most.max(manager.instances().count());
            for command in commands(&mut manager, now) {
                let Command::Write(file) = command else {
                    continue;
                };
                let mut reading = Reading::new(&content);
                reading.feed(&file);
                content = reading
                    .finish(&Toy, false, &mut |event| panic!("{event}"))
                    .unwrap();
                let instances = content.instances().cloned();
                let directory = Directory::build(instances, &mut |event| panic!("{event}"));
                let query = Query {
                    instance: Some("honest"),
                    ..Query::new("main", "A.b")
                };
                let mut found = directory.lookup(&query, &all).unwrap();
                assert_eq!(found.next().unwrap().instance.identity(), "honest");
                lookups += 1;
            }
        }
        assert_eq!(most, 256);
        assert!(lookups >= 2, "{lookups}");
        let stats = manager.stats();
        assert!(stats.verified <= 500 * 10, "{stats:?}");
        assert!(manager.known.len() <= 10_000);
        // They are gone when they are not heard any more; the live one is not.
        manager.receive(seconds(18), ip(FROM), Via::Multicast, &honest);
        manager.handle_timeout(seconds(28));
        assert_eq!(manager.instances().count(), 1);
    }

    /// F-48, F-49, D-21, D-22: whatever the wall clock says here or there, and however it jumps, what
    /// was heard counts for as long as it is heard, by our own clock.
    #[test]
    fn wall_clocks_jump() {
        const DAY: i64 = 86_400;
        const YEARS: i64 = 70 * 365 * DAY;
        const NOW: i64 = 1_700_000_000;
        let jumps = [
            0,
            DAY,
            -DAY,
            YEARS,
            -YEARS,
            -NOW,
            i64::MAX / 2_000_000,
            i64::MIN / 2_000_000,
        ];
        let mut manager = manager(Settings::default());
        for (n, jump) in (0..).zip(jumps) {
            // Here it jumps, and there it is that much off.
            let identity = format!("service {n}");
            let datagram = service(&identity, "192.0.2.7", 1, NOW + jump);
            manager.receive(seconds(n), ip(FROM), Via::Multicast, &datagram);
            let wall = UnixTime::from_micros((NOW - jump).saturating_mul(1_000_000));
            while let Some(pending) = manager.poll_pending(seconds(n), wall) {
                manager.checked(seconds(n), wall, pending.verify(&Toy, false));
            }
            assert_eq!(manager.instances().count() as u64, n + 1, "{jump}");
        }
        // Each goes when it was not heard for 10.5 s of ours, at whatever time of day.
        let millis = |n: u64| Instant::from_epoch(Duration::from_millis(n));
        for (n, left) in (0..8).zip((0..8).rev()) {
            manager.handle_timeout(millis(1000 * n + 10_499));
            assert_eq!(manager.instances().count(), left + 1);
            manager.handle_timeout(millis(1000 * n + 10_500));
            assert_eq!(manager.instances().count(), left);
        }
        // Where announcements must be fresh, no time of day goes wrong either.
        let mut strict = super::tests::manager(Settings {
            max_announcement_age: Some(Duration::from_secs(60)),
            ..Settings::default()
        });
        let datagram = service("a", "192.0.2.7", 1, NOW);
        for (wall, count) in [
            (i64::MAX, 0),
            (i64::MIN, 1),
            (0, 1),
            (NOW * 1_000_000, 1),
            ((NOW + DAY) * 1_000_000, 0),
        ] {
            strict.receive(seconds(0), ip(FROM), Via::Multicast, &datagram);
            let wall = UnixTime::from_micros(wall);
            while let Some(pending) = strict.poll_pending(seconds(0), wall) {
                strict.checked(seconds(0), wall, pending.verify(&Toy, false));
            }
            assert_eq!(strict.instances().count(), count, "{wall}");
            strict = super::tests::manager(strict.settings.clone());
        }
    }
}
