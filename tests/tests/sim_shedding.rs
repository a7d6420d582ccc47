//! Pause, then shed, then close (HD-24, A-10).

mod sim_support;

use std::time::Duration;

use bytes::Bytes;
use scamp_proto::connection::Read;
use scamp_proto::session::{Event, RecvId, RequestOptions, SendId, ServeId, Session};
use scamp_proto::sim::Pair;
use scamp_proto::wire::{RemoteError, ReplyHead, RequestHead};
use scamp_proto::{BodyError, CloseReason, Duplex, Instant};
use sim_support::{START, pair_with, reason, tell};

/// A service that sends back what it reads, as it reads it.
#[derive(Default)]
struct Echo {
    open: Vec<(ServeId, RecvId, Option<SendId>, Bytes, bool)>,
    shed: usize,
}

impl Echo {
    fn act(&mut self, now: Instant, session: &mut Session) -> bool {
        let mut acted = false;
        while let Some(event) = session.poll_event() {
            acted = true;
            if let Event::Request { id, body, .. } = event {
                self.open.push((id, body, None, Bytes::new(), false));
            }
        }
        let mut still = Vec::new();
        for (id, body, mut send, mut held, mut done) in std::mem::take(&mut self.open) {
            if send.is_none() {
                send = session.reply(now, id, &ReplyHead::default()).ok();
                acted = true;
            }
            let to = send.expect("a reply");
            loop {
                if !held.is_empty() {
                    let count = session.write(now, to, &mut held).unwrap_or_default();
                    acted |= count > 0;
                    if !held.is_empty() {
                        break;
                    }
                }
                match session.read(now, body) {
                    Read::Data(octets) => held = octets,
                    Read::Pending => break,
                    Read::End => {
                        session.finish(now, to).expect("it is open");
                        done = true;
                    }
                    Read::Failed(error) => {
                        self.shed += usize::from(error == BodyError::Overloaded);
                        session.fail(now, to, "cut short").expect("it is open");
                        done = true;
                    }
                    Read::Gone => panic!("a body without an end"),
                }
                acted = true;
                if done {
                    break;
                }
            }
            if !done {
                still.push((id, body, send, held, done));
            }
        }
        self.open = still;
        acted
    }
}

/// `count` streamed echoes of 512 KiB with this bound, the client reading one reply after another.
/// Returns how many were complete, and the most octets held unread.
fn echoes(count: usize, max_buffered: usize) -> (usize, usize) {
    let len = 512 << 10;
    let mut pair: Pair<Session, Session> = pair_with(|config| {
        config.connection.max_buffered = 64 << 20;
        config.connection.max_inflight = Some(65_536);
        config.connection.max_queued = 64 << 20;
    });
    pair.client.set_allowance(START, max_buffered);
    for pipe in &mut pair.pipes {
        *pipe = scamp_proto::sim::Pipe::new(scamp_proto::sim::Link {
            capacity: 65_536,
            piece: 16_384,
            ..Default::default()
        });
    }
    let options = RequestOptions {
        timeout: Some(Duration::from_secs(3600)),
        ..RequestOptions::default()
    };
    let body = Bytes::from(vec![b'x'; len]);
    let mut sends = Vec::new();
    let mut order = Vec::new();
    for _ in 0..count {
        let head = RequestHead::new("Echo.stream");
        let (id, send) = pair.client.request(START, &head, &options).expect("open");
        sends.push((send, body.clone()));
        order.push((id, None::<RecvId>, 0_usize));
    }
    let mut echo = Echo::default();
    let (mut reading, mut complete, mut most) = (0, 0, 0);
    while reading < count {
        let now = pair.now;
        let mut moved = pair.step() | echo.act(now, &mut pair.server);
        let client = &mut pair.client;
        while let Some(event) = client.poll_event() {
            moved = true;
            if let Event::Reply { id, body, .. } = event {
                let place = order.iter_mut().find(|(other, ..)| *other == id);
                place.expect("a request that was made").1 = Some(body);
            }
        }
        sends.retain_mut(|(send, body)| match client.write(now, *send, body) {
            Ok(written) if body.is_empty() => {
                moved |= written > 0;
                client.finish(now, *send).expect("it is open");
                false
            }
            Ok(written) => {
                moved |= written > 0;
                true
            }
            Err(_) => false,
        });
        let (_, reply, read) = &mut order[reading];
        if let Some(body) = *reply {
            match client.read(now, body) {
                Read::Data(octets) => {
                    *read += octets.len();
                    moved = true;
                }
                Read::Pending => {}
                Read::End => {
                    assert_eq!(*read, len, "HD-50");
                    complete += 1;
                    reading += 1;
                    moved = true;
                }
                Read::Failed(_) | Read::Gone => {
                    reading += 1;
                    moved = true;
                }
            }
        }
        most = most.max(pair.client.connection().buffered());
        if !moved {
            assert!(
                pair.now < START + Duration::from_secs(600),
                "deadlock with {count} echoes"
            );
            assert!(
                pair.advance(),
                "deadlock with {count} echoes and nothing due"
            );
        }
    }
    (complete, most)
}

/// HD-24, HD-25: echoes that block each other for ever with a pause alone come to an end. Only the
/// excess is shed, and no more is held than the bound and one piece of input.
#[test]
fn shedding_ends_what_pausing_cannot() {
    for (count, bound, shed) in [
        (32, 1 << 20, 16),
        (64, 1 << 20, 48),
        (128, 4 << 20, 64),
        (128, 8 << 20, 0),
        (256, 8 << 20, 128),
    ] {
        let (complete, most) = echoes(count, bound);
        println!("{count} echoes, {bound} octets: {complete} complete, {most} held");
        assert_eq!(count - complete, shed, "of {count} at {bound}");
        assert!(
            most <= bound + 131_072,
            "{most} held with a bound of {bound}"
        );
    }
}

/// HD-24: the largest unread message goes, ties to the newest; the others stay.
#[test]
fn the_largest_is_shed() {
    let mut pair = pair_with(|config| config.connection.max_buffered = 1000);
    let request = |id| format!("{{\"type\":\"request\",\"request_id\":{id},\"action\":\"A.b\"}}");
    let (small, large) = ("x".repeat(300), "x".repeat(400));
    tell(
        &mut pair.server,
        START,
        &[
            ("HEADER", 0, &request(1)),
            ("DATA", 0, &small),
            ("HEADER", 1, &request(2)),
            ("DATA", 1, &large),
            ("HEADER", 2, &request(3)),
            ("DATA", 2, &large),
        ],
    );
    assert!(!pair.server.wants_read(), "A-10");
    let bodies: Vec<(ServeId, RecvId)> = sim_support::events(&mut pair.server)
        .into_iter()
        .filter_map(|event| match event {
            Event::Request { id, body, .. } => Some((id, body)),
            _ => None,
        })
        .collect();
    let due = START + Duration::from_secs(5);
    assert_eq!(pair.server.poll_timeout(), Some(due), "flow.shed_after");
    pair.server.handle_timeout(due);
    assert!(pair.server.wants_read(), "no more than the bound");
    let overloaded = (Vec::new(), Read::Failed(BodyError::Overloaded));
    let newest = sim_support::read_all(&mut pair.server, due, bodies[2].1);
    assert_eq!(newest, overloaded);
    // It is given up, and nothing is taken of the others: what is too much now has had its time.
    pair.server.discard(due, bodies[2].1);
    let later = due + Duration::from_secs(1);
    tell(&mut pair.server, later, &[("DATA", 0, &"x".repeat(250))]);
    assert!(!pair.server.wants_read(), "A-10");
    let soon = later + Duration::from_millis(5);
    assert_eq!(pair.server.poll_timeout(), Some(soon));
    pair.server.handle_timeout(soon);
    assert!(pair.server.wants_read(), "no more than the bound");
    let read = |session: &mut Session, body| sim_support::read_all(session, soon, body);
    assert_eq!(read(&mut pair.server, bodies[0].1), overloaded);
    pair.server.discard(soon, bodies[0].1);
    let error = RemoteError::new("overloaded", "x");
    assert_eq!(pair.server.reply_error(soon, bodies[0].0, error), Ok(()));
    // Now something is taken, and the application has time again.
    let stays = (large.into_bytes(), Read::Pending);
    assert_eq!(read(&mut pair.server, bodies[1].1), stays);
    tell(&mut pair.server, soon, &[("DATA", 1, &"x".repeat(1001))]);
    assert!(!pair.server.wants_read(), "A-10");
    let due = soon + Duration::from_secs(5);
    assert_eq!(pair.server.poll_timeout(), Some(due));
}

/// HD-24, B-5: a message that is being collected costs its header, and can be shed like the others.
#[test]
fn headers_of_collected_messages_are_shed() {
    let mut pair = pair_with(|config| config.connection.max_buffered = 1000);
    let text = "x".repeat(400);
    let mut bodies = Vec::new();
    for n in 0..3 {
        let header = format!(
            "{{\"type\":\"request\",\"request_id\":{n},\"action\":\"A.b\",\"text\":\"{text}\"}}"
        );
        let packets = [("HEADER", n, &header[..]), ("DATA", n, "octets")];
        tell(&mut pair.server, START, &packets);
        for event in sim_support::events(&mut pair.server) {
            if let Event::Request { body, .. } = event {
                pair.server.collect(START, body, 100);
                bodies.push(body);
            }
        }
    }
    assert!(!pair.server.wants_read(), "A-10");
    let due = START + Duration::from_secs(5);
    pair.server.handle_timeout(due);
    assert!(pair.server.wants_read(), "no more than the bound");
    assert_eq!(
        sim_support::events(&mut pair.server)
            .iter()
            .filter(|event| matches!(event, Event::Readable(_)))
            .collect::<Vec<_>>(),
        [&Event::Readable(bodies[2])]
    );
    let shed = pair.server.take_whole(due, bodies[2]);
    assert_eq!(shed, Err(BodyError::Overloaded));
    // The others are complete as if nothing had been.
    tell(&mut pair.server, due, &[("EOF", 0, ""), ("EOF", 1, "")]);
    for body in &bodies[..2] {
        assert_eq!(pair.server.take_whole(due, *body), Ok("octets".into()));
    }
    assert_eq!(pair.server.connection().buffered(), 0);
}

/// A-10: with nothing left to shed, a stalled receiver ends the connection.
#[test]
fn nothing_left_to_shed() {
    let mut pair = pair_with(|config| config.connection.max_buffered = 100);
    let head = r#"{"type":"request","request_id":1,"action":"A.b"}"#;
    tell(&mut pair.server, START, &[("HEADER", 0, head)]);
    pair.server.set_allowance(START, 10);
    sim_support::events(&mut pair.server);
    let mut last = START;
    while let Some(at) = pair
        .server
        .poll_timeout()
        .filter(|at| *at <= START + Duration::from_secs(70))
    {
        pair.server.handle_timeout(at);
        last = at;
    }
    match reason(&mut pair.server) {
        None => assert!(pair.server.wants_read(), "paused for ever"),
        Some(CloseReason::ReceiverStalled(_)) => assert!(last >= START + Duration::from_secs(60)),
        Some(other) => panic!("{other:?}"),
    }
}
