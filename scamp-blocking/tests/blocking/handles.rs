//! Handles dropped at every stage.

use std::io::{Read, Write};
use std::thread;

use scamp_blocking::{RequestOptions, Service};

use crate::support::{Running, actions, begin, bounded, head, identity, octets, service, until};

/// F-39, R-11, S-14: whichever handle is dropped, and whenever, the connection goes on and
/// nothing is left of the exchange.
#[test]
fn any_handle_may_be_dropped_at_any_time() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let options = RequestOptions::default();
        for stage in 0..9 {
            for round in 0..5 {
                let (mut body, reply) = client.request(head("Test.stream"), &options).unwrap();
                match stage {
                    0 => drop((body, reply)),
                    1 => drop((reply, body)),
                    2 => {
                        drop(body);
                        // `message abandoned` reached the handler, whose reply is an error (S-4).
                        assert!(reply.wait().and_then(|reply| reply.whole(99)).is_err());
                    }
                    3 => {
                        drop(reply);
                        let _ = body.write_all(&octets(100_000));
                        let _ = body.finish();
                    }
                    4 => {
                        body.write_all(&octets(round * 10_000)).unwrap();
                        body.flush().unwrap();
                        drop(reply);
                    }
                    5 => {
                        body.write_all(b"x").unwrap();
                        body.finish().unwrap();
                        drop(reply.wait().unwrap());
                    }
                    6 => {
                        body.write_all(&octets(60_000)).unwrap();
                        body.flush().unwrap();
                        let mut reply = reply.wait().unwrap();
                        reply.body.read_exact(&mut [0; 1000]).unwrap();
                        drop(reply);
                        drop(body);
                    }
                    7 => {
                        body.write_all(&octets(60_000)).unwrap();
                        body.flush().unwrap();
                        let mut reply = reply.wait().unwrap();
                        assert!(reply.body.chunk().unwrap().is_some());
                        drop(body);
                        let rest: Result<Vec<_>, _> = reply.body.into_iter().collect();
                        assert!(rest.is_err(), "an abandoned request has no complete echo");
                    }
                    _ => {
                        body.finish().unwrap();
                        let mut reply = reply.wait().unwrap();
                        assert_eq!(reply.body.chunk(), Ok(None));
                        assert_eq!(reply.body.chunk(), Ok(None));
                    }
                }
                assert_eq!(
                    client.call(head("Test.echo"), "on").unwrap().body,
                    "on",
                    "stage {stage}"
                );
            }
        }
        until("all handlers have ended", || {
            // Their ends are told by octets, which somebody must read.
            client.call(head("Test.echo"), "on").unwrap();
            service.handle.stats().requests_active == 0
        });
        assert!(client.closed().is_none());
    });
}

/// S-35: bodies keep their connection when the client is dropped; then it closes.
#[test]
fn the_last_handle_closes() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let (mut body, reply) = begin(&client, "Test.stream");
        drop(client);
        body.write_all(b"goodbye").unwrap();
        body.finish().unwrap();
        let reply = reply.wait().unwrap();
        assert_eq!(reply.whole(99).unwrap().body, "goodbye");
        until("the service has closed too", || {
            service.handle.connections() == 0
        });
    });
}

/// F-43: many clones dropped on several threads close once, while requests are in progress.
#[test]
fn clones_dropped_on_many_threads() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let clones: Vec<_> = (0..10_000).map(|_| client.clone()).collect();
        drop(client);
        let mut parts: Vec<Vec<_>> = (0..8).map(|_| Vec::new()).collect();
        for (at, clone) in clones.into_iter().enumerate() {
            parts[at % 8].push(clone);
        }
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| {
                thread::spawn(move || {
                    assert_eq!(part[0].call(head("Test.echo"), "x").unwrap().body, "x");
                    drop(part);
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        until("the service has closed too", || {
            service.handle.connections() == 0
        });
    });
}

/// A notification arrives even if its client goes at once.
#[test]
fn a_notification_outlives_its_client() {
    bounded(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .on_notify(move |mut request| {
                    tell.lock().unwrap().send(request.bytes().unwrap()).unwrap();
                }),
        );
        for len in [0, 5, 500_000] {
            let client = service.client();
            client.notify(vec![b'n'; len]).unwrap();
            drop(client);
            assert_eq!(told.recv().unwrap().len(), len);
        }
    });
}
