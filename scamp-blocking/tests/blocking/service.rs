//! What a service does with many requests, subscribers, and its own end.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use scamp_blocking::{Actions, CallError, Limits, Reply, RequestOptions, Service};

use crate::support::{Running, actions, ask, bounded, echo, head, identity, service, until};

/// A door that handlers wait at.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

pub(crate) fn gated(gate: &Gate) -> scamp_blocking::ServiceBuilder {
    let gate = gate.clone();
    actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
        .action("Test.gate", move |_| {
            gate.pass();
            Ok(Reply::new("passed"))
        })
        .unwrap()
}

/// B-20, F-37: a handler that panics among 100 exchanges costs one of them.
#[test]
fn one_panic_among_a_hundred() {
    bounded(|| {
        let service = service();
        let client = service.client();
        let pending: Vec<_> = (0..100)
            .map(|number| {
                let action = if number == 50 {
                    "Test.panic"
                } else {
                    "Test.echo"
                };
                let (body, reply) = client
                    .request(head(action), &RequestOptions::default())
                    .unwrap();
                body.finish().unwrap();
                reply
            })
            .collect();
        let results: Vec<_> = pending
            .into_iter()
            .map(|reply| reply.wait().unwrap().whole(9))
            .collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 99);
        let Err(CallError::Remote(error)) = &results[50] else {
            panic!("{:?}", results[50])
        };
        assert_eq!(
            (error.code.as_str(), error.text.as_str()),
            ("general", "handler ended without a reply")
        );
        until("counters are back", || {
            service.handle.stats().requests_active == 0
        });
        assert_eq!(service.handle.stats().requests_failed, 1);
    });
}

/// HD-76, N-9, N-33: a slow handler delays no other request.
#[test]
fn a_slow_handler_delays_nobody() {
    bounded(|| {
        let gate = Gate::default();
        let service = Running::start(gated(&gate));
        let client = service.client();
        let slow = ask(&client, "Test.gate");
        for _ in 0..10 {
            echo(&client, "quick");
        }
        gate.open();
        assert_eq!(slow.wait().unwrap().whole(9).unwrap().body, "passed");
    });
}

/// V-9, V-10: requests over the limit are refused as certainly not processed; the others end well.
#[test]
fn too_many_requests_are_refused() {
    bounded(|| {
        let gate = Gate::default();
        let mut limits = Limits::for_files(1024);
        limits.max_requests = 3;
        let service = Running::start(gated(&gate).limits(limits));
        let client = service.client();
        let pending: Vec<_> = (0..5).map(|_| ask(&client, "Test.gate")).collect();
        let mut pending = pending.into_iter();
        let first: Vec<_> = pending.by_ref().take(3).collect();
        for reply in pending {
            let error = reply.wait().unwrap().error().unwrap();
            assert_eq!(error.code, "overloaded");
            assert!(error.is_dispatch_failure());
        }
        gate.open();
        for reply in first {
            assert_eq!(reply.wait().unwrap().whole(9).unwrap().body, "passed");
        }
    });
}

/// V-12: requests in progress end well when the service is shut down; new ones are refused.
#[test]
fn shutdown_lets_requests_end() {
    bounded(|| {
        let gate = Gate::default();
        let service = Running::start(gated(&gate));
        let client = service.client();
        let slow = ask(&client, "Test.gate");
        let idle = service.client();
        idle.call(head("Test.echo"), "").unwrap();
        until("it is in its handler", || {
            service.handle.stats().requests_active == 1
        });
        service.handle.shutdown();
        until("the listener is gone", || {
            std::net::TcpStream::connect(service.address).is_err()
        });
        let refused = client.call(head("Test.echo"), "").unwrap_err();
        assert!(refused.is_dispatch_failure(), "{refused:?}");
        gate.open();
        assert_eq!(slow.wait().unwrap().whole(9).unwrap().body, "passed");
        assert!(client.run() == client.closed().unwrap());
        service.stop();
    });
}

/// V-12 4: told twice to shut down, a service does not wait for its handlers.
#[test]
fn a_second_shutdown_is_at_once() {
    bounded(|| {
        let gate = Gate::default();
        let service = Running::start(gated(&gate));
        let client = service.client();
        let slow = ask(&client, "Test.gate");
        until("it is in its handler", || {
            service.handle.stats().requests_active == 1
        });
        service.handle.shutdown();
        service.stop();
        assert!(matches!(slow.wait(), Err(CallError::NoReply(_))));
        gate.open();
    });
}

/// a thousand connections that come and go leave nothing behind.
#[test]
fn connections_are_freed() {
    bounded(|| {
        let service = Running::start(actions(
            Service::plain().default_access(scamp_blocking::Access::Allow),
        ));
        let clients: Vec<_> = (0..200).map(|_| service.client()).collect();
        for client in &clients {
            echo(client, "x");
        }
        assert_eq!(service.handle.connections(), 200);
        drop(clients);
        until("all are gone", || service.handle.connections() == 0);
        let stats = service.handle.stats();
        assert_eq!(
            (stats.total_clients_accepted, stats.requests_started),
            (200, 200)
        );
        assert_eq!((stats.requests_active, stats.protocol_errors), (0, 0));
    });
}

/// HD-17: a connection over the limit is closed at once, and there is room again when one goes.
#[test]
fn too_many_connections_are_turned_away() {
    bounded(|| {
        let mut limits = Limits::for_files(1024);
        limits.max_connections = 2;
        let service = Running::start(
            actions(Service::plain().default_access(scamp_blocking::Access::Allow)).limits(limits),
        );
        let first = service.client();
        let second = service.client();
        echo(&first, "x");
        echo(&second, "x");
        let third = service.client();
        assert!(third.call(head("Test.echo"), "x").is_err());
        drop(first);
        until("there is room", || service.handle.connections() == 1);
        assert_eq!(
            service.client().call(head("Test.echo"), "x").unwrap().body,
            "x"
        );
    });
}

/// S-40, S-41: a subscriber hears first what is there, then what changes.
#[test]
fn subscribers_hear_of_changes() {
    bounded(|| {
        let service = service();
        assert!(service.handle.publish("stock", "a", "1"));
        assert!(!service.handle.publish("stock", "a", "1"));
        let client = service.client();
        let mut news = client.subscribe(&["stock"]).unwrap();
        let values = |changes: Vec<scamp_blocking::Change>| -> Vec<_> {
            changes
                .into_iter()
                .map(|change| (change.key, change.value))
                .collect()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(values(news.next().unwrap()), [pair("a", "1")]);
        service.handle.publish("other", "a", "9");
        service.handle.publish("stock", "b", "2");
        service.handle.publish("stock", "a", "null");
        assert_eq!(values(news.next().unwrap()), [pair("b", "2")]);
        assert_eq!(values(news.next().unwrap()), [pair("a", "null")]);
        assert!(
            client.subscribe(&["stock"]).is_err(),
            "one subscription at a time"
        );
        drop(news);
        let again = client.subscribe(&["stock"]).unwrap().next().unwrap();
        assert_eq!(values(again), [pair("b", "2")]);
    });
}

/// Either end may ask: a client with actions answers its service.
#[test]
fn a_client_answers_requests() {
    bounded(|| {
        // Two clients' ends over one stream, one of them in the service's place.
        let pair = std::os::unix::net::UnixStream::pair().unwrap();
        let echo = |mut request: scamp_blocking::Request| Ok(Reply::new(request.bytes().unwrap()));
        let actions = Actions::default()
            .action(("Test.echo", "noauth"), echo)
            .unwrap();
        let one = scamp_blocking::Client::plain();
        let one = one.over("a", scamp_blocking::Socket::from(pair.0)).unwrap();
        let other = scamp_blocking::Client::plain().actions(actions);
        let other = other
            .over("b", scamp_blocking::Socket::from(pair.1))
            .unwrap();
        let driver = {
            let other = other.clone();
            thread::spawn(move || other.run())
        };
        assert_eq!(
            one.call(head("Test.echo"), "to a client").unwrap().body,
            "to a client"
        );
        let Err(CallError::Remote(error)) = one.call(head("Test.nothing"), "") else {
            panic!()
        };
        assert_eq!(error.code, "no_action");
        drop(one);
        driver.join().unwrap();
    });
}
