//! Both ends in one thread: instructions, allocations and writes of everything above the kernel.

use std::alloc::System;
use std::io;

use stats_alloc::StatsAlloc;

use super::case::Case;
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
/// [`both`], for valgrind to count.
pub fn report(kinds: &[Kind], allocator: &StatsAlloc<System>) -> io::Result<()> {
    for (text, share, allocations) in GOALS {
        let case: Case = text.parse()?;
        println!(
            "{text}: goals of scamp: instructions {share} of tonic's, {allocations} allocations"
        );
        println!(
            "  {:<12} {:>12} {:>12} {:>8}",
            "each echo", "instructions", "allocations", "writes"
        );
        for kind in kinds.iter().filter(|kind| kind.takes_part_in(case.shape)) {
            let instructions = callgrind::each(TIMES, |times| {
                vec![
                    "both".to_owned(),
                    kind.to_string(),
                    (*text).to_owned(),
                    times.to_string(),
                ]
            })?;
            let (spent, writes) = spent(*kind, &case, allocator)?;
            println!(
                "  {:<12} {instructions:>12.0} {spent:>12.2} {writes:>8.2}",
                kind.to_string()
            );
        }
    }
    Ok(())
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

/// Case, share of tonic's instructions, allocations (PF-12).
const GOALS: &[(&str, f64, u64)] = &[("echo,c=1", 0.25, 8), ("echo,c=64", 0.18, 4)];
/// Requests that are counted.
const TIMES: u64 = 2_048;
