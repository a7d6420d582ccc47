//! A requester among instances that fail in every way, in virtual time; and who judges it.
//!
//! ```text
//!  Requester ──Dial──> instance: up, refusing, silent     ──> established, not_established
//!     ▲      ──Send──> instance: answers, refuses, loses,  ──> outcome, lost, retire
//!     │                 closes, says nothing
//!     └── calls, abandoned calls, pins, new directories, time
//! ```
//!
//! The judge keeps books of its own and shares no code with the requester. It holds that
//!
//! * every call ends exactly once, and by its deadline (S-21, HD-49);
//! * nothing is sent twice but what S-32 and S-33 permit (HD-51);
//! * at most one dial is in progress for each (URI, fingerprint) (N-6, N-56);
//! * no dial comes before the wait of S-34 is over;
//! * requests go only where the action is offered and authorized (Z-9, N-12);
//! * at the end every table is empty (R-11).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::auth::{AuthorizedServices, Fingerprint};
use crate::discovery::{Description, Directory, Instance as Entry, Offer, Selection, Uri};
use crate::error::{CallError, CloseReason, DispatchError, ExchangeError, Loss, Phase, SendError};
use crate::limits::{CONNECT_TIMEOUT, PLACE_KEPT};
use crate::requester::{
    Call, CallId, Command, Config, Dispatch, LinkId, PinId, Requester, Stats, Verdict,
};
use crate::wire::RemoteError;
use crate::{Instant, Rng};

/// Decisions: from octets as long as there are any, then from a seed.
#[derive(Debug)]
struct Dice<'a> {
    octets: &'a [u8],
    rng: Rng,
}

impl Dice<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        match self.octets {
            [first, rest @ ..] => {
                self.octets = rest;
                u64::from(*first) % bound.max(1)
            }
            [] => self.rng.below(bound),
        }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn millis(&mut self, most: u64) -> Duration {
        let scale = [1, 10, 100, 1000][self.below(4) as usize];
        Duration::from_millis((self.below(256) * scale).min(most))
    }
}

/// How an instance treats whoever comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    /// It answers.
    Fine,
    /// It cannot be connected to.
    Refusing,
    /// It does not answer to being connected to, either (N-24).
    Silent,
    /// It is shutting down: every request is refused as not processed.
    Draining,
    /// It loses the connection before it answers.
    Flaky,
    /// It answers nothing.
    Mute,
    /// It closes what it accepts.
    Shutting,
}

const MOODS: [Mood; 7] = [
    Mood::Fine,
    Mood::Refusing,
    Mood::Silent,
    Mood::Draining,
    Mood::Flaky,
    Mood::Mute,
    Mood::Shutting,
];

type Key = (Uri, Fingerprint);

fn key(entry: &Entry) -> Key {
    (entry.uri().clone(), entry.fingerprint())
}

enum Happening {
    Call,
    Mood(usize),
    Directory,
    Established(LinkId),
    NotEstablished(LinkId),
    Outcome(LinkId, CallId, Result<(), CallError>),
    Lost(LinkId),
    Abandon(CallId),
    Unpin(PinId),
    Drain,
}

/// What the judge knows of a call.
struct Book {
    deadline: Instant,
    idempotent: bool,
    replayable: bool,
    named: bool,
    sent: Vec<Sending>,
    ended: bool,
}

/// Where a call was sent, and what came of it.
type Sending = (Arc<Entry>, Option<Result<(), CallError>>);

struct Wire {
    key: Key,
    place: usize,
    up: Option<Instant>,
    closed: bool,
    /// Calls in progress on it.
    carries: BTreeSet<CallId>,
}

/// What the judge knows of a place.
#[derive(Default)]
struct Ledger {
    failures: u32,
    last_failure: Option<Instant>,
    dialing: bool,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Calls begun.
    pub calls: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Requests sent.
    pub sent: u64,
    /// Calls that were sent twice.
    pub repeated: u64,
    /// Connections dialled.
    pub dials: u64,
    /// Times that a pin was given a connection.
    pub pinned: u64,
    /// When all was over.
    pub end: Duration,
}

/// A requester, its instances, and the judge.
struct World<'a> {
    dice: Dice<'a>,
    now: Instant,
    requester: Requester,
    entries: Vec<Arc<Entry>>,
    moods: Vec<Mood>,
    authorized: BTreeSet<Fingerprint>,
    queue: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    books: BTreeMap<CallId, Book>,
    wires: BTreeMap<LinkId, Wire>,
    ledgers: BTreeMap<Key, Ledger>,
    pins: BTreeMap<PinId, Option<LinkId>>,
    report: Report,
}

/// Runs a world made from a seed; the same seed makes the same world.
pub fn run(seed: u64) -> Report {
    run_with(&[], seed)
}

/// Runs a world in which octets decide what happens first, and a seed the rest.
pub fn run_with(octets: &[u8], seed: u64) -> Report {
    let rng = Rng::new(seed);
    World::new(Dice { octets, rng }, seed).run()
}

impl<'a> World<'a> {
    fn new(mut dice: Dice<'a>, seed: u64) -> Self {
        let count = 1 + dice.below(6) as usize;
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut authorized = BTreeSet::new();
        let mut lines = String::new();
        for number in 0..count {
            // Some share an address, a certificate, or both.
            let port = 30_100 + dice.below(number as u64 + 1);
            let certificate = [dice.below(number as u64 + 1) as u8];
            let fingerprint = Fingerprint::of(&certificate);
            let uri = format!("beepish+tls://192.0.2.1:{port}");
            let uri = uri.parse().expect("an address");
            let mut service = Description::new(format!("s{number}"), uri);
            service.weight = 1 + dice.below(3) as u32;
            let flags = ["", "read", "t3", "t1,read"][dice.below(4) as usize];
            let offer = Offer::new("A.b").expect("a name");
            service.actions.push(offer.flags(flags));
            let entry = Entry::fixed(&service, fingerprint, None);
            entries.push(Arc::new(entry.expect("it fits")));
            if !dice.one_in(8) && authorized.insert(fingerprint) {
                lines.push_str(&format!("{fingerprint} A\n"));
            }
        }
        let moods = entries.iter().map(|_| Mood::Fine).collect();
        let selection = [
            Selection::Weighted,
            Selection::Uniform,
            Selection::LeastOutstanding,
        ][dice.below(3) as usize];
        let config = Config {
            selection,
            timeout: Duration::from_secs(20),
            ..Config::default()
        };
        let mut world = Self {
            dice,
            now: Instant::EPOCH,
            requester: Requester::new(config, seed),
            entries,
            moods,
            authorized,
            queue: BTreeMap::new(),
            next: 0,
            books: BTreeMap::new(),
            wires: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            pins: BTreeMap::new(),
            report: Report::default(),
        };
        let known = AuthorizedServices::parse(lines.as_bytes(), &mut |_| {});
        world
            .requester
            .set_authorized(Instant::EPOCH, Arc::new(known));
        world.set_directory();
        for _ in 0..10 + world.dice.below(60) {
            let at = world.dice.millis(60_000);
            world.schedule(at, Happening::Call);
        }
        for _ in 0..world.dice.below(20) {
            let at = world.dice.millis(60_000);
            let which = world.dice.below(count as u64) as usize;
            world.schedule(at, Happening::Mood(which));
        }
        for _ in 0..world.dice.below(4) {
            let at = world.dice.millis(60_000);
            world.schedule(at, Happening::Directory);
        }
        world.schedule(Duration::from_secs(120), Happening::Drain);
        world
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.queue.insert((self.now + after, self.next), happening);
        self.next += 1;
    }

    /// Lists all instances, or all but some.
    fn set_directory(&mut self) {
        let all = !self.dice.one_in(2);
        let listed: Vec<_> = self
            .entries
            .iter()
            .filter(|_| all || !self.dice.one_in(3))
            .cloned()
            .collect();
        let directory = Directory::build(listed, &mut |_| {});
        self.requester.set_directory(self.now, Arc::new(directory));
    }

    fn run(mut self) -> Report {
        self.obey();
        let mut turns = 0_u32;
        loop {
            turns += 1;
            assert!(turns < 100_000, "it goes on for ever");
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let alarm = self.requester.poll_timeout();
            let Some(at) = [next, alarm].into_iter().flatten().min() else {
                break;
            };
            self.now = self.now.max(at);
            if alarm.is_some_and(|alarm| alarm <= self.now) {
                self.requester.handle_timeout(self.now);
                assert!(
                    self.requester.poll_timeout().is_none_or(|at| at > self.now),
                    "an alarm that has been acted on goes off again (Q-14)"
                );
            } else if let Some((_, happening)) = self.queue.pop_first() {
                self.happen(happening);
            }
            self.obey();
            self.look_at_deadlines();
        }
        self.judge_the_end();
        self.report.end = self.now.since_epoch();
        self.report
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Call => self.call(),
            Happening::Mood(which) => {
                self.moods[which] = MOODS[self.dice.below(MOODS.len() as u64) as usize];
            }
            Happening::Directory => self.set_directory(),
            Happening::Established(link) => {
                let wire = self.wires.get_mut(&link).expect("it was dialled");
                wire.up = Some(self.now);
                let ledger = self.ledgers.entry(wire.key.clone()).or_default();
                ledger.dialing = false;
                if self.moods[wire.place] == Mood::Shutting {
                    let after = self.dice.millis(50);
                    self.schedule(after, Happening::Lost(link));
                }
                self.requester.established(self.now, link);
            }
            Happening::NotEstablished(link) => {
                let wire = self.wires.remove(&link).expect("it was dialled");
                let ledger = self.ledgers.entry(wire.key).or_default();
                ledger.dialing = false;
                ledger.failures += 1;
                ledger.last_failure = Some(self.now);
                let reason = CloseReason::Lost(Loss::ConnectTimeout(CONNECT_TIMEOUT));
                self.requester.not_established(self.now, link, reason);
            }
            Happening::Outcome(link, call, result) => self.tell(link, call, result),
            Happening::Lost(link) => self.lose(link),
            Happening::Abandon(call) => {
                let book = self.books.get_mut(&call).expect("it was begun");
                if !book.ended {
                    book.ended = true;
                    for wire in self.wires.values_mut() {
                        wire.carries.remove(&call);
                    }
                    self.requester.abandon(self.now, call);
                }
            }
            Happening::Unpin(pin) => {
                self.pins.remove(&pin);
                self.requester.unpin(self.now, pin);
            }
            Happening::Drain => {
                self.pins.clear();
                self.requester.drain(self.now);
                let refused = self.requester.call(self.now, &Call::new("A.b"));
                match self.requester_says(refused) {
                    Some(error) => assert_eq!(error, DispatchError::Draining.into()),
                    None => panic!("a draining requester took a call (S-35)"),
                }
            }
        }
    }

    /// The failure of a call that is not in the books.
    fn requester_says(&mut self, call: CallId) -> Option<CallError> {
        let mut others = Vec::new();
        let mut found = None;
        while let Some(command) = self.requester.poll_command() {
            match command {
                Command::Fail { call: other, error } if other == call => found = Some(error),
                command => others.push(command),
            }
        }
        others.into_iter().for_each(|command| self.execute(command));
        found
    }

    fn call(&mut self) {
        if self.dice.one_in(12) {
            if let Ok(pin) = self.requester.pin(self.now, &Call::new("A.b")) {
                self.pins.insert(pin, None);
                let after = self.dice.millis(30_000);
                self.schedule(after, Happening::Unpin(pin));
            }
            return;
        }
        let named = self.dice.one_in(6).then(|| {
            let which = self.dice.below(self.entries.len() as u64) as usize;
            self.entries[which].clone()
        });
        let idempotent = [None, Some(true), Some(false)][self.dice.below(3) as usize];
        let replayable = !self.dice.one_in(4);
        let timeout = match self.dice.one_in(2) {
            true => None,
            false => Some(Duration::from_millis(1 + self.dice.below(256) * 40)),
        };
        let call = Call {
            instance: named.as_ref().map(|entry| entry.identity()),
            idempotent,
            replayable,
            timeout,
            ..Call::new("A.b")
        };
        let id = self.requester.call(self.now, &call);
        // Without a time of its own it takes the action's, which is no longer than ours.
        let most = timeout.unwrap_or(Duration::from_secs(20));
        let book = Book {
            deadline: self.now + most,
            idempotent: idempotent.unwrap_or(true),
            replayable,
            named: named.is_some(),
            sent: Vec::new(),
            ended: false,
        };
        self.books.insert(id, book);
        self.report.calls += 1;
        if self.dice.one_in(10) {
            let after = self.dice.millis(5000);
            self.schedule(after, Happening::Abandon(id));
        }
    }

    /// Does what the requester says, all of it.
    fn obey(&mut self) {
        while let Some(command) = self.requester.poll_command() {
            self.execute(command);
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Dial { link, instance } => self.dial(link, &instance),
            Command::Send(dispatch) => self.send(dispatch),
            Command::Fail { call, .. } => self.end(call),
            Command::Pinned { pin, link } => {
                let slot = self.pins.get_mut(&pin).expect("it is pinned");
                let old = slot.replace(link);
                assert!(
                    old.is_none_or(|old| !self.wires.contains_key(&old)),
                    "a pin has two connections"
                );
                let others = self.pins.iter().filter(|(other, _)| **other != pin);
                assert!(
                    others.into_iter().all(|(_, other)| *other != Some(link)),
                    "a connection has two pins"
                );
                self.report.pinned += 1;
            }
            Command::Close(link) => {
                if let Some(wire) = self.wires.get_mut(&link) {
                    assert!(wire.up.is_some(), "closed before it is established");
                    assert!(!wire.closed, "closed twice");
                    wire.closed = true;
                    self.schedule(Duration::ZERO, Happening::Lost(link));
                }
            }
        }
    }

    fn dial(&mut self, link: LinkId, instance: &Arc<Entry>) {
        self.report.dials += 1;
        let key = key(instance);
        let ledger = self.ledgers.entry(key.clone()).or_default();
        assert!(!ledger.dialing, "two dials to {key:?} at once (N-6, N-56)");
        if let Some(last) = ledger.last_failure {
            let waited = self.now - last;
            let doubled = 50_u64 << ledger.failures.saturating_sub(1).min(20);
            let least = Duration::from_millis(doubled.min(10_000)) * 4 / 5;
            // A place that nobody needs for long is forgotten, failures and all.
            assert!(
                waited >= least || waited >= PLACE_KEPT,
                "dialled after {waited:?}, {} failures before (S-34)",
                ledger.failures
            );
        }
        ledger.dialing = true;
        let named = |entry: &Arc<Entry>| Arc::ptr_eq(entry, instance);
        let place = self.entries.iter().position(named).expect("one of ours");
        let after = self.dice.millis(200);
        match self.moods[place] {
            Mood::Refusing => self.schedule(after, Happening::NotEstablished(link)),
            Mood::Silent => self.schedule(CONNECT_TIMEOUT, Happening::NotEstablished(link)),
            Mood::Fine | Mood::Draining | Mood::Flaky | Mood::Mute | Mood::Shutting => {
                self.schedule(after, Happening::Established(link));
            }
        }
        let wire = Wire {
            key,
            place,
            up: None,
            closed: false,
            carries: BTreeSet::new(),
        };
        assert!(self.wires.insert(link, wire).is_none(), "a link twice");
    }

    fn send(&mut self, dispatch: Dispatch) {
        let Dispatch {
            call,
            link,
            instance,
            action,
            deadline,
            ..
        } = dispatch;
        assert_eq!(action, "A.b", "the real name (H-8)");
        assert!(
            self.authorized.contains(&instance.fingerprint()),
            "sent to who may not offer it (Z-9)"
        );
        let book = self.books.get_mut(&call).expect("it was begun");
        assert!(!book.ended, "sent after its end");
        assert!(self.now < book.deadline, "sent after its deadline (S-21)");
        assert!(deadline <= book.deadline, "its deadline grew (S-33)");
        book.deadline = deadline;
        judge_repetition(book, &instance);
        book.sent.push((instance.clone(), None));
        self.report.sent += 1;
        let Some(wire) = self.wires.get_mut(&link) else {
            // It went while the command waited.
            let closed = Err(SendError::Closed.into());
            return self.schedule(Duration::ZERO, Happening::Outcome(link, call, closed));
        };
        assert!(wire.up.is_some(), "sent before it is established");
        assert_eq!(wire.key, key(&instance), "sent to somebody else (N-56)");
        wire.carries.insert(call);
        let place = wire.place;
        let left = deadline - self.now;
        let soon = self.dice.millis(3000);
        let timeout = || CallError::NoReply(ExchangeError::Timeout(1));
        let (after, result) = match self.moods[place] {
            Mood::Fine | Mood::Refusing | Mood::Silent => {
                let result = match self.dice.below(12) {
                    0 => Err(CallError::Remote(RemoteError::new("general", "no"))),
                    1 => Err(CallError::Body(crate::BodyError::ConnectionLost)),
                    2 => Err(SendError::Draining.into()),
                    _ => Ok(()),
                };
                (soon, result)
            }
            Mood::Draining => {
                let refusal = RemoteError::refusal("transport", "Service is shutting down");
                (soon, Err(refusal.into()))
            }
            Mood::Flaky | Mood::Shutting => {
                if soon < left {
                    self.schedule(soon, Happening::Lost(link));
                }
                return self.schedule(left, Happening::Outcome(link, call, Err(timeout())));
            }
            Mood::Mute => (left, Err(timeout())),
        };
        match after < left {
            true => self.schedule(after, Happening::Outcome(link, call, result)),
            false => self.schedule(left, Happening::Outcome(link, call, Err(timeout()))),
        }
    }

    fn tell(&mut self, link: LinkId, call: CallId, result: Result<(), CallError>) {
        if let Some(wire) = self.wires.get_mut(&link) {
            if !wire.carries.remove(&call) {
                // Its connection took it along, or its caller gave up.
                return;
            }
        }
        let book = self.books.get_mut(&call).expect("it was begun");
        let Some((_, slot @ None)) = book.sent.last_mut() else {
            return;
        };
        if book.ended {
            return;
        }
        *slot = Some(result.clone());
        let timed_out = matches!(result, Err(CallError::NoReply(ExchangeError::Timeout(_))));
        let verdict = self
            .requester
            .outcome(self.now, call, result.as_ref().copied());
        match verdict {
            Verdict::Again => assert!(result.is_err(), "a reply was not enough"),
            Verdict::Done => {
                self.report.answered += u64::from(result.is_ok());
                self.end(call);
            }
        }
        if timed_out && self.dice.one_in(2) {
            self.requester.retire(self.now, link);
        }
    }

    fn lose(&mut self, link: LinkId) {
        let Some(wire) = self.wires.remove(&link) else {
            return;
        };
        let up = wire.up.expect("it was established");
        let ledger = self.ledgers.entry(wire.key).or_default();
        if self.now - up >= Duration::from_secs(10) {
            *ledger = Ledger {
                dialing: ledger.dialing,
                ..Ledger::default()
            };
        } else if ledger.failures > 0 {
            ledger.last_failure = Some(self.now);
        }
        let early = self.dice.one_in(2);
        if early {
            self.requester
                .lost(self.now, link, CloseReason::ClosedByPeer);
        }
        for call in wire.carries {
            let phases = [Phase::Unsent, Phase::Sending, Phase::Waiting];
            let phase = phases[self.dice.below(3) as usize];
            let reason = CloseReason::ClosedByPeer;
            let error = ExchangeError::ConnectionLost { phase, reason };
            self.tell(link, call, Err(error.into()));
        }
        if !early {
            self.requester
                .lost(self.now, link, CloseReason::ClosedByPeer);
        }
    }

    fn end(&mut self, call: CallId) {
        let book = self.books.get_mut(&call).expect("it was begun");
        assert!(!book.ended, "a second outcome (HD-49)");
        assert!(self.now <= book.deadline, "an outcome after the deadline");
        book.ended = true;
    }

    fn look_at_deadlines(&self) {
        for (id, book) in &self.books {
            // What happens at the same moment may still be to come.
            assert!(
                book.ended || self.now <= book.deadline,
                "{id:?} goes on after its deadline (S-21)"
            );
        }
    }

    fn judge_the_end(&self) {
        assert!(self.books.values().all(|book| book.ended), "a call is lost");
        let stats = self.requester.stats();
        let empty = Stats {
            calls_begun: stats.calls_begun,
            calls_repeated: stats.calls_repeated,
            dials_failed: stats.dials_failed,
            ..Stats::default()
        };
        assert_eq!(stats, empty, "something is left (R-11)");
        assert!(self.requester.is_drained(), "it does not come to an end");
        assert!(self.wires.is_empty(), "a connection is left");
    }
}

/// HD-51: a request goes out again only if that can do no harm.
fn judge_repetition(book: &Book, instance: &Arc<Entry>) {
    let Some((before, outcome)) = book.sent.last() else {
        return;
    };
    let outcome = outcome.as_ref().expect("sent while it was under way");
    let error = outcome.as_ref().expect_err("sent again after its reply");
    // A connection that was closed before anything was sent does not count.
    if matches!(error, CallError::NotSent(_)) {
        let unsent = book
            .sent
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Some(Err(CallError::NotSent(_)))));
        assert!(unsent.count() <= 1, "opened again and again");
        return;
    }
    let sent = book.sent.iter();
    let real = sent.filter(|(_, outcome)| !matches!(outcome, Some(Err(CallError::NotSent(_)))));
    assert!(real.count() <= 1, "more than one retry (S-33)");
    assert!(!book.named, "a named instance is not replaced (S-33)");
    assert!(book.replayable, "its body cannot be sent again (N-25)");
    match error.is_dispatch_failure() {
        true => assert!(
            key(before) != key(instance),
            "sent again to who refused it (S-33)"
        ),
        false => {
            assert!(book.idempotent, "sent again though it may be done (S-32)");
            let lost = matches!(
                error,
                CallError::NoReply(ExchangeError::ConnectionLost {
                    phase: Phase::Sending | Phase::Waiting,
                    ..
                })
            );
            assert!(lost, "sent again after {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HD-49, HD-51, S-32…S-34, N-6, N-56: two thousand worlds, each judged; and worth judging.
    #[test]
    fn worlds() {
        let mut all = Report::default();
        for seed in 0..2000 {
            let report = run(seed);
            all.calls += report.calls;
            all.answered += report.answered;
            all.sent += report.sent;
            all.dials += report.dials;
            all.pinned += report.pinned;
        }
        std::println!("{all:?}");
        assert!(all.answered * 4 > all.calls, "too little succeeds: {all:?}");
        assert!(all.sent > all.answered && all.dials > 4000 && all.pinned > 500);
    }

    /// Q-13: the same seed makes the same world.
    #[test]
    fn worlds_repeat() {
        for seed in 0..50 {
            assert_eq!(run(seed), run(seed));
        }
    }
}
