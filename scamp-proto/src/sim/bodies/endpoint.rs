//! U-3: one session, and octets that say what happens to it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::bites::Bites;
use crate::session::{
    AckPolicy, Board, Config, Event, ExchangeId, Read, RecvId, RequestOptions, SendId, ServeId,
    Session, Side,
};
use crate::sim::strict::{Kind, Strict};
use crate::wire::{RemoteError, ReplyHead, RequestHead};
use crate::{Duplex, End, Instant, Outbox, limits};

/// U-3: packets right and wrong, calls, time and allowances in any order; after each, Q-5…Q-9,
/// hold, and at the end Q-6.
pub fn endpoint(octets: &[u8]) {
    let mut bites = Bites::new(octets);
    let mut rig = Rig::new(bites.octet());
    while !bites.is_empty() {
        rig.act(&mut bites);
        rig.settle();
    }
    rig.finish();
}

struct Rig {
    now: Instant,
    session: Session,
    strict: Strict,
    bound: usize,
    /// Numbers of the peer's messages, and those it has not ended.
    next_msgno: u64,
    open: Vec<u64>,
    /// How each of the peer's messages ended, and octets of complete packets.
    heard: BTreeMap<u64, (u64, Option<Kind>)>,
    read: BTreeMap<u64, u64>,
    outcomes: BTreeMap<u64, u32>,
    replies: BTreeMap<RecvId, u64>,
    exchanges: Vec<ExchangeId>,
    sends: Vec<SendId>,
    bodies: Vec<RecvId>,
    serving: Vec<ServeId>,
    started: BTreeSet<u64>,
    is_closed: bool,
    is_silent: bool,
}

impl Rig {
    fn new(kind: u8) -> Self {
        let side = if kind & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        };
        let mut config = Config::new(side);
        let conn = &mut config.connection;
        if kind & 2 != 0 {
            conn.max_buffered = 1000;
            conn.max_queued = 500;
            conn.max_collected = 100;
            conn.max_control = 200;
            conn.max_open_messages = 4;
            config.max_outstanding = 2;
        }
        if kind & 4 != 0 {
            conn.chunk_size = 10;
            conn.max_inflight = Some(25);
        }
        config.subscriptions = kind & 8 != 0;
        let conn = &config.connection;
        let window = conn.max_inflight.unwrap_or(limits::WINDOW_CAP);
        let mut strict = Strict::new(conn.chunk_size, window, 0);
        strict.may_ping = true;
        let bound = conn.max_buffered
            + conn.max_queued
            + conn.max_collected
            + conn.max_control
            + 2 * limits::PACKET_BODY;
        Self {
            now: Instant::EPOCH,
            session: Session::new(config, side, Instant::EPOCH),
            strict,
            bound,
            next_msgno: 0,
            open: Vec::new(),
            heard: BTreeMap::new(),
            read: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            replies: BTreeMap::new(),
            exchanges: Vec::new(),
            sends: Vec::new(),
            bodies: Vec::new(),
            serving: Vec::new(),
            started: BTreeSet::new(),
            is_closed: false,
            is_silent: false,
        }
    }

    fn act(&mut self, bites: &mut Bites<'_>) {
        let what = bites.octet();
        match what % 24 {
            0..=4 => self.header(bites),
            5..=8 => self.data(bites),
            9 => self.end("EOF", b"", bites),
            10 => self.end("TXERR", b"gone", bites),
            11 => {
                let text = format!("{}", bites.number());
                let msgno = bites.number() % 8;
                self.feed(&packet("ACK", msgno, text.as_bytes()));
            }
            12 => {
                let word = ["PING", "PONG"][bites.below(2)];
                self.feed(&packet(word, bites.number(), b""));
            }
            13 => {
                let len = usize::from(bites.octet());
                let raw = bites.take(len).to_vec();
                self.feed(&raw);
            }
            14 => {
                let word = ["HEADER", "DATA", "EOF", "TXERR", "ACK", "NONE"][bites.below(6)];
                let body = bites.take(3).to_vec();
                self.feed(&packet(word, bites.number(), &body));
            }
            15 => self.pass(Duration::from_millis(bites.number() % 1_000_000)),
            16 => self
                .session
                .set_allowance(self.now, bites.number() as usize),
            17 => {
                let end = [End::Eof, End::Cut, End::io("reset")][bites.below(3)].clone();
                self.is_silent = true;
                self.strict.heard_end();
                self.session.receive_end(self.now, end);
            }
            18 => self.request(bites),
            19 => self.write(bites),
            20 => self.read(bites),
            21 => self.reply(bites),
            22 => self.give_up(bites),
            _ => self.rare(bites),
        }
    }

    fn header(&mut self, bites: &mut Bites<'_>) {
        let id = bites.below(6);
        let json = match bites.below(10) {
            0..=3 => format!("{{\"type\":\"request\",\"request_id\":{id},\"action\":\"A.b\"}}"),
            4 | 5 => format!("{{\"type\":\"reply\",\"request_id\":{id}}}"),
            6 => format!("{{\"type\":\"reply\",\"request_id\":\"{id}\",\"error\":\"no\"}}\n"),
            7 => format!("{{\"type\":\"subscribe\",\"request_id\":{id}}}"),
            8 => [
                "{\"type\":\"event\"}",
                "{\"type\":\"notify\"}",
                "{}",
                "{\"type\":7}",
            ][id % 4]
                .into(),
            _ => format!("{{\"type\":\"subscribe_done\",\"request_id\":{id}}}"),
        };
        let msgno = self.next_msgno;
        self.next_msgno += 1;
        self.open.push(msgno);
        self.feed(&packet("HEADER", msgno, json.as_bytes()));
    }

    fn data(&mut self, bites: &mut Bites<'_>) {
        let which = bites.below(self.open.len());
        let Some(msgno) = self.open.get(which).copied() else {
            return;
        };
        let len = bites.below(2000);
        let body: Vec<u8> = match bites.below(4) {
            0 => b"[\"a\"]".to_vec(),
            1 => b"true".to_vec(),
            _ => (0..len).map(|place| place as u8).collect(),
        };
        self.feed(&packet("DATA", msgno, &body));
    }

    fn end(&mut self, word: &str, body: &[u8], bites: &mut Bites<'_>) {
        let which = bites.below(self.open.len());
        if which < self.open.len() {
            let msgno = self.open.swap_remove(which);
            self.feed(&packet(word, msgno, body));
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        if self.is_silent || !self.session.wants_read() {
            return;
        }
        match self.strict.heard(octets) {
            Ok(packets) => {
                for packet in packets {
                    let message = self.heard.entry(packet.msgno).or_default();
                    match packet.kind {
                        // After the end it breaks a rule, and brings nothing.
                        Kind::Data if message.1.is_some() => {}
                        Kind::Data => message.0 += packet.size,
                        Kind::Eof | Kind::TxErr => message.1 = message.1.or(Some(packet.kind)),
                        Kind::Header | Kind::Ack | Kind::Ping | Kind::Pong => {}
                    }
                }
            }
            Err(_) => self.is_silent = true,
        }
        self.session.receive(self.now, octets);
        let broken = self.is_silent && self.session.connection().is_open();
        assert!(!broken, "one reader hangs up, the other does not");
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        let mut rings = 0;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.settle();
            rings += 1;
            assert!(rings < 10_000, "an alarm that rings for ever (Q-14)");
        }
        self.now = until;
    }

    fn request(&mut self, bites: &mut Bites<'_>) {
        let options = RequestOptions {
            timeout: (bites.octet() & 1 == 0).then(|| Duration::from_millis(bites.number() % 9999)),
            timeout_covers_body: bites.octet() & 1 == 0,
            keep_sending: bites.octet() & 1 == 0,
        };
        let made = match bites.below(5) {
            0 => {
                let topics = [&["a"][..], &[]][bites.below(2)];
                let made = self.session.subscribe(self.now, Some(topics));
                made.map(|id| (id, None))
            }
            _ => {
                let head = RequestHead::new("A.b");
                let made = self.session.request(self.now, &head, &options);
                made.map(|(id, send)| (id, Some(send)))
            }
        };
        if let Ok((id, send)) = made {
            let before = self.outcomes.insert(id.request_id(), 0);
            assert!(before.is_none(), "an id twice (Q-10)");
            self.exchanges.push(id);
            self.sends.extend(send);
        }
    }

    fn write(&mut self, bites: &mut Bites<'_>) {
        let which = bites.below(self.sends.len());
        let Some(send) = self.sends.get(which).copied() else {
            return;
        };
        let done = match bites.below(6) {
            0 => self.session.finish(self.now, send).is_ok(),
            1 => self.session.fail(self.now, send, "").is_ok(),
            _ => {
                let mut body = Bytes::from(alloc::vec![b'x'; bites.below(3000)]);
                self.session.write(self.now, send, &mut body).is_err()
            }
        };
        if done {
            self.sends.swap_remove(which);
        }
    }

    fn read(&mut self, bites: &mut Bites<'_>) {
        let which = bites.below(self.bodies.len());
        let Some(id) = self.bodies.get(which).copied() else {
            return;
        };
        match bites.below(8) {
            0 => {
                self.session.discard(self.now, id);
                self.over(id);
            }
            1 => self.session.collect(self.now, id, bites.below(3000)),
            2 => {
                let all = [AckPolicy::OnReceive, AckPolicy::Manual, AckPolicy::Hold];
                self.session
                    .set_ack_policy(self.now, id, all[bites.below(3)]);
            }
            3 => {
                let _ = self.session.ack(self.now, id, bites.number() % 3000);
            }
            _ => self.read_body(id, 1 + bites.below(3000)),
        }
    }

    fn read_body(&mut self, id: RecvId, limit: usize) {
        let msgno = id.msgno().0;
        let read = self.read.entry(msgno).or_default();
        let (data, end) = self.heard.get(&msgno).copied().unwrap_or_default();
        match self.session.read_up_to(self.now, id, limit) {
            Read::Data(octets) => {
                *read += octets.len() as u64;
                assert!(*read <= data, "read more than whole packets brought (W-10)");
            }
            Read::End => {
                assert_eq!(
                    (end, *read),
                    (Some(Kind::Eof), data),
                    "complete too early (Q-7)"
                );
                self.over(id);
            }
            Read::Failed(_) | Read::Gone => self.over(id),
            Read::Pending => {}
        }
    }

    fn over(&mut self, id: RecvId) {
        self.bodies.retain(|other| *other != id);
        if let Some(exchange) = self.replies.remove(&id) {
            self.count(exchange, "by its reply");
        }
    }

    fn count(&mut self, exchange: u64, how: &str) {
        let count = self
            .outcomes
            .get_mut(&exchange)
            .expect("a request that was made");
        *count += 1;
        assert_eq!(*count, 1, "request {exchange} ended twice, {how} (Q-6)");
    }

    fn reply(&mut self, bites: &mut Bites<'_>) {
        let which = bites.below(self.serving.len());
        let Some(id) = self.serving.get(which).copied() else {
            return;
        };
        match bites.below(5) {
            0 => self.session.abandon(self.now, id),
            1 => {
                let error = RemoteError::new("x", "y");
                let _ = self.session.reply_error(self.now, id, error);
            }
            2 => {
                let _ = self.session.welcome(self.now, id, &Board::default());
            }
            _ => {
                if let Ok(send) = self.session.reply(self.now, id, &ReplyHead::default()) {
                    self.sends.push(send);
                    self.serving.swap_remove(which);
                }
            }
        }
    }

    fn give_up(&mut self, bites: &mut Bites<'_>) {
        let which = bites.below(self.exchanges.len());
        if which < self.exchanges.len() {
            let id = self.exchanges.swap_remove(which);
            self.session.cancel(self.now, id);
        }
    }

    fn rare(&mut self, bites: &mut Bites<'_>) {
        match bites.below(12) {
            0 => self.session.drain(self.now),
            1 => self.session.close(self.now),
            2 => {
                let mut board = Board::default();
                if let Some(change) = board.set("a", "k", "1") {
                    self.session.publish(self.now, &change);
                }
            }
            3 => self.sends.extend(self.session.notify(self.now).ok()),
            _ => {}
        }
    }

    /// Takes everything that comes out, and looks at what must hold after any call.
    fn settle(&mut self) {
        let was_closed = self.is_closed;
        let mut out = Outbox::default();
        while self.session.poll_transmit(self.now, &mut out).is_some() {}
        let octets = out.take_all();
        assert!(
            octets.is_empty() || !was_closed,
            "octets after the end (Q-12)"
        );
        if let Err(error) = self.strict.emitted(&octets) {
            panic!("a peer hangs up: {error} (HD-54)");
        }
        while let Some(event) = self.session.poll_event() {
            assert!(!self.is_closed, "{event:?} after the end (Q-12)");
            self.take(event);
        }
        let held = self.session.connection().memory();
        assert!(held <= self.bound, "holds {held} of {} (Q-5)", self.bound);
        if self.is_closed {
            assert_eq!(
                self.session.poll_timeout(),
                None,
                "an alarm after the end (Q-14)"
            );
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Request { id, body, .. } => {
                assert!(self.started.insert(body.msgno().0), "started twice");
                self.serving.push(id);
                self.bodies.push(body);
            }
            Event::Notify { body, .. } => self.bodies.push(body),
            Event::Reply { id, body, .. } => {
                self.replies.insert(body, id.request_id());
                self.bodies.push(body);
            }
            Event::Failed { id, .. } | Event::Subscribed { id, .. } => {
                self.count(id.request_id(), "without a reply")
            }
            Event::Subscribe { id, .. } => self.serving.push(id),
            Event::Cancelled(id) => self.serving.retain(|other| *other != id),
            Event::Lost(id) => self.sends.retain(|other| *other != id),
            Event::Closed(_) => self.is_closed = true,
            Event::Changed(_)
            | Event::Readable(_)
            | Event::Ended(_)
            | Event::Writable(_)
            | Event::Room
            | Event::Note(_) => {}
        }
    }

    /// once all is over, every request has had its outcome, and nothing is kept.
    fn finish(mut self) {
        self.session.close(self.now);
        self.settle();
        self.pass(Duration::from_secs(5));
        assert!(self.is_closed, "a close that does not end");
        for body in core::mem::take(&mut self.bodies) {
            self.session.discard(self.now, body);
            self.over(body);
        }
        let open: Vec<_> = self
            .outcomes
            .iter()
            .filter(|(_, count)| **count != 1)
            .collect();
        assert!(
            open.is_empty(),
            "requests without an outcome: {open:?} (Q-6)"
        );
        assert!(
            self.session.is_empty(),
            "something is kept: {:?} (R-11)",
            self.session
        );
    }
}

fn packet(word: &str, msgno: u64, body: &[u8]) -> Vec<u8> {
    let mut octets = String::into_bytes(format!("{word} {msgno} {}\r\n", body.len()));
    octets.extend_from_slice(body);
    octets.extend_from_slice(b"END\r\n");
    octets
}
