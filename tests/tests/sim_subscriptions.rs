//! Topics and who hears of them (S-40…S-43).

mod sim_support;

use std::time::Duration;

use scamp_proto::Instant;
use scamp_proto::session::{Board, Change, Event, ServeId, Session, Side};
use scamp_proto::sim::Pair;
use sim_support::{START, events, pair_with, sent, session, tell};

fn service() -> Session {
    pair_with(|config| config.subscriptions = true).server
}

fn subscription(session: &mut Session) -> ServeId {
    let wanted = events(session).into_iter().find_map(|event| match event {
        Event::Subscribe { id, .. } => Some(id),
        _ => None,
    });
    wanted.expect("a subscription")
}

/// E-11: subscribing, its answer and a change, byte for byte.
#[test]
fn a_subscription() {
    let mut client = session(Side::Client);
    client.subscribe(START, Some(&["announce"])).expect("open");
    let text = sent(&mut client, START);
    let due = r#"HEADER 0 35|{"type":"subscribe","request_id":1}END|DATA 0 12|["announce"]END|EOF 0 0|END|"#;
    assert_eq!(text, due);
    let mut server = service();
    let subscribe = [
        ("HEADER", 0, r#"{"type":"subscribe","request_id":1}"#),
        ("DATA", 0, r#"["announce"]"#),
        ("EOF", 0, ""),
    ];
    tell(&mut server, START, &subscribe);
    let id = subscription(&mut server);
    let mut board = Board::default();
    server.welcome(START, id, &board).expect("open");
    let text = sent(&mut server, START);
    let due = r#"HEADER 0 16|{"type":"event"}END|DATA 0 2|[]END|EOF 0 0|END|HEADER 1 40|{"request_id":1,"type":"subscribe_done"}END|DATA 1 4|trueEND|EOF 1 0|END|"#;
    assert_eq!(text, due);
    let change = board.set("announce", "", "\"x\"").expect("news");
    server.publish(START, &change);
    let text = sent(&mut server, START);
    let due = r#"HEADER 2 16|{"type":"event"}END|DATA 2 42|[{"code":"announce","key":"","value":"x"}]END|EOF 2 0|END|"#;
    assert_eq!(text, due);
    tell(
        &mut client,
        START,
        &[
            ("HEADER", 0, r#"{"type":"event"}"#),
            ("DATA", 0, r#"[{"code":"announce","key":"","value":"x"}]"#),
            ("EOF", 0, ""),
            ("HEADER", 1, r#"{"request_id":1,"type":"subscribe_done"}"#),
            ("DATA", 1, "true"),
            ("EOF", 1, ""),
        ],
    );
    let told = events(&mut client);
    let change = Change {
        code: "announce".into(),
        key: String::new(),
        value: "\"x\"".into(),
    };
    assert!(told.contains(&Event::Changed(vec![change])), "{told:?}");
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::Subscribed { accepted: true, .. }))
    );
}

/// S-40: an invalid filter is answered `false`, `null` ends a subscription, and a service without
/// subscriptions says `false`.
#[test]
fn filters() {
    for (body, answer) in [
        ("{}", "DATA 0 5|falseEND|"),
        ("[1]", "DATA 0 5|falseEND|"),
        ("null", "DATA 0 4|trueEND|"),
    ] {
        let mut server = service();
        let head = r#"{"type":"subscribe","request_id":"7"}"#;
        tell(
            &mut server,
            START,
            &[("HEADER", 0, head), ("DATA", 0, body), ("EOF", 0, "")],
        );
        let text = sent(&mut server, START);
        assert!(
            text.contains(r#"{"request_id":"7","type":"subscribe_done"}"#),
            "{text}"
        );
        assert!(text.contains(answer), "{body} {text}");
    }
    let mut server = session(Side::Server);
    let head = r#"{"type":"subscribe","request_id":7}"#;
    tell(
        &mut server,
        START,
        &[("HEADER", 0, head), ("DATA", 0, "[\"a\"]"), ("EOF", 0, "")],
    );
    assert!(sent(&mut server, START).contains("DATA 0 5|falseEND|"));
}

/// S-41: only those who subscribe to a topic hear of it; equal values are no news; what cannot be
/// used is skipped with a note.
#[test]
fn changes() {
    let mut server = service();
    tell(
        &mut server,
        START,
        &[
            ("HEADER", 0, r#"{"type":"subscribe","request_id":1}"#),
            ("DATA", 0, r#"["a"]"#),
            ("EOF", 0, ""),
        ],
    );
    let id = subscription(&mut server);
    let mut board = Board::default();
    board.set("a", "old", "1");
    server.welcome(START, id, &board).expect("open");
    assert!(sent(&mut server, START).contains(r#"[{"code":"a","key":"old","value":1}]"#));
    assert_eq!(board.set("a", "old", "1"), None);
    let other = board.set("b", "k", "1").expect("news");
    server.publish(START, &other);
    assert_eq!(sent(&mut server, START), "");
    let gone = board.set("a", "old", "null").expect("news");
    server.publish(START, &gone);
    assert!(sent(&mut server, START).contains(r#""value":null"#));

    let mut client = session(Side::Client);
    let records = r#"[1,{"code":"a","key":"b","value":2}]"#;
    tell(
        &mut client,
        START,
        &[
            ("HEADER", 0, r#"{"type":"event"}"#),
            ("DATA", 0, records),
            ("EOF", 0, ""),
        ],
    );
    let told = events(&mut client);
    assert!(
        told.iter().any(|event| matches!(event, Event::Note(_))),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::Changed(all) if all.len() == 1))
    );
}

/// S-42: what a slow subscriber has still to be told is the newest of each key, so its queue is
/// bounded whatever is published.
#[test]
fn slow_subscribers() {
    let mut server = service();
    tell(
        &mut server,
        START,
        &[
            ("HEADER", 0, r#"{"type":"subscribe","request_id":1}"#),
            ("DATA", 0, r#"["a"]"#),
            ("EOF", 0, ""),
        ],
    );
    let id = subscription(&mut server);
    let mut board = Board::default();
    server.welcome(START, id, &board).expect("open");
    let long = "x".repeat(1000);
    for round in 0..10_000 {
        let change = board.set(
            "a",
            &format!("k{}", round % 3),
            &format!("\"{long}{round}\""),
        );
        server.publish(START, &change.expect("news"));
        assert!(
            server.connection().memory() < 400_000,
            "{}",
            server.connection().memory()
        );
    }
    let mut text = String::new();
    loop {
        let more = sent(&mut server, START);
        if more.is_empty() {
            break;
        }
        text.push_str(&more);
    }
    for round in 9997..10_000 {
        assert!(
            text.contains(&format!("{long}{round}\"")),
            "the newest is told"
        );
    }
    assert!(
        text.matches("\"event\"").count() < 1000,
        "others are told as one"
    );
}

/// S-23, S-27: a subscription keeps a connection busy, with a PING every 15 seconds.
#[test]
fn a_subscription_lasts() {
    let mut pair: Pair<Session, Session> = pair_with(|config| config.subscriptions = true);
    pair.client.subscribe(START, Some(&["a"])).expect("open");
    pair.settle();
    let id = subscription(&mut pair.server);
    pair.server
        .welcome(START, id, &Board::default())
        .expect("open");
    pair.settle();
    let hour = Instant::from_epoch(Duration::from_secs(3600));
    pair.advance_to(hour);
    assert!(pair.client.is_open() && pair.server.is_open());
    let pings = pair.pipes[0].taken();
    assert!(pings >= 240 * 15, "{pings} octets are not 240 PINGs");
    pair.client.drain(hour);
    pair.settle();
    assert!(pair.is_over());
}
