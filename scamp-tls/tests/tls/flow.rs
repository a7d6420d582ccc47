//! How octets are shared out among calls and records.

use bytes::Bytes;
use scamp_proto::{Duplex, Outbox, limits};
use scamp_tls::Options;

use crate::support::*;

const APPLICATION_DATA: u8 = 23;

/// Performance 3, rules 1 and 13: small pieces share a record, and with more behind them only full
/// records are made.
#[test]
fn pieces_share_records() {
    for options in both_versions() {
        let mut pair = Pair::established(&options);
        for _ in 0..50 {
            pair.client.inner_mut().say(&b"small"[..]);
        }
        let up = drain(&mut pair.client, pair.now);
        assert_eq!(records(&up).len(), 1);

        // 32 KiB packets with a line and a trailer each, as bulk is.
        for _ in 0..20 {
            pair.client.inner_mut().say(&b"DATA 0 32768\r\n"[..]);
            pair.client.inner_mut().say(vec![b'x'; 32_768]);
            pair.client.inner_mut().say(&b"END\r\n"[..]);
        }
        let bulk = drain(&mut pair.client, pair.now);
        let total = 20 * (14 + 32_768 + 5);
        let records = records(&bulk);
        assert_eq!(records.len(), usize::div_ceil(total, limits::TURN));
        assert!(records.iter().all(|(kind, _)| *kind == APPLICATION_DATA));
        feed(&mut pair.server, pair.now, &up, 777);
        feed(&mut pair.server, pair.now, &bulk, 777);
        assert_eq!(pair.server.inner().heard.len(), total + 50 * 5);
    }
}

/// Performance 3, rule 2: one call hands over about a turn, and asks the machine for no more.
#[test]
fn one_call_hands_over_about_a_turn() {
    let mut pair = Pair::established(&Options::default());
    for _ in 0..1000 {
        pair.client.inner_mut().say(vec![b'x'; 1000]);
    }
    let asked = pair.client.inner().asked;
    let mut out = Outbox::default();
    let count = pair.client.poll_transmit(pair.now, &mut out).unwrap();
    assert!((limits::TURN..2 * limits::TURN).contains(&count), "{count}");
    assert_eq!(pair.client.inner().asked - asked, 17);
    assert_eq!(pair.client.inner().say.len(), 1000 - 17);
}

/// One piece far beyond what rustls holds leaves whole, in order, and no call gives more than it holds.
#[test]
fn a_huge_piece_leaves_whole() {
    for options in both_versions() {
        let mut pair = Pair::established(&options);
        let huge: Bytes = (0..1_000_000u32)
            .map(|n| (n % 251) as u8)
            .collect::<Vec<_>>()
            .into();
        pair.client.inner_mut().say(huge.clone());
        let mut out = Outbox::default();
        while let Some(count) = pair.client.poll_transmit(pair.now, &mut out) {
            assert!(count < 70_000);
            let piece = out.take_all();
            feed(&mut pair.server, pair.now, &piece, usize::MAX);
        }
        assert!(pair.server.inner().heard == huge);
    }
}

/// Many lent pieces in one turn keep their order.
#[test]
fn many_lent_pieces_keep_their_order() {
    let mut pair = Pair::established(&Options::default());
    let mut expected: Vec<u8> = Vec::new();
    for n in 0..200u8 {
        let piece = vec![n; if n % 3 == 0 { 2048 } else { 5 }];
        expected.extend(&piece);
        pair.client.inner_mut().say(piece);
    }
    pair.settle();
    assert!(pair.server.inner().heard == expected);
}

/// A machine that has enough is given what was read already, and the driver is asked to stop.
#[test]
fn a_machine_that_has_enough_stops_the_driver() {
    let mut pair = Pair::established(&Options::default());
    pair.client.inner_mut().say(vec![b'x'; 100_000]);
    let up = drain(&mut pair.client, pair.now);
    pair.server.inner_mut().full = true;
    assert!(!pair.server.wants_read());
    pair.server.receive(pair.now, &up);
    assert_eq!(pair.server.inner().heard.len(), 100_000, "nothing is lost");
    assert!(pair.server.inner().ends.is_empty());
    pair.server.inner_mut().full = false;
    assert!(pair.server.wants_read());
}

/// The first request leaves in the same write as the end of the handshake (performance 3, rule 1).
#[test]
fn the_first_request_leaves_with_the_handshake() {
    for options in both_versions() {
        let mut pair = Pair::ordinary(&options);
        pair.client.inner_mut().say(&b"request"[..]);
        let hello = drain(&mut pair.client, pair.now);
        feed(&mut pair.server, pair.now, &hello, usize::MAX);
        let flight = drain(&mut pair.server, pair.now);
        feed(&mut pair.client, pair.now, &flight, usize::MAX);
        let mut out = Outbox::default();
        assert!(pair.client.poll_transmit(pair.now, &mut out).is_some());
        let is_newer = pair.client.is_established();
        assert_eq!(pair.client.inner().say.is_empty(), is_newer);
    }
}
