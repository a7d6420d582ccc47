//! Each kind of packet in each state of its message (HD-72, G-4): 144 cells.

mod sim_support;

use std::time::Duration;

use scamp_proto::connection::Read;
use scamp_proto::session::{Event, RecvId, Session};
use scamp_proto::{Duplex, Instant, ViolationKind};
use sim_support::{START, events, packet, pair_with, sent, tell, violation};

/// The rows: what comes, for the message in question.
const PACKETS: [&str; 12] = [
    "HEADER",
    "DATA empty",
    "DATA",
    "EOF",
    "EOF with body",
    "TXERR",
    "TXERR empty",
    "ACK",
    "PING",
    "PONG",
    "unknown",
    "malformed",
];

/// The columns: how its message stands.
const STATES: [&str; 12] = [
    "never seen",
    "next",
    "skipped",
    "open empty",
    "open with data",
    "paused",
    "discarding",
    "shed",
    "ended",
    "failed",
    "draining",
    "closed",
];

/// What is due: `ok` taken without an error, `-` no effect at all, else the name of the violation.
///
/// MO MsgnoOutOfSequence, NS NoSuchMessage, EN EofNotEmpty, UT UnknownPacketType, LM
/// HeaderLineMalformed. A message that is new ("never seen") is one far ahead; "next" is the number
/// that is due, "skipped" the one after it. A "draining" session still takes packets; a "closed"
/// one takes nothing. EofNotEmpty goes before NoSuchMessage (W-11). ACKs are about messages of
/// ours, of which there is none with that number (A-5).
#[rustfmt::skip]
const DUE: [[&str; 12]; 12] = [
    //                never next  skip  empty data  paused disc  shed  ended failed drain closed
    /* HEADER     */ ["MO", "ok", "MO", "MO", "MO", "MO", "MO", "MO", "MO", "MO", "MO", "-"],
    /* DATA empty */ ["NS", "NS", "NS", "ok", "ok", "ok", "ok", "ok", "NS", "NS", "ok", "-"],
    /* DATA       */ ["NS", "NS", "NS", "ok", "ok", "ok", "ok", "ok", "NS", "NS", "ok", "-"],
    /* EOF        */ ["NS", "NS", "NS", "ok", "ok", "ok", "ok", "ok", "NS", "NS", "ok", "-"],
    /* EOF+body   */ ["EN", "EN", "EN", "EN", "EN", "EN", "EN", "EN", "EN", "EN", "EN", "-"],
    /* TXERR      */ ["NS", "NS", "NS", "ok", "ok", "ok", "ok", "ok", "NS", "NS", "ok", "-"],
    /* TXERR none */ ["NS", "NS", "NS", "ok", "ok", "ok", "ok", "ok", "NS", "NS", "ok", "-"],
    /* ACK        */ ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "-"],
    /* PING       */ ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "-"],
    /* PONG       */ ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "-"],
    /* unknown    */ ["UT", "UT", "UT", "UT", "UT", "UT", "UT", "UT", "UT", "UT", "UT", "-"],
    /* malformed  */ ["LM", "LM", "LM", "LM", "LM", "LM", "LM", "LM", "LM", "LM", "LM", "-"],
];

const REQUEST: &str = r#"{"type":"request","request_id":1,"action":"a.b"}"#;

/// HD-72, W-14: every packet in every state does what the table says, and every violation is the
/// last thing that happens.
#[test]
fn every_packet_in_every_state() {
    for (row, kind) in PACKETS.iter().enumerate() {
        for (column, state) in STATES.iter().enumerate() {
            let (mut end, now, msgno, body) = prepare(state);
            let before = end.connection().stats();
            events(&mut end);
            sent(&mut end, now);
            end.receive(now, &octets(kind, msgno));
            let cell = format!("{kind} when {state}");
            match DUE[row][column] {
                "-" => {
                    assert_eq!(events(&mut end), [], "{cell}");
                    assert_eq!(
                        end.connection().stats().packets_in,
                        before.packets_in,
                        "{cell}"
                    );
                }
                "ok" => {
                    assert!(
                        !end.connection().is_closed(),
                        "{cell}: {:?}",
                        events(&mut end)
                    );
                    look(&mut end, now, body, kind, state, &cell);
                }
                name => {
                    let broken = violation(&mut end).map(ViolationKind::name);
                    assert_eq!(broken, Some(long(name)), "{cell}");
                    assert_eq!(
                        sent(&mut end, now),
                        "",
                        "{cell}: nothing is sent about it (W-13)"
                    );
                }
            }
        }
    }
}

/// A session whose message stands so: the time, the number to use, and the body if there is one.
fn prepare(state: &str) -> (Session, Instant, u64, Option<RecvId>) {
    let mut end = pair_with(|config| config.connection.max_buffered = 1000).server;
    let mut now = START;
    if matches!(state, "never seen" | "next" | "skipped") {
        let msgno = match state {
            "never seen" => 1000,
            "next" => 0,
            _ => 1,
        };
        return (end, now, msgno, None);
    }
    tell(&mut end, START, &[("HEADER", 0, REQUEST)]);
    let body = events(&mut end).into_iter().find_map(|event| match event {
        Event::Request { body, .. } => Some(body),
        _ => None,
    });
    let body = body.expect("a request");
    match state {
        "open empty" => {}
        "open with data" => tell(&mut end, START, &[("DATA", 0, "data")]),
        "paused" => {
            tell(&mut end, START, &[("DATA", 0, &"x".repeat(1000))]);
            assert!(!end.wants_read());
        }
        "discarding" => end.discard(START, body),
        "shed" => {
            tell(&mut end, START, &[("DATA", 0, &"x".repeat(1000))]);
            now = START + Duration::from_secs(5);
            end.handle_timeout(now);
            assert!(end.wants_read());
        }
        "ended" => tell(&mut end, START, &[("EOF", 0, "")]),
        "failed" => tell(&mut end, START, &[("TXERR", 0, "gone")]),
        "draining" => end.drain(START),
        "closed" => end.receive_end(START, scamp_proto::End::io("reset")),
        other => panic!("{other}"),
    }
    (end, now, 0, Some(body))
}

fn octets(kind: &str, msgno: u64) -> Vec<u8> {
    match kind {
        "HEADER" => packet("HEADER", msgno, REQUEST),
        "DATA empty" => packet("DATA", msgno, ""),
        "DATA" => packet("DATA", msgno, "more"),
        "EOF" => packet("EOF", msgno, ""),
        "EOF with body" => packet("EOF", msgno, "x"),
        "TXERR" => packet("TXERR", msgno, "no"),
        "TXERR empty" => packet("TXERR", msgno, ""),
        "ACK" => packet("ACK", msgno, "5"),
        "PING" => packet("PING", msgno, "x"),
        "PONG" => packet("PONG", msgno, ""),
        "unknown" => packet("HELLO", msgno, ""),
        _ => b"DATA 0  1\r\n".to_vec(),
    }
}

/// What a packet that was taken has done.
fn look(
    end: &mut Session,
    now: Instant,
    body: Option<RecvId>,
    kind: &str,
    state: &str,
    cell: &str,
) {
    let text = sent(end, now);
    if kind == "PING" {
        assert!(text.contains("PONG"), "{cell}: {text}");
        return;
    }
    if kind == "HEADER" {
        let told = events(end);
        assert!(
            matches!(told[..], [Event::Request { .. }]),
            "{cell}: {told:?}"
        );
        return;
    }
    let Some(body) = body else {
        return;
    };
    let acks = text.contains("ACK");
    let drops = matches!(state, "discarding" | "shed");
    assert_eq!(
        acks,
        drops && kind == "DATA",
        "{cell}: only what is dropped is acknowledged: {text}"
    );
    let (octets, last) = sim_support::read_all(end, now, body);
    let more = octets.ends_with(b"more");
    assert_eq!(more, kind == "DATA" && !drops, "{cell}");
    let ended = match kind {
        "EOF" => "End",
        "TXERR" | "TXERR empty" => "Failed",
        _ => match state {
            "ended" => "End",
            "failed" => "Failed",
            _ => "Pending",
        },
    };
    let ended = match state {
        "discarding" => "Gone",
        "shed" => "Failed",
        _ => ended,
    };
    let last = match last {
        Read::End => "End",
        Read::Failed(_) => "Failed",
        Read::Pending => "Pending",
        Read::Gone => "Gone",
        Read::Data(_) => "Data",
    };
    assert_eq!(last, ended, "{cell}");
}

fn long(name: &str) -> &'static str {
    match name {
        "MO" => "MsgnoOutOfSequence",
        "NS" => "NoSuchMessage",
        "EN" => "EofNotEmpty",
        "UT" => "UnknownPacketType",
        _ => "HeaderLineMalformed",
    }
}
