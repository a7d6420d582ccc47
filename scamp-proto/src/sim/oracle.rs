//! What must and may not happen, worked out from the octets that passed (HD-53).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::pair::Watch;
use super::script::are_octets;
use super::strict::{Kind, Seen, Strict};
use crate::error::{CloseReason, ExchangeError, Flood, Phase, ViolationKind};
use crate::{BodyError, End, Header, Instant};

/// The model of one run: told what passes on the wire and what each application is told, it
/// panics when the two do not fit together.
///
/// It knows the protocol and nothing of the machines: its packets come from
/// [`Splitter`](super::Splitter), its counts from its own adding up.
#[derive(Debug)]
pub struct Oracle {
    sides: [Side; 2],
    /// What has passed and been told, as one number: equal runs have equal ones (HD-57).
    pub trace: u64,
    /// Whether limits are so tight that honest peers open too many messages, or send too small
    /// packets.
    pub is_tight: bool,
    /// Who is told, line by line, what passes.
    pub diary: Option<fn(&str)>,
}

#[derive(Debug)]
struct Side {
    strict: Strict,
    /// Whether it is not ours to judge.
    is_foreign: bool,
    /// Offsets just after each packet that left.
    boundaries: Vec<u64>,
    /// Messages heard, whole packets only.
    heard: BTreeMap<u64, Heard>,
    /// Our requests as they left: the message, and how it ended.
    asked: BTreeMap<u64, Asked>,
    by_msgno: BTreeMap<u64, u64>,
    exchanges: BTreeMap<u64, Exchange>,
    /// Requests that started a handler, by message.
    handled: BTreeSet<u64>,
    has_passed: bool,
    /// Whether what is heard has stopped making sense, so that the end must close.
    is_deaf: bool,
    ended: bool,
    /// Whether the transport failed.
    is_lost: bool,
    /// Whether this end listens no more, so that nothing counts as heard.
    is_done: bool,
    /// How its requests stood when it heard of the end.
    asked_then: Option<BTreeMap<u64, Asked>>,
    closed: Option<CloseReason>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    finished: bool,
    aborted: bool,
}

#[derive(Debug)]
struct Heard {
    tag: u64,
    is_reply: bool,
    is_error: bool,
    request_id: Option<u64>,
    data: u64,
    end: Option<Kind>,
    read: u64,
    told: bool,
}

#[derive(Debug)]
struct Exchange {
    tag: u64,
    deadline: Instant,
    reply: Option<u64>,
    outcome: Option<&'static str>,
    was_unsent: bool,
}

impl Oracle {
    /// A model of two ends, each watched by one of these.
    pub fn new(strict: [Strict; 2]) -> Self {
        Self {
            sides: strict.map(|strict| Side {
                strict,
                is_foreign: false,
                boundaries: Vec::new(),
                heard: BTreeMap::new(),
                asked: BTreeMap::new(),
                by_msgno: BTreeMap::new(),
                exchanges: BTreeMap::new(),
                handled: BTreeSet::new(),
                has_passed: false,
                is_deaf: false,
                ended: false,
                is_lost: false,
                is_done: false,
                asked_then: None,
                closed: None,
            }),
            trace: 0xCBF2_9CE4_8422_2325,
            is_tight: false,
            diary: None,
        }
    }

    /// A side that is not ours, and sends what it likes.
    pub fn leave_alone(&mut self, side: usize) {
        self.sides[side].is_foreign = true;
    }

    /// A side whose peer knows no PING.
    pub fn forbid_ping(&mut self, side: usize) {
        self.sides[side].strict.may_ping = false;
    }

    /// Offsets just after each packet that a side has sent.
    pub fn boundaries(&self, side: usize) -> &[u64] {
        &self.sides[side].boundaries
    }

    /// An application has begun a request.
    pub fn asked(&mut self, side: usize, id: u64, tag: u64, deadline: Instant) {
        self.note(side, "asked", id);
        let exchange = Exchange {
            tag,
            deadline,
            reply: None,
            outcome: None,
            was_unsent: false,
        };
        let before = self.sides[side].exchanges.insert(id, exchange);
        assert!(before.is_none(), "request id {id} twice (H-5)");
    }

    /// An application is told that a request has no reply.
    pub fn failed(&mut self, side: usize, now: Instant, id: u64, error: &ExchangeError) {
        self.note(side, "failed", id);
        let me = &mut self.sides[side];
        let exchange = me.exchanges.get_mut(&id).expect("a request that was made");
        assert!(
            exchange.outcome.is_none() && exchange.reply.is_none(),
            "request {id}: second outcome {error:?} (HD-49)"
        );
        exchange.outcome = Some("failed");
        let left = me.asked.get(&id);
        match error {
            ExchangeError::Timeout(_) => assert!(
                now >= exchange.deadline,
                "request {id} timed out at {now:?}, due {:?} (Q-14)",
                exchange.deadline
            ),
            ExchangeError::ConnectionLost { phase, .. } => {
                let then = me.asked_then.as_ref().and_then(|then| then.get(&id));
                // What is still flushed while an end closes in order counts as begun.
                let flushes = !me.is_lost && left.is_none() && *phase == Phase::Sending;
                let fits = flushes || fits(left, *phase) || (then.is_some() && fits(then, *phase));
                assert!(fits, "request {id}: lost {phase:?}, but {left:?} (S-30)");
                exchange.was_unsent = *phase == Phase::Unsent;
            }
            ExchangeError::NotEstablished(_) => {
                assert!(!me.has_passed, "request {id}: octets had passed (S-30)");
                exchange.was_unsent = true;
            }
            ExchangeError::Cancelled => {}
            other => panic!("request {id}: {other:?}"),
        }
    }

    /// An application is told of a reply.
    pub fn replied(&mut self, side: usize, id: u64, msgno: u64, header: &Header) {
        self.note(side, "replied", id);
        let me = &mut self.sides[side];
        let exchange = me.exchanges.get_mut(&id).expect("a request that was made");
        assert!(
            exchange.outcome.is_none() && exchange.reply.is_none(),
            "request {id}: a reply after its outcome (HD-49)"
        );
        exchange.reply = Some(msgno);
        let heard = me.heard.get_mut(&msgno).expect("a header that crossed");
        assert!(
            heard.is_reply && heard.request_id == Some(id),
            "reply to another request"
        );
        assert_eq!(heard.is_error, header.error().is_some(), "H-12");
        assert!(
            heard.is_error || heard.tag == exchange.tag,
            "request {id} of {} got the reply to {}",
            exchange.tag,
            heard.tag
        );
        assert!(!core::mem::replace(&mut heard.told, true), "told twice");
    }

    /// A subscription was answered.
    pub fn subscribed(&mut self, side: usize, id: u64) {
        self.note(side, "subscribed", id);
        let exchange = self.sides[side]
            .exchanges
            .get_mut(&id)
            .expect("a request that was made");
        assert!(exchange.outcome.is_none(), "subscribe {id} ended twice");
        exchange.outcome = Some("subscribed");
    }

    /// An application is given a request or a notification to handle; its tag comes back.
    pub fn started(&mut self, side: usize, msgno: u64) -> u64 {
        self.note(side, "started", msgno);
        let me = &mut self.sides[side];
        let heard = me
            .heard
            .get_mut(&msgno)
            .expect("started although no header crossed");
        assert!(me.handled.insert(msgno), "a handler started twice");
        assert!(!heard.is_reply, "a reply started a handler");
        heard.told = true;
        heard.tag
    }

    /// An application has read these octets of a body.
    pub fn read(&mut self, side: usize, msgno: u64, octets: &[u8]) {
        self.note(side, "read", msgno);
        let heard = self.sides[side]
            .heard
            .get_mut(&msgno)
            .expect("a body that crossed");
        assert!(!octets.is_empty(), "an empty read");
        assert!(
            are_octets(heard.tag, heard.is_reply, heard.read, octets),
            "octets {} of message {msgno} are another's",
            heard.read
        );
        heard.read += octets.len() as u64;
        assert!(
            heard.read <= heard.data,
            "message {msgno}: read {} of {} that crossed (W-10)",
            heard.read,
            heard.data
        );
    }

    /// An application is told that a body is complete.
    pub fn complete(&mut self, side: usize, msgno: u64) {
        self.note(side, "complete", msgno);
        let heard = &self.sides[side].heard[&msgno];
        assert_eq!(
            heard.end,
            Some(Kind::Eof),
            "message {msgno} complete without EOF (HD-50)"
        );
        assert_eq!(heard.read, heard.data, "message {msgno} complete too early");
        self.end_reply(side, msgno, "complete");
    }

    /// An application is told that a body is not complete.
    pub fn broken(&mut self, side: usize, msgno: u64, error: &BodyError) {
        self.note(side, "broken", msgno);
        let me = &self.sides[side];
        let heard = &me.heard[&msgno];
        match error {
            BodyError::PeerError(_) => {
                assert_eq!(heard.end, Some(Kind::TxErr), "{error:?} without TXERR");
                assert_eq!(heard.read, heard.data, "octets before TXERR are due (S-8)");
            }
            BodyError::ConnectionLost => {
                // A violation stops reading in the middle of what was delivered.
                let stopped = self.is_tight;
                let ended = heard.end.is_some() && !stopped;
                assert!(!ended, "lost, but it had ended: {heard:?}");
            }
            BodyError::Timeout
            | BodyError::Overloaded
            | BodyError::BodyTooLarge(_)
            | BodyError::Cancelled => {}
        }
        self.end_reply(side, msgno, "broken");
    }

    /// An application has no more interest in a body.
    pub fn dropped(&mut self, side: usize, msgno: u64) {
        self.note(side, "dropped", msgno);
        self.end_reply(side, msgno, "dropped");
    }

    /// An application is told that the connection has ended.
    pub fn closed(&mut self, side: usize, reason: &CloseReason) {
        self.note(side, "closed", 0);
        let me = &mut self.sides[side];
        assert!(me.closed.is_none(), "closed twice");
        if let CloseReason::Violation(violation) = reason {
            let excused = match violation.kind {
                ViolationKind::TruncatedPacket | ViolationKind::PacketTimeout => true,
                ViolationKind::TooManyMessages | ViolationKind::Flood(Flood::SmallData) => {
                    self.is_tight
                }
                _ => false,
            };
            assert!(excused || me.is_deaf, "closed for {violation:?}");
        }
        me.closed = Some(reason.clone());
    }

    /// An end has stopped listening: it closes, or has closed.
    pub fn done(&mut self, side: usize) {
        self.sides[side].is_done = true;
    }

    /// Whether an application has been told of the end.
    pub fn is_closed(&self, side: usize) -> bool {
        self.sides[side].closed.is_some()
    }

    /// The latest deadline that has passed without an outcome, for an end that is listened to.
    pub fn check_deadlines(&self, side: usize, now: Instant) {
        for (id, exchange) in &self.sides[side].exchanges {
            let open = exchange.outcome.is_none() && exchange.reply.is_none();
            assert!(
                !open || now <= exchange.deadline,
                "request {id}: no outcome at {now:?}, due {:?} (HD-49)",
                exchange.deadline
            );
        }
    }

    /// Nothing more will happen: every request has its outcome.
    pub fn check_outcomes(&self, side: usize) {
        for (id, exchange) in &self.sides[side].exchanges {
            assert!(
                exchange.outcome.is_some(),
                "request {id} has no outcome: {exchange:?} (HD-49)"
            );
        }
    }

    /// Requests of a side that reached the other and were whole, for a look from outside.
    pub fn trace_of(&self, side: usize) -> String {
        let me = &self.sides[side];
        format!("closed {:?}, exchanges {:?}", me.closed, me.exchanges)
    }

    fn end_reply(&mut self, side: usize, msgno: u64, outcome: &'static str) {
        let me = &mut self.sides[side];
        let mut exchanges = me.exchanges.values_mut();
        if let Some(exchange) = exchanges.find(|exchange| exchange.reply == Some(msgno)) {
            assert!(
                exchange.outcome.is_none(),
                "reply {msgno} ended twice (HD-49)"
            );
            exchange.outcome = Some(outcome);
        }
    }

    fn note(&mut self, side: usize, what: &str, number: u64) {
        assert!(
            self.sides[side].closed.is_none()
                || !matches!(what, "started" | "replied" | "failed" | "asked"),
            "{what} {number} after the end"
        );
        self.tell(|| format!("   {side}: {what} {number}"));
        self.mix(what.as_bytes());
        self.mix(&number.to_le_bytes());
        self.mix(&[side as u8]);
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(diary) = self.diary {
            diary(&line());
        }
    }

    fn mix(&mut self, octets: &[u8]) {
        for byte in octets {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

/// Whether a request that has left so far can be lost in this phase (S-30).
fn fits(left: Option<&Asked>, phase: Phase) -> bool {
    match left {
        None => phase == Phase::Unsent,
        Some(Asked { finished: true, .. }) => phase == Phase::Waiting,
        Some(Asked { aborted: true, .. }) => matches!(phase, Phase::Sending | Phase::Waiting),
        Some(_) => phase == Phase::Sending,
    }
}

impl Watch for Oracle {
    fn emitted(&mut self, side: usize, now: Instant, octets: &[u8]) {
        self.mix(&now.since_epoch().as_nanos().to_le_bytes());
        self.mix(octets);
        let me = &mut self.sides[side];
        me.has_passed = true;
        if me.is_foreign {
            return;
        }
        let packets = match me.strict.emitted(octets) {
            Ok(packets) => packets,
            Err(error) => panic!("side {side} sent what a peer hangs up on: {error} (HD-54)"),
        };
        let diary = self.diary;
        for packet in packets {
            me.boundaries.push(packet.after);
            if let Some(diary) = diary {
                let body = String::from_utf8_lossy(&packet.body);
                let (kind, msgno, size) = (packet.kind, packet.msgno, packet.size);
                diary(&format!("{now:?} {side}> {kind:?} {msgno} {size} {body}"));
            }
            match packet.kind {
                Kind::Header => me.note_asked(&packet),
                Kind::Eof | Kind::TxErr => {
                    if let Some(id) = me.by_msgno.get(&packet.msgno) {
                        let asked = me.asked.entry(*id).or_default();
                        asked.finished = packet.kind == Kind::Eof;
                        asked.aborted = packet.kind == Kind::TxErr;
                    }
                }
                _ => {}
            }
        }
    }

    fn delivered(&mut self, side: usize, now: Instant, octets: &[u8]) {
        self.mix(&now.since_epoch().as_nanos().to_le_bytes());
        self.tell(|| format!("{now:?} {side}< {}", octets.len()));
        self.mix(&octets.len().to_le_bytes());
        let me = &mut self.sides[side];
        assert!(!me.ended, "octets after the end");
        me.has_passed = true;
        match me.strict.heard(octets) {
            Ok(_) if me.is_done => {}
            Ok(packets) => packets.iter().for_each(|packet| me.note_heard(packet)),
            Err(_) => me.is_deaf = true,
        }
    }

    fn ended(&mut self, side: usize, end: &End) {
        self.tell(|| format!("   {side}: hears {end:?}"));
        self.mix(format!("{end:?}").as_bytes());
        let me = &mut self.sides[side];
        me.ended = true;
        me.is_lost = matches!(end, End::Lost(_));
        me.asked_then = Some(me.asked.clone());
        self.sides[side].strict.heard_end();
    }
}

impl Side {
    fn note_asked(&mut self, packet: &Seen) {
        let fields: Value = serde_json::from_slice(&packet.body).expect("judged already");
        if matches!(fields["type"].as_str(), Some("request" | "subscribe")) {
            let id = fields["request_id"].as_u64().expect("judged already");
            assert!(
                self.exchanges
                    .get(&id)
                    .is_none_or(|exchange| !exchange.was_unsent),
                "request {id} left after its caller was told that it did not (S-30)"
            );
            self.asked.insert(id, Asked::default());
            self.by_msgno.insert(packet.msgno, id);
        }
    }

    fn note_heard(&mut self, packet: &Seen) {
        match packet.kind {
            Kind::Header => {
                let fields: Value = serde_json::from_slice(&packet.body).unwrap_or_default();
                let heard = Heard {
                    tag: fields["tag"].as_u64().unwrap_or_default(),
                    is_reply: matches!(fields["type"].as_str(), Some("reply")),
                    is_error: fields.get("error_code").is_some_and(|code| !code.is_null()),
                    request_id: fields["request_id"].as_u64(),
                    data: 0,
                    end: None,
                    read: 0,
                    told: false,
                };
                self.heard.insert(packet.msgno, heard);
            }
            Kind::Data => {
                if let Some(heard) = self.heard.get_mut(&packet.msgno) {
                    heard.data += packet.size;
                }
            }
            Kind::Eof | Kind::TxErr => {
                if let Some(heard) = self.heard.get_mut(&packet.msgno) {
                    heard.end = Some(packet.kind);
                }
            }
            Kind::Ack | Kind::Ping | Kind::Pong => {}
        }
    }
}
