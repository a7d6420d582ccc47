//! The connection's task: how it moves bytes, and how often.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use scamp_proto::Rng;

use super::sim::{Pair, Sim, Step, actions, listening, pipe};
use crate::{Bytes, CallError, Client, ClientBuilder, ExchangeError, RequestOptions};

fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}

/// Calls, streams and notifications; every answer must be right.
async fn converse(client: Client<Sim>, size: usize) {
    assert_eq!(
        client.call("Echo.whole", "hello").await.unwrap().body,
        "hello"
    );
    let (mut out, reply) = client
        .request("Echo.stream", &RequestOptions::default())
        .await
        .unwrap();
    let body = pattern(size);
    let write = async {
        out.write_all(&body).await.unwrap();
        out.close().await.unwrap();
    };
    let read = async {
        let mut all = Vec::new();
        reply
            .await
            .unwrap()
            .body
            .read_to_end(&mut all)
            .await
            .unwrap();
        assert!(all == body);
    };
    futures_util::future::join(write, read).await;
    client.notify(pattern(100)).await.unwrap();
    let yields = client.call("Slow.yields", pattern(3000));
    let error = client.call("No.such", "");
    let (yields, error) = futures_util::future::join(yields, error).await;
    assert_eq!(yields.unwrap().body, pattern(3000));
    assert!(matches!(error, Err(CallError::Remote(_))));
}

/// F-7: short reads and writes, streams that are not ready, and interruptions, in every order: the
/// same answers. U-13: with a bounded number of calls for each octet.
#[test]
fn streams_may_misbehave() {
    use Step::{Again, NotYet, Octets};
    let mut scripts: Vec<Vec<Step>> = vec![
        vec![Octets(1)],
        vec![Octets(1), NotYet],
        vec![NotYet, NotYet, Octets(1)],
        vec![Again(ErrorKind::Interrupted), Octets(1)],
        vec![Again(ErrorKind::WouldBlock), NotYet, Octets(2), Octets(1)],
    ];
    let mut rng = Rng::new(7);
    for _ in 0..20 {
        let steps = (0..2 + rng.below(9)).map(|_| match rng.below(6) {
            0 => NotYet,
            1 => Again(ErrorKind::Interrupted),
            2 => Again(ErrorKind::WouldBlock),
            3 => Octets(1),
            4 => Octets(7),
            _ => Octets(1000),
        });
        scripts.push(steps.chain([Octets(1)]).collect());
    }
    for (number, script) in scripts.iter().enumerate() {
        for tls in [false, true] {
            let pair = Pair::new(tls, 50_000, script);
            pair.sim.block_on(converse(pair.client.clone(), 5000));
            pair.sim.settle();
            assert!(pair.is_empty(), "script {number}");
            for calls in pair.meter.calls() {
                let per_octet = calls.all / calls.octets;
                let idle = script.len();
                assert!(per_octet <= 3 * idle, "script {number}, {tls}: {calls:?}");
            }
        }
    }
}

/// F-9: both ends want to write far more than the stream holds; since neither stops reading for it,
/// all of it arrives.
#[test]
fn blocked_writing_does_not_stop_reading() {
    for (capacity, size) in [(1, 100_000), (100, 500_000), (70_000, 3_000_000)] {
        let pair = Pair::new(false, capacity, &[]);
        pair.sim.block_on(async {
            let one = converse(pair.client.clone(), size);
            let two = converse(pair.client.clone(), size);
            let large = pair.client.call("Echo.whole", pattern(size));
            let (_, _, large) = futures_util::future::join3(one, two, large).await;
            assert!(large.unwrap().body == pattern(size));
        });
        pair.sim.settle();
        assert!(pair.is_empty());
    }
}

/// PF-13: at one request after the other, a message of up to 16 KiB leaves in one write, and an
/// echo costs one at each end.
#[test]
fn one_write_per_message() {
    for tls in [false, true] {
        let pair = Pair::new(tls, 1 << 20, &[]);
        pair.sim
            .block_on(pair.client.call("Echo.whole", ""))
            .unwrap();
        for size in [0, 1, 100, 2047, 2048, 10_000, 16_000] {
            for action in ["Echo.whole", "Slow.yields"] {
                let before = pair.meter.calls().map(|calls| calls.writes);
                pair.sim
                    .block_on(pair.client.call(action, pattern(size)))
                    .unwrap();
                pair.sim.settle();
                let after = pair.meter.calls().map(|calls| calls.writes);
                let writes = [after[0] - before[0], after[1] - before[1]];
                assert_eq!(writes, [1, 1], "{action} of {size}, TLS: {tls}");
            }
        }
    }
}

/// Performance 3, rules 1 and 2: what many callers want leaves together, 16 KiB at a time.
#[test]
fn many_messages_share_writes() {
    for tls in [false, true] {
        let pair = Pair::new(tls, 1 << 20, &[]);
        let before = pair.meter.calls();
        pair.sim.block_on(async {
            let calls = (0..1000).map(|_| pair.client.call("Echo.whole", pattern(100)));
            for reply in futures_util::future::join_all(calls).await {
                assert_eq!(reply.unwrap().body, pattern(100));
            }
        });
        let after = pair.meter.calls();
        let ways = || before.iter().zip(&after);
        // Each turn reads at most 16 KiB and writes once, so the larger direction counts.
        let octets = ways()
            .map(|(before, after)| after.octets - before.octets)
            .max();
        let most = octets.unwrap_or_default() / 16_384 + 2;
        for (before, after) in ways() {
            let writes = after.writes - before.writes;
            assert!(writes <= most, "{writes} writes, at most {most}");
        }
    }
}

/// Performance 3, rule 11: a handler that is done at once needs no task; another gets one.
#[test]
fn handlers_start_where_they_stand() {
    let pair = Pair::new(false, 1 << 16, &[]);
    let before = pair.sim.spawned();
    for _ in 0..10 {
        pair.sim
            .block_on(pair.client.call("Echo.whole", "a"))
            .unwrap();
    }
    assert_eq!(pair.sim.spawned(), before);
    pair.sim
        .block_on(pair.client.call("Slow.yields", "a"))
        .unwrap();
    assert_eq!(pair.sim.spawned(), before + 1);
}

/// HD-9: a connection with nothing to do does nothing, and an idle one ends by its timer.
#[test]
fn rest_is_rest() {
    for tls in [false, true] {
        let pair = Pair::new(tls, 1 << 16, &[]);
        pair.sim.block_on(converse(pair.client.clone(), 1000));
        pair.sim.settle();
        let before = pair.meter.calls().map(|calls| calls.all);
        assert_eq!(pair.sim.settle(), 0);
        let mut alarms = 0;
        while pair.client.closed().is_none() {
            assert!(pair.sim.pass_time());
            alarms += 1;
        }
        assert!(alarms <= 6, "{alarms} alarms");
        let after = pair.meter.calls().map(|calls| calls.all);
        assert!(
            after
                .iter()
                .zip(before)
                .all(|(after, before)| after - before < 30)
        );
        while pair.sim.tasks() > 0 {
            assert!(pair.sim.pass_time(), "every task comes to its end");
        }
        assert_eq!(pair.service.connections(), 0);
        assert!(pair.is_empty());
    }
}

/// HD-21: a peer that never stops sending does not keep the thread to itself.
#[test]
fn turns_are_bounded() {
    let pair = Pair::new(false, 64 << 20, &[]);
    let (mut out, reply) = pair
        .sim
        .block_on(
            pair.client
                .request("Echo.stream", &RequestOptions::default()),
        )
        .unwrap();
    let write = async {
        out.write_all(&pattern(8 << 20)).await.unwrap();
        out.finish().await.unwrap();
    };
    let read = async {
        let body = reply.await.unwrap().body.collect(8 << 20).await.unwrap();
        assert_eq!(body.len(), 8 << 20);
    };
    pair.sim
        .block_on(async { futures_util::future::join(write, read).await });
    pair.sim.settle();
    assert!(pair.is_empty());
}

/// F-8, N-5: a stream that fails while it is written to is lost, and every exchange learns of it once.
#[test]
fn a_lost_stream_ends_all() {
    let sim = Sim::default();
    let (ours, theirs, _) = pipe(10, &[]);
    let builder = ClientBuilder::new(sim.clone(), None);
    let client = sim.block_on(builder.over("memory", ours)).unwrap();
    let mut call = Box::pin(client.call("A.b", pattern(1000)));
    assert!(sim.poll(call.as_mut()).is_pending());
    drop(theirs);
    let error = sim.block_on(call).unwrap_err();
    assert!(
        matches!(
            error,
            CallError::NoReply(ExchangeError::ConnectionLost { .. })
        ),
        "{error}"
    );
    assert!(client.closed().is_some());
    assert!(client.handle.shared.look(|state| state.is_empty()));
    assert_eq!(sim.tasks(), 0);
}

/// F-17: a runtime that drops its tasks leaves nobody waiting.
#[test]
fn a_runtime_that_goes() {
    let pair = Pair::new(true, 1 << 16, &[]);
    let mut call = Box::pin(pair.client.call("Slow.never", ""));
    assert!(pair.sim.poll(call.as_mut()).is_pending());
    let mut closed = Box::pin(pair.client.wait_closed());
    assert!(pair.sim.poll(closed.as_mut()).is_pending());
    pair.sim.drop_tasks();
    assert!(pair.sim.poll(call.as_mut()).is_ready());
    assert!(pair.sim.poll(closed.as_mut()).is_ready());
    drop((call, closed));
    assert!(pair.is_empty());
}

/// HD-17, F-16: no error ends accepting; errors in a row are waited out, 10 ms and up to 1 s.
#[test]
fn accepting_goes_on() {
    let sim = Sim::default();
    let service = listening(&sim);
    let handle = service.handle();
    for _ in 0..20 {
        sim.knock(Err(ErrorKind::Other.into()));
    }
    let (ours, theirs, _) = pipe(1000, &[]);
    sim.knock(Ok(theirs));
    let mut run = Box::pin(service.run());
    assert!(sim.poll(run.as_mut()).is_pending());
    while handle.connections() == 0 {
        assert!(sim.pass_time());
        assert!(sim.poll(run.as_mut()).is_pending());
    }
    let mut pauses: Vec<Duration> = sim
        .accepts()
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    pauses.retain(|pause| !pause.is_zero());
    assert_eq!(pauses.first(), Some(&Duration::from_millis(10)));
    assert!(
        pauses
            .windows(2)
            .all(|pair| pair[1] == (pair[0] * 2).min(Duration::from_secs(1)))
    );
    assert!(sim.elapsed() < Duration::from_secs(20));

    let builder = ClientBuilder::new(sim.clone(), None);
    let client = sim.block_on(builder.over("memory", ours)).unwrap();
    sim.block_on(client.call("Echo.whole", "a")).unwrap();
    // V-12: it stops when asked to, and only when the last connection has ended.
    let mut call = Box::pin(client.call("Slow.never", ""));
    assert!(sim.poll(call.as_mut()).is_pending());
    handle.shutdown();
    let before = sim.elapsed();
    sim.block_on(run);
    assert_eq!(
        (sim.elapsed() - before).as_secs(),
        30,
        "a handler that never ends holds it so long"
    );
    assert_eq!(handle.connections(), 0);
    assert!(sim.block_on(call).is_err());
}

/// V-12: a service whose future is dropped leaves nothing behind.
#[test]
fn a_service_that_is_dropped() {
    let sim = Sim::default();
    let service = listening(&sim);
    let handle = service.handle();
    let (ours, theirs, _) = pipe(1000, &[]);
    sim.knock(Ok(theirs));
    let mut run = Box::pin(service.run());
    assert!(sim.poll(run.as_mut()).is_pending());
    let builder = ClientBuilder::new(sim.clone(), None);
    let client = sim.block_on(builder.over("memory", ours)).unwrap();
    sim.block_on(client.call("Echo.whole", "a")).unwrap();
    drop(run);
    sim.block_on(client.wait_closed());
    while sim.tasks() > 0 {
        assert!(sim.pass_time());
    }
    assert_eq!(handle.connections(), 0);
}

/// HD-26: a service accounts for what its connections hold, and for nothing when they are gone.
#[test]
fn memory_is_accounted_for() {
    let sim = Sim::default();
    let service =
        actions(crate::ServiceBuilder::new(sim.clone(), None).default_access(crate::Access::Allow))
            .streaming_action("Slow.body", |request| async move {
                request.cancelled().await;
                drop(request.body);
                Ok(crate::Reply::new(""))
            })
            .unwrap()
            .detached()
            .unwrap();
    let (ours, theirs, _) = pipe(1 << 20, &[]);
    assert!(service.serve(theirs, ([10, 0, 0, 1], 1).into()));
    let builder = ClientBuilder::new(sim.clone(), None);
    let client = sim.block_on(builder.over("memory", ours)).unwrap();
    let options = RequestOptions::default();
    let (mut out, reply) = sim.block_on(client.request("Slow.body", &options)).unwrap();
    sim.block_on(out.write_all(&pattern(50_000))).unwrap();
    sim.settle();
    let memory = service.stats().memory;
    assert!((50_000..70_000).contains(&memory), "{memory}");
    for end in service.members() {
        end.cut(crate::Loss::Io("as asked".into()));
    }
    sim.settle();
    drop((out, reply, client));
    while sim.tasks() > 0 {
        assert!(sim.pass_time());
    }
    assert_eq!(service.stats().memory, 0);
}
