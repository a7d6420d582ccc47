//! Bodies that stream, and the pressure that goes back along them.

use futures_util::StreamExt;
use scamp_tokio::{BodyError, RequestHead, RequestOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Running, in_both, pattern};

const LARGE: usize = 64 << 20;

/// S-4: a body of 64 MiB goes up, another comes down, and no octet of them is wrong.
#[test]
fn large_bodies() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let options = RequestOptions::default();
        let up = async {
            let (mut body, reply) = client.request("Check.octets", &options).await.unwrap();
            let mut at = 0;
            while at < LARGE {
                let piece = pattern(at, 1 << 18);
                at += piece.len();
                body.write_bytes(piece).await.unwrap();
            }
            body.finish().await.unwrap();
            let reply = reply.wait().await.unwrap().whole(100).await.unwrap();
            assert_eq!(reply.text(), Ok(LARGE.to_string().as_str()));
        };
        let down = async {
            let head = RequestHead::new("Make.octets").extra("size", LARGE.to_string());
            let (body, reply) = client.request(head, &options).await.unwrap();
            body.finish().await.unwrap();
            let mut reply = reply.wait().await.unwrap();
            let mut at = 0;
            while let Some(piece) = reply.body.next().await {
                let piece = piece.unwrap();
                assert!(piece == pattern(at, piece.len()), "after {at}");
                at += piece.len();
            }
            assert_eq!(at, LARGE);
        };
        tokio::join!(up, down);
        drop(client);
        service.stop().await;
    });
}

/// F-9: both ends write more than the sockets hold, on several exchanges at once; all of it arrives.
#[test]
fn both_ends_write_at_once() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let echoes: Vec<_> = (0..4_usize)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    let size = 4 << 20;
                    let options = RequestOptions::default();
                    let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
                    let writing = tokio::spawn(async move {
                        out.write_all(&pattern(n, size)).await.unwrap();
                        out.shutdown().await.unwrap();
                    });
                    let mut reply = reply.await.unwrap();
                    let mut all = Vec::new();
                    reply.body.read_to_end(&mut all).await.unwrap();
                    assert!(all == pattern(n, size));
                    writing.await.unwrap();
                })
            })
            .collect();
        for echo in echoes {
            echo.await.unwrap();
        }
        drop(client);
        service.stop().await;
    });
}

/// a writer waits for a reader that does not read, and others do not wait with it.
#[test]
fn a_slow_reader_slows_its_writer_only() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let options = RequestOptions::default();
        let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
        out.write_all(b"first").await.unwrap();
        let mut reply = reply.wait().await.unwrap();
        // Nobody reads the echo, so at some point no more is taken.
        let flood = tokio::spawn(async move {
            out.write_all(&pattern(0, 4 << 20)).await.unwrap();
            out.finish().await.unwrap();
        });
        for n in 0..100 {
            let body = pattern(n, 1000);
            assert_eq!(
                client.call("Echo.whole", body.clone()).await.unwrap().body,
                body
            );
        }
        assert!(!flood.is_finished());
        assert!(service.handle.stats().memory < 2 << 20);
        let mut all = Vec::new();
        reply.body.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 5 + (4 << 20));
        flood.await.unwrap();
        drop(client);
        service.stop().await;
    });
}

/// R-14, HD-50: a reply that breaks off is an error to every kind of reader, and never an end.
#[test]
fn a_cut_reply_is_no_end() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let options = RequestOptions::default();
        let lost = BodyError::PeerError("message abandoned".into());

        let begin = || async {
            let (body, reply) = client.request("Bad.half", &options).await.unwrap();
            (body, reply.wait().await.unwrap())
        };
        let (body, mut reply) = begin().await;
        let mut room = [0; 7];
        reply.body.read_exact(&mut room).await.unwrap();
        assert_eq!(&room, b"half of");
        body.finish().await.unwrap();
        let error = reply.body.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Other);
        assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&lost));
        assert!(
            reply.body.read(&mut room).await.is_err(),
            "and so is every read from then on"
        );

        let (body, mut reply) = begin().await;
        assert_eq!(reply.body.next().await, Some(Ok("half of".into())));
        body.finish().await.unwrap();
        assert_eq!(reply.body.next().await, Some(Err(lost.clone())));
        assert_eq!(reply.body.next().await, None);

        let (body, reply) = begin().await;
        body.finish().await.unwrap();
        assert_eq!(reply.body.collect(100).await, Err(lost));
        drop(client);
        service.stop().await;
    });
}

/// S-10: what a client gives up half-way reaches the handler as an error, and is answered.
#[test]
fn a_request_that_is_given_up() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let options = RequestOptions::default();
        for drops in [false, true] {
            let (mut body, reply) = client.request("Check.octets", &options).await.unwrap();
            body.write_all(&pattern(0, 1000)).await.unwrap();
            // By the time this is answered, the handler of the other has begun.
            client.call("Echo.whole", "").await.unwrap();
            let text = match drops {
                true => {
                    drop(body);
                    "message abandoned"
                }
                false => {
                    body.fail("the disk is gone").unwrap();
                    "the disk is gone"
                }
            };
            let reply = reply.wait().await.unwrap();
            assert_eq!(reply.error().unwrap().text, text);
        }
        drop(client);
        service.stop().await;
    });
}
