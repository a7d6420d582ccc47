//! Where connections lead, and which of them there are.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::backoff::Backoff;
use super::command::{CallId, Command, LinkId, PinId};
use crate::auth::Fingerprint;
use crate::discovery::Instance;
use crate::limits::PLACE_KEPT;
use crate::{Instant, Rng};

/// The connections of a requester, by where they lead: (URI, fingerprint), never the URI alone
/// (N-56, X-49).
///
/// It keeps this true: a place that somebody waits at has a dial in progress, or an alarm for when
/// the next may begin, and never two dials.
#[derive(Debug, Default)]
pub(super) struct Pool {
    places: BTreeMap<PlaceId, Place>,
    /// The places of each certificate: mostly one.
    by_fingerprint: BTreeMap<Fingerprint, Vec<PlaceId>>,
    links: BTreeMap<LinkId, Link>,
    alarms: BTreeSet<(Instant, PlaceId)>,
    dialing: usize,
    next_place: u64,
    next_link: u64,
    pub(super) commands: VecDeque<Command>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct PlaceId(u64);

/// Whether a connection to one is a connection to the other.
pub(super) fn share_a_place(one: &Instance, other: &Instance) -> bool {
    one.fingerprint() == other.fingerprint() && one.uri() == other.uri()
}

#[derive(Debug)]
struct Place {
    /// The instance it was last wanted for.
    instance: Arc<Instance>,
    backoff: Backoff,
    dialing: Option<LinkId>,
    /// Connections that take requests.
    up: Vec<LinkId>,
    /// Connections there are, those included that take nothing new.
    links: usize,
    /// Calls that wait for a connection; some may have been given up.
    waiting: VecDeque<CallId>,
    /// Pins that wait for a connection, and when each may have one.
    pins: BTreeMap<PinId, Instant>,
    /// Calls that wait or were sent.
    outstanding: u32,
    alarm: Option<Instant>,
    /// When it was last of use.
    used: Instant,
}

#[derive(Debug)]
struct Link {
    place: PlaceId,
    /// Since when it is established.
    up: Option<Instant>,
    /// Whether it is known to be gone, although that was not told yet.
    is_gone: bool,
    /// Whether it was said that it is to be closed.
    is_closing: bool,
    pin: Option<PinId>,
}

/// What has become of a connection's place.
pub(super) struct Gone {
    pub(super) instance: Arc<Instance>,
    /// Calls that waited for it.
    pub(super) waiting: VecDeque<CallId>,
    /// Pins that wait for it, and go on waiting.
    pub(super) pins: Vec<PinId>,
}

impl Pool {
    /// The place an instance is at, made if there is none.
    pub(super) fn place(&mut self, now: Instant, instance: &Arc<Instance>) -> PlaceId {
        if let Some(id) = self.find(instance) {
            if let Some(place) = self.places.get_mut(&id) {
                place.instance = instance.clone();
            }
            return id;
        }
        let id = PlaceId(self.next_place);
        self.next_place += 1;
        let place = Place {
            instance: instance.clone(),
            backoff: Backoff::default(),
            dialing: None,
            up: Vec::new(),
            links: 0,
            waiting: VecDeque::new(),
            pins: BTreeMap::new(),
            outstanding: 0,
            alarm: None,
            used: now,
        };
        self.places.insert(id, place);
        let ids = self.by_fingerprint.entry(instance.fingerprint());
        ids.or_default().push(id);
        id
    }

    /// Whether a call could be sent, or a connection be dialled for it, without waiting.
    pub(super) fn is_ready(&self, now: Instant, instance: &Instance) -> bool {
        self.not_before(instance).is_none_or(|at| at <= now)
    }

    /// When a connection to an instance may be dialled; `None` if there is one, or always.
    pub(super) fn not_before(&self, instance: &Instance) -> Option<Instant> {
        let place = self.at(instance)?;
        match place.up.is_empty() && place.dialing.is_none() {
            true => Some(place.backoff.not_before()),
            false => None,
        }
    }

    /// Calls that wait for an instance or were sent to it.
    pub(super) fn outstanding(&self, instance: &Instance) -> u32 {
        self.at(instance).map_or(0, |place| place.outstanding)
    }

    fn at(&self, instance: &Instance) -> Option<&Place> {
        self.places.get(&self.find(instance)?)
    }

    fn find(&self, instance: &Instance) -> Option<PlaceId> {
        let ids = self.by_fingerprint.get(&instance.fingerprint())?;
        let is_here = |id: &&PlaceId| {
            let place = self.places.get(id);
            place.is_some_and(|place| place.instance.uri() == instance.uri())
        };
        ids.iter().find(is_here).copied()
    }

    /// Counts a call at a place.
    pub(super) fn enter(&mut self, now: Instant, id: PlaceId) {
        if let Some(place) = self.places.get_mut(&id) {
            place.outstanding += 1;
            place.used = now;
        }
    }

    /// Takes a call off a place's count.
    pub(super) fn leave(&mut self, now: Instant, id: PlaceId) {
        if let Some(place) = self.places.get_mut(&id) {
            place.outstanding = place.outstanding.saturating_sub(1);
            place.used = now;
        }
        self.tend(now, id);
    }

    /// The connection a call may be sent on at once.
    pub(super) fn link(&self, id: PlaceId) -> Option<LinkId> {
        let place = self.places.get(&id)?;
        let free = |link: &&LinkId| self.links.get(link).is_some_and(|link| link.pin.is_none());
        place.up.iter().find(free).or(place.up.first()).copied()
    }

    /// Has a call wait for a connection.
    pub(super) fn wait(&mut self, now: Instant, id: PlaceId, call: CallId) {
        if let Some(place) = self.places.get_mut(&id) {
            place.waiting.push_back(call);
        }
        self.tend(now, id);
    }

    /// Takes a call out of those that wait.
    pub(super) fn stop_waiting(&mut self, id: PlaceId, call: CallId) {
        if let Some(place) = self.places.get_mut(&id) {
            place.waiting.retain(|other| *other != call);
        }
    }

    /// Has a pin wait for a connection of its own, until `at` at least.
    pub(super) fn pin(&mut self, now: Instant, id: PlaceId, pin: PinId, at: Instant) {
        if let Some(place) = self.places.get_mut(&id) {
            place.pins.insert(pin, at);
        }
        self.give_to_pins(id);
        self.tend(now, id);
    }

    /// Ends a pin; its connection stays, for others.
    pub(super) fn unpin(&mut self, now: Instant, id: PlaceId, pin: PinId) {
        if let Some(place) = self.places.get_mut(&id) {
            place.pins.remove(&pin);
            for link in &place.up {
                if let Some(link) = self.links.get_mut(link) {
                    link.pin = link.pin.filter(|other| *other != pin);
                }
            }
        }
        self.tend(now, id);
    }

    /// A connection is established; returns its place and the calls that waited for it.
    pub(super) fn established(
        &mut self,
        now: Instant,
        id: LinkId,
    ) -> Option<(PlaceId, VecDeque<CallId>)> {
        let link = self.links.get_mut(&id).filter(|link| link.up.is_none())?;
        link.up = Some(now);
        let at = link.place;
        let place = self.places.get_mut(&at)?;
        place.dialing = None;
        self.dialing -= 1;
        place.up.push(id);
        place.used = now;
        let waiting = core::mem::take(&mut place.waiting);
        self.give_to_pins(at);
        self.tend(now, at);
        Some((at, waiting))
    }

    /// A connection was not established; returns the calls that waited for it.
    pub(super) fn not_established(
        &mut self,
        now: Instant,
        id: LinkId,
        rng: &mut Rng,
    ) -> Option<Gone> {
        self.links.get(&id).filter(|link| link.up.is_none())?;
        let link = self.links.remove(&id)?;
        let place = self.places.get_mut(&link.place)?;
        place.dialing = None;
        self.dialing -= 1;
        place.links -= 1;
        place.used = now;
        place.backoff.failed(now, rng);
        let gone = Gone {
            instance: place.instance.clone(),
            waiting: core::mem::take(&mut place.waiting),
            pins: place.pins.keys().copied().collect(),
        };
        self.tend(now, link.place);
        Some(gone)
    }

    /// A connection takes nothing new; what it carries goes on.
    pub(super) fn retire(&mut self, now: Instant, id: LinkId) {
        let Some(at) = self.links.get(&id).map(|link| link.place) else {
            return;
        };
        if let Some(place) = self.places.get_mut(&at) {
            place.up.retain(|other| *other != id);
        }
        self.tend(now, at);
    }

    /// A connection is known to be gone by what became of a request on it.
    pub(super) fn suspect(&mut self, now: Instant, id: LinkId, rng: &mut Rng) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let since = link.up.filter(|_| !link.is_gone);
        link.is_gone = true;
        if let (Some(since), Some(place)) = (since, self.places.get_mut(&link.place)) {
            place.backoff.lost(now, since, rng);
        }
        self.retire(now, id);
    }

    /// A connection is gone; returns the pin that lost it.
    pub(super) fn lost(&mut self, now: Instant, id: LinkId, rng: &mut Rng) -> Option<PinId> {
        self.links.get(&id)?.up?;
        self.suspect(now, id, rng);
        let link = self.links.remove(&id)?;
        let place = self.places.get_mut(&link.place)?;
        place.links -= 1;
        place.used = now;
        self.tend(now, link.place);
        link.pin
    }

    /// Whether this link is being dialled.
    pub(super) fn is_dialing(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.up.is_none())
    }

    /// Acts on the alarms that have passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.alarms.first().copied() {
            if at > now {
                break;
            }
            self.alarms.pop_first();
            if let Some(place) = self.places.get_mut(&id) {
                place.alarm = None;
            }
            self.tend(now, id);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Closes every connection, and forgets every pin.
    pub(super) fn close_all(&mut self) {
        for place in self.places.values_mut() {
            place.pins.clear();
            place.up.clear();
        }
        // One that is being dialled is closed when it is there.
        for (id, link) in &mut self.links {
            if link.up.is_some() && !link.is_closing {
                link.is_closing = true;
                self.commands.push_back(Command::Close(*id));
            }
        }
    }

    /// Calls that wait where no dial is in progress.
    pub(super) fn stuck(&self) -> impl Iterator<Item = CallId> {
        let stuck = self.places.values().filter(|place| place.dialing.is_none());
        stuck.flat_map(|place| place.waiting.iter().copied())
    }

    pub(super) fn has_no_links(&self) -> bool {
        self.links.is_empty()
    }

    /// Places, connections, and those of them that are being dialled.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.places.len(), self.links.len(), self.dialing)
    }

    /// Gives connections that nobody has pinned to the pins that wait.
    fn give_to_pins(&mut self, id: PlaceId) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        for id in &place.up {
            let Some(link) = self.links.get_mut(id).filter(|link| link.pin.is_none()) else {
                continue;
            };
            let Some((pin, _)) = place.pins.pop_first() else {
                return;
            };
            link.pin = Some(pin);
            self.commands.push_back(Command::Pinned { pin, link: *id });
        }
    }

    /// Dials if somebody waits, sets the alarm if it is too early for that, and forgets a place
    /// that is of no use any more.
    fn tend(&mut self, now: Instant, id: PlaceId) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        let not_before = place.backoff.not_before();
        let of_calls = (!place.waiting.is_empty() && place.up.is_empty()).then_some(not_before);
        let of_pins = place.pins.values().min().map(|at| not_before.max(*at));
        let dial_at = [of_calls, of_pins].into_iter().flatten().min();
        let alarm = match dial_at {
            Some(_) if place.dialing.is_some() => None,
            Some(at) if at <= now => {
                let link = LinkId(self.next_link);
                self.next_link += 1;
                place.dialing = Some(link);
                place.links += 1;
                self.dialing += 1;
                let instance = place.instance.clone();
                let at = id;
                self.links.insert(
                    link,
                    Link {
                        place: at,
                        up: None,
                        is_gone: false,
                        is_closing: false,
                        pin: None,
                    },
                );
                self.commands.push_back(Command::Dial { link, instance });
                None
            }
            Some(at) => Some(at),
            None if place.links > 0 || place.outstanding > 0 => None,
            // Failures are remembered for a while, so that the next waits longer.
            None if place.backoff.has_failed() && now < place.used + PLACE_KEPT => {
                Some(place.used + PLACE_KEPT)
            }
            None => {
                return self.forget(id);
            }
        };
        if place.alarm != alarm {
            if let Some(old) = place.alarm {
                self.alarms.remove(&(old, id));
            }
            if let Some(new) = alarm {
                self.alarms.insert((new, id));
            }
            place.alarm = alarm;
        }
    }

    fn forget(&mut self, id: PlaceId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        if let Some(alarm) = place.alarm {
            self.alarms.remove(&(alarm, id));
        }
        let fingerprint = place.instance.fingerprint();
        if let Some(ids) = self.by_fingerprint.get_mut(&fingerprint) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_fingerprint.remove(&fingerprint);
            }
        }
    }
}
