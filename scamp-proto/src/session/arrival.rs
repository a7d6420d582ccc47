//! What each message of the peer's is, and where it goes (H-6).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::event::{Event, ExchangeId};
use super::subscription::{Filter, parse_event};
use super::{Read, RecvId, Session, Side};
use crate::Instant;
use crate::connection;
use crate::error::{BodyError, CloseReason, ExchangeError, Flood, Phase, ViolationKind};
use crate::note::What;
use crate::wire::{Header, MessageType, RemoteError, RequestId};

/// Why the session reads a body itself.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// The records of an event.
    Event,
    /// The topics of a subscribe.
    Subscribe(RequestId),
    /// The answer to our subscribe.
    SubscribeDone(u64),
}

impl Session {
    /// Takes what the connection has to tell.
    pub(super) fn process(&mut self, now: Instant) {
        // What an event leads to is taken by the loop that is running, not by one inside it.
        if core::mem::replace(&mut self.processing, true) {
            return;
        }
        while let Some(event) = self.connection.poll_event() {
            match event {
                connection::Event::Opened { id, header } => self.opened(now, id, header),
                connection::Event::Readable(id) => {
                    if self.own_bodies.contains_key(&id) {
                        self.read_own(now, id);
                    } else if self.connection.is_readable(id) {
                        // One that was set aside meanwhile is nobody's to read.
                        self.events.push_back(Event::Readable(id));
                    }
                }
                connection::Event::Ended(id) => {
                    self.reply_ended(now, id);
                    self.request_ended(now, id);
                    if !self.own_bodies.contains_key(&id) && !self.connection.is_discarding(id) {
                        self.events.push_back(Event::Ended(id));
                    }
                }
                connection::Event::Writable(id) => {
                    match self.trailing.iter().any(|(send, _)| *send == id) {
                        true => self.feed_trailing(now, id),
                        false => self.events.push_back(Event::Writable(id)),
                    }
                }
                connection::Event::Lost { id, begun } => {
                    let phase = if begun { Phase::Sending } else { Phase::Unsent };
                    self.lost.insert(id, phase);
                    self.answered(id);
                    self.events.push_back(Event::Lost(id));
                }
                connection::Event::Note(note) => self.events.push_back(Event::Note(note)),
                connection::Event::Closed(reason) => self.closed(reason),
            }
        }
        self.processing = false;
    }

    fn closed(&mut self, reason: CloseReason) {
        self.lose_exchanges(&reason);
        self.lose_serving();
        self.own_bodies.clear();
        self.discarded.clear();
        self.lost.clear();
        // A reply that is read on has come as far as it ever will.
        drop(self.deadlines.take_all());
        self.subscribed = false;
        self.offer_room();
        self.events.push_back(Event::Closed(reason));
    }

    /// The peer has closed its side: no reply can come, but ours still leave (F-2).
    pub(super) fn peer_is_done(&mut self, now: Instant) {
        let sends: Vec<_> = self
            .exchanges
            .iter()
            .map(|(_, exchange)| exchange.send)
            .collect();
        self.lose_exchanges(&CloseReason::ClosedByPeer);
        for send in sends {
            // What has left already needs no stopping.
            let _ = self.connection.abort(now, send, "cancelled");
        }
        self.subscriber = None;
        self.subscribed = false;
    }

    fn opened(&mut self, now: Instant, body: RecvId, header: Header) {
        let kind = match (header.kind(), self.side) {
            (Some(kind), _) => Some(kind),
            (None, Side::Client) => Some(MessageType::Reply),
            (None, Side::Server) => header.action().map(|_| MessageType::Request),
        };
        match kind {
            Some(MessageType::Request) => self.opened_request(now, body, header),
            Some(MessageType::Reply) => self.opened_reply(now, body, header),
            Some(MessageType::SubscribeDone) => match self.begin_subscribed(&header) {
                Some(id) => self.read_own_later(now, body, Purpose::SubscribeDone(id)),
                None => self.unexpected(now, body),
            },
            _ if header.bad_field().is_some() => self.bad_header(now, body, &header),
            // One too many, and nobody waits for an answer to it.
            _ if self.connection.is_refused(body) => self.connection.discard(now, body),
            Some(MessageType::Notify) => self.events.push_back(Event::Notify { header, body }),
            Some(MessageType::Event) => self.read_own_later(now, body, Purpose::Event),
            Some(MessageType::Subscribe) => match header.request_id() {
                Some(id) => self.read_own_later(now, body, Purpose::Subscribe(id)),
                None => self.without_id(now, body),
            },
            Some(MessageType::Other) | None => self.unknown_type(now, body, &header),
        }
    }

    fn opened_request(&mut self, now: Instant, body: RecvId, header: Header) {
        let Some(request_id) = header.request_id() else {
            return match header.bad_field() {
                Some(_) => self.bad_header(now, body, &header),
                None => self.without_id(now, body),
            };
        };
        if header.bad_field().is_some() {
            return self.bad_header(now, body, &header);
        }
        if self.draining || !self.connection.is_open() {
            let error = RemoteError::refusal("transport", "Service is shutting down");
            return self.refuse_at_once(now, request_id, body, error);
        }
        if self.connection.is_refused(body) {
            // The connection took it in only to have it refused (S-6).
            let error = RemoteError::refusal("overloaded", "Too many requests");
            return self.refuse_at_once(now, request_id, body, error);
        }
        if let Some(BodyError::PeerError(text)) = self.connection.body_error(body) {
            // Aborted before anybody saw it: nothing is started (S-10, HD-28).
            let text = alloc::format!("Failed to receive request: {text}");
            if self.spend_abort(now) {
                self.refuse_at_once(now, request_id, body, RemoteError::new("transport", text));
            }
            return;
        }
        if header.action().is_none() {
            let error = RemoteError::new("bad_request", "no action");
            return self.refuse_at_once(now, request_id, body, error);
        }
        if !self.config.message_idle.is_zero() {
            self.connection
                .limit_silence(now, body, self.config.message_idle);
        }
        let id = self.begin_serving(request_id, None);
        self.events.push_back(Event::Request { id, header, body });
    }

    fn opened_reply(&mut self, now: Instant, body: RecvId, header: Header) {
        let Some(id) = self.exchange_of(&header) else {
            return self.unexpected_reply(now, body, &header);
        };
        if self
            .exchanges
            .get(&id)
            .is_some_and(|exchange| exchange.is_subscribe)
        {
            // A service without subscriptions answers as it would any request.
            self.connection.discard(now, body);
            return self.subscribed(now, id, false);
        }
        if let Some(field) = header.bad_field() {
            self.connection.discard(now, body);
            self.connection.note(What::BadHeader(field.name()));
            self.end_exchange(id);
            let error = ExchangeError::BadHeader(field.name());
            return self.events.push_back(Event::Failed {
                id: ExchangeId(id),
                error,
            });
        }
        let ends_in_lf = header.ends_in_lf();
        self.begin_reply(id, body, ends_in_lf);
        self.events.push_back(Event::Reply {
            id: ExchangeId(id),
            header,
            body,
        });
    }

    /// The exchange a reply belongs to, if it waits for one.
    fn exchange_of(&self, header: &Header) -> Option<u64> {
        let id = header.request_id()?.number()?;
        self.exchanges
            .get(&id)
            .filter(|exchange| exchange.reply.is_none() && !exchange.is_answered)?;
        Some(id)
    }

    /// The subscription an answer belongs to. It is the only one (F-24).
    fn begin_subscribed(&mut self, header: &Header) -> Option<u64> {
        let id = self.exchange_of(header)?;
        let exchange = self.exchanges.get_mut(&id)?;
        exchange.is_answered = exchange.is_subscribe;
        exchange.is_subscribe.then_some(id)
    }

    fn unexpected_reply(&mut self, now: Instant, body: RecvId, header: &Header) {
        let given_up = header.request_id().and_then(|id| id.number());
        match given_up.is_some_and(|id| self.discarded.remove(&id)) {
            true => self.connection.discard(now, body),
            false => self.unexpected(now, body),
        }
    }

    fn unexpected(&mut self, now: Instant, body: RecvId) {
        self.connection.discard(now, body);
        self.connection.note(What::UnexpectedReply);
        self.spend_bad_header(now);
    }

    fn without_id(&mut self, now: Instant, body: RecvId) {
        self.connection.discard(now, body);
        self.connection.note(What::RequestWithoutId);
        self.spend_bad_header(now);
    }

    fn bad_header(&mut self, now: Instant, body: RecvId, header: &Header) {
        let Some(field) = header.bad_field() else {
            return;
        };
        self.connection.discard(now, body);
        self.connection.note(What::BadHeader(field.name()));
        if self.spend_bad_header(now) {
            if let Some(request_id) = header.request_id() {
                let text = alloc::format!("unusable header field: {}", field.name());
                self.refuse_at_once(now, request_id, body, RemoteError::new("bad_request", text));
            }
        }
    }

    fn unknown_type(&mut self, now: Instant, body: RecvId, header: &Header) {
        let word: String = header
            .type_text()
            .unwrap_or_default()
            .chars()
            .take(64)
            .collect();
        self.connection.discard(now, body);
        self.connection.note(What::UnknownMessageType(word.clone()));
        if !self.spend_bad_header(now) || self.side == Side::Client {
            return;
        }
        if let Some(request_id) = header.request_id() {
            let text = alloc::format!("unknown message type {word:?}");
            self.refuse_at_once(now, request_id, body, RemoteError::new("bad_request", text));
        }
    }

    /// Whether one more header that is no good is not one too many (HD-28).
    fn spend_bad_header(&mut self, now: Instant) -> bool {
        let ok = self.bad_headers.take(self.connection.clock(), 1);
        if !ok {
            self.connection
                .fail(now, ViolationKind::Flood(Flood::BadHeaders));
        }
        ok
    }

    /// Whether one more message that nobody saw is not one too many (HD-28).
    fn spend_abort(&mut self, now: Instant) -> bool {
        let ok = self.aborts.take(self.connection.clock(), 1);
        if !ok {
            self.connection
                .fail(now, ViolationKind::Flood(Flood::Aborts));
        }
        ok
    }

    /// Collects a body for the session's own use.
    fn read_own_later(&mut self, now: Instant, body: RecvId, purpose: Purpose) {
        let limit = self.config.connection.max_body;
        self.own_bodies.insert(body, (purpose, Vec::new()));
        self.connection.collect(now, body, limit);
        if self.connection.is_readable(body) {
            self.read_own(now, body);
        }
    }

    fn read_own(&mut self, now: Instant, body: RecvId) {
        let Some((purpose, mut octets)) = self.own_bodies.remove(&body) else {
            return;
        };
        let complete = loop {
            match self.connection.read(now, body) {
                Read::Data(more) => octets.extend_from_slice(&more),
                Read::End => break true,
                Read::Failed(_) | Read::Gone => break false,
                Read::Pending => {
                    self.own_bodies.insert(body, (purpose, octets));
                    return;
                }
            }
        };
        match purpose {
            Purpose::Event => {
                let (changes, skipped) = parse_event(if complete { &octets } else { b"" });
                if skipped {
                    self.connection.note(What::BadRecord);
                }
                if complete && (!changes.is_empty() || !skipped) {
                    self.events.push_back(Event::Changed(changes));
                }
            }
            Purpose::SubscribeDone(id) => self.subscribed(now, id, complete && octets == b"true"),
            Purpose::Subscribe(request_id) => {
                let filter = if complete {
                    Filter::parse(&octets)
                } else {
                    Filter::Malformed
                };
                self.subscribe_arrived(now, request_id, filter);
            }
        }
    }

    fn subscribe_arrived(&mut self, now: Instant, request_id: RequestId, filter: Filter) {
        match filter {
            Filter::Topics(topics) if self.config.subscriptions && !self.draining => {
                let id = self.begin_serving(request_id, Some(topics.clone()));
                self.events.push_back(Event::Subscribe { id, topics });
            }
            Filter::Cancel if self.config.subscriptions => {
                self.subscriber = None;
                let _ = self.send_whole(
                    now,
                    "subscribe_done",
                    Some(&request_id),
                    "true".to_string().into(),
                );
            }
            _ => {
                let _ = self.send_whole(
                    now,
                    "subscribe_done",
                    Some(&request_id),
                    "false".to_string().into(),
                );
            }
        }
    }
}
