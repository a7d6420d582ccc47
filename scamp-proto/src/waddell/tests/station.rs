use std::vec;

use super::*;
use crate::End;
use crate::error::Loss;

fn station(change: impl FnOnce(&mut StationConfig)) -> Station {
    let mut config = StationConfig::default();
    change(&mut config);
    Station::new(config, at(0))
}

/// Dials and is assigned this id.
fn assign(station: &mut Station, now: Instant, own: PeerId) -> Generation {
    let generation = station.poll_dial(now).expect("it is time to dial");
    assert!(station.connected(now, generation));
    station.receive(now, &wire(Frame::assignment(own)));
    let event = StationEvent::Assigned {
        id: own,
        generation,
    };
    assert_eq!(station.poll_event(), Some(event));
    generation
}

fn take(station: &mut Station, topic: u16) -> Vec<u8> {
    match station.take(at(0), TopicId(topic)) {
        Take::Message(message) => message.body.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// WD-75, WD-77, defect 15: each connection is told once, in order, with its generation, and the
/// current id is that of the newest; in between there is none.
#[test]
fn wd_75_ids_in_order() {
    let mut station = station(|_| {});
    for number in 1..5_u8 {
        let now = at(u64::from(number) * 60_000);
        let generation = assign(&mut station, now, id(number));
        assert_eq!(
            (generation.0, station.id()),
            (number.into(), Some(id(number)))
        );
        let lost = at(u64::from(number) * 60_000 + 50_000);
        station.receive_end(lost, End::Eof);
        station.receive_end(lost, End::io("again"));
        let reason = CloseReason::ClosedByPeer;
        let event = StationEvent::Disconnected { generation, reason };
        assert_eq!(
            (station.poll_event(), station.poll_event()),
            (Some(event), None)
        );
        assert!(station.id().is_none() && station.is_drained());
    }
}

/// WD-74, WD-71, defects 7 and 8: an older transport cannot touch the current one, and one that comes
/// too late is refused, so that its owner closes it.
#[test]
fn wd_74_older_transports() {
    let mut station = station(|config| config.reconnect.attempts = 9);
    let first = station.poll_dial(at(0)).unwrap();
    assert_eq!(station.poll_dial(at(0)), None, "one at a time");
    station.handle_timeout(at(10_000));
    assert!(!station.connected(at(10_000), first), "too late");
    let second = assign(&mut station, at(10_100), id(2));
    assert!(!station.connected(at(10_100), first));
    assert!(!station.connected(at(10_100), second), "it is connected");
    station.failed(at(10_100), first, Loss::Connect("refused".into()));
    assert_eq!((station.id(), station.poll_event()), (Some(id(2)), None));
}

/// WD-71, WD-51, defects 8 and 9: a try that brings no id in time has failed, and its transport is to
/// be dropped.
#[test]
fn wd_71_no_assignment() {
    let mut station = station(|_| {});
    let generation = station.poll_dial(at(0)).unwrap();
    assert!(station.connected(at(9000), generation));
    assert!(!station.is_drained());
    assert_eq!(station.poll_timeout(), Some(at(10_000)));
    station.handle_timeout(at(10_000));
    assert!(station.is_drained());
    let reason = CloseReason::Lost(Loss::ConnectTimeout(Duration::from_secs(10)));
    assert_eq!(station.poll_event(), Some(StationEvent::GaveUp(reason)));
    assert_eq!(station.poll_event(), Some(StationEvent::Closed));
}

/// WD-72: the last failure of too many is told, and the client is closed; nothing follows.
#[test]
fn wd_72_giving_up() {
    let mut station = station(|config| config.reconnect.attempts = 1);
    let first = station.poll_dial(at(0)).unwrap();
    station.failed(at(0), first, Loss::Connect("one".into()));
    assert_eq!(station.poll_event(), None);
    assert_eq!(station.poll_timeout(), Some(at(100)));
    // A short assignment is a failure as well as a refusal is.
    let second = station.poll_dial(at(100)).unwrap();
    assert!(station.connected(at(100), second));
    station.receive(at(100), &[0, 0]);
    let gave_up = StationEvent::GaveUp(CloseReason::BadAssignment(0));
    assert_eq!(station.poll_event(), Some(gave_up));
    assert_eq!(station.poll_event(), Some(StationEvent::Closed));
    assert_eq!((station.poll_event(), station.poll_timeout()), (None, None));
    assert_eq!(station.poll_dial(at(99_999)), None);
    let refused = station.send(at(99_999), id(8), TopicId(1), &[]);
    assert_eq!(refused, Err(SendError::Closed));
}

/// WD-76, WD-58: what is sent without a connection leaves with the next one, before what is sent
/// later; what the old transport took is not sent again.
#[test]
fn wd_76_kept_for_the_next() {
    let mut station = station(|_| {});
    let send = |station: &mut Station, body: &[u8]| station.send(at(0), id(8), TopicId(1), &[body]);
    send(&mut station, b"1").unwrap();
    assign(&mut station, at(0), id(1));
    send(&mut station, b"2").unwrap();
    let bodies = |stream: Vec<u8>| -> Vec<u8> {
        contents(&stream)
            .iter()
            .map(|content| content[18])
            .collect()
    };
    assert_eq!(bodies(sent(&mut station, at(0))), b"12");
    send(&mut station, b"3").unwrap();
    let mut out = Outbox::default();
    station.poll_transmit(at(0), &mut out);
    send(&mut station, b"4").unwrap();
    station.receive_end(at(9000), End::io("reset"));
    station.poll_event();
    send(&mut station, b"5").unwrap();
    assign(&mut station, at(9000), id(2));
    send(&mut station, b"6").unwrap();
    assert_eq!(bodies(sent(&mut station, at(9000))), b"456");
}

/// WD-76, WD-53: what is kept is bounded; with `fail_fast` nothing is.
#[test]
fn wd_76_bounds() {
    let mut keeping = station(|config| config.client.send_queue = 100);
    assert_eq!(keeping.send(at(0), id(8), TopicId(1), &[&[0; 60]]), Ok(()));
    let full = keeping.send(at(0), id(8), TopicId(1), &[&[0; 1]]);
    assert_eq!(full, Err(SendError::Full));
    let long = keeping.send(at(0), id(8), TopicId(1), &[&[0; 65_518]]);
    assert_eq!(long, Err(SendError::TooLong(65_518)));
    assign(&mut keeping, at(0), id(1));
    assert_eq!(keeping.poll_event(), None);
    sent(&mut keeping, at(0));
    assert_eq!(keeping.poll_event(), Some(StationEvent::Writable));

    let mut failing = station(|config| config.fail_fast = true);
    let refused = failing.send(at(0), id(8), TopicId(1), &[]);
    assert_eq!(refused, Err(SendError::NotConnected));
    assert_eq!(failing.keepalive(at(0)), Err(SendError::NotConnected));
    assign(&mut failing, at(0), id(1));
    failing.send(at(0), id(8), TopicId(1), &[]).unwrap();
    failing.receive_end(at(9000), End::Eof);
    failing.poll_event();
    assign(&mut failing, at(9000), id(2));
    assert_eq!(sent(&mut failing, at(9000)), b"", "WD-58: discarded");
}

/// WD-80…WD-83, defects 5 and 6: a topic that nobody reads holds up no other, and what came before a
/// topic was opened is there.
#[test]
fn wd_81_unread_topics() {
    let mut station = station(|_| {});
    assign(&mut station, at(0), id(1));
    station.open(TopicId(1));
    for number in 0..2000_u32 {
        let body = number.to_le_bytes();
        for topic in [1, 2] {
            station.receive(at(0), &wire(frame(id(8), topic, &body)));
        }
        assert!(station.wants_read());
    }
    let readable = StationEvent::Readable(TopicId(1));
    assert_eq!(
        (station.poll_event(), station.poll_event()),
        (Some(readable), None)
    );
    assert_eq!(
        station.take(at(0), TopicId(2)),
        Take::Empty,
        "nobody has opened it"
    );
    station.open(TopicId(2));
    for number in 0..16_u32 {
        assert_eq!(take(&mut station, 2), number.to_le_bytes());
    }
    assert_eq!(station.take(at(0), TopicId(2)), Take::Empty);
    for number in 0..256_u32 {
        assert_eq!(take(&mut station, 1), number.to_le_bytes());
    }
    assert_eq!(station.inboxes().dropped_in_all(), 2000 - 256 + 2000 - 16);
    station.receive(at(0), &wire(frame(id(8), 2, b"late")));
    assert_eq!(
        station.poll_event(),
        Some(StationEvent::Readable(TopicId(2)))
    );
}

/// WD-85: where a full topic is to stop reading, nothing is lost, and reading it lets all go on.
#[test]
fn wd_85_pausing() {
    let mut station = station(|config| config.pause_when_full = true);
    assign(&mut station, at(0), id(1));
    station.open(TopicId(1));
    station.open(TopicId(2));
    let body = vec![0; 1000];
    let mut count = 0;
    while station.wants_read() {
        station.receive(at(0), &wire(frame(id(8), 1, &body)));
        count += 1;
        assert!(count < 10_000);
    }
    station.receive(at(0), &wire(frame(id(8), 2, b"behind")));
    assert_eq!(station.take(at(0), TopicId(2)), Take::Empty);
    for _ in 0..count {
        assert_eq!(take(&mut station, 1).len(), 1000);
    }
    assert!(station.wants_read());
    assert_eq!(take(&mut station, 2), b"behind");
    assert_eq!(station.inboxes().dropped_in_all(), 0);
}

/// WD-86, WD-59, defect 11: closing flushes; then every command is refused, and each inbox ends after
/// what it holds.
#[test]
fn wd_86_inboxes_end() {
    let mut station = station(|_| {});
    let generation = assign(&mut station, at(0), id(1));
    station.open(TopicId(1));
    station.receive(at(0), &wire(frame(id(8), 1, b"held")));
    station.send(at(0), id(8), TopicId(1), &[b"last"]).unwrap();
    station.close(at(0));
    station.close(at(0));
    let refused = station.send(at(0), id(8), TopicId(1), &[]);
    assert_eq!(refused, Err(SendError::Closed));
    assert_eq!(station.keepalive(at(0)), Err(SendError::Closed));
    assert_eq!(sent(&mut station, at(0)).len(), 24);
    assert_eq!(take(&mut station, 1), b"held");
    assert_eq!(station.take(at(0), TopicId(1)), Take::Ended);
    assert_eq!(station.take(at(0), TopicId(9)), Take::Ended);
    let reason = CloseReason::ClosedLocally;
    let events: Vec<_> = core::iter::from_fn(|| station.poll_event()).collect();
    let readable = StationEvent::Readable(TopicId(1));
    let disconnected = StationEvent::Disconnected { generation, reason };
    assert_eq!(events, [disconnected, readable, StationEvent::Closed]);
    assert!(station.is_drained() && station.poll_timeout().is_none());
}

/// WD-59: closed while it is dialling, it takes no transport any more.
#[test]
fn wd_59_closed_while_dialling() {
    let mut station = station(|_| {});
    let generation = station.poll_dial(at(0)).unwrap();
    station.close(at(0));
    assert!(!station.connected(at(1), generation));
    station.failed(at(1), generation, Loss::Connect("late".into()));
    assert_eq!(station.poll_event(), Some(StationEvent::Closed));
    assert_eq!((station.poll_event(), station.poll_timeout()), (None, None));
}

/// WD-54: a keepalive while there is a connection, also before the assignment.
#[test]
fn wd_54_keepalive() {
    let mut station = station(|_| {});
    let generation = station.poll_dial(at(0)).unwrap();
    assert!(station.connected(at(0), generation));
    station.keepalive(at(0)).unwrap();
    assert_eq!(sent(&mut station, at(0)), KEEPALIVE);
}
