//! U-1: the packet parser and what a connection makes of packets.

use alloc::vec::Vec;

use super::bites::Bites;
use crate::connection::{Config, Connection, Event, Read};
use crate::limits::PACKET_BODY;
use crate::sim::strict::{Kind, Splitter};
use crate::wire::{Decoded, PacketType, decode};
use crate::{Duplex, End, Instant, Outbox};

/// U-1: any cut of a stream gives the same events and the same answers, and what is read as
/// packets is written as the same packets, which another reader reads the same.
///
/// The first octet says into how long pieces the rest is cut.
pub fn packet_stream(octets: &[u8]) {
    let mut bites = Bites::new(octets);
    let piece = 1 + usize::from(bites.octet());
    let stream = bites.rest();
    let whole = outcome(core::iter::once(stream));
    let pieces = outcome(stream.chunks(piece));
    assert_eq!(whole, pieces, "pieces of {piece} octets (Q-1)");
    rewrite(stream);
}

/// All that a connection says to a stream: its events, its bodies, and the octets it sends.
fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Vec<Read>, Vec<u8>) {
    let now = Instant::EPOCH;
    let mut conn = Connection::new(Config::default(), now);
    pieces.for_each(|piece| conn.receive(now, piece));
    conn.receive_end(now, End::Eof);
    let (mut events, mut reads, mut out) = (Vec::new(), Vec::new(), Outbox::default());
    while conn.poll_transmit(now, &mut out).is_some() {}
    while let Some(event) = conn.poll_event() {
        events.push(event);
    }
    for event in &events {
        let Event::Opened { id, .. } = event else {
            continue;
        };
        // A body comes in pieces as it lies in memory; what counts is the octets.
        let mut body = Vec::new();
        let end = loop {
            match conn.read(now, *id) {
                Read::Data(octets) => body.extend_from_slice(&octets),
                end => break end,
            }
        };
        assert!(
            !matches!(end, Read::Pending),
            "a body without an end after the end"
        );
        reads.push(Read::Data(body.into()));
        reads.push(end);
    }
    assert!(
        conn.is_drained() && conn.is_empty(),
        "something is kept after the end (R-11)"
    );
    (events, reads, out.take_all())
}

/// Reads packets as long as they are right, and writes them again.
fn rewrite(stream: &[u8]) {
    let (mut rest, mut count) = (stream, 0);
    let mut canonical = Outbox::default();
    let mut splitter = Splitter::default();
    while let Ok(Decoded::Packet(packet, len)) = decode(rest, PACKET_BODY) {
        let seen = splitter
            .feed(&rest[..len])
            .expect("what one reader takes, the other takes");
        let [seen] = &seen[..] else {
            panic!("one packet is {} to the other reader", seen.len());
        };
        assert_eq!(kind(packet.kind()), seen.kind);
        assert_eq!(
            (packet.msgno().0, packet.body().len() as u64),
            (seen.msgno, seen.size)
        );
        assert!(seen.kind == Kind::Data || packet.body() == seen.body);
        packet.encode(&mut canonical);
        rest = &rest[len..];
        count += 1;
    }
    let canonical = canonical.take_all();
    let (mut rest, mut again) = (&canonical[..], Outbox::default());
    while let Ok(Decoded::Packet(packet, len)) = decode(rest, PACKET_BODY) {
        packet.encode(&mut again);
        rest = &rest[len..];
        count -= 1;
    }
    assert!(
        rest.is_empty() && count == 0,
        "packets got lost in writing (Q-3)"
    );
    assert_eq!(
        again.take_all(),
        canonical,
        "writing is no fixed point (Q-3)"
    );
}

fn kind(kind: PacketType) -> Kind {
    match kind {
        PacketType::Header => Kind::Header,
        PacketType::Data => Kind::Data,
        PacketType::Eof => Kind::Eof,
        PacketType::TxErr => Kind::TxErr,
        PacketType::Ack => Kind::Ack,
        PacketType::Ping => Kind::Ping,
        PacketType::Pong => Kind::Pong,
    }
}
