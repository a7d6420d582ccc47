//! U-5: what is sent is what was asked for, and nobody hangs up on it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;

use super::bites::Bites;
use crate::connection::{Config, Connection, SendId};
use crate::limits::PACKET_BODY;
use crate::sim::strict::Strict;
use crate::wire::{Decoded, Header, PacketType, decode};
use crate::{Duplex, Instant, Outbox};

/// U-5: messages, written in any pieces and any order, leave as a stream that the strictest peer
/// takes (HD-54) and that reads back as what was asked.
pub fn emitter(octets: &[u8]) {
    let mut bites = Bites::new(octets);
    let window = u64::from(bites.octet()) * u64::from(bites.octet());
    let config = Config {
        chunk_size: 1 + bites.below(PACKET_BODY),
        max_inflight: Some(window),
        ..Config::default()
    };
    let now = Instant::EPOCH;
    let mut rig = Rig {
        strict: Strict::new(config.chunk_size, window, 0),
        conn: Connection::new(config, now),
        asked: BTreeMap::new(),
        out: Vec::new(),
    };
    let mut open: Vec<SendId> = Vec::new();
    while !bites.is_empty() {
        let what = bites.octet();
        let which = bites.below(open.len());
        match (what % 6, open.get(which).copied()) {
            (0, _) | (_, None) => open.extend(rig.open(now, &mut bites)),
            (1 | 2, Some(id)) => rig.write(now, id, &mut bites),
            (3, Some(id)) => {
                rig.conn.finish(now, id).expect("it is open");
                rig.asked_of(id).end = Some(PacketType::Eof);
                open.swap_remove(which);
            }
            (4, Some(id)) => {
                let text = alloc::string::String::from_utf8_lossy(bites.take(5)).into_owned();
                rig.conn.abort(now, id, &text).expect("it is open");
                rig.asked_of(id).end = Some(PacketType::TxErr);
                open.swap_remove(which);
            }
            (_, Some(_)) => rig.transmit(now),
        }
    }
    for id in open {
        rig.conn.finish(now, id).expect("it is open");
        rig.asked_of(id).end = Some(PacketType::Eof);
    }
    // What waits for its window leaves as it is acknowledged.
    while rig.transmit_and_acknowledge(now) {}
    rig.compare();
}

struct Rig {
    conn: Connection,
    strict: Strict,
    asked: BTreeMap<u64, Asked>,
    out: Vec<u8>,
}

#[derive(Default)]
struct Asked {
    header: Vec<u8>,
    body: Vec<u8>,
    end: Option<PacketType>,
    acked: usize,
}

impl Rig {
    fn open(&mut self, now: Instant, bites: &mut Bites<'_>) -> Option<SendId> {
        let padding = " ".repeat(bites.below(300));
        let json = alloc::format!("{{\"type\":\"notify\"{padding}}}");
        let header = Header::decode(json.as_bytes()).expect("an object");
        let id = self.conn.open(now, &header).ok()?;
        self.asked_of(id).header = json.into_bytes();
        Some(id)
    }

    fn write(&mut self, now: Instant, id: SendId, bites: &mut Bites<'_>) {
        let len = bites.below(3000);
        let first = bites.octet();
        let all: Vec<u8> = (0..len)
            .map(|place| first.wrapping_add(place as u8))
            .collect();
        let mut body = Bytes::from(all.clone());
        let count = self.conn.write(now, id, &mut body).expect("it is open");
        assert_eq!(count + body.len(), len);
        self.asked_of(id).body.extend_from_slice(&all[..count]);
    }

    fn asked_of(&mut self, id: SendId) -> &mut Asked {
        self.asked.entry(id.msgno().0).or_default()
    }

    fn transmit(&mut self, now: Instant) {
        let mut out = Outbox::default();
        self.conn.poll_transmit(now, &mut out);
        let octets = out.take_all();
        if let Err(error) = self.strict.emitted(&octets) {
            panic!("a peer hangs up: {error} (HD-54)");
        }
        self.out.extend_from_slice(&octets);
    }

    /// Acknowledges everything that has left; returns whether anything moved.
    fn transmit_and_acknowledge(&mut self, now: Instant) -> bool {
        let from = self.out.len();
        self.transmit(now);
        let mut moved = from < self.out.len();
        let (mut sent, mut ended) = (BTreeMap::<u64, usize>::new(), BTreeSet::new());
        each(&self.out, |kind, msgno, body| match kind {
            PacketType::Data => *sent.entry(msgno).or_default() += body.len(),
            PacketType::Eof | PacketType::TxErr => drop(ended.insert(msgno)),
            _ => {}
        });
        for (msgno, sent) in sent {
            let asked = self.asked.get_mut(&msgno).expect("it was asked for");
            if sent > asked.acked && !ended.contains(&msgno) {
                asked.acked = sent;
                let text = alloc::format!("{sent}");
                let ack = alloc::format!("ACK {msgno} {}\r\n{text}END\r\n", text.len());
                self.strict.heard(ack.as_bytes()).expect("a packet");
                self.conn.receive(now, ack.as_bytes());
                moved = true;
            }
        }
        assert!(!self.conn.is_closed(), "an honest ACK ended it");
        moved
    }

    /// everything asked for is there, octet by octet, and nothing else.
    fn compare(mut self) {
        let mut next = 0;
        each(&self.out, |kind, msgno, body| {
            let asked = self
                .asked
                .get_mut(&msgno)
                .expect("a message nobody asked for");
            match kind {
                PacketType::Header => {
                    assert_eq!((msgno, body), (next, &asked.header[..]));
                    next += 1;
                }
                PacketType::Data => {
                    assert!(asked.body.starts_with(body), "octets of message {msgno}");
                    asked.body.drain(..body.len());
                }
                end => {
                    assert_eq!(Some(end), asked.end.take(), "message {msgno}");
                    // An error drops what waits; an end does not.
                    assert!(asked.body.is_empty() || end == PacketType::TxErr);
                }
            }
        });
        assert_eq!(next, self.asked.len() as u64, "a header is missing");
        assert!(
            self.asked.values().all(|asked| asked.end.is_none()),
            "an end is missing"
        );
        assert!(self.conn.is_empty(), "something is kept");
    }
}

fn each(stream: &[u8], mut visit: impl FnMut(PacketType, u64, &[u8])) {
    let mut rest = stream;
    while let Ok(Decoded::Packet(packet, len)) = decode(rest, PACKET_BODY) {
        visit(packet.kind(), packet.msgno().0, packet.body());
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "octets that are no packets");
}
