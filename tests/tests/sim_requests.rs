//! Requests and replies between two ends, octet by octet (scamp.md 5.3 and 16).

mod sim_support;

use bytes::Bytes;
use scamp_proto::connection::Read;
use scamp_proto::session::{
    Event, ExchangeId, RecvId, RequestOptions, SendId, Serialize, ServeId, Session, Side,
};
use scamp_proto::wire::{RemoteError, ReplyHead, RequestHead};
use scamp_proto::{BodyError, ExchangeError, SendError};
use sim_support::{START, events, packets, pair, pair_with, read_all, sent, session, tell, write};

fn ask(session: &mut Session, action: &'static str) -> (ExchangeId, SendId) {
    let head = RequestHead::new(action);
    session
        .request(START, &head, &RequestOptions::default())
        .expect("open")
}

fn requests(session: &mut Session) -> Vec<(ServeId, RecvId)> {
    let all = events(session).into_iter();
    all.filter_map(|event| match event {
        Event::Request { id, body, .. } => Some((id, body)),
        _ => None,
    })
    .collect()
}

fn reply_to(told: &[Event]) -> Option<(ExchangeId, RecvId)> {
    told.iter().find_map(|event| match event {
        Event::Reply { id, body, .. } => Some((*id, *body)),
        _ => None,
    })
}

/// E-1: the first example, byte for byte, both ways.
#[test]
fn a_greeting() {
    let mut pair = pair();
    let (id, send) = ask(&mut pair.client, "Greetings.hello");
    write(&mut pair.client, START, send, br#"{"name":"World"}"#).expect("open");
    pair.client.finish(START, send).expect("open");
    let text = sent(&mut pair.client, START);
    let due = r#"HEADER 0 90|{"type":"request","request_id":1,"action":"Greetings.hello","version":1,"envelope":"json"}END|DATA 0 16|{"name":"World"}END|EOF 0 0|END|"#;
    assert_eq!(text, due);
    tell(
        &mut pair.server,
        START,
        &[
            (
                "HEADER",
                0,
                r#"{"type":"request","request_id":1,"action":"Greetings.hello","version":1,"envelope":"json"}"#,
            ),
            ("DATA", 0, r#"{"name":"World"}"#),
            ("EOF", 0, ""),
        ],
    );
    let (serve, body) = requests(&mut pair.server)[0];
    assert_eq!(read_all(&mut pair.server, START, body).1, Read::End);
    let reply = pair
        .server
        .reply(START, serve, &ReplyHead::default())
        .expect("open");
    write(
        &mut pair.server,
        START,
        reply,
        br#"{"content":"Hello World"}"#,
    )
    .expect("open");
    pair.server.finish(START, reply).expect("open");
    let text = sent(&mut pair.server, START);
    let due = r#"HEADER 0 31|{"type":"reply","request_id":1}END|DATA 0 25|{"content":"Hello World"}END|EOF 0 0|END|"#;
    assert_eq!(text, due);
    tell(
        &mut pair.client,
        START,
        &[
            ("HEADER", 0, r#"{"type":"reply","request_id":1}"#),
            ("DATA", 0, r#"{"content":"Hello World"}"#),
            ("EOF", 0, ""),
        ],
    );
    let told = events(&mut pair.client);
    let (answered, body) = reply_to(&told).expect("a reply");
    assert_eq!(answered, id);
    assert_eq!(
        read_all(&mut pair.client, START, body),
        (br#"{"content":"Hello World"}"#.to_vec(), Read::End)
    );
    assert!(pair.client.is_empty() && pair.server.is_empty());
}

/// E-2, E-3, S-19: an error, a refusal while draining, and a handler that went away.
#[test]
fn refusals() {
    let mut server = session(Side::Server);
    for id in [1, 2] {
        let head = format!("{{\"type\":\"request\",\"request_id\":{id},\"action\":\"nope.nope\"}}");
        tell(
            &mut server,
            START,
            &[("HEADER", id - 1, &head), ("EOF", id - 1, "")],
        );
    }
    let open = requests(&mut server);
    let error = RemoteError::new("no_action", "No such action: nope.nope.v1");
    server.reply_error(START, open[1].0, error).expect("open");
    let due = r#"HEADER 0 95|{"type":"reply","request_id":2,"error_code":"no_action","error":"No such action: nope.nope.v1"}END|EOF 0 0|END|"#;
    assert_eq!(sent(&mut server, START), due);
    server.drain(START);
    tell(
        &mut server,
        START,
        &[
            (
                "HEADER",
                2,
                r#"{"type":"request","request_id":7,"action":"a.b"}"#,
            ),
            ("EOF", 2, ""),
        ],
    );
    let due = r#"HEADER 1 130|{"type":"reply","request_id":7,"error_code":"transport","error":"Service is shutting down","error_data":{"dispatch_failure":true}}END|EOF 1 0|END|"#;
    assert_eq!(sent(&mut server, START), due);
    server.abandon(START, open[0].0);
    let due = r#""error_code":"general","error":"handler ended without a reply"}END|EOF 2 0|END|"#;
    let text = sent(&mut server, START);
    assert!(text.ends_with(due), "{text}");
}

/// E-9: two requests, the second small; it overtakes, nothing waits, one ACK answers two DATA, and
/// the last comes too late to matter.
#[test]
fn interleaving_and_flow_control() {
    let chunk = vec![b'x'; 32_768];
    let mut client =
        sim_support::pair_with(|config| config.connection.max_inflight = Some(65_536)).client;
    let say =
        |client: &mut Session| packets(&sent(client, START).replace(&"x".repeat(32_768), "…"));
    let mut up = None;
    for id in 1..=5 {
        let (exchange, send) = ask(&mut client, if id == 4 { "A.up" } else { "A.ping" });
        match id {
            4 => up = Some((exchange, send)),
            5 => {
                write(&mut client, START, up.expect("made").1, &chunk.repeat(2)).expect("open");
                client.finish(START, send).expect("open");
            }
            _ => client.finish(START, send).expect("open"),
        }
        if id < 4 {
            say(&mut client);
        }
    }
    let (_, send) = up.expect("made");
    let text = say(&mut client);
    let up_head = r#"HEADER 3 79|{"type":"request","request_id":4,"action":"A.up","version":1,"envelope":"json"}END|"#;
    let ping_head = r#"HEADER 4 81|{"type":"request","request_id":5,"action":"A.ping","version":1,"envelope":"json"}END|"#;
    for packet in [up_head, ping_head, "EOF 4 0|END|"] {
        assert!(text.contains(packet), "{text}");
    }
    assert_eq!(text.matches("DATA 3 32768|…END|").count(), 2, "{text}");
    let first_data = text.find("DATA 3").expect("sent");
    assert!(
        text.find("HEADER 4").expect("sent") < first_data
            || text.find("EOF 4").expect("sent") < text.rfind("DATA 3").expect("sent"),
        "{text}"
    );
    write(&mut client, START, send, &chunk).expect("open");
    client.finish(START, send).expect("open");
    assert_eq!(say(&mut client), "", "the window is shut");
    tell(
        &mut client,
        START,
        &[
            ("HEADER", 0, r#"{"type":"reply","request_id":5}"#),
            ("EOF", 0, ""),
        ],
    );
    assert_eq!(
        reply_to(&events(&mut client))
            .expect("a reply")
            .0
            .request_id(),
        5
    );
    tell(&mut client, START, &[("ACK", 3, "32768")]);
    assert_eq!(say(&mut client), "DATA 3 32768|…END|\nEOF 3 0|END|\n");
    tell(
        &mut client,
        START,
        &[("ACK", 3, "98304"), ("ACK", 3, "98304")],
    );
    assert!(
        !client.connection().is_closed(),
        "late ACKs are ignored (A-5)"
    );
}

/// H-5, Q-10: ids are 1, 2, 3… in the order of the headers, and both kinds of echo match (E-8).
#[test]
fn ids_count_up() {
    let mut client = session(Side::Client);
    let made: Vec<_> = (0..5)
        .map(|_| ask(&mut client, "A.b").0.request_id())
        .collect();
    assert_eq!(made, [1, 2, 3, 4, 5]);
    let text = sent(&mut client, START);
    let places: Vec<_> = (1..=5)
        .map(|id| text.find(&format!("\"request_id\":{id},")).expect("sent"))
        .collect();
    assert!(places.is_sorted());
    tell(
        &mut client,
        START,
        &[("HEADER", 0, r#"{"type":"reply","request_id":"3"}"#)],
    );
    assert_eq!(
        reply_to(&events(&mut client))
            .expect("a reply")
            .0
            .request_id(),
        3
    );
    let mut server = session(Side::Server);
    tell(
        &mut server,
        START,
        &[(
            "HEADER",
            0,
            r#"{"type":"request","request_id":"x\u0031","action":"a.b"}"#,
        )],
    );
    let (serve, _) = requests(&mut server)[0];
    server
        .reply(START, serve, &ReplyHead::default())
        .expect("open");
    assert!(
        sent(&mut server, START).contains(r#""request_id":"x\u0031""#),
        "echoed as written"
    );
}

/// S-13, F-25: a reply that ends first stops the request body, unless the caller goes on.
#[test]
fn early_replies() {
    for keep_sending in [false, true] {
        let mut client = session(Side::Client);
        let options = RequestOptions {
            keep_sending,
            ..RequestOptions::default()
        };
        let (_, send) = client
            .request(START, &RequestHead::new("A.b"), &options)
            .expect("open");
        write(&mut client, START, send, b"first").expect("open");
        sent(&mut client, START);
        tell(
            &mut client,
            START,
            &[
                ("HEADER", 0, r#"{"type":"reply","request_id":1}"#),
                ("EOF", 0, ""),
            ],
        );
        let due = if keep_sending {
            ""
        } else {
            "TXERR 0 22|reply already completeEND|"
        };
        assert_eq!(sent(&mut client, START), due);
        let more = write(&mut client, START, send, b"more");
        assert_eq!(
            more,
            if keep_sending {
                Ok(4)
            } else {
                Err(SendError::NotOpen)
            }
        );
    }
}

/// S-14: a request given up is stopped, and its late reply is drained, acknowledged and dropped.
#[test]
fn cancelling() {
    let mut client = session(Side::Client);
    let (id, _) = ask(&mut client, "A.b");
    sent(&mut client, START);
    client.cancel(START, id);
    assert_eq!(sent(&mut client, START), "TXERR 0 9|cancelledEND|");
    assert_eq!(
        events(&mut client),
        [Event::Failed {
            id,
            error: ExchangeError::Cancelled
        }]
    );
    tell(
        &mut client,
        START,
        &[
            ("HEADER", 0, r#"{"type":"reply","request_id":1}"#),
            ("DATA", 0, "late"),
        ],
    );
    assert_eq!(events(&mut client), [], "nobody is told");
    assert_eq!(sent(&mut client, START), "ACK 0 1|4END|");
    tell(&mut client, START, &[("EOF", 0, "")]);
    assert!(client.is_empty() || client.connection().is_empty());
}

/// S-14, HD-49: a reply that has begun ends as cancelled.
#[test]
fn cancelling_a_reply() {
    let mut client = session(Side::Client);
    let (id, send) = ask(&mut client, "A.b");
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
    let (_, body) = reply_to(&events(&mut client)).expect("a reply");
    client.cancel(START, id);
    assert_eq!(client.read(START, body), Read::Failed(BodyError::Cancelled));
    assert_eq!(client.outstanding(), 0);
}

/// S-15, F-23, F-24, N-3, N-4: replies nobody waits for are noted, drained and acknowledged.
#[test]
fn unexpected_replies() {
    let mut client = session(Side::Client);
    let (_, send) = ask(&mut client, "A.b");
    client.finish(START, send).expect("open");
    sent(&mut client, START);
    let good = r#"{"type":"reply","request_id":1}"#;
    for (msgno, head) in [
        (0, r#"{"type":"reply","request_id":9}"#),
        (1, r#"{"type":"reply"}"#),
        (2, good),
        (3, good),
    ] {
        tell(
            &mut client,
            START,
            &[("HEADER", msgno, head), ("DATA", msgno, "abc")],
        );
    }
    let told = events(&mut client);
    assert_eq!(reply_to(&told).expect("a reply").1.msgno().0, 2);
    let notes = told
        .iter()
        .filter(|event| matches!(event, Event::Note(_)))
        .count();
    assert_eq!(notes, 3);
    let acks = sent(&mut client, START);
    for msgno in [0, 1, 3] {
        assert!(acks.contains(&format!("ACK {msgno} 1|3END|")), "{acks}");
    }
}

/// S-16, F-29: the same id twice is two requests, and two replies.
#[test]
fn an_id_twice() {
    let mut server = session(Side::Server);
    let head = r#"{"type":"request","request_id":5,"action":"a.b"}"#;
    tell(
        &mut server,
        START,
        &[("HEADER", 0, head), ("HEADER", 1, head)],
    );
    for (serve, _) in requests(&mut server) {
        let reply = server
            .reply(START, serve, &ReplyHead::default())
            .expect("open");
        server.finish(START, reply).expect("open");
    }
    assert_eq!(
        sent(&mut server, START)
            .matches(r#""request_id":5"#)
            .count(),
        2
    );
}

/// S-18: in serialized mode a HEADER waits until the request before it is out; a peer whose
/// headers end in LF switches it on.
#[test]
fn one_after_the_other() {
    let mut client = pair_with(|config| config.serialize = Serialize::Always).client;
    let (_, first) = ask(&mut client, "A.b");
    sent(&mut client, START);
    let again = client.request(START, &RequestHead::new("A.b"), &RequestOptions::default());
    assert_eq!(again, Err(SendError::WouldBlock));
    client.finish(START, first).expect("open");
    sent(&mut client, START);
    assert_eq!(events(&mut client), [Event::Room]);
    assert_eq!(
        ask(&mut client, "A.b").0.request_id(),
        2,
        "no id was used up"
    );

    let mut client = session(Side::Client);
    let (_, first) = ask(&mut client, "A.b");
    let (_, second) = ask(&mut client, "A.b");
    client.finish(START, first).expect("open");
    sent(&mut client, START);
    tell(
        &mut client,
        START,
        &[("HEADER", 0, "{\"type\":\"reply\",\"request_id\":1}\n")],
    );
    let again = client.request(START, &RequestHead::new("A.b"), &RequestOptions::default());
    assert_eq!(
        again,
        Err(SendError::WouldBlock),
        "only Go ends a header in LF"
    );
    client.finish(START, second).expect("open");
    sent(&mut client, START);
    assert_eq!(ask(&mut client, "A.b").0.request_id(), 3);
}

/// H-3, H-6: what cannot be used is answered or noted, and ends nothing; S-7 is not dispatched.
#[test]
fn bad_headers() {
    for (head, answer) in [
        (
            r#"{"type":"request","request_id":1,"action":7}"#,
            "bad_request",
        ),
        (r#"{"type":"request","request_id":1}"#, "bad_request"),
        (
            r#"{"type":"shout","request_id":1}"#,
            "unknown message type \\\"shout\\\"",
        ),
        (r#"{"type":"shout"}"#, ""),
        (r#"{"type":"request","action":"a.b"}"#, ""),
        (r#"{"type":"request","request_id":{},"action":"a.b"}"#, ""),
        ("{}", ""),
    ] {
        let mut server = session(Side::Server);
        tell(
            &mut server,
            START,
            &[("HEADER", 0, head), ("DATA", 0, "xy")],
        );
        let text = sent(&mut server, START);
        assert!(
            text.contains("ACK 0 1|2END|"),
            "discarded and acknowledged: {head} {text}"
        );
        match answer {
            "" => assert!(!text.contains("HEADER"), "{head} {text}"),
            answer => assert!(text.contains(answer), "{head} {text}"),
        }
        let told = events(&mut server);
        assert!(
            told.iter().all(|event| matches!(event, Event::Note(_))),
            "{head} {told:?}"
        );
        assert!(!server.connection().is_closed());
    }
}

/// F-30, S-10: a request that fails while its handler runs is a body error, and is still answered.
#[test]
fn a_request_that_fails() {
    let mut server = session(Side::Server);
    let head = r#"{"type":"request","request_id":1,"action":"a.b"}"#;
    tell(
        &mut server,
        START,
        &[("HEADER", 0, head), ("DATA", 0, "half")],
    );
    let (serve, body) = requests(&mut server)[0];
    tell(&mut server, START, &[("TXERR", 0, "source died")]);
    let (octets, end) = read_all(&mut server, START, body);
    assert_eq!(
        (octets, end),
        (
            b"half".to_vec(),
            Read::Failed(BodyError::PeerError("source died".into()))
        )
    );
    let reply = server
        .reply(START, serve, &ReplyHead::default())
        .expect("open");
    server.finish(START, reply).expect("open");
    assert!(sent(&mut server, START).ends_with("EOF 0 0|END|"));
}

/// S-4, S-9, E-4: how an unfinished body ends, and which texts are never sent.
#[test]
fn aborted_bodies() {
    for (text, due) in [
        ("worker died", "TXERR 0 11|worker diedEND|"),
        ("é", "TXERR 0 2|éEND|"),
        ("", "TXERR 0 17|unspecified errorEND|"),
        ("0", "TXERR 0 7|error 0END|"),
    ] {
        let mut end = session(Side::Client);
        let send = end.notify(START).expect("open");
        sent(&mut end, START);
        end.fail(START, send, text).expect("open");
        assert_eq!(sent(&mut end, START), due);
    }
    let mut end = session(Side::Client);
    let send = end.notify(START).expect("open");
    sent(&mut end, START);
    end.drop_body(START, send);
    assert_eq!(sent(&mut end, START), "TXERR 0 17|message abandonedEND|");
    let mut body = Bytes::from_static(b"x");
    assert_eq!(end.write(START, send, &mut body), Err(SendError::NotOpen));
}
