use std::vec;

use super::*;
use crate::End;

fn joined(config: PeerConfig) -> Peer {
    let mut peer = Peer::new(config, at(0));
    peer.assign(at(0), id(7));
    assert_eq!(
        contents(&sent(&mut peer, at(0))),
        [[&[7; 16][..], &[0, 0]].concat()]
    );
    peer.take_freed();
    peer
}

/// WD-20, WD-23: the assignment comes first, once, before what others have sent meanwhile.
#[test]
fn wd_20_assignment_comes_first() {
    let mut peer = Peer::new(PeerConfig::default(), at(0));
    peer.assign(at(0), id(7));
    peer.assign(at(0), id(8));
    peer.deliver(at(0), frame(id(9), 1, b"early"));
    let all = contents(&sent(&mut peer, at(0)));
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], [&[7; 16][..], &[0, 0]].concat());
    assert_eq!(peer.id(), Some(id(7)));
    let freed = peer.take_freed().unwrap();
    assert_eq!((freed.frames, freed.octets), (2, 45));
    assert_eq!(peer.take_freed(), None);
}

/// WD-32, WD-54: a keepalive makes no event and no answer.
#[test]
fn wd_32_keepalives() {
    let mut peer = joined(PeerConfig::default());
    for _ in 0..1000 {
        peer.receive(at(0), &KEEPALIVE);
    }
    assert_eq!((peer.poll_event(), sent(&mut peer, at(0)).len()), (None, 0));
}

/// WD-33, defect 3: malformed frames are dropped and counted, 16 and 17 octets too; the sixteenth in a
/// row ends the connection, and anything good between starts the count anew.
#[test]
fn wd_33_malformed_in_a_row() {
    let mut peer = joined(PeerConfig::default());
    let short = |len: u8| [&[len, 0], &vec![b'x'; len.into()][..]].concat();
    for len in [0, 1, 2, 5, 15, 16, 17] {
        peer.receive(at(0), &short(len));
    }
    let (length, count) = (17, 7);
    let told = PeerEvent::Malformed { length, count };
    assert_eq!((peer.poll_event(), peer.poll_event()), (Some(told), None));
    for good in [&KEEPALIVE[..], &wire(frame(id(8), 1, b""))] {
        peer.receive(at(0), good);
        for _ in 0..15 {
            peer.receive(at(0), &short(16));
        }
        assert!(!peer.is_closed());
    }
    peer.receive(at(0), &short(17));
    while let Some(event) = peer.poll_event() {
        if let PeerEvent::Closed(reason) = event {
            assert_eq!(reason, CloseReason::Malformed(16));
            assert_eq!((peer.is_drained(), peer.poll_event()), (true, None));
            return;
        }
    }
    panic!("not closed");
}

/// WD-34: a frame over the limit closes the transport as soon as its length is read; what came before
/// it counts.
#[test]
fn wd_34_too_long() {
    let mut peer = joined(PeerConfig {
        max_frame: 100,
        ..PeerConfig::default()
    });
    peer.receive(at(0), &wire(frame(id(8), 1, &[0; 82])));
    peer.receive(at(0), &[101, 0]);
    assert!(matches!(peer.poll_event(), Some(PeerEvent::Message(_))));
    let (length, limit) = (101, 100);
    let reason = CloseReason::FrameTooLong { length, limit };
    assert_eq!(peer.poll_event(), Some(PeerEvent::Closed(reason)));
    assert!(peer.is_drained() && !peer.wants_read());
}

/// WD-42, HD-47, WD-125: a transport that takes nothing of what waits for ten seconds is closed; one
/// that takes something now and then is not, and an empty queue has no clock.
#[test]
fn wd_42_stalled() {
    let mut peer = joined(PeerConfig::default());
    assert_eq!(peer.poll_timeout(), None);
    peer.deliver(at(1000), frame(id(8), 1, &[0; 20_000]));
    peer.deliver(at(5000), frame(id(8), 1, &[0; 20_000]));
    assert_eq!(peer.poll_timeout(), Some(at(11_000)));
    assert!(
        peer.poll_transmit(at(10_000), &mut Outbox::default())
            .is_some()
    );
    assert_eq!(peer.poll_timeout(), Some(at(20_000)));
    peer.handle_timeout(at(19_999));
    assert_eq!(peer.poll_event(), None);
    peer.handle_timeout(at(20_000));
    let reason = CloseReason::Stalled(Duration::from_secs(10));
    assert_eq!(peer.poll_event(), Some(PeerEvent::Closed(reason)));
    assert_eq!((peer.held(), peer.poll_timeout()), (0, None));
}

/// WD-43: nothing for the idle timeout closes, keepalives count, and it is off unless asked for.
#[test]
fn wd_43_idle() {
    assert_eq!(joined(PeerConfig::default()).poll_timeout(), None);
    let idle_timeout = Some(Duration::from_secs(60));
    let mut peer = joined(PeerConfig {
        idle_timeout,
        ..PeerConfig::default()
    });
    peer.receive(at(50_000), &KEEPALIVE);
    // What is sent to it does not count.
    peer.deliver(at(60_000), frame(id(8), 1, b""));
    sent(&mut peer, at(60_000));
    assert_eq!(peer.poll_timeout(), Some(at(110_000)));
    peer.handle_timeout(at(109_999));
    assert!(!peer.is_closed());
    peer.handle_timeout(at(110_000));
    let reason = CloseReason::Idle(Duration::from_secs(60));
    assert_eq!(peer.poll_event(), Some(PeerEvent::Closed(reason)));
}

/// WD-41, WD-43: while the router has paused a peer, its silence is not its fault.
#[test]
fn wd_41_paused_peers_are_not_idle() {
    let mut peer = joined(PeerConfig {
        idle_timeout: Some(Duration::from_secs(60)),
        ..PeerConfig::default()
    });
    peer.receive(at(0), &[18]);
    peer.pause(true);
    assert!(!peer.wants_read());
    assert_eq!(peer.poll_timeout(), None);
    peer.handle_timeout(at(500_000));
    peer.pause(false);
    assert!(peer.wants_read());
    peer.handle_timeout(at(500_000));
    assert!(!peer.is_closed());
    assert_eq!(peer.poll_timeout(), Some(at(530_000)));
}

/// HD-30: a frame that is begun and not completed closes.
#[test]
fn hd_30_dribbling() {
    let mut peer = joined(PeerConfig::default());
    for second in 0..30_u64 {
        peer.receive(at(1000 * second), if second == 0 { &[60, 0] } else { b"x" });
    }
    peer.handle_timeout(at(29_999));
    assert!(!peer.is_closed());
    peer.handle_timeout(at(30_000));
    let reason = CloseReason::FrameTimeout(Duration::from_secs(30));
    assert_eq!(peer.poll_event(), Some(PeerEvent::Closed(reason)));
}

/// WD-44: closing flushes what waits, for a second; the reason is the first one.
#[test]
fn wd_44_closing() {
    for takes in [true, false] {
        let mut peer = joined(PeerConfig::default());
        peer.deliver(at(0), frame(id(8), 1, b"last"));
        peer.close(at(0), CloseReason::ShuttingDown);
        peer.deliver(at(0), frame(id(8), 1, b"too late"));
        assert!(!peer.is_drained() && !peer.wants_read());
        assert_eq!(peer.poll_timeout(), Some(at(1000)));
        match takes {
            true => assert_eq!(sent(&mut peer, at(999)).len(), 24),
            false => peer.handle_timeout(at(1000)),
        }
        peer.receive_end(at(1000), End::Eof);
        let closed = PeerEvent::Closed(CloseReason::ShuttingDown);
        assert_eq!((peer.poll_event(), peer.poll_event()), (Some(closed), None));
        assert!(peer.is_drained());
    }
}

/// WD-45, defect 14: an idle peer holds no buffer, also after a message of 60 000 octets in each
/// direction; and it is small.
#[test]
fn wd_45_idle_peers_hold_nothing() {
    let mut peer = joined(PeerConfig::default());
    assert_eq!(peer.held(), 0);
    let long = frame(id(8), 1, &[1; 60_000]);
    let octets = wire(long.clone());
    peer.receive(at(0), &octets[..30_000]);
    assert!((29_998..=60_018).contains(&peer.held()));
    peer.receive(at(0), &octets[30_000..]);
    assert_eq!(peer.poll_event(), Some(PeerEvent::Message(long.clone())));
    peer.deliver(at(0), long);
    sent(&mut peer, at(0));
    assert_eq!(peer.held(), 0);
    assert!(size_of::<Peer>() <= 1024, "{}", size_of::<Peer>());
}
