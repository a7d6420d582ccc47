//! A peer that puts up with nothing: the conditions under which any known peer hangs up (HD-54).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;
use serde_json::value::RawValue;

/// A packet type.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the words of the wire")]
pub enum Kind {
    Header,
    Data,
    Eof,
    TxErr,
    Ack,
    Ping,
    Pong,
}

/// One whole packet, as somebody saw it pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its type.
    pub kind: Kind,
    /// Its number.
    pub msgno: u64,
    /// Octets of its body.
    pub size: u64,
    /// Its body; that of a DATA is only counted.
    pub body: Vec<u8>,
    /// Octets of its header line.
    pub line: usize,
    /// Offset just after its last octet.
    pub after: u64,
}

/// Cuts a stream into packets, one octet after the other, without any of the real parser's code.
#[derive(Debug, Default)]
pub struct Splitter {
    line: Vec<u8>,
    packet: Option<Seen>,
    /// Octets of body and trailer still to come.
    left: u64,
    trailer: Vec<u8>,
    offset: u64,
    failed: bool,
}

impl Splitter {
    /// Takes octets and gives the packets they complete.
    ///
    /// # Errors
    ///
    /// What is wrong with the stream; nothing is read after that.
    pub fn feed(&mut self, octets: &[u8]) -> Result<Vec<Seen>, String> {
        let mut seen = Vec::new();
        let mut rest = octets;
        while !rest.is_empty() && !self.failed {
            let step = self.step(&mut rest, &mut seen);
            if let Err(error) = step {
                self.failed = true;
                return Err(format!("{error} at {}", self.offset));
            }
        }
        Ok(seen)
    }

    /// Whether the stream stands between two packets.
    pub fn is_between(&self) -> bool {
        self.line.is_empty() && self.packet.is_none()
    }

    fn step(&mut self, rest: &mut &[u8], seen: &mut Vec<Seen>) -> Result<(), String> {
        let Some(packet) = &mut self.packet else {
            self.line.push(rest[0]);
            *rest = &rest[1..];
            self.offset += 1;
            if self.line.len() > 80 {
                return Err("a line without an end".to_string());
            }
            if self.line.ends_with(b"\n") {
                let packet = parse_line(&self.line)?;
                self.left = packet.size;
                self.packet = Some(packet);
                self.line.clear();
            }
            return Ok(());
        };
        if self.left > 0 {
            let count = rest
                .len()
                .min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if packet.kind != Kind::Data {
                packet.body.extend_from_slice(&rest[..count]);
            }
            self.left -= count as u64;
            self.offset += count as u64;
            *rest = &rest[count..];
            return Ok(());
        }
        self.trailer.push(rest[0]);
        *rest = &rest[1..];
        self.offset += 1;
        if !b"END\r\n".starts_with(&self.trailer) {
            return Err("a bad trailer".to_string());
        }
        if self.trailer.len() == 5 {
            self.trailer.clear();
            let mut packet = self.packet.take().expect("a packet is being read");
            packet.after = self.offset;
            seen.push(packet);
        }
        Ok(())
    }
}

fn parse_line(line: &[u8]) -> Result<Seen, String> {
    let text = core::str::from_utf8(line).map_err(|_| "a line that is no text".to_string())?;
    let bad = || format!("line {text:?}");
    let inner = text.strip_suffix("\r\n").ok_or_else(bad)?;
    let parts: Vec<&str> = inner.split(' ').collect();
    let [word, msgno, size] = parts[..] else {
        return Err(bad());
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| digits)
    };
    let kind = match word {
        "HEADER" => Kind::Header,
        "DATA" => Kind::Data,
        "EOF" => Kind::Eof,
        "TXERR" => Kind::TxErr,
        "ACK" => Kind::Ack,
        "PING" => Kind::Ping,
        "PONG" => Kind::Pong,
        _ => return Err(bad()),
    };
    Ok(Seen {
        kind,
        msgno: number(msgno).ok_or_else(bad)?,
        size: number(size).ok_or_else(bad)?,
        body: Vec::new(),
        line: line.len(),
        after: 0,
    })
}

/// Reads what one end sends, with what it has heard in mind, and objects like the strictest peer.
#[derive(Debug)]
pub struct Strict {
    sent: Splitter,
    heard: Splitter,
    /// The largest DATA, and the most octets in flight, if there is a bound.
    chunk: u64,
    window: Option<u64>,
    /// Whether PING may be sent (W-18).
    pub may_ping: bool,
    next_msgno: u64,
    next_request: u64,
    sending: BTreeMap<u64, Flight>,
    receiving: BTreeMap<u64, Incoming>,
    ended: BTreeSet<u64>,
    /// Requests heard and not answered, by their ids as JSON.
    owed: BTreeMap<String, u32>,
    /// Whether some header heard could not be read here, so that what is owed is not known.
    is_unsure: bool,
    pings: u64,
    pongs: u64,
    /// Whether the end under watch knows that its peer will acknowledge nothing more.
    is_half_closed: bool,
}

#[derive(Debug, Default)]
struct Flight {
    sent: u64,
    acked: u64,
}

#[derive(Debug, Default)]
struct Incoming {
    received: u64,
    acked: u64,
}

impl Strict {
    /// For an end with this chunk size, window (0 is none) and first message number.
    pub fn new(chunk: usize, window: u64, first_msgno: u64) -> Self {
        Self {
            sent: Splitter::default(),
            heard: Splitter::default(),
            chunk: chunk as u64,
            window: Some(window).filter(|window| *window > 0),
            may_ping: false,
            next_msgno: first_msgno,
            next_request: 1,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            ended: BTreeSet::new(),
            owed: BTreeMap::new(),
            is_unsure: false,
            pings: 0,
            pongs: 0,
            is_half_closed: false,
        }
    }

    /// Notes octets that the end under watch is given; what they complete comes back.
    ///
    /// # Errors
    ///
    /// When they are no packets; the end under watch must find that out for itself.
    pub fn heard(&mut self, octets: &[u8]) -> Result<Vec<Seen>, String> {
        let packets = self.heard.feed(octets)?;
        for packet in &packets {
            match packet.kind {
                Kind::Header => {
                    self.receiving.insert(packet.msgno, Incoming::default());
                    match raw_id(&packet.body) {
                        Ok(Some(id)) => *self.owed.entry(id).or_default() += 1,
                        Ok(None) => {}
                        Err(_) => self.is_unsure = true,
                    }
                }
                Kind::Data => {
                    if let Some(message) = self.receiving.get_mut(&packet.msgno) {
                        message.received += packet.size;
                    }
                }
                Kind::Eof | Kind::TxErr => {
                    self.receiving.remove(&packet.msgno);
                    self.ended.insert(packet.msgno);
                }
                Kind::Ack => {
                    let count = core::str::from_utf8(&packet.body).ok();
                    let count = count.and_then(|text| text.parse::<u64>().ok());
                    if let (Some(flight), Some(count)) =
                        (self.sending.get_mut(&packet.msgno), count)
                    {
                        flight.acked = count.min(flight.sent);
                    }
                }
                Kind::Ping => self.pings += 1,
                Kind::Pong => {}
            }
        }
        Ok(packets)
    }

    /// Notes that nothing more will be heard.
    pub fn heard_end(&mut self) {
        self.is_half_closed = true;
    }

    /// Judges octets that the end under watch hands over; the packets come back.
    ///
    /// # Errors
    ///
    /// What some peer would hang up on.
    pub fn emitted(&mut self, octets: &[u8]) -> Result<Vec<Seen>, String> {
        let packets = self.sent.feed(octets)?;
        if !self.sent.is_between() {
            return Err("handed over in the middle of a packet (W-12)".to_string());
        }
        for packet in &packets {
            self.judge(packet).map_err(|error| {
                let (kind, msgno, size) = (packet.kind, packet.msgno, packet.size);
                format!("{kind:?} {msgno} {size}: {error}")
            })?;
        }
        Ok(packets)
    }

    fn judge(&mut self, packet: &Seen) -> Result<(), String> {
        let msgno = packet.msgno;
        ensure(packet.line <= 40, "line over 40 octets (W-4)")?;
        match packet.kind {
            Kind::Header => {
                ensure(msgno == self.next_msgno, "gap or repeat in msgno (W-15)")?;
                ensure(packet.size <= 126_976, "header over 126 976 (W-7)")?;
                self.next_msgno += 1;
                self.sending.insert(msgno, Flight::default());
                self.judge_header(&packet.body)
            }
            Kind::Data => {
                ensure(packet.size > 0, "empty DATA")?;
                ensure(packet.size <= self.chunk, "DATA over the chunk size (W-7)")?;
                let flight = self.sending.get_mut(&msgno).ok_or("DATA of no message")?;
                flight.sent += packet.size;
                let in_flight = flight.sent - flight.acked;
                let bound = self.window.filter(|_| !self.is_half_closed);
                ensure(
                    bound.is_none_or(|window| in_flight <= window),
                    "more in flight than the window (Q-9)",
                )
            }
            Kind::Eof => {
                ensure(packet.size == 0, "EOF with a body")?;
                let open = self.sending.remove(&msgno);
                ensure(open.is_some(), "EOF of no message")
            }
            Kind::TxErr => {
                let text = core::str::from_utf8(&packet.body).map_err(|_| "TXERR no UTF-8")?;
                ensure(!matches!(text, "" | "0"), "TXERR without a text (S-9)")?;
                ensure(text.len() <= 4096, "TXERR over 4096 (S-9)")?;
                let open = self.sending.remove(&msgno);
                ensure(open.is_some(), "TXERR of no message")
            }
            Kind::Ack => {
                let text = core::str::from_utf8(&packet.body).unwrap_or_default();
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                ensure(digits && !text.starts_with('0'), "ACK not as A-1")?;
                let count: u64 = text.parse().map_err(|_| "ACK not as A-1")?;
                ensure(!self.ended.contains(&msgno), "ACK after the end (A-4)")?;
                let message = self.receiving.get_mut(&msgno).ok_or("ACK of no message")?;
                ensure(count > message.acked, "ACK does not advance (A-2)")?;
                ensure(count <= message.received, "ACK beyond received (A-2)")?;
                message.acked = count;
                Ok(())
            }
            Kind::Ping => ensure(self.may_ping && packet.size == 0, "PING unasked (W-18)"),
            Kind::Pong => {
                self.pongs += 1;
                ensure(packet.size == 0, "PONG with a body")?;
                ensure(self.pongs <= self.pings, "PONG unasked")
            }
        }
    }

    fn judge_header(&mut self, json: &[u8]) -> Result<(), String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let Value::Object(fields) = &value else {
            return Err("header is no object".to_string());
        };
        ensure(
            fields.values().all(|field| !field.is_null()),
            "null field (H-10)",
        )?;
        let is_text = |name: &str| fields.get(name).is_none_or(Value::is_string);
        for name in [
            "action",
            "envelope",
            "ticket",
            "identifying_token",
            "terminal",
            "error",
            "error_code",
        ] {
            ensure(is_text(name), "a field that is no string (H-10)")?;
        }
        for name in ["client_id", "version"] {
            let ok = fields.get(name).is_none_or(Value::is_u64);
            ensure(ok, "a number that is no integer (H-10)")?;
        }
        let id = fields.get("request_id");
        match fields.get("type").and_then(Value::as_str) {
            Some("request" | "subscribe") => {
                let id = id
                    .and_then(Value::as_u64)
                    .ok_or("request id no integer (H-5)")?;
                ensure(
                    id == self.next_request,
                    "gap or repeat in request ids (H-5)",
                )?;
                self.next_request += 1;
                Ok(())
            }
            Some("reply" | "subscribe_done") => {
                let id = raw_id(json).map_err(|error| error.to_string())?;
                let id = id.ok_or("reply without an id")?;
                match self.owed.get_mut(&id).filter(|owed| **owed > 0) {
                    Some(owed) => *owed -= 1,
                    None => ensure(self.is_unsure, "reply to nothing, or a second one (S-19)")?,
                }
                Ok(())
            }
            Some("") | None => Err("no type (H-6)".to_string()),
            Some(_) => Ok(()),
        }
    }
}

/// The `request_id` of a header, as it is written.
fn raw_id(json: &[u8]) -> Result<Option<String>, serde_json::Error> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(json)?;
    let id = fields.get("request_id").map(|id| id.get());
    Ok(id.filter(|id| *id != "null").map(String::from))
}

fn ensure(ok: bool, text: &str) -> Result<(), String> {
    match ok {
        true => Ok(()),
        false => Err(text.to_string()),
    }
}
