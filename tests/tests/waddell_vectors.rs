//! The waddell machines against what the original server and its clients sent (HD-60).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use scamp_proto::sim::flock::Hall;
use scamp_proto::waddell::{
    Client, ClientConfig, ClientEvent, Content, Frame, Outlook, Peer, PeerConfig, PeerEvent,
    PeerId, Reconnect, ReconnectConfig, RouterConfig, TopicId,
};
use scamp_proto::{Duplex, End, Instant, Outbox, Rng};
use scamp_tests::vectors::{Vectors, decode_base64};
use serde_json::Value;

const NOW: Instant = Instant::EPOCH;
const INDEX: &str = "waddell/index.json";

/// Whole, octet by octet, and thrice at random.
const CUTS: [u64; 5] = [0, 1, 2, 3, 4];

/// The lengths of the pieces in which a stream comes.
fn pieces(octets: &[u8], cut: u64) -> Vec<&[u8]> {
    let mut rng = Rng::new(cut);
    let mut rest = octets;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let len = match cut {
            0 => rest.len(),
            1 => 1,
            _ => {
                let most = 1 << rng.below(14);
                1 + rng.below(most) as usize
            }
        };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        all.push(piece);
        rest = after;
    }
    all
}

fn id(value: &Value) -> PeerId {
    value.as_str().unwrap().parse().unwrap()
}

fn topic(frame: &Value) -> TopicId {
    TopicId(u16::try_from(frame["topic"].as_u64().unwrap()).unwrap())
}

fn body(frame: &Value) -> Vec<u8> {
    let body = &frame["body"];
    match body["b64"].as_str() {
        Some(text) => decode_base64(text),
        None => {
            assert_eq!(body["formula"], "(7*i+3) mod 256");
            let len = body["len"].as_u64().unwrap();
            (0..len).map(|i| ((7 * i + 3) % 256) as u8).collect()
        }
    }
}

fn sent(machine: &mut dyn Duplex) -> Vec<u8> {
    let mut out = Outbox::default();
    while machine.poll_transmit(NOW, &mut out).is_some() {}
    out.take_all()
}

fn wire(frame: Frame) -> Vec<u8> {
    let mut out = Outbox::default();
    frame.encode(&mut out);
    out.take_all()
}

/// The octets of frames as the index describes them.
fn frames(list: &Value) -> Vec<u8> {
    let list = list.as_array().unwrap().iter();
    list.flat_map(|frame| {
        let from = ["id", "from"].map(|key| &frame[key]);
        let from = id(from.into_iter().find(|id| !id.is_null()).unwrap());
        wire(Frame::message(from, topic(frame), &[&body(frame)]).unwrap())
    })
    .collect()
}

/// HD-60, WD-20…WD-35, WD-44: what each peer sent to the original server makes ours send, octet for
/// octet, what the original sent, but where a requirement says otherwise; in any cut.
#[test]
fn recorded_sessions_through_the_server() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let sessions = vectors.list(INDEX, "sessions");
        sessions.announce("waddell sessions, through the server");
        for session in &sessions.cases {
            for cut in CUTS {
                replay(&vectors, session, cut);
            }
        }
    }
}

fn replay(vectors: &Vectors, session: &Value, cut: u64) {
    let name = session["name"].as_str().unwrap();
    let file = |direction: &Value| {
        vectors.file(&format!("waddell/{}", direction["file"].as_str().unwrap()))
    };
    let config = PeerConfig {
        max_frame: session["max_frame"].as_u64().unwrap() as usize,
        ..PeerConfig::default()
    };
    let mut hall = Hall::new(RouterConfig::default(), config);
    let connections = session["connections"].as_array().unwrap();
    let key = |label: &Value| {
        let place = connections.iter().position(|one| one["label"] == *label);
        place.unwrap()
    };
    let mut received: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for step in session["timeline"].as_array().unwrap() {
        let key = key(&step["conn"]);
        let connection = &connections[key];
        let wire = u32::try_from(key).unwrap();
        received.entry(key).or_insert_with(|| {
            // Ids are random, so ours may as well be the recorded ones.
            let own = id(&session["ids"][step["conn"].as_str().unwrap()]);
            let joined = hall.accept(NOW, wire, || own.octets());
            assert_eq!(joined, Ok(own), "{name}: WD-9");
            Vec::new()
        });
        match step["dir"].as_str().unwrap() {
            "c2s" => {
                let from = step["off"].as_u64().unwrap() as usize;
                let to = from + step["len"].as_u64().unwrap() as usize;
                for piece in pieces(&file(&connection["c2s"])[from..to], cut) {
                    hall.peer(wire).unwrap().receive(NOW, piece);
                    hall.settle(NOW);
                }
            }
            "close" => hall.peer(wire).unwrap().receive_end(NOW, End::Eof),
            "end" if connection["ended_by"] == "server" => hall.router.close(),
            "end" => assert!(hall.peer(wire).unwrap().is_closed(), "{name}"),
            _ => {}
        }
        hall.settle(NOW);
        for (key, octets) in &mut received {
            if let Some(peer) = hall.peer(u32::try_from(*key).unwrap()) {
                octets.extend(sent(peer));
            }
        }
        hall.settle(NOW);
    }
    for (key, octets) in &received {
        let connection = &connections[*key];
        let differs = session["differs"].as_array().unwrap().iter();
        let mut differs = differs
            .filter(|differs| differs["connection"] == connection["label"])
            .map(|differs| &differs["s2c_frames"]);
        let expected = match differs.next_back() {
            Some(list) => frames(list),
            None => file(&connection["s2c"]),
        };
        assert!(
            *octets == expected,
            "{name}: {}, cut {cut}",
            connection["label"]
        );
    }
    assert!(hall.router.is_empty(), "{name}: WD-22");
}

/// HD-60, WD-51, WD-55, WD-57: what the original server sent to each client is understood by ours as it
/// was recorded, in any cut; and what the original's clients sent is what ours sends.
#[test]
fn recorded_sessions_through_clients() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let sessions = vectors.list(INDEX, "sessions");
        sessions.announce("waddell sessions, through clients");
        for session in &sessions.cases {
            for connection in session["connections"].as_array().unwrap() {
                for cut in CUTS {
                    listen(&vectors, connection, cut);
                }
                speak(&vectors, connection);
            }
        }
    }
}

fn listen(vectors: &Vectors, connection: &Value, cut: u64) {
    let s2c = &connection["s2c"];
    let octets = vectors.file(&format!("waddell/{}", s2c["file"].as_str().unwrap()));
    let mut client = Client::new(ClientConfig::default(), NOW);
    let (mut told, mut malformed) = (Vec::new(), 0);
    for piece in pieces(&octets, cut) {
        client.receive(NOW, piece);
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Malformed { count, .. } => malformed += count,
                event => told.push(event),
            }
        }
    }
    let list = s2c["frames"].as_array().unwrap();
    let bad = list.iter().filter(|frame| frame["kind"] == "malformed");
    assert_eq!(malformed, bad.count() as u64, "{}", s2c["file"]);
    let good: Vec<_> = list
        .iter()
        .filter(|frame| frame["kind"] != "malformed")
        .collect();
    assert_eq!(told.len(), good.len(), "{}", s2c["file"]);
    for (event, frame) in told.iter().zip(good) {
        match event {
            ClientEvent::Assigned(own) => assert_eq!(*own, id(&frame["id"])),
            ClientEvent::Message(message) => {
                assert_eq!(
                    (message.from, message.topic),
                    (id(&frame["from"]), topic(frame))
                );
                assert_eq!(message.body, body(frame));
            }
            other => panic!("{}: {other:?}", s2c["file"]),
        }
    }
}

fn speak(vectors: &Vectors, connection: &Value) {
    let c2s = &connection["c2s"];
    let list = c2s["frames"].as_array().unwrap();
    if list.iter().any(|frame| frame["kind"] == "malformed") || !c2s["incomplete_hex"].is_null() {
        return;
    }
    let mut client = Client::new(ClientConfig::default(), NOW);
    client.receive(NOW, &wire(Frame::assignment(PeerId::from_octets([7; 16]))));
    let mut octets = Vec::new();
    for frame in list {
        match frame["kind"].as_str().unwrap() {
            "keepalive" => client.keepalive(NOW).unwrap(),
            _ => client
                .send(NOW, id(&frame["to"]), topic(frame), &[&body(frame)])
                .unwrap(),
        }
        octets.extend(sent(&mut client));
    }
    let expected = vectors.file(&format!("waddell/{}", c2s["file"].as_str().unwrap()));
    assert!(octets == expected, "{}", c2s["file"]);
}

/// HD-60, WD-1…WD-6, WD-33, WD-57: each recorded frame means what the index says, to its receiver.
#[test]
fn single_frames() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let list = vectors.list(INDEX, "frames");
        list.announce("waddell frames");
        for frame in &list.cases {
            let hex = frame["bytes_hex"].as_str().unwrap();
            let octets: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            let meaning = &frame["meaning"];
            let kind = meaning["kind"].as_str().unwrap();
            let expected = (!["keepalive", "malformed"].contains(&kind)).then(|| {
                let names = ["to", "from", "id"].map(|key| &meaning[key]);
                let name = names.into_iter().find(|name| !name.is_null()).unwrap();
                Frame::message(id(name), topic(meaning), &[&body(meaning)]).unwrap()
            });
            match frame["direction"] == "c2s" {
                true => to_server(frame, &octets, kind, expected),
                false => to_client(frame, &octets, kind, expected),
            }
        }
    }
}

fn to_server(frame: &Value, octets: &[u8], kind: &str, expected: Option<Frame>) {
    let mut peer = Peer::new(PeerConfig::default(), NOW);
    peer.assign(NOW, PeerId::from_octets([1; 16]));
    peer.receive(NOW, octets);
    match (kind, peer.poll_event()) {
        ("keepalive", None) => assert_eq!(Content::decode(&octets[2..]), Content::Keepalive),
        ("malformed", Some(PeerEvent::Malformed { length, count: 1 })) => {
            assert_eq!(length, octets.len() - 2);
        }
        ("message", Some(PeerEvent::Message(message))) => assert_eq!(Some(message), expected),
        (_, event) => panic!("{}: {event:?}", frame["name"]),
    }
    assert_eq!(peer.poll_event(), None);
}

fn to_client(frame: &Value, octets: &[u8], kind: &str, expected: Option<Frame>) {
    let mut client = Client::new(ClientConfig::default(), NOW);
    if frame["first"] == false {
        client.receive(NOW, &wire(Frame::assignment(PeerId::from_octets([1; 16]))));
        client.poll_event();
    }
    client.receive(NOW, octets);
    match (kind, client.poll_event()) {
        ("assignment", Some(ClientEvent::Assigned(id))) => {
            assert_eq!(Some(id), expected.map(|frame| frame.id()));
        }
        ("malformed", Some(ClientEvent::Malformed { length, count: 1 })) => {
            assert_eq!(length, octets.len() - 2);
        }
        ("message", Some(ClientEvent::Message(message))) => {
            let expected = expected.unwrap();
            assert_eq!(
                (message.from, message.topic),
                (expected.id(), expected.topic())
            );
            assert_eq!(message.body, expected.body());
        }
        (_, event) => panic!("{}: {event:?}", frame["name"]),
    }
    assert_eq!(client.poll_event(), None);
}

/// HD-60, WD-7, WD-8, WD-9: texts of ids.
#[test]
fn texts_of_ids() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let list = vectors.list(INDEX, "ids");
        list.announce("waddell ids");
        for case in &list.cases {
            let text = case["text"].as_str().unwrap();
            let read = text.parse::<PeerId>();
            assert_eq!(read.is_ok(), case["accept"] == true, "{text:?}");
            let Ok(id) = read else { continue };
            let hex: String = id.octets().iter().map(|o| format!("{o:02x}")).collect();
            assert_eq!(hex, case["bytes_hex"], "{text:?}");
            assert_eq!(id.to_string(), case["written"].as_str().unwrap_or(text));
            if let Some(version4) = case["version4"].as_bool() {
                assert_eq!(PeerId::from_random(id.octets()) == id, version4, "{text:?}");
            }
        }
    }
}

/// HD-60, WD-70…WD-73: the recorded outcomes lead to dialling at the recorded times.
#[test]
fn times_of_dialling() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let list = vectors.list(INDEX, "reconnect");
        list.announce("waddell reconnect");
        for case in &list.cases {
            let config = ReconnectConfig {
                attempts: u32::try_from(case["reconnect_attempts"].as_u64().unwrap()).unwrap(),
                ..ReconnectConfig::default()
            };
            let mut reconnect = Reconnect::new(config, NOW);
            let mut now = NOW;
            let (mut dialled, mut told) = (Vec::new(), Vec::new());
            let mut tell = |at: Instant, event: &str| {
                told.push((at.since_epoch().as_millis() as u64, event.to_owned()));
            };
            for outcome in case["outcomes"].as_array().unwrap() {
                now = now.max(reconnect.poll_timeout().unwrap());
                let generation = reconnect.poll_dial(now).unwrap();
                dialled.push(now.since_epoch().as_millis() as u64);
                if let Some(lives) = outcome["lives_ms"].as_u64() {
                    assert!(reconnect.connected(now, generation));
                    tell(now, "Assigned");
                    now = now + Duration::from_millis(lives);
                    assert_eq!(reconnect.lost(now, generation), Outlook::Again);
                    tell(now, "Disconnected");
                } else if reconnect.failed(now, generation) == Outlook::GaveUp {
                    tell(now, "GaveUp");
                }
            }
            let expected = case["dial_at_ms"].as_array().unwrap().iter();
            let expected: Vec<_> = expected.map(|at| at.as_u64().unwrap()).collect();
            assert_eq!(dialled, expected, "{}", case["name"]);
            let events = case["events"].as_array().unwrap().iter();
            let expected: Vec<_> = events
                .map(|e| {
                    (
                        e["at"].as_u64().unwrap(),
                        e["event"].as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            assert_eq!(told, expected, "{}", case["name"]);
        }
    }
}
