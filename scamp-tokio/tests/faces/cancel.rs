//! Futures and handles dropped at every point (HD-66, F-39).

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use scamp_tokio::{Client, RequestOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Running, in_both, pattern};

/// Polls a future until it is done, at most `polls` times, each with time for others in between,
/// and drops it. Returns whether it was done.
async fn poll_and_drop(work: impl Future, polls: usize) -> bool {
    let mut work = pin!(work);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_ready())).await;
        if poll {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Drops what `begin` makes after 0, 1, 2 … polls, until it is done; each time the connection must
/// be as good as before.
async fn at_every_poll<F>(client: &Client, begin: impl Fn() -> F)
where
    F: Future,
{
    let mut polls = 0;
    while !poll_and_drop(begin(), polls).await {
        let body = pattern(polls, 1000);
        assert_eq!(
            client.call("Echo.whole", body.clone()).await.unwrap().body,
            body
        );
        // Every point up to the fiftieth; it takes longer only because it has to wait.
        polls = if polls < 50 { polls + 1 } else { polls * 2 };
    }
    assert_eq!(
        client.call("Echo.whole", "still").await.unwrap().body,
        "still"
    );
}

/// HD-66: calls, small and large.
#[test]
fn calls() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        for size in [0, 10, 200_000, 2 << 20] {
            at_every_poll(&client, || client.call("Echo.whole", pattern(0, size))).await;
        }
        at_every_poll(&client, || client.call("Slow.yields", "a")).await;
        at_every_poll(&client, || client.call("Bad.error", pattern(0, 1 << 20))).await;
        drop(client);
        service.stop().await;
    });
}

/// HD-66: requests that stream, with each of their handles.
#[test]
fn streams() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        at_every_poll(&client, || async {
            let options = RequestOptions::default();
            let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
            let write = async {
                out.write_all(&pattern(0, 400_000)).await.unwrap();
                out.flush().await.unwrap();
                out.finish().await.unwrap();
            };
            let read = async {
                let mut reply = reply.wait().await.unwrap();
                let mut room = [0; 1000];
                reply.body.read_exact(&mut room).await.unwrap();
                assert!(reply.body.collect(1 << 20).await.unwrap() == pattern(1000, 399_000));
            };
            tokio::join!(write, read);
        })
        .await;
        drop(client);
        service.stop().await;
    });
}

/// HD-66: subscriptions and notifications.
#[test]
fn the_others() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        service.handle.publish("stock", "a", "1");
        at_every_poll(&client, || async {
            client
                .subscribe(&["stock"])
                .await
                .unwrap()
                .next()
                .await
                .unwrap();
        })
        .await;
        at_every_poll(&client, || client.notify(pattern(0, 300_000))).await;
        at_every_poll(&client, || async {
            let mut out = client.notify_stream().await.unwrap();
            out.write_bytes(pattern(0, 300_000)).await.unwrap();
            out.finish().await.unwrap();
        })
        .await;
        let mut polls = 0;
        while polls < 10 {
            assert!(!poll_and_drop(client.wait_closed(), polls).await);
            polls += 1;
        }
        drop(client);
        service.stop().await;
    });
}

/// HD-66: connecting, by TLS, given up at every point; the service has forgotten each of them.
#[test]
fn connecting() {
    in_both(|| async {
        let service = Running::ordinary();
        let mut polls = 0;
        while !poll_and_drop(Client::connect(&service.address, service.pin()), polls).await {
            polls = if polls < 50 { polls + 1 } else { polls * 2 };
        }
        while service.handle.connections() > 0 {
            tokio::task::yield_now().await;
        }
        service.stop().await;
    });
}

/// F-39: a body or a pending reply that is dropped frees what it stands for at both ends.
#[test]
fn dropped_handles() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let options = RequestOptions::default();
        for round in 0..4 {
            let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
            out.write_all(b"a").await.unwrap();
            match round {
                0 => drop((out, reply)),
                1 => drop((reply, out)),
                2 => {
                    let mut reply = reply.wait().await.unwrap();
                    assert_eq!(reply.body.read_u8().await.unwrap(), b'a');
                    drop(reply);
                    // The request's body is of no use any more (S-14).
                    let more = pattern(0, 10 << 20);
                    assert!(out.write_all(&more).await.is_err());
                }
                _ => {
                    let mut reply = reply.wait().await.unwrap();
                    drop(out);
                    assert!(reply.body.read_to_end(&mut Vec::new()).await.is_err());
                }
            }
        }
        while service.handle.stats().requests_active > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.call("Echo.whole", "b").await.unwrap().body, "b");
        drop(client);
        service.stop().await;
    });
}
