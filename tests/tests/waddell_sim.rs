//! A waddell server and its clients on links with faults, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use scamp_proto::sim::flock::{Plan, run, run_plan};
use scamp_proto::waddell::{OnFull, RouterConfig};

/// WD-127, WD-30, WD-35, WD-41: worlds of every kind, and the judge finds nothing; they are different
/// enough that everything that can happen does.
#[test]
fn wd_127_random_worlds() {
    let (mut sent, mut certain, mut arrived, mut full, mut unknown) = (0, 0, 0, 0, 0);
    let seeds = std::env::var("SCAMP_SEEDS").map_or(200, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        let report = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|cause| {
            println!("seed {seed}");
            std::panic::resume_unwind(cause)
        });
        sent += report.sent;
        certain += report.certain;
        arrived += report.arrived.len();
        full += report.full;
        unknown += report.unknown;
    }
    println!(
        "{sent} sent, {arrived} arrived ({certain} for certain), {full} had no room, {unknown} nobody"
    );
    assert!(certain > sent / 4 && full > 0 && unknown > 0 && arrived > certain);
}

/// The same seed makes the same world.
#[test]
fn worlds_are_repeatable() {
    for seed in [3, 77] {
        assert_eq!(run(seed), run(seed));
    }
}

fn plan(members: usize, sends: usize) -> Plan {
    Plan {
        members,
        deaf: 0,
        deaf_for: None,
        vandals: 0,
        sends,
        body: 300,
        losses: 0,
        span: Duration::from_secs(20),
        router: RouterConfig::default(),
    }
}

/// WD-127, WD-22, WD-40: a thousand clients and the server; with vandals, clients that take nothing,
/// and transports that are lost, everybody else is sent everything.
#[test]
fn wd_127_a_thousand_clients() {
    let plan = Plan {
        deaf: 20,
        vandals: 20,
        losses: 100,
        ..plan(1000, 20_000)
    };
    let report = run_plan(plan, 5, &[]);
    let (arrived, certain) = (report.arrived.len(), report.certain);
    println!(
        "{} sent, {arrived} arrived, {certain} for certain",
        report.sent
    );
    assert!(report.sent > 19_000 && certain > report.sent * 3 / 4);
    assert!(report.connections >= 1090, "{}", report.connections);
    assert!(report.peak < 1 << 20, "{}", report.peak);
}

/// WD-40, WD-42, WD-127, HD-47, B-21, defect 2: a peer that reads nothing, to which everybody writes,
/// changes nothing for the others: they are sent the same, and no later.
#[test]
fn wd_127_a_stuck_peer_changes_nothing_for_others() {
    for on_full in [OnFull::DropNewest, OnFull::Disconnect] {
        let plan = |deaf| Plan {
            deaf,
            deaf_for: Some((Duration::from_secs(2), Duration::from_secs(40))),
            body: 20_000,
            router: RouterConfig {
                on_full,
                ..RouterConfig::default()
            },
            ..plan(8, 4000)
        };
        let (deaf, healthy) = (run_plan(plan(1), 9, &[]), run_plan(plan(0), 9, &[]));
        assert!(
            deaf.full > 0 && healthy.full == 0,
            "{} {}",
            deaf.full,
            healthy.full
        );
        let others = |report: &scamp_proto::sim::flock::Report| -> BTreeMap<_, _> {
            let arrived = report.arrived.iter().copied();
            arrived
                .filter(|(_, from, to, _)| *from != 0 && *to != 0)
                .map(|(at, from, to, serial)| ((from, to, serial), at))
                .collect()
        };
        let (with, without) = (others(&deaf), others(&healthy));
        assert!(without.len() > 2500, "{}", without.len());
        assert!(with.keys().eq(without.keys()));
        for (message, at) in &with {
            // In one moment, which of two senders is first is nobody's business; the other may have
            // to wait for a full transport's next turn.
            let other = without[message];
            assert!((*at - other).max(other - *at) < Duration::from_millis(50));
        }
    }
}
