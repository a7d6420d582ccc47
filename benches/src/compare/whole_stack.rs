//! Both ends in one thread: instructions, allocations and writes of everything above the kernel.

use std::alloc::System;
use std::fmt;
use std::io;

use stats_alloc::StatsAlloc;

use super::case::Case;
use super::goals::Bound;
use super::kinds::{self, Kind};
use super::run::Run;
use super::side_by_side::runtime;
use super::tls::{self, Listener, Target};
use crate::count::callgrind;

/// Both ends of `kind`, for exactly `requests` requests; returns the write calls of both.
pub fn both(kind: Kind, case: &Case, requests: u64) -> io::Result<u64> {
    runtime(0)?.block_on(async {
        let listener = Listener::bind().await?;
        let certificate = listener.identity().certificate.clone();
        let target = Target::new(listener.address()?, certificate)?;
        let serving = case.clone();
        let before = tls::writes();
        let server = tokio::spawn(async move { kinds::serve(kind, &serving, listener).await });
        kinds::client(kind, case, &target, &Run::counted(requests)).await?;
        server.abort();
        Ok(tls::writes() - before)
    })
}

/// Prints what one echo costs each of `kinds`, beside the goals of PF-12 and PF-13.
///
/// `allocator` must be the program's global one; the program must answer `both KIND CASE N` by
/// [`both`], for valgrind to count. Without valgrind the column of instructions is empty.
pub fn report(kinds: &[Kind], allocator: &StatsAlloc<System>) -> io::Result<()> {
    for goals in GOALS {
        let case: Case = goals.case.parse()?;
        println!("{}", goals.case);
        println!(
            "  {:<12} {:>12} {:>12} {:>8}",
            "each echo", "instructions", "allocations", "writes"
        );
        let mut rows = Vec::new();
        for kind in kinds.iter().filter(|kind| kind.takes_part_in(case.shape)) {
            let row = Row::count(*kind, goals.case, &case, allocator)?;
            println!("{row}");
            rows.push(row);
        }
        goals.print(&rows);
    }
    Ok(())
}

/// What one echo of one kind costs.
struct Row {
    kind: Kind,
    /// `None` without valgrind.
    instructions: Option<f64>,
    allocations: f64,
    writes: f64,
}

impl Row {
    fn count(
        kind: Kind,
        text: &str,
        case: &Case,
        allocator: &StatsAlloc<System>,
    ) -> io::Result<Self> {
        let instructions = callgrind::each(TIMES, |times| {
            let times = times.to_string();
            ["both", &kind.to_string(), text, &times]
                .map(str::to_owned)
                .to_vec()
        });
        let (allocations, writes) = spent(kind, case, allocator)?;
        Ok(Self {
            kind,
            instructions: instructions
                .map_err(|error| println!("  {kind}: instructions were not counted: {error}"))
                .ok(),
            allocations,
            writes,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instructions = self.instructions.map(|count| format!("{count:.0}"));
        write!(
            f,
            "  {:<12} {:>12} {:>12.2} {:>8.2}",
            self.kind.to_string(),
            instructions.unwrap_or_default(),
            self.allocations,
            self.writes
        )
    }
}

/// What scamp's echo may cost in one case.
struct Goals {
    case: &'static str,
    /// Instructions, as a share of tonic's.
    share: f64,
    allocations: f64,
    /// Write calls of both ends, where each echo goes alone.
    writes: Option<f64>,
}

impl Goals {
    /// Judges scamp's row, as far as the rows it is compared with are there.
    fn print(&self, rows: &[Row]) {
        let of = |kind| rows.iter().find(|row| row.kind == kind);
        let Some(scamp) = of(Kind::Scamp) else { return };
        let tonic = of(Kind::Tonic).and_then(|row| row.instructions);
        if let Some((ours, theirs)) = scamp.instructions.zip(tonic) {
            judge(
                "PF-12",
                "instructions / tonic's",
                ours / theirs,
                Bound::AtMost(self.share),
            );
        }
        judge(
            "PF-12",
            "allocations",
            scamp.allocations,
            Bound::AtMost(self.allocations),
        );
        if let Some(writes) = self.writes {
            judge("PF-13", "writes", scamp.writes, Bound::AtMost(writes));
        }
    }
}

fn judge(name: &str, what: &str, figure: f64, bound: Bound) {
    let verdict = bound.judge(figure);
    println!("  {name} scamp, {what}: {figure:.3}, goal {bound}: {verdict}");
}

/// Allocations and writes of one echo.
fn spent(kind: Kind, case: &Case, allocator: &StatsAlloc<System>) -> io::Result<(f64, f64)> {
    let count = |times| {
        let before = allocator.stats();
        let writes = both(kind, case, times)?;
        let spent = allocator.stats() - before;
        io::Result::Ok((
            (spent.allocations + spent.reallocations) as f64,
            writes as f64,
        ))
    };
    let (once, twice) = (count(TIMES)?, count(2 * TIMES)?);
    let each = |once: f64, twice: f64| (twice - once) / TIMES as f64;
    Ok((each(once.0, twice.0), each(once.1, twice.1)))
}

/// PF-12, and PF-13 with room for a segment that the kernel cut in two.
const GOALS: &[Goals] = &[
    Goals {
        case: "echo,c=1",
        share: 0.25,
        allocations: 8.0,
        writes: Some(2.01),
    },
    Goals {
        case: "echo,c=64",
        share: 0.18,
        allocations: 4.0,
        writes: None,
    },
];
/// Requests that are counted.
const TIMES: u64 = 2_048;
