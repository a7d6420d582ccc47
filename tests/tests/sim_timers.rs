//! Everything that happens because time passes (S-20…S-27, HD-30…HD-32).

mod sim_support;

use std::time::Duration;

use scamp_proto::connection::{Heartbeat, Read};
use scamp_proto::session::{Event, RequestOptions, Session, Side};
use scamp_proto::wire::RequestHead;
use scamp_proto::{
    BodyError, CloseReason, Duplex, ExchangeError, Instant, SendError, ViolationKind,
};
use sim_support::{
    START, at, events, pair, pair_with, reason, sent, session, tell, violation, write,
};

fn seconds(count: u64) -> Instant {
    START + Duration::from_secs(count)
}

/// Lets time pass, ringing when it is asked for.
fn pass(session: &mut Session, until: Instant) {
    while let Some(due) = session.poll_timeout().filter(|due| *due <= until) {
        session.handle_timeout(due);
        sent(session, due);
    }
    session.handle_timeout(until);
    sent(session, until);
}

/// S-20, S-24, S-25: an idle connection ends on time, and what passes restarts the clock in full.
#[test]
fn idle_connections_end() {
    let mut pair = pair();
    pair.advance_to(at(89_999));
    assert!(pair.client.is_open());
    pair.advance_to(seconds(90));
    let limit = Duration::from_secs(90);
    assert_eq!(reason(&mut pair.client), Some(CloseReason::Idle(limit)));
    assert!(pair.is_over());
    assert_eq!(reason(&mut pair.server), Some(CloseReason::ClosedByPeer));

    let mut client = session(Side::Client);
    tell(&mut client, seconds(50), &[("PING", 0, "")]);
    sent(&mut client, seconds(50));
    pass(&mut client, at(139_999));
    assert!(client.is_open());
    pass(&mut client, seconds(140));
    assert_eq!(reason(&mut client), Some(CloseReason::Idle(limit)));
}

/// S-23: a request in progress is no idleness, on either side.
#[test]
fn busy_connections_stay() {
    let mut pair = pair_with(|config| config.timeout = Duration::from_secs(1000));
    let head = RequestHead::new("A.b");
    let (_, send) = pair
        .client
        .request(START, &head, &RequestOptions::default())
        .expect("open");
    pair.client.finish(START, send).expect("open");
    pair.advance_to(seconds(900));
    assert!(pair.client.is_open() && pair.server.is_open());
}

/// S-21: a deadline passes when it says, not before; explicit values win; zero and for ever are legal
/// (HD-32).
#[test]
fn deadlines() {
    for (timeout, due) in [
        (None, Duration::from_secs(75)),
        (
            Some(Duration::from_millis(1500)),
            Duration::from_millis(1500),
        ),
        (Some(Duration::ZERO), Duration::ZERO),
    ] {
        let mut client = session(Side::Client);
        let options = RequestOptions {
            timeout,
            ..RequestOptions::default()
        };
        let (id, _) = client
            .request(START, &RequestHead::new("A.b"), &options)
            .expect("open");
        sent(&mut client, START);
        if !due.is_zero() {
            pass(&mut client, START + (due - Duration::from_nanos(1)));
            assert_eq!(events(&mut client), []);
        }
        client.handle_timeout(START + due);
        let failed = Event::Failed {
            id,
            error: ExchangeError::Timeout(1),
        };
        assert!(events(&mut client).contains(&failed));
        assert!(sent(&mut client, START + due).ends_with("TXERR 0 9|cancelledEND|"));
    }
    let mut client = session(Side::Client);
    let options = RequestOptions {
        timeout: Some(Duration::MAX),
        ..RequestOptions::default()
    };
    client
        .request(START, &RequestHead::new("A.b"), &options)
        .expect("open");
    sent(&mut client, START);
    pass(&mut client, seconds(1 << 40));
    assert_eq!(events(&mut client), []);
}

/// S-20: the deadline ends with the reply's header, unless it was to cover the body.
#[test]
fn deadlines_and_bodies() {
    for covers in [false, true] {
        let mut client = session(Side::Client);
        let options = RequestOptions {
            timeout: Some(Duration::from_secs(5)),
            timeout_covers_body: covers,
            ..RequestOptions::default()
        };
        let (_, send) = client
            .request(START, &RequestHead::new("A.b"), &options)
            .expect("open");
        client.finish(START, send).expect("open");
        sent(&mut client, START);
        tell(
            &mut client,
            START,
            &[("HEADER", 0, r#"{"type":"reply","request_id":1}"#)],
        );
        let body = events(&mut client)
            .into_iter()
            .find_map(|event| match event {
                Event::Reply { body, .. } => Some(body),
                _ => None,
            });
        pass(&mut client, seconds(6));
        let due = if covers {
            Read::Failed(BodyError::Timeout)
        } else {
            Read::Pending
        };
        assert_eq!(client.read(seconds(6), body.expect("a reply")), due);
    }
}

/// S-22: after a timeout without one octet from the peer, nothing more is asked of it; after one
/// with octets, it is.
#[test]
fn suspects() {
    for heard in [false, true] {
        let mut client = session(Side::Client);
        let head = RequestHead::new("A.b");
        client
            .request(START, &head, &RequestOptions::default())
            .expect("open");
        sent(&mut client, START);
        if heard {
            tell(&mut client, seconds(1), &[("PONG", 0, "")]);
        }
        pass(&mut client, seconds(75));
        assert_eq!(client.is_open(), heard);
        let again = client.request(seconds(75), &head, &RequestOptions::default());
        match heard {
            true => assert!(again.is_ok()),
            false => assert!(matches!(
                again,
                Err(SendError::Draining | SendError::Closed)
            )),
        }
    }
}

/// S-27, W-18: PING at the interval; a missing PONG ends it, whatever else is heard.
#[test]
fn heartbeats() {
    let beat = Duration::from_secs(10);
    let mut end = pair_with(|config| config.connection.heartbeat = Heartbeat::On(beat)).client;
    end.handle_timeout(seconds(10));
    assert_eq!(sent(&mut end, seconds(10)), "PING 0 0|END|");
    tell(&mut end, seconds(11), &[("PONG", 0, "")]);
    end.handle_timeout(seconds(20));
    assert_eq!(sent(&mut end, seconds(20)), "PING 0 0|END|");
    tell(&mut end, seconds(25), &[("PING", 0, "")]);
    assert_eq!(sent(&mut end, seconds(25)), "PONG 0 0|END|");
    end.handle_timeout(seconds(30));
    assert_eq!(reason(&mut end), Some(CloseReason::HeartbeatExpired(beat)));

    let mut end = pair_with(|config| config.connection.heartbeat = Heartbeat::Auto).client;
    end.handle_timeout(seconds(60));
    assert_eq!(
        sent(&mut end, seconds(60)),
        "",
        "not before the peer has sent one"
    );
    tell(&mut end, seconds(61), &[("PING", 3, "ignored")]);
    assert_eq!(sent(&mut end, seconds(61)), "PONG 3 0|END|");
    end.handle_timeout(seconds(76));
    assert_eq!(sent(&mut end, seconds(76)), "PING 0 0|END|");
}

/// HD-30, B-12: a packet once begun must be complete in 30 s, however it is dribbled.
#[test]
fn packets_have_to_end() {
    let mut server = session(Side::Server);
    for second in 0..30 {
        server.receive(
            seconds(second),
            b"HEADER 0 90\r\n{"
                .get(second as usize..=second as usize)
                .unwrap_or(b" "),
        );
    }
    pass(&mut server, at(29_999));
    assert!(!server.connection().is_closed());
    pass(&mut server, seconds(30));
    assert_eq!(violation(&mut server), Some(ViolationKind::PacketTimeout));
}

/// HD-30: a request that brings nothing for 300 s ends, and is still answered.
#[test]
fn requests_have_to_go_on() {
    let mut server = session(Side::Server);
    tell(
        &mut server,
        START,
        &[(
            "HEADER",
            0,
            r#"{"type":"request","request_id":1,"action":"a.b"}"#,
        )],
    );
    let body = events(&mut server)
        .into_iter()
        .find_map(|event| match event {
            Event::Request { body, .. } => Some(body),
            _ => None,
        });
    tell(&mut server, seconds(200), &[("DATA", 0, "x")]);
    let body = body.expect("a request");
    assert_eq!(server.read(seconds(200), body), Read::Data("x".into()));
    pass(&mut server, seconds(499));
    assert_eq!(server.read(seconds(499), body), Read::Pending);
    pass(&mut server, seconds(500));
    assert_eq!(
        server.read(seconds(500), body),
        Read::Failed(BodyError::Timeout)
    );
    assert_eq!(server.serving(), 1);
}

/// HD-31, F-10: a transport that takes nothing, or next to nothing, for 120 s is given up.
#[test]
fn transports_have_to_take() {
    let mut client = session(Side::Client);
    let send = client.notify(START).expect("open");
    write(&mut client, START, send, &[b'x'; 60_000]).expect("open");
    assert_eq!(client.poll_timeout(), Some(seconds(120)));
    client.handle_timeout(seconds(120));
    let limit = Duration::from_secs(120);
    assert_eq!(reason(&mut client), Some(CloseReason::PeerStalled(limit)));
}
