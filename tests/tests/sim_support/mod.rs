//! What the tests of conversations have in common.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use bytes::Bytes;
use scamp_proto::connection::{Connection, Read, RecvId, SendId};
use scamp_proto::session::{Config, Event, Session, Side};
use scamp_proto::sim::Pair;
use scamp_proto::{CloseReason, Duplex, Instant, Outbox, SendError, ViolationKind};

pub(crate) const START: Instant = Instant::EPOCH;

pub(crate) fn at(millis: u64) -> Instant {
    Instant::from_epoch(Duration::from_millis(millis))
}

pub(crate) fn session(side: Side) -> Session {
    Session::new(Config::new(side), side, START)
}

/// A client and a service with these settings on a perfect wire.
pub(crate) fn pair_with(set: impl Fn(&mut Config)) -> Pair<Session, Session> {
    let [client, server] = [Side::Client, Side::Server].map(|side| {
        let mut config = Config::new(side);
        set(&mut config);
        Session::new(config, side, START)
    });
    Pair::new(client, server)
}

pub(crate) fn pair() -> Pair<Session, Session> {
    pair_with(|_| {})
}

/// One packet as a peer may write it.
pub(crate) fn packet(word: &str, msgno: u64, body: &str) -> Vec<u8> {
    format!("{word} {msgno} {}\r\n{body}END\r\n", body.len()).into_bytes()
}

/// Gives a machine these packets, one after the other in one piece.
pub(crate) fn tell(machine: &mut impl Duplex, now: Instant, packets: &[(&str, u64, &str)]) {
    let mut octets = Vec::new();
    for (word, msgno, body) in packets {
        octets.extend(packet(word, *msgno, body));
    }
    machine.receive(now, &octets);
}

/// What a machine sends now, with line ends made visible.
pub(crate) fn sent(machine: &mut impl Duplex, now: Instant) -> String {
    let mut out = Outbox::default();
    while machine.poll_transmit(now, &mut out).is_some() {}
    let octets = out.take_all();
    String::from_utf8_lossy(&octets).replace("\r\n", "|")
}

/// The packets of such a text.
pub(crate) fn packets(text: &str) -> String {
    text.replace("END|", "END|\n")
}

pub(crate) fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Why a session has ended, if the last of its events says so.
pub(crate) fn reason(session: &mut Session) -> Option<CloseReason> {
    match events(session).pop() {
        Some(Event::Closed(reason)) => Some(reason),
        _ => None,
    }
}

/// The rule that was broken, by the connection's last event.
pub(crate) fn violation(session: &mut Session) -> Option<ViolationKind> {
    match reason(session)? {
        CloseReason::Violation(violation) => Some(violation.kind),
        _ => None,
    }
}

/// Reads a body as far as it is there, and says how it stands after that.
pub(crate) fn read_all(session: &mut Session, now: Instant, id: RecvId) -> (Vec<u8>, Read) {
    let mut body = Vec::new();
    loop {
        match session.read(now, id) {
            Read::Data(octets) => body.extend_from_slice(&octets),
            end => return (body, end),
        }
    }
}

/// Writes as much as is taken.
pub(crate) fn write(
    session: &mut Session,
    now: Instant,
    id: SendId,
    body: &[u8],
) -> Result<usize, SendError> {
    session.write(now, id, &mut Bytes::copy_from_slice(body))
}

pub(crate) fn connection_events(
    connection: &mut Connection,
) -> Vec<scamp_proto::connection::Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}
