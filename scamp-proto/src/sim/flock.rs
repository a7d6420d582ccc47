//! A waddell server and its peers on links with faults, in virtual time; and who judges them.
//!
//! ```text
//!  Station ── Pipe ──> Peer ─┐
//!     ▲ └──── Pipe <── Peer  ├─ Router        all of it from one seed
//!  Vandal ─── Pipe ──> Peer ─┘
//! ```
//!
//! The judge keeps books of its own. It holds that
//!
//! * a message arrives at most once, at the peer whose id it was sent to, with its sender's id, and
//!   after all that the same sender sent to it before on the same topic (WD-30, WD-35);
//! * it does arrive if both ends stayed connected and nothing of the recipient's was dropped;
//! * each connection is told once, with ids and generations in order, and `Closed` last (WD-75, WD-77);
//! * no queue grows over its bound (WD-40);
//! * at the end the router is empty (WD-22).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::pair::{ring, turn};
use super::wire::{Link, Pipe};
use crate::error::Loss;
use crate::limits;
use crate::waddell::{
    Content, Dropped, Frames, Generation, JoinError, KEEPALIVE, OnFull, Order, Peer, PeerConfig,
    PeerEvent, PeerId, Router, RouterConfig, RouterEvent, Station, StationConfig, StationEvent,
    Take, TopicId,
};
use crate::{Duplex, End, Instant, Outbox, Rng};

/// A server without sockets: a router, and its peers by number.
#[derive(Debug)]
pub struct Hall {
    /// Who has which id.
    pub router: Router<u32>,
    config: PeerConfig,
    peers: BTreeMap<u32, (PeerId, Peer)>,
    /// Peers that may have something to tell.
    touched: BTreeSet<u32>,
}

impl Hall {
    /// A server without peers.
    pub fn new(router: RouterConfig, config: PeerConfig) -> Self {
        Self {
            router: Router::new(router),
            config,
            peers: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Lets a peer in under a number of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Router::join`].
    pub fn accept(
        &mut self,
        now: Instant,
        key: u32,
        draw: impl FnMut() -> [u8; 16],
    ) -> Result<PeerId, JoinError> {
        let id = self.router.join(key, draw)?;
        let mut peer = Peer::new(self.config.clone(), now);
        peer.assign(now, id);
        self.peers.insert(key, (id, peer));
        Ok(id)
    }

    /// A peer, to do something to; [`settle`](Self::settle) afterwards.
    pub fn peer(&mut self, key: u32) -> Option<&mut Peer> {
        self.touched.insert(key);
        self.peers.get_mut(&key).map(|(_, peer)| peer)
    }

    /// Carries everything between peers and router, and drops the peers that are done.
    pub fn settle(&mut self, now: Instant) {
        loop {
            while let Some(order) = self.router.poll_order() {
                let (Order::Deliver { to: key, .. }
                | Order::Close { peer: key, .. }
                | Order::Pause { peer: key, .. }) = order;
                let Some(peer) = self.peer(key) else { continue };
                match order {
                    Order::Deliver { frame, .. } => peer.deliver(now, frame),
                    Order::Close { reason, .. } => peer.close(now, reason),
                    Order::Pause { paused, .. } => peer.pause(paused),
                }
            }
            let Some(key) = self.touched.pop_first() else {
                break;
            };
            let Some((id, peer)) = self.peers.get_mut(&key) else {
                continue;
            };
            let id = *id;
            if let Some(freed) = peer.take_freed() {
                self.router.freed(now, id, freed);
            }
            while let Some(event) = peer.poll_event() {
                match event {
                    PeerEvent::Message(frame) => self.router.route(now, id, frame),
                    PeerEvent::Malformed { count, .. } => self.router.malformed(now, id, count),
                    PeerEvent::Closed(why) => {
                        assert_eq!(peer.poll_event(), None, "one door out");
                        self.router.leave(now, id, why);
                    }
                }
            }
        }
    }

    /// Forgets a peer whose transport is gone.
    pub fn forget(&mut self, key: u32) {
        self.peers.remove(&key);
    }
}

/// What is to happen in a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients.
    pub members: usize,
    /// Of these, how many take nothing for part of the time: the first ones.
    pub deaf: usize,
    /// From when to when, if the seed is not to say it.
    pub deaf_for: Option<(Duration, Duration)>,
    /// Connections that send what they like.
    pub vandals: usize,
    /// Messages sent.
    pub sends: usize,
    /// Longest body, in octets.
    pub body: usize,
    /// Transports lost.
    pub losses: usize,
    /// The time in which it happens.
    pub span: Duration,
    /// The router's settings.
    pub router: RouterConfig,
}

impl Plan {
    /// A plan made from a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let members = 2 + rng.below(6) as usize;
        let on_full = [OnFull::DropNewest, OnFull::Disconnect, OnFull::PauseSender];
        Self {
            members,
            deaf: rng.below(members as u64) as usize,
            deaf_for: None,
            vandals: rng.below(3) as usize,
            sends: rng.below(200) as usize,
            body: [0, 100, 3000, 65_517][rng.below(4) as usize],
            losses: rng.below(6) as usize,
            span: Duration::from_millis(1 + rng.below(40_000)),
            router: RouterConfig {
                max_peers: usize::MAX,
                peer_queue: [500, 70_000, limits::WADDELL_PEER_QUEUE][rng.below(3) as usize],
                peer_frames: [2, 20, limits::WADDELL_PEER_FRAMES][rng.below(3) as usize],
                total_queue: [1000, 100_000, 1 << 28][rng.below(3) as usize],
                on_full: on_full[rng.below(3) as usize],
            },
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// What arrived: when, from which member, at which, and which message.
    pub arrived: Vec<(Instant, usize, usize, u64)>,
    /// Messages that stations took to be sent.
    pub sent: usize,
    /// Messages of which the judge was certain that they arrive.
    pub certain: usize,
    /// Messages dropped for want of room.
    pub full: u64,
    /// Messages to ids that nobody had.
    pub unknown: u64,
    /// Connections that stations were assigned an id on.
    pub connections: u64,
    /// The most octets that waited for all peers at once.
    pub peak: usize,
}

/// Runs a world made from a seed; the same seed makes the same world.
pub fn run(seed: u64) -> Report {
    let mut rng = Rng::new(seed);
    run_plan(Plan::draw(&mut rng), rng.next_u64(), &[])
}

/// Runs a plan. The vandals send these octets, in pieces, and what the seed makes up.
pub fn run_plan(plan: Plan, seed: u64, octets: &[u8]) -> Report {
    let mut world = World::new(plan, seed, octets);
    world.run();
    world.judge();
    world.report
}

/// A connection whose client's end keeps to no rule, but is held to be sent whole frames.
#[derive(Debug)]
struct Vandal {
    outgoing: VecDeque<Vec<u8>>,
    frames: Frames,
    received: usize,
    ended: bool,
}

impl Duplex for Vandal {
    fn receive(&mut self, _: Instant, mut bytes: &[u8]) {
        while let Some(content) = self.frames.cut(&mut bytes).expect("no limit") {
            let is_message = matches!(Content::decode(&content), Content::Message { .. });
            assert!(is_message, "a server sends messages only (WD-33, defect 3)");
            assert!(self.received > 0 || content.len() == 18, "WD-20");
            self.received += 1;
        }
    }

    fn receive_end(&mut self, _: Instant, _: End) {
        self.ended = true;
    }

    fn wants_read(&self) -> bool {
        !self.ended
    }

    fn poll_transmit(&mut self, _: Instant, out: &mut Outbox) -> Option<usize> {
        let piece = self.outgoing.pop_front()?;
        out.put(&piece);
        Some(piece.len())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn is_drained(&self) -> bool {
        self.ended
    }
}

/// One transport.
#[derive(Debug)]
struct Wire {
    /// From client to server, and back.
    pipes: [Pipe; 2],
    outboxes: [Outbox; 2],
    /// Whether the client's end is done with it, and the server's.
    done: [bool; 2],
}

impl Wire {
    fn new(links: [Link; 2]) -> Self {
        Self {
            pipes: links.map(Pipe::new),
            outboxes: [Outbox::default(), Outbox::default()],
            done: [false, false],
        }
    }

    /// One turn of one end's driver.
    fn turn(&mut self, side: usize, machine: &mut dyn Duplex, now: Instant) -> bool {
        if self.done[side] {
            return false;
        }
        let ([out_client, out_server], [up, down]) = (&mut self.outboxes, &mut self.pipes);
        let (out, tx, rx) = match side {
            0 => (out_client, up, down),
            _ => (out_server, down, up),
        };
        let moved = turn(side, machine, now, out, tx, rx, &mut ());
        if machine.is_drained() {
            // As drivers do: what the transport does not take now is given up.
            out.clear();
            tx.close(now);
            self.done[side] = true;
            return true;
        }
        moved
    }
}

#[derive(Debug)]
struct Member {
    station: Station,
    wire: Option<u32>,
    /// A try that is under way: when it comes to something.
    dial: Option<(Instant, Generation)>,
    /// When it takes nothing.
    deaf: Option<(Instant, Instant)>,
    /// Every id it had.
    ids: Vec<PeerId>,
    /// Whether the connection of the newest id is there.
    is_connected: bool,
    generation: u64,
    over: bool,
    /// The last message from each id on each topic.
    last: BTreeMap<(PeerId, TopicId), u64>,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Send { from: usize, to: Option<usize> },
    Lose(usize),
    Keepalive(usize),
    Vandalise(usize),
    Close,
}

/// What the judge knows of a message.
#[derive(Clone, Copy, Debug)]
struct Book {
    from: usize,
    to: PeerId,
    to_member: Option<usize>,
    topic: TopicId,
    len: usize,
    /// The sender's id when it was sent, if it was connected.
    sender: Option<PeerId>,
    /// Whether its station took it.
    taken: bool,
    arrived: bool,
}

struct World<'a> {
    plan: Plan,
    seed: u64,
    rng: Rng,
    octets: &'a [u8],
    now: Instant,
    hall: Hall,
    members: Vec<Member>,
    vandals: Vec<(u32, Vandal)>,
    wires: BTreeMap<u32, Wire>,
    next_wire: u32,
    queue: BTreeMap<(Instant, u64), Happening>,
    books: Vec<Book>,
    /// Every id that a member had.
    own: BTreeSet<PeerId>,
    /// Recipients of whose messages some were dropped.
    full: BTreeSet<PeerId>,
    report: Report,
}

impl<'a> World<'a> {
    fn new(plan: Plan, seed: u64, octets: &'a [u8]) -> Self {
        let mut rng = Rng::new(seed);
        let mut queue = BTreeMap::new();
        let span = plan.span.as_millis() as u64;
        let mut next = 0;
        let mut schedule = |at: u64, happening| {
            let at = Instant::EPOCH + Duration::from_millis(at);
            queue.insert((at, next), happening);
            next += 1;
        };
        for _ in 0..plan.sends {
            let from = rng.below(plan.members as u64) as usize;
            let to = rng.below(plan.members as u64) as usize;
            let to = (!rng.chance(1, 20)).then_some(to);
            // At once in part, so that queues fill.
            let at = rng.below(span) / 500 * 500;
            schedule(at, Happening::Send { from, to });
        }
        for _ in 0..plan.losses {
            let member = rng.below(plan.members as u64) as usize;
            schedule(rng.below(span), Happening::Lose(member));
        }
        for _ in 0..plan.members {
            let member = rng.below(plan.members as u64) as usize;
            schedule(rng.below(span), Happening::Keepalive(member));
        }
        for vandal in 0..plan.vandals {
            for _ in 0..40 {
                schedule(rng.below(span), Happening::Vandalise(vandal));
            }
        }
        schedule(span + 60_000, Happening::Close);

        let config = StationConfig {
            reconnect: crate::waddell::ReconnectConfig {
                attempts: u32::MAX,
                seed: Some(seed),
                ..Default::default()
            },
            ..StationConfig::default()
        };
        let members = (0..plan.members).map(|number| {
            let mut station = Station::new(config.clone(), Instant::EPOCH);
            for topic in 0..TOPICS {
                station.open(TopicId(topic));
            }
            let from = Duration::from_millis(rng.below(span));
            let to = from + Duration::from_millis(rng.below(30_000));
            let (from, to) = plan.deaf_for.unwrap_or((from, to));
            let deaf = (number < plan.deaf).then_some((Instant::EPOCH + from, Instant::EPOCH + to));
            Member {
                station,
                wire: None,
                dial: None,
                deaf,
                ids: Vec::new(),
                is_connected: false,
                generation: 0,
                over: false,
                last: BTreeMap::new(),
            }
        });
        let members = members.collect();
        let mut world = Self {
            hall: Hall::new(plan.router.clone(), PeerConfig::default()),
            seed,
            octets,
            now: Instant::EPOCH,
            members,
            vandals: Vec::new(),
            wires: BTreeMap::new(),
            next_wire: 0,
            queue,
            books: Vec::new(),
            own: BTreeSet::new(),
            full: BTreeSet::new(),
            report: Report::default(),
            rng,
            plan,
        };
        for number in 0..world.plan.vandals {
            let vandal = Vandal {
                outgoing: VecDeque::new(),
                frames: Frames::new(limits::WADDELL_FRAME),
                received: 0,
                ended: false,
            };
            let wire = world.connect(1_000_000 + number, 0, None);
            world.vandals.push((wire, vandal));
        }
        world
    }

    /// A transport to the server. What it is like depends on whose it is and not on what else happens.
    fn connect(&mut self, who: usize, generation: u64, deaf: Option<(Instant, Instant)>) -> u32 {
        let key = self.next_wire;
        self.next_wire += 1;
        let mut rng = Rng::new(self.seed ^ (who as u64) << 32 ^ generation);
        let links = core::array::from_fn(|side| Link {
            capacity: 65_536,
            delay: Duration::from_millis(rng.below(5)),
            rate: 0,
            // Small pieces make many steps.
            piece: [1, 100, 65_536][rng.below(3) as usize]
                .max(self.plan.body * self.plan.members / 200),
            stalls: deaf.filter(|_| side == 1).into_iter().collect(),
            cut: None,
            seed: rng.next_u64(),
        });
        self.wires.insert(key, Wire::new(links));
        let draw = || {
            let octets = [rng.next_u64().to_ne_bytes(), rng.next_u64().to_ne_bytes()];
            core::array::from_fn(|index| octets[index / 8][index % 8])
        };
        if self.hall.accept(self.now, key, draw).is_err() {
            self.wires.remove(&key);
        }
        key
    }

    fn run(&mut self) {
        let mut steps = 0_u32;
        loop {
            steps += 1;
            assert!(steps < 1_000_000, "it goes on for ever");
            self.settle();
            let Some(at) = self.next() else { break };
            self.now = self.now.max(at);
            for member in &mut self.members {
                ring(&mut member.station, self.now);
            }
            let keys: Vec<u32> = self.wires.keys().copied().collect();
            for key in keys {
                if let Some(peer) = self.hall.peer(key) {
                    ring(peer, self.now);
                }
            }
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let happening = entry.remove();
                self.happen(happening);
            }
        }
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let mut next = self.queue.keys().next().map(|(at, _)| *at);
        let mut add = |at: Option<Instant>| next = [next, at].into_iter().flatten().min();
        for member in &self.members {
            add(member.station.poll_timeout());
            add(member.dial.map(|(at, _)| at));
            let Some(wire) = member.wire.and_then(|key| self.wires.get(&key)) else {
                continue;
            };
            if member.station.wants_read() {
                add(wire.pipes[1].next_arrival(self.now));
            }
        }
        for (key, vandal) in &self.vandals {
            if let Some(wire) = self.wires.get(key).filter(|_| vandal.wants_read()) {
                add(wire.pipes[1].next_arrival(self.now));
            }
        }
        for (key, (_, peer)) in &self.hall.peers {
            add(peer.poll_timeout());
            if let Some(wire) = self.wires.get(key).filter(|_| peer.wants_read()) {
                add(wire.pipes[0].next_arrival(self.now));
            }
        }
        next
    }

    /// Moves what can move now, until nothing does.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for number in 0..self.members.len() {
                moved |= self.dial(number);
                let (now, member) = (self.now, &mut self.members[number]);
                if let Some(key) = member.wire {
                    if let Some(wire) = self.wires.get_mut(&key) {
                        moved |= wire.turn(0, &mut member.station, now);
                        if wire.done[0] {
                            member.wire = None;
                        }
                    }
                }
                self.listen(number);
            }
            for (key, vandal) in &mut self.vandals {
                if let Some(wire) = self.wires.get_mut(key) {
                    moved |= wire.turn(0, vandal, self.now);
                }
            }
            for (key, wire) in &mut self.wires {
                let Some(peer) = self.hall.peer(*key) else {
                    continue;
                };
                moved |= wire.turn(1, peer, self.now);
            }
            self.hall.settle(self.now);
            self.wires.retain(|key, wire| {
                if wire.done[1] {
                    self.hall.forget(*key);
                }
                wire.done != [true, true]
            });
            self.look();
            if !moved {
                break;
            }
        }
    }

    /// Dials if the station wants that; returns whether anything came of it.
    fn dial(&mut self, number: usize) -> bool {
        let now = self.now;
        let member = &mut self.members[number];
        if member.dial.is_none() && member.wire.is_none() {
            if let Some(generation) = member.station.poll_dial(now) {
                assert!(generation.0 > member.generation, "WD-74");
                member.generation = generation.0;
                let mut rng = Rng::new(self.seed ^ number as u64 ^ generation.0 << 20);
                member.dial = Some((now + Duration::from_millis(rng.below(20)), generation));
            }
        }
        let Some((_, generation)) = member.dial.filter(|(at, _)| *at <= now) else {
            return false;
        };
        member.dial = None;
        let mut rng = Rng::new(self.seed ^ number as u64 ^ generation.0 << 21);
        if rng.chance(1, 10) {
            let loss = Loss::Connect("refused".into());
            member.station.failed(now, generation, loss);
        } else if member.station.connected(now, generation) {
            let deaf = member.deaf;
            let key = self.connect(number, generation.0, deaf);
            self.members[number].wire = Some(key);
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Send { from, to } => {
                let id = match to {
                    Some(to) => self.members[to].ids.last().copied(),
                    None => Some(PeerId::from_octets([0xee; 16])),
                };
                let serial = self.books.len() as u64;
                let mut rng = Rng::new(self.seed ^ serial << 8);
                let topic = TopicId(rng.below(TOPICS.into()) as u16);
                let len = 8 + rng.below((self.plan.body as u64 + 1).saturating_sub(8)) as usize;
                // Nobody has the id that is all zeros.
                let id = id.unwrap_or(PeerId::from_octets([0; 16]));
                let filler = vec![serial as u8; len - 8];
                let parts = [&serial.to_le_bytes()[..], &filler];
                let station = &mut self.members[from].station;
                let sender = station.id();
                let taken = station.send(now, id, topic, &parts).is_ok();
                self.report.sent += usize::from(taken);
                self.books.push(Book {
                    from,
                    to: id,
                    to_member: to,
                    topic,
                    len,
                    sender,
                    taken,
                    arrived: false,
                });
            }
            Happening::Lose(number) => {
                let wire = self.members[number].wire;
                if let Some(wire) = wire.and_then(|key| self.wires.get_mut(&key)) {
                    match self.rng.below(2) {
                        0 => wire.pipes.iter_mut().for_each(|pipe| pipe.reset(now)),
                        _ => drop(wire.pipes.iter_mut().map(|pipe| pipe.close(now)).count()),
                    }
                }
            }
            Happening::Keepalive(number) => {
                let _ = self.members[number].station.keepalive(now);
            }
            Happening::Vandalise(number) => {
                let piece = self.vandalism();
                self.vandals[number].1.outgoing.push_back(piece);
            }
            Happening::Close => {
                self.judge_arrivals();
                for member in &mut self.members {
                    member.station.close(now);
                }
                self.hall.router.close();
            }
        }
    }

    /// Octets that a client should not send, most of the time.
    fn vandalism(&mut self) -> Vec<u8> {
        if let Some((len, rest)) = self.octets.split_first() {
            let (piece, rest) = rest.split_at(usize::from(*len).min(rest.len()));
            self.octets = rest;
            return piece.to_vec();
        }
        let rng = &mut self.rng;
        let number = rng.below(self.plan.members as u64) as usize;
        let to = self.members[number].ids.last().map(PeerId::octets);
        match rng.below(6) {
            0 => KEEPALIVE.to_vec(),
            1 => vec![0, 0],
            2 => [&[17, 0][..], &to.unwrap_or_default(), &[1]].concat(),
            3 => [&[16, 0][..], &to.unwrap_or_default()].concat(),
            // Of 18 octets, so without a number: it is for a topic that nobody reads.
            4 => [&[18, 0][..], &to.unwrap_or_default(), &[0xff, 0xff]].concat(),
            _ => vec![rng.next_u64() as u8; rng.below(300) as usize],
        }
    }

    /// Takes what a station has to tell.
    fn listen(&mut self, number: usize) {
        let now = self.now;
        while let Some(event) = self.members[number].station.poll_event() {
            let member = &mut self.members[number];
            assert!(!member.over, "nothing follows Closed");
            match event {
                StationEvent::Assigned { id, generation } => {
                    assert!(!member.is_connected && generation.0 == member.generation);
                    assert!(!member.ids.contains(&id), "WD-23");
                    assert_eq!(member.station.id(), Some(id), "WD-75");
                    member.ids.push(id);
                    self.own.insert(id);
                    member.is_connected = true;
                    self.report.connections += 1;
                }
                StationEvent::Disconnected { generation, .. } => {
                    assert!(member.is_connected, "WD-77: once for each");
                    assert_eq!(generation.0, member.generation);
                    member.is_connected = false;
                }
                StationEvent::Readable(topic) => self.read(number, topic),
                StationEvent::Writable => {}
                StationEvent::GaveUp(reason) => panic!("{reason}"),
                StationEvent::Closed => {
                    member.over = true;
                    assert!(!member.is_connected);
                    assert_eq!(
                        member
                            .station
                            .send(now, PeerId::from_octets([1; 16]), TopicId(1), &[]),
                        Err(crate::waddell::SendError::Closed)
                    );
                }
            }
        }
    }

    /// Takes what has arrived at a member on a topic, and holds it against the books.
    fn read(&mut self, number: usize, topic: TopicId) {
        let Self { members, books, .. } = self;
        while let Take::Message(message) = members[number].station.take(self.now, topic) {
            if !self.own.contains(&message.from) {
                // A vandal has found out an id.
                continue;
            }
            let head = message.body.first_chunk().expect("a number");
            let serial = u64::from_le_bytes(*head);
            let book = &mut books[serial as usize];
            assert!(!core::mem::replace(&mut book.arrived, true), "twice");
            assert_eq!((message.topic, message.body.len()), (book.topic, book.len));
            assert!(message.body[8..].iter().all(|octet| *octet == serial as u8));
            let member = &mut members[number];
            assert_eq!(
                member.ids.last(),
                Some(&book.to),
                "WD-30: for somebody else"
            );
            let last = member.last.insert((message.from, topic), serial);
            assert!(last.is_none_or(|last| last < serial), "WD-35: out of order");
            self.report
                .arrived
                .push((self.now, book.from, number, serial));
            let sender = &members[book.from];
            assert!(sender.ids.contains(&message.from), "WD-30: forged");
        }
    }

    /// Looks at the bounds.
    fn look(&mut self) {
        let config = &self.plan.router;
        let queued = self.hall.router.stats().queued;
        self.report.peak = self.report.peak.max(queued);
        let one = limits::WADDELL_FRAME + 2;
        // An assignment is queued whatever waits; so is one message where nothing does.
        let assignments = 20 * self.hall.peers.len();
        assert!(queued <= config.total_queue.max(one) + assignments, "WD-40");
        for (_, peer) in self.hall.peers.values() {
            let most = config.peer_queue.max(one) + 20 + one;
            assert!(peer.held() <= most, "WD-40: {} over {most}", peer.held());
        }
        while let Some(event) = self.hall.router.poll_event() {
            if let RouterEvent::Dropped {
                id,
                why: Dropped::Full,
                ..
            } = event
            {
                self.full.insert(id);
            }
        }
    }

    /// What must have arrived has.
    fn judge_arrivals(&mut self) {
        for book in &self.books {
            let Some(to) = book.to_member.filter(|_| book.taken) else {
                assert!(!book.arrived);
                continue;
            };
            let (from, to) = (&self.members[book.from], &self.members[to]);
            let stayed =
                |member: &Member, id: Option<PeerId>| id.is_some() && member.station.id() == id;
            let certain = stayed(from, book.sender)
                && stayed(to, Some(book.to))
                && !self.full.contains(&book.to)
                && to.station.inboxes().dropped_in_all() == 0;
            if certain {
                self.report.certain += 1;
                assert!(book.arrived, "lost: {book:?}");
            }
        }
        let stats = self.hall.router.stats();
        (self.report.full, self.report.unknown) = (stats.full, stats.unknown);
    }

    fn judge(&self) {
        assert!(
            self.hall.router.is_empty(),
            "WD-22: {:?}",
            self.hall.router.stats()
        );
        assert!(self.members.iter().all(|member| member.over));
        assert!(self.wires.is_empty(), "transports are left over");
        if self.plan.router.on_full == OnFull::PauseSender {
            assert_eq!(self.report.full, 0, "WD-41: nothing is lost");
        }
    }
}

/// Topics that members read.
const TOPICS: u16 = 3;
