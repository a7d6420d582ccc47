//! How connections end, and what becomes of what was in progress (scamp.md 5.5, hardening 5.1).

mod sim_support;

use std::time::Duration;

use scamp_proto::connection::Read;
use scamp_proto::error::Loss;
use scamp_proto::session::{Event, RecvId, RequestOptions, ServeId, Session, Side};
use scamp_proto::wire::{ReplyHead, RequestHead};
use scamp_proto::{
    BodyError, CloseReason, Duplex, End, ExchangeError, Phase, SendError, ViolationKind,
};
use sim_support::{START, at, events, pair, reason, sent, session, tell, violation, write};

const REQUEST: &str = r#"{"type":"request","request_id":1,"action":"a.b"}"#;

fn request(session: &mut Session) -> (ServeId, RecvId) {
    let told = events(session).into_iter().find_map(|event| match event {
        Event::Request { id, body, .. } => Some((id, body)),
        _ => None,
    });
    told.expect("a request")
}

/// F-2: a peer that closes its side still gets the replies in progress; then it is over.
#[test]
fn half_close() {
    let mut server = session(Side::Server);
    tell(
        &mut server,
        START,
        &[("HEADER", 0, REQUEST), ("EOF", 0, "")],
    );
    let (serve, body) = request(&mut server);
    server.receive_end(START, End::Eof);
    assert_eq!(server.read(START, body), Read::End, "it is whole");
    assert!(!server.is_drained(), "drained");
    assert!(!server.wants_read(), "reads");
    let reply = server
        .reply(START, serve, &ReplyHead::default())
        .expect("open");
    // Windows are of no use any more: nobody can acknowledge.
    assert_eq!(
        write(&mut server, START, reply, &[b'x'; 500_000]),
        Ok(500_000)
    );
    server.finish(START, reply).expect("open");
    let text = sent(&mut server, START);
    assert_eq!(text.matches('x').count(), 500_000);
    assert!(text.ends_with("EOF 0 0|END|"));
    assert!(server.is_drained());
    assert_eq!(server.connection().memory(), 0);
}

/// F-3, W-19: an end between messages is an ordinary one, with or without a farewell.
#[test]
fn clean_ends() {
    for end in [End::Eof, End::Cut] {
        let mut server = session(Side::Server);
        server.receive_end(START, end.clone());
        let told = events(&mut server);
        assert_eq!(told.last(), Some(&Event::Closed(CloseReason::ClosedByPeer)));
        let noted = told.iter().any(|event| matches!(event, Event::Note(_)));
        assert_eq!(noted, end == End::Cut, "F-3");
    }
}

/// F-4, HD-50, S-30: an end inside a body or a packet is a loss, after the octets that had come.
#[test]
fn ends_that_cut() {
    for (end, inside_packet) in [
        (End::Eof, false),
        (End::Eof, true),
        (End::Cut, false),
        (End::io("reset"), false),
    ] {
        let mut client = session(Side::Client);
        let head = RequestHead::new("A.b");
        let (_, send) = client
            .request(START, &head, &RequestOptions::default())
            .expect("open");
        client.finish(START, send).expect("open");
        sent(&mut client, START);
        tell(
            &mut client,
            START,
            &[
                ("HEADER", 0, r#"{"type":"reply","request_id":1}"#),
                ("DATA", 0, "some"),
            ],
        );
        if inside_packet {
            client.receive(START, b"DATA 0 9\r\nmor");
        }
        let body = events(&mut client)
            .into_iter()
            .find_map(|event| match event {
                Event::Reply { body, .. } => Some(body),
                _ => None,
            });
        client.receive_end(START, end.clone());
        let (octets, last) = sim_support::read_all(&mut client, START, body.expect("a reply"));
        assert_eq!(octets, b"some", "{end:?}");
        assert_eq!(last, Read::Failed(BodyError::ConnectionLost), "{end:?}");
        assert!(client.is_drained() && client.is_empty(), "{end:?}");
        let why = reason(&mut client).expect("the last event");
        match (end, inside_packet) {
            (End::Lost(loss), _) => assert_eq!(why, CloseReason::Lost(loss)),
            (_, true) => assert!(
                matches!(why, CloseReason::Violation(v) if v.kind == ViolationKind::TruncatedPacket)
            ),
            (End::Eof, false) => assert!(matches!(why, CloseReason::Unfinished { .. })),
            (_, false) => assert!(matches!(why, CloseReason::Lost(Loss::Io(_)))),
        }
    }
}

/// S-30: what a caller is told depends on how far its request had come.
#[test]
fn phases() {
    let lose = |steps: usize| {
        let mut client = session(Side::Client);
        // Something has passed, so the connection was there.
        client.receive(START, b"PING 0 0\r\nEND\r\n");
        sent(&mut client, START);
        let head = RequestHead::new("A.b");
        let (_, send) = client
            .request(START, &head, &RequestOptions::default())
            .expect("open");
        if steps > 0 {
            sent(&mut client, START);
        }
        if steps > 1 {
            client.finish(START, send).expect("open");
            sent(&mut client, START);
        }
        client.receive_end(START, End::io("reset"));
        events(&mut client)
            .into_iter()
            .find_map(|event| match event {
                Event::Failed {
                    error: ExchangeError::ConnectionLost { phase, .. },
                    ..
                } => Some(phase),
                _ => None,
            })
    };
    assert_eq!(lose(0), Some(Phase::Unsent));
    assert_eq!(lose(1), Some(Phase::Sending));
    assert_eq!(lose(2), Some(Phase::Waiting));
}

/// S-30: with no octet passed, nothing was established.
#[test]
fn not_established() {
    let mut client = session(Side::Client);
    let head = RequestHead::new("A.b");
    client
        .request(START, &head, &RequestOptions::default())
        .expect("open");
    client.receive_end(START, End::Lost(Loss::Connect("refused".into())));
    let failed = events(&mut client)
        .into_iter()
        .find_map(|event| match event {
            Event::Failed { error, .. } => Some(error),
            _ => None,
        });
    let failed = failed.expect("an outcome");
    assert!(matches!(failed, ExchangeError::NotEstablished(_)) && failed.is_dispatch_failure());
}

/// S-35: a draining client takes nothing new, lets the rest end, and closes.
#[test]
fn draining() {
    let mut pair = pair();
    let head = RequestHead::new("A.b");
    let (_, send) = pair
        .client
        .request(START, &head, &RequestOptions::default())
        .expect("open");
    pair.client.finish(START, send).expect("open");
    pair.settle();
    let (serve, _) = request(&mut pair.server);
    pair.client.drain(START);
    let again = pair
        .client
        .request(START, &head, &RequestOptions::default());
    assert_eq!(again, Err(SendError::Draining));
    assert!(!pair.client.is_drained());
    let reply = pair
        .server
        .reply(START, serve, &ReplyHead::default())
        .expect("open");
    pair.server.finish(START, reply).expect("open");
    pair.settle();
    let body = events(&mut pair.client)
        .into_iter()
        .find_map(|event| match event {
            Event::Reply { body, .. } => Some(body),
            _ => None,
        });
    assert_eq!(pair.client.read(START, body.expect("a reply")), Read::End);
    pair.settle();
    assert!(pair.is_over());
    assert_eq!(reason(&mut pair.client), Some(CloseReason::ClosedLocally));
}

/// W-13, Q-12, F-32: after a violation nothing is told, sent or due, whatever comes.
#[test]
fn errors_are_terminal() {
    let mut server = session(Side::Server);
    tell(&mut server, START, &[("HEADER", 0, REQUEST)]);
    events(&mut server);
    let mut octets = b"EOF 7 0\r\nEND\r\n".to_vec();
    for msgno in 1..1000 {
        octets.extend(sim_support::packet("HEADER", msgno, REQUEST));
    }
    server.receive(START, &octets);
    let told = events(&mut server);
    assert!(
        told.iter()
            .all(|event| !matches!(event, Event::Request { .. })),
        "F-32"
    );
    assert!(matches!(told.last(), Some(Event::Closed(_))));
    tell(&mut server, START, &[("PING", 0, "")]);
    server.receive_end(START, End::Eof);
    server.receive_end(START, End::io("again"));
    server.handle_timeout(at(1_000_000));
    server.drain(START);
    server.close(START);
    assert_eq!(events(&mut server), []);
    assert_eq!(sent(&mut server, START), "");
    assert_eq!(server.poll_timeout(), None);
    assert_eq!(server.notify(START), Err(SendError::Draining));
}

/// HD-8: time that goes back is taken for no time at all.
#[test]
fn time_goes_back() {
    let mut client = session(Side::Client);
    client.handle_timeout(at(50_000));
    client.receive(at(10), b"PING 0 0\r\nEND\r\n");
    let idle = Duration::from_secs(90);
    sent(&mut client, at(10));
    assert_eq!(client.poll_timeout(), Some(at(50_000) + idle));
}

/// A-5, F-18, F-21: each ACK that is none ends the connection, with its own name.
#[test]
fn bad_acks() {
    for (body, name) in [
        ("", "AckMalformed"),
        ("0", "AckMalformed"),
        ("050", "AckMalformed"),
        ("1x", "AckMalformed"),
        ("-1", "AckMalformed"),
        ("+5", "AckMalformed"),
        ("5e1", "AckMalformed"),
        ("50 ", "AckMalformed"),
        ("12345678901234567890", "AckMalformed"),
        ("40", "AckNotAdvancing"),
        ("1", "AckNotAdvancing"),
        ("101", "AckBeyondSent"),
        ("9223372036854775807", "AckBeyondSent"),
    ] {
        let mut client = session(Side::Client);
        let send = client.notify(START).expect("open");
        write(&mut client, START, send, &[b'x'; 100]).expect("open");
        sent(&mut client, START);
        tell(&mut client, START, &[("ACK", 0, "40")]);
        assert!(!client.connection().is_closed());
        tell(&mut client, START, &[("ACK", 0, body)]);
        assert_eq!(
            violation(&mut client).map(ViolationKind::name),
            Some(name),
            "{body:?}"
        );
    }
}
