//! Several threads, one connection.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use scamp_blocking::scamp_proto::session::Side;
use scamp_blocking::{CallError, Reply, Service};

use crate::support::{
    Running, actions, ask, begin, bounded, head, identity, octets, roomy, service,
};

/// 64 threads at once on one connection each get their own answers.
#[test]
fn many_threads_share_a_connection() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let threads: Vec<_> = (0..64)
            .map(|number| {
                let client = client.clone();
                thread::spawn(move || {
                    for turn in 0..20 {
                        let body = format!("{number}.{turn}");
                        assert_eq!(
                            client.call(head("Test.echo"), body.clone()).unwrap().body,
                            body
                        );
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(service.handle.stats().requests_active, 0);
    });
}

/// HD-76: all 64 requests are in handlers at once.
#[test]
fn handlers_run_side_by_side() {
    bounded(|| {
        let barrier = Arc::new(Barrier::new(64));
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .action("Test.meet", move |_| {
                    barrier.wait();
                    Ok(Reply::new("met"))
                })
                .unwrap(),
        );
        let client = service.client();
        let pending: Vec<_> = (0..64).map(|_| ask(&client, "Test.meet")).collect();
        for reply in pending {
            assert_eq!(reply.wait().unwrap().whole(9).unwrap().body, "met");
        }
    });
}

/// 500 requests leave before the first reply is read; with a window and without.
#[test]
fn five_hundred_requests_in_flight() {
    bounded(|| {
        let service = service();
        for window in [Some(65_536), Some(0)] {
            let client = service.client_with(|builder| {
                let mut config = roomy(Side::Client);
                config.connection.max_inflight = window;
                builder.session(config)
            });
            let pending: Vec<_> = (0..500)
                .map(|number: u32| {
                    let (mut body, reply) = begin(&client, "Test.echo");
                    body.write_bytes(number.to_string().into()).unwrap();
                    body.finish().unwrap();
                    reply
                })
                .collect();
            // Read out of order.
            for (number, reply) in pending.into_iter().enumerate().rev() {
                assert_eq!(
                    reply.wait().unwrap().whole(9).unwrap().body,
                    number.to_string()
                );
            }
        }
    });
}

/// a client at its bound of requests waits for room, and gets it when one is given up elsewhere.
#[test]
fn room_is_waited_for() {
    bounded(|| {
        let service = service();
        let client = service.client_with(|builder| {
            let mut config = roomy(Side::Client);
            config.max_outstanding = 1;
            builder.session(config)
        });
        let (body, reply) = begin(&client, "Test.stream");
        let other = client.clone();
        let waiting = thread::spawn(move || other.call(head("Test.echo"), "next"));
        thread::sleep(Duration::from_millis(20));
        drop((body, reply));
        assert_eq!(waiting.join().unwrap().unwrap().body, "next");
    });
}

/// F-41: a thread that waits for a slow exchange does not keep others waiting.
#[test]
fn long_and_short_side_by_side() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let (body, slow) = begin(&client, "Test.stream");
        let other = client.clone();
        let slow = thread::spawn(move || slow.wait().unwrap().whole(100));
        for turn in 0..50 {
            let body = octets(turn * 100);
            assert!(other.call(head("Test.echo"), body.clone()).unwrap().body == body);
        }
        let mut body = body;
        body.write_bytes("at last".into()).unwrap();
        body.finish().unwrap();
        assert_eq!(slow.join().unwrap().unwrap().body, "at last");
    });
}

/// HD-49: when one thread closes, all others are told at once.
#[test]
fn closing_wakes_everybody() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let (body, reply) = begin(&client, "Test.stream");
                thread::spawn(move || {
                    let result = reply.wait();
                    drop(body);
                    result
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(20));
        client.close();
        for thread in waiting {
            match thread.join().unwrap() {
                Err(CallError::NoReply(_)) => {}
                Ok(reply) => assert!(reply.whole(9).is_err()),
                other => panic!("{other:?}"),
            }
        }
        assert!(client.closed().is_some());
        assert!(matches!(
            client.call(head("Test.echo"), ""),
            Err(CallError::NotSent(_))
        ));
    });
}
