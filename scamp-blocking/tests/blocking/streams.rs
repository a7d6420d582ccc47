//! Bodies that stream.

use std::io::{Read, Write};
use std::thread;

use scamp_blocking::{BodyError, CallError, Reply, RequestOptions, Service};

use crate::support::{
    Running, actions, begin, bounded, echo, head, identity, octets, roomy, service,
};
use scamp_blocking::scamp_proto::session::Side;

/// F-9, R-14: both ends write 32 MiB at once; with small reads and writes of odd sizes.
#[test]
fn both_ways_at_once() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let (mut out, reply) = begin(&client, "Test.stream");
        let sent = octets(32 << 20);
        let expected = sent.clone();
        let writer = thread::spawn(move || {
            for piece in sent.chunks(70_001) {
                out.write_all(piece).unwrap();
            }
            out.finish().unwrap();
        });
        let mut body = reply.wait().unwrap().body;
        let mut room = vec![0; 9_973];
        let mut at = 0;
        loop {
            match body.read(&mut room).unwrap() {
                0 => break,
                count => {
                    assert!(room[..count] == expected[at..at + count]);
                    at += count;
                }
            }
        }
        assert_eq!(at, expected.len());
        assert_eq!(body.read(&mut room).unwrap(), 0);
        writer.join().unwrap();
    });
}

/// F-9: both ends write more than the sockets hold before either application reads.
#[test]
fn both_write_first() {
    bounded(|| {
        let no_window = |side| {
            let mut config = roomy(side);
            config.connection.max_inflight = Some(0);
            config.connection.max_queued = 16 << 20;
            config
        };
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .session(no_window(Side::Server))
                .streaming_action("Test.cross", |request| {
                    Ok(Reply::stream(move |out| {
                        out.write_all(&vec![b'y'; 6 << 20])?;
                        out.flush()?;
                        let mut count = 0;
                        for piece in request.body {
                            count += piece.map_err(std::io::Error::other)?.len();
                        }
                        write!(out, "{count}")
                    }))
                })
                .unwrap(),
        );
        let client = service.client_with(|builder| builder.session(no_window(Side::Client)));
        for _ in 0..5 {
            let (mut out, reply) = begin(&client, "Test.cross");
            out.write_bytes(vec![b'x'; 6 << 20].into()).unwrap();
            out.finish().unwrap();
            let body = reply.wait().unwrap().whole(8 << 20).unwrap().body;
            assert!(body.ends_with(b"y6291456"));
            assert_eq!(body.len(), (6 << 20) + 7);
        }
    });
}

/// S-10, HD-50: a body that ends in error is never taken for complete, in either direction.
#[test]
fn a_failed_body_is_no_end() {
    bounded(|| {
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .action("Test.half", |_| {
                    Ok(Reply::stream(|out| {
                        out.write_all(b"half")?;
                        out.flush()?;
                        Err(std::io::Error::other("no more"))
                    }))
                })
                .unwrap()
                .action("Test.burst", |_| {
                    Ok(Reply::stream(|out| {
                        out.write_all(b"half")?;
                        out.flush()?;
                        panic!("as the test wants it")
                    }))
                })
                .unwrap(),
        );
        let client = service.client();
        for (action, text) in [
            ("Test.half", "no more"),
            ("Test.burst", "message abandoned"),
        ] {
            let (body, reply) = client
                .request(head(action), &RequestOptions::default())
                .unwrap();
            body.finish().unwrap();
            let mut body = reply.wait().unwrap().body;
            let mut all = Vec::new();
            let error = body.read_to_end(&mut all).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::Other);
            assert_eq!(error.get_ref().unwrap().to_string(), text);
            assert_eq!(
                body.chunk(),
                Err(BodyError::PeerError(text.into())),
                "told again"
            );
            assert!(all.is_empty() || all == b"half");
        }
        let (body, reply) = begin(&client, "Test.stream");
        body.fail("cannot go on").unwrap();
        let error = reply.wait().and_then(|reply| reply.whole(9)).unwrap_err();
        assert!(
            matches!(
                error,
                CallError::Remote(_) | CallError::Body(BodyError::PeerError(_))
            ),
            "{error:?}"
        );
    });
}

/// S-13: a reply that is complete before its request ends the request's body.
#[test]
fn an_early_reply_ends_the_request() {
    bounded(|| {
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .streaming_action("Test.no", |_| Ok(Reply::new("no need")))
                .unwrap(),
        );
        let client = service.client();
        let (mut out, reply) = begin(&client, "Test.no");
        let piece = bytes::Bytes::from(vec![0; 1 << 20]);
        let error = (0..1000).find_map(|_| out.write_bytes(piece.clone()).err());
        assert!(error.is_some(), "the body was wanted to the end");
        assert_eq!(reply.wait().unwrap().whole(99).unwrap().body, "no need");
        assert_eq!(
            client.call(head("Test.no"), vec![0; 8 << 20]).unwrap().body,
            "no need"
        );
    });
}

/// a reader that stops slows its peer, and nobody else.
#[test]
fn a_reader_that_waits_slows_its_peer() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let (mut out, reply) = begin(&client, "Test.stream");
        let writer = thread::spawn(move || {
            for _ in 0..64 {
                out.write_bytes(vec![b'z'; 1 << 20].into()).unwrap();
            }
            out.finish().unwrap();
        });
        let body = reply.wait().unwrap().body;
        for _ in 0..20 {
            echo(&client, "quick");
        }
        assert!(!writer.is_finished(), "64 MiB went nowhere");
        let len: usize = body.into_iter().map(|piece| piece.unwrap().len()).sum();
        assert_eq!(len, 64 << 20);
        writer.join().unwrap();
    });
}
