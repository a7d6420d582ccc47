//! MessagePasser's client: signing in, connections, back-pressure, the end (mp.md §6, §7).

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use scamp_proto::error::Loss;
use scamp_proto::mp::{
    Client, ClientConfig, ClientName, CloseReason, ConnectionId, Data, DecodeError, DecodeLimits,
    Decoder, Encoder, Encoding, Event, Message, Meta, OnFull, OpenError, Read, ReadInto, Reason,
    SendError,
};
use scamp_proto::{Duplex, End, Instant, Outbox};

const NOW: Instant = Instant::EPOCH;

fn at(seconds: f64) -> Instant {
    NOW + Duration::from_secs_f64(seconds)
}

fn config() -> ClientConfig {
    ClientConfig::new(Encoding::Json)
}

fn new(config: ClientConfig) -> Client {
    Client::new(config, ClientName::new("al").unwrap(), "secret".into(), NOW)
}

/// A client that is signed in.
fn signed_in(config: ClientConfig) -> Client {
    let mut client = new(config);
    assert_eq!(says(&mut client), ["Auth al  secret"]);
    hears(&mut client, "AuthOk", "al", "", "");
    assert_eq!(client.poll_event(), Some(Event::SignedIn));
    client
}

/// All numbers by name; `?n` is number `n`.
fn meta(name: &str) -> Meta {
    match name.strip_prefix('?') {
        Some(number) => Meta(number.parse().unwrap()),
        None => (0..11).map(Meta).find(|m| m.name() == Some(name)).unwrap(),
    }
}

/// A message arrives.
fn hears(client: &mut Client, name: &str, other: &str, id: &str, data: &str) {
    let data = if data.is_empty() {
        Data::Absent
    } else {
        Data::from(data)
    };
    let mut out = Outbox::default();
    let message = Message::new(meta(name), other, id, data);
    Encoder::new(Encoding::Json).encode(&message, &mut out);
    client.receive(NOW, &out.take_all());
}

/// What leaves, as `Meta OtherClient ConnectionID Data`.
fn says(client: &mut Client) -> Vec<String> {
    let mut out = Outbox::default();
    while client.poll_transmit(NOW, &mut out).is_some() {}
    let octets = out.take_all();
    let mut input = &octets[..];
    let mut decoder = Decoder::new(Encoding::Json, DecodeLimits::default());
    let mut said = Vec::new();
    while let Some(message) = decoder.decode(&mut input).unwrap() {
        let data = message.data.to_bytes();
        let (client, id, data) = (
            message.other_client,
            message.connection_id,
            String::from_utf8_lossy(&data),
        );
        said.push(format!("{} {client} {id} {data}", message.meta));
    }
    said
}

/// Something done to a client.
type Act = fn(&mut Client);

/// The event about a connection.
type Tell = Box<dyn FnOnce(ConnectionId) -> Event>;

fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// A connection that bob opened.
fn accepted(client: &mut Client, id: &str) -> ConnectionId {
    hears(client, "ConnSyn", "bob", id, "p");
    let Some(Event::Incoming { id: offer, .. }) = client.poll_event() else {
        panic!("no offer")
    };
    client.accept(offer).unwrap();
    assert_eq!(says(client), [format!("ConnAck bob {id} ")]);
    offer
}

/// A connection to bob that is open.
fn opened(client: &mut Client) -> ConnectionId {
    let id = client.open(NOW, "bob", "p").unwrap();
    let syn = says(client).pop().unwrap();
    let wire = syn.split(' ').nth(2).unwrap().to_owned();
    hears(client, "ConnAck", "bob", &wire, "");
    assert_eq!(client.poll_event(), Some(Event::Opened { id }));
    id
}

/// MP-80: `Auth` goes first, and nothing else before the answer; what was asked for waits.
#[test]
fn signing_in_comes_first() {
    let mut client = new(config());
    client.open(NOW, "bob", "greetings").unwrap();
    client.open(NOW, "bob", "").unwrap();
    assert_eq!(says(&mut client), ["Auth al  secret"]);
    assert_eq!(says(&mut client), [""; 0]);
    hears(&mut client, "AuthOk", "al", "", "");
    let expected = ["ConnSyn bob al:0 greetings", "ConnSyn bob al:1 "];
    assert_eq!(says(&mut client), expected);
    assert!(client.is_signed_in());
}

/// MP-81, defect 5: what overtakes `AuthOk` is kept and handled after it; up to a limit.
#[test]
fn what_overtakes_the_answer_is_kept() {
    let mut client = new(config());
    hears(&mut client, "ClientClosed", "x", "", "");
    hears(&mut client, "ConnSyn", "bob", "bob:0", "p");
    assert_eq!(client.poll_event(), None);
    hears(&mut client, "AuthOk", "al", "", "");
    let events = events(&mut client);
    assert_eq!(events[0], Event::SignedIn);
    assert!(matches!(events[1], Event::Incoming { .. }));

    for (count, size) in [(64, 1), (3, 30_000)] {
        let mut client = new(config());
        let data = "x".repeat(size);
        for _ in 0..count {
            hears(&mut client, "None", "x", "", &data);
        }
        let is_over = size > 1;
        assert_eq!(client.is_drained(), is_over);
        hears(&mut client, "None", "x", "", "");
        assert!(client.is_drained());
    }
}

/// MP-81, defect 14: a refusal is told in the server's words; a server that closes without a word,
/// or says nothing, is told, too.
#[test]
fn signing_in_may_fail() {
    let mut client = new(config());
    hears(&mut client, "AuthFailure", "al", "", "no");
    let refused = Reason::AuthRefused("no".into());
    assert_eq!(events(&mut client), [Event::Ended(refused)]);
    assert!(client.is_drained());

    let mut client = new(config());
    client.receive_end(NOW, End::Eof);
    assert_eq!(events(&mut client), [Event::Ended(Reason::Eof)]);

    let mut client = new(config());
    assert_eq!(client.poll_timeout(), Some(at(10.0)));
    client.handle_timeout(at(9.9));
    assert!(!client.is_drained());
    client.handle_timeout(at(10.0));
    let timeout = Reason::Timeout("signing in", Duration::from_secs(10));
    assert_eq!(events(&mut client), [Event::Ended(timeout)]);
}

/// MP-9, MP-132: ids on the wire count in hexadecimal from 0; local ones are never used again.
#[test]
fn ids_count_in_hexadecimal() {
    let mut client = signed_in(config());
    let mut last = None;
    for number in 0..17 {
        let id = client.open(NOW, "bob", "p").unwrap();
        assert!(last < Some(id));
        last = Some(id);
        assert_eq!(says(&mut client), [format!("ConnSyn bob al:{number:x} p")]);
        if number < 16 {
            client.close(id);
            assert_eq!(
                says(&mut client),
                [format!("ConnClosed bob al:{number:x} ")]
            );
        }
    }
    assert_eq!(events(&mut client), []);
}

/// MP-9: a client that comes back goes on counting, so that what is late for its predecessor fits
/// nothing; the count wraps, and skips what is in use.
#[test]
fn a_successor_goes_on_counting() {
    let mut config = config();
    config.first_number = u32::MAX;
    let mut client = signed_in(config);
    let ids = ["ffffffff", "0"].map(|number| {
        let id = client.open(NOW, "bob", "p").unwrap();
        assert_eq!(says(&mut client), [format!("ConnSyn bob al:{number} p")]);
        id
    });
    assert_eq!(
        (client.next_number(), client.peer(ids[1])),
        (1, Some(&"bob".into()))
    );
}

/// MP-6, MP-90, MP-95, MP-112: a whole connection, from either side.
#[test]
fn connections_open_talk_and_close() {
    let mut client = signed_in(config());
    let id = opened(&mut client);
    client.send(id, Bytes::from_static(b"hello")).unwrap();
    client.send(id, Bytes::new()).unwrap();
    assert_eq!(says(&mut client), ["None bob al:0 hello", "None bob al:0 "]);
    hears(&mut client, "None", "bob", "al:0", "one");
    hears(&mut client, "None", "bob", "al:0", "");
    hears(&mut client, "ConnClosed", "bob", "al:0", "");
    let why = CloseReason::ByPeer;
    assert_eq!(
        events(&mut client),
        [Event::Readable { id }, Event::Closed { id, why }]
    );
    assert_eq!(client.send(id, Bytes::new()), Err(SendError::Closed));
    assert_eq!(client.read(id), Read::Message("one".into()));
    assert_eq!(client.read(id), Read::Message("".into()));
    assert_eq!(client.read(id), Read::End);
    assert_eq!(client.connections(), 0);

    hears(&mut client, "ConnSyn", "bob", "bob:0", "");
    let Some(Event::Incoming { id, peer, protocol }) = client.poll_event() else {
        panic!()
    };
    assert_eq!((&*peer, &*protocol), ("bob", ""));
    assert_eq!(client.send(id, Bytes::new()), Err(SendError::NotOpen));
    client.refuse(id);
    assert_eq!(says(&mut client), ["UnknownProto bob bob:0 "]);
    assert_eq!(client.accept(id), Err(SendError::Closed));
    let id = accepted(&mut client, "bob:1");
    assert_eq!(client.read(id), Read::Pending);
    client.close(id);
    assert_eq!(says(&mut client), ["ConnClosed bob bob:1 "]);
    let why = CloseReason::ByUs;
    assert_eq!(events(&mut client), [Event::Closed { id, why }]);
    // MP-117: twice is once.
    client.close(id);
    assert_eq!((says(&mut client).len(), events(&mut client).len()), (0, 0));
}

/// mp.md §6.2, its whole table: every state, every number.
#[test]
fn every_message_in_every_state() {
    let fails = |why| move |id| Event::OpenFailed { id, why };
    let closes = |why| move |id| Event::Closed { id, why };
    type Told = Option<Tell>;
    let cases: [(&str, &str, Told, &str); 22] = [
        (
            "Opening",
            "ConnAck",
            Some(Box::new(|id| Event::Opened { id })),
            "",
        ),
        (
            "Opening",
            "UnknownProto",
            Some(Box::new(fails(OpenError::UnknownProtocol))),
            "",
        ),
        (
            "Opening",
            "NoSuchConnection",
            Some(Box::new(fails(OpenError::NoSuchClient))),
            "",
        ),
        (
            "Opening",
            "ConnClosed",
            Some(Box::new(fails(OpenError::PeerClosed))),
            "",
        ),
        (
            "Opening",
            "ClientClosed",
            Some(Box::new(fails(OpenError::PeerClosed))),
            "",
        ),
        ("Opening", "None", None, "NoSuchConnection"),
        (
            "Opening",
            "ConnSyn",
            Some(Box::new(fails(OpenError::PeerClosed))),
            "NoSuchConnection",
        ),
        (
            "Offered",
            "ConnClosed",
            Some(Box::new(closes(CloseReason::ByPeer))),
            "",
        ),
        (
            "Offered",
            "NoSuchConnection",
            Some(Box::new(closes(CloseReason::NoSuchConnection))),
            "",
        ),
        (
            "Offered",
            "ClientClosed",
            Some(Box::new(closes(CloseReason::PeerGone))),
            "",
        ),
        (
            "Offered",
            "UnknownProto",
            Some(Box::new(closes(CloseReason::ByPeer))),
            "",
        ),
        ("Offered", "None", None, "NoSuchConnection"),
        (
            "Offered",
            "ConnSyn",
            Some(Box::new(closes(CloseReason::IdReused))),
            "NoSuchConnection",
        ),
        (
            "Open",
            "None",
            Some(Box::new(|id| Event::Readable { id })),
            "",
        ),
        ("Open", "ConnAck", None, ""),
        (
            "Open",
            "ConnClosed",
            Some(Box::new(closes(CloseReason::ByPeer))),
            "",
        ),
        (
            "Open",
            "NoSuchConnection",
            Some(Box::new(closes(CloseReason::NoSuchConnection))),
            "",
        ),
        (
            "Open",
            "ClientClosed",
            Some(Box::new(closes(CloseReason::PeerGone))),
            "",
        ),
        (
            "Open",
            "UnknownProto",
            Some(Box::new(closes(CloseReason::ByPeer))),
            "",
        ),
        (
            "Open",
            "ConnSyn",
            Some(Box::new(closes(CloseReason::IdReused))),
            "NoSuchConnection",
        ),
        ("Open", "WAT", None, ""),
        ("Open", "?77", None, ""),
    ];
    for (state, message, told, answer) in cases {
        let mut client = signed_in(config());
        let (id, wire) = match state {
            "Opening" => {
                let id = client.open(NOW, "bob", "p").unwrap();
                says(&mut client);
                (id, "al:0")
            }
            "Offered" => {
                hears(&mut client, "ConnSyn", "bob", "x", "p");
                let Some(Event::Incoming { id, .. }) = client.poll_event() else {
                    panic!()
                };
                (id, "x")
            }
            _ => (opened(&mut client), "al:0"),
        };
        hears(&mut client, message, "bob", wire, "");
        let got = events(&mut client);
        let got = got
            .iter()
            .filter(|event| !matches!(event, Event::Odd { .. }));
        let expected: Vec<_> = told.map(|told| told(id)).into_iter().collect();
        let expected: Vec<_> = expected.iter().collect();
        assert_eq!(got.collect::<Vec<_>>(), expected, "{state} {message}");
        let answers: Vec<_> = says(&mut client);
        let expected = match answer {
            "" => vec![],
            answer => vec![format!("{answer} bob {wire} ")],
        };
        assert_eq!(answers, expected, "{state} {message}");
    }
}

/// MP-91, MP-98, defect 7: only its peer can do anything to a connection, whatever id it guesses;
/// questions about what is not there are answered, answers are not.
#[test]
fn nobody_else_can_touch_a_connection() {
    for message in [
        "None",
        "ConnAck",
        "ConnClosed",
        "NoSuchConnection",
        "UnknownProto",
        "ClientClosed",
    ] {
        let mut client = signed_in(config());
        let id = opened(&mut client);
        let opening = client.open(NOW, "bob", "p").unwrap();
        says(&mut client);
        for wire in ["al:0", "al:1", "al:2"] {
            hears(&mut client, message, "eve", wire, "injected");
            let expected = match message {
                "None" | "ConnAck" => vec![format!("NoSuchConnection eve {wire} ")],
                _ => vec![],
            };
            assert_eq!(says(&mut client), expected, "{message}");
        }
        assert_eq!(events(&mut client), [], "{message}");
        assert_eq!(client.read(id), Read::Pending);
        assert_eq!(client.send(id, Bytes::new()), Ok(()));
        assert_eq!(client.send(opening, Bytes::new()), Err(SendError::NotOpen));
    }
}

/// MP-91, defect 16: an original server that could not write to the peer says so under our own name.
#[test]
fn an_original_server_speaks_under_our_name() {
    let mut client = signed_in(config());
    let id = opened(&mut client);
    hears(&mut client, "NoSuchConnection", "al", "al:0", "payload");
    let why = CloseReason::NoSuchConnection;
    assert_eq!(events(&mut client), [Event::Closed { id, why }]);
}

/// MP-92, defect 8: a second `ConnAck` is no message.
#[test]
fn a_second_ack_is_nothing() {
    let mut client = signed_in(config());
    let id = opened(&mut client);
    hears(&mut client, "ConnAck", "bob", "al:0", "");
    assert_eq!(
        (events(&mut client), client.read(id)),
        (vec![], Read::Pending)
    );
}

/// MP-93, defect 9: who uses an id twice loses the connection it had, and gets no other.
#[test]
fn an_id_used_twice_closes_the_connection() {
    let mut client = signed_in(config());
    let id = accepted(&mut client, "bob:0");
    hears(&mut client, "None", "bob", "bob:0", "kept");
    hears(&mut client, "ConnSyn", "bob", "bob:0", "p");
    let why = CloseReason::IdReused;
    assert_eq!(
        events(&mut client),
        [Event::Readable { id }, Event::Closed { id, why }]
    );
    assert_eq!(says(&mut client), ["NoSuchConnection bob bob:0 "]);
    assert_eq!(client.read(id), Read::Message("kept".into()));
}

/// MP-94, defect 10: nobody connects to itself, and nothing under our own name is answered.
#[test]
fn nobody_connects_to_itself() {
    let mut client = signed_in(config());
    assert_eq!(client.open(NOW, "al", "p"), Err(OpenError::SelfConnection));
    assert_eq!(client.open(NOW, "", "p"), Err(OpenError::InvalidName));
    assert_eq!(client.open(NOW, "a:b", "p"), Err(OpenError::InvalidName));
    for number in 0..=255 {
        hears(&mut client, &format!("?{number}"), "al", "al:0", "x");
    }
    assert_eq!(says(&mut client), [""; 0]);
    let events = events(&mut client);
    assert!(
        events
            .iter()
            .all(|event| matches!(event, Event::Odd { .. }))
    );
}

/// MP-96, HD-48: offers and connections have limits; beyond them there is a refusal.
#[test]
fn offers_have_a_limit() {
    let mut client = signed_in(config());
    for number in 0..128 {
        hears(
            &mut client,
            "ConnSyn",
            "bob",
            &format!("bob:{number:x}"),
            "p",
        );
    }
    assert_eq!(says(&mut client).len(), 0);
    hears(&mut client, "ConnSyn", "bob", "bob:80", "p");
    assert_eq!(says(&mut client), ["UnknownProto bob bob:80 "]);
    assert_eq!(events(&mut client).len(), 128);

    let mut config = config();
    config.max_connections = 2;
    let mut client = signed_in(config);
    accepted(&mut client, "bob:0");
    opened(&mut client);
    assert_eq!(client.open(NOW, "bob", "p"), Err(OpenError::TooMany(2)));
    hears(&mut client, "ConnSyn", "bob", "bob:1", "p");
    assert_eq!(says(&mut client), ["UnknownProto bob bob:1 "]);
}

/// MP-97, HD-4: opening and closing without end does not fill the memory.
#[test]
fn openings_have_a_bound() {
    let mut client = new(config());
    while let Ok(id) = client.open(NOW, "bob", "p") {
        client.close(id);
    }
    assert_eq!(client.open(NOW, "bob", "p"), Err(OpenError::Full));
    assert!(client.held() < 300_000, "{}", client.held());
}

/// MP-90, MP-9: what cannot be a protocol or an id is refused.
#[test]
fn protocols_are_text() {
    let mut client = signed_in(config());
    client.receive(
        NOW,
        br#"{"Meta":5,"OtherClient":"bob","ConnectionID":"x","Data":"/w=="}"#,
    );
    assert_eq!(says(&mut client), ["UnknownProto bob x "]);
    hears(&mut client, "ConnSyn", "bob", "y", &"p".repeat(4097));
    assert_eq!(says(&mut client), ["UnknownProto bob y "]);
    hears(&mut client, "ConnSyn", "bob", &"i".repeat(1025), "p");
    assert!(says(&mut client)[0].starts_with("UnknownProto bob iiii"));
    assert_eq!(events(&mut client), []);
    let long = "p".repeat(4097);
    assert_eq!(
        client.open(NOW, "bob", &long),
        Err(OpenError::ProtocolTooLong(4096))
    );
}

/// mp.md §6.2, defect 11: openings and offers have thirty seconds, and leave nothing behind.
#[test]
fn openings_and_offers_time_out() {
    let mut client = signed_in(config());
    let id = client.open(NOW, "bob", "p").unwrap();
    hears(&mut client, "ConnSyn", "bob", "bob:0", "p");
    let Some(Event::Incoming { id: offer, .. }) = client.poll_event() else {
        panic!()
    };
    says(&mut client);
    assert_eq!(client.poll_timeout(), Some(at(30.0)));
    client.handle_timeout(at(29.9));
    assert_eq!(events(&mut client), []);
    client.handle_timeout(at(30.0));
    let (failed, closed) = (
        OpenError::Timeout(Duration::from_secs(30)),
        CloseReason::NotDecided,
    );
    let expected = [
        Event::OpenFailed { id, why: failed },
        Event::Closed {
            id: offer,
            why: closed,
        },
    ];
    assert_eq!(events(&mut client), expected);
    assert_eq!(
        says(&mut client),
        ["ConnClosed bob al:0 ", "UnknownProto bob bob:0 "]
    );
    assert_eq!((client.poll_timeout(), client.connections()), (None, 0));
}

/// MP-97, MP-115, defect 20: sending tells what it did; a message is queued whole or not at all, and
/// there is room again when half has left.
#[test]
fn the_send_queue_has_a_bound() {
    let mut client = signed_in(config());
    let id = opened(&mut client);
    let large = Bytes::from(vec![b'x'; (1 << 20) + 1]);
    assert_eq!(
        client.send(id, large.clone()),
        Err(SendError::TooLarge(1 << 20))
    );
    // A single one of any size fits into an empty queue.
    client.send(id, large.slice(1..)).unwrap();
    assert_eq!(client.send(id, Bytes::new()), Err(SendError::Full));
    assert!(client.held() <= (1 << 20) + 200);
    assert_eq!(events(&mut client), []);
    assert_eq!(says(&mut client).len(), 1);
    assert_eq!(events(&mut client), [Event::Writable]);
    client.close(id);
    assert_eq!(client.send(id, Bytes::new()), Err(SendError::Closed));
    assert_eq!(says(&mut client), ["ConnClosed bob al:0 "]);
}

/// MP-98: what is left to send on a connection that is gone is not sent.
#[test]
fn a_gone_connection_sends_no_more() {
    let mut client = signed_in(config());
    let (id, other) = (opened(&mut client), accepted(&mut client, "bob:0"));
    for _ in 0..3 {
        client.send(id, Bytes::from_static(b"gone")).unwrap();
        client.send(other, Bytes::from_static(b"here")).unwrap();
    }
    hears(&mut client, "NoSuchConnection", "bob", "al:0", "");
    assert_eq!(says(&mut client), ["None bob bob:0 here"; 3]);
}

/// MP-116: octets come joined, without empty messages, and messages and octets may be mixed.
#[test]
fn messages_may_be_read_as_octets() {
    let mut client = signed_in(config());
    let id = accepted(&mut client, "x");
    let mut room = [0; 4];
    assert_eq!(client.read_into(id, &mut room), ReadInto::Pending);
    for text in ["ab", "", "cdefg", "", "h", "ij"] {
        hears(&mut client, "None", "bob", "x", text);
    }
    assert_eq!(client.read_into(id, &mut room), ReadInto::Octets(4));
    assert_eq!(&room, b"abcd");
    assert_eq!(client.read(id), Read::Message("efg".into()));
    hears(&mut client, "ConnClosed", "bob", "x", "");
    assert_eq!(client.read_into(id, &mut []), ReadInto::Octets(0));
    assert_eq!(client.read_into(id, &mut room), ReadInto::Octets(3));
    assert_eq!(client.read_into(id, &mut room), ReadInto::End);
    assert_eq!(client.connections(), 0);
}

/// MP-116: octets are written as messages of a size that suits both ends.
#[test]
fn octets_are_written_in_messages() {
    let mut client = signed_in(config());
    let id = accepted(&mut client, "x");
    let mut data = Bytes::from(vec![b'x'; 100_000]);
    assert_eq!(client.write(id, &mut data), Ok(65_536));
    assert_eq!(client.write(id, &mut data), Ok(34_464));
    // Nothing is no message.
    assert_eq!(client.write(id, &mut data), Ok(0));
    assert_eq!((data.len(), says(&mut client).len()), (0, 2));
}

/// MP-99, defect 12: what nobody reads is kept up to a bound, then nothing more is read.
#[test]
fn unread_messages_stop_the_reading() {
    let mut client = signed_in(config());
    let id = accepted(&mut client, "x");
    let payload = "x".repeat(65_536);
    let mut count = 0;
    while client.wants_read() {
        hears(&mut client, "None", "bob", "x", &payload);
        count += 1;
    }
    assert_eq!(count, 16);
    assert_eq!(events(&mut client), [Event::Readable { id }]);
    for _ in 0..count {
        assert!(matches!(client.read(id), Read::Message(_)));
        assert!(client.wants_read());
    }
    assert_eq!(client.held(), 0);
}

/// MP-99: instead, the connection that holds most may be closed, and reading goes on.
#[test]
fn unread_messages_may_close_their_connection() {
    let mut config = config();
    config.on_full = OnFull::CloseConnection;
    let mut client = signed_in(config);
    let (little, much) = (accepted(&mut client, "x"), accepted(&mut client, "y"));
    hears(&mut client, "None", "bob", "x", "little");
    let payload = "x".repeat(400_000);
    for _ in 0..3 {
        assert!(client.wants_read());
        hears(&mut client, "None", "bob", "y", &payload);
    }
    let why = CloseReason::Overflow;
    assert_eq!(
        events(&mut client).pop(),
        Some(Event::Closed { id: much, why })
    );
    assert_eq!(says(&mut client), ["ConnClosed bob y "]);
    assert_eq!(
        (client.read(much), client.read(little)),
        (Read::End, Read::Message("little".into()))
    );
    assert_eq!(client.held(), 0);
}

/// MP-100: what only a server may say is answered when a client says it.
#[test]
fn messages_of_signing_in_are_not_for_clients() {
    let mut client = signed_in(config());
    for message in ["Auth", "AuthOk", "AuthFailure"] {
        hears(&mut client, message, "eve", "x", "payload");
        assert_eq!(says(&mut client), ["WAT eve x "]);
        hears(&mut client, message, "", "x", "payload");
        assert_eq!(says(&mut client), [""; 0]);
    }
    assert_eq!(events(&mut client), []);
}

/// MP-101, MP-5, defect 6: unknown numbers are told, and end nothing.
#[test]
fn unknown_numbers_end_nothing() {
    let mut client = signed_in(config());
    for number in [1].into_iter().chain(11..=255) {
        hears(&mut client, &format!("?{number}"), "eve", "x", "");
        let (peer, meta) = ("eve".into(), Meta(number));
        assert_eq!(events(&mut client), [Event::Odd { peer, meta }]);
    }
    assert_eq!(says(&mut client), [""; 0]);
}

/// MP-102: a client that leaves takes all its connections with it, in the order of their opening.
#[test]
fn a_departed_client_takes_its_connections() {
    let mut client = signed_in(config());
    let first = accepted(&mut client, "z");
    let second = opened(&mut client);
    let third = client.open(NOW, "bob", "p").unwrap();
    let other = client.open(NOW, "bo", "p").unwrap();
    hears(&mut client, "ClientClosed", "bob", "", "");
    let why = CloseReason::PeerGone;
    let expected = [
        Event::Closed {
            id: first,
            why: why.clone(),
        },
        Event::Closed { id: second, why },
        Event::OpenFailed {
            id: third,
            why: OpenError::PeerClosed,
        },
    ];
    assert_eq!(events(&mut client), expected);
    assert_eq!(client.peer(other).unwrap(), &"bo");
    hears(&mut client, "ClientClosed", "nobody", "", "");
    assert_eq!(events(&mut client), []);
}

/// MP-82, MP-114, defect 13: when the transport ends, every connection is told, and then the client,
/// once; what had arrived can still be read.
#[test]
fn the_end_is_told_to_all() {
    let ends: [(Act, Reason); 4] = [
        (|client| client.receive_end(NOW, End::Eof), Reason::Eof),
        (
            |client| client.receive_end(NOW, End::io("reset")),
            Reason::Transport(Loss::Io("reset".into())),
        ),
        (
            |client| client.receive(NOW, b"x"),
            Reason::Decode(DecodeError::Malformed("not an object")),
        ),
        (
            |client| {
                client.receive(NOW, b"{");
                client.receive_end(NOW, End::Eof);
            },
            Reason::Decode(DecodeError::Truncated),
        ),
    ];
    for (end, reason) in ends {
        let mut client = signed_in(config());
        let (open, opening) = (opened(&mut client), client.open(NOW, "bob", "p").unwrap());
        hears(&mut client, "None", "bob", "al:0", "last");
        end(&mut client);
        let expected = [
            Event::Readable { id: open },
            Event::Closed {
                id: open,
                why: CloseReason::ClientClosed,
            },
            Event::OpenFailed {
                id: opening,
                why: OpenError::ClientClosed,
            },
            Event::Ended(reason),
        ];
        assert_eq!(events(&mut client), expected);
        assert!(client.is_drained() && !client.wants_read());
        assert_eq!(client.read(open), Read::Message("last".into()));
        assert_eq!(client.read(open), Read::End);
        // One end is enough.
        client.receive_end(NOW, End::Eof);
        client.shutdown(NOW);
        assert_eq!(events(&mut client), []);
        assert_eq!(client.open(NOW, "bob", ""), Err(OpenError::ClientClosed));
    }
}

/// MP-83: closing the client lets what is queued leave, for a moment, and says no `ConnClosed`.
#[test]
fn closing_the_client_flushes() {
    let mut client = signed_in(config());
    let id = opened(&mut client);
    client.send(id, Bytes::from_static(b"last")).unwrap();
    client.shutdown(NOW);
    let why = CloseReason::ClientClosed;
    let expected = [Event::Closed { id, why }, Event::Ended(Reason::Local)];
    assert_eq!(events(&mut client), expected);
    assert!(!client.is_drained());
    assert_eq!(says(&mut client), ["None bob al:0 last"]);
    assert!(client.is_drained());

    let mut client = signed_in(config());
    let id = opened(&mut client);
    client.send(id, Bytes::from_static(b"last")).unwrap();
    client.shutdown(NOW);
    assert_eq!(client.poll_timeout(), Some(at(1.0)));
    client.handle_timeout(at(1.0));
    assert!(client.is_drained());
    assert_eq!(says(&mut client), [""; 0]);
}

/// MP-80, MP-83: a client that is closed before it is signed in says nothing more.
#[test]
fn closing_before_signing_in() {
    let mut client = new(config());
    let id = client.open(NOW, "bob", "p").unwrap();
    says(&mut client);
    client.shutdown(NOW);
    let why = OpenError::ClientClosed;
    let expected = [Event::OpenFailed { id, why }, Event::Ended(Reason::Local)];
    assert_eq!(events(&mut client), expected);
    assert!(client.is_drained());
    assert_eq!(says(&mut client), [""; 0]);
}

/// MP-113: after closing nothing more is delivered.
#[test]
fn a_closed_connection_delivers_nothing() {
    let mut client = signed_in(config());
    let id = opened(&mut client);
    hears(&mut client, "None", "bob", "al:0", "unread");
    client.close(id);
    assert_eq!(client.read(id), Read::End);
    hears(&mut client, "None", "bob", "al:0", "late");
    assert_eq!(client.read(id), Read::End);
    assert_eq!(
        says(&mut client),
        ["ConnClosed bob al:0 ", "NoSuchConnection bob al:0 "]
    );
    assert_eq!(client.held(), 0);
}
