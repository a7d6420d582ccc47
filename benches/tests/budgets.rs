//! The counts that are the same in every build: allocations, writes, throughput in virtual time.

use std::alloc::System;
use std::time::Duration;

use bytes::Bytes;
use scamp_bench::count::connection::Pair;
use scamp_bench::count::session;
use scamp_bench::count::virtual_link::share_of_window_rate;
use scamp_bench::count::wire::PLAIN;
use scamp_bench::count::{BUDGETS, jobs};
use scamp_proto::Header;
use scamp_proto::connection::Config;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// PF-10, PF-11, PF-13, PF-15: no job allocates more than its budget, and where the goal is none,
/// none; one write each way; full windows.
///
/// One test, because a second one in another thread would be counted with it.
#[test]
fn allocations_writes_and_rates() {
    for job in jobs() {
        let spent = job.allocations(ALLOCATOR).calls;
        let budget = job.budget().expect("every job has a budget").allocations;
        assert!(
            spent <= budget + 0.02,
            "{}: {spent} allocations, budget {budget}",
            job.name
        );
        if job.allocations == Some(0.0) {
            assert!(spent < 0.01, "{}: {spent} allocations, goal none", job.name);
        }
    }
    for budget in BUDGETS {
        assert!(
            jobs().any(|job| job.name == budget.job),
            "no job for budget {}",
            budget.job
        );
    }
    one_write_each_way();
    windows_are_filled();
}

/// PF-13: an echo takes one write of each end, ACKs included, through connections and through
/// sessions; a body that still fits in one record does not need a second.
fn one_write_each_way() {
    let header = Header::decode(PLAIN.as_bytes()).expect("a JSON object");
    let mut pair = Pair::new(&Config::default());
    let body = Bytes::from_static(&[b'x'; 100]);
    for echoes in 1..=10 {
        pair.echo(1, &header, &body);
        assert_eq!(pair.writes, 2 * echoes);
    }
    for octets in [1, 100, 2_048, 16_000] {
        let mut pair = session::Pair::new();
        let body = Bytes::from(vec![b'x'; octets]);
        for echoes in 1..=10 {
            pair.echo(1, &session::head(), &body);
            assert_eq!(pair.writes, 2 * echoes, "{octets} octets");
        }
    }
}

/// PF-15: a window is filled at any distance, exactly and repeatably.
fn windows_are_filled() {
    for window in [65_536, 262_144, 1_048_576] {
        for rtt in [Duration::from_millis(1), Duration::from_millis(50)] {
            let share = share_of_window_rate(window, rtt);
            assert!(
                (0.98..=1.0001).contains(&share),
                "{window} octets, {rtt:?}: {share}"
            );
            assert_eq!(share, share_of_window_rate(window, rtt));
        }
    }
}
