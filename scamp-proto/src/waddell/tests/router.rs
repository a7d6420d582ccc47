use std::collections::BTreeMap;
use std::string::String;
use std::vec;

use super::*;

/// A router whose connections are numbered.
struct Hall {
    router: Router<u32>,
    drawn: u128,
    ids: BTreeMap<u32, PeerId>,
}

impl Hall {
    fn new(config: RouterConfig) -> Self {
        Self {
            router: Router::new(config),
            drawn: 0,
            ids: BTreeMap::new(),
        }
    }

    /// Lets one in whose transport has taken the assignment.
    fn join(&mut self, key: u32) -> PeerId {
        let drawn = &mut self.drawn;
        let id = self.router.join(key, || {
            *drawn += 1;
            drawn.to_be_bytes()
        });
        let id = id.unwrap();
        self.ids.insert(key, id);
        self.freed(key, 1, 20);
        id
    }

    fn send(&mut self, from: u32, to: u32, len: usize) {
        let to = self.ids[&to];
        let frame = frame(to, 1, &vec![from as u8; len]);
        self.router.route(at(0), self.ids[&from], frame);
    }

    fn freed(&mut self, key: u32, frames: usize, octets: usize) {
        let freed = Freed { frames, octets };
        self.router.freed(at(0), self.ids[&key], freed);
    }

    /// What is to be done, as texts.
    fn orders(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.router.poll_order())
            .map(|order| match order {
                Order::Deliver { to, frame } => {
                    let from = self.ids.iter().find(|(_, id)| **id == frame.id());
                    let from = from.map_or(0, |(key, _)| *key);
                    std::format!("{from}>{to}:{}", frame.body().len())
                }
                Order::Close { peer, reason } => std::format!("close {peer}: {reason}"),
                Order::Pause { peer, paused: true } => std::format!("pause {peer}"),
                Order::Pause { peer, .. } => std::format!("resume {peer}"),
            })
            .collect()
    }
}

fn two(on_full: OnFull) -> Hall {
    let mut hall = Hall::new(RouterConfig {
        peer_queue: 1000,
        peer_frames: 3,
        on_full,
        ..RouterConfig::default()
    });
    hall.join(1);
    hall.join(2);
    hall
}

/// WD-22, WD-127, defect 1: one id for each peer, and joining and leaving leaves nothing behind.
#[test]
fn wd_22_one_id_each() {
    let mut hall = Hall::new(RouterConfig::default());
    for round in 0..100_u32 {
        let keys: Vec<u32> = (0..100).map(|n| round * 100 + n).collect();
        for &key in &keys {
            hall.join(key);
        }
        assert_eq!(hall.router.peers().count(), 100);
        hall.send(keys[0], keys[1], 5);
        for key in keys {
            hall.router
                .leave(at(0), hall.ids[&key], CloseReason::ClosedByPeer);
        }
        assert!(hall.router.is_empty());
    }
    assert_eq!(
        hall.ids
            .values()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        10_000
    );
    let events = core::iter::from_fn(|| hall.router.poll_event()).count();
    assert_eq!(events, 1024, "the newest (HD-4)");
}

/// WD-21: an id in use is drawn again, a hundred times at most.
#[test]
fn wd_21_collisions() {
    let mut router = Router::new(RouterConfig::default());
    router.join(1, || [1; 16]).unwrap();
    let mut draws = 0;
    let refused = router.join(2, || {
        draws += 1;
        [1; 16]
    });
    assert_eq!((refused, draws), (Err(JoinError::Collision), 100));
    let mut draws = 0;
    let id = router.join(2, || {
        draws += 1;
        [1 + draws / 100; 16]
    });
    assert_eq!((id, draws), (Ok(PeerId::from_random([2; 16])), 100));
}

/// WD-9, WD-20: an id is a version 4 UUID and routable from the moment of joining.
#[test]
fn wd_20_routable_at_once() {
    let mut router = Router::new(RouterConfig::default());
    let one = router.join(1, || [0xff; 16]).unwrap();
    assert_eq!((one.octets()[6], one.octets()[8]), (0x4f, 0xbf));
    let two = router.join(2, || [0; 16]).unwrap();
    router.route(at(0), two, frame(one, 1, b"x"));
    assert!(matches!(
        router.poll_order(),
        Some(Order::Deliver { to: 1, .. })
    ));
    assert_eq!(router.peer(one), Some(&1));
}

/// WD-30: the recipient's id is replaced by the sender's, whatever the message says, and all else
/// stays as it was; a peer may write to itself.
#[test]
fn wd_30_senders_cannot_be_forged() {
    let mut hall = two(OnFull::DropNewest);
    for to in [1, 2] {
        let (from, to_id) = (hall.ids[&1], hall.ids[&to]);
        // The body claims to be from somebody else.
        let body = hall.ids[&2].octets();
        hall.router.route(at(0), from, frame(to_id, 0x1234, &body));
        let Some(Order::Deliver { to: key, frame }) = hall.router.poll_order() else {
            panic!("not delivered")
        };
        assert_eq!(
            (key, frame.id(), frame.topic()),
            (to, from, TopicId(0x1234))
        );
        assert_eq!(frame.body(), body);
    }
}

/// WD-31: a message for nobody, or for one that has left, is dropped silently and counted; the sender
/// stays. At most one event a second tells of it (WD-41).
#[test]
fn wd_31_unknown_recipients() {
    let mut hall = two(OnFull::DropNewest);
    let (one, gone) = (hall.ids[&1], hall.ids[&2]);
    hall.router.leave(at(0), gone, CloseReason::ClosedByPeer);
    while hall.router.poll_event().is_some() {}
    for millis in [0, 10, 999, 1000, 1001] {
        hall.router.route(at(millis), one, frame(gone, 1, b"x"));
        assert_eq!(hall.router.poll_order(), None);
    }
    hall.router.leave(at(2000), one, CloseReason::ClosedByPeer);
    let why = Dropped::Unknown;
    let told = |count| RouterEvent::Dropped {
        id: one,
        count,
        why,
    };
    let left = RouterEvent::Left {
        id: one,
        why: CloseReason::ClosedByPeer,
    };
    let events: Vec<_> = core::iter::from_fn(|| hall.router.poll_event()).collect();
    assert_eq!(events, [told(1), told(3), told(1), left]);
    assert_eq!(hall.router.stats().unknown, 5);
    // One that has left sends nothing any more.
    hall.router.route(at(3000), one, frame(one, 1, b"x"));
    assert_eq!(
        (hall.router.poll_order(), hall.router.stats().unknown),
        (None, 5)
    );
}

/// WD-33: malformed frames are counted for their sender.
#[test]
fn wd_33_malformed_frames_are_counted() {
    let mut hall = two(OnFull::DropNewest);
    while hall.router.poll_event().is_some() {}
    let id = hall.ids[&1];
    hall.router.malformed(at(0), id, 3);
    let (count, why) = (3, Dropped::Malformed);
    let told = RouterEvent::Dropped { id, count, why };
    assert_eq!(hall.router.poll_event(), Some(told));
    assert_eq!(hall.router.stats().malformed, 3);
}

/// WD-40, WD-41, HD-47, defect 2: what finds no room is dropped whole; nobody waits, others are not
/// touched, and there is room again when the transport has taken something.
#[test]
fn wd_41_newest_dropped() {
    let mut hall = two(OnFull::DropNewest);
    hall.join(3);
    for _ in 0..5 {
        hall.send(1, 2, 100);
    }
    assert_eq!(hall.orders(), ["1>2:100"; 3], "three frames");
    hall.send(3, 1, 970);
    hall.send(3, 1, 10);
    hall.send(3, 1, 11);
    assert_eq!(hall.orders(), ["3>1:970"], "a thousand octets");
    hall.send(1, 3, 2000);
    hall.send(1, 3, 0);
    assert_eq!(hall.orders(), ["1>3:2000"], "or one message");
    hall.freed(2, 1, 120);
    hall.send(1, 2, 100);
    hall.send(1, 2, 100);
    assert_eq!(hall.orders(), ["1>2:100"]);
    let stats = hall.router.stats();
    assert_eq!((stats.full, stats.routed), (2 + 2 + 1 + 1, 6));
    assert_eq!(stats.queued, 3 * 120 + 990 + 2020);
}

/// WD-40: all queues together are bounded, too; and what a peer held is free when it leaves.
#[test]
fn wd_40_all_queues_together() {
    let mut hall = Hall::new(RouterConfig {
        total_queue: 1000,
        ..RouterConfig::default()
    });
    for key in 1..=3 {
        hall.join(key);
    }
    hall.send(1, 2, 480);
    hall.send(1, 3, 480);
    hall.send(1, 3, 0);
    assert_eq!(hall.orders(), ["1>2:480", "1>3:480"]);
    assert_eq!(hall.router.stats().queued, 1000);
    hall.router
        .leave(at(0), hall.ids[&2], CloseReason::ClosedByPeer);
    hall.send(1, 3, 0);
    assert_eq!(hall.orders(), ["1>3:0"]);
    assert_eq!(hall.router.stats().queued, 520);
}

/// WD-41: the recipient of too much is closed, once, where that was asked for.
#[test]
fn wd_41_disconnect() {
    let mut hall = two(OnFull::Disconnect);
    for _ in 0..6 {
        hall.send(1, 2, 0);
    }
    let close = std::format!("close 2: {}", CloseReason::TooSlow);
    assert_eq!(hall.orders(), ["1>2:0", "1>2:0", "1>2:0", &close]);
    assert_eq!(
        (hall.router.stats().full, hall.router.stats().unknown),
        (1, 2)
    );
}

/// WD-41: where senders are paused nothing is lost, the order stays, and only those wait who write to
/// the full one.
#[test]
fn wd_41_pause_sender() {
    let mut hall = two(OnFull::PauseSender);
    hall.join(3);
    for len in 0..5 {
        hall.send(1, 2, len);
    }
    // What was read with it waits behind it, whomever it is for.
    hall.send(1, 3, 77);
    hall.send(3, 2, 50);
    hall.send(3, 1, 51);
    let orders = hall.orders();
    assert_eq!(orders, ["1>2:0", "1>2:1", "1>2:2", "pause 1", "pause 3"]);
    hall.send(2, 1, 60);
    assert_eq!(hall.orders(), ["2>1:60"]);
    // Room for one: the first in line has it, and nobody passes it over.
    hall.freed(2, 1, 20);
    hall.send(2, 2, 0);
    assert_eq!(hall.orders(), ["1>2:3", "pause 2"]);
    hall.freed(2, 2, 40);
    assert_eq!(
        hall.orders(),
        [
            "1>2:4", "1>3:77", "resume 1", "3>2:50", "3>1:51", "resume 3"
        ]
    );
    hall.freed(2, 1, 20);
    assert_eq!(hall.orders(), ["2>2:0", "resume 2"]);
    assert_eq!(hall.router.stats().full, 0);
}

/// WD-41, WD-42: whoever waits for a peer goes on when that is closed; and whoever leaves while it
/// waits leaves nothing behind.
#[test]
fn wd_41_pauses_end() {
    let mut hall = two(OnFull::PauseSender);
    hall.join(3);
    for _ in 0..4 {
        hall.send(1, 2, 0);
    }
    hall.send(3, 2, 0);
    hall.send(1, 3, 1);
    hall.orders();
    hall.router
        .leave(at(0), hall.ids[&3], CloseReason::ClosedByPeer);
    hall.router.leave(
        at(0),
        hall.ids[&2],
        CloseReason::Stalled(Duration::from_secs(10)),
    );
    assert_eq!(hall.orders(), ["resume 1"]);
    assert_eq!(hall.router.stats().unknown, 2);
    hall.router
        .leave(at(0), hall.ids[&1], CloseReason::ClosedByPeer);
    assert!(hall.router.is_empty());

    let mut hall = Hall::new(RouterConfig {
        total_queue: 100,
        on_full: OnFull::PauseSender,
        ..RouterConfig::default()
    });
    for key in 1..=3 {
        hall.join(key);
    }
    hall.send(1, 2, 80);
    hall.send(1, 3, 1);
    assert_eq!(hall.orders(), ["1>2:80", "pause 1"]);
    hall.freed(2, 1, 100);
    assert_eq!(hall.orders(), ["1>3:1", "resume 1"]);
}

/// WD-44: who comes while the server shuts down is turned away, and everybody else is asked to go.
#[test]
fn wd_44_shutting_down() {
    let mut hall = two(OnFull::DropNewest);
    hall.router.close();
    hall.router.close();
    let reason = CloseReason::ShuttingDown;
    let close = |key| std::format!("close {key}: {reason}");
    assert_eq!(hall.orders(), [close(1), close(2)]);
    assert_eq!(
        hall.router.join(3, || [9; 16]),
        Err(JoinError::ShuttingDown)
    );
}

/// Defect 17, HD-17: the number of peers is bounded, and one that leaves makes room.
#[test]
fn peers_are_limited() {
    let mut hall = Hall::new(RouterConfig {
        max_peers: 1,
        ..RouterConfig::default()
    });
    let id = hall.join(1);
    assert_eq!(hall.router.join(2, || [9; 16]), Err(JoinError::Full(1)));
    hall.router.leave(at(0), id, CloseReason::ClosedByPeer);
    hall.join(2);
}
