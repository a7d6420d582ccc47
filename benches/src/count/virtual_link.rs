//! A link with a round-trip time and no sockets, where throughput is a number to assert.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use scamp_proto::connection::{Config, Event, Read};
use scamp_proto::{Connection, Duplex, Header, Instant, Outbox};

use super::wire::PLAIN;

/// The rate of a long reply with `window` octets in flight, divided by `window` / `rtt` (PF-15).
///
/// The link has no limit but its delay, and neither end takes any time, so the quotient is at most
/// 1 and the same in every run. The first window is not counted.
pub fn share_of_window_rate(window: u64, rtt: Duration) -> f64 {
    let config = Config {
        max_inflight: Some(window),
        ..Config::default()
    };
    let mut now = Instant::EPOCH;
    let mut client = Connection::new(config.clone(), now);
    let mut server = Connection::new(config, now);
    let header = Header::decode(PLAIN.as_bytes()).expect("a JSON object");
    let id = server.open(now, &header).expect("the connection is open");
    let endless = Bytes::from(vec![b'x'; 1 << 20]);

    let (mut down, mut up) = (Link::new(rtt / 2), Link::new(rtt / 2));
    let (mut reading, mut received) = (None, 0_u64);
    let mut from = None;
    loop {
        loop {
            let mut piece = endless.clone();
            if server
                .write(now, id, &mut piece)
                .expect("the message is open")
                == 0
            {
                break;
            }
            down.take_from(&mut server, now);
        }
        down.take_from(&mut server, now);
        up.take_from(&mut client, now);
        while server.poll_event().is_some() {}

        now = match (down.next(), up.next()) {
            (Some(one), Some(other)) => one.min(other),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => unreachable!("an open window has DATA or ACKs under way"),
        };
        down.give_to(&mut client, now);
        up.give_to(&mut server, now);
        while let Some(event) = client.poll_event() {
            if let Event::Opened { id, .. } = event {
                reading = Some(id);
            }
        }
        while let Some(Read::Data(octets)) = reading.map(|id| client.read(now, id)) {
            received += octets.len() as u64;
        }
        match from {
            None if received >= window => from = Some((now, received)),
            Some((begun, before)) if received >= WINDOWS * window => {
                let seconds = (now.since_epoch() - begun.since_epoch()).as_secs_f64();
                let rate = (received - before) as f64 / seconds;
                return rate / (window as f64 / rtt.as_secs_f64());
            }
            None | Some(_) => {}
        }
    }
}

/// One direction: octets and when they arrive.
struct Link {
    delay: Duration,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    out: Outbox,
}

impl Link {
    fn new(delay: Duration) -> Self {
        Self {
            delay,
            under_way: VecDeque::new(),
            out: Outbox::default(),
        }
    }

    fn take_from(&mut self, end: &mut Connection, now: Instant) {
        while end.poll_transmit(now, &mut self.out).is_some() {
            self.under_way
                .push_back((now + self.delay, self.out.take_all()));
        }
    }

    fn next(&self) -> Option<Instant> {
        self.under_way.front().map(|(at, _)| *at)
    }

    fn give_to(&mut self, end: &mut Connection, now: Instant) {
        while self.next().is_some_and(|at| at <= now) {
            if let Some((_, octets)) = self.under_way.pop_front() {
                end.receive(now, &octets);
            }
        }
        end.handle_timeout(now);
    }
}

/// Windows that a measurement lasts.
const WINDOWS: u64 = 50;
