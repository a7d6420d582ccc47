//! Time, octets and keys that run out.

use std::sync::Arc;
use std::time::Duration;

use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};
use scamp_proto::error::Loss;
use scamp_proto::{Duplex, End, Instant, limits};
use scamp_tls::{HANDSHAKE_OCTETS, Options, Pin, Tls, Versions};

use crate::support::*;

/// S-20, HD-18: a handshake has ten seconds, at both ends, or as many as it is given.
#[test]
fn a_handshake_has_its_time() {
    let short = Duration::from_millis(1500);
    for (options, timeout) in [
        (Options::default(), limits::CONNECT_TIMEOUT),
        (Options::default().handshake_timeout(short), short),
    ] {
        let mut pair = Pair::ordinary(&options);
        let deadline = pair.now + timeout;
        for end in [&mut pair.client, &mut pair.server] {
            assert_eq!(end.poll_timeout(), Some(deadline));
            end.handle_timeout(pair.now + (timeout - Duration::from_nanos(1)));
            end.handle_timeout(pair.now);
            assert!(end.inner().ends.is_empty());
            end.handle_timeout(deadline);
            assert_eq!(end.inner().ends, [End::Lost(Loss::ConnectTimeout(timeout))]);
            assert!(end.is_drained() && !end.wants_read());
            assert_eq!(drain(end, deadline), b"");
            assert_eq!(end.poll_timeout(), None);
            end.handle_timeout(deadline);
            assert_eq!(end.inner().ends.len(), 1);
        }
    }
}

/// S-20: once established, the handshake's deadline is gone; the machine's own alarms ring before and
/// after.
#[test]
fn the_machines_alarms_ring_at_all_times() {
    let mut pair = Pair::ordinary(&Options::default());
    let early = pair.now + Duration::from_secs(1);
    pair.client.inner_mut().alarm = Some(early);
    assert_eq!(pair.client.poll_timeout(), Some(early));
    pair.client.handle_timeout(early);
    assert_eq!(pair.client.inner().alarms, [early]);
    assert_eq!(
        pair.client.poll_timeout(),
        Some(pair.now + limits::CONNECT_TIMEOUT)
    );
    pair.settle();
    assert_eq!(pair.client.poll_timeout(), None);
    let late = pair.now + Duration::from_secs(3600);
    pair.client.inner_mut().alarm = Some(late);
    pair.client.handle_timeout(late);
    assert_eq!(pair.client.inner().alarms, [early, late]);
    assert!(pair.client.inner().ends.is_empty());
}

/// HD-32: a timeout of for ever does not overflow.
#[test]
fn a_handshake_may_have_all_the_time() {
    let mut pair = Pair::ordinary(&Options::default().handshake_timeout(Duration::MAX));
    pair.client
        .handle_timeout(pair.now + Duration::from_secs(u64::MAX / 2));
    pair.settle();
    assert!(pair.client.is_established());
}

/// HD-19: 65 536 octets may come before the handshake is complete, and not one more. A server sends a
/// chain of certificates that makes its flight exactly so long.
#[test]
fn octets_before_the_handshake_are_bounded() {
    let [provider, _] = providers();
    let options = Options::with_provider(provider.clone()).versions(Versions::Tls13);
    let certificate = certificate("rsa2048.crt");
    let begin = |filler: usize| {
        let chain = vec![certificate.clone(), vec![0; filler].into()];
        let mut server = bare_server_with(chain, "rsa2048.key", Versions::Tls13, &provider);
        let client = client_tls(Pin::Certificate(certificate.clone()), &options);
        let mut client = Tls::client(Recorder::default(), &client, Instant::EPOCH);
        let hello = drain(&mut client, Instant::EPOCH);
        assert_eq!(server.read_tls(&mut &hello[..]).unwrap(), hello.len());
        server.process_new_packets().unwrap();
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        (client, flight)
    };
    let missing = HANDSHAKE_OCTETS - begin(60_000).1.len();
    // A record more has its own overhead, which is at most fifty octets.
    let fitting = (60_000 + missing - 50..=60_000 + missing)
        .find(|filler| begin(*filler).1.len() == HANDSHAKE_OCTETS)
        .unwrap();
    for cut in [1, 1000, usize::MAX] {
        let (mut client, flight) = begin(fitting);
        feed(&mut client, Instant::EPOCH, &flight, cut);
        assert!(client.is_established(), "{cut}");

        let (mut client, flight) = begin(fitting + 1);
        assert_eq!(flight.len(), HANDSHAKE_OCTETS + 1);
        feed(&mut client, Instant::EPOCH, &flight, cut);
        let [End::Lost(Loss::Tls(text))] = &client.inner().ends[..] else {
            panic!("{:?}", client.inner().ends)
        };
        assert!(text.contains("65536"), "{text}");
        assert!(!client.is_established() && !client.wants_read());
        drain(&mut client, Instant::EPOCH);
        assert!(client.is_drained());
    }
}

/// HD-19: a first message without end is no way around it.
#[test]
fn a_message_without_end_is_bounded() {
    let mut hello = vec![1, 0, 0xFF, 0xF0];
    hello.resize(4 + 0xFFF0, 0);
    let mut stream = Vec::new();
    for piece in hello.chunks(50) {
        stream.extend([22, 3, 1, 0, piece.len() as u8]);
        stream.extend(piece);
    }
    assert!(stream.len() > HANDSHAKE_OCTETS);
    for cut in [1, 1000, usize::MAX] {
        let mut pair = Pair::ordinary(&Options::default());
        feed(
            &mut pair.server,
            pair.now,
            &stream[..=HANDSHAKE_OCTETS],
            cut,
        );
        assert!(matches!(
            pair.server.inner().ends[..],
            [End::Lost(Loss::Tls(_))]
        ));
        assert!(!pair.server.wants_read());
        drain(&mut pair.server, pair.now);
        assert!(pair.server.is_drained());
    }
}

/// HD-19: what follows the handshake in the same read does not count.
#[test]
fn octets_after_the_handshake_do_not_count() {
    for options in both_versions() {
        let mut pair = Pair::ordinary(&options);
        pair.client
            .inner_mut()
            .say(vec![b'x'; 3 * HANDSHAKE_OCTETS]);
        pair.settle();
        assert_eq!(pair.server.inner().heard.len(), 3 * HANDSHAKE_OCTETS);
    }
}

/// Junk is refused at once, with an alert.
#[test]
fn junk_is_refused() {
    let mut pair = Pair::ordinary(&Options::default());
    pair.server
        .receive(pair.now, &b"GET / HTTP/1.1\r\n\r\n".repeat(4000));
    assert!(matches!(
        pair.server.inner().ends[..],
        [End::Lost(Loss::Tls(_))]
    ));
    assert!(!drain(&mut pair.server, pair.now).is_empty());
    assert!(pair.server.is_drained());
}

/// In TLS 1.2 keys cannot be renewed. When they are worn out the connection ends, with nothing
/// swallowed in silence; in 1.3 they are renewed and it goes on.
#[test]
fn keys_wear_out() {
    let identity = identity("rsa2048");
    for versions in VERSIONS {
        let mut provider = rustls::crypto::ring::default_provider();
        for suite in &mut provider.cipher_suites {
            *suite = short_lived(*suite);
        }
        let options = Options::with_provider(Arc::new(provider)).versions(versions);
        let client = client_tls(Pin::Fingerprint(identity.fingerprint()), &options);
        let mut pair = Pair::new(&client, &server_tls(identity.clone(), &Options::default()));
        pair.settle();
        let mut said = 0;
        for _ in 0..100 {
            if !pair.client.inner().ends.is_empty() {
                break;
            }
            pair.client.inner_mut().say(&b"PING 0 0\r\nEND\r\n"[..]);
            said += 15;
            pair.settle();
        }
        let heard = pair.server.inner().heard.len();
        if versions == Versions::Tls13 {
            assert_eq!(heard, said);
            assert!(pair.client.inner().ends.is_empty());
        } else {
            assert_eq!(
                heard,
                said - 15,
                "only the last was not sent, and that is told"
            );
            let [End::Lost(Loss::Tls(text))] = &pair.client.inner().ends[..] else {
                panic!()
            };
            assert!(text.contains("worn out"), "{text}");
            assert!(pair.client.is_drained());
        }
    }
}

/// The same suite with keys that may seal few records.
fn short_lived(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |of: &CipherSuiteCommon| CipherSuiteCommon {
        suite: of.suite,
        hash_provider: of.hash_provider,
        confidentiality_limit: 20,
    };
    match suite {
        SupportedCipherSuite::Tls12(of) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&of.common),
                prf_provider: of.prf_provider,
                kx: of.kx,
                sign: of.sign,
                aead_alg: of.aead_alg,
            })))
        }
        SupportedCipherSuite::Tls13(of) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&of.common),
                hkdf_provider: of.hkdf_provider,
                aead_alg: of.aead_alg,
                quic: of.quic,
            })))
        }
    }
}
