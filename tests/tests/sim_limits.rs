//! Limits act exactly at their value, with their note (HD-15, Q-15).

mod sim_support;

use bytes::Bytes;
use scamp_proto::connection::Read;
use scamp_proto::note::What;
use scamp_proto::session::{Event, RecvId, RequestOptions, Session, Side};
use scamp_proto::wire::RequestHead;
use scamp_proto::{BodyError, Duplex, SendError, limits};
use sim_support::{START, events, packet, pair_with, session, tell, violation};

const NOTIFY: &str = r#"{"type":"notify"}"#;

fn body_of(told: &[Event]) -> RecvId {
    let body = told.iter().find_map(|event| match event {
        Event::Notify { body, .. } | Event::Request { body, .. } => Some(*body),
        _ => None,
    });
    body.expect("a message")
}

fn limit_hit(told: &[Event], key: &str) -> bool {
    told.iter().any(|event| {
        matches!(event, Event::Note(note) if matches!(note.what, What::LimitHit(name, _) if name == key))
    })
}

/// Hardening 4.2, A-10: reading pauses above `flow.max_buffered`, and goes on at half of it.
#[test]
fn buffered() {
    let end = || pair_with(|config| config.connection.max_buffered = 1000).server;
    let room = 1000 - NOTIFY.len();
    for (len, paused) in [(room, false), (room + 1, true)] {
        let mut server = end();
        tell(
            &mut server,
            START,
            &[("HEADER", 0, NOTIFY), ("DATA", 0, &"x".repeat(len))],
        );
        assert_eq!(server.wants_read(), !paused, "{len}");
        let told = events(&mut server);
        assert_eq!(limit_hit(&told, "flow.max_buffered"), paused);
        let body = body_of(&told);
        if paused {
            let over_half = server.connection().buffered() - 500;
            server.read_up_to(START, body, over_half - 1);
            assert!(!server.wants_read());
            server.read_up_to(START, body, 1);
            assert!(server.wants_read());
        }
    }
}

/// HD-26: an allowance is a smaller bound, and takes effect at once.
#[test]
fn allowances() {
    let mut server = session(Side::Server);
    tell(
        &mut server,
        START,
        &[("HEADER", 0, NOTIFY), ("DATA", 0, &"x".repeat(1000))],
    );
    let held = server.connection().buffered();
    server.set_allowance(START, held);
    assert!(server.wants_read());
    server.set_allowance(START, held - 1);
    assert!(!server.wants_read());
    server.set_allowance(START, usize::MAX);
    assert!(server.wants_read());
}

/// A-13: a collected body of the limit is complete, one octet more is an error at once.
#[test]
fn collected_bodies() {
    for (len, key) in [(100, None), (101, Some("rpc.max_body"))] {
        let mut server = pair_with(|config| config.connection.max_body = 100).server;
        tell(&mut server, START, &[("HEADER", 0, NOTIFY)]);
        let body = body_of(&events(&mut server));
        server.collect(START, body, 1000);
        tell(&mut server, START, &[("DATA", 0, &"x".repeat(len))]);
        match key {
            None => {
                assert_eq!(server.read(START, body), Read::Pending, "it is held back");
                tell(&mut server, START, &[("EOF", 0, "")]);
                let (octets, end) = sim_support::read_all(&mut server, START, body);
                assert_eq!((octets.len(), end), (100, Read::End));
            }
            Some(key) => {
                assert!(limit_hit(&events(&mut server), key));
                assert_eq!(
                    server.read(START, body),
                    Read::Failed(BodyError::BodyTooLarge(100))
                );
                tell(&mut server, START, &[("DATA", 0, "more"), ("EOF", 0, "")]);
                assert!(server.is_empty());
            }
        }
    }
}

/// Hardening 4.2: collected bodies have a bound together.
#[test]
fn collected_together() {
    let mut server = pair_with(|config| config.connection.max_collected = 150).server;
    let mut bodies = Vec::new();
    for msgno in 0..2 {
        tell(&mut server, START, &[("HEADER", msgno, NOTIFY)]);
        let body = body_of(&events(&mut server));
        server.collect(START, body, 1000);
        bodies.push(body);
        let len = if msgno == 0 { 100 } else { 50 };
        tell(&mut server, START, &[("DATA", msgno, &"x".repeat(len))]);
    }
    assert!(!limit_hit(&events(&mut server), "rpc.max_collected"));
    tell(&mut server, START, &[("DATA", 1, "x")]);
    assert!(limit_hit(&events(&mut server), "rpc.max_collected"));
    assert_eq!(
        server.read(START, bodies[1]),
        Read::Failed(BodyError::Overloaded)
    );
    tell(&mut server, START, &[("EOF", 0, "")]);
    assert_eq!(
        sim_support::read_all(&mut server, START, bodies[0]).1,
        Read::End
    );
}

/// A-9: no more is queued than `flow.max_queued`, and a writer is told when there is room.
#[test]
fn queued() {
    let mut client = pair_with(|config| config.connection.max_queued = 1000).client;
    let first = client.notify(START).expect("open");
    let second = client.notify(START).expect("open");
    let mut body = Bytes::from(vec![b'x'; 700]);
    assert_eq!(client.write(START, first, &mut body), Ok(700));
    let mut body = Bytes::from(vec![b'x'; 700]);
    assert_eq!(client.write(START, second, &mut body), Ok(300));
    sim_support::sent(&mut client, START);
    assert!(events(&mut client).contains(&Event::Writable(second)));
    assert_eq!(client.write(START, second, &mut body), Ok(400));
}

/// Hardening 4.2: outstanding requests of a client; room is told.
#[test]
fn outstanding() {
    let mut client = pair_with(|config| config.max_outstanding = 2).client;
    let ask = |client: &mut Session| {
        client.request(START, &RequestHead::new("A.b"), &RequestOptions::default())
    };
    let (first, _) = ask(&mut client).expect("open");
    ask(&mut client).expect("open");
    assert_eq!(ask(&mut client), Err(SendError::WouldBlock));
    client.cancel(START, first);
    assert!(events(&mut client).contains(&Event::Room));
    assert_eq!(
        ask(&mut client).expect("open").0.request_id(),
        3,
        "no id was used up"
    );
}

/// W-6, W-7, F-36: packets and headers of the largest size, and one octet more.
#[test]
fn sizes() {
    let mut server = session(Side::Server);
    tell(
        &mut server,
        START,
        &[
            ("HEADER", 0, NOTIFY),
            ("DATA", 0, &"x".repeat(limits::PACKET_BODY)),
        ],
    );
    assert!(!server.connection().is_closed());
    server.receive(START, b"DATA 0 131073\r");
    assert!(!server.connection().is_closed());
    server.receive(START, b"\n");
    let name = violation(&mut server).map(|kind| kind.name());
    assert_eq!(name, Some("PacketTooLarge"), "before any octet of the body");

    let mut client = session(Side::Client);
    let bare = client.send_other(START, "x", &[]).map(drop);
    assert_eq!(bare, Ok(()));
    let head = |len: usize| [("f".into(), format!("\"{}\"", "x".repeat(len)).into())];
    let frame = r#"{"type":"x","f":""}"#.len();
    let largest = limits::HEADER_SENT - frame;
    assert!(client.send_other(START, "x", &head(largest)).is_ok());
    let too_large = client.send_other(START, "x", &head(largest + 1));
    assert_eq!(
        too_large,
        Err(SendError::HeaderTooLarge(limits::HEADER_SENT + 1))
    );
    let text = sim_support::sent(&mut client, START);
    assert!(
        text.contains("HEADER 1 126976|") && !text.contains("HEADER 2"),
        "no number was used up"
    );
}

/// B-18: two legal packets of the largest size in one read are two packets.
#[test]
fn two_large_packets() {
    let mut server = session(Side::Server);
    let mut octets = packet("HEADER", 0, NOTIFY);
    for _ in 0..2 {
        octets.extend(packet("DATA", 0, &"x".repeat(limits::PACKET_BODY)));
    }
    server.receive(START, &octets);
    assert_eq!(server.connection().stats().packets_in, 3);
}

/// W-5, F-28: the last number is 2^53 - 1; then the connection takes nothing new, and ends.
#[test]
fn numbers_run_out() {
    let mut client = pair_with(|config| config.connection.first_msgno = limits::LAST_NUMBER).client;
    let last = client.notify(START).expect("open");
    assert_eq!(last.msgno().0, limits::LAST_NUMBER);
    assert_eq!(client.notify(START), Err(SendError::MsgnoExhausted));
    client.finish(START, last).expect("open");
    let text = sim_support::sent(&mut client, START);
    assert!(text.contains("HEADER 9007199254740991 17|"), "{text}");
}

/// HD-5: the last of eight thousand messages costs what the first did, in octets looked at and held.
#[test]
fn many_open_messages() {
    let mut server = pair_with(|config| config.connection.max_open_messages = 8000).server;
    let mut held = Vec::new();
    for msgno in 0..8000 {
        tell(
            &mut server,
            START,
            &[("HEADER", msgno, NOTIFY), ("DATA", msgno, &"x".repeat(256))],
        );
        held.push(server.connection().buffered());
    }
    let steps: Vec<usize> = held.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(steps.iter().all(|step| *step == steps[0]));
    assert_eq!(server.connection().open_incoming(), 8000);
}
