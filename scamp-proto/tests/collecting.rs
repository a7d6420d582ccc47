//! Bodies that are kept back until they are complete (S-17, A-13).

use scamp_proto::connection::{Config, Connection, Event, Read};
use scamp_proto::{BodyError, Duplex, Instant};

fn events(conn: &mut Connection) -> Vec<Event> {
    core::iter::from_fn(|| conn.poll_event()).collect()
}

/// A-13, S-17: a body is told when it is complete, also if some of it had been told before.
#[test]
fn a_collected_body_is_told_at_its_end() {
    let now = Instant::EPOCH;
    let mut conn = Connection::new(Config::default(), now);
    conn.receive(now, b"HEADER 0 2\r\n{}END\r\nDATA 0 2\r\nhiEND\r\n");
    let told = events(&mut conn);
    let Some(Event::Opened { id, .. }) = told.first() else {
        panic!("{told:?}")
    };
    let id = *id;
    assert_eq!(told.last(), Some(&Event::Readable(id)));

    conn.collect(now, id, 100);
    assert_eq!(conn.read(now, id), Read::Pending);
    assert_eq!(events(&mut conn), []);
    conn.receive(now, b"EOF 0 0\r\nEND\r\n");
    assert_eq!(events(&mut conn), [Event::Readable(id), Event::Ended(id)]);
    assert_eq!(conn.read(now, id), Read::Data("hi".into()));
    assert_eq!(conn.read(now, id), Read::End);
    assert_eq!(conn.read(now, id), Read::Gone);
    assert!(conn.is_empty());
}

/// A-13, HD-15: n octets are within a limit of n, n + 1 are not; the rest is dropped, and harms
/// nothing else.
#[test]
fn a_body_over_its_limit_fails_at_once() {
    for (limit, fits) in [(2, true), (1, false)] {
        let now = Instant::EPOCH;
        let mut conn = Connection::new(Config::default(), now);
        conn.receive(now, b"HEADER 0 2\r\n{}END\r\n");
        let Some(Event::Opened { id, .. }) = conn.poll_event() else {
            panic!()
        };
        conn.collect(now, id, limit);
        conn.receive(now, b"DATA 0 2\r\nhiEND\r\n");
        if fits {
            assert_eq!(conn.read(now, id), Read::Pending);
        } else {
            assert!(
                events(&mut conn)
                    .iter()
                    .any(|event| matches!(event, Event::Note(_)))
            );
            assert_eq!(
                conn.read(now, id),
                Read::Failed(BodyError::BodyTooLarge(limit))
            );
        }
        conn.receive(now, b"EOF 0 0\r\nEND\r\nHEADER 1 2\r\n{}END\r\n");
        assert!(!conn.is_closed());
        assert!(
            events(&mut conn)
                .iter()
                .any(|event| matches!(event, Event::Opened { .. }))
        );
    }
}
