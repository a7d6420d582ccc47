//! More of something cheap than any honest peer sends: n is taken, n + 1 ends it (HD-27, HD-28, Q-15).

mod sim_support;

use std::time::Duration;

use scamp_proto::error::Flood;
use scamp_proto::session::{Session, Side};
use scamp_proto::{Duplex, Instant, ViolationKind};
use sim_support::{START, at, events, packet, sent, session, tell, violation};

/// Sends `count` of what `make` makes, and says whether it was too much.
fn flood(end: &mut Session, now: Instant, count: u64, make: impl Fn(u64) -> Vec<u8>) -> bool {
    for index in 0..count {
        end.receive(now, &make(index));
    }
    end.connection().is_closed()
}

fn is_flood(end: &mut Session, flood: Flood) {
    assert_eq!(violation(end), Some(ViolationKind::Flood(flood)));
}

/// HD-27: a hundred PINGs in ten seconds, and ten a second after that; at most 16 are answered at
/// once (HD-22).
#[test]
fn pings() {
    let mut end = session(Side::Server);
    let ping = |_| packet("PING", 0, "");
    assert!(!flood(&mut end, START, 100, ping));
    assert_eq!(sent(&mut end, START).matches("PONG").count(), 16);
    assert!(!flood(&mut end, at(100), 1, ping));
    assert!(flood(&mut end, at(100), 1, ping));
    is_flood(&mut end, Flood::Pings);
}

/// HD-27: PONGs that nobody asked for.
#[test]
fn pongs() {
    let mut end = session(Side::Client);
    let pong = |_| packet("PONG", 0, "");
    assert!(!flood(&mut end, START, 100, pong));
    assert!(flood(&mut end, START, 1, pong));
    is_flood(&mut end, Flood::Pongs);
}

/// HD-27: 16 empty DATA in a message, and 1000 in ten seconds over all.
#[test]
fn empty_data() {
    let open = ("HEADER", 0, r#"{"type":"notify"}"#);
    let mut end = session(Side::Server);
    tell(&mut end, START, &[open]);
    assert!(!flood(&mut end, START, 16, |_| packet("DATA", 0, "")));
    assert!(flood(&mut end, START, 1, |_| packet("DATA", 0, "")));
    is_flood(&mut end, Flood::EmptyData);

    let mut end = session(Side::Server);
    for msgno in 0..100 {
        tell(&mut end, START, &[("HEADER", msgno, open.2)]);
    }
    assert!(!flood(&mut end, START, 1000, |index| packet(
        "DATA",
        index / 10,
        ""
    )));
    assert_eq!(
        sent(&mut end, START),
        "",
        "empty DATA is not acknowledged (W-14)"
    );
    assert!(flood(&mut end, START, 1, |_| packet("DATA", 0, "")));
    is_flood(&mut end, Flood::EmptyData);
}

/// HD-27, F-19: ACKs for messages that never were: a thousand and two for each DATA we sent.
#[test]
fn acks_without_effect() {
    let mut end = session(Side::Client);
    assert!(!flood(&mut end, START, 1000, |index| packet(
        "ACK", index, "anything"
    )));
    assert!(flood(&mut end, START, 1, |_| packet("ACK", 7, "1")));
    is_flood(&mut end, Flood::IdleAcks);

    let mut end = session(Side::Client);
    let send = end.notify(START).expect("open");
    sim_support::write(&mut end, START, send, b"x").expect("open");
    end.finish(START, send).expect("open");
    sent(&mut end, START);
    assert!(!flood(&mut end, START, 1002, |_| packet("ACK", 0, "1")));
    assert!(flood(&mut end, START, 1, |_| packet("ACK", 0, "1")));
}

/// HD-27: DATA of one octet costs 255 of 1 MiB until somebody reads it.
#[test]
fn small_data() {
    let count = (1 << 20) / 255;
    let mut end = session(Side::Server);
    tell(&mut end, START, &[("HEADER", 0, r#"{"type":"notify"}"#)]);
    assert!(!flood(&mut end, START, count, |_| packet("DATA", 0, "x")));
    let body = match &events(&mut end)[0] {
        scamp_proto::session::Event::Notify { body, .. } => *body,
        other => panic!("{other:?}"),
    };
    sim_support::read_all(&mut end, START, body);
    assert!(
        !flood(&mut end, START, count, |_| packet("DATA", 0, "x")),
        "given back by reading"
    );
    assert!(flood(&mut end, START, 1, |_| packet("DATA", 0, "x")));
    is_flood(&mut end, Flood::SmallData);
}

/// HD-28, F-31, B-16: requests opened and aborted before anybody saw them; no handler starts.
#[test]
fn open_and_abort() {
    let mut end = session(Side::Server);
    let round = |index| {
        let head = format!("{{\"type\":\"request\",\"request_id\":{index},\"action\":\"A.b\"}}");
        let mut both = packet("HEADER", index, &head);
        both.extend(packet("TXERR", index, "never mind"));
        both
    };
    for index in 0..1000 {
        end.receive(START, &round(index));
        let reply = sent(&mut end, START);
        assert!(
            reply.contains("Failed to receive request: never mind"),
            "{reply}"
        );
    }
    let told = events(&mut end);
    assert!(
        told.iter()
            .all(|event| !matches!(event, scamp_proto::session::Event::Request { .. }))
    );
    assert!(!end.connection().is_closed());
    end.receive(START, &round(1000));
    is_flood(&mut end, Flood::Aborts);
}

/// HD-28: headers that are no good, and HD-29: ten notes of them at once, then one a second.
#[test]
fn bad_headers() {
    let mut end = session(Side::Server);
    let bad = |index| {
        let mut both = packet("HEADER", index, r#"{"type":"nonsense"}"#);
        both.extend(packet("EOF", index, ""));
        both
    };
    assert!(!flood(&mut end, START, 1000, bad));
    let notes = events(&mut end).len();
    assert!((10..=20).contains(&notes), "{notes} notes");
    end.receive(START + Duration::ZERO, &bad(1000));
    is_flood(&mut end, Flood::BadHeaders);
}

/// S-6, HD-22: requests over the limit are refused as certainly not processed; twice the limit is
/// the end.
#[test]
fn open_messages() {
    let mut end = sim_support::pair_with(|config| config.connection.max_open_messages = 20).server;
    for index in 0..40 {
        let head = format!("{{\"type\":\"request\",\"request_id\":{index},\"action\":\"A.b\"}}");
        tell(&mut end, START, &[("HEADER", index, &head)]);
        let reply = sent(&mut end, START);
        assert_eq!(reply.contains("\"overloaded\""), index >= 20, "{index}");
        assert_eq!(reply.contains("\"dispatch_failure\":true"), index >= 20);
    }
    assert!(!end.connection().is_closed());
    tell(&mut end, START, &[("HEADER", 40, r#"{"type":"notify"}"#)]);
    assert_eq!(violation(&mut end), Some(ViolationKind::TooManyMessages));
}
