//! A town of clients and one server, who come, talk, fall silent and leave as dice decide.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, Bytes};

use super::Hall;
use crate::mp::{
    Client, ClientConfig, ClientName, CloseReason, ConnectionId, DuplicateName, Encoding, Event,
    OnFull, Read, Reason, RouterEvent, SendError, ServerConfig, SessionId, SlowClient,
};
use crate::sim::{Link, Pipe};
use crate::{Duplex, End, Instant, Outbox, Rng};

/// A server and many clients in virtual time, and who judges them.
///
/// The judge keeps books of its own. It holds that
///
/// * what arrives on a connection is what was sent on it, whole, in order, without gap (MP-110);
/// * what was sent and did not arrive was on a connection of whose end the sender knows (MP-110);
/// * what was sent before a close that the other end sees has arrived (MP-112);
/// * a connection ends once, a client ends once, and nothing comes after (MP-82, MP-112);
/// * nobody holds more than its limits allow (MP-61, MP-63, MP-97, MP-99);
/// * of those who have left nothing stays (MP-71, MP-139).
///
/// ```
/// use scamp_proto::sim::mp::Town;
///
/// let report = Town::new(7, 10).run();
/// assert!(report.delivered > 0);
/// assert_eq!(report, Town::new(7, 10).run());
/// ```
#[derive(Debug)]
pub struct Town {
    rng: Rng,
    hall: Hall,
    limits: Limits,
    names: usize,
    lives: Vec<Life>,
    talks: Vec<Talk>,
    report: Report,
}

/// What happened in a town.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Sign-ins that succeeded.
    pub joined: u64,
    /// Of those that ended, the ones that another sign-in replaced.
    pub replaced: u64,
    /// Clients that were too slow.
    pub stalled: u64,
    /// Connections that opened.
    pub opened: u64,
    /// Connections that did not.
    pub failed: u64,
    /// Messages that were queued.
    pub sent: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages that found their queue full.
    pub full: u64,
    /// The most octets that the server held for its clients together.
    pub held: usize,
}

#[derive(Debug)]
struct Limits {
    session: usize,
    client: usize,
}

/// One client from its beginning to its end.
#[derive(Debug)]
struct Life {
    name: usize,
    client: Client,
    session: SessionId,
    up: Pipe,
    down: Pipe,
    out: Outbox,
    /// What the server's end has handed over and its transport has not taken.
    down_out: Outbox,
    /// Until when its application does not read, and until when its transport does not.
    lazy_until: Instant,
    stuck_until: Instant,
    /// Its connections: which talk, and which side of it.
    sides: BTreeMap<ConnectionId, (usize, usize)>,
    /// Those that have something to read.
    readable: BTreeSet<ConnectionId>,
    ended: Option<Reason>,
    is_forgotten: bool,
}

/// One connection, as both its ends see it.
#[derive(Debug, Default)]
struct Talk {
    sides: [Side; 2],
}

#[derive(Debug, Default)]
struct Side {
    sent: u64,
    received: u64,
    /// How it ended for this side: told, or its own doing.
    over: Option<Option<CloseReason>>,
    /// Whether its application closed it, and with that discarded what was not read.
    is_discarded: bool,
    /// Whether this side is there at all.
    is_known: bool,
}

impl Town {
    /// A town of so many names; all else is drawn from the seed.
    pub fn new(seed: u64, names: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut config = ServerConfig {
            high_water: 64 << 10,
            low_water: 16 << 10,
            ..ServerConfig::default()
        };
        if rng.chance(1, 6) {
            config.slow_client = SlowClient::Disconnect;
        }
        if rng.chance(1, 6) {
            config.duplicate_name = DuplicateName::Refuse;
        }
        let limits = Limits {
            // A message may begin just below the mark.
            session: config.high_water + config.reserve + 2 * (LONGEST + 1024),
            client: 2 * ((64 << 10) + 2 * (LONGEST + 1024)),
        };
        Self {
            rng,
            hall: Hall::new(config, |_, _| Some(Ok(()))),
            limits,
            names,
            lives: Vec::new(),
            talks: Vec::new(),
            report: Report::default(),
        }
    }

    /// Lets everybody come, talk and leave; then lets all that is under way arrive; then closes.
    pub fn run(mut self) -> Report {
        for name in 0..self.names {
            self.begin(name);
        }
        for _ in 0..ROUNDS {
            for _ in 0..self.names.div_ceil(8).max(12) {
                self.act();
            }
            let pass = 1 + self.rng.below(300);
            self.round(Duration::from_millis(pass));
        }
        for life in &mut self.lives {
            (life.lazy_until, life.stuck_until) = (Instant::EPOCH, Instant::EPOCH);
        }
        self.calm();
        // Whatever still waits for an answer has waited long enough.
        for _ in 0..4 {
            self.round(Duration::from_secs(20));
            self.calm();
        }
        self.judge();
        for life in 0..self.lives.len() {
            self.lives[life].client.shutdown(self.hall.now);
        }
        self.calm();
        assert_eq!(
            self.hall.router.sessions(),
            (0, 0),
            "of the departed nothing stays"
        );
        assert_eq!(self.hall.router.held(), 0);
        assert!(self.lives.iter().all(|life| life.ended.is_some()));
        self.report
    }

    /// Lets everything arrive that is under way.
    fn calm(&mut self) {
        let mut quiet = 0;
        for _ in 0..CALM {
            quiet = match self.round(Duration::from_millis(60)) {
                true => 0,
                false => quiet + 1,
            };
            if quiet > 30 {
                return;
            }
        }
        panic!("it never ends");
    }

    /// A client signs in under this name, whoever may have it.
    fn begin(&mut self, name: usize) {
        let now = self.hall.now;
        let encoding = match self.rng.chance(1, 2) {
            true => Encoding::Json,
            false => Encoding::Gob,
        };
        let mut config = ClientConfig::new(encoding);
        (config.send_queue, config.receive_buffer) = (64 << 10, 64 << 10);
        // So that what was meant for its predecessor is not taken for its own.
        config.first_number = self.talks.len() as u32;
        if self.rng.chance(1, 10) {
            config.on_full = OnFull::CloseConnection;
        }
        let client_name = ClientName::new(name_of(name)).expect("a valid name");
        let link = |rng: &mut Rng| Link {
            capacity: 1 << (10 + rng.below(7)),
            delay: Duration::from_millis(rng.below(50)),
            piece: 1 << (3 + rng.below(12)),
            seed: rng.next_u64(),
            ..Link::default()
        };
        let session = self.hall.accept(now, None);
        self.lives.push(Life {
            name,
            client: Client::new(config, client_name, "secret".into(), now),
            session,
            up: Pipe::new(link(&mut self.rng)),
            down: Pipe::new(link(&mut self.rng)),
            out: Outbox::default(),
            down_out: Outbox::default(),
            lazy_until: now,
            stuck_until: now,
            sides: BTreeMap::new(),
            readable: BTreeSet::new(),
            ended: None,
            is_forgotten: false,
        });
    }

    /// Somebody does something.
    fn act(&mut self) {
        let at = self.rng.below(self.lives.len() as u64) as usize;
        let now = self.hall.now;
        if self.lives[at].ended.is_some() {
            let name = self.lives[at].name;
            let has_name = |life: &Life| life.name == name && life.ended.is_none();
            if !self.lives.iter().any(has_name) {
                self.begin(name);
            }
            return;
        }
        match self.rng.below(100) {
            0..10 => self.open(at),
            10..88 => self.send(at),
            88..92 => self.close(at),
            92..95 => {
                let pause = Duration::from_millis(self.rng.below(60_000));
                self.lives[at].lazy_until = now + pause;
            }
            95..97 => {
                let pause = Duration::from_millis(self.rng.below(120_000));
                self.lives[at].stuck_until = now + pause;
            }
            97 => {
                // Another one under its name.
                let name = self.lives[at].name;
                self.begin(name);
            }
            98 => {
                self.lives[at].client.shutdown(now);
                self.listen(at);
            }
            _ => {
                let life = &mut self.lives[at];
                life.up.reset(now);
                life.down.reset(now);
            }
        }
    }

    fn open(&mut self, at: usize) {
        let to = self.rng.below(self.names as u64 + 2) as usize;
        let talk = self.talks.len();
        let life = &mut self.lives[at];
        let opened = life
            .client
            .open(self.hall.now, &name_of(to), &talk.to_string());
        if let Ok(id) = opened {
            life.sides.insert(id, (talk, 0));
            self.talks.push(Talk::default());
            self.talks[talk].sides[0].is_known = true;
        }
    }

    fn any_side(&mut self, at: usize) -> Option<(ConnectionId, usize, usize)> {
        let sides = &self.lives[at].sides;
        let nth = self.rng.below(sides.len() as u64) as usize;
        let (id, (talk, side)) = sides.iter().nth(nth)?;
        Some((*id, *talk, *side))
    }

    fn send(&mut self, at: usize) {
        let Some((id, talk, side)) = self.any_side(at) else {
            return self.open(at);
        };
        for _ in 0..1 + self.rng.below(8) {
            let number = self.talks[talk].sides[side].sent;
            let payload = payload(talk, side, number);
            match self.lives[at].client.send(id, payload) {
                Ok(()) => {
                    let side = &mut self.talks[talk].sides[side];
                    assert!(side.over.is_none(), "sent on what is over");
                    side.sent += 1;
                    self.report.sent += 1;
                }
                Err(SendError::Full) => self.report.full += 1,
                Err(_) => return,
            }
        }
    }

    fn close(&mut self, at: usize) {
        if let Some((id, talk, side)) = self.any_side(at) {
            self.lives[at].client.close(id);
            let side = &mut self.talks[talk].sides[side];
            side.over.get_or_insert(None);
            side.is_discarded = true;
            self.lives[at].readable.remove(&id);
        }
    }

    /// Some time passes, and everybody has a turn; says whether anything moved.
    fn round(&mut self, pass: Duration) -> bool {
        let mut moved = false;
        let then = self.hall.now + pass;
        self.hall.advance_to(then);
        for at in 0..self.lives.len() {
            while !self.lives[at].is_forgotten && self.turn(at) {
                moved = true;
            }
            self.listen(at);
        }
        for event in core::mem::take(&mut self.hall.events) {
            match event {
                RouterEvent::Joined { .. } => self.report.joined += 1,
                RouterEvent::Left { why, .. } => match why {
                    Reason::Replaced => self.report.replaced += 1,
                    Reason::Stalled => self.report.stalled += 1,
                    _ => {}
                },
                _ => {}
            }
        }
        for session in self.hall.sessions.values() {
            assert!(
                session.queued() <= self.limits.session,
                "{}",
                session.queued()
            );
        }
        self.report.held = self.report.held.max(self.hall.router.held());
        moved
    }

    /// What moves between one client and the server, once.
    fn turn(&mut self, at: usize) -> bool {
        let now = self.hall.now;
        let life = &mut self.lives[at];
        let hall = &mut self.hall;
        let session = life.session;
        if life.client.poll_timeout().is_some_and(|at| at <= now) {
            life.client.handle_timeout(now);
        }
        let mut moved = false;
        if life.out.is_empty() {
            moved |= life.client.poll_transmit(now, &mut life.out).is_some();
        }
        while !life.out.is_empty() && life.up.has_room() {
            let count = life.up.write(now, life.out.chunk());
            life.out.advance(count);
            moved = true;
        }
        if life.client.is_drained() && life.out.is_empty() {
            moved |= life.up.close(now);
        }
        if hall.wants_read(session) {
            if let Some(octets) = life.up.read(now) {
                hall.receive(session, &octets);
                moved = true;
            } else if let Some(end) = life.up.read_end(now) {
                hall.end(session, end);
                moved = true;
            }
        }
        if life.down_out.is_empty() && life.down.has_room() {
            life.down_out.put(&hall.transmit(session, 1024));
        }
        while !life.down_out.is_empty() && life.down.has_room() {
            let count = life.down.write(now, life.down_out.chunk());
            life.down_out.advance(count);
            moved = true;
        }
        if hall.is_over(session) && life.down_out.is_empty() {
            moved |= life.down.close(now);
        }
        let is_stuck = life.stuck_until > now;
        if life.client.wants_read() && !is_stuck {
            if let Some(octets) = life.down.read(now) {
                life.client.receive(now, &octets);
                moved = true;
            } else if let Some(end) = life.down.read_end(now) {
                life.client.receive_end(now, end);
                moved = true;
            }
        }
        let held = life.client.held();
        assert!(held <= self.limits.client, "{held}");
        let is_over = hall.is_over(session) && life.client.is_drained();
        if is_over && life.ended.is_some() && !life.is_forgotten {
            hall.end(session, End::Eof);
            hall.forget(session);
            life.is_forgotten = true;
        }
        moved
    }

    /// One application takes what there is for it.
    fn listen(&mut self, at: usize) {
        let now = self.hall.now;
        let life = &mut self.lives[at];
        while let Some(event) = life.client.poll_event() {
            assert_eq!(life.ended, None, "{event:?} after the end");
            match event {
                Event::SignedIn | Event::Writable => {}
                Event::Incoming { id, protocol, .. } => {
                    let talk: usize = protocol.parse().expect("one of ours");
                    assert!(!self.talks[talk].sides[1].is_known, "offered twice");
                    match self.rng.below(10) {
                        0 => life.client.refuse(id),
                        1 => {}
                        // The offer may be gone by now; that comes next.
                        _ => {
                            if life.client.accept(id).is_ok() {
                                self.talks[talk].sides[1].is_known = true;
                                life.sides.insert(id, (talk, 1));
                            }
                        }
                    }
                }
                Event::Opened { id } => {
                    assert_eq!(life.sides[&id].1, 0);
                    self.report.opened += 1;
                }
                Event::OpenFailed { id, .. } => {
                    let (talk, side) = life.sides[&id];
                    let over = &mut self.talks[talk].sides[side].over;
                    assert_eq!(over.replace(None), None, "failed twice");
                    self.report.failed += 1;
                }
                Event::Readable { id } => {
                    life.readable.insert(id);
                }
                Event::Closed { id, why } => {
                    // Offers that nobody decided have no side here.
                    if let Some((talk, side)) = life.sides.get(&id) {
                        let over = &mut self.talks[*talk].sides[*side].over;
                        if why == CloseReason::ByUs {
                            assert_eq!(*over, Some(None));
                        } else {
                            assert_eq!(over.replace(Some(why)), None, "closed twice");
                        }
                    }
                }
                Event::Odd { peer, meta } => panic!("{peer} said {meta}"),
                Event::Ended(reason) => life.ended = Some(reason),
            }
        }
        if life.lazy_until > now {
            return;
        }
        for id in core::mem::take(&mut life.readable) {
            let (talk, side) = life.sides[&id];
            while let Read::Message(message) = life.client.read(id) {
                let number = self.talks[talk].sides[side].received;
                let expected = payload(talk, 1 - side, number);
                assert!(message == expected, "{talk} {side}: not number {number}");
                assert!(number < self.talks[talk].sides[1 - side].sent);
                self.talks[talk].sides[side].received += 1;
                self.report.delivered += 1;
            }
        }
    }

    /// Everything has had its time: what is not there is lost, and its sender knows.
    fn judge(&self) {
        for (number, talk) in self.talks.iter().enumerate() {
            for (sender, receiver) in [(0, 1), (1, 0)] {
                let (sender, receiver) = (&talk.sides[sender], &talk.sides[receiver]);
                let lost = sender.sent - receiver.received;
                let is_known = lost == 0 || sender.over.is_some();
                assert!(is_known, "talk {number}: {lost} lost in silence: {talk:?}");
                // What ends with a close of the peer's ends after all that it sent (MP-112).
                let saw_close = receiver.over == Some(Some(CloseReason::ByPeer));
                assert!(
                    !saw_close || lost == 0 || receiver.is_discarded,
                    "talk {number}: {talk:?}"
                );
            }
        }
        let mut names = BTreeSet::new();
        for life in self.lives.iter().filter(|life| life.ended.is_none()) {
            assert!(life.client.is_signed_in(), "{}", life.name);
            assert!(names.insert(life.name), "{} is there twice", life.name);
        }
        assert_eq!(self.hall.router.sessions(), (names.len(), names.len()));
    }
}

fn name_of(name: usize) -> alloc::string::String {
    format!("n{name}")
}

/// What is sent as this message of this side of this talk.
fn payload(talk: usize, side: usize, number: u64) -> Bytes {
    let mut rng = Rng::new((talk as u64) << 24 ^ (side as u64) << 20 ^ number);
    let len = match rng.below(50) {
        0 => 0,
        1 => LONGEST as u64,
        2..6 => rng.below(6000),
        _ => rng.below(200),
    };
    let octet = |at: u64| (at * 31 + number * 7 + talk as u64) as u8;
    (0..len).map(octet).collect()
}

/// Octets of the longest payload.
const LONGEST: usize = 40_000;

/// Rounds in which a town is busy, and those it may take to become quiet.
const ROUNDS: usize = 150;
const CALM: usize = 10_000;
