//! Two sessions, two applications, two pipes, one seed.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::app::App;
use super::oracle::Oracle;
use super::pair::Pair;
use super::personality::{Habit, Personality};
use super::script::{Profile, Script};
use super::strict::Strict;
use super::wire::Cut;
use crate::session::{Config, Session, Side};
use crate::{Duplex, End, Instant, Outbox, Rng, limits};

/// One run of the simulator.
#[derive(Debug)]
pub struct World {
    pair: Pair<Peer, Peer, Oracle>,
    apps: [App; 2],
    script: Script,
    rng: Rng,
}

/// One end: ours, or somebody else's.
#[derive(Debug)]
pub enum Peer {
    /// The machine under test.
    Ours(Box<Session>),
    /// A simple machine with the habits of another implementation (HD-55).
    Theirs(Box<Personality>),
}

/// What a run came to; equal runs have equal reports (HD-57).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Everything that passed and was told, as one number.
    pub trace: u64,
    /// When it was over.
    pub ended: Instant,
    /// Octets that left, by side.
    pub octets: [u64; 2],
    /// Offsets just after each packet, by side.
    pub boundaries: [Vec<u64>; 2],
}

impl World {
    /// The run of a seed.
    pub fn from_seed(seed: u64, profile: Profile) -> Self {
        let mut rng = Rng::new(seed);
        let script = Script::draw(&mut rng, profile);
        Self::new(script)
    }

    /// The run of a script between two sessions.
    pub fn new(script: Script) -> Self {
        let sides = [Side::Client, Side::Server];
        let ends = [0, 1].map(|index| {
            let config: Config = script.configs[index].clone();
            Peer::Ours(Box::new(Session::new(config, sides[index], Instant::EPOCH)))
        });
        Self::between(script, ends)
    }

    /// The run of a seed between one of our sessions and somebody else, who plays `theirs`.
    pub fn with_habit(seed: u64, profile: Profile, habit: Habit, theirs: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut script = Script::draw(&mut rng, profile);
        script.suit(habit, theirs);
        let sides = [Side::Client, Side::Server];
        let ends = [0, 1].map(|side| match side == theirs {
            true => Peer::Theirs(Box::new(Personality::new(habit, &script, side))),
            false => {
                let config = script.configs[side].clone();
                Peer::Ours(Box::new(Session::new(config, sides[side], Instant::EPOCH)))
            }
        });
        let mut world = Self::between(script, ends);
        world.pair.watch.leave_alone(theirs);
        if habit == Habit::Go {
            world.pair.watch.forbid_ping(1 - theirs);
        }
        world
    }

    /// The run of a script between these ends.
    fn between(script: Script, ends: [Peer; 2]) -> Self {
        let strict = script.configs.each_ref().map(|config| {
            let conn = &config.connection;
            let window = conn.max_inflight.unwrap_or(limits::WINDOW_CAP);
            let mut strict = Strict::new(conn.chunk_size, window, conn.first_msgno);
            strict.may_ping = true;
            strict
        });
        let apps = [App::new(&script, 0), App::new(&script, 1)];
        let [client, server] = ends;
        let mut oracle = Oracle::new(strict);
        oracle.is_tight = script.is_tight();
        let pair = Pair::over(client, server, script.links.clone(), oracle);
        let rng = Rng::new(script.seed);
        Self {
            pair,
            apps,
            script,
            rng,
        }
    }

    /// Has what passes told line by line, for a reader who looks for the cause of a failure.
    #[must_use]
    pub fn telling(mut self, diary: fn(&str)) -> Self {
        self.pair.watch.diary = Some(diary);
        self
    }

    /// Runs until both ends are done.
    ///
    /// # Panics
    ///
    /// When something happens that must not, or something that must does not (HD-49…HD-51, Q-5…Q-14).
    pub fn run(mut self) -> Report {
        let last_call = self.script.calm_from + LAST_CALL;
        let too_late = self.script.calm_from + TOO_LATE;
        let mut called = false;
        let mut turns = 0_u32;
        loop {
            while self.turn() {
                turns += 1;
                assert!(turns < 20_000_000, "no end of turns at {:?}", self.pair.now);
            }
            self.check();
            let now = self.pair.now;
            if self.is_over() {
                break;
            }
            if now >= last_call && !called {
                called = true;
                self.drain();
                continue;
            }
            let ours = self.sessions().map(|(side, _)| &self.apps[side]);
            let apps = ours.filter_map(|app| app.next(now));
            let call = (!called).then_some(last_call);
            let next = apps.chain(self.pair.next()).chain(call).min();
            let Some(next) = next.filter(|next| *next <= too_late) else {
                panic!(
                    "stuck at {now:?}, next {next:?}: {:?} {:?}",
                    self.pair.client, self.pair.server
                );
            };
            assert!(
                next > now,
                "nothing moves at {now:?}, but {next:?} is due (Q-14): {:?}",
                (
                    &self.pair.pipes,
                    self.pair.client.poll_timeout(),
                    self.pair.server.poll_timeout(),
                    self.pair.client.wants_read(),
                    self.pair.server.wants_read()
                )
            );
            self.pair.now = next;
            self.pair.alarm();
        }
        self.check_end();
        Report {
            trace: self.pair.watch.trace,
            ended: self.pair.now,
            octets: self.pair.pipes.each_ref().map(super::Pipe::taken),
            boundaries: [0, 1].map(|side| self.pair.watch.boundaries(side).to_vec()),
        }
    }

    /// Some turns of the drivers, and then of the applications; whether anything was done.
    fn turn(&mut self) -> bool {
        let mut moved = self.pair.alarm();
        for _ in 0..=self.rng.below(3) {
            moved |= self.pair.step_noting(
                |client, oracle| note_done(0, client, oracle),
                |server, oracle| note_done(1, server, oracle),
            );
        }
        let now = self.pair.now;
        let order = self.rng.below(2) as usize;
        for side in [order, 1 - order] {
            let peer = match side {
                0 => &mut self.pair.client,
                _ => &mut self.pair.server,
            };
            if let Peer::Ours(session) = peer {
                moved |= self.apps[side].act(now, session, &self.script, &mut self.pair.watch);
                check_memory(session, &self.script.configs[side], &self.script);
            }
        }
        moved
    }

    /// Whether neither a session of ours nor its application has anything left to do; others may
    /// linger.
    fn is_over(&self) -> bool {
        self.sessions().all(|(side, session)| {
            session.is_drained() && self.apps[side].next(self.pair.now).is_none()
        })
    }

    /// What holds whenever nothing moves.
    fn check(&self) {
        for (side, session) in self.sessions() {
            if !self.apps[side].is_asleep(self.pair.now) && !session.is_drained() {
                self.pair.watch.check_deadlines(side, self.pair.now);
            }
        }
    }

    /// What holds when all is over.
    fn check_end(&self) {
        for (side, session) in self.sessions() {
            assert!(
                self.pair.watch.is_closed(side),
                "side {side} was not told of the end"
            );
            self.pair.watch.check_outcomes(side);
            if let Some(ends) = self.apps[side].loose_ends() {
                panic!("side {side} waits for ever: {ends}");
            }
            assert!(
                session.is_empty(),
                "side {side} keeps something: {session:?} (R-11)"
            );
            assert_eq!(session.connection().memory(), 0, "side {side} holds octets");
        }
    }

    /// Ends what lasts: both ends drain, and where octets vanished nobody waits for them any more,
    /// since a reply that has begun has no deadline but its reader's (F-26).
    fn drain(&mut self) {
        let now = self.pair.now;
        let mut cuts = self.script.links.iter().filter_map(|link| link.cut);
        let vanished = cuts.any(|(_, cut)| cut == Cut::Silence);
        let peers = [&mut self.pair.client, &mut self.pair.server];
        for (app, peer) in self.apps.iter_mut().zip(peers) {
            if let Peer::Ours(session) = peer {
                if vanished {
                    app.give_up(now, session, &mut self.pair.watch);
                }
                session.drain(now);
            }
        }
    }

    fn sessions(&self) -> impl Iterator<Item = (usize, &Session)> {
        let peers = [&self.pair.client, &self.pair.server];
        peers
            .into_iter()
            .enumerate()
            .filter_map(|(side, peer)| match peer {
                Peer::Ours(session) => Some((side, session.as_ref())),
                Peer::Theirs(_) => None,
            })
    }
}

/// An end that closes hears what it reads from then on for nobody.
fn note_done(side: usize, peer: &Peer, oracle: &mut Oracle) {
    if matches!(peer, Peer::Ours(session) if !session.connection().is_open()) {
        oracle.done(side);
    }
}

/// no more is held than the limits allow, and one piece of input.
fn check_memory(session: &Session, config: &Config, script: &Script) {
    let conn = &config.connection;
    let piece = script
        .links
        .iter()
        .map(|link| link.piece)
        .max()
        .unwrap_or(0);
    let bound = conn.max_buffered
        + conn.max_collected
        + conn.max_queued
        + conn.max_control
        + piece
        + limits::PACKET_BODY
        + 65_536;
    let held = session.connection().memory();
    assert!(held <= bound, "holds {held}, bound {bound} (Q-5)");
}

/// After the last fault, when what lasts for ever is ended from outside.
const LAST_CALL: Duration = Duration::from_secs(600);

/// After the last fault, when everything must be over: all timers one after the other.
const TOO_LATE: Duration = Duration::from_secs(2000);

impl Peer {
    fn machine(&self) -> &dyn Duplex {
        match self {
            Self::Ours(session) => session.as_ref(),
            Self::Theirs(peer) => peer.as_ref(),
        }
    }

    fn machine_mut(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Ours(session) => session.as_mut(),
            Self::Theirs(peer) => peer.as_mut(),
        }
    }
}

impl Duplex for Peer {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.machine_mut().receive(now, bytes);
    }

    fn receive_end(&mut self, now: Instant, end: End) {
        self.machine_mut().receive_end(now, end);
    }

    fn wants_read(&self) -> bool {
        self.machine().wants_read()
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        self.machine_mut().poll_transmit(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.machine().poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine_mut().handle_timeout(now);
    }

    fn is_drained(&self) -> bool {
        self.machine().is_drained()
    }
}
