//! Sessions against what live peers sent, and against hand-written streams (HD-60).

#![allow(clippy::unwrap_used)]

#[path = "support/cuts.rs"]
mod cuts;

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use scamp_proto::session::{
    Config, Event, ExchangeId, Read, RecvId, RequestOptions, SendId, Session, Side,
};
use scamp_proto::wire::{ReplyHead, RequestHead};
use scamp_proto::{BodyError, CloseReason, Duplex, End, Header, Instant, Outbox, ViolationKind};
use scamp_tests::naive::packets;
use scamp_tests::naive::semantics::{self, Own, OwnMessage};
use scamp_tests::vectors::{MalformedCase, Recorded, Vectors, WireCase};
use serde_json::Value;

use cuts::cuts;

/// W-19, HD-60: however the octets of a recorded stream are cut, the session of its receiver tells
/// the same, and what it tells is what was recorded.
#[test]
fn recorded_streams_are_told_alike_in_any_cut() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let wire = vectors.wire();
        wire.announce("wire, through sessions");
        let mut runs = 0;
        for case in &wire.cases {
            runs += replay(case, Side::Server);
            runs += replay(case, Side::Client);
        }
        println!("{} streams in {runs} cuts", wire.cases.len() * 2);
        assert!(wire.cases.len() >= 50);
    }
}

/// Returns how many ways there were to cut the stream.
fn replay(case: &WireCase, side: Side) -> usize {
    let (stream, sent) = match side {
        Side::Server => (&case.client, &case.server),
        Side::Client => (&case.server, &case.client),
    };
    let name = format!("{} to the {side:?}", case.name);
    let len = stream.bytes.len();
    let run = |cut: &[Range<usize>], listening| {
        let mut listener = Listener::new(side);
        match side {
            Side::Client => listener.ask_as_recorded(&sent.messages, &stream.events),
            Side::Server => listener.send_as_recorded(&sent.messages),
        }
        for range in cut {
            listener.receive(&stream.bytes[range.clone()]);
            if listening == Listening::AtOnce {
                listener.listen();
            }
        }
        listener.end();
        listener.told
    };
    let told = run(std::slice::from_ref(&(0..len)), Listening::Afterwards);
    check(&name, stream, &told);
    let told = told.but_aborted();
    let cuts = cuts(len);
    for cut in &cuts {
        for listening in [Listening::Afterwards, Listening::AtOnce] {
            let now = run(cut, listening).but_aborted();
            let (pieces, both) = (cut.len(), (&now.events, &told.events));
            assert!(now == told, "{name} in {pieces} pieces: {both:?}");
        }
    }
    cuts.len() * 2
}

/// Compares what was told with what was recorded.
fn check(name: &str, stream: &Recorded, told: &Told) {
    let fatal = stream.events.iter().find(|event| event[0] == "fatal");
    if let Some(fatal) = fatal {
        assert_eq!(fatal[1], "packet-too-large", "{name}");
        let kind = violation(told).unwrap_or_else(|| panic!("{name}: {:?}", told.closed));
        assert_eq!(kind.name(), "PacketTooLarge", "{name}");
    }
    for message in &stream.messages {
        let msgno = message["msgno"].as_u64().unwrap();
        let kind = message["header"]["type"].as_str().unwrap();
        if !["notify", "reply", "request"].contains(&kind) {
            continue;
        }
        let Some(body) = told.bodies.get(&msgno) else {
            let only = (&told.events, &told.closed);
            assert_ne!(message["end"], "EOF", "{name}: {msgno} not in {only:?}");
            assert_eq!(kind, "request", "{name}");
            continue;
        };
        assert_eq!(body.octets.len() as u64, message["body_len"], "{name}");
        if let Some(text) = message["body_text"].as_str() {
            assert_eq!(String::from_utf8_lossy(&body.octets), text, "{name}");
        }
        match (message["end"].as_str(), &body.end) {
            (Some("EOF"), Some(Ok(()))) => {}
            (Some("TXERR"), Some(Err(BodyError::PeerError(_)))) => {}
            (None, Some(Err(BodyError::ConnectionLost))) => {}
            (recorded, ended) => panic!("{name}: {msgno} ends {recorded:?}, told {ended:?}"),
        }
    }
}

/// P-5, W-13, HD-60: a hand-written stream ends the connection where the specification says, or the
/// next request on it is answered.
#[test]
fn hand_written_streams_end_the_connection_or_harm_nothing() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let malformed = vectors.malformed();
        malformed.announce("malformed, through sessions");
        let (mut closed, mut runs) = (0, 0);
        for case in &malformed.cases {
            let len = case.bytes.len();
            let step = if len <= 64 << 10 { 1 } else { 1000 };
            for pieces in [len.max(1), step] {
                closed += match &case.to[..] {
                    "server" => usize::from(to_server(case, pieces)),
                    // Once while its request is still being sent, and once after.
                    _ => [false, true]
                        .into_iter()
                        .filter(|finished| to_client(case, pieces, *finished))
                        .count(),
                };
                runs += if case.to == "server" { 1 } else { 2 };
            }
        }
        println!("{closed} of {runs} runs ended the connection");
    }
}

/// Says whether the connection was closed.
fn to_server(case: &MalformedCase, pieces: usize) -> bool {
    let mut echo = Listener::new(Side::Server);
    echo.answers = true;
    for piece in case.bytes.chunks(pieces) {
        echo.receive(piece);
        echo.listen();
    }
    let (messages, fatal) = expected(case, BTreeMap::new());
    assert_eq!(violated(&echo.told), fatal, "{}", case.name);
    if fatal.is_some() {
        return true;
    }
    assert_eq!(echo.told.closed, None, "{}", case.name);
    // What the echo sends from here on is the answer to this.
    echo.sent.clear();
    let header = r#"{"type":"request","request_id":"next","action":"Bench.echo"}"#;
    echo.receive(&message(messages, header, "\"next\""));
    echo.listen();
    let sent = packets::parse(&echo.sent, 131_072).packets;
    let bodies: Vec<_> = sent
        .iter()
        .map(|packet| String::from_utf8_lossy(&packet.body))
        .collect();
    let is_answer = |header: &str| header.contains(r#""request_id":"next""#);
    assert!(
        bodies.iter().any(|body| is_answer(body)) && bodies.iter().any(|body| body == "\"next\""),
        "{}: {bodies:?}",
        case.name
    );
    false
}

fn to_client(case: &MalformedCase, pieces: usize, finished: bool) -> bool {
    let mut client = Listener::new(Side::Client);
    // A live one is still sending in any case: as much as a window of JS takes.
    let is_live = case.name.starts_with("live-");
    let sent = if is_live { 65_536 } else { 4 };
    let body = client.request(sent);
    let finished = finished && !is_live;
    if finished {
        client.session.finish(NOW, body).unwrap();
    }
    client.send();
    for piece in case.bytes.chunks(pieces) {
        client.receive(piece);
        client.listen();
    }
    // After its EOF nothing is acknowledged any more, and no ACK is wrong (A-5).
    let own = (!finished).then_some((0, OwnMessage { sent, acked: 0 }));
    let (messages, fatal) = expected(case, own.into_iter().collect());
    assert_eq!(violated(&client.told), fatal, "{}", case.name);
    if case.name == "close-mid-packet" {
        client.end();
        assert!(client.told.closed.is_some());
        assert!(matches!(client.told.bodies[&0].end, Some(Err(_))));
        return true;
    }
    if fatal.is_some() {
        assert!(client.told.closed.is_some(), "{}", case.name);
        return true;
    }
    assert_eq!(client.told.closed, None, "{}", case.name);
    let body = client.request(4);
    client.session.finish(NOW, body).unwrap();
    client.send();
    client.receive(&message(
        messages,
        r#"{"type":"reply","request_id":2}"#,
        "\"next\"",
    ));
    client.listen();
    let answer = &client.told.bodies[&(messages as u64)];
    assert_eq!(answer.octets, b"\"next\"", "{}", case.name);
    assert_eq!(answer.end, Some(Ok(())), "{}", case.name);
    false
}

/// What the naive reading of the specification makes of a stream: how many messages it opens, and
/// the violation that ends it, with its place.
fn expected(
    case: &MalformedCase,
    own: BTreeMap<u64, OwnMessage>,
) -> (usize, Option<(String, u64)>) {
    let stream = packets::parse(&case.bytes, 131_072);
    let events = semantics::events(&stream, Own::Known(own));
    let starts = events
        .iter()
        .filter(|event| matches!(event, semantics::Event::MessageStart { .. }));
    let fatal = match events.last() {
        Some(semantics::Event::Fatal { offset, kind }) => {
            Some((format!("{kind:?}"), *offset as u64))
        }
        _ => None,
    };
    (starts.count(), fatal)
}

fn violated(told: &Told) -> Option<(String, u64)> {
    match &told.closed {
        Some(CloseReason::Violation(violation)) => {
            Some((violation.kind.name().to_owned(), violation.offset))
        }
        _ => None,
    }
}

fn violation(told: &Told) -> Option<ViolationKind> {
    match told.closed {
        Some(CloseReason::Violation(violation)) => Some(violation.kind),
        _ => None,
    }
}

/// A whole message.
fn message(msgno: usize, header: &str, body: &str) -> Vec<u8> {
    format!(
        "HEADER {msgno} {}\r\n{header}END\r\nDATA {msgno} {}\r\n{body}END\r\nEOF {msgno} 0\r\nEND\r\n",
        header.len(),
        body.len(),
    )
    .into_bytes()
}

/// A session, and what it has told.
struct Listener {
    session: Session,
    told: Told,
    /// Bodies that have not ended.
    open: Vec<RecvId>,
    /// Requests whose bodies have not ended.
    asked: BTreeMap<u64, scamp_proto::session::ServeId>,
    /// Whether requests are answered with their bodies.
    answers: bool,
    /// All octets sent, since this was last cleared.
    sent: Vec<u8>,
}

/// When events and bodies are taken.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Listening {
    Afterwards,
    AtOnce,
}

/// What a session told, without what depends on when it was asked.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// Each with the message it is about.
    events: Vec<(Option<u64>, String)>,
    /// By message number.
    bodies: BTreeMap<u64, Body>,
    closed: Option<CloseReason>,
}

#[derive(Debug, Default, PartialEq)]
struct Body {
    is_request: bool,
    octets: Vec<u8>,
    end: Option<Result<(), BodyError>>,
}

impl Told {
    /// Without requests that were aborted or lost: whether one is told depends on how much of it
    /// there was when the session looked (HD-28).
    fn but_aborted(mut self) -> Self {
        let bodies = self.bodies.iter();
        let aborted: Vec<_> = bodies
            .filter(|(_, body)| body.is_request && matches!(body.end, Some(Err(_))))
            .map(|(msgno, _)| *msgno)
            .collect();
        self.bodies.retain(|msgno, _| !aborted.contains(msgno));
        self.events.retain(|(about, event)| {
            about.is_none_or(|msgno| !aborted.contains(&msgno))
                && !event.contains("Failed to receive request")
                && !event.starts_with("Cancelled")
        });
        self
    }
}

impl Listener {
    fn new(side: Side) -> Self {
        let mut config = Config::new(side);
        config.subscriptions = true;
        // What was recorded was sent by peers that know no window, and are acknowledged at will.
        config.connection.max_inflight = Some(0);
        config.connection.max_queued = 4 << 20;
        Self {
            session: Session::new(config, side, NOW),
            told: Told::default(),
            open: Vec::new(),
            asked: BTreeMap::new(),
            answers: false,
            sent: Vec::new(),
        }
    }

    /// Sends as many octets, in the same messages, as the recorded client did, so that the ACKs of
    /// its peer and the ids of its replies are about something.
    fn ask_as_recorded(&mut self, messages: &[Value], answers: &[Value]) {
        for message in messages {
            // One sent more than its peer was allowed to parse, and had it acknowledged.
            let acked = answers
                .iter()
                .filter(|event| event[0] == "ack" && event[1] == message["msgno"])
                .filter_map(|event| event[2].as_u64());
            let len = message["body_len"].as_u64().into_iter();
            let len = len.chain(acked).max().unwrap();
            let send = match message["header"]["type"].as_str().unwrap() {
                "request" => self.request(len),
                "notify" => {
                    let send = self.session.notify(NOW).unwrap();
                    self.write(send, len);
                    send
                }
                "subscribe" => {
                    // A list of one topic, or of none, as long as the recorded body.
                    let topic = "t".repeat((len as usize).saturating_sub(4));
                    let topics = [&topic[..]];
                    let topics = &topics[..usize::from(len > 4)];
                    self.session.subscribe(NOW, Some(topics)).unwrap();
                    continue;
                }
                other => panic!("{other}"),
            };
            self.end_as_recorded(send, message);
        }
        self.send();
    }

    /// Has sent as many octets, in as many messages, as the recorded server did, before it is asked
    /// for any.
    fn send_as_recorded(&mut self, messages: &[Value]) {
        for message in messages {
            let send = self.session.notify(NOW).unwrap();
            self.write(send, message["body_len"].as_u64().unwrap());
            self.end_as_recorded(send, message);
        }
        self.send();
    }

    fn end_as_recorded(&mut self, send: SendId, message: &Value) {
        match message["end"].as_str() {
            Some("EOF") => self.session.finish(NOW, send).unwrap(),
            Some(_) => self.session.fail(NOW, send, "gave up").unwrap(),
            None => {}
        }
    }

    fn request(&mut self, len: u64) -> SendId {
        let head = RequestHead::new("Bench.echo");
        let options = RequestOptions::default();
        let (_, send): (ExchangeId, _) = self.session.request(NOW, &head, &options).unwrap();
        self.write(send, len);
        send
    }

    fn write(&mut self, send: SendId, len: u64) {
        let mut octets = Bytes::from(vec![b'x'; len as usize]);
        self.session.write(NOW, send, &mut octets).unwrap();
        assert!(octets.is_empty());
    }

    fn receive(&mut self, octets: &[u8]) {
        self.session.receive(NOW, octets);
        self.send();
    }

    /// The peer closes.
    fn end(&mut self) {
        // What was told before is taken before.
        self.listen();
        self.session.receive_end(NOW, End::Eof);
        self.send();
        self.listen();
    }

    fn send(&mut self) {
        let mut out = Outbox::default();
        while self.session.poll_transmit(NOW, &mut out).is_some() {}
        self.sent.extend(out.take_all());
    }

    /// Takes all events, and all that bodies have.
    fn listen(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.hear(event);
        }
        for id in std::mem::take(&mut self.open) {
            self.read(id);
        }
        self.send();
    }

    fn hear(&mut self, event: Event) {
        let about = match &event {
            Event::Request { body, .. }
            | Event::Notify { body, .. }
            | Event::Reply { body, .. } => Some(body.msgno().0),
            _ => None,
        };
        let told = match event {
            // When these come depends on when bodies are read.
            Event::Readable(_) | Event::Ended(_) | Event::Writable(_) | Event::Room => return,
            Event::Request { id, header, body } => {
                self.asked.insert(body.msgno().0, id);
                self.begin("request", &header, body)
            }
            Event::Notify { header, body } => self.begin("notify", &header, body),
            Event::Reply { id, header, body } => {
                let what = format!("reply to {}", id.request_id());
                self.begin(&what, &header, body)
            }
            Event::Closed(reason) => {
                self.told.closed = Some(reason.clone());
                format!("closed: {reason}")
            }
            other => format!("{other:?}"),
        };
        self.told.events.push((about, told));
    }

    fn begin(&mut self, what: &str, header: &Header, body: RecvId) -> String {
        self.open.push(body);
        let new = Body {
            is_request: what == "request",
            ..Body::default()
        };
        self.told.bodies.insert(body.msgno().0, new);
        format!("{what}: {}", header.as_json())
    }

    fn read(&mut self, id: RecvId) {
        let msgno = id.msgno().0;
        let body = self.told.bodies.get_mut(&msgno).unwrap();
        let end = loop {
            match self.session.read(NOW, id) {
                Read::Data(octets) => body.octets.extend_from_slice(&octets),
                Read::Pending => return self.open.push(id),
                Read::End => break Ok(()),
                Read::Failed(error) => break Err(error),
                Read::Gone => panic!("{msgno} is gone, and its end was not told"),
            }
        };
        body.end = Some(end);
        if let (true, Some(id)) = (self.answers, self.asked.remove(&msgno)) {
            let Some(Ok(())) = body.end else {
                return self.session.abandon(NOW, id);
            };
            let mut octets = Bytes::from(body.octets.clone());
            let reply = self.session.reply(NOW, id, &ReplyHead::default()).unwrap();
            self.session.write(NOW, reply, &mut octets).unwrap();
            self.session.finish(NOW, reply).unwrap();
        }
    }
}

/// Nothing here takes time.
const NOW: Instant = Instant::EPOCH;
