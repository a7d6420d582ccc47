//! Handlers that panic, peers that say nothing, and services that end.

use std::time::Duration;

use scamp_proto::limits::CONNECT_TIMEOUT;
use scamp_tokio::{
    BodyError, CallError, Client, ExchangeError, Io, Limits, Occurrence, RemoteError, Reply,
    RequestOptions, Service,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{Running, actions, identity, in_both, pattern};

/// B-20, F-37: among a hundred exchanges of one connection, a panic costs its own and no other.
#[test]
fn a_panic_costs_one_exchange() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        for kind in ["a", "b"] {
            let calls: Vec<_> = (0..100)
                .map(|n| {
                    let client = client.clone();
                    tokio::spawn(async move {
                        match n {
                            50 => client.call("Bad.panic", kind).await,
                            _ => client.call("Slow.yields", format!("{n}")).await,
                        }
                    })
                })
                .collect();
            for (n, call) in calls.into_iter().enumerate() {
                match (n, call.await.unwrap()) {
                    (50, Err(CallError::Remote(error))) => {
                        let expected = RemoteError::new("general", "handler ended without a reply");
                        assert_eq!(error, expected);
                    }
                    (50, other) => panic!("{other:?}"),
                    (n, reply) => assert_eq!(reply.unwrap().body, n.to_string()),
                }
            }
        }
        drop(client);
        service.stop().await;
    });
}

/// V-12, steps 2 and 3: requests in progress are answered, new ones are refused as not processed.
#[test]
fn shutting_down_waits_for_replies() {
    in_both(|| async {
        let (let_go, wait) = tokio::sync::watch::channel(false);
        let builder =
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap();
        let builder = builder.action("Slow.waits", move |_| {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|go| *go).await.unwrap();
                Ok(Reply::new("at last"))
            }
        });
        let service = Running::start(builder.unwrap());
        let client = service.client().await;
        let options = RequestOptions::default();
        let (body, reply) = client.request("Slow.waits", &options).await.unwrap();
        body.finish().await.unwrap();
        client.call("Echo.whole", "").await.unwrap();
        service.handle.shutdown();
        // Until the service has noticed, requests are still served.
        let refused = loop {
            match client.call("Echo.whole", "").await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(refused.is_dispatch_failure(), "{refused}");
        assert_eq!(refused.to_string(), "Service is shutting down (transport)");
        let_go.send_replace(true);
        let reply = reply.wait().await.unwrap().whole(100).await.unwrap();
        assert_eq!(reply.body, "at last");
        client.wait_closed().await;
        service.stop().await;
    });
}

/// V-12, step 4: a second request to stop does not wait; replies that have begun end with TXERR.
#[test]
fn shutting_down_in_a_hurry() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let options = RequestOptions::default();
        let (mut out, reply) = client.request("Echo.stream", &options).await.unwrap();
        out.write_all(b"so far").await.unwrap();
        let mut reply = reply.wait().await.unwrap();
        let never = client.call("Slow.never", "");
        let service_ends = async {
            assert_eq!(reply.body.chunk().await, Ok(Some("so far".into())));
            service.handle.shutdown();
            service.handle.shutdown();
            let end = reply.body.chunk().await;
            assert_eq!(
                end,
                Err(BodyError::PeerError("service shutting down".into()))
            );
        };
        let (never, ()) = tokio::join!(never, service_ends);
        let error = never.unwrap_err();
        assert!(
            matches!(
                error,
                CallError::NoReply(ExchangeError::ConnectionLost { .. })
            ),
            "{error}"
        );
        service.stop().await;
    });
}

/// HD-17: one connection too many is closed at once, and one that leaves makes room.
#[test]
fn too_many_connections() {
    in_both(|| async {
        let limits = Limits {
            max_connections: 2,
            ..Limits::default()
        };
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap()
                .limits(limits),
        );
        let first = service.client().await;
        let second = service.client().await;
        let third = Client::connect(&service.address, service.pin()).await;
        assert!(matches!(
            third,
            Err(CallError::NoReply(ExchangeError::NotEstablished(_)))
        ));
        assert_eq!(service.handle.stats().connections_refused, 1);
        let mut notes = service.handle.notes().into_iter();
        assert!(notes.any(|note| note.what == Occurrence::Refused));
        drop(first);
        while service.handle.connections() > 1 {
            tokio::task::yield_now().await;
        }
        let fourth = service.client().await;
        assert_eq!(fourth.call("Echo.whole", "a").await.unwrap().body, "a");
        drop((second, fourth));
        service.stop().await;
    });
}

/// HD-18: where too many shake hands, the oldest is dropped, so that nobody is kept out.
#[test]
fn the_oldest_handshake_makes_way() {
    in_both(|| async {
        let limits = Limits {
            max_handshakes_per_address: 4,
            ..Limits::default()
        };
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap()
                .limits(limits),
        );
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(&service.address).await.unwrap());
        }
        let client = service.client().await;
        assert_eq!(client.call("Echo.whole", "a").await.unwrap().body, "a");
        // All but the newest few have been dropped.
        for old in &mut silent[..15] {
            assert_eq!(old.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
        assert!(service.handle.stats().handshakes <= 4);
        drop((client, silent));
        service.stop().await;
    });
}

/// V-10, V-9: one request too many in the handlers is answered at once, as not processed.
#[test]
fn too_many_requests() {
    in_both(|| async {
        let limits = Limits {
            max_requests: 3,
            ..Limits::default()
        };
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap()
                .limits(limits),
        );
        let client = service.client().await;
        let other = service.client().await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let (body, reply) = client
                .request("Slow.never", &RequestOptions::default())
                .await
                .unwrap();
            body.finish().await.unwrap();
            waiting.push(reply);
        }
        while service.handle.stats().requests_active < 3 {
            tokio::task::yield_now().await;
        }
        let error = other.call("Echo.whole", "").await.unwrap_err();
        assert!(error.is_dispatch_failure(), "{error}");
        drop((waiting, client));
        // S-31: with its connection gone, a handler can tell that nobody waits for it.
        while service.handle.stats().requests_active > 0 {
            service.handle.shutdown();
            tokio::task::yield_now().await;
        }
        drop(other);
        service.stop().await;
    });
}

/// HD-18, B-11: whoever connects and says nothing is gone after ten seconds, and not before.
#[tokio::test(start_paused = true)]
async fn silent_connections_are_closed() {
    let service = actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
        .unwrap()
        .detached()
        .unwrap();
    let start = Instant::now();
    let mut silent = Vec::new();
    for n in 0..60_u8 {
        let (ours, theirs) = tokio::io::duplex(1000);
        assert!(service.serve(Io(theirs), ([10, 0, 0, n], 1).into()));
        silent.push(ours);
    }
    assert_eq!(service.stats().handshakes, 60);
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
    assert_eq!(start.elapsed().as_secs(), CONNECT_TIMEOUT.as_secs());
    while service.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.stats().handshakes, 0);
}

/// B-23, HD-31: whoever asks for much and takes next to nothing is closed, and the memory is back.
#[tokio::test(start_paused = true)]
async fn slow_readers_are_closed() {
    let service = actions(Service::plain().default_access(scamp_tokio::Access::Allow))
        .unwrap()
        .detached()
        .unwrap();
    let (mut ours, theirs) = tokio::io::duplex(100);
    assert!(service.serve(Io(theirs), ([10, 0, 0, 1], 1).into()));
    let header = r#"{"type":"request","request_id":1,"action":"Make.octets","size":9999999}"#;
    let request = format!(
        "HEADER 0 {}\r\n{header}END\r\nEOF 0 0\r\nEND\r\n",
        header.len()
    );
    ours.write_all(request.as_bytes()).await.unwrap();
    let start = Instant::now();
    let mut octets = 0;
    while ours.read(&mut [0; 1]).await.is_ok_and(|count| count > 0) {
        octets += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(octets < 1000, "{octets}");
    assert!(start.elapsed() < Duration::from_secs(600));
    while service.connections() > 0 || service.stats().requests_active > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.stats().memory, 0);
}

/// B-16, HD-28: open and abort, 200 000 times: nothing is started and the connection ends.
#[tokio::test]
async fn open_and_abort() {
    let service = actions(Service::plain().default_access(scamp_tokio::Access::Allow))
        .unwrap()
        .detached()
        .unwrap();
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    assert!(service.serve(Io(theirs), ([10, 0, 0, 1], 1).into()));
    let header = r#"{"type":"request","request_id":1,"action":"Slow.never"}"#;
    let (mut from, mut to) = tokio::io::split(&mut ours);
    let flood = async {
        for n in 0..200_000 {
            let size = header.len();
            let both = format!("HEADER {n} {size}\r\n{header}END\r\nTXERR {n} 1\r\nxEND\r\n");
            if to.write_all(both.as_bytes()).await.is_err() {
                return n;
            }
        }
        200_000
    };
    let hear = async {
        let mut room = vec![0; 1 << 16];
        while from.read(&mut room).await.is_ok_and(|count| count > 0) {}
    };
    let (sent, ()) = tokio::join!(flood, hear);
    assert!(sent < 10_000, "{sent}");
    assert_eq!(service.stats().requests_active, 0);
}

/// HD-26: while all connections together hold too much, each is held to its share, and no new one
/// is taken; afterwards all is as it was.
#[test]
fn the_memory_of_all() {
    in_both(|| async {
        let limits = Limits {
            mem_budget: 1 << 20,
            ..Limits::default()
        };
        let builder =
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap();
        let (let_go, wait) = tokio::sync::watch::channel(false);
        let builder = builder.streaming_action("Slow.body", move |request| {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|go| *go).await.unwrap();
                drop(request.body);
                Ok(Reply::new(""))
            }
        });
        let service = Running::start(builder.unwrap().limits(limits));
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(service.client().await);
        }
        let mut waiting = Vec::new();
        for n in 0..40 {
            for client in &clients {
                let options = RequestOptions::default();
                let (mut out, reply) = client.request("Slow.body", &options).await.unwrap();
                let write = tokio::spawn(async move { out.write_all(&pattern(n, 1 << 20)).await });
                waiting.push((write, reply));
            }
        }
        // Without a budget it would be 64 KiB for each of 320 requests: 20 MiB. What each had on its
        // way when it was told is 256 KiB, beside its share of 256 KiB.
        while Client::connect(&service.address, service.pin())
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(
                service.handle.stats().memory < 6 << 20,
                "{:?}",
                service.handle.stats()
            );
        }
        let_go.send_replace(true);
        for (write, reply) in waiting {
            write.abort();
            drop(reply);
        }
        while service.handle.stats().memory > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let client = service.client().await;
        assert_eq!(client.call("Echo.whole", "a").await.unwrap().body, "a");
        drop((client, clients));
        service.stop().await;
    });
}

/// HD-76: a handler that takes its time delays nobody, on its own connection or another.
#[test]
fn a_slow_handler_delays_nobody() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let slow: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.call("Slow.never", "").await })
            })
            .collect();
        for n in 0..100 {
            let reply = client.call("Echo.whole", n.to_string()).await.unwrap();
            assert_eq!(reply.body, n.to_string());
        }
        assert!(slow.iter().all(|call| !call.is_finished()));
        slow.iter().for_each(tokio::task::JoinHandle::abort);
        drop(client);
        service.handle.shutdown();
        service.stop().await;
    });
}
