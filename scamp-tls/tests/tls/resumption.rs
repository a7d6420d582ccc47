//! Sessions that are resumed, and the judgement they do not escape.

use scamp_proto::error::{Loss, Untrusted};
use scamp_proto::{Duplex, End};
use scamp_tls::{ClientTlsCache, Options, Pin};

use crate::support::*;

/// L-5: the second connection resumes, and knows its peer as well as the first did.
#[test]
fn the_second_connection_resumes_and_is_judged() {
    for options in every_options() {
        let identity = identity("rsa2048");
        let server = server_tls(identity.clone(), &options);
        let client = client_tls(Pin::Fingerprint(identity.fingerprint()), &options);
        for resumed in [false, true, true] {
            let mut pair = Pair::new(&client, &server);
            pair.client.inner_mut().say(&b"PING 0 0\r\nEND\r\n"[..]);
            pair.settle();
            assert_eq!(pair.client.is_resumed(), resumed, "{options:?}");
            assert_eq!(pair.server.is_resumed(), resumed);
            let peer = pair.client.peer().unwrap();
            assert_eq!(peer.fingerprint(), identity.fingerprint());
            assert!(peer.is_pinned());
            assert_eq!(pair.server.inner().heard, b"PING 0 0\r\nEND\r\n");
        }
    }
}

/// L-5, dependencies 3.4: services on one address keep apart, each with its own certificate.
#[test]
fn services_on_one_address_do_not_mix() {
    for options in both_versions() {
        let mut cache = ClientTlsCache::new(options.clone());
        let services = ["rsa2048", "rsa3072"].map(|name| {
            let identity = identity(name);
            (
                format!("beepish+tls://127.0.0.1/{name}"),
                server_tls(identity, &options),
            )
        });
        for resumed in [false, true] {
            for (uri, server) in &services {
                let fingerprint = server.identity().fingerprint();
                let pin = Pin::Fingerprint(fingerprint);
                let client = cache.get(uri, "127.0.0.1", &pin).unwrap();
                let mut pair = Pair::new(&client, server);
                pair.settle();
                assert_eq!(pair.client.is_resumed(), resumed);
                assert_eq!(pair.client.peer().unwrap().fingerprint(), fingerprint);
            }
        }
        assert_eq!(cache.len(), 2);
    }
}

/// L-5: a session made without a pin is not resumed into a connection that has one.
#[test]
fn an_unchecked_session_does_not_pass_for_a_checked_one() {
    for options in both_versions() {
        let mut cache = ClientTlsCache::new(options.clone());
        let server = server_tls(identity("rsa2048"), &options);
        let uri = "beepish+tls://127.0.0.1:1";
        let mut connect = |pin: &Pin| {
            let mut pair = Pair::new(&cache.get(uri, "127.0.0.1", pin).unwrap(), &server);
            pair.settle();
            pair
        };
        assert!(!connect(&Pin::AnyCertificate).client.is_resumed());
        assert!(connect(&Pin::AnyCertificate).client.is_resumed());

        let wrong = Pin::Fingerprint(identity("rsa3072").fingerprint());
        let pair = connect(&wrong);
        let end = &pair.client.inner().ends[..];
        let mismatch = [End::Lost(Loss::Untrusted(Untrusted::FingerprintMismatch {
            expected: identity("rsa3072").fingerprint().to_string(),
            got: identity("rsa2048").fingerprint().to_string(),
        }))];
        assert_eq!(end, mismatch);

        let right = Pin::Fingerprint(identity("rsa2048").fingerprint());
        let pair = connect(&right);
        assert!(pair.client.is_established() && !pair.client.is_resumed());
    }
}

/// A server that has forgotten the session, for instance because it was started anew, shakes hands
/// in full.
#[test]
fn a_server_may_forget() {
    let options = Options::default();
    let identity = identity("rsa2048");
    let client = client_tls(Pin::Fingerprint(identity.fingerprint()), &options);
    for _ in 0..2 {
        let mut pair = Pair::new(&client, &server_tls(identity.clone(), &options));
        pair.settle();
        assert!(pair.client.is_established() && !pair.client.is_resumed());
        assert!(!pair.client.is_drained());
    }
}
