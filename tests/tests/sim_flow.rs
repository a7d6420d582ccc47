//! Windows and acknowledgements between two ends (scamp.md 4).

mod sim_support;

use std::time::Duration;

use bytes::Bytes;
use scamp_proto::connection::{AckPolicy, Config, Connection, Event, Read, RecvId};
use scamp_proto::sim::{Link, Pair};
use scamp_proto::wire::Header;
use scamp_proto::{Duplex, Instant, SendError};
use sim_support::{START, connection_events, packets, sent, tell};

fn connection(set: impl Fn(&mut Config)) -> Connection {
    let mut config = Config::default();
    set(&mut config);
    Connection::new(config, START)
}

fn header() -> Header {
    Header::decode(b"{}").expect("an object")
}

fn opened(connection: &mut Connection) -> RecvId {
    let opened = connection_events(connection)
        .into_iter()
        .find_map(|event| match event {
            Event::Opened { id, .. } => Some(id),
            _ => None,
        });
    opened.expect("a message")
}

/// How long a body of `len` octets takes to a reader who reads at once.
fn transfer(window: u64, len: usize, round_trip: Duration) -> Duration {
    let links = [0, 1].map(|_| Link::with_delay(round_trip / 2));
    let end = || connection(|config| config.max_inflight = Some(window));
    let mut pair = Pair::over(end(), end(), links, ());
    let id = pair.client.open(START, &header()).expect("open");
    let mut body = Bytes::from(vec![b'x'; len]);
    let (mut incoming, mut read, mut finished) = (None, 0, false);
    loop {
        while !body.is_empty() && pair.client.write(pair.now, id, &mut body).expect("open") > 0 {}
        if body.is_empty() && !finished {
            finished = true;
            pair.client.finish(pair.now, id).expect("open");
        }
        pair.settle();
        for event in connection_events(&mut pair.server) {
            if let Event::Opened { id, .. } = event {
                incoming = Some(id);
            }
        }
        if let Some(id) = incoming {
            while let Read::Data(octets) = pair.server.read(pair.now, id) {
                read += octets.len();
            }
        }
        if read == len {
            return pair.now - START;
        }
        connection_events(&mut pair.client);
        if !pair.step() {
            assert!(pair.advance(), "stuck after {read} octets");
        }
    }
}

/// PF-15, anchors 3.9: a window of 64 KiB and a round trip of 50 ms make 1 MiB take 25 + 15 × 50
/// milliseconds, exactly, and wider windows as much less.
#[test]
fn a_window_and_a_distance_are_a_speed() {
    let round_trip = Duration::from_millis(50);
    for (window, windows) in [(65_536, 16), (262_144, 4), (1 << 20, 1)] {
        let due = round_trip / 2 + (windows - 1) * round_trip;
        assert_eq!(
            transfer(window, 1 << 20, round_trip),
            due,
            "window {window}"
        );
    }
}

/// A-3, anchors 3.9: a body larger than the window moves only as fast as the reader takes it.
#[test]
fn reading_is_what_opens_the_window() {
    let end = || connection(|config| config.max_inflight = Some(65_536));
    let mut pair = Pair::new(end(), end());
    let id = pair.client.open(START, &header()).expect("open");
    let mut body = Bytes::from(vec![b'x'; 300_000]);
    while pair.client.write(START, id, &mut body).expect("open") > 0 {
        pair.settle();
    }
    let incoming = opened(&mut pair.server);
    assert_eq!(pair.server.buffered(), 65_536 + 2);
    connection_events(&mut pair.client);

    let Read::Data(first) = pair.server.read(START, incoming) else {
        panic!("nothing to read")
    };
    assert!(!first.is_empty());
    while let Read::Data(_) = pair.server.read(START, incoming) {}
    pair.settle();
    assert!(connection_events(&mut pair.client).contains(&Event::Writable(id)));
    assert!(pair.client.write(START, id, &mut body).expect("open") > 0);
}

/// each policy acknowledges when it says, and never less than before.
#[test]
fn policies_say_when_to_acknowledge() {
    let mut end = connection(|_| {});
    tell(
        &mut end,
        START,
        &[("HEADER", 0, "{}"), ("DATA", 0, "0123456789")],
    );
    let id = opened(&mut end);
    assert_eq!(sent(&mut end, START), "", "nobody has read");
    end.set_ack_policy(START, id, AckPolicy::Hold);
    assert_eq!(end.read_up_to(START, id, 4), Read::Data("0123".into()));
    assert_eq!(sent(&mut end, START), "", "held");
    end.set_ack_policy(START, id, AckPolicy::Manual);
    assert_eq!(end.ack(START, id, 11), Err(SendError::AckOutOfRange));
    assert_eq!(end.ack(START, id, 3), Ok(()));
    assert_eq!(sent(&mut end, START), "ACK 0 1|3END|");
    assert_eq!(end.ack(START, id, 2), Err(SendError::AckOutOfRange));
    end.set_ack_policy(START, id, AckPolicy::OnReceive);
    assert_eq!(sent(&mut end, START), "ACK 0 2|10END|");
    tell(&mut end, START, &[("DATA", 0, "ab")]);
    assert_eq!(sent(&mut end, START), "ACK 0 2|12END|");
    end.set_ack_policy(START, id, AckPolicy::OnConsume);
    assert_eq!(sent(&mut end, START), "", "the count is never lowered");
    tell(&mut end, START, &[("DATA", 0, "cd"), ("DATA", 0, "ef")]);
    while let Read::Data(_) = end.read(START, id) {}
    assert_eq!(sent(&mut end, START), "ACK 0 2|16END|", "combined");
}

/// nothing is acknowledged once a message has ended.
#[test]
fn the_end_needs_no_acknowledgement() {
    for end_packet in ["EOF", "TXERR"] {
        let mut end = connection(|_| {});
        let text = if end_packet == "EOF" { "" } else { "x" };
        tell(
            &mut end,
            START,
            &[
                ("HEADER", 0, "{}"),
                ("DATA", 0, "01"),
                (end_packet, 0, text),
            ],
        );
        let id = opened(&mut end);
        assert_eq!(end.read(START, id), Read::Data("01".into()));
        assert_eq!(sent(&mut end, START), "");
    }
}

/// A-8, F-22: a peer without a window may send what it likes.
#[test]
fn octets_beyond_the_window_are_taken() {
    let mut end = connection(|_| {});
    let chunk = "x".repeat(131_072);
    tell(
        &mut end,
        START,
        &[
            ("HEADER", 0, "{}"),
            ("DATA", 0, &chunk),
            ("DATA", 0, &chunk),
        ],
    );
    assert_eq!(end.buffered(), 2 * 131_072 + 2);
    assert!(end.wants_read() && !end.is_closed());
}

/// F-20, HD-31: of a message that nobody acknowledges one window leaves; others go on; it is given
/// up in the end.
#[test]
fn a_peer_that_never_acknowledges() {
    let mut end = connection(|config| config.write_timeout = Duration::from_secs(1000));
    let id = end.open(START, &header()).expect("open");
    let mut body = Bytes::from(vec![b'x'; 200_000]);
    end.write(START, id, &mut body).expect("open");
    let first = sent(&mut end, START);
    assert_eq!(first.matches("DATA 0 32768|").count(), 2);
    let other = end.open(START, &header()).expect("open");
    end.finish(START, other).expect("open");
    assert_eq!(sent(&mut end, START), "HEADER 1 2|{}END|EOF 1 0|END|");
    let due = Instant::from_epoch(Duration::from_secs(300));
    assert_eq!(end.poll_timeout(), Some(due));
    connection_events(&mut end);
    end.handle_timeout(due);
    assert_eq!(
        connection_events(&mut end),
        [Event::Lost { id, begun: true }]
    );
    assert_eq!(sent(&mut end, due), "TXERR 0 16|receiver stalledEND|");
    assert!(end.is_empty());
}

/// packets are cut to the window only when that leaves half a chunk.
#[test]
fn chunks_are_not_cut_to_crumbs() {
    let mut end = connection(|config| {
        config.max_inflight = Some(100);
        config.chunk_size = 80;
    });
    let id = end.open(START, &header()).expect("open");
    let mut body = Bytes::from(vec![b'x'; 180]);
    while end.write(START, id, &mut body).expect("open") > 0 {}
    let text = sent(&mut end, START);
    assert_eq!(
        text.matches("DATA").count(),
        1,
        "20 octets are no half chunk: {}",
        packets(&text)
    );
    tell(&mut end, START, &[("ACK", 0, "30")]);
    let text = sent(&mut end, START);
    assert!(text.starts_with("DATA 0 50|"), "{text}");
}
