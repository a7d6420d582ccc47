//! Whom a client believes.

use scamp_proto::error::{Loss, Untrusted};
use scamp_proto::{Duplex, End, Instant};
use scamp_tls::{Fingerprint, Options, Pin, Tls};

use crate::support::*;

const SECRET: &[u8] = b"HEADER 0 2\r\n{}END\r\n";

/// L-3, R-1: another certificate than the pinned one gets an alert and not one octet of SCAMP.
#[test]
fn another_certificate_gets_nothing() {
    for options in every_options() {
        let expected = identity("rsa3072").fingerprint();
        let other = identity("rsa2048");
        for pin in [
            Pin::Fingerprint(expected),
            Pin::Certificate(certificate("rsa3072.crt")),
        ] {
            let client = client_tls(pin, &options);
            let asker = Recorder::saying(&[SECRET]);
            let server = server_tls(other.clone(), &options);
            let mut pair = Pair::with(asker, &client, Recorder::saying(&[b"bait"]), &server);
            pair.settle();
            let mismatch = Untrusted::FingerprintMismatch {
                expected: expected.to_string(),
                got: other.fingerprint().to_string(),
            };
            let asker = pair.client.inner();
            assert_eq!(asker.ends, [End::Lost(Loss::Untrusted(mismatch))]);
            assert_eq!((asker.asked, asker.fed), (0, 0));
            assert!(pair.client.peer().is_none() && !pair.client.is_established());
            assert!(pair.client.is_drained() && !pair.client.wants_read());
            assert_eq!(pair.server.inner().fed, 0);
            assert!(matches!(
                pair.server.inner().ends[..],
                [End::Lost(Loss::Tls(_))]
            ));
        }
    }
}

/// HD-10, L-6, B-19: certificates are public, so showing the right one proves nothing; without its
/// key an impostor is refused, in both versions, and receives nothing.
#[test]
fn an_impostor_with_the_victims_certificate_is_refused() {
    for provider in providers() {
        for versions in VERSIONS {
            let options = Options::with_provider(provider.clone()).versions(versions);
            let victim = certificate("rsa2048.crt");
            for pin in [
                Pin::AnyCertificate,
                Pin::Certificate(victim.clone()),
                Pin::Fingerprint(Fingerprint::of(&victim)),
            ] {
                let mut impostor =
                    bare_server("rsa2048.crt", "rsa2048-other.key", versions, &provider);
                let inner = Recorder::saying(&[SECRET]);
                let mut client = Tls::client(inner, &client_tls(pin, &options), Instant::EPOCH);
                let got = settle_bare(&mut client, &mut impostor, Instant::EPOCH);
                assert_eq!(got, b"");
                let inner = client.inner();
                let bad = matches!(
                    inner.ends[..],
                    [End::Lost(Loss::Untrusted(Untrusted::BadSignature(_)))]
                );
                assert!(bad, "{:?}", inner.ends);
                assert_eq!((inner.asked, inner.fed), (0, 0));
                assert!(client.is_drained());
            }
        }
    }
}

/// L-6: a key of another kind than the certificate's is refused as well.
#[test]
fn an_impostor_with_a_key_of_another_kind_is_refused() {
    for provider in providers() {
        for versions in VERSIONS {
            let options = Options::with_provider(provider.clone()).versions(versions);
            let mut impostor = bare_server("rsa2048.crt", "p256.key", versions, &provider);
            let inner = Recorder::saying(&[SECRET]);
            let client = client_tls(Pin::Certificate(certificate("rsa2048.crt")), &options);
            let mut client = Tls::client(inner, &client, Instant::EPOCH);
            assert_eq!(settle_bare(&mut client, &mut impostor, Instant::EPOCH), b"");
            assert_eq!(client.inner().asked, 0);
            assert!(matches!(client.inner().ends[..], [End::Lost(_)]));
        }
    }
}

/// HD-11: where the certificate is known, all of it is compared.
#[test]
fn a_known_certificate_is_compared_whole() {
    for options in both_versions() {
        // Same key, same issuer; other dates and serial number.
        let client = client_tls(Pin::Certificate(certificate("expired.crt")), &options);
        let mut pair = Pair::new(&client, &server_tls(identity("rsa2048"), &options));
        pair.settle();
        let refused = matches!(
            pair.client.inner().ends[..],
            [End::Lost(Loss::Untrusted(_))]
        );
        assert!(refused, "{:?}", pair.client.inner().ends);
    }
}

/// L-4: without a pin anybody is accepted who holds a key, and what was found says so.
#[test]
fn any_certificate_is_not_pinned() {
    for options in both_versions() {
        let identity = identity("rsa2048");
        let client = client_tls(Pin::AnyCertificate, &options);
        let mut pair = Pair::new(&client, &server_tls(identity.clone(), &options));
        pair.settle();
        let peer = pair.client.peer().unwrap();
        assert_eq!(peer.fingerprint(), identity.fingerprint());
        assert!(!peer.is_pinned());
    }
}

/// A certificate with a 1024-bit key is refused with words that say so (dependencies 3.5). The server
/// has another key, since no provider would load that one; the size is judged before the signature.
#[test]
fn small_keys_are_named() {
    for provider in providers() {
        for versions in VERSIONS {
            let options = Options::with_provider(provider.clone()).versions(versions);
            let mut server = bare_server("rsa1024.crt", "rsa2048.key", versions, &provider);
            let client = client_tls(Pin::Certificate(certificate("rsa1024.crt")), &options);
            let mut client = Tls::client(Recorder::default(), &client, Instant::EPOCH);
            settle_bare(&mut client, &mut server, Instant::EPOCH);
            let [End::Lost(Loss::Tls(text))] = &client.inner().ends[..] else {
                panic!("{:?}", client.inner().ends)
            };
            assert!(text.contains("1024-bit key"), "{text}");
        }
    }
}
