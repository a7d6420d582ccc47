//! Short before long (HD-74, HD-75).

mod sim_support;

use bytes::Bytes;
use scamp_proto::connection::{Config, Connection, SendId};
use scamp_proto::limits::{CHUNK, TURN, WHOLE_TURN};
use scamp_proto::wire::Header;
use scamp_proto::{Duplex, Outbox};
use sim_support::START;

fn connection() -> Connection {
    let config = Config {
        max_inflight: Some(0),
        max_queued: 64 << 20,
        ..Config::default()
    };
    Connection::new(config, START)
}

fn open(end: &mut Connection, body: usize, finish: bool) -> SendId {
    let header = Header::decode(b"{}").expect("an object");
    let id = end.open(START, &header).expect("open");
    let mut body = Bytes::from(vec![b'x'; body]);
    end.write(START, id, &mut body).expect("open");
    assert!(body.is_empty());
    if finish {
        end.finish(START, id).expect("open");
    }
    id
}

/// What the machine hands over in one call.
fn turn(end: &mut Connection) -> String {
    let mut out = Outbox::default();
    end.poll_transmit(START, &mut out);
    String::from_utf8_lossy(&out.take_all()).into_owned()
}

/// HD-74, B-17, G-9: behind one, ten or a hundred bulk messages a short one leaves after at most
/// one turn of theirs and what the adapter has taken already.
#[test]
fn short_beside_long() {
    for bulk in [1, 10, 100] {
        for finish in [true, false] {
            let mut end = connection();
            for _ in 0..bulk {
                open(&mut end, 300_000, finish);
            }
            turn(&mut end);
            turn(&mut end);
            let id = open(&mut end, 100, true);
            let line = format!("DATA {} 100\r\n", id.msgno());
            let (mut before, mut found) = (0, false);
            while !found {
                let text = turn(&mut end);
                before += text.find(&line).unwrap_or(text.len());
                found = text.contains(&line);
                assert!(!text.is_empty(), "it never left");
            }
            let bound = WHOLE_TURN as usize + CHUNK + TURN + 1000;
            assert!(
                before <= bound,
                "{before} octets first, with {bulk} others (HD-74)"
            );
        }
    }
}

/// Q-11, HD-75: between two DATA of one message every other ready one was served.
#[test]
fn everyone_has_a_turn() {
    let mut end = connection();
    let count = 7;
    for _ in 0..count {
        open(&mut end, 10 * CHUNK, false);
    }
    let mut text = String::new();
    loop {
        let more = turn(&mut end);
        if more.is_empty() {
            break;
        }
        text.push_str(&more);
    }
    let order: Vec<u64> = text
        .match_indices("DATA ")
        .filter_map(|(place, _)| text[place + 5..].split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(order.len(), 10 * count);
    for (place, msgno) in order.iter().enumerate().take(9 * count) {
        let next = order[place + 1..]
            .iter()
            .position(|other| other == msgno)
            .expect("not the last");
        assert_eq!(next, count - 1, "message {msgno} after place {place}");
    }
}

/// HD-75: bulk is not starved by any number of short messages.
#[test]
fn short_ones_leave_room_for_bulk() {
    let mut end = connection();
    open(&mut end, 10 * CHUNK, false);
    for _ in 0..2000 {
        open(&mut end, 1000, true);
    }
    let (mut shorts, mut bulk) = (0, 0);
    while bulk < 5 {
        let text = turn(&mut end);
        shorts += text.matches(" 1000\r\n").count();
        bulk += text.matches("DATA 0 ").count();
        assert!(!text.is_empty());
    }
    assert!(
        shorts < 500,
        "{shorts} short messages before the fifth turn of the ring"
    );
}
