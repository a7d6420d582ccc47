//! MessagePasser: both decoders, the server and the client (U-15).

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::bites::Bites;
use crate::limits::{CONTROL, MP_CONNECTIONS};
use crate::mp::{
    Client, ClientConfig, ClientName, Data, DecodeLimits, Decoder, Encoder, Encoding, Event,
    Message, Meta, Refusal, RouterEvent, ServerConfig, SessionId,
};
use crate::sim::mp::Hall;
use crate::{Duplex, End, Instant, Outbox};

/// U-15: octets as JSON and as gob, whole and cut, and what comes of them encoded again; or, by the
/// first octet, a server or a client to which anything happens in any order.
///
/// * However the octets are cut, the messages are the same (MP-139).
/// * What is decoded and encoded again in either encoding is what it was (MP-139).
/// * Nobody holds more than its limits allow, and of sessions that ended nothing stays (MP-71).
/// * A client ends once, and says nothing after (MP-82).
pub fn mp(octets: &[u8]) {
    let mut bites = Bites::new(octets);
    match bites.octet() % 4 {
        0 => decoded(Encoding::Json, bites.octet(), bites.rest()),
        1 => decoded(Encoding::Gob, bites.octet(), bites.rest()),
        2 => server(&mut bites),
        _ => client(&mut bites),
    }
}

const LIMITS: DecodeLimits = DecodeLimits {
    payload: 4096,
    json_depth: 16,
};

fn decoded(encoding: Encoding, piece: u8, input: &[u8]) {
    let whole = decode(encoding, input, usize::MAX);
    let cut = decode(encoding, input, usize::from(piece % 32) + 1);
    assert_eq!(whole, cut, "cut to {piece}");
    let (messages, _) = whole;
    for other in [Encoding::Json, Encoding::Gob] {
        let mut encoder = Encoder::new(other);
        let mut out = Outbox::default();
        for message in &messages {
            encoder.encode(message, &mut out);
        }
        let (again, is_whole) = decode(other, &out.take_all(), usize::MAX);
        assert_eq!(is_whole, Some(true));
        assert_eq!(again.len(), messages.len());
        for (mut again, mut message) in again.into_iter().zip(messages.iter().cloned()) {
            // Gob cannot tell absent from empty (MP-2).
            for message in [&mut again, &mut message] {
                if message.data.is_empty() && other == Encoding::Gob {
                    message.data = Data::Absent;
                }
            }
            assert_eq!(again, message);
        }
    }
}

/// The messages, and whether the octets end between two of them; `None` if they are malformed.
fn decode(encoding: Encoding, input: &[u8], piece: usize) -> (Vec<Message>, Option<bool>) {
    let mut decoder = Decoder::new(encoding, LIMITS);
    let mut messages = Vec::new();
    for mut rest in input.chunks(piece) {
        loop {
            match decoder.decode(&mut rest) {
                Ok(Some(message)) => {
                    assert!(message.data.len() <= LIMITS.payload);
                    messages.push(message);
                }
                Ok(None) => break,
                Err(_) => return (messages, None),
            }
        }
        assert!(rest.is_empty());
    }
    (messages, Some(decoder.is_between()))
}

/// A server with small limits, where anything happens.
fn server(bites: &mut Bites<'_>) {
    let config = ServerConfig {
        decode: LIMITS,
        high_water: 4096,
        low_water: 1024,
        reserve: 2048,
        route_any_meta: bites.octet() % 2 == 0,
        ..ServerConfig::default()
    };
    let mut hall = Hall::new(config, |name, _| match name.as_text().len() {
        1 => Some(Ok(())),
        2 => Some(Err(Refusal::NotRecognized)),
        _ => None,
    });
    let mut ids: Vec<SessionId> = Vec::new();
    let mut encoders: Vec<Encoder> = Vec::new();
    let mut joined = 0;
    while !bites.is_empty() {
        let act = bites.octet();
        let at = bites.below(ids.len().max(1));
        let Some(&id) = ids.get(at).filter(|_| act % 16 > 0) else {
            if ids.len() < 12 {
                ids.push(hall.accept(hall.now, None));
                encoders.push(Encoder::new(match act & 16 {
                    0 => Encoding::Json,
                    _ => Encoding::Gob,
                }));
            }
            continue;
        };
        match act % 16 {
            1..=8 => {
                let mut out = Outbox::default();
                let message = message(bites);
                encoders[at].encode(&message, &mut out);
                if hall.wants_read(id) {
                    hall.receive(id, &out.take_all());
                }
            }
            9 => hall.receive(id, bites.take(usize::from(act / 16))),
            10 | 11 => {
                let most = bites.number() as usize % 10_000;
                hall.transmit(id, most);
            }
            12 => hall.advance_to(hall.now + Duration::from_millis(bites.number() % 20_000)),
            13 => hall.end(id, End::Eof),
            14 => hall.verdict(id, Ok(())),
            _ => hall.with_router(|router| router.remove(id)),
        }
        for session in hall.sessions.values() {
            assert!(
                session.queued() <= 4096 + 2048 + 2 * 9000,
                "{}",
                session.queued()
            );
        }
    }
    for id in ids {
        hall.end(id, End::Eof);
        hall.advance_to(hall.now + Duration::from_secs(2));
        assert!(hall.is_over(id) || hall.sessions[&id].is_drained());
        hall.forget(id);
    }
    for event in &hall.events {
        match event {
            RouterEvent::Joined { .. } => joined += 1,
            RouterEvent::Left { .. } => joined -= 1,
            _ => {}
        }
    }
    assert_eq!(
        (joined, hall.router.sessions(), hall.router.held()),
        (0, (0, 0), 0)
    );
}

/// A message of short names, so that they meet.
fn message(bites: &mut Bites<'_>) -> Message {
    let meta = match bites.octet() {
        usual @ 0..12 => usual,
        12..40 => 8,
        40..160 => 0,
        other => other,
    };
    let name = ["a", "b", "c", "d", "al", "bob", "", "x:y"][bites.below(8)];
    let id = ["", "a:0", "b:0", "a:1"][bites.below(4)];
    let len = bites.number() as usize % (LIMITS.payload + 2);
    let data = match len {
        0 => Data::Absent,
        len => Data::Octets(Bytes::from(alloc::vec![b'x'; len - 1])),
    };
    Message::new(Meta(meta), name, id, data)
}

/// A client to which anything happens.
fn client(bites: &mut Bites<'_>) {
    let mut config = ClientConfig::new(Encoding::Json);
    config.decode = LIMITS;
    (config.send_queue, config.receive_buffer) = (4096, 4096);
    config.max_message = LIMITS.payload;
    let mut now = Instant::EPOCH;
    let name = ClientName::new("a").expect("a name");
    let mut client = Client::new(config, name, Data::Absent, now);
    let mut encoder = Encoder::new(Encoding::Json);
    let mut out = Outbox::default();
    let mut ids = Vec::new();
    let mut is_over = false;
    while !bites.is_empty() {
        let act = bites.octet();
        let id = ids.get(bites.below(ids.len().max(1))).copied();
        match (act % 12, id) {
            (0, _) => ids.extend(client.open(now, ["b", "a", ""][bites.below(3)], "p")),
            (1..=4, _) if client.wants_read() => {
                encoder.encode(&message(bites), &mut out);
                client.receive(now, &out.take_all());
            }
            (5, _) if client.wants_read() => {
                client.receive(now, b"{\"Meta\":9}");
            }
            (6, Some(id)) => {
                let _ = client.accept(id);
            }
            (7, Some(id)) => {
                let len = bites.number() as usize % (LIMITS.payload + 2);
                let _ = client.send(id, Bytes::from(alloc::vec![b'x'; len]));
            }
            (8, Some(id)) => {
                client.read(id);
                client.read_into(id, &mut [0; 7]);
            }
            (9, Some(id)) => client.close(id),
            (10, _) => {
                now = now + Duration::from_millis(bites.number() % 40_000);
                client.handle_timeout(now);
                assert!(client.poll_timeout().is_none_or(|at| at > now));
            }
            (11, _) if act > 240 => match act % 3 {
                0 => client.shutdown(now),
                1 => client.receive_end(now, End::Eof),
                _ => client.receive(now, bites.take(5)),
            },
            _ => {
                if client.poll_transmit(now, &mut out).is_some() {
                    out.clear();
                }
            }
        }
        while let Some(event) = client.poll_event() {
            assert!(!is_over, "{event:?} after the end");
            match event {
                Event::Incoming { id, .. } => ids.push(id),
                Event::Ended(_) => is_over = true,
                _ => {}
            }
        }
        // Both queues, what is not payload, and one last word about each connection.
        let most = 2 * (4096 + LIMITS.payload + 400) + CONTROL + MP_CONNECTIONS * 200;
        assert!(client.held() <= most, "{}", client.held());
    }
    client.receive_end(now, End::Eof);
    client.handle_timeout(now + Duration::from_secs(60));
    assert!(client.is_drained() && client.poll_timeout().is_none());
    ids.iter().for_each(|id| client.close(*id));
    assert_eq!(client.connections(), 0);
}
