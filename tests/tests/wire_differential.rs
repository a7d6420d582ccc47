//! The wire and the connection, compared with the naive implementation (HD-59, HD-60, W-20).

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use proptest::{collection::vec, prelude::*, sample::Index};
use scamp_proto::{
    BodyError, CloseReason, Connection, Duplex, End as StreamEnd, Header, Instant, Outbox,
    ViolationKind,
    connection::{Config, Event as ConnectionEvent, Read},
    wire::{Decoded, LineDecoder, Step, TRAILER, check_trailer, decode},
};
use scamp_tests::{
    automaton, generate,
    naive::{
        End, Packet, PacketType, Stream, header, packets,
        semantics::{self, Event, Own, OwnMessage},
    },
    vectors::Vectors,
};

/// The default of `wire.max_packet_body` (W-6).
const MAX_BODY: u64 = 131_072;

/// E-12: the specification's examples, cut everywhere.
#[test]
fn wire_agrees_on_the_specification_s_examples() {
    for row in generate::E12 {
        for len in 0..=row.len() {
            compare_wire(&row[..len], MAX_BODY, &[]);
            compare_connection(&row[..len], &[]);
        }
    }
}

/// HD-60: recorded and hand-written streams.
#[test]
fn wire_agrees_on_recorded_streams() {
    let wire = Vectors::best().wire();
    wire.announce("wire");
    for case in &wire.cases {
        for stream in [&case.client, &case.server] {
            compare_wire(&stream.bytes, MAX_BODY, &[7, 4096]);
            compare_connection(&stream.bytes, &[]);
            compare_connection(
                &stream.bytes,
                &[stream.bytes.len() / 2, stream.bytes.len() / 3],
            );
        }
    }
    let malformed = Vectors::best().malformed();
    malformed.announce("malformed");
    for case in &malformed.cases {
        compare_wire(&case.bytes, MAX_BODY, &[]);
        compare_connection(&case.bytes, &[]);
        compare_connection(
            &case.bytes,
            &(0..case.bytes.len().min(4096)).collect::<Vec<_>>(),
        );
    }
}

/// HD-65: every line of a few symbols.
#[test]
fn wire_agrees_on_every_short_line() {
    let symbols = if cfg!(debug_assertions) { 4 } else { 6 };
    for start in generate::STARTS {
        generate::for_each_line(start, symbols, &mut |line| compare_wire(line, 30, &[]));
    }
}

/// HD-60: the fields of recorded and hand-written headers.
#[test]
fn headers_agree_on_recorded_streams() {
    let vectors = Vectors::best();
    let wire = vectors.wire();
    let recorded = wire
        .cases
        .iter()
        .flat_map(|case| [&case.client.bytes, &case.server.bytes]);
    let malformed = vectors.malformed();
    let mut seen = 0;
    for stream in recorded.chain(malformed.cases.iter().map(|case| &case.bytes)) {
        for packet in packets::parse(stream, MAX_BODY).packets {
            if packet.packet_type == PacketType::Header {
                assert_eq!(fast_header(&packet.body), naive_header(&packet.body));
                seen += 1;
            }
        }
    }
    println!("headers: {seen}");
    assert!(seen > 200);
}

/// H-1, F-35: 128 levels and 129, of arrays, objects and both.
#[test]
fn headers_agree_on_depth() {
    for levels in [1, 126, 127, 128, 129, 1000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            for inner in ["0", "[]", "{}", "[0]"] {
                let depth = levels / open.matches(['[', '{']).count();
                let text = format!(
                    "{{\"x\":{}{inner}{}}}",
                    open.repeat(depth),
                    close.repeat(depth)
                );
                assert_eq!(
                    fast_header(text.as_bytes()),
                    naive_header(text.as_bytes()),
                    "{text}"
                );
            }
        }
    }
}

/// Hardening 4.2, HD-5: every text field at its limit and one octet over.
#[test]
fn headers_agree_on_lengths() {
    for name in [
        "type",
        "action",
        "envelope",
        "ticket",
        "identifying_token",
        "terminal",
        "sector",
        "error",
        "error_code",
        "request_id",
    ] {
        for limit in [62, 64, 4096, 65_536] {
            for len in [limit - 1, limit, limit + 1] {
                for (letter, width) in [("a", 1), ("é", 2), ("\\u0061", 1)] {
                    let text = format!("{{\"{name}\":\"{}\"}}", letter.repeat(len / width));
                    assert_eq!(
                        fast_header(text.as_bytes()),
                        naive_header(text.as_bytes()),
                        "{name} {len}"
                    );
                }
            }
        }
    }
}

/// F-35, H-1…H-5: every field with every kind of value, alone and beside an error code.
#[test]
fn headers_agree_on_every_value_of_every_field() {
    for key in generate::KEYS {
        for value in generate::VALUES {
            for more in ["", ",\"error_code\":\"x\"", ",\"x\":null"] {
                let text = format!("{{{key}:{value}{more}}}");
                let (fast, naive) = (fast_header(text.as_bytes()), naive_header(text.as_bytes()));
                assert_eq!(fast, naive, "{text}");
            }
        }
    }
}

proptest! {
    #![proptest_config(generate::config())]

    /// HD-59: packets, kind and offset of the end, and the octet that brings it.
    #[test]
    fn wire_agrees_on_mutated_streams(
        (input, max_body) in generate::mutated_stream(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        compare_wire(&input, max_body, &positions(&input, &cuts));
    }

    /// HD-59: what a connection reports of a conversation, whole, in pieces and octet by octet.
    #[test]
    fn connections_agree_on_conversations(
        input in generate::conversation(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        compare_connection(&input, &[]);
        compare_connection(&input, &positions(&input, &cuts));
        compare_connection(&input, &(0..input.len()).collect::<Vec<_>>());
    }

    /// HD-59: what a connection reports of packets that are not quite right.
    #[test]
    fn connections_agree_on_mutated_streams(
        (input, _) in generate::mutated_stream(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        compare_connection(&input, &positions(&input, &cuts));
    }

    /// HD-59, F-35: header fields.
    #[test]
    fn headers_agree(text in generate::header_text()) {
        prop_assert_eq!(fast_header(text.as_bytes()), naive_header(text.as_bytes()));
    }

    /// F-33: header bodies with an octet changed, so that they may not even be UTF-8.
    #[test]
    fn headers_agree_on_damaged_text(text in generate::header_text(), at in any::<Index>(), octet in any::<u8>()) {
        let mut body = text.into_bytes();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = octet;
        }
        prop_assert_eq!(fast_header(&body), naive_header(&body));
    }
}

/// Offsets in `input`, in order.
fn positions(input: &[u8], cuts: &[Index]) -> Vec<usize> {
    let mut positions: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    positions.sort_unstable();
    positions
}

/// `input` cut at these offsets; those out of order or range cut nothing.
fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for &cut in cuts.iter().filter(|&&cut| cut <= input.len()) {
        if cut >= from {
            pieces.push(&input[from..cut]);
            from = cut;
        }
    }
    pieces.push(&input[from..]);
    pieces
}

/// All ways to read packets say the same.
fn compare_wire(input: &[u8], max_body: u64, cuts: &[usize]) {
    let naive = packets::parse(input, max_body);
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    assert_eq!(
        automaton::parse(input, max_body),
        naive,
        "automaton: {shown:?}"
    );
    let limit = usize::try_from(max_body).expect("a small number");

    let (packets, end) = decode_all(input, limit);
    let expected = (naive.packets.clone(), Finish::of(&naive));
    assert_eq!((packets, end), expected, "whole: {shown:?}");

    let (packets, end, _) = decode_pieces(&pieces(input, cuts), limit);
    assert_eq!((packets, end), expected, "cut at {cuts:?}: {shown:?}");

    let octets: Vec<&[u8]> = input.chunks(1).collect();
    let (packets, end, noticed_at) = decode_pieces(&octets, limit);
    assert_eq!((packets, end), expected, "octet by octet: {shown:?}");
    assert_eq!(noticed_at, naive.noticed_at, "octet by octet: {shown:?}");

    // W-11: no prefix of a packet is refused, and no more is asked for than is missing.
    for packet in &naive.packets {
        let len = packet.after - packet.offset;
        for there in (0..len).filter(|there| there % 64 == len % 64 || len - there < 64) {
            let Ok(Decoded::Need(count)) = decode(&input[packet.offset..][..there], limit) else {
                panic!("{there} octets of {len}: {shown:?}");
            };
            assert!(
                (1..=len - there).contains(&count),
                "{there} octets of {len}: {shown:?}"
            );
        }
    }

    // W-3: without the offending octet there is nothing to complain of.
    if let End::Violation { offset, .. } = naive.end {
        let before = &input[offset..naive.noticed_at - 1];
        assert!(
            matches!(decode(before, limit), Ok(Decoded::Need(_))),
            "{shown:?}"
        );
    }
}

/// The end of a stream, kinds by their names.
#[derive(Debug, PartialEq)]
enum Finish {
    Clean,
    Truncated(usize),
    Violation(usize, String),
}

impl Finish {
    fn of(stream: &Stream) -> Self {
        match stream.end {
            End::Clean => Self::Clean,
            End::Truncated { offset } => Self::Truncated(offset),
            End::Violation { offset, kind } => Self::Violation(offset, format!("{kind:?}")),
        }
    }

    fn violation(offset: usize, kind: ViolationKind) -> Self {
        Self::Violation(offset, kind.name().to_owned())
    }
}

fn type_of(kind: scamp_proto::wire::PacketType) -> PacketType {
    PacketType::from_word(kind.name().as_bytes()).expect("both know the same types")
}

/// `decode` on what is left, again and again.
fn decode_all(input: &[u8], max_body: usize) -> (Vec<Packet>, Finish) {
    let mut packets = Vec::new();
    let mut offset = 0;
    while offset < input.len() {
        match decode(&input[offset..], max_body) {
            Ok(Decoded::Packet(packet, len)) => {
                packets.push(Packet {
                    offset,
                    after: offset + len,
                    packet_type: type_of(packet.kind()),
                    msgno: packet.msgno().0,
                    body: packet.body().to_vec(),
                });
                offset += len;
            }
            Ok(Decoded::Need(_)) => return (packets, Finish::Truncated(offset)),
            Err(kind) => return (packets, Finish::violation(offset, kind)),
        }
    }
    (packets, Finish::Clean)
}

/// `LineDecoder` and `check_trailer` on pieces; also how many octets were given when it ended.
fn decode_pieces(pieces: &[&[u8]], max_body: usize) -> (Vec<Packet>, Finish, usize) {
    enum Stage {
        Line,
        Body { left: usize },
        Trailer { seen: usize },
    }
    let mut packets: Vec<Packet> = Vec::new();
    let mut decoder = LineDecoder::default();
    let mut stage = Stage::Line;
    let mut packet = None;
    let (mut offset, mut taken, mut given) = (0, 0, 0);
    for piece in pieces {
        given += piece.len();
        let mut rest = *piece;
        while !rest.is_empty() {
            let used = match &mut stage {
                Stage::Line => match decoder.advance(rest, max_body) {
                    Ok(Step::More) => rest.len(),
                    Ok(Step::Done(line, used)) => {
                        packet = Some(Packet {
                            offset,
                            after: 0,
                            packet_type: type_of(line.kind),
                            msgno: line.msgno.0,
                            body: Vec::new(),
                        });
                        stage = match line.size {
                            0 => Stage::Trailer { seen: 0 },
                            left => Stage::Body { left },
                        };
                        used
                    }
                    Err(kind) => return (packets, Finish::violation(offset, kind), given),
                },
                Stage::Body { left } => {
                    let count = rest.len().min(*left);
                    let packet = packet.as_mut().expect("its line came first");
                    packet.body.extend_from_slice(&rest[..count]);
                    *left -= count;
                    if *left == 0 {
                        stage = Stage::Trailer { seen: 0 };
                    }
                    count
                }
                Stage::Trailer { seen } => match check_trailer(rest, *seen) {
                    Ok(now) => {
                        let count = now - *seen;
                        *seen = now;
                        if now == TRAILER.len() {
                            stage = Stage::Line;
                            let mut packet = packet.take().expect("its line came first");
                            packet.after = taken + count;
                            offset = packet.after;
                            packets.push(packet);
                        }
                        count
                    }
                    Err(kind) => return (packets, Finish::violation(offset, kind), given),
                },
            };
            taken += used;
            rest = &rest[used..];
        }
    }
    let end = if taken == offset {
        Finish::Clean
    } else {
        Finish::Truncated(offset)
    };
    (packets, end, given)
}

/// What a user of a connection learns from a stream.
#[derive(Debug, PartialEq)]
struct Report {
    /// Number and header of each message, in order.
    opened: Vec<(u64, Fields)>,
    /// Body of each message, and how it ended.
    bodies: BTreeMap<u64, (Vec<u8>, Ending)>,
    /// Numbers of the PINGs answered; empty when the peer broke a rule, which stops the answers.
    pongs: Vec<u64>,
    end: Finish,
}

#[derive(Debug, PartialEq)]
enum Ending {
    Complete,
    Failed(String),
    Lost,
}

/// The message this end is sending while the stream arrives, and its octets.
const OURS: (u64, u64) = (0, 100);

fn compare_connection(input: &[u8], cuts: &[usize]) {
    let (fast, sent) = fast_report(&pieces(input, cuts));
    let naive = naive_report(input);
    let shown = String::from_utf8_lossy(&input[..input.len().min(400)]).into_owned();
    assert_eq!(fast, naive, "cut at {cuts:?}: {shown:?}");

    // Q-2, Q-8: what was sent is whole packets, and its ACKs are such as the naive receiver takes.
    let received = naive.bodies.iter().map(|(&msgno, (body, _))| {
        (
            msgno,
            OwnMessage {
                sent: body.len() as u64,
                acked: 0,
            },
        )
    });
    let sent = packets::parse(&sent, MAX_BODY);
    let events = semantics::events(&sent, Own::Known(received.collect()));
    assert!(
        !matches!(
            events.last(),
            Some(Event::Fatal { .. } | Event::Truncated { .. })
        ),
        "{events:?}"
    );
}

fn naive_report(input: &[u8]) -> Report {
    let own = BTreeMap::from([(
        OURS.0,
        OwnMessage {
            sent: OURS.1,
            acked: 0,
        },
    )]);
    let stream = packets::parse(input, MAX_BODY);
    let mut report = Report {
        opened: Vec::new(),
        bodies: BTreeMap::new(),
        pongs: Vec::new(),
        end: Finish::Clean,
    };
    for event in semantics::events(&stream, Own::Known(own)) {
        match event {
            Event::MessageStart { msgno, fields } => {
                report.opened.push((msgno, Fields::of_naive(*fields)));
                report.bodies.insert(msgno, (Vec::new(), Ending::Lost));
            }
            Event::Body { msgno, octets } => body_of(&mut report, msgno).0.extend(octets),
            Event::MessageEnd { msgno } => body_of(&mut report, msgno).1 = Ending::Complete,
            Event::MessageFailed { msgno, text } => {
                body_of(&mut report, msgno).1 = Ending::Failed(text);
            }
            Event::Ack { .. } | Event::Pong { .. } => {}
            Event::Ping { msgno } => report.pongs.push(msgno),
            Event::Fatal { offset, kind } => {
                report.end = Finish::Violation(offset, format!("{kind:?}"));
            }
            Event::Truncated { octets } => report.end = Finish::Truncated(input.len() - octets),
        }
    }
    if matches!(report.end, Finish::Violation(..)) {
        report.pongs.clear();
    }
    report
}

fn body_of(report: &mut Report, msgno: u64) -> &mut (Vec<u8>, Ending) {
    report
        .bodies
        .get_mut(&msgno)
        .expect("a message begins with its HEADER")
}

/// Feeds a connection, reading everything after each piece; also returns all it sent.
fn fast_report(pieces: &[&[u8]]) -> (Report, Vec<u8>) {
    let now = Instant::EPOCH;
    let mut connection = Connection::new(Config::default(), now);
    let ours = Header::decode(br#"{"type":"request","request_id":1,"action":"a.b"}"#);
    let id = connection
        .open(now, &ours.expect("an object"))
        .expect("a fresh connection");
    let mut body = Bytes::from(vec![b'x'; OURS.1 as usize]);
    assert_eq!(connection.write(now, id, &mut body), Ok(OURS.1 as usize));
    let before = transmit(&mut connection);
    let before = packets::parse(&before, MAX_BODY).packets;
    assert_eq!((before[0].msgno, before[1].body.len() as u64), OURS);

    let mut report = Report {
        opened: Vec::new(),
        bodies: BTreeMap::new(),
        pongs: Vec::new(),
        end: Finish::Clean,
    };
    let mut sent = Vec::new();
    for piece in pieces {
        connection.receive(now, piece);
        drain(&mut connection, &mut report);
        sent.extend(transmit(&mut connection));
    }
    connection.receive_end(now, StreamEnd::Eof);
    drain(&mut connection, &mut report);
    // The message of this end stays open; what was lost of it is not a packet cut in two.
    sent.extend(transmit(&mut connection));
    drain(&mut connection, &mut report);
    if !matches!(report.end, Finish::Violation(..)) {
        let sent = packets::parse(&sent, MAX_BODY);
        let pongs = sent
            .packets
            .iter()
            .filter(|packet| packet.packet_type == PacketType::Pong);
        report.pongs = pongs.map(|packet| packet.msgno).collect();
    }
    (report, sent)
}

fn transmit(connection: &mut Connection) -> Vec<u8> {
    let mut sent = Vec::new();
    let mut out = Outbox::default();
    while connection.poll_transmit(Instant::EPOCH, &mut out).is_some() {
        sent.extend(out.copy_to_bytes(out.remaining()));
    }
    sent
}

fn drain(connection: &mut Connection, report: &mut Report) {
    while let Some(event) = connection.poll_event() {
        match event {
            ConnectionEvent::Opened { id, header } => {
                let msgno = id.msgno().0;
                report.opened.push((msgno, Fields::of_fast(&header)));
                report.bodies.insert(msgno, (Vec::new(), Ending::Lost));
            }
            ConnectionEvent::Readable(id) => {
                let body = body_of(report, id.msgno().0);
                loop {
                    match connection.read(Instant::EPOCH, id) {
                        Read::Data(octets) => body.0.extend_from_slice(&octets),
                        Read::End => body.1 = Ending::Complete,
                        Read::Failed(BodyError::PeerError(text)) => body.1 = Ending::Failed(text),
                        Read::Failed(BodyError::ConnectionLost) => {
                            assert_eq!(body.1, Ending::Lost);
                        }
                        Read::Failed(other) => panic!("{other:?}"),
                        Read::Pending | Read::Gone => break,
                    }
                }
            }
            ConnectionEvent::Closed(CloseReason::Violation(violation)) => {
                let offset = usize::try_from(violation.offset).expect("within the input");
                report.end = match violation.kind {
                    ViolationKind::TruncatedPacket => Finish::Truncated(offset),
                    kind => Finish::violation(offset, kind),
                };
            }
            // A clean end of the stream, whatever it means for open messages.
            ConnectionEvent::Closed(_) => {}
            ConnectionEvent::Ended(_)
            | ConnectionEvent::Writable(_)
            | ConnectionEvent::Lost { .. }
            | ConnectionEvent::Note(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The fields both readers offer. Empty tickets and an absent envelope are told apart by neither.
#[derive(Debug, PartialEq)]
struct Fields {
    message_type: Option<String>,
    request_id: Option<String>,
    request_number: Option<u64>,
    action: Option<String>,
    version: u32,
    envelope: String,
    ticket: Option<String>,
    identifying_token: Option<String>,
    client_id: u64,
    terminal: Option<String>,
    sector: Option<String>,
    failure: Option<(String, String)>,
    error_data: Option<String>,
    bad_field: Option<String>,
}

impl Fields {
    fn of_fast(header: &Header) -> Self {
        let error = header.error();
        Self {
            message_type: header.type_text().map(Into::into),
            request_id: header.request_id().map(|id| id.as_json().to_owned()),
            request_number: header.request_id().and_then(|id| id.number()),
            action: header.action().map(Into::into),
            version: header.version(),
            envelope: header.envelope().into(),
            ticket: header.ticket().map(Into::into),
            identifying_token: header.identifying_token().map(Into::into),
            client_id: header.client_id(),
            terminal: header.terminal().map(Into::into),
            sector: header.sector().map(Into::into),
            error_data: error.as_ref().and_then(|error| error.data.clone()),
            failure: error.map(|error| (error.code, error.text)),
            bad_field: header.bad_field().map(|field| field.name().to_owned()),
        }
    }

    fn of_naive(fields: header::Fields) -> Self {
        let failure = fields.failure();
        Self {
            message_type: fields.message_type,
            request_number: fields.request_id.as_ref().and_then(|id| {
                let digits =
                    !id.key.is_empty() && id.key.bytes().all(|octet| octet.is_ascii_digit());
                if digits { id.key.parse().ok() } else { None }
            }),
            request_id: fields.request_id.map(|id| id.written),
            action: fields.action,
            version: fields.version,
            envelope: fields.envelope.unwrap_or_else(|| "json".to_owned()),
            ticket: fields.ticket.filter(|text| !text.is_empty()),
            identifying_token: fields.identifying_token.filter(|text| !text.is_empty()),
            client_id: fields.client_id,
            terminal: fields.terminal,
            sector: fields.sector,
            // The fast reader offers the data only with an error (H-12).
            error_data: fields.error_data.filter(|_| failure.is_some()),
            failure,
            bad_field: fields.bad_field.map(str::to_owned),
        }
    }
}

fn fast_header(body: &[u8]) -> Option<Fields> {
    Header::decode(body)
        .ok()
        .map(|header| Fields::of_fast(&header))
}

fn naive_header(body: &[u8]) -> Option<Fields> {
    header::parse(body).ok().map(Fields::of_naive)
}
