//! HD-66, F-39: every public future, dropped at every point, leaves nothing behind.

use std::future::Future;

use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::sim::{Pair, Sim, Step};
use crate::{Bytes, Client, RequestOptions};

/// Polls a future k times and drops it, for k = 0, 1, 2 … until it is done. After each, both ends
/// come to rest with empty tables, and the connection works.
fn at_every_poll<F>(size: usize, begin: impl Fn(Client<Sim>) -> F)
where
    F: Future,
{
    // Small steps make many points to drop at.
    let pair = Pair::new(false, 3000, &[Step::Octets(size)]);
    for polls in 0.. {
        assert!(polls < 100_000, "it is never done");
        let mut done = false;
        {
            let mut work = Box::pin(begin(pair.client.clone()));
            for _ in 0..polls {
                if pair.sim.poll(work.as_mut()).is_ready() {
                    done = true;
                    break;
                }
            }
        }
        pair.sim.settle();
        let name = std::any::type_name::<F>();
        assert!(pair.is_empty(), "after {polls} polls of {name}");
        let echo = pair
            .sim
            .block_on(pair.client.call("Echo.whole", "still"))
            .unwrap();
        assert_eq!(echo.body, "still");
        if done {
            return;
        }
    }
}

fn octets(len: usize) -> Bytes {
    vec![b'x'; len].into()
}

/// Whole calls, with bodies that fit at once and bodies that do not.
#[test]
fn calls() {
    for size in [0, 1000, 300_000] {
        at_every_poll(997, move |client| async move {
            client.call("Echo.whole", octets(size)).await.unwrap()
        });
    }
    at_every_poll(97, |client| async move {
        client.call("Slow.yields", "a").await.unwrap()
    });
    at_every_poll(97, |client| async move {
        client.call("No.such", octets(300_000)).await.unwrap_err()
    });
    at_every_poll(97, |client| async move {
        client.call("Bad.panic", "").await.unwrap_err()
    });
}

/// Requests that stream, dropped with every handle that they have at the time.
#[test]
fn streams() {
    at_every_poll(997, |client| async move {
        let options = RequestOptions::default();
        let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
        out.write_all(b"first").await.unwrap();
        let mut reply = reply.await.unwrap();
        let mut room = [0; 5];
        reply.body.read_exact(&mut room).await.unwrap();
        let write = async {
            out.write_bytes(octets(200_000)).await.unwrap();
            out.finish().await.unwrap();
        };
        let read = async { reply.body.collect(1 << 20).await.unwrap() };
        futures_util::future::join(write, read).await
    });
    at_every_poll(97, |client| async move {
        let options = RequestOptions::default();
        let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
        out.write_bytes("a").await.unwrap();
        let mut reply = reply.wait().await.unwrap();
        reply.body.chunk().await.unwrap();
        out.fail("enough").unwrap();
        reply.body.chunk().await.unwrap_err()
    });
}

/// What has no reply, and what goes on.
#[test]
fn the_others() {
    at_every_poll(97, |client| async move {
        client.notify(octets(200_000)).await.unwrap()
    });
    at_every_poll(97, |client| async move {
        let mut out = client.notify_stream().await.unwrap();
        out.write_bytes(octets(200_000)).await.unwrap();
        out.finish().await.unwrap();
    });
    at_every_poll(97, |client| async move {
        let mut changes = client.subscribe(&["stock"]).await.unwrap();
        changes.next().await.unwrap()
    });
}

/// A handle that waits for the connection's end can be given up, too.
#[test]
fn waiting_for_the_end() {
    let pair = Pair::new(false, 3000, &[]);
    for _ in 0..3 {
        let mut wait = Box::pin(pair.client.wait_closed());
        assert!(pair.sim.poll(wait.as_mut()).is_pending());
        assert!(pair.sim.poll(wait.as_mut()).is_pending());
    }
    assert!(pair.is_empty());
    pair.client.close();
    pair.sim.block_on(pair.client.wait_closed());
}
