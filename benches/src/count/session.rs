//! Sessions: whole requests and replies, headers written and read.

use std::time::Duration;

use bytes::Bytes;
use scamp_proto::session::{Config, Event, RequestOptions, SendId, Session, Side};
use scamp_proto::wire::{ReplyHead, RequestHead};
use scamp_proto::{Instant, Outbox};

use super::wire::TICKET_TEXT;
use super::{Job, carry, read_whole};

/// Its jobs.
pub const JOBS: &[Job] = &[
    echo("session-echo-1", |n| echoes(n, 1, false)),
    echo("session-echo-64", |n| echoes(n, 64, false)).times(1_024),
    Job::new("session-echo-1-ticket", |n| echoes(n, 1, true)),
];

/// Two messages, two allocations each with owned events.
const fn echo(name: &'static str, run: fn(u64)) -> Job {
    Job::new(name, run).goal("PF-11", Some(20_000), Some(4.0))
}

/// Two ends whose octets are carried by hand.
#[derive(Debug)]
pub struct Pair {
    client: Session,
    server: Session,
    out: Outbox,
    now: Instant,
    /// Times either end handed octets over: each would be one write.
    pub writes: u64,
}

impl Pair {
    /// Two ends with the settings that their sides have by default.
    pub fn new() -> Self {
        let now = Instant::EPOCH;
        Self {
            client: Session::new(Config::new(Side::Client), Side::Client, now),
            server: Session::new(Config::new(Side::Server), Side::Server, now),
            out: Outbox::default(),
            now,
            writes: 0,
        }
    }

    /// `callers` echoes at once: all requests, then all replies.
    pub fn echo(&mut self, callers: u64, head: &RequestHead<'_>, body: &Bytes) {
        let now = self.now;
        for _ in 0..callers {
            let options = RequestOptions::default();
            let (_, id) = self
                .client
                .request(now, head, &options)
                .expect("the connection is open");
            send(&mut self.client, now, id, body.clone());
        }
        self.writes += carry(&mut self.client, &mut self.server, &mut self.out, now);
        while let Some(event) = self.server.poll_event() {
            if let Event::Request { id, body, .. } = event {
                let request = read_whole(|| self.server.read(now, body));
                let reply = self.server.reply(now, id, &ReplyHead::default());
                send(
                    &mut self.server,
                    now,
                    reply.expect("it has no reply yet"),
                    request,
                );
            }
        }
        self.writes += carry(&mut self.server, &mut self.client, &mut self.out, now);
        let mut answered = 0;
        while let Some(event) = self.client.poll_event() {
            if let Event::Reply { body: id, .. } = event {
                let reply = read_whole(|| self.client.read(now, id));
                assert_eq!(reply.len(), body.len(), "the echo is the request");
                answered += 1;
            }
        }
        assert_eq!(answered, callers, "every request has its reply");
        self.now = now + STEP;
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// The request whose header the goals count with.
pub fn head() -> RequestHead<'static> {
    RequestHead::new("Benchmark.Echo.say")
        .client_id(1_234_567_890)
        .terminal("10.10.0.101")
}

fn echoes(times: u64, callers: u64, ticket: bool) {
    let head = if ticket {
        head().ticket(TICKET_TEXT)
    } else {
        head()
    };
    let body = Bytes::from_static(&[b'x'; 100]);
    let mut pair = Pair::new();
    for _ in 0..times / callers {
        pair.echo(callers, &head, &body);
    }
    assert!(pair.client.is_open() && pair.server.is_open());
}

/// Sends a whole body.
fn send(end: &mut Session, now: Instant, id: SendId, mut body: Bytes) {
    end.write(now, id, &mut body).expect("the message is open");
    assert!(body.is_empty(), "the queue has room");
    end.finish(now, id).expect("the message is open");
}

/// How far the clock goes each time.
const STEP: Duration = Duration::from_millis(20);
