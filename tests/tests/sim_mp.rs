//! MessagePasser in virtual time: towns of clients around one server.

use scamp_proto::sim::mp::{Report, Town};

/// MP-139, MP-61, MP-70, MP-71, MP-110, defects 1 to 12: a thousand clients, in JSON and in gob, come,
/// talk, fall silent, replace each other and leave; nothing is lost in silence, and nothing stays.
#[test]
fn a_thousand_clients_and_their_server() {
    let report = Town::new(1, 1000).run();
    println!("{report:?}");
    assert!(report.joined > 1000 && report.replaced > 10);
    assert!(report.opened > 1000 && report.delivered > 10_000);
}

/// MP-110, MP-112, MP-139: small towns, where everybody talks with everybody, from many seeds.
#[test]
fn many_small_towns() {
    let mut sum = Report::default();
    for seed in 0..40 {
        let report = Town::new(seed, 3 + seed as usize % 10).run();
        sum.delivered += report.delivered;
        sum.full += report.full;
        sum.stalled += report.stalled;
        sum.failed += report.failed;
    }
    println!("{sum:?}");
    assert!(sum.delivered > 0 && sum.full > 0 && sum.stalled > 0 && sum.failed > 0);
}

/// Q-13, MP-137: the same seed gives the same town.
#[test]
fn towns_are_the_same_again() {
    for seed in 0..4 {
        assert_eq!(Town::new(seed, 20).run(), Town::new(seed, 20).run());
    }
}
