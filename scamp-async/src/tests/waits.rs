//! Callers that wait for room, and that nobody is forgotten among them.

use std::task::Poll;

use scamp_proto::session::{Config, Side};

use super::sim::Pair;
use crate::{CallError, SendError};

fn narrow(max_outstanding: usize) -> Pair {
    let config = Config {
        max_outstanding,
        ..Config::new(Side::Client)
    };
    Pair::with(false, 1 << 16, &[], |client| client.session(config))
}

/// Hardening 4.2: with two requests outstanding, the others wait, and all get their turn.
#[test]
fn everybody_gets_a_turn() {
    let pair = narrow(2);
    pair.sim.block_on(async {
        let calls = (0..50).map(|n| pair.client.call("Slow.yields", format!("{n}")));
        for (n, reply) in futures_util::future::join_all(calls)
            .await
            .into_iter()
            .enumerate()
        {
            assert_eq!(reply.unwrap().body, n.to_string());
        }
    });
    pair.sim.settle();
    assert!(pair.is_empty());
}

/// F-39: who is called and goes away passes the turn on.
#[test]
fn a_turn_is_passed_on() {
    let pair = narrow(1);
    let mut first = Box::pin(pair.client.call("Slow.never", ""));
    assert!(pair.sim.poll(first.as_mut()).is_pending());
    let mut second = Box::pin(pair.client.call("Echo.whole", "2"));
    let mut third = Box::pin(pair.client.call("Echo.whole", "3"));
    assert!(pair.sim.poll(second.as_mut()).is_pending());
    assert!(pair.sim.poll(third.as_mut()).is_pending());
    // The second is called, and dropped before it can look.
    drop(first);
    drop(second);
    assert_eq!(pair.sim.block_on(third).unwrap().body, "3");
    pair.client.close();
    pair.sim.settle();
}

/// F-42: whoever waits when the connection ends is told so.
#[test]
fn the_end_calls_everybody() {
    let pair = narrow(1);
    let mut first = Box::pin(pair.client.call("Slow.never", ""));
    let mut second = Box::pin(pair.client.call("Echo.whole", "2"));
    assert!(pair.sim.poll(first.as_mut()).is_pending());
    assert!(pair.sim.poll(second.as_mut()).is_pending());
    pair.client.close();
    pair.sim.settle();
    assert!(matches!(
        pair.sim.poll(first.as_mut()),
        Poll::Ready(Err(CallError::NoReply(_)))
    ));
    let second = pair.sim.poll(second.as_mut());
    assert!(matches!(
        second,
        Poll::Ready(Err(CallError::NotSent(SendError::Closed)))
    ));
}
