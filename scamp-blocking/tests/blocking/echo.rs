//! One request, one reply.

use std::time::Duration;

use scamp_blocking::scamp_proto::error::{Loss, Untrusted};
use scamp_blocking::scamp_proto::session::Side;
use scamp_blocking::{CallError, Client, CloseReason, ExchangeError, Pin, RequestOptions, Service};

use crate::support::{Running, actions, bounded, head, identity, octets, roomy, service};

/// S-11, S-13: bodies of all sizes come back as they were, over TLS.
#[test]
fn bodies_of_all_sizes_come_back() {
    bounded(|| {
        let service = service();
        let client = service.client();
        for len in [0, 1, 100, 4095, 16_384, 32_768, 65_537, 1 << 20] {
            let body = octets(len);
            let reply = client.call(head("Test.echo"), body.clone()).unwrap();
            assert!(reply.body == body, "{len} octets");
        }
    });
}

/// 64 MiB go there and back whole.
#[test]
fn a_large_body_comes_back() {
    bounded(|| {
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .session(roomy(Side::Server)),
        );
        let client = service.client_with(|builder| builder.session(roomy(Side::Client)));
        let body = bytes::Bytes::from(octets(64 << 20));
        // As it comes: the reply begins long before the request is complete.
        let reply = client.call(head("Test.stream"), body.clone()).unwrap();
        assert!(reply.body == body);
    });
}

/// V-6, H-12: errors of all kinds reach the caller as what they are.
#[test]
fn errors_reach_the_caller() {
    let service = service();
    let client = service.client();
    let code = |action: &str| match client.call(head(action), "") {
        Err(CallError::Remote(error)) => error.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code("Test.nothing"), "no_action");
    assert_eq!(code("Test.error"), "teapot");
    assert_eq!(code("Test.panic"), "general");
    assert_eq!(
        client.call(head("Test.echo"), "still here").unwrap().body,
        "still here"
    );
}

/// L-3, F-16: a failed connection says why, and that nothing was processed.
#[test]
fn a_failed_connection_says_why() {
    let service = service();
    let reason = |address: &str, pin: Pin| match Client::connect(address, pin) {
        Err(error @ CallError::NoReply(ExchangeError::NotEstablished(_))) => {
            assert!(error.is_dispatch_failure());
            let CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(loss))) = error
            else {
                panic!("{error:?}")
            };
            loss
        }
        other => panic!("{other:?}"),
    };
    let other = Pin::Fingerprint(scamp_blocking::Fingerprint::of(b"another"));
    assert!(matches!(
        reason(&service.address.to_string(), other),
        Loss::Untrusted(Untrusted::FingerprintMismatch { .. })
    ));
    assert!(matches!(
        reason("127.0.0.1:1", Pin::AnyCertificate),
        Loss::Connect(_)
    ));
    assert!(matches!(
        reason("nonsense", Pin::AnyCertificate),
        Loss::Connect(_)
    ));
}

/// S-20: a peer that never shakes hands is given up in time.
#[test]
fn connecting_has_an_end() {
    bounded(|| {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let builder =
            Client::builder(Pin::AnyCertificate).connect_timeout(Duration::from_millis(100));
        let error = builder.connect(&address).unwrap_err();
        assert!(
            matches!(
                error,
                CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(
                    Loss::ConnectTimeout(_)
                )))
            ),
            "{error:?}"
        );
    });
}

/// S-21: a deadline ends a request that is not answered, and the connection goes on.
#[test]
fn a_deadline_ends_a_request() {
    bounded(|| {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let service = Running::start(
            actions(Service::builder(identity()).default_access(scamp_blocking::Access::Allow))
                .action("Test.slow", move |_| {
                    let _ = held.lock().unwrap().recv();
                    Ok(scamp_blocking::Reply::new("late"))
                })
                .unwrap(),
        );
        let client = service.client();
        let options = RequestOptions {
            timeout: Some(Duration::from_millis(50)),
            ..Default::default()
        };
        let error = client
            .call_with(head("Test.slow"), "", &options)
            .unwrap_err();
        assert!(
            matches!(error, CallError::NoReply(ExchangeError::Timeout(_))),
            "{error:?}"
        );
        release.send(()).unwrap();
        // S-22: a peer that said nothing meanwhile is asked nothing more on this connection.
        let again = client.call(head("Test.echo"), "x");
        assert!(matches!(again, Err(CallError::NotSent(_))), "{again:?}");
        assert_eq!(
            service.client().call(head("Test.echo"), "x").unwrap().body,
            "x"
        );
    });
}
