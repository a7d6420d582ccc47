//! Connections: DATA, ACK, echoes, many open messages, bulk.

use std::time::Duration;

use bytes::Bytes;
use scamp_proto::connection::{Config, Event, Read, RecvId, SendId};
use scamp_proto::{Connection, Duplex, Header, Instant, MsgNo, Outbox};

use super::wire::{PLAIN, data_packet};
use super::{Job, SIZES, carry, read_whole};

/// Its jobs. An empty DATA is left out: sixteen of them in a message are a flood.
pub const JOBS: &[Job] = &[
    receive("receive-data-1", |n| receive_data(n, 1)),
    receive("receive-data-100", |n| receive_data(n, SIZES[1])),
    receive("receive-data-2048", |n| receive_data(n, SIZES[2])),
    receive("receive-data-32768", |n| receive_data(n, SIZES[3])),
    receive("receive-data-131072", |n| receive_data(n, SIZES[4])),
    Job::new("turn-data-100", turn_data).goal("PF-10", None, Some(0.0)),
    Job::new("read-data-100", |n| read_data(n, SIZES[1])).goal("PF-10", None, Some(0.0)),
    Job::new("read-data-2048", |n| read_data(n, SIZES[2])).goal("PF-10", None, Some(0.0)),
    Job::new("read-data-32768", |n| read_data(n, SIZES[3])).goal("PF-10", None, Some(0.0)),
    Job::new("receive-ack", receive_acks).goal("PF-10", None, Some(0.0)),
    echo("echo-1", |n| echoes(n, 1, 0)),
    echo("echo-64", |n| echoes(n, 64, 0)).times(1_024),
    echo("echo-1-beside-100", |n| echoes(n, 1, 100)),
    echo("echo-1-beside-4000", |n| echoes(n, 1, 4_000)),
    echo("echo-1-beside-10000", |n| echoes(n, 1, 10_000)),
    Job::new("bulk-mebibyte", bulk).times(20),
];

/// Two ends whose octets are carried by hand.
#[derive(Debug)]
pub struct Pair {
    /// The end that asks.
    pub client: Connection,
    /// The end that answers.
    pub server: Connection,
    out: Outbox,
    now: Instant,
    /// Times either end handed octets over: each would be one write.
    pub writes: u64,
}

impl Pair {
    /// Two ends with the same settings.
    pub fn new(config: &Config) -> Self {
        let now = Instant::EPOCH;
        Self {
            client: Connection::new(config.clone(), now),
            server: Connection::new(config.clone(), now),
            out: Outbox::default(),
            now,
            writes: 0,
        }
    }

    /// Carries all that the client has to say.
    pub fn to_server(&mut self) {
        self.writes += carry(&mut self.client, &mut self.server, &mut self.out, self.now);
    }

    /// Carries all that the server has to say.
    pub fn to_client(&mut self) {
        self.writes += carry(&mut self.server, &mut self.client, &mut self.out, self.now);
    }

    /// `callers` echoes at once: all requests, then all replies.
    pub fn echo(&mut self, callers: u64, header: &Header, body: &Bytes) {
        let now = self.now;
        for _ in 0..callers {
            send(&mut self.client, now, header, body.clone());
        }
        self.to_server();
        while let Some(event) = self.server.poll_event() {
            if let Event::Opened { id, .. } = event {
                let request = read_whole(|| self.server.read(now, id));
                send(&mut self.server, now, header, request);
            }
        }
        self.to_client();
        let mut answered = 0;
        while let Some(event) = self.client.poll_event() {
            if let Event::Opened { id, .. } = event {
                let reply = read_whole(|| self.client.read(now, id));
                assert_eq!(reply.len(), body.len(), "the echo is the request");
                answered += 1;
            }
        }
        assert_eq!(answered, callers, "every request has its reply");
        self.now = now + STEP;
    }
}

const fn receive(name: &'static str, run: fn(u64)) -> Job {
    Job::new(name, run)
        .goal("PF-10", Some(420), Some(0.0))
        .times(1_024)
}

/// Two messages, two allocations each with owned events.
const fn echo(name: &'static str, run: fn(u64)) -> Job {
    Job::new(name, run).goal("PF-11", Some(16_000), Some(4.0))
}

/// DATA for a message that the application has given up: the machine alone, without the octets.
/// Sixteen arrive together, as they do when they are short, and are acknowledged together.
fn receive_data(times: u64, size: usize) {
    discard_data(
        times / TOGETHER,
        &data_packet(0, size).repeat(TOGETHER as usize),
    );
}

/// One DATA in a turn of its own, its ACK included.
fn turn_data(times: u64) {
    discard_data(times, &data_packet(0, SIZES[1]));
}

fn discard_data(turns: u64, octets: &[u8]) {
    let (mut end, mut now) = (opened(), Instant::EPOCH);
    let id = first_message(&mut end);
    end.discard(now, id);
    let mut out = Outbox::default();
    for _ in 0..turns {
        now = now + STEP;
        end.receive(now, octets);
        drain(&mut end, now, &mut out);
    }
    assert!(end.is_open(), "the stream is in order");
}

/// DATA that the application reads at once.
fn read_data(times: u64, size: usize) {
    let (mut end, mut now) = (opened(), Instant::EPOCH);
    let id = first_message(&mut end);
    let packet = data_packet(0, size);
    let mut out = Outbox::default();
    for _ in 0..times {
        now = now + STEP;
        end.receive(now, &packet);
        while let Some(event) = end.poll_event() {
            assert_eq!(event, Event::Readable(id));
        }
        let mut read = 0;
        while let Read::Data(octets) = end.read(now, id) {
            read += octets.len();
        }
        assert_eq!(read, size);
        drain(&mut end, now, &mut out);
    }
    assert!(end.is_open(), "the stream is in order");
}

/// ACKs of a hundred octets each, for a message with nothing more to send.
fn receive_acks(times: u64) {
    let mut now = Instant::EPOCH;
    let config = Config {
        max_inflight: Some(0),
        max_queued: usize::MAX,
        ..Config::default()
    };
    let mut end = Connection::new(config, now);
    let header = Header::decode(PLAIN.as_bytes()).expect("a JSON object");
    let id = end.open(now, &header).expect("the connection is open");
    let mut body = Bytes::from(vec![b'x'; 100 * MOST_ACKS]);
    end.write(now, id, &mut body).expect("the message is open");
    let mut out = Outbox::default();
    drain(&mut end, now, &mut out);
    let acks: Vec<Vec<u8>> = (1..=MOST_ACKS)
        .map(|count| ack_packet(100 * count))
        .collect();
    for ack in acks
        .iter()
        .take(usize::try_from(times).unwrap_or(MOST_ACKS))
    {
        now = now + STEP;
        end.receive(now, ack);
        drain(&mut end, now, &mut out);
    }
    assert!(end.is_open(), "the ACKs are in order");
}

/// Echoes of 100 octets, while `beside` other messages are open each way.
fn echoes(times: u64, callers: u64, beside: usize) {
    let config = Config {
        max_open_messages: beside + 4_096,
        ..Config::default()
    };
    let mut pair = Pair::new(&config);
    let header = Header::decode(PLAIN.as_bytes()).expect("a JSON object");
    for _ in 0..beside {
        pair.client
            .open(pair.now, &header)
            .expect("the connection is open");
        pair.server
            .open(pair.now, &header)
            .expect("the connection is open");
        pair.to_server();
        pair.to_client();
        while pair.server.poll_event().is_some() || pair.client.poll_event().is_some() {}
        pair.now = pair.now + STEP;
    }
    let body = Bytes::from_static(&[b'x'; 100]);
    for _ in 0..times / callers {
        pair.echo(callers, &header, &body);
    }
    assert!(pair.client.is_open() && pair.server.is_open());
}

/// A reply of a mebibyte, in DATA of 32 KiB, read as it comes.
fn bulk(times: u64) {
    let mut pair = Pair::new(&Config {
        max_inflight: Some(262_144),
        ..Config::default()
    });
    let header = Header::decode(PLAIN.as_bytes()).expect("a JSON object");
    let mebibyte = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..times {
        let id = pair
            .server
            .open(pair.now, &header)
            .expect("the connection is open");
        let mut left = mebibyte.clone();
        let (mut reading, mut read) = (None, 0);
        while read < mebibyte.len() {
            pair.server
                .write(pair.now, id, &mut left)
                .expect("the message is open");
            pair.to_client();
            while let Some(event) = pair.client.poll_event() {
                if let Event::Opened { id, .. } = event {
                    reading = Some(id);
                }
            }
            let id = reading.expect("the HEADER came first");
            while let Read::Data(octets) = pair.client.read(pair.now, id) {
                read += octets.len();
            }
            pair.to_server();
            while pair.server.poll_event().is_some() {}
            pair.now = pair.now + STEP;
        }
        pair.server
            .finish(pair.now, id)
            .expect("the message is open");
        pair.to_client();
        assert_eq!(
            reading.map(|id| pair.client.read(pair.now, id)),
            Some(Read::End)
        );
    }
}

/// Throws away all that `end` has to say.
fn drain(end: &mut Connection, now: Instant, out: &mut Outbox) {
    while end.poll_transmit(now, out).is_some() {
        out.clear();
    }
}

/// Sends one whole message.
fn send(end: &mut Connection, now: Instant, header: &Header, mut body: Bytes) -> SendId {
    let id = end.open(now, header).expect("the connection is open");
    end.write(now, id, &mut body).expect("the message is open");
    assert!(body.is_empty(), "the queue has room");
    end.finish(now, id).expect("the message is open");
    id
}

/// A connection that has received one HEADER, without an end.
fn opened() -> Connection {
    let mut end = Connection::new(Config::default(), Instant::EPOCH);
    let header = format!("HEADER 0 {}\r\n{PLAIN}END\r\n", PLAIN.len());
    end.receive(Instant::EPOCH, header.as_bytes());
    end
}

fn first_message(end: &mut Connection) -> RecvId {
    match end.poll_event() {
        Some(Event::Opened { id, .. }) => id,
        other => unreachable!("a HEADER was received: {other:?}"),
    }
}

fn ack_packet(count: usize) -> Vec<u8> {
    let count = count.to_string();
    format!("ACK {} {}\r\n{count}END\r\n", MsgNo(0).0, count.len()).into_bytes()
}

/// How far the clock goes each time: far enough that an honest sender is no flood.
const STEP: Duration = Duration::from_millis(20);
/// DATA that arrive in one piece where the turn is not what is counted.
const TOGETHER: u64 = 16;
/// ACKs that are prepared, whatever N is, so that preparing them is not counted.
const MOST_ACKS: usize = 2_000;
