//! What a receiver reports about the packets of one direction (W-14, A-1, A-5).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::bytes::Regex;

use super::{End, Kind, Packet, PacketType, Stream, header};

/// What the receiver knows of the messages it sends itself, which ACK packets are about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Own {
    /// These messages are being sent; every other number is unknown or finished (A-5).
    Known(BTreeMap<u64, OwnMessage>),
    /// Nothing: every ACK that is a decimal number is reported and none is judged.
    Unknown,
}

/// A message the receiver is sending.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OwnMessage {
    /// DATA octets sent so far.
    pub sent: u64,
    /// The highest count acknowledged so far.
    pub acked: u64,
}

/// What happened. `msgno` is the number on the packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A HEADER.
    MessageStart {
        /// Number of the incoming message.
        msgno: u64,
        /// What its header says.
        fields: Box<header::Fields>,
    },
    /// DATA of one message, neighbouring packets taken together, empty ones left out.
    Body {
        /// Number of the incoming message.
        msgno: u64,
        /// The octets.
        octets: Vec<u8>,
    },
    /// An EOF.
    MessageEnd {
        /// Number of the incoming message.
        msgno: u64,
    },
    /// A TXERR.
    MessageFailed {
        /// Number of the incoming message.
        msgno: u64,
        /// Its text, after S-8.
        text: String,
    },
    /// ACKs of one message, neighbouring packets taken together.
    Ack {
        /// Number of our own message.
        msgno: u64,
        /// The highest count.
        highest: u64,
        /// How many ACK packets.
        packets: u64,
    },
    /// A PING, to be answered with a PONG of the same number.
    Ping {
        /// Number on the packet.
        msgno: u64,
    },
    /// A PONG.
    Pong {
        /// Number on the packet.
        msgno: u64,
    },
    /// The connection ends by a violation (W-13). Always the last event.
    Fatal {
        /// First octet of the packet in which it happened.
        offset: usize,
        /// Which rule.
        kind: Kind,
    },
    /// The input ended inside a packet (W-19). Always the last event.
    Truncated {
        /// Octets of the incomplete packet.
        octets: usize,
    },
}

/// The events of a stream received on a fresh connection.
pub fn events(stream: &Stream, own: Own) -> Vec<Event> {
    let mut receiver = Receiver {
        next: 0,
        open: BTreeSet::new(),
        own,
        events: Vec::new(),
    };
    for packet in &stream.packets {
        if let Err(kind) = receiver.packet(packet) {
            receiver.events.push(Event::Fatal {
                offset: packet.offset,
                kind,
            });
            return receiver.events;
        }
    }
    match stream.end {
        End::Clean => {}
        End::Truncated { offset } => {
            receiver.events.push(Event::Truncated {
                octets: stream.noticed_at - offset,
            });
        }
        End::Violation { offset, kind } => receiver.events.push(Event::Fatal { offset, kind }),
    }
    receiver.events
}

struct Receiver {
    /// Number of the next HEADER (W-15).
    next: u64,
    /// Messages with a HEADER and no EOF or TXERR yet.
    open: BTreeSet<u64>,
    own: Own,
    events: Vec<Event>,
}

impl Receiver {
    fn packet(&mut self, packet: &Packet) -> Result<(), Kind> {
        let msgno = packet.msgno;
        match packet.packet_type {
            PacketType::Header => {
                if msgno != self.next {
                    return Err(Kind::MsgnoOutOfSequence);
                }
                let fields = header::parse(&packet.body).map_err(|_| Kind::HeaderNotObject)?;
                self.next += 1;
                self.open.insert(msgno);
                self.events.push(Event::MessageStart {
                    msgno,
                    fields: Box::new(fields),
                });
            }
            PacketType::Data => {
                self.must_be_open(msgno)?;
                if !packet.body.is_empty() {
                    self.body(msgno, &packet.body);
                }
            }
            PacketType::Eof => {
                if !packet.body.is_empty() {
                    return Err(Kind::EofNotEmpty);
                }
                self.must_be_open(msgno)?;
                self.open.remove(&msgno);
                self.events.push(Event::MessageEnd { msgno });
            }
            PacketType::TxErr => {
                self.must_be_open(msgno)?;
                self.open.remove(&msgno);
                let text = txerr_text(&packet.body);
                self.events.push(Event::MessageFailed { msgno, text });
            }
            PacketType::Ack => self.ack(msgno, &packet.body)?,
            PacketType::Ping => self.events.push(Event::Ping { msgno }),
            PacketType::Pong => self.events.push(Event::Pong { msgno }),
        }
        Ok(())
    }

    fn must_be_open(&self, msgno: u64) -> Result<(), Kind> {
        if self.open.contains(&msgno) {
            Ok(())
        } else {
            Err(Kind::NoSuchMessage)
        }
    }

    fn body(&mut self, msgno: u64, more: &[u8]) {
        if let Some(Event::Body {
            msgno: last,
            octets,
        }) = self.events.last_mut()
        {
            if *last == msgno {
                octets.extend_from_slice(more);
                return;
            }
        }
        self.events.push(Event::Body {
            msgno,
            octets: more.to_vec(),
        });
    }

    /// A-5, in its order: unknown number, form, progress, limit.
    fn ack(&mut self, msgno: u64, body: &[u8]) -> Result<(), Kind> {
        let count = match &mut self.own {
            Own::Unknown => std::str::from_utf8(body)
                .ok()
                .and_then(|text| text.parse().ok()),
            Own::Known(messages) => match messages.get_mut(&msgno) {
                None => None,
                Some(message) => {
                    let count = ack_count(body).ok_or(Kind::AckMalformed)?;
                    if count <= message.acked {
                        return Err(Kind::AckNotAdvancing);
                    }
                    if count > message.sent {
                        return Err(Kind::AckBeyondSent);
                    }
                    message.acked = count;
                    Some(count)
                }
            },
        };
        let Some(count) = count else { return Ok(()) };
        if let Some(Event::Ack {
            msgno: last,
            highest,
            packets,
        }) = self.events.last_mut()
        {
            if *last == msgno {
                *highest = count.max(*highest);
                *packets += 1;
                return Ok(());
            }
        }
        self.events.push(Event::Ack {
            msgno,
            highest: count,
            packets: 1,
        });
        Ok(())
    }
}

/// S-8: UTF-8 with replacement; nothing and `0` say nothing.
fn txerr_text(body: &[u8]) -> String {
    match body {
        b"" | b"0" => "unspecified error".to_owned(),
        text => String::from_utf8_lossy(text).into_owned(),
    }
}

/// A-1: `[1-9][0-9]*`, at most 19 digits.
fn ack_count(body: &[u8]) -> Option<u64> {
    if !ACK.is_match(body) {
        return None;
    }
    std::str::from_utf8(body).ok()?.parse().ok()
}

static ACK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u)\A[1-9][0-9]{0,18}\z").expect("the pattern is well-formed"));

#[cfg(test)]
mod tests {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::TestRunner,
    };

    use super::*;
    use crate::{generate, naive::packets, vectors::Vectors};

    fn run(input: &[u8], own: Own) -> Vec<Event> {
        events(&packets::parse(input, 131_072), own)
    }

    fn sending(msgno: u64, sent: u64, acked: u64) -> Own {
        Own::Known(BTreeMap::from([(msgno, OwnMessage { sent, acked })]))
    }

    fn fatal(events: &[Event]) -> Option<Kind> {
        match events.last() {
            Some(Event::Fatal { kind, .. }) => Some(*kind),
            _ => None,
        }
    }

    /// E-12: what the rows that are packets do on a fresh connection.
    #[test]
    fn first_packets_of_a_fresh_connection() {
        let rows: [(&[u8], Kind); 9] = [
            (b"HEADER 1 2\r\n{}END\r\n", Kind::MsgnoOutOfSequence),
            (b"HEADER 0 4\r\nnullEND\r\n", Kind::HeaderNotObject),
            (b"HEADER 0 2\r\n[]END\r\n", Kind::HeaderNotObject),
            (b"HEADER 0 0\r\nEND\r\n", Kind::HeaderNotObject),
            (b"HEADER 0 1\r\n{END\r\n", Kind::HeaderNotObject),
            (b"DATA 0 1\r\nxEND\r\n", Kind::NoSuchMessage),
            (b"EOF 0 0\r\nEND\r\n", Kind::NoSuchMessage),
            (b"TXERR 0 1\r\nxEND\r\n", Kind::NoSuchMessage),
            (b"EOF 0 1\r\nxEND\r\n", Kind::EofNotEmpty),
        ];
        for (input, kind) in rows {
            let events = run(input, Own::Known(BTreeMap::new()));
            assert_eq!(
                events,
                [Event::Fatal { offset: 0, kind }],
                "{:?}",
                String::from_utf8_lossy(input)
            );
        }
        let alive = |input: &[u8]| run(input, Own::Known(BTreeMap::new()));
        assert!(matches!(
            alive(b"HEADER 0 2\r\n{}END\r\n")[..],
            [Event::MessageStart { msgno: 0, .. }]
        ));
        assert!(matches!(
            alive(b"HEADER 00 02\r\n{}END\r\n")[..],
            [Event::MessageStart { msgno: 0, .. }]
        ));
        assert_eq!(alive(b"ACK 7 1\r\n5END\r\n"), []);
        assert_eq!(alive(b"PONG 3 0\r\nEND\r\n"), [Event::Pong { msgno: 3 }]);
        assert_eq!(alive(b"PING 0 3\r\nabcEND\r\n"), [Event::Ping { msgno: 0 }]);
        assert_eq!(alive(b"HEADER 0 2\r\n{"), [Event::Truncated { octets: 13 }]);
    }

    /// E-10, A-5, F-18: ACK bodies with 100 octets sent and 40 acknowledged.
    #[test]
    fn acks_must_be_well_formed_and_advance_within_what_was_sent() {
        let judge = |body: &str| {
            fatal(&run(
                &generate::packet_octets("ACK", 7, body.as_bytes()),
                sending(7, 100, 40),
            ))
        };
        for count in 41..=100 {
            assert_eq!(judge(&count.to_string()), None);
        }
        for body in ["40", "39", "1"] {
            assert_eq!(judge(body), Some(Kind::AckNotAdvancing));
        }
        for body in ["101", "9999999999999999999"] {
            assert_eq!(judge(body), Some(Kind::AckBeyondSent));
        }
        for body in generate::ODD_ACKS {
            assert_eq!(judge(body), Some(Kind::AckMalformed), "{body:?}");
        }
        assert_eq!(judge("50\n"), Some(Kind::AckMalformed));
        // F-19: for a message not being sent, any body is ignored.
        let late = generate::packet_octets("ACK", 8, b"-1");
        assert_eq!(run(&late, sending(7, 100, 40)), []);
    }

    /// S-8: empty and `0` texts are replaced, bad UTF-8 too.
    #[test]
    fn txerr_texts_are_always_texts() {
        let text = |body: &[u8]| {
            let mut input = b"HEADER 0 2\r\n{}END\r\n".to_vec();
            input.extend(generate::packet_octets("TXERR", 0, body));
            match run(&input, Own::Unknown).pop() {
                Some(Event::MessageFailed { msgno: 0, text }) => text,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(text(b""), "unspecified error");
        assert_eq!(text(b"0"), "unspecified error");
        assert_eq!(text("é".as_bytes()), "é");
        assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
    }

    /// W-14, HD-23: empty DATA leaves no trace, but only in an open message.
    #[test]
    fn empty_data_is_ignored() {
        let open =
            b"HEADER 0 2\r\n{}END\r\nDATA 0 1\r\naEND\r\nDATA 0 0\r\nEND\r\nDATA 0 1\r\nbEND\r\n";
        let events = run(open, Own::Unknown);
        assert_eq!(
            events[1..],
            [Event::Body {
                msgno: 0,
                octets: b"ab".to_vec()
            }]
        );
        assert_eq!(
            fatal(&run(b"DATA 0 0\r\nEND\r\n", Own::Unknown)),
            Some(Kind::NoSuchMessage)
        );
    }

    /// W-14: each violation of packet semantics, and a stream without one, do occur among the
    /// generated conversations.
    #[test]
    fn generated_conversations_reach_every_outcome() {
        let mut runner = TestRunner::deterministic();
        let mut missing = vec![
            None,
            Some(Kind::MsgnoOutOfSequence),
            Some(Kind::HeaderNotObject),
            Some(Kind::NoSuchMessage),
            Some(Kind::AckMalformed),
            Some(Kind::AckNotAdvancing),
            Some(Kind::AckBeyondSent),
        ];
        for _ in 0..4096 {
            let input = generate::conversation()
                .new_tree(&mut runner)
                .expect("the strategy rejects nothing")
                .current();
            let events = run(&input, sending(0, 100, 0));
            missing.retain(|kind| events.len() < 8 || *kind != fatal(&events));
        }
        assert_eq!(missing, [], "never after a few good packets");
    }

    /// HD-60: packets, bodies and events of the recorded streams are as recorded.
    #[test]
    fn recorded_streams_have_the_recorded_events() {
        let wire = Vectors::best().wire();
        wire.announce("events, wire");
        for case in &wire.cases {
            for stream in [&case.client, &case.server] {
                let parsed = packets::parse(&stream.bytes, 131_072);
                let triples: Vec<(String, u64, u64)> = parsed
                    .packets
                    .iter()
                    .map(|packet| {
                        (
                            packet.packet_type.word().to_owned(),
                            packet.msgno,
                            packet.body.len() as u64,
                        )
                    })
                    .collect();
                assert_eq!(triples, stream.packets, "{}", case.name);
                let events = events(&parsed, Own::Unknown);
                let summary: Vec<serde_json::Value> = events.iter().map(summary).collect();
                assert_eq!(summary, stream.events, "{}", case.name);
                let left_over = match parsed.end {
                    End::Clean => 0,
                    End::Truncated { offset } | End::Violation { offset, .. } => {
                        stream.bytes.len() - offset
                    }
                };
                assert_eq!(left_over, stream.unparsed_tail, "{}", case.name);
                check_bodies(&events, &stream.messages);
            }
        }
    }

    fn check_bodies(events: &[Event], messages: &[serde_json::Value]) {
        for message in messages {
            let number = message["msgno"]
                .as_u64()
                .expect("every message has a number");
            let body: Vec<u8> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Body { msgno, octets } if *msgno == number => Some(&octets[..]),
                    _ => None,
                })
                .collect::<Vec<_>>()
                .concat();
            assert_eq!(Some(body.len() as u64), message["body_len"].as_u64());
            if let Some(text) = message["body_text"].as_str() {
                assert_eq!(String::from_utf8_lossy(&body), text);
            }
        }
    }

    /// An event in the form of `vectors.json`.
    fn summary(event: &Event) -> serde_json::Value {
        use serde_json::json;
        match event {
            Event::MessageStart { msgno, fields } => {
                let id = fields.request_id.as_ref().map(|id| {
                    serde_json::from_str::<serde_json::Value>(&id.written).expect("an id is JSON")
                });
                json!(["message_start", msgno, fields.message_type, id])
            }
            Event::Body { msgno, octets } => json!(["body", msgno, octets.len()]),
            Event::MessageEnd { msgno } => json!(["message_end", msgno]),
            Event::MessageFailed { msgno, text } => json!(["message_failed", msgno, text]),
            Event::Ack {
                msgno,
                highest,
                packets,
            } => json!(["ack", msgno, highest, packets]),
            Event::Ping { msgno } => json!(["ping", msgno]),
            Event::Pong { msgno } => json!(["pong", msgno]),
            Event::Fatal {
                kind: Kind::PacketTooLarge,
                ..
            } => json!(["fatal", "packet-too-large"]),
            Event::Fatal { kind, .. } => json!(["fatal", format!("{kind:?}")]),
            Event::Truncated { octets } => json!(["truncated", octets]),
        }
    }

    /// HD-60, sections 2 to 4: how the hand-written streams end at our receiver.
    #[test]
    fn hand_written_streams_end_as_the_specification_says() {
        let malformed = Vectors::best().malformed();
        malformed.announce("events, malformed");
        for case in &malformed.cases {
            let own = match (&case.to[..], case.name.starts_with("live-")) {
                ("server", _) => Own::Known(BTreeMap::new()),
                (_, true) => sending(0, 65_536, 0),
                (_, false) => sending(0, 4, 0),
            };
            let events = run(&case.bytes, own);
            let expected = ENDS
                .iter()
                .find(|(to, name, _)| (*to, *name) == (&case.to[..], &case.name[..]))
                .map(|(_, _, kind)| *kind);
            assert_eq!(fatal(&events), expected, "{} to {}", case.name, case.to);
            let cut = matches!(events.last(), Some(Event::Truncated { .. }));
            assert_eq!(cut, case.name == "close-mid-packet", "{}", case.name);
            let bad: Vec<&str> = events
                .iter()
                .filter_map(|event| match event {
                    Event::MessageStart { fields, .. } => fields.bad_field,
                    _ => None,
                })
                .collect();
            let expected: &[&str] = match &case.name[..] {
                "action-number" => &["action"],
                "request-id-float" => &["request_id"],
                _ => &[],
            };
            assert_eq!(bad, expected, "{}", case.name);
        }
    }

    /// Every hand-written stream that ends the connection.
    const ENDS: &[(&str, &str, Kind)] = &[
        ("server", "line-cr-cr-lf", Kind::HeaderLineMalformed),
        ("server", "line-two-spaces", Kind::HeaderLineMalformed),
        ("server", "line-leading-space", Kind::HeaderLineMalformed),
        ("server", "line-tab", Kind::HeaderLineMalformed),
        ("server", "line-two-fields", Kind::HeaderLineMalformed),
        ("server", "line-empty", Kind::HeaderLineMalformed),
        ("server", "line-endless", Kind::HeaderLineMalformed),
        ("server", "type-lowercase", Kind::HeaderLineMalformed),
        ("server", "msgno-plus", Kind::HeaderLineMalformed),
        ("server", "msgno-2p64", Kind::HeaderLineMalformed),
        ("server", "msgno-max", Kind::HeaderLineMalformed),
        ("server", "size-plus", Kind::HeaderLineMalformed),
        ("server", "size-hex", Kind::HeaderLineMalformed),
        ("server", "size-131073", Kind::PacketTooLarge),
        ("server", "size-4GiB", Kind::PacketTooLarge),
        ("server", "size-too-long", Kind::TrailerMalformed),
        ("server", "trailer-lf", Kind::TrailerMalformed),
        ("server", "trailer-missing", Kind::TrailerMalformed),
        ("server", "msgno-starts-at-1", Kind::MsgnoOutOfSequence),
        ("server", "msgno-repeats", Kind::MsgnoOutOfSequence),
        ("server", "header-twice", Kind::MsgnoOutOfSequence),
        ("server", "eof-unknown", Kind::NoSuchMessage),
        ("server", "txerr-unknown", Kind::NoSuchMessage),
        ("server", "eof-twice", Kind::NoSuchMessage),
        ("server", "eof-with-payload", Kind::EofNotEmpty),
        ("server", "header-empty", Kind::HeaderNotObject),
        ("server", "header-array", Kind::HeaderNotObject),
        ("server", "header-string", Kind::HeaderNotObject),
        ("server", "header-number", Kind::HeaderNotObject),
        ("server", "header-trailing", Kind::HeaderNotObject),
        ("server", "header-bad-utf8", Kind::HeaderNotObject),
        ("client", "msgno-starts-at-1", Kind::MsgnoOutOfSequence),
        ("client", "data-unknown", Kind::NoSuchMessage),
        ("client", "eof-unknown", Kind::NoSuchMessage),
        ("client", "ack-zero", Kind::AckMalformed),
        ("client", "ack-twice", Kind::AckNotAdvancing),
        ("client", "ack-text", Kind::AckMalformed),
        ("client", "type-packet-unknown", Kind::UnknownPacketType),
        ("client", "data-131073", Kind::PacketTooLarge),
        ("client", "live-ack-past-end", Kind::AckBeyondSent),
        ("client", "live-ack-zero", Kind::AckMalformed),
        ("client", "live-ack-back", Kind::AckNotAdvancing),
        ("client", "live-ack-text", Kind::AckMalformed),
        ("client", "live-ack-leading-zero", Kind::AckMalformed),
        ("client", "live-ack-trailing-text", Kind::AckMalformed),
        ("client", "live-ack-negative", Kind::AckMalformed),
    ];
}
