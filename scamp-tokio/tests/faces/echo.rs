//! Calls: small and large ones, many at once, and what ends a connection in good order.

use std::sync::Arc;

use scamp_proto::connection;
use scamp_proto::session::{Config, Side};
use scamp_tokio::{
    Actions, Bytes, CallError, Client, CloseReason, ExchangeError, Loss, Occurrence, Pin,
    RequestHead, RequestOptions, Service,
};
use tokio::sync::Barrier;

use crate::support::{Running, actions, identity, in_both, pattern};

/// S-1: bodies of any size come back as they were.
#[test]
fn bodies_of_any_size() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        for size in [0, 1, 100, 16_384, 65_536, 131_073, 1 << 20, 10 << 20] {
            let body = pattern(size, size);
            let reply = client.call("Echo.whole", body.clone()).await.unwrap();
            assert!(reply.body == body, "{size}");
        }
        assert!(client.peer().unwrap().is_pinned());
        drop(client);
        service.stop().await;
    });
}

/// S-13: many callers on one connection each get their own reply.
#[test]
fn many_callers_at_once() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let callers: Vec<_> = (0..64_usize)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    for round in 0..20 {
                        let body = pattern(n * 1000 + round, 100 + n * 37);
                        let action = if n % 2 == 0 {
                            "Echo.whole"
                        } else {
                            "Slow.yields"
                        };
                        let reply = client.call(action, body.clone()).await.unwrap();
                        assert_eq!(reply.body, body);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        drop(client);
        service.stop().await;
    });
}

/// 500 requests are sent before the first reply is read; the handlers answer in the opposite
/// order, with a growing window and with none.
#[test]
fn five_hundred_in_flight() {
    in_both(|| async {
        for max_inflight in [None, Some(0)] {
            let all_here = Arc::new(Barrier::new(500));
            let builder = Service::builder(identity())
                .default_access(scamp_tokio::Access::Allow)
                .action("helloworld.hello", move |request| {
                    let all_here = all_here.clone();
                    async move {
                        all_here.wait().await;
                        Ok(scamp_tokio::Reply::new(request.bytes().clone()))
                    }
                })
                .unwrap();
            let service = Running::start(builder);
            let connection = connection::Config {
                max_inflight,
                ..Default::default()
            };
            let config = Config {
                connection,
                ..Config::new(Side::Client)
            };
            let builder = Client::builder(service.pin()).session(config);
            let client = builder.connect(&service.address).await.unwrap();
            let mut waiting = Vec::new();
            for n in 0..500 {
                let options = RequestOptions::default();
                let (mut body, reply) = client.request("helloworld.hello", &options).await.unwrap();
                body.write_bytes(format!("{n}")).await.unwrap();
                body.finish().await.unwrap();
                waiting.push(reply);
            }
            for (n, reply) in waiting.into_iter().enumerate().rev() {
                let reply = reply.wait().await.unwrap().whole(100).await.unwrap();
                assert_eq!(reply.text(), Ok(n.to_string().as_str()));
            }
            drop(client);
            service.stop().await;
        }
    });
}

/// H-12, H-13: errors of the service are errors of the call.
#[test]
fn errors_come_back() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let Err(CallError::Remote(error)) = client.call("Bad.error", "").await else {
            panic!("an error")
        };
        assert_eq!(
            (error.code.as_str(), error.text.as_str()),
            ("bad_luck", "not today")
        );
        assert_eq!(error.data.as_deref(), Some("{\"tomorrow\":true}"));
        let Err(CallError::Remote(error)) = client.call("No.such~7", pattern(0, 1 << 20)).await
        else {
            panic!("an error")
        };
        assert_eq!(error.to_string(), "No such action: No.such.v7 (no_action)");
        let head = RequestHead::new("Echo.whole").extra("bad", "not json");
        assert!(matches!(
            client.call(head, "").await,
            Err(CallError::NotSent(_))
        ));
        assert_eq!(
            client.call("Echo.whole", "still here").await.unwrap().body,
            "still here"
        );
        drop(client);
        service.stop().await;
    });
}

/// L-3, S-30: whom we do not trust gets nothing, and nobody at all is told apart from that.
#[test]
fn connecting_may_fail() {
    in_both(|| async {
        let service = Running::ordinary();
        let other = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"
            .parse()
            .unwrap();
        let not_established = |error: CallError| match error {
            CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(loss))) => loss,
            error => panic!("{error}"),
        };
        let stranger = Client::connect(&service.address, Pin::Fingerprint(other)).await;
        let loss = not_established(stranger.unwrap_err());
        assert!(matches!(loss, Loss::Untrusted(_)), "{loss}");
        for bad in [
            "",
            "127.0.0.1",
            "no such host.invalid:1",
            "http://127.0.0.1:1",
        ] {
            let loss = not_established(Client::connect(bad, service.pin()).await.unwrap_err());
            assert!(matches!(loss, Loss::Connect(_)), "{bad}: {loss}");
        }
        service.stop().await;
    });
}

/// S-5: a client with actions serves its service's end of the connection; one without says so.
#[test]
fn either_end_may_ask() {
    in_both(|| async {
        let actions = Actions::new()
            .action(("Client.name", "noauth"), |_| async move {
                Ok(scamp_tokio::Reply::new("a client"))
            })
            .unwrap();
        let (ours, theirs) = tokio::io::duplex(1000);
        // Both ends are clients: which end dialled is of no account to the protocol.
        let serving = Client::plain().actions(actions);
        let serving = serving.over("", scamp_tokio::Io(theirs)).await.unwrap();
        let asking = Client::plain()
            .over("", scamp_tokio::Io(ours))
            .await
            .unwrap();
        assert_eq!(
            asking.call("Client.name", "").await.unwrap().body,
            "a client"
        );
        let Err(CallError::Remote(error)) = serving.call("Client.name", "").await else {
            panic!("an error")
        };
        assert_eq!(error.code, "no_action");
    });
}

/// S-3: notifications reach their handler whole, however large.
#[test]
fn notifications() {
    in_both(|| async {
        let (tell, mut told) = tokio::sync::mpsc::channel::<Bytes>(8);
        let builder =
            actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow))
                .unwrap()
                .on_notify(move |request| {
                    let tell = tell.clone();
                    async move {
                        let body = request.body.collect(1 << 20).await.unwrap();
                        tell.send(body).await.unwrap();
                    }
                });
        let service = Running::start(builder);
        let client = service.client().await;
        client.notify("small").await.unwrap();
        assert_eq!(told.recv().await.unwrap(), "small");
        client.notify(pattern(5, 500_000)).await.unwrap();
        assert!(told.recv().await.unwrap() == pattern(5, 500_000));
        drop(client);
        service.stop().await;
    });
}

/// R-11, F-43: the connection closes when the last of many handles is dropped, and not before.
#[test]
fn the_last_handle_closes() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        let (body, reply) = client
            .request("Echo.whole", &RequestOptions::default())
            .await
            .unwrap();
        let clones: Vec<Client> = (0..10_000).map(|_| client.clone()).collect();
        drop(client);
        assert_eq!(clones[9_999].closed(), None);
        let halves: Vec<_> = clones.into_iter().enumerate().collect();
        let (even, odd): (Vec<_>, Vec<_>) = halves.into_iter().partition(|(n, _)| n % 2 == 0);
        let dropping = std::thread::spawn(move || drop(even));
        drop(odd);
        dropping.join().unwrap();
        // What is in progress goes on.
        body.finish().await.unwrap();
        let reply = reply.wait().await.unwrap();
        assert_eq!(reply.whole(10).await.unwrap().body, "");
        while service.handle.connections() > 0 {
            tokio::task::yield_now().await;
        }
        service.stop().await;
    });
}

/// F-42: a handle used after the end gets an error at once.
#[test]
fn after_the_end() {
    in_both(|| async {
        let service = Running::ordinary();
        let client = service.client().await;
        client.close();
        assert_eq!(client.wait_closed().await, CloseReason::ClosedLocally);
        assert_eq!(client.closed(), Some(CloseReason::ClosedLocally));
        assert!(matches!(
            client.call("Echo.whole", "").await,
            Err(CallError::NotSent(_))
        ));
        assert!(matches!(
            client.notify("").await,
            Err(CallError::NotSent(_))
        ));
        assert!(matches!(
            client.subscribe(&["a"]).await,
            Err(CallError::NotSent(_))
        ));
        service.stop().await;
    });
}

/// What a service's peer does oddly is told to whoever asks, and the connection goes on.
#[tokio::test]
async fn notes_are_kept() {
    let service = actions(Service::plain().default_access(scamp_tokio::Access::Allow))
        .unwrap()
        .detached()
        .unwrap();
    let (ours, theirs) = tokio::io::duplex(1000);
    assert!(service.serve(scamp_tokio::Io(theirs), ([10, 0, 0, 1], 1).into()));
    let plain = Client::plain();
    let client = plain.over("", scamp_tokio::Io(ours)).await.unwrap();
    let odd = client.send_other("gossip", &[]).await.unwrap();
    odd.finish().await.unwrap();
    client.call("Echo.whole", "").await.unwrap();
    let notes = service.notes();
    let texts: Vec<String> = notes.iter().map(|note| note.what.to_string()).collect();
    assert_eq!(texts, ["unknown message type \"gossip\""]);
    assert_eq!(notes[0].peer, Some(([10, 0, 0, 1], 1).into()));
    assert!(service.notes().is_empty() && client.notes().is_empty());
    client.close();
    while service.connections() > 0 {
        tokio::task::yield_now().await;
    }
    let reasons: Vec<Occurrence> = service.notes().into_iter().map(|note| note.what).collect();
    assert_eq!(reasons, [Occurrence::Closed(CloseReason::ClosedByPeer)]);
}

/// Every public future can move between threads.
#[tokio::test]
async fn futures_are_send() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let plain = Client::plain();
    let options = RequestOptions::default();
    let (ours, _theirs) = tokio::io::duplex(1000);
    drop(is_send(Client::connect("", Pin::AnyCertificate)));
    let client = is_send(plain.over("", scamp_tokio::Io(ours)))
        .await
        .unwrap();
    drop(is_send(client.call("A.b", "")));
    drop(is_send(client.notify("")));
    drop(is_send(client.notify_stream()));
    drop(is_send(client.subscribe(&["a"])));
    drop(is_send(client.wait_closed()));
    let (mut out, reply) = is_send(client.request("A.b", &options)).await.unwrap();
    drop(is_send(out.write_bytes("a")));
    drop(is_send(out.finish()));
    drop(is_send(reply.wait()));
    let service =
        actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow)).unwrap();
    drop(is_send(service.bind("127.0.0.1:0").unwrap().run()));
    let service =
        actions(Service::builder(identity()).default_access(scamp_tokio::Access::Allow)).unwrap();
    let stop = std::future::ready(());
    is_send(service.bind("127.0.0.1:0").unwrap().run_until(stop)).await;
}
