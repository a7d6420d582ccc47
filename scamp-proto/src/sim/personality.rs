//! Peers with the habits of other implementations, written octet by octet (HD-55).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::Value;

use super::script::{Ask, Plan, Script, octets};
use super::strict::{Kind, Seen, Splitter};
use crate::{Duplex, End, Instant, Outbox};

/// Whose habits a peer has (scamp.md 2.4 and 14).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Habit {
    /// No window; acknowledges at once whatever comes, a TXERR's text too; numbers its replies by
    /// the order in which requests were complete; headers end in LF; an empty DATA now and then.
    Go,
    /// Writes 16 KiB pieces, and stops once more than 64 KiB are out; acknowledges late and in one;
    /// sends PING.
    Js,
    /// 2 KiB pieces without a window; acknowledges each; hears nothing while a handler thinks.
    Rs,
}

impl Habit {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Go, Self::Js, Self::Rs];
}

/// One end of a connection that is not ours: it asks what its plans say, and answers what it is asked.
#[derive(Debug)]
pub struct Personality {
    habit: Habit,
    plans: BTreeMap<u64, Plan>,
    /// Plans of its own that have not begun.
    due: BTreeSet<(Instant, u64)>,
    heard: Splitter,
    out: Vec<u8>,
    next_msgno: u64,
    next_request: u64,
    /// Requests that were complete, as Go counts them.
    completed: u64,
    sending: BTreeMap<u64, Sending>,
    receiving: BTreeMap<u64, Receiving>,
    /// Messages with octets to acknowledge when it gets round to it.
    late_acks: BTreeSet<(u64, u64)>,
    /// Answers that are being thought about.
    thinking: Vec<(Instant, u64, Value)>,
    next_ping: Option<Instant>,
    /// When it hangs up because nothing was asked for long.
    hangs_up: Instant,
    is_over: bool,
}

#[derive(Debug)]
struct Sending {
    tag: u64,
    is_reply: bool,
    len: u64,
    sent: u64,
    acked: u64,
}

#[derive(Debug)]
struct Receiving {
    tag: u64,
    request: Option<Value>,
    received: u64,
}

impl Personality {
    /// The peer that plays `side` of a script.
    pub fn new(habit: Habit, script: &Script, side: usize) -> Self {
        let plans = (1..).zip(script.plans.iter().cloned());
        let plans: BTreeMap<u64, Plan> = plans.collect();
        let own = plans.iter().filter(|(_, plan)| plan.from == side);
        Self {
            habit,
            due: own.map(|(tag, plan)| (plan.at, *tag)).collect(),
            plans,
            heard: Splitter::default(),
            out: Vec::new(),
            next_msgno: 0,
            next_request: 1,
            completed: 0,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            late_acks: BTreeSet::new(),
            thinking: Vec::new(),
            next_ping: (habit == Habit::Js).then(|| Instant::EPOCH + PING),
            hangs_up: Instant::EPOCH + SILENCE,
            is_over: false,
        }
    }

    fn take(&mut self, now: Instant, packet: &Seen) {
        let msgno = packet.msgno;
        match packet.kind {
            Kind::Header => {
                let fields: Value = serde_json::from_slice(&packet.body).unwrap_or_default();
                let is_request = fields["type"] == "request";
                let message = Receiving {
                    tag: fields["tag"].as_u64().unwrap_or_default(),
                    request: is_request.then(|| fields["request_id"].clone()),
                    received: 0,
                };
                self.receiving.insert(msgno, message);
            }
            Kind::Data => {
                if let Some(message) = self.receiving.get_mut(&msgno) {
                    message.received += packet.size;
                    let total = message.received;
                    match self.habit {
                        Habit::Go | Habit::Rs => {
                            self.put("ACK", msgno, total.to_string().as_bytes())
                        }
                        Habit::Js => {
                            self.late_acks.retain(|(other, _)| *other != msgno);
                            self.late_acks.insert((msgno, total));
                        }
                    }
                }
            }
            Kind::Eof => {
                let Some(message) = self.receiving.remove(&msgno) else {
                    return;
                };
                if let Some(id) = message.request {
                    self.completed += 1;
                    self.hangs_up = now + SILENCE;
                    let id = if self.habit == Habit::Go {
                        self.completed.into()
                    } else {
                        id
                    };
                    let plan = self.plans.get(&message.tag);
                    let thinks = plan.map_or(Duration::ZERO, |plan| plan.thinking);
                    self.thinking.push((now + thinks, message.tag, id));
                }
            }
            Kind::TxErr => {
                if let Some(message) = self.receiving.remove(&msgno) {
                    if self.habit == Habit::Go {
                        let total = message.received + packet.size;
                        self.put("ACK", msgno, total.to_string().as_bytes());
                    }
                }
            }
            Kind::Ack => {
                let text = String::from_utf8_lossy(&packet.body).into_owned();
                if let (Some(message), Ok(count)) = (self.sending.get_mut(&msgno), text.parse()) {
                    message.acked = count;
                }
            }
            Kind::Ping => match self.habit {
                Habit::Js | Habit::Rs => self.put("PONG", msgno, b""),
                // An unknown type.
                Habit::Go => self.is_over = true,
            },
            Kind::Pong => {}
        }
    }

    /// Everything that can be done now.
    fn work(&mut self, now: Instant) {
        for (msgno, total) in core::mem::take(&mut self.late_acks) {
            self.put("ACK", msgno, total.to_string().as_bytes());
        }
        while let Some((at, tag)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.due.pop_first();
            self.ask(tag);
        }
        let (ready, later): (Vec<_>, Vec<_>) = core::mem::take(&mut self.thinking)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.thinking = later;
        for (_, tag, id) in ready {
            let len = self.plans.get(&tag).map_or(0, |plan| plan.reply.len);
            let json = match self.habit {
                Habit::Go => format!(
                    "{{\"action\":\"\",\"envelope\":\"json\",\"request_id\":{id},\"client_id\":0,\
                     \"ticket\":\"\",\"type\":\"reply\",\"version\":0,\"tag\":{tag}}}\n"
                ),
                Habit::Js => format!("{{\"request_id\":{id},\"type\":\"reply\",\"tag\":{tag}}}"),
                Habit::Rs => format!(
                    "{{\"type\":\"reply\",\"request_id\":{id},\"error\":null,\
                     \"error_code\":null,\"tag\":{tag}}}"
                ),
            };
            self.speak(&json, tag, true, len);
        }
        if self.next_ping.is_some_and(|at| at <= now) {
            self.put("PING", 0, b"");
            self.next_ping = Some(now + PING);
        }
        let open: Vec<u64> = self.sending.keys().copied().collect();
        open.into_iter().for_each(|msgno| self.go_on(msgno));
    }

    fn ask(&mut self, tag: u64) {
        let plan = &self.plans[&tag];
        let len = plan.body.len;
        if plan.ask != Ask::Request {
            return;
        }
        let id = self.next_request;
        self.next_request += 1;
        let json = match self.habit {
            Habit::Go => format!(
                "{{\"action\":\"Sim.run\",\"envelope\":\"json\",\"request_id\":{id},\"client_id\":0,\
                 \"ticket\":\"\",\"identifying_token\":\"\",\"type\":\"request\",\"version\":1,\
                 \"tag\":{tag}}}\n"
            ),
            Habit::Js => format!(
                "{{\"action\":\"Sim.run\",\"sector\":\"main\",\"version\":1,\"envelope\":\"json\",\
                 \"request_id\":{id},\"type\":\"request\",\"tag\":{tag}}}"
            ),
            Habit::Rs => format!(
                "{{\"type\":\"request\",\"request_id\":{id},\"action\":\"Sim.run\",\"version\":1,\
                 \"envelope\":\"json\",\"ticket\":null,\"tag\":{tag}}}"
            ),
        };
        self.speak(&json, tag, false, len);
    }

    fn speak(&mut self, json: &str, tag: u64, is_reply: bool, len: u64) {
        let msgno = self.next_msgno;
        self.next_msgno += 1;
        self.put("HEADER", msgno, json.as_bytes());
        let message = Sending {
            tag,
            is_reply,
            len,
            sent: 0,
            acked: 0,
        };
        self.sending.insert(msgno, message);
    }

    /// Sends on as this habit does, and the end after the last octet.
    fn go_on(&mut self, msgno: u64) {
        while let Some(message) = self.sending.get_mut(&msgno) {
            let piece = match self.habit {
                Habit::Go => 131_072,
                Habit::Js => 16_384,
                Habit::Rs => 2048,
            };
            if message.sent == message.len {
                self.sending.remove(&msgno);
                return self.put("EOF", msgno, b"");
            }
            let shut = message.sent - message.acked >= 65_536;
            if self.habit == Habit::Js && shut {
                return;
            }
            let len = (message.len - message.sent).min(piece);
            let body = octets(message.tag, message.is_reply, message.sent, len as usize);
            message.sent += len;
            let is_whole = self.habit == Habit::Go && message.sent == message.len && len == piece;
            self.put("DATA", msgno, &body);
            if is_whole {
                self.put("DATA", msgno, b"");
            }
        }
    }

    fn put(&mut self, word: &str, msgno: u64, body: &[u8]) {
        let line = format!("{word} {msgno} {}\r\n", body.len());
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(body);
        self.out.extend_from_slice(b"END\r\n");
    }
}

impl Duplex for Personality {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        match self.heard.feed(bytes) {
            Ok(packets) => packets.iter().for_each(|packet| self.take(now, packet)),
            Err(error) => panic!("{:?} hangs up: {error}", self.habit),
        }
        self.work(now);
    }

    fn receive_end(&mut self, _: Instant, _: End) {
        self.is_over = true;
    }

    fn wants_read(&self) -> bool {
        let thinks = self.habit == Habit::Rs && !self.thinking.is_empty();
        !self.is_over && !thinks
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Outbox) -> Option<usize> {
        if !self.is_over {
            self.work(now);
        }
        let octets = core::mem::take(&mut self.out);
        out.put(&octets);
        (!octets.is_empty()).then_some(octets.len())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let thinking = self.thinking.iter().map(|(at, ..)| *at);
        let due = self.due.first().map(|(at, _)| *at);
        let times = [due, self.next_ping, Some(self.hangs_up)];
        let next = times.into_iter().flatten().chain(thinking).min();
        next.filter(|_| !self.is_over)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.work(now);
        if self.hangs_up <= now {
            self.is_over = true;
        }
    }

    fn is_drained(&self) -> bool {
        self.is_over && self.out.is_empty()
    }
}

/// How often JS asks.
const PING: Duration = Duration::from_secs(15);

/// How long Go waits for a complete request.
const SILENCE: Duration = Duration::from_secs(120);
