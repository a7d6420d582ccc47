//! Every face against every other, over TLS and real sockets.

#![allow(clippy::unwrap_used)]

#[path = "support/face.rs"]
mod face;

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use face::{Client, Face, HALF, Running, bad_luck, body, bounded, until};
use scamp_proto::connection::AckPolicy;
use scamp_proto::error::{Loss, Untrusted};
use scamp_proto::service::Occurrence;
use scamp_proto::{BodyError, CallError, CloseReason, ExchangeError};
use scamp_tls::rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types};
use scamp_tls::{Fingerprint, Pin, TlsVersion, default_provider};

/// Runs each test of this file with one face as client and one as service.
macro_rules! pairing {
    ($name:ident: $client:ident to $service:ident) => {
        mod $name {
            pairing!(test $client $service:
                both_ends_are_told
                bodies_come_back
                a_body_of_64_mib_comes_back
                sixty_four_at_once
                an_unknown_action
                an_error_reply
                half_a_reply_is_never_a_reply
                half_a_request_is_never_a_request
                notifications_are_heard
                subscriptions_tell_all
                giving_up_costs_one_exchange
                shutting_down_finishes_what_is_there
                nobody_speaks_to_a_stranger
            );
        }
    };
    (test $client:ident $service:ident: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                super::bounded(|| super::$test(super::Face::$client, super::Face::$service));
            }
        )*
    };
}

pairing!(blocking_to_blocking: Blocking to Blocking);
pairing!(blocking_to_tokio: Blocking to Tokio);
pairing!(tokio_to_blocking: Tokio to Blocking);
pairing!(tokio_to_tokio: Tokio to Tokio);
pairing!(async_std_to_blocking: AsyncStd to Blocking);
pairing!(tokio_to_async_std: Tokio to AsyncStd);
pairing!(async_std_to_async_std: AsyncStd to AsyncStd);
pairing!(blocking_to_smol: Blocking to Smol);
pairing!(smol_to_tokio: Smol to Tokio);
pairing!(smol_to_smol: Smol to Smol);

/// L-8, V-11: a client is told which TLS it speaks, and a service whose connection ended, and why.
fn both_ends_are_told(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    assert_eq!(client.tls_version(), Some(TlsVersion::Tls13));
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
    drop(client);
    until("it has gone", || service.connections() == 0);
    let notes = service.notes();
    let [note] = &notes[..] else {
        panic!("{notes:?}");
    };
    assert_eq!(note.what, Occurrence::Closed(CloseReason::ClosedByPeer));
    assert!(note.peer.is_some_and(|peer| peer.ip().is_loopback()));
}

/// S-17, A-13: whole bodies of no, few and many octets come back as they went, in both kinds of
/// action.
fn bodies_come_back(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    for action in ["Echo.whole", "Echo.stream"] {
        for len in [0, 3, 1 << 20] {
            let there = body(len, len);
            let back = client.call(action, there.clone()).unwrap();
            assert!(back == there, "{action} of {len}: {} octets", back.len());
        }
    }
}

/// HD-50: a body far larger than any buffer streams both ways at once, octet for octet.
fn a_body_of_64_mib_comes_back(client: Face, service: Face) {
    const LEN: usize = 64 << 20;
    let service = Running::start(service);
    let client = service.client(client);
    let (mut out, reply) = client.begin("Echo.stream");
    let writer = std::thread::spawn(move || {
        let mut at = 0;
        while at < LEN {
            let len = (LEN - at).min(200_000);
            out.write(body(at, len)).unwrap();
            at += len;
        }
        out.finish().unwrap();
    });
    let (header, mut back) = reply.wait().unwrap();
    assert_eq!(header.error(), None);
    let mut at = 0;
    while let Some(piece) = back.chunk().unwrap() {
        assert!(piece == body(at, piece.len()), "wrong after {at}");
        at += piece.len();
    }
    assert_eq!(at, LEN);
    writer.join().unwrap();
    assert!(client.stats().octets_in > LEN as u64);
}

/// S-12, HD-76: sixty-four requests are in handlers at once on one connection, and each gets its
/// own reply.
fn sixty_four_at_once(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    let calls: Vec<_> = (0..64)
        .map(|n| {
            let client = client.clone();
            std::thread::spawn(move || client.call("Slow.gate", format!("\"{n}\"")).unwrap())
        })
        .collect();
    until("64 in handlers", || service.gate.came() == 64);
    assert_eq!(service.connections(), 1);
    service.gate.open();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.join().unwrap(), format!("\"{n}\""));
    }
}

/// V-6, H-13: an action that nobody serves is answered `no_action`, which is no dispatch failure.
fn an_unknown_action(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    for action in ["Echo.nothing", "Echo.whole~2"] {
        let error = client.call(action, "1").unwrap_err();
        assert!(!error.is_dispatch_failure(), "{error}");
        let CallError::Remote(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.code, "no_action");
    }
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
}

/// H-12: an error reply brings its code, text and data, octet for octet, and is no dispatch failure.
fn an_error_reply(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    let error = client.call("Bad.error", "").unwrap_err();
    assert!(!error.is_dispatch_failure());
    assert_eq!(error, CallError::Remote(bad_luck()));
    let (out, reply) = client.begin("Bad.error");
    out.finish().unwrap();
    let (header, mut rest) = reply.wait().unwrap();
    assert_eq!(header.error(), Some(bad_luck()));
    assert_eq!(rest.chunk(), Ok(None));
}

/// S-8, HD-50: a reply that ends in TXERR half way is an error, however it is read.
fn half_a_reply_is_never_a_reply(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    let error = client.call("Bad.half", "").unwrap_err();
    assert!(
        matches!(error, CallError::Body(BodyError::PeerError(_))),
        "{error}"
    );
    let (out, reply) = client.begin("Bad.half");
    out.finish().unwrap();
    let (header, mut rest) = reply.wait().unwrap();
    assert_eq!(header.error(), None);
    let mut read = Vec::new();
    let end = loop {
        match rest.chunk() {
            Ok(Some(piece)) => read.extend_from_slice(&piece),
            Ok(None) => panic!("taken for complete after {} octets", read.len()),
            Err(error) => break error,
        }
    };
    assert!(HALF.starts_with(&read));
    assert!(matches!(end, BodyError::PeerError(_)), "{end}");
    // Asked again, it does not turn into a proper end.
    assert_eq!(rest.chunk(), Err(end));
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
}

/// S-4, S-10: a request that is given up half way starts no handler of whole bodies, and ends no
/// connection.
fn half_a_request_is_never_a_request(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    for drops in [true, false] {
        let (mut out, reply) = client.begin("Slow.gate");
        out.write(Bytes::from_static(b"half")).unwrap();
        match drops {
            true => drop(out),
            false => out.fail("out of words").unwrap(),
        }
        drop(reply);
    }
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
    assert_eq!(service.gate.came(), 0);
}

/// H-6: notifications are heard, whole and once, and expect nothing.
fn notifications_are_heard(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    client.notify("first");
    assert_eq!(service.heard.recv().unwrap(), "first");
    client.notify("second");
    client.notify("");
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
    let mut heard = [service.heard.recv().unwrap(), service.heard.recv().unwrap()];
    heard.sort();
    assert_eq!(heard, ["", "second"]);
}

/// S-40, S-41: a subscriber gets what there is, then what changes, and nothing of other topics.
fn subscriptions_tell_all(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    assert!(service.publish("stock", "a", "1"));
    assert!(service.publish("stock", "b", "[2]"));
    assert!(service.publish("other", "a", "3"));
    let mut changes = client.subscribe(&["stock"]);
    let mut told = Vec::new();
    let mut wait_for = |count: usize| {
        while told.len() < count {
            let changes = changes.next().unwrap();
            told.extend(changes.into_iter().map(|change| {
                assert_eq!(change.code, "stock");
                format!("{}={}", change.key, change.value)
            }));
        }
        told.clone()
    };
    let mut snapshot = wait_for(2);
    snapshot.sort();
    assert_eq!(snapshot, ["a=1", "b=[2]"]);
    assert!(service.publish("other", "a", "4"));
    assert!(!service.publish("stock", "a", "1"), "no news");
    assert!(service.publish("stock", "a", "5"));
    assert_eq!(wait_for(3)[2..], ["a=5"]);
    assert!(service.publish("stock", "b", "null"));
    assert_eq!(wait_for(4)[3..], ["b=null"]);
    drop(changes);
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
}

/// S-14: whoever drops a request, or its reply half read, has given up that and nothing else.
fn giving_up_costs_one_exchange(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    // Its handler runs.
    let (out, reply) = client.begin("Slow.gate");
    out.finish().unwrap();
    // The blocking face sends when somebody calls; this call does.
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
    until("a handler", || service.gate.came() == 1);
    drop(reply);
    assert_eq!(client.call("Echo.whole", "2").unwrap(), "2");
    // Its reply has begun, and so has its request.
    let (mut out, reply) = client.begin("Echo.stream");
    out.write(body(0, 100_000)).unwrap();
    let (_, mut back) = reply.wait().unwrap();
    assert!(back.chunk().unwrap().is_some());
    back.set_ack_policy(AckPolicy::OnConsume);
    drop(back);
    assert_eq!(client.call("Echo.whole", "3").unwrap(), "3");
    drop(out);
    service.gate.open();
    until("no handler is left", || service.active() == 0);
    let large = body(7, 1 << 20);
    assert!(client.call("Echo.stream", large.clone()).unwrap() == large);
    assert_eq!(client.closed(), None);
    assert_eq!(service.connections(), 1);
}

/// V-12, S-35: what is in a handler when the service is shut down is answered whole; then the
/// connection and the service end.
fn shutting_down_finishes_what_is_there(client: Face, service: Face) {
    let service = Running::start(service);
    let client = service.client(client);
    let large = body(3, 1 << 20);
    let call = {
        let (client, large) = (client.clone(), large.clone());
        std::thread::spawn(move || client.call("Slow.gate", large))
    };
    until("a handler", || service.gate.came() == 1);
    service.shutdown();
    // New requests are refused as soon as the service has noticed, and were certainly not run.
    let refused = loop {
        match client.call("Echo.whole", "1") {
            Ok(back) => assert_eq!(back, "1"),
            Err(error) => break error,
        }
    };
    assert!(refused.is_dispatch_failure(), "{refused}");
    assert!(!service.has_ended());
    service.gate.open();
    assert!(call.join().unwrap().unwrap() == large);
    until("the client knows", || client.closed().is_some());
    drop(client);
    until("the service has ended", || service.has_ended());
}

/// L-3, T-9: a service with another certificate is refused with both fingerprints, before it gets
/// anything, and goes on serving others.
fn nobody_speaks_to_a_stranger(client: Face, service: Face) {
    let service = Running::start(service);
    let other = Fingerprint::from_octets([7; 20]);
    let refused = Client::connect(client, &service.address, other.into());
    assert_eq!(refused.err(), Some(stranger(other, service.fingerprint)));
    let client = service.client(client);
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
}

/// T1, L-3: the stranger itself sees no octet of ours inside TLS.
#[test]
fn a_stranger_hears_nothing() {
    for client in Face::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stranger_hears = std::thread::spawn(move || {
            let socket = listener.accept().unwrap().0;
            let tls = ServerConnection::new(Arc::new(server_config())).unwrap();
            let mut heard = Vec::new();
            let end = StreamOwned::new(tls, socket).read_to_end(&mut heard);
            assert!(end.is_err(), "the handshake is not completed");
            heard.len()
        });
        let other = Fingerprint::from_octets([7; 20]);
        let refused = Client::connect(client, &address, Pin::Fingerprint(other));
        let fingerprint = face::identity().fingerprint();
        assert_eq!(refused.err(), Some(stranger(other, fingerprint)));
        assert_eq!(stranger_hears.join().unwrap(), 0);
    }
}

fn stranger(expected: Fingerprint, got: Fingerprint) -> CallError {
    let untrusted = Untrusted::FingerprintMismatch {
        expected: expected.to_string(),
        got: got.to_string(),
    };
    let reason = CloseReason::Lost(Loss::Untrusted(untrusted));
    CallError::NoReply(ExchangeError::NotEstablished(reason))
}

fn server_config() -> ServerConfig {
    use pki_types::pem::PemObject;
    let certificate = pki_types::CertificateDer::from_pem_slice(face::CERTIFICATE.as_bytes());
    let key = pki_types::PrivateKeyDer::from_pem_slice(face::KEY.as_bytes());
    ServerConfig::builder_with_provider(default_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap()], key.unwrap())
        .unwrap()
}
