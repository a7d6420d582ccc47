//! Shaking hands: versions, certificates, cuts.

use scamp_proto::error::Loss;
use scamp_proto::{Duplex, End, Instant};
use scamp_tls::{
    ClientTls, Fingerprint, Identity, IdentityError, Options, Pin, ServerTls, Tls, TlsVersion,
    Versions,
};

use crate::support::*;

const ASK: &[u8] = b"HEADER 0 2\r\n{}END\r\n";
const ANSWER: &[u8] = b"PONG 0 0\r\nEND\r\n";

/// L-8: TLS 1.2 and 1.3 with either provider, and any cut of the stream gives the same (law 8).
#[test]
fn any_cut_is_the_same_handshake() {
    let identity = identity("rsa2048");
    for options in every_options() {
        for cut in [1, 7, 1000, usize::MAX] {
            let pin = Pin::Fingerprint(identity.fingerprint());
            let client = client_tls(pin, &options);
            let server = server_tls(identity.clone(), &options);
            let asker = Recorder::saying(&[ASK]);
            let mut pair = Pair::with(asker, &client, Recorder::saying(&[ANSWER]), &server);
            pair.cut = cut;
            pair.settle();
            assert_eq!(pair.server.inner().heard, ASK, "{options:?} {cut}");
            assert_eq!(pair.client.inner().heard, ANSWER);
            assert!(pair.client.inner().ends.is_empty() && pair.server.inner().ends.is_empty());
            let peer = pair.client.peer().unwrap();
            assert_eq!(peer.fingerprint(), identity.fingerprint());
            assert_eq!(peer.certificate(), identity.certificate());
            assert!(peer.is_pinned());
            assert!(
                pair.server.peer().is_none(),
                "L-7: clients show no certificate"
            );
        }
    }
}

/// L-3: until the handshake is complete, the machine inside is neither asked nor fed.
#[test]
fn the_machine_inside_is_corked() {
    for options in both_versions() {
        let mut pair = Pair::ordinary(&options);
        pair.client.inner_mut().say(ASK);
        pair.server.inner_mut().say(ANSWER);
        for _round in 0..4 {
            for to_server in [true, false] {
                let (from, to) = match to_server {
                    true => (&mut pair.client, &mut pair.server),
                    false => (&mut pair.server, &mut pair.client),
                };
                for octet in drain(from, pair.now) {
                    to.receive(pair.now, &[octet]);
                    let inner = to.inner();
                    assert!(to.is_established() || (inner.asked, inner.fed) == (0, 0));
                }
                assert!(from.is_established() || from.inner().asked == 0);
            }
        }
        assert_eq!(pair.server.inner().heard, ASK);
        assert_eq!(pair.client.inner().heard, ANSWER);
    }
}

/// L-8: certificates as they occur: RSA of all sizes, SHA-1 signatures, X.509 v1, expired ones.
/// L-2: none of their other fields is looked at.
#[test]
fn certificates_as_they_occur() {
    for options in every_options() {
        for (certificate, key) in [
            ("rsa2048.crt", "rsa2048-pkcs1.key"),
            ("rsa3072.crt", "rsa3072.key"),
            ("rsa4096.crt", "rsa4096.key"),
            ("sha1.crt", "rsa2048.key"),
            ("v1.crt", "rsa2048.key"),
            ("expired.crt", "rsa2048.key"),
            ("p256.crt", "p256.key"),
            ("ed25519.crt", "ed25519.key"),
        ] {
            let identity = Identity::from_pem(read(certificate), read(key)).unwrap();
            let pin = Pin::Certificate(identity.certificate().clone());
            let mut pair = Pair::new(&client_tls(pin, &options), &server_tls(identity, &options));
            pair.client.inner_mut().say(ASK);
            pair.settle();
            assert_eq!(pair.server.inner().heard, ASK, "{certificate} {options:?}");
        }
    }
}

/// L-8: keys with the public exponent 3. ring verifies with them but does not sign, so the server
/// here runs on aws-lc-rs.
#[test]
fn exponent_three() {
    let [_, signer] = providers();
    for provider in providers() {
        for versions in VERSIONS {
            let mut server = bare_server("exponent3.crt", "exponent3.key", versions, &signer);
            let options = Options::with_provider(provider.clone()).versions(versions);
            let client = client_tls(Pin::Certificate(certificate("exponent3.crt")), &options);
            let mut client = Tls::client(Recorder::saying(&[ASK]), &client, Instant::EPOCH);
            assert_eq!(settle_bare(&mut client, &mut server, Instant::EPOCH), ASK);
        }
    }
}

/// L-10: a name is sent, an address is not.
#[test]
fn names_are_sent_and_addresses_are_not() {
    let options = Options::default();
    for (host, sent) in [
        ("service.example", true),
        ("10.0.0.1", false),
        ("[::1]", false),
    ] {
        let client = ClientTls::with_options(host, Pin::AnyCertificate, &options).unwrap();
        let mut pair = Pair::new(&client, &ServerTls::new(identity("rsa2048")));
        pair.settle();
        assert!(pair.client.is_established());
        let found = pair.sent[0]
            .windows(host.len())
            .any(|window| window == host.as_bytes());
        assert_eq!(found, sent, "{host}");
    }
}

/// L-8: no common suite is an error that says so, at both ends.
#[test]
fn no_common_suite_is_named() {
    let identity = identity("rsa2048");
    let with = |keep: fn(&rustls::CipherSuite) -> bool| {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| keep(&suite.suite()));
        Options::with_provider(provider.into()).versions(Versions::Tls12)
    };
    let aes128 = with(|suite| format!("{suite:?}").contains("AES_128"));
    let aes256 = with(|suite| format!("{suite:?}").contains("AES_256"));
    let client = client_tls(Pin::AnyCertificate, &aes128);
    let mut pair = Pair::new(&client, &server_tls(identity, &aes256));
    pair.settle();
    for end in [pair.client.inner(), pair.server.inner()] {
        let [End::Lost(Loss::Tls(text))] = &end.ends[..] else {
            panic!("{:?}", end.ends)
        };
        assert!(text.contains("no common cipher suite"), "{text}");
    }
    assert!(pair.client.is_drained() && pair.server.is_drained());
}

/// L-8: both ends tell the version they have agreed on, and none before that.
#[test]
fn the_version_is_told() {
    use TlsVersion::{Tls12, Tls13};
    for (client, server, version) in [
        (Versions::Any, Versions::Any, Tls13),
        (Versions::Any, Versions::Tls12, Tls12),
        (Versions::Tls13, Versions::Any, Tls13),
    ] {
        let [client, server] = [client, server].map(|own| Options::default().versions(own));
        let client = client_tls(Pin::AnyCertificate, &client);
        let mut pair = Pair::new(&client, &server_tls(identity("rsa2048"), &server));
        assert_eq!(pair.client.version(), None);
        pair.settle();
        assert_eq!(pair.client.version(), Some(version));
        assert_eq!(pair.server.version(), Some(version));
    }
}

/// Versions that do not meet end in an error, not in silence.
#[test]
fn no_common_version_is_an_error() {
    let older = Options::default().versions(Versions::Tls12);
    let newer = Options::default().versions(Versions::Tls13);
    for (one, other) in [(&older, &newer), (&newer, &older)] {
        let client = client_tls(Pin::AnyCertificate, one);
        let mut pair = Pair::new(&client, &server_tls(identity("rsa2048"), other));
        pair.settle();
        for end in [pair.client.inner(), pair.server.inner()] {
            assert!(
                matches!(end.ends[..], [End::Lost(Loss::Tls(_))]),
                "{:?}",
                end.ends
            );
        }
    }
}

/// L-9: both forms of key, several certificates of which the first counts, and errors that name the
/// fault.
#[test]
fn identities_and_their_faults() {
    let good = identity("rsa2048");
    let pkcs1 = Identity::from_pem(read("rsa2048.crt"), read("rsa2048-pkcs1.key")).unwrap();
    assert_eq!(good.fingerprint(), pkcs1.fingerprint());
    assert_eq!(
        good.fingerprint(),
        Fingerprint::of(&certificate("rsa2048.crt"))
    );
    let several = [read("rsa2048.crt"), read("rsa4096.crt")].concat();
    let first = Identity::from_pem(&several, read("rsa2048.key")).unwrap();
    assert_eq!(first.fingerprint(), good.fingerprint());
    let together = [read("rsa2048.key"), read("rsa2048.crt")].concat();
    assert!(Identity::from_pem(&together, &together).is_ok());

    let fault = |certificate: &str, key: &str| {
        Identity::from_pem(read(certificate), read(key)).unwrap_err()
    };
    assert_eq!(
        fault("rsa2048.key", "rsa2048.key"),
        IdentityError::NoCertificate
    );
    assert_eq!(fault("rsa2048.crt", "rsa2048.crt"), IdentityError::NoKey);
    assert_eq!(
        fault("rsa2048.crt", "rsa2048-encrypted.key"),
        IdentityError::EncryptedKey
    );
    assert_eq!(
        fault("rsa2048.crt", "rsa2048-pkcs1-encrypted.key"),
        IdentityError::EncryptedKey
    );
    assert_eq!(
        fault("rsa2048.crt", "rsa2048-other.key"),
        IdentityError::KeyMismatch
    );
    assert_eq!(
        fault("rsa2048.crt", "rsa4096.key"),
        IdentityError::KeyMismatch
    );
    assert_eq!(fault("rsa2048.crt", "p256.key"), IdentityError::KeyMismatch);
    let small = IdentityError::KeyTooSmall { bits: 1024 };
    assert_eq!(fault("rsa1024.crt", "rsa1024.key"), small);
    assert_eq!(fault("rsa2048.crt", "rsa1024.key"), small);
    assert!(small.to_string().contains("1024-bit key"));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = Identity::from_pem(junk, read("rsa2048.key")).unwrap_err();
    assert!(matches!(error, IdentityError::BadCertificate(_)));
}

/// HD-12: nothing that is shown has anything of the key in it.
#[test]
fn keys_are_not_shown() {
    let identity = identity("rsa2048");
    let server = ServerTls::new(identity.clone());
    let text = format!("{identity:?} {server:?}");
    assert!(text.contains(&identity.fingerprint().to_string()));
    assert!(text.len() < 400, "{text}");

    let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!c2VjcmV0\n-----END PRIVATE KEY-----\n";
    let error = Identity::from_pem(read("rsa2048.crt"), broken).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("c2Vj"));
}
