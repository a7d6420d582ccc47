//! Records that are not what they should be.

use proptest::prelude::*;
use rustls::ServerConnection;
use scamp_proto::error::Loss;
use scamp_proto::{Duplex, End, Instant};
use scamp_tls::{Options, Pin, Tls, Versions};

use crate::support::*;

fn with_bare_server(versions: Versions) -> (Tls<Recorder>, ServerConnection) {
    let [provider, _] = providers();
    let options = Options::with_provider(provider.clone()).versions(versions);
    let mut server = bare_server("rsa2048.crt", "rsa2048.key", versions, &provider);
    let client = client_tls(Pin::Certificate(certificate("rsa2048.crt")), &options);
    let mut client = Tls::client(Recorder::default(), &client, Instant::EPOCH);
    settle_bare(&mut client, &mut server, Instant::EPOCH);
    assert!(client.is_established());
    (client, server)
}

/// F-6: what came before a corrupt record is delivered, nothing of it or after it is, and the peer gets
/// an alert; however the stream was cut.
#[test]
fn a_corrupt_record_delivers_nothing() {
    for versions in VERSIONS {
        for cut in [1, 7, 1000, usize::MAX] {
            let (mut client, mut server) = with_bare_server(versions);
            let good = sealed(&mut server, b"good");
            let mut bad = sealed(&mut server, b"bad");
            let last = bad.len() - 1;
            bad[last] ^= 1;
            let after = sealed(&mut server, b"after");
            feed(
                &mut client,
                Instant::EPOCH,
                &[good, bad, after].concat(),
                cut,
            );
            assert_eq!(client.inner().heard, b"good");
            assert!(matches!(client.inner().ends[..], [End::Lost(Loss::Tls(_))]));
            assert!(!client.wants_read() && !client.is_drained());
            let alert = drain(&mut client, Instant::EPOCH);
            assert_eq!(records(&alert).len(), 1);
            assert!(client.is_drained());
            let mut rest = &alert[..];
            server.read_tls(&mut rest).unwrap();
            let heard = server.process_new_packets().unwrap_err();
            assert!(matches!(heard, rustls::Error::AlertReceived(_)));
        }
    }
}

/// Records after close_notify are ignored, as TLS prescribes.
#[test]
fn nothing_counts_after_close_notify() {
    for versions in VERSIONS {
        for cut in [1, 7, usize::MAX] {
            let (mut client, mut server) = with_bare_server(versions);
            let mut stream = sealed(&mut server, b"before");
            server.send_close_notify();
            stream.extend(sealed(&mut server, b""));
            stream.extend(b"junk that is no record");
            feed(&mut client, Instant::EPOCH, &stream, cut);
            assert_eq!(client.inner().heard, b"before");
            assert_eq!(client.inner().ends, [End::Eof]);
        }
    }
}

/// HD-9: empty records and key updates carry nothing; floods of them end the connection instead of
/// turning for ever or filling memory.
#[test]
fn floods_of_nothing_end_the_connection() {
    // Key updates: rustls allows some between two records of data.
    let (mut client, mut server) = with_bare_server(Versions::Tls13);
    let mut answered = 0;
    for _ in 0..1000 {
        if !client.inner().ends.is_empty() {
            break;
        }
        server.refresh_traffic_keys().unwrap();
        let update = sealed(&mut server, b"");
        client.receive(Instant::EPOCH, &update);
        let answer = drain(&mut client, Instant::EPOCH);
        answered += answer.len();
        let mut rest = &answer[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            if server.process_new_packets().is_err() {
                break;
            }
        }
    }
    assert!(matches!(client.inner().ends[..], [End::Lost(Loss::Tls(_))]));
    assert!(answered < 10_000, "{answered}");

    // Plaintext records without content, before there are keys.
    let mut pair = Pair::ordinary(&Options::default());
    let empty = [22, 3, 3, 0, 0].repeat(100);
    feed(&mut pair.server, pair.now, &empty, usize::MAX);
    assert!(matches!(
        pair.server.inner().ends[..],
        [End::Lost(Loss::Tls(_))]
    ));
}

/// HD-9: warnings during the handshake are counted too.
#[test]
fn floods_of_warnings_end_the_connection() {
    const USER_CANCELED: [u8; 7] = [21, 3, 3, 0, 2, 1, 90];
    let mut pair = Pair::ordinary(&Options::default());
    pair.server.receive(pair.now, &USER_CANCELED);
    assert!(pair.server.inner().ends.is_empty());
    pair.server.receive(pair.now, &USER_CANCELED.repeat(50));
    assert!(matches!(
        pair.server.inner().ends[..],
        [End::Lost(Loss::Tls(_))]
    ));
    drain(&mut pair.server, pair.now);
    assert!(pair.server.is_drained());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Law 9: no input makes either end panic or turn for ever, and each ends at most once.
    #[test]
    fn junk_does_no_harm(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        record in any::<bool>(),
    ) {
        for client in [true, false] {
            let mut pair = Pair::ordinary(&Options::default());
            let end = if client { &mut pair.client } else { &mut pair.server };
            for piece in &pieces {
                let mut octets = piece.clone();
                if record {
                    // Dressed as a handshake record, so that it gets past the first look.
                    let len = (piece.len() as u16).to_be_bytes();
                    octets.splice(0..0, [22, 3, 3, len[0], len[1]]);
                }
                end.receive(pair.now, &octets);
                drain(end, pair.now);
            }
            end.receive_end(pair.now, End::Eof);
            prop_assert_eq!(end.inner().ends.len(), 1);
            prop_assert_eq!(end.inner().fed + end.inner().asked, 0);
            prop_assert!(end.is_drained());
        }
    }

    /// A flipped bit anywhere in the server's part of a handshake never lets the client speak to it
    /// as if nothing had happened: the connection fails, or both ends have agreed on the same.
    #[test]
    fn a_flipped_bit_in_the_handshake(at in 0usize..4000, bit in 0u8..8) {
        let mut pair = Pair::ordinary(&Options::default());
        pair.client.inner_mut().say(&b"secret"[..]);
        let hello = drain(&mut pair.client, pair.now);
        feed(&mut pair.server, pair.now, &hello, usize::MAX);
        let mut flight = drain(&mut pair.server, pair.now);
        let at = at % flight.len();
        flight[at] ^= 1 << bit;
        feed(&mut pair.client, pair.now, &flight, usize::MAX);
        pair.settle();
        if pair.server.inner().heard.is_empty() {
            prop_assert!(!pair.server.is_established() || pair.client.inner().asked > 0);
        } else {
            prop_assert!(pair.client.is_established());
        }
    }
}
