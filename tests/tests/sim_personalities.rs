//! Our session against peers with the habits of other implementations (HD-55).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use scamp_proto::sim::{Habit, Profile, World};

/// HD-54, HD-55, S-18, A-8, N-14: no run with any of them, as client or as service, over a calm or
/// a broken wire, ends otherwise than it should.
#[test]
fn habits_of_others() {
    for seed in 0..SEEDS {
        for habit in Habit::ALL {
            for theirs in 0..2 {
                for profile in [Profile::Calm, Profile::Faulty] {
                    let run = || World::with_habit(seed, profile, habit, theirs).run();
                    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|cause| {
                        println!("seed {seed}, {profile:?}, {habit:?} plays {theirs}");
                        resume_unwind(cause)
                    });
                }
            }
        }
    }
}

const SEEDS: u64 = 50;
