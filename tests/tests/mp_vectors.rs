//! MessagePasser against what the original sent, and what it accepted (mp.md §13).

#![allow(clippy::unwrap_used)]

#[path = "support/cuts.rs"]
mod cuts;

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use scamp_proto::mp::{
    Data, DecodeLimits, Decoder, Encoder, Encoding, Message, Meta, Refusal, ServerConfig,
    SessionId, Text,
};
use scamp_proto::sim::mp::Hall;
use scamp_proto::{Duplex, End, Instant, Outbox};
use scamp_tests::vectors::{Vectors, decode_base64};
use serde_json::Value;

use cuts::cuts;

/// MP-12, MP-20…MP-36: every input gives what the specification says, however it is cut.
#[test]
fn inputs_are_decoded_as_specified_in_any_cut() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let cases = vectors.list("mp/index.json", "decode");
        cases.announce("mp decode");
        let mut runs = 0;
        for case in &cases.cases {
            let input = octets(&vectors, case, "hex", "file");
            let encoding = encoding(&case["codec"]);
            let expected = messages(&case["ours"]["messages"], encoding);
            let then = case["ours"]["then"].as_str().unwrap();
            for cut in cuts(input.len()) {
                let (got, end) = decode(encoding, &input, &cut);
                let what = format!("{} in {} pieces", case["name"], cut.len());
                assert_eq!(readable(&got, encoding), expected, "{what}");
                assert_eq!(end, then, "{what}");
                runs += 1;
            }
        }
        println!("{runs} runs");
        assert!(cases.cases.len() >= 89);
    }
}

/// MP-10, MP-11, MP-27, MP-28, MP-29: our encoder writes exactly these octets.
#[test]
fn messages_are_encoded_to_the_octet() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let cases = vectors.list("mp/index.json", "encode");
        cases.announce("mp encode");
        for case in &cases.cases {
            for (encoding, key) in [(Encoding::Json, "json"), (Encoding::Gob, "gob65")] {
                let mut encoder = Encoder::new(encoding);
                let mut wanted = Vec::new();
                let mut got = Vec::new();
                for (at, message) in array(&case["messages"]).iter().enumerate() {
                    wanted.extend(piece(case, key, at));
                    let mut out = Outbox::default();
                    encoder.encode(&message_of(message), &mut out);
                    got.extend(out.take_all());
                }
                wanted.extend(whole(&vectors, case, key));
                assert_eq!(got, wanted, "{} as {key}", case["name"]);
            }
        }
        assert!(cases.cases.len() >= 11);
    }
}

/// MP-40: the first octets decide.
#[test]
fn the_first_octets_decide() {
    let cases = Vectors::best().list("mp/index.json", "sniff");
    cases.announce("mp sniff");
    for case in &cases.cases {
        let begin = hex(case["hex"].as_str().unwrap());
        let decision = match Encoding::sniff(&begin) {
            Ok(None) => "need_more".to_owned(),
            Ok(Some(Encoding::Json)) => "json".to_owned(),
            Ok(Some(Encoding::Gob)) => "gob".to_owned(),
            Err(error) => match error {
                scamp_proto::mp::DecodeError::TlsOnPlainPort => "tls_on_plain_port".to_owned(),
                scamp_proto::mp::DecodeError::UnknownFormat => "unknown_format".to_owned(),
                other => format!("{other:?}"),
            },
        };
        assert_eq!(decision, case["decision"], "{case}");
    }
    assert!(cases.cases.len() >= 32);
}

/// MP-45, MP-2, MP-56: what one client writes in one encoding another reads in any.
#[test]
fn routing_crosses_encodings_to_the_octet() {
    let cases = Vectors::best().list("mp/index.json", "cross");
    cases.announce("mp cross");
    for case in &cases.cases {
        for (input, output) in [
            ("json", "json"),
            ("json", "gob65"),
            ("gob65", "gob65"),
            ("gob65", "json"),
        ] {
            let to = if output == "json" { "json" } else { "gob65" };
            let wanted = match (input, to) {
                ("json", "json") => "json_to_json_hex",
                ("json", _) => "json_to_gob65_hex",
                (_, "json") => "gob_to_json_hex",
                _ => "gob_to_gob65_hex",
            };
            let mut hall = Hall::new(ServerConfig::default(), |_, _| Some(Ok(())));
            let [al, bob] = [("from", input), ("to", output)].map(|(who, encoding)| {
                let id = hall.accept(Instant::EPOCH, None);
                let auth = Message::new(Meta::AUTH, case[who].as_str().unwrap(), "", Data::Absent);
                hall.receive(id, &encoded(encoding, &[auth]));
                assert!(!hall.transmit(id, usize::MAX).is_empty());
                id
            });
            hall.receive(al, &hex(case[format!("{input}_in_hex")].as_str().unwrap()));
            let got = hall.transmit(bob, usize::MAX);
            assert_eq!(
                got,
                hex(case[wanted].as_str().unwrap()),
                "{} {wanted}",
                case["name"]
            );
        }
    }
    assert!(cases.cases.len() >= 7);
}

/// MP-30, MP-50…MP-73: recorded clients are served as the original served them, except where the
/// specification deviates; however what they say is cut.
#[test]
fn recorded_sessions_are_served_alike_in_any_cut() {
    for vectors in [Vectors::committed(), Vectors::best()] {
        let cases = vectors.list("mp/index.json", "sessions");
        cases.announce("mp sessions");
        for case in &cases.cases {
            for cutting in 0..5 {
                replay(&vectors, case, cutting);
            }
        }
        assert!(cases.cases.len() >= 38);
    }
}

/// MP-10…MP-36: the recorded streams hold the messages that the index lists.
#[test]
fn recorded_streams_hold_what_is_listed() {
    let vectors = Vectors::best();
    let cases = vectors.list("mp/index.json", "sessions");
    for case in &cases.cases {
        let encoding = encoding(&case["codec"]);
        for connection in array(&case["connections"]) {
            for direction in ["c2s", "s2c"] {
                let stream = recorded(&vectors, &connection[direction]);
                let wanted = messages(&connection[direction]["messages"], encoding);
                for cut in cuts(stream.len()) {
                    let (got, _) = decode(encoding, &stream, &cut);
                    assert_eq!(
                        readable(&got, encoding),
                        wanted,
                        "{} {direction}",
                        case["name"]
                    );
                }
            }
        }
    }
}

/// Plays the recorded timeline into our server.
fn replay(vectors: &Vectors, case: &Value, cutting: usize) {
    let name = format!("{} cut {cutting}", case["name"]);
    let encoding = encoding(&case["codec"]);
    // The names and secrets that the recorded server took.
    let mut hall = match case["server_secret"].as_str().unwrap() {
        "" => Hall::new(ServerConfig::default(), |_, _| Some(Ok(()))),
        _ => Hall::new(ServerConfig::default(), |_, secret| {
            Some(match &secret.to_bytes()[..] {
                b"hunter2" => Ok(()),
                _ => Err(Refusal::NotRecognized),
            })
        }),
    };
    let mut ids: BTreeMap<String, SessionId> = BTreeMap::new();
    let mut said: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut ended = Vec::new();
    for step in array(&case["timeline"]) {
        let label = step["conn"].as_str().unwrap().to_owned();
        let id = *ids
            .entry(label.clone())
            .or_insert_with(|| hall.accept(Instant::EPOCH, None));
        match step["dir"].as_str().unwrap() {
            "c2s" => {
                let connections = array(&case["connections"]).iter();
                let connection = connections
                    .clone()
                    .find(|one| one["label"] == *label)
                    .unwrap();
                let stream = recorded(vectors, &connection["c2s"]);
                let from = step["off"].as_u64().unwrap() as usize;
                let piece = &stream[from..from + step["len"].as_u64().unwrap() as usize];
                for range in &cuts(piece.len())[cutting] {
                    hall.receive(id, &piece[range.clone()]);
                }
            }
            "close" => {
                hall.end(id, End::Eof);
                ended.push(label);
            }
            // The server goes away, or it has had enough; what it says is compared at the end.
            _ => {}
        }
        for (label, id) in &ids {
            if !ended.contains(label) {
                said.entry(label.clone())
                    .or_default()
                    .extend(hall.transmit(*id, usize::MAX));
            }
        }
    }
    for connection in array(&case["connections"]) {
        let label = connection["label"].as_str().unwrap();
        let differs = case["differs"].as_array().into_iter().flatten();
        let differs = differs.clone().find(|one| one["connection"] == label);
        let wanted = match differs {
            Some(differs) => &differs["s2c_messages"],
            None => &connection["s2c"]["messages"],
        };
        let stream = said.get(label).cloned().unwrap_or_default();
        let (got, end) = decode(encoding, &stream, std::slice::from_ref(&(0..stream.len())));
        assert_eq!(end, "end", "{name} {label}");
        assert_eq!(
            readable(&got, encoding),
            messages(wanted, encoding),
            "{name} {label}"
        );
        let is_ours = connection["s2c"]["gob_type_id"] != 64;
        if differs.is_none() && is_ours {
            let wanted = recorded(vectors, &connection["s2c"]);
            assert_eq!(stream, wanted, "{name} {label}, to the octet");
        }
        let is_refused =
            connection["ended_by"] == "server" && case["scenario"] != "server_shutdown";
        if is_refused {
            assert!(hall.sessions[&ids[label]].is_drained(), "{name} {label}");
        }
    }
}

/// What a decoder makes of a stream: messages, and how it ends.
fn decode(encoding: Encoding, input: &[u8], cut: &[Range<usize>]) -> (Vec<Message>, &'static str) {
    let mut decoder = Decoder::new(encoding, DecodeLimits::default());
    let mut messages = Vec::new();
    for range in cut {
        let mut piece = &input[range.clone()];
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => {
                    assert!(piece.is_empty());
                    break;
                }
                Err(_) => return (messages, "error"),
            }
        }
    }
    let end = if decoder.is_between() {
        "end"
    } else {
        "need_more"
    };
    (messages, end)
}

/// A message with what its data must be: the octets, or their length.
#[derive(Debug, PartialEq)]
struct Wanted {
    meta: u8,
    other_client: String,
    connection_id: String,
    data: Option<Vec<u8>>,
}

fn readable(messages: &[Message], encoding: Encoding) -> Vec<Wanted> {
    let readable = |message: &Message| Wanted {
        meta: message.meta.0,
        other_client: message.other_client.to_string(),
        connection_id: message.connection_id.to_string(),
        data: (!is_nothing(&message.data, encoding)).then(|| message.data.to_bytes().to_vec()),
    };
    messages.iter().map(readable).collect()
}

/// Gob cannot tell absent from empty (MP-2).
fn is_nothing(data: &Data, encoding: Encoding) -> bool {
    data.is_absent() || encoding == Encoding::Gob && data.is_empty()
}

fn messages(list: &Value, encoding: Encoding) -> Vec<Wanted> {
    let messages: Vec<_> = array(list).iter().map(message_of).collect();
    readable(&messages, encoding)
}

fn message_of(value: &Value) -> Message {
    let text = |key: &str| match value[key].as_str() {
        Some(text) => Text::from(text),
        None => Text::from_utf8(hex(value[format!("{key}_hex")].as_str().unwrap()).into()).unwrap(),
    };
    let data = match &value["data"] {
        Value::Null => Data::Absent,
        data => Data::Octets(match (data["b64"].as_str(), data["len"].as_u64()) {
            (Some(base64), _) => decode_base64(base64).into(),
            (None, Some(len)) => (0..len).map(|i| ((7 * i + 3) % 256) as u8).collect(),
            _ => panic!("{data}"),
        }),
    };
    let meta = Meta(value["meta"].as_u64().unwrap() as u8);
    Message::new(meta, text("other_client"), text("connection_id"), data)
}

fn encoded(encoding: &str, messages: &[Message]) -> Vec<u8> {
    let mut encoder = Encoder::new(match encoding {
        "json" => Encoding::Json,
        _ => Encoding::Gob,
    });
    let mut out = Outbox::default();
    for message in messages {
        encoder.encode(message, &mut out);
    }
    out.take_all()
}

fn recorded(vectors: &Vectors, stream: &Value) -> Bytes {
    match stream["file"].as_str() {
        Some(file) if vectors.has(&format!("mp/{file}")) => {
            vectors.file(&format!("mp/{file}")).into()
        }
        _ => Bytes::new(),
    }
}

/// One piece of a list in hexadecimal, where there is one.
fn piece(case: &Value, key: &str, at: usize) -> Vec<u8> {
    match &case[format!("{key}_hex")] {
        Value::Array(pieces) => hex(pieces[at].as_str().unwrap()),
        _ => Vec::new(),
    }
}

/// All pieces together, where they are in a file.
fn whole(vectors: &Vectors, case: &Value, key: &str) -> Vec<u8> {
    match case[format!("{key}_file")].as_str() {
        Some(file) => vectors.file(&format!("mp/{file}")),
        None => Vec::new(),
    }
}

fn octets(vectors: &Vectors, case: &Value, hex_key: &str, file_key: &str) -> Vec<u8> {
    match (case[hex_key].as_str(), case[file_key].as_str()) {
        (Some(text), _) => hex(text),
        (None, Some(file)) => vectors.file(&format!("mp/{file}")),
        (None, None) => panic!("{case}"),
    }
}

fn encoding(codec: &Value) -> Encoding {
    match codec.as_str().unwrap() {
        "json" => Encoding::Json,
        "gob" => Encoding::Gob,
        other => panic!("{other}"),
    }
}

fn array(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {value}"))
}

fn hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}
