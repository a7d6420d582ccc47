//! Two sessions, a wire with faults and two applications, from one seed (HD-52…HD-57).
//!
//! `SCAMP_SIM_SEED` with `SCAMP_SIM_PROFILE` repeats one run bit for bit and tells what passes, `SCAMP_SIM_SEEDS` sets
//! how many are run, and `SCAMP_SIM_FROM` where they start.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use scamp_proto::sim::{Profile, Report, World};

/// HD-52, HD-53, HD-56, F-52: no seed of any profile breaks a rule.
#[test]
fn no_seed_breaks_a_rule() {
    if let Some(seed) = number("SCAMP_SIM_SEED") {
        let profiles = Profile::ALL
            .into_iter()
            .filter(|profile| is_asked_for(*profile));
        profiles.for_each(|profile| drop(run(seed, profile)));
        return;
    }
    let from = number("SCAMP_SIM_FROM").unwrap_or(0);
    let count = number("SCAMP_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in from..from + count {
        let profile = Profile::ALL[seed as usize % Profile::ALL.len()];
        if is_asked_for(profile) {
            run(seed, profile);
        }
    }
}

/// HD-57, Q-13: a seed gives the same run every time.
#[test]
fn a_seed_is_a_run() {
    for seed in 0..100 {
        let profile = Profile::ALL[seed as usize % Profile::ALL.len()];
        assert_eq!(run(seed, profile), run(seed, profile), "seed {seed}");
    }
}

fn run(seed: u64, profile: Profile) -> Report {
    let world = AssertUnwindSafe(|| {
        let world = World::from_seed(seed, profile);
        match number("SCAMP_SIM_SEED") {
            Some(_) => world.telling(|line| println!("{line}")).run(),
            None => world.run(),
        }
    });
    catch_unwind(world).unwrap_or_else(|cause| {
        println!("SCAMP_SIM_SEED={seed} SCAMP_SIM_PROFILE={profile:?} cargo test --test sim");
        resume_unwind(cause)
    })
}

fn is_asked_for(profile: Profile) -> bool {
    std::env::var("SCAMP_SIM_PROFILE").map_or(true, |name| name == format!("{profile:?}"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// As many as a minute holds on a slow machine.
const SEEDS: u64 = 4000;
