//! One direction of a transport: octets in at one end, and out at the other, or not.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{End, Instant, Rng};

/// What a transport does to the octets it carries (HD-52).
#[derive(Clone, Debug)]
pub struct Link {
    /// Octets it takes before its reader has to take some.
    pub capacity: usize,
    /// How long an octet is under way.
    pub delay: Duration,
    /// Octets a second; 0 is as many as come.
    pub rate: u64,
    /// The most octets one read brings; each read brings from one to this many, by the seed.
    pub piece: usize,
    /// Spans in which nothing arrives.
    pub stalls: Vec<(Instant, Instant)>,
    /// After how many octets it ends, and how.
    pub cut: Option<(u64, Cut)>,
    /// Where the sizes of pieces come from; 0 makes every read as large as can be.
    pub seed: u64,
}

/// How a transport ends before its user wants it to (F-1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// In the ordinary way, as when the writer closes: FIN, and close_notify under TLS.
    Fin,
    /// By RST: both directions fail, and what was under way the other way is lost.
    Reset,
    /// Not at all: octets vanish.
    Silence,
    /// By FIN without the farewell of the layer between.
    Unclean,
}

impl Cut {
    /// Every way to end.
    pub const ALL: [Self; 4] = [Self::Fin, Self::Reset, Self::Silence, Self::Unclean];
}

impl Default for Link {
    fn default() -> Self {
        Self {
            capacity: 1 << 30,
            delay: Duration::ZERO,
            rate: 0,
            piece: 65_536,
            stalls: Vec::new(),
            cut: None,
            seed: 0,
        }
    }
}

impl Link {
    /// A perfect link on which octets take this long.
    pub fn with_delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// A [`Link`] with octets on it.
#[derive(Debug)]
pub struct Pipe {
    link: Link,
    rng: Rng,
    queue: VecDeque<(Instant, Vec<u8>)>,
    /// Octets of the first entry of `queue` that were read.
    read: usize,
    /// Octets in `queue` that were not.
    held: usize,
    /// Octets taken from the writer, and of them those that are on their way or arrived.
    taken: u64,
    carried: u64,
    /// When the last octet has left the writer.
    free_at: Instant,
    end: Option<(Instant, End)>,
    end_told: bool,
    is_silent: bool,
}

impl Pipe {
    /// An empty one.
    pub fn new(link: Link) -> Self {
        Self {
            rng: Rng::new(link.seed),
            link,
            queue: VecDeque::new(),
            read: 0,
            held: 0,
            taken: 0,
            carried: 0,
            free_at: Instant::EPOCH,
            end: None,
            end_told: false,
            is_silent: false,
        }
    }

    /// Takes octets from the front of `octets`, and says how many.
    pub fn write(&mut self, now: Instant, octets: &[u8]) -> usize {
        let room = self.link.capacity.saturating_sub(self.held);
        let count = octets.len().min(room);
        self.taken += count as u64;
        if self.end.is_some() || self.is_silent {
            return count;
        }
        let limit = self.link.cut.map_or(u64::MAX, |(offset, _)| offset);
        let carried = usize::try_from(limit - self.carried).map_or(count, |left| count.min(left));
        if carried > 0 {
            let span = match self.link.rate {
                0 => Duration::ZERO,
                rate => Duration::from_nanos(carried as u64 * 1_000_000_000 / rate),
            };
            self.free_at = self.free_at.max(now) + span;
            let arrival = self.free_at + self.link.delay;
            self.queue.push_back((arrival, octets[..carried].to_vec()));
            self.held += carried;
            self.carried += carried as u64;
        }
        self.cut_if_due(now);
        count
    }

    /// Whether a write would be taken.
    pub fn has_room(&self) -> bool {
        self.link.capacity > self.held
    }

    /// Ends it after what was written, as its writer's own close; `false` if it has ended before.
    pub fn close(&mut self, now: Instant) -> bool {
        let open = self.end.is_none() && !self.is_silent;
        if open {
            let at = self.free_at.max(now) + self.link.delay;
            self.end = Some((at, End::Eof));
        }
        open
    }

    /// Ends it now with an error; what is under way is lost.
    pub fn reset(&mut self, now: Instant) {
        self.queue.clear();
        self.read = 0;
        self.held = 0;
        self.end = Some((now, End::io("connection reset")));
    }

    /// Whether it has just been cut by a reset, so that the other direction fails too.
    pub fn is_reset(&self) -> bool {
        matches!(self.end, Some((_, End::Lost(_))))
    }

    /// Octets the writer has handed over so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// When something can next be read, now or later, if anything is under way.
    pub fn next_arrival(&self, now: Instant) -> Option<Instant> {
        let at = match (self.queue.front(), &self.end) {
            (Some((at, _)), _) => *at,
            (None, Some((at, _))) if !self.end_told => *at,
            (None, _) => return None,
        };
        let mut at = at.max(now);
        while let Some((_, to)) = self.stall_at(at) {
            at = to;
        }
        Some(at)
    }

    /// What has arrived: some octets.
    pub fn read(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.is_stalled(now) {
            return None;
        }
        let piece = match self.link.seed {
            0 => self.link.piece,
            _ => 1 + self.rng.below(self.link.piece as u64) as usize,
        };
        let mut octets = Vec::new();
        while let Some((at, chunk)) = self.queue.front() {
            let left = piece - octets.len();
            if *at > now || left == 0 {
                break;
            }
            let rest = &chunk[self.read..];
            let count = rest.len().min(left);
            octets.extend_from_slice(&rest[..count]);
            if count == rest.len() {
                self.queue.pop_front();
                self.read = 0;
            } else {
                self.read += count;
            }
        }
        self.held -= octets.len();
        (!octets.is_empty()).then_some(octets)
    }

    /// What has arrived: the end, once, after all octets before it.
    pub fn read_end(&mut self, now: Instant) -> Option<End> {
        if self.end_told || !self.queue.is_empty() || self.is_stalled(now) {
            return None;
        }
        let (_, end) = self.end.as_ref().filter(|(at, _)| *at <= now)?;
        self.end_told = true;
        Some(end.clone())
    }

    /// Lets what is held up by a stall go on, and stalls no more.
    pub fn heal(&mut self) {
        self.link.stalls.clear();
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.stall_at(now).is_some()
    }

    fn stall_at(&self, at: Instant) -> Option<(Instant, Instant)> {
        let mut stalls = self.link.stalls.iter().copied();
        stalls.find(|(from, to)| *from <= at && at < *to)
    }

    fn cut_if_due(&mut self, now: Instant) {
        let Some((offset, cut)) = self.link.cut else {
            return;
        };
        if self.carried < offset {
            return;
        }
        let at = self.free_at.max(now) + self.link.delay;
        self.end = match cut {
            Cut::Fin => Some((at, End::Eof)),
            Cut::Reset => Some((at, End::io("connection reset"))),
            Cut::Unclean => Some((at, End::Cut)),
            Cut::Silence => {
                self.is_silent = true;
                None
            }
        };
    }
}
