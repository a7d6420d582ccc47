//! Hostile behaviour against a service over TLS (hardening, section 7; HD-70).
//!
//! Beside each script an honest client asks for an octet at a time, and must get each answer. Memory
//! is the growth of the service's process; the bounds are the specification's, and half as much
//! again for what the system's allocator keeps.

#![allow(clippy::unwrap_used)]

#[path = "support/face.rs"]
#[allow(dead_code, reason = "this file uses a part of it")]
mod face;
#[path = "support/process.rs"]
mod process;
#[path = "support/raw.rs"]
mod raw;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use face::{CERTIFICATE, Client, Face, PATIENCE, bounded, identity, until};
use process::{CROWD, Honest, LIMIT, Service};
use raw::{Raw, packet, request, whole_request};
use scamp_proto::error::{Loss, Untrusted};
use scamp_proto::wire::RemoteError;
use scamp_proto::{CallError, CloseReason, ExchangeError};
use scamp_tests::naive::{Packet, PacketType};
use scamp_tls::default_provider;
use serde_json::Value;

use scamp_tls::rustls::pki_types::pem::PemObject;
use scamp_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use scamp_tls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use scamp_tls::rustls::version::{TLS12, TLS13};
use scamp_tls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Runs each behaviour against both faces, each in a process of its own.
macro_rules! against {
    ($name:ident: $service:ident, $($test:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    super::bounded(|| {
                        let mut service = super::Service::start(super::Face::$service);
                        let honest = super::Honest::beside(&service);
                        super::$test(&mut service);
                        honest.lost_nothing();
                    });
                }
            )*
        }
    };
    ($($test:ident)*) => {
        against!(blocking: Blocking, $($test)*);
        against!(tokio: Tokio, $($test)*);
    };
}

against!(
    b1_a_header_that_is_null
    b2_sizes_beyond_reason
    b3_data_without_end
    b4_headers_without_end
    b5_large_headers_never_finished
    b6_pings_unread
    b7_data_of_one_octet
    b8_empty_data
    b9_large_replies_unread
    b10_an_ack_that_is_no_number
    b11_connections_without_an_octet
    b12_half_a_packet
    b16_open_and_abort
    b17_small_behind_large
    b18_two_packets_as_large_as_allowed
    b20_a_panic_among_a_hundred
    b23_slow_readers
);

/// The service's part of this file; without the word it does nothing.
#[test]
fn the_service() {
    process::serve_if_told();
}

/// B-1, H-1: a header that is not an object ends the connection.
fn b1_a_header_that_is_null(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send(b"HEADER 0 4\r\nnullEND\r\n");
    raw.wait_closed();
    service.assert_ended(1, "header is not a JSON object");
}

/// B-2, HD-4: a size that cannot be ends the connection, and nothing is allocated for it.
fn b2_sizes_beyond_reason(service: &mut Service) {
    for (line, reason) in [
        ("DATA 0 -1\r\n", "malformed header line"),
        ("DATA 0 9223372036854775807\r\n", "packet body of"),
    ] {
        let mut raw = Raw::connect(&service.address);
        raw.send(line.as_bytes());
        raw.wait_closed();
        service.assert_ended(1, reason);
    }
    service.assert_growth_within(1);
}

/// B-3, A-13, HD-24: 256 MiB on one message, collected or unread, cost what the limits say.
fn b3_data_without_end(service: &mut Service) {
    let data = packet("DATA", 0, vec![b'x'; 131_072]);
    for (action, mib) in [("Hold.stream", 10), ("Hold.whole", 20)] {
        let mut raw = Raw::connect(&service.address);
        raw.send(&request(0, action));
        let sent = raw.send_all(2048, |_| data.clone());
        assert_eq!(sent, 2048, "{action}: the rest is discarded");
        service.assert_growth_within(mib);
    }
    until("both are gone, and their handler", || {
        let report = service.report();
        report.connections == 1 && report.active <= 1
    });
}

/// B-4, S-6: 200 000 open messages are 8192, and then none.
fn b4_headers_without_end(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send_all(200_000, |n| request(n, "Echo.whole"));
    raw.wait_closed();
    service.assert_ended(1, "too many open messages");
    service.assert_growth_within(8);
}

/// B-5, HD-24: 180 MB of headers whose messages never end cost what may be unread, and no more; each
/// request that does not fit is answered, once.
fn b5_large_headers_never_finished(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    let text = "x".repeat(120_000);
    let sent = raw.send_all(1500, |n| {
        let id = n + 1;
        let header = format!(
            r#"{{"type":"request","request_id":{id},"action":"Echo.whole","text":"{text}"}}"#
        );
        packet("HEADER", n, header)
    });
    assert_eq!(sent, 1500);
    raw.send(&whole_request(1500, "Echo.whole", "1234"));
    let fit = (8 << 20) / text.len();
    let answers = 1500 - fit + 1;
    let is_header = |packet: &&Packet| packet.packet_type == PacketType::Header;
    let packets = raw.wait_until(|packets| packets.iter().filter(is_header).count() >= answers);
    let mut answered = BTreeSet::new();
    for packet in packets.iter().filter(is_header) {
        let header: Value = serde_json::from_slice(&packet.body).unwrap();
        let id = header["request_id"].as_u64().unwrap();
        assert!(answered.insert(id), "{id} is answered twice");
        let overloaded = header["error_code"] == "overloaded";
        assert_eq!(overloaded, id != 1501, "{header}");
    }
    assert_eq!(answered.len(), answers);
    service.assert_growth_within(10);
}

/// B-6, HD-27, HD-22: PINGs by the million are a flood, and their PONGs take no room.
fn b6_pings_unread(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    let sent = raw.send_all((128 << 20) / 15, |n| packet("PING", n, ""));
    assert!(sent < (128 << 20) / 15);
    service.assert_ended(1, "flood of PING packets");
    service.assert_growth_within(1);
}

/// B-7, HD-23, HD-27: a body in packets of one octet costs no more than a multiple of itself; unread
/// it is a flood.
fn b7_data_of_one_octet(service: &mut Service) {
    let packets = (64 << 20) / 15;
    for action in ["Hold.whole", "Hold.stream"] {
        let mut raw = Raw::connect(&service.address);
        raw.send(&request(0, action));
        let data = packet("DATA", 0, "x");
        let sent = raw.send_all(packets, |_| data.clone());
        println!("{action}: {sent} of {packets} sent");
        service.assert_growth_within(6);
        if action == "Hold.stream" {
            assert!(sent < packets);
            service.assert_ended(1, "flood of small DATA packets");
        }
    }
}

/// B-8, HD-27: DATA without an octet is a flood, in one message or in many.
fn b8_empty_data(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send(&request(0, "Hold.whole"));
    let empty = packet("DATA", 0, "");
    let packets = (64 << 20) / empty.len();
    assert!(raw.send_all(packets, |_| empty.clone()) < packets);
    service.assert_ended(1, "flood of empty DATA packets");
    service.assert_growth_within(1);
    // In a thousand messages, each of which may cost 1 KiB (B-4).
    let mut raw = Raw::connect(&service.address);
    raw.send_all(2000, |n| {
        [request(n, "Hold.whole"), packet("DATA", n, "")].concat()
    });
    raw.wait_closed();
    service.assert_ended(1, "flood of empty DATA packets");
    service.assert_growth_within(2);
}

/// B-9, A-9, HD-31: eight replies of 64 MiB that nobody reads cost next to nothing beside the body,
/// which is there once, and are given up in time.
fn b9_large_replies_unread(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send_all(8, |n| whole_request(n, "Big.reply", ""));
    let start = Instant::now();
    until("all are given up", || {
        service.report().active <= 1 && start.elapsed() > 2 * LIMIT
    });
    service.assert_growth_within(1);
    // The connection lives, and so does what is asked now.
    raw.send(&whole_request(8, "Count.octets", "12345"));
    raw.wait_until(|packets| {
        let count = |kind| packets.iter().filter(|p| p.packet_type == kind).count();
        (count(PacketType::TxErr), count(PacketType::Eof)) == (8, 1)
    });
}

/// B-10, A-5: an ACK that is no number ends the connection.
fn b10_an_ack_that_is_no_number(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send(&whole_request(0, "Big.reply", ""));
    raw.wait_until(|packets| octets_of(packets, 0) >= 65_536);
    raw.send(&packet("ACK", 0, "65536x"));
    raw.wait_closed();
    service.assert_ended(1, "malformed ACK for message 0");
}

/// B-11, HD-18: 500 connections that say nothing are all closed within the time for a handshake.
fn b11_connections_without_an_octet(service: &mut Service) {
    let silent: Vec<_> = (0..500)
        .map(|_| TcpStream::connect(&service.address).unwrap())
        .collect();
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Closed, or reset; a timeout would be neither.
        match stream.read(&mut [0; 1]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    until("all are gone", || service.report().connections == 1);
    service.assert_growth_within(4);
}

/// B-12, HD-30: a packet that is begun and not completed ends the connection in time, and not at
/// once.
fn b12_half_a_packet(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send(&request(0, "Echo.whole"));
    raw.send(b"DATA 0 100\r\nhalf of it");
    let start = Instant::now();
    raw.wait_closed();
    assert!(start.elapsed() > LIMIT / 2);
    service.assert_ended(1, "packet not complete in time");
}

/// B-16, HD-28: 200 000 requests opened and aborted are a flood, and start no handlers.
fn b16_open_and_abort(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    let both = |n| [request(n, "Hold.stream"), packet("TXERR", n, "x")].concat();
    assert!(raw.send_all(200_000, both) < 200_000);
    service.assert_ended(1, "flood of aborted messages");
    // Only where the end of a read parts a HEADER from its TXERR.
    assert!(service.report().held < 100);
    service.assert_growth_within(1);
}

/// B-17, HD-74, G-9: a reply of four octets does not wait for one of 64 MiB.
fn b17_small_behind_large(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    raw.send(&whole_request(0, "Big.reply", ""));
    raw.send(&whole_request(1, "Echo.whole", "1234"));
    let packets = raw.wait_for(PacketType::Eof);
    // Replies are numbered as they begin, and the small one is the one that ends.
    let small = packets.last().unwrap().msgno;
    assert_eq!(octets_of(&packets, small), 4);
    let before = octets_of(&packets, 1 - small);
    assert!(before <= 98_304, "{before} octets of the large one first");
}

/// Octets that these packets bring of a message.
fn octets_of(packets: &[Packet], msgno: u64) -> usize {
    let of_it = packets.iter().filter(|packet| packet.msgno == msgno);
    let data = of_it.filter(|packet| packet.packet_type == PacketType::Data);
    data.map(|packet| packet.body.len()).sum()
}

/// B-18, W-6: two packets of the largest legal size at once are what they are.
fn b18_two_packets_as_large_as_allowed(service: &mut Service) {
    let mut raw = Raw::connect(&service.address);
    let data = packet("DATA", 0, vec![b'x'; 131_072]);
    let all = [
        request(0, "Count.octets"),
        data.clone(),
        data,
        packet("EOF", 0, ""),
    ];
    assert!(raw.send(&all.concat()));
    let packets = raw.wait_for(PacketType::Eof);
    let data = packets
        .iter()
        .find(|packet| packet.packet_type == PacketType::Data);
    assert_eq!(data.unwrap().body, b"262144");
}

/// B-20, S-19, F-37: of a hundred exchanges of one connection, a panic costs one.
fn b20_a_panic_among_a_hundred(service: &mut Service) {
    let client = service.client(Face::Tokio);
    let replies: Vec<_> = (0..CROWD)
        .map(|n| {
            let (mut out, reply) = client.begin("Crowd.panic");
            out.write(n.to_string().into()).unwrap();
            out.finish().unwrap();
            reply
        })
        .collect();
    for (n, reply) in replies.into_iter().enumerate() {
        let (header, mut body) = reply.wait().unwrap();
        match n {
            50 => {
                let expected = RemoteError::new("general", "handler ended without a reply");
                assert_eq!(header.error(), Some(expected));
            }
            _ => {
                assert_eq!(header.error(), None);
                assert_eq!(body.chunk().unwrap().unwrap(), n.to_string());
                assert_eq!(body.chunk(), Ok(None));
            }
        }
    }
    assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
}

/// B-23, HD-31: whoever asks for more than the system's buffers hold, and takes an octet now and
/// then, is closed. Each reply fits its window, so that nothing but the transport holds it up.
fn b23_slow_readers(service: &mut Service) {
    let mut raw = Raw::connect_narrow(&service.address);
    raw.send_all(400, |n| whole_request(n, "Some.reply", ""));
    let start = Instant::now();
    let reader = std::thread::spawn(move || {
        while raw.receive(1) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    service.assert_ended(1, "peer stalled");
    assert!(start.elapsed() > LIMIT / 2);
    // It still reads what the system holds for it.
    drop(reader);
    until("and its handlers", || service.report().active <= 1);
}

/// B-13, F-16, HD-17: more connections than a service may have files, and then none, and it serves
/// again within a second; so it does where the files are fewer than the connections it would take,
/// and accepting itself fails.
#[test]
fn b13_more_connections_than_files() {
    bounded(|| {
        for (face, files) in [
            (Face::Blocking, 64),
            (Face::Tokio, 64),
            (Face::Blocking, 22),
            (Face::Tokio, 22),
        ] {
            let mut service = Service::with_files(face, files);
            let many: Vec<_> = (0..120)
                .map(|_| TcpStream::connect(&service.address).unwrap())
                .collect();
            until("it has as many as it takes", || {
                let report = service.report();
                let failed = |reason: &String| reason.contains("not accepted");
                match files {
                    64 => report.connections >= 48,
                    _ => report.reasons.iter().any(failed),
                }
            });
            drop(many);
            let gone = Instant::now();
            let client = loop {
                match Client::connect(face, &service.address, identity().fingerprint().into()) {
                    Ok(client) => break client,
                    // Those before it may still be leaving.
                    Err(error) => assert!(gone.elapsed() < SECOND, "{face:?}: {error}"),
                }
            };
            assert!(gone.elapsed() < SECOND, "{face:?}");
            assert_eq!(client.call("Echo.whole", "1").unwrap(), "1");
        }
    });
}

/// B-19, L-6, HD-10: the victim's certificate without its key gets nobody anything, in both versions
/// of TLS.
#[test]
fn b19_an_impostor_is_refused() {
    for version in [&TLS12, &TLS13] {
        for client in [Face::Blocking, Face::Tokio] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let config = ServerConfig::builder_with_provider(default_provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(impostor())));
            let hears = std::thread::spawn(move || {
                let socket = listener.accept().unwrap().0;
                let tls = ServerConnection::new(Arc::new(config)).unwrap();
                let mut heard = Vec::new();
                let end = StreamOwned::new(tls, socket).read_to_end(&mut heard);
                assert!(end.is_err(), "the handshake is not completed");
                heard.len()
            });
            let pin = identity().fingerprint().into();
            let error = Client::connect(client, &address, pin).err().unwrap();
            let CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(
                Loss::Untrusted(Untrusted::BadSignature(_)),
            ))) = error
            else {
                panic!("{error:?}");
            };
            assert_eq!(hears.join().unwrap(), 0);
        }
    }
}

/// The certificate everybody knows, and a key that is not its own.
fn impostor() -> CertifiedKey {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = include_bytes!("../../scamp-tls/tests/data/rsa2048-other.key");
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let provider = default_provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    CertifiedKey::new(vec![certificate], key)
}

const SECOND: Duration = Duration::from_secs(1);
