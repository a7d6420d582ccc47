//! Every conversation of the matrix, cut at every place in every way (F-1, HD-58).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use scamp_proto::sim::matrix::Scene;

/// F-1, HD-49, HD-50, S-30, R-11: wherever a connection is cut, every request has one outcome,
/// nothing cut short passes for complete, and nothing is kept.
#[test]
fn every_cut_of_every_scene() {
    let mut runs = 0;
    for scene in Scene::all() {
        for place in scene.places() {
            let run = AssertUnwindSafe(|| scene.run(place));
            catch_unwind(run).unwrap_or_else(|cause| {
                println!("{:?} cut at {place:?}", scene.name);
                resume_unwind(cause)
            });
            runs += 1;
        }
    }
    assert!(runs > 50_000, "{runs} cuts are not every one");
}

/// HD-58: the conversations go well when nobody cuts them.
#[test]
fn scenes_play() {
    assert!(Scene::all().len() >= 12);
    for scene in Scene::all() {
        assert!(scene.places().len() > 100, "{}", scene.name);
    }
}
