//! What the core costs in instructions and allocations: figures that need no quiet machine.
//!
//! A [`Job`] does one thing a given number of times. Doing it N and 2 N times and dividing the
//! difference by N leaves neither the start of the process nor the job's own preparation, so an
//! ordinary program under `valgrind --tool=callgrind` is enough.

mod budget;
pub mod callgrind;
pub mod connection;
pub mod discovery;
pub mod requester;
pub mod session;
pub mod virtual_link;
pub mod wire;

pub use budget::{BUDGETS, Budget};

use std::alloc::System;

use bytes::{Buf, Bytes};
use scamp_proto::connection::Read;
use scamp_proto::{Duplex, Outbox};
use stats_alloc::StatsAlloc;

/// Something to count.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its name on the command line.
    pub name: &'static str,
    /// The rule that sets its goal; empty where none does.
    pub rule: &'static str,
    /// Most instructions for one time.
    pub instructions: Option<u64>,
    /// Most allocations for one time; the ordinary tests assert it.
    pub allocations: Option<f64>,
    /// N.
    pub times: u64,
    /// Does it this many times.
    pub run: fn(u64),
}

/// What one time cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocations {
    /// Calls for new or larger memory.
    pub calls: f64,
    /// Octets they asked for.
    pub octets: f64,
}

impl Job {
    /// A job without goals, done a thousand times.
    const fn new(name: &'static str, run: fn(u64)) -> Self {
        Self {
            name,
            rule: "",
            instructions: None,
            allocations: None,
            times: 1_000,
            run,
        }
    }

    /// Sets the goals; `None` where there is no bound.
    const fn goal(
        self,
        rule: &'static str,
        instructions: Option<u64>,
        allocations: Option<f64>,
    ) -> Self {
        Self {
            rule,
            instructions,
            allocations,
            ..self
        }
    }

    /// Sets N.
    const fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    /// Counts allocations through `allocator`, which must be the program's global one.
    pub fn allocations(&self, allocator: &StatsAlloc<System>) -> Allocations {
        let count = |times| {
            let before = allocator.stats();
            (self.run)(times);
            let spent = allocator.stats() - before;
            (
                spent.allocations + spent.reallocations,
                spent.bytes_allocated,
            )
        };
        let (calls, octets) = count(self.times);
        let (twice_calls, twice_octets) = count(2 * self.times);
        let each = |once: usize, twice: usize| (twice as f64 - once as f64) / self.times as f64;
        Allocations {
            calls: each(calls, twice_calls),
            octets: each(octets, twice_octets),
        }
    }
}

impl Job {
    /// What it cost when the table was last written; `None` for a job that is not in it yet.
    pub fn budget(&self) -> Option<&'static Budget> {
        BUDGETS.iter().find(|budget| budget.job == self.name)
    }
}

/// All jobs, from the lowest layer up.
pub fn jobs() -> impl Iterator<Item = &'static Job> {
    wire::JOBS
        .iter()
        .chain(connection::JOBS)
        .chain(session::JOBS)
        .chain(discovery::JOBS)
        .chain(requester::JOBS)
}

/// Carries all that `from` has to say, and counts the turns it takes.
fn carry(
    from: &mut impl Duplex,
    to: &mut impl Duplex,
    out: &mut Outbox,
    now: scamp_proto::Instant,
) -> u64 {
    let mut writes = 0;
    while from.poll_transmit(now, out).is_some() {
        writes += 1;
        while out.has_remaining() {
            to.receive(now, out.chunk());
            out.advance(out.chunk().len());
        }
        out.clear();
    }
    writes
}

/// Reads a body that is all there, in one piece.
fn read_whole(mut read: impl FnMut() -> Read) -> Bytes {
    let Read::Data(body) = read() else {
        unreachable!("the body is there")
    };
    assert_eq!(read(), Read::End, "the body is in one piece");
    body
}

/// Sizes of a DATA's body that stand for all: none, small, Perl's, ours, the largest.
pub const SIZES: [usize; 5] = [0, 100, 2_048, 32_768, 131_072];
