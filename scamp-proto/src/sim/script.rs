//! What two applications do in one run, and what happens to them.

use alloc::vec::Vec;
use core::time::Duration;

use super::personality::Habit;
use super::wire::{Cut, Link};
use crate::session::{Config, Serialize, Side};
use crate::{Instant, Rng, limits};

/// What kind of run it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// Default settings, a perfect wire of some delay, well-behaved applications.
    Calm,
    /// Limits of 1, 2 and the most; windows and chunks of any size; allowances that shrink (HD-56).
    Tight,
    /// Cuts, stalls and slow links, with default settings (F-1, F-7, F-11).
    Faulty,
    /// Message numbers that run out (F-28).
    Exhausted,
    /// Everything at once (F-52).
    BadDay,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 5] = [
        Self::Calm,
        Self::Tight,
        Self::Faulty,
        Self::Exhausted,
        Self::BadDay,
    ];
}

/// Everything that is decided before a run begins. Side 0 dials, side 1 is dialled.
#[derive(Clone, Debug)]
pub struct Script {
    /// What is asked; a plan's place is its tag, from 1.
    pub plans: Vec<Plan>,
    /// Things that happen to one side at a time.
    pub happenings: Vec<Happening>,
    /// Spans in which an application does nothing at all, by side.
    pub naps: [Vec<(Instant, Instant)>; 2],
    /// The settings of both sides.
    pub configs: [Config; 2],
    /// The wire, from the dialling side and back.
    pub links: [Link; 2],
    /// When all faults are over.
    pub calm_from: Instant,
    /// Seed of what is decided on the way: how much is read or written at a time.
    pub seed: u64,
}

/// One message and, for a request, its reply.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The side that sends it.
    pub from: usize,
    /// When.
    pub at: Instant,
    /// What it is.
    pub ask: Ask,
    /// Its body.
    pub body: Speech,
    /// How its receiver reads it.
    pub reading: Listen,
    /// When its receiver answers, and how.
    pub answer: Answer,
    /// How long its receiver thinks before that.
    pub thinking: Duration,
    /// The reply's body.
    pub reply: Speech,
    /// How the caller reads the reply.
    pub listening: Listen,
    /// When the caller gives up.
    pub cancel_after: Option<Duration>,
    /// The deadline; `None` is the default.
    pub timeout: Option<Duration>,
    /// Whether the deadline covers the reply's body.
    pub covers_body: bool,
    /// Whether the body is sent on after the reply.
    pub keep_sending: bool,
}

/// What a plan sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// A request.
    Request,
    /// A notification.
    Notify,
    /// A subscription to the first topic, or to both, or to none any more.
    Subscribe(u8),
}

/// A body: how long it is, in what pieces it is written, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Speech {
    /// Octets.
    pub len: u64,
    /// Octets of one write.
    pub piece: usize,
    /// The end.
    pub end: Finale,
}

/// How a sender ends a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finale {
    /// In the ordinary way.
    Finish,
    /// With an error text.
    Fail,
    /// By dropping it.
    Drop,
    /// Not at all; its deadline, its caller or its reply ends it.
    Leave,
}

/// How a receiver reads a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listen {
    /// As it comes.
    All,
    /// At most so many octets at a time.
    UpTo(usize),
    /// The same, copied.
    Into(usize),
    /// When it is complete, if it has at most so many octets.
    Collect(usize),
    /// So many octets, and then no more.
    DiscardAt(u64),
    /// As it comes, acknowledged by hand.
    Manual,
    /// As it comes, acknowledged on arrival.
    OnReceive,
    /// Not before so much time has passed.
    After(Duration),
}

/// When and how a request is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// As soon as its header is there.
    Early,
    /// When its body has ended.
    Late,
    /// With an error, when its body has ended.
    Error,
    /// Not: the handler goes away.
    Abandon,
}

/// Something that happens to a side.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When.
    pub at: Instant,
    /// To whom.
    pub side: usize,
    /// What.
    pub what: What,
}

/// What can happen to a side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Its allowance of unread octets changes (HD-26).
    Allow(usize),
    /// It publishes a value under a key of a topic.
    Publish(u8, u8, u8),
    /// It begins nothing new.
    Drain,
    /// It closes.
    Close,
}

/// Octets `from..from + len` of the body of the message with this tag: a cycle of 251, which no
/// chunk is a multiple of, begun at a place of the message's own.
pub fn octets(tag: u64, is_reply: bool, from: u64, len: usize) -> Vec<u8> {
    let mut octets = Vec::with_capacity(len + 251);
    octets.extend(first(tag, is_reply, from)..251);
    while octets.len() < len {
        octets.extend_from_slice(&CYCLE);
    }
    octets.truncate(len);
    octets
}

/// Whether these are the octets of that body from this place on.
pub fn are_octets(tag: u64, is_reply: bool, from: u64, octets: &[u8]) -> bool {
    let start = usize::from(first(tag, is_reply, from));
    let (head, rest) = octets.split_at(octets.len().min(251 - start));
    CYCLE[start..].starts_with(head) && rest.chunks(251).all(|chunk| CYCLE.starts_with(chunk))
}

fn first(tag: u64, is_reply: bool, from: u64) -> u8 {
    let start = tag.wrapping_mul(37).wrapping_add(u64::from(is_reply) * 101);
    ((start % 251 + from % 251) % 251) as u8
}

const CYCLE: [u8; 251] = {
    let mut cycle = [0; 251];
    let mut place = 0;
    while place < 251 {
        cycle[place] = place as u8;
        place += 1;
    }
    cycle
};

impl Plan {
    /// A request at the epoch with these bodies, and everything else as ordinary as can be.
    pub fn request(body: u64, reply: u64) -> Self {
        let speech = |len| Speech {
            len,
            piece: usize::MAX,
            end: Finale::Finish,
        };
        Self {
            from: 0,
            at: Instant::EPOCH,
            ask: Ask::Request,
            body: speech(body),
            reading: Listen::All,
            answer: Answer::Late,
            thinking: Duration::ZERO,
            reply: speech(reply),
            listening: Listen::All,
            cancel_after: None,
            timeout: None,
            covers_body: false,
            keep_sending: false,
        }
    }
}

impl Script {
    /// These plans with default settings over a perfect wire.
    pub fn plain(plans: Vec<Plan>) -> Self {
        Self {
            plans,
            happenings: Vec::new(),
            naps: [Vec::new(), Vec::new()],
            configs: [Config::new(Side::Client), Config::new(Side::Server)],
            links: [Link::default(), Link::default()],
            calm_from: Instant::EPOCH,
            seed: 0,
        }
    }

    /// The script of a seed.
    pub fn draw(rng: &mut Rng, profile: Profile) -> Self {
        let tight = matches!(profile, Profile::Tight | Profile::BadDay);
        let faulty = matches!(profile, Profile::Faulty | Profile::BadDay);
        let mut script = Self::plain(Vec::new());
        script.seed = rng.next_u64();
        if tight {
            script.configs = [
                draw_config(rng, Side::Client),
                draw_config(rng, Side::Server),
            ];
        }
        if profile == Profile::Exhausted || (tight && rng.chance(1, 20)) {
            let first = limits::LAST_NUMBER - rng.below(4);
            for config in &mut script.configs {
                config.connection.first_msgno = first;
            }
        }
        for config in &mut script.configs {
            config.subscriptions = rng.chance(3, 4);
            config.serialize = pick(rng, &[Serialize::Auto, Serialize::Never, Serialize::Always]);
        }
        let span = 1 + rng.below(20_000);
        script.calm_from = at(span + 10_000);
        let count = 1 + rng.below(12);
        script.links = [draw_link(rng, faulty, span), draw_link(rng, faulty, span)];
        let narrow = script.narrowness();
        script.plans = (0..count).map(|_| draw_plan(rng, span, narrow)).collect();
        if faulty && rng.chance(2, 3) {
            let cut = (draw_offset(rng), pick(rng, &Cut::ALL));
            script.links[rng.below(2) as usize].cut = Some(cut);
        }
        for side in 0..2 {
            if profile != Profile::Calm && rng.chance(1, 3) {
                script.naps[side].push(draw_span(rng, span));
            }
            for _ in 0..rng.below(4) {
                let what =
                    What::Publish(rng.below(3) as u8, rng.below(2) as u8, rng.below(3) as u8);
                script.happenings.push(Happening {
                    at: at(rng.below(span)),
                    side,
                    what,
                });
            }
            if tight && rng.chance(1, 3) {
                let octets = pick(rng, &[0, 1, 1000, 65_536]);
                let what = What::Allow(octets);
                script.happenings.push(Happening {
                    at: at(rng.below(span)),
                    side,
                    what,
                });
            }
            if rng.chance(1, 6) {
                let what = pick(rng, &[What::Drain, What::Close]);
                script.happenings.push(Happening {
                    at: at(rng.below(span)),
                    side,
                    what,
                });
            }
        }
        script
    }
}

impl Script {
    /// Changes one thing about it.
    pub(super) fn bend(&mut self, what: u8, value: u64) {
        let index = usize::from(what >> 4) % self.plans.len().max(1);
        let millis = Duration::from_millis(value % 100_000);
        let side = usize::from(what >> 7);
        let Some(plan) = self.plans.get_mut(index) else {
            return;
        };
        let len = value % 300_000;
        match what % 14 {
            0 => self.links[side].cut = Some((len, Cut::ALL[index % 4])),
            1 => plan.at = Instant::EPOCH + millis,
            2 => plan.body.len = plan.body.len.min(len),
            3 => plan.reply.len = plan.reply.len.min(len),
            4 => plan.thinking = millis,
            5 => plan.cancel_after = Some(millis),
            6 => plan.timeout = Some(millis),
            7 => plan.listening = Listen::DiscardAt(len),
            8 => plan.reading = Listen::Collect(len as usize),
            9 => plan.answer = Answer::Early,
            10 => self.links[side].piece = 1 + len as usize,
            11 => self.naps[side].push((Instant::EPOCH + millis, Instant::EPOCH + 2 * millis)),
            12 => {
                let what = [What::Drain, What::Close, What::Allow(len as usize)][index % 3];
                self.happenings.push(Happening {
                    at: Instant::EPOCH + millis,
                    side,
                    what,
                });
            }
            _ => plan.body.end = [Finale::Fail, Finale::Drop][index % 2],
        }
    }

    /// Leaves out what a peer with this habit cannot take part in.
    pub(super) fn suit(&mut self, habit: Habit, theirs: usize) {
        for plan in &mut self.plans {
            if plan.from == theirs || habit == Habit::Go {
                plan.ask = Ask::Request;
            }
            // Go numbers replies by what was complete: one that never is shifts the others (N-14).
            if habit == Habit::Go && plan.from != theirs {
                plan.body.end = Finale::Finish;
                plan.cancel_after = None;
                plan.timeout = None;
            }
        }
        let ours = 1 - theirs;
        self.configs[ours].subscriptions = false;
        if habit == Habit::Go {
            self.configs[ours].serialize = Serialize::Always;
        }
        for config in &mut self.configs {
            config.connection.first_msgno = 0;
        }
    }

    /// Whether limits of one side make honest behaviour of the other look like a flood.
    pub(super) fn is_tight(&self) -> bool {
        self.configs.iter().any(|config| {
            let conn = &config.connection;
            let packet = conn.chunk_size.min(conn.max_queued) as u64;
            let window = conn.max_inflight.filter(|window| *window > 0);
            let packet = packet.min(window.unwrap_or(packet));
            conn.max_open_messages < 100 || packet < limits::SMALL_DATA as u64
        })
    }

    /// About how many octets one turn or one round trip moves at the narrowest place.
    fn narrowness(&self) -> u64 {
        let windows = self.configs.iter().map(|config| {
            let window = config.connection.max_inflight.unwrap_or(limits::WINDOW);
            let window = if window == 0 { u64::MAX } else { window };
            let room = config
                .connection
                .max_queued
                .min(config.connection.max_buffered);
            window
                .min(config.connection.chunk_size as u64)
                .min(50 * room as u64)
        });
        let links = self
            .links
            .iter()
            .map(|link| 50 * link.capacity.min(link.piece) as u64);
        windows.chain(links).min().unwrap_or(1)
    }
}

fn draw_plan(rng: &mut Rng, span: u64, narrow: u64) -> Plan {
    let finale = |rng: &mut Rng| match rng.below(10) {
        0 => Finale::Fail,
        1 => Finale::Drop,
        _ => Finale::Finish,
    };
    let listen = |rng: &mut Rng| match rng.below(12) {
        0 => Listen::UpTo(1 + rng.below(5000) as usize),
        1 => Listen::Into(1 + rng.below(5000) as usize),
        2 => Listen::Collect(rng.below(100_000) as usize),
        3 => Listen::DiscardAt(rng.below(2000)),
        4 => Listen::Manual,
        5 => Listen::OnReceive,
        6 => Listen::After(Duration::from_millis(rng.below(3000))),
        _ => Listen::All,
    };
    let mut body = draw_speech(rng, narrow);
    body.end = finale(rng);
    let mut reply = draw_speech(rng, narrow);
    reply.end = finale(rng);
    let mut plan = Plan {
        from: rng.below(4).min(1) as usize ^ 1,
        at: at(rng.below(span)),
        ask: match rng.below(10) {
            0 => Ask::Notify,
            1 => Ask::Subscribe(rng.below(3) as u8),
            _ => Ask::Request,
        },
        body,
        reading: listen(rng),
        answer: match rng.below(10) {
            0 => Answer::Early,
            1 => Answer::Error,
            2 => Answer::Abandon,
            3 => Answer::Early,
            _ => Answer::Late,
        },
        thinking: match rng.below(3) {
            0 => Duration::from_millis(rng.below(2000)),
            _ => Duration::ZERO,
        },
        reply,
        listening: listen(rng),
        cancel_after: rng
            .chance(1, 8)
            .then(|| Duration::from_millis(rng.below(3000))),
        timeout: rng
            .chance(1, 6)
            .then(|| Duration::from_millis(rng.below(5000))),
        covers_body: rng.chance(1, 4),
        keep_sending: rng.chance(1, 4),
    };
    // Only a request that ends with its reply may be left open by its caller.
    let may_leave = plan.ask == Ask::Request && !plan.keep_sending;
    if may_leave && rng.chance(1, 12) {
        plan.body.end = Finale::Leave;
    }
    plan
}

/// Bodies are short where each round trip moves little, so that runs stay short.
fn draw_speech(rng: &mut Rng, narrow: u64) -> Speech {
    let most = narrow.saturating_mul(40);
    let len = match rng.below(8) {
        0 => 0,
        1 => 1,
        2 => 65_535 + rng.below(3),
        3 => rng.below(200_000),
        _ => rng.below(2000),
    };
    Speech {
        len: len.min(most),
        piece: pick(rng, &[1000, 16_384, 100_000, usize::MAX]),
        end: Finale::Finish,
    }
}

fn draw_config(rng: &mut Rng, side: Side) -> Config {
    let mut config = Config::new(side);
    let some = |rng: &mut Rng, all: usize| pick(rng, &[1, 2, all, all]);
    let conn = &mut config.connection;
    conn.chunk_size = pick(rng, &[1, 2, 100, 4096, 32_768, 131_072]);
    conn.max_inflight = pick(rng, &[None, Some(0), Some(1), Some(100), Some(65_536)]);
    conn.max_open_messages = some(rng, limits::OPEN_MESSAGES);
    conn.max_queued = pick(rng, &[1, 2, 4096, limits::QUEUED, limits::QUEUED]);
    conn.max_buffered = pick(
        rng,
        &[1, 2, 300, 65_536, limits::BUFFERED, limits::BUFFERED],
    );
    conn.max_control = pick(rng, &[1, 2, limits::CONTROL, limits::CONTROL]);
    conn.max_body = pick(rng, &[1, 2, limits::COLLECTED_BODY, limits::COLLECTED_BODY]);
    conn.max_collected = pick(rng, &[1, 2, limits::COLLECTED, limits::COLLECTED]);
    config.max_outstanding = some(rng, limits::OUTSTANDING);
    config
}

fn draw_link(rng: &mut Rng, faulty: bool, span: u64) -> Link {
    let mut link = Link {
        delay: Duration::from_micros(rng.below(100_000)),
        seed: rng.next_u64(),
        piece: pick(rng, &[1, 7, 100, 5000, 65_536, 65_536]),
        ..Link::default()
    };
    if faulty {
        link.capacity = pick(rng, &[1, 100, 10_000, 65_536, 1 << 30]);
        link.rate = pick(rng, &[0, 0, 20_000, 1_000_000]);
        // What can move in a second stays over some thousand octets.
        if link.capacity < 10_000 {
            link.delay = Duration::ZERO;
        }
        if rng.chance(1, 2) {
            link.stalls.push(draw_span(rng, span));
        }
    }
    link
}

fn draw_span(rng: &mut Rng, span: u64) -> (Instant, Instant) {
    let from = rng.below(span);
    (at(from), at(from + rng.below(10_000)))
}

fn draw_offset(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.below(200),
        1 => rng.below(3000),
        _ => rng.below(200_000),
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_epoch(Duration::from_millis(millis))
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize]
}
