//! Requests of ours, each with exactly one outcome.

use core::time::Duration;

use bytes::Bytes;

use super::event::{Event, ExchangeId};
use super::subscription::Filter;
use super::{RecvId, SendId, Serialize, Session};
use crate::Instant;
use crate::error::{BodyError, CloseReason, ExchangeError, Phase, SendError};
use crate::limits::{DISCARD_SET, HEARTBEAT, LAST_NUMBER};
use crate::wire::{RequestHead, write_plain};

/// How a request is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions {
    /// How long it may take; `None` is [`Config::timeout`](super::Config::timeout) (S-21).
    pub timeout: Option<Duration>,
    /// Whether the deadline covers the whole reply, not only its header.
    pub timeout_covers_body: bool,
    /// Whether the request's body is sent on although the reply is complete (S-13).
    pub keep_sending: bool,
}

/// ```text
/// Waiting ──reply HEADER──> Receiving ──End or Failed read, discard──> gone
///    │ deadline, cancel, bad header, loss                               ^
///    └──Event::Failed───────────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub(super) struct Exchange {
    /// Our request's body.
    pub(super) send: SendId,
    pub(super) deadline: Option<Instant>,
    pub(super) covers_body: bool,
    pub(super) keep_sending: bool,
    /// Octets that had come from the peer when it began (S-22).
    pub(super) heard: u64,
    /// The reply, once it has begun.
    pub(super) reply: Option<RecvId>,
    pub(super) is_subscribe: bool,
    /// Whether the answer to a subscribe has begun.
    pub(super) is_answered: bool,
}

impl Session {
    /// Sends a request; returns its exchange, and its body to write.
    ///
    /// The id exists from now on, and ids are in the order of these calls, without a gap (S-12,
    /// H-5). The deadline runs from now (S-21).
    ///
    /// # Errors
    ///
    /// [`SendError::WouldBlock`] with too many requests outstanding, or while an earlier one is
    /// still leaving where requests are serialized (S-18); wait for [`Event::Room`].
    /// [`SendError::Draining`], and those of [`Connection::open`](crate::Connection::open). No id
    /// is used then.
    pub fn request(
        &mut self,
        now: Instant,
        head: &RequestHead<'_>,
        options: &RequestOptions,
    ) -> Result<(ExchangeId, SendId), SendError> {
        let id = self.may_request(now)?;
        self.scratch.clear();
        head.write(id, &mut self.scratch)?;
        let send = self.begin_exchange(now, id, options, false)?;
        self.settle(now);
        Ok((ExchangeId(id), send))
    }

    /// Subscribes to these topics, or to none any more with `None` (S-40).
    ///
    /// The answer is [`Event::Subscribed`], after an [`Event::Changed`] with what is there now. A
    /// heartbeat runs while a subscription is in force (S-27).
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn subscribe(
        &mut self,
        now: Instant,
        topics: Option<&[&str]>,
    ) -> Result<ExchangeId, SendError> {
        let id = self.may_request(now)?;
        self.scratch.clear();
        let text = alloc::format!("{id}");
        write_plain("subscribe", Some(&text), &[], &mut self.scratch)?;
        let send = self.begin_exchange(now, id, &RequestOptions::default(), true)?;
        let mut body = Bytes::from(Filter::body(topics));
        self.connection.write(now, send, &mut body)?;
        self.connection.finish(now, send)?;
        if topics.is_none() {
            self.subscribed = false;
            self.connection.set_heartbeat(now, None);
        }
        self.settle(now);
        Ok(ExchangeId(id))
    }

    /// Gives up on a request or on its reply: what is left of either is stopped or dropped (S-14).
    ///
    /// The request's outcome is `Cancelled`, unless it had one already.
    pub fn cancel(&mut self, now: Instant, id: ExchangeId) {
        self.give_up(now, id.0, ExchangeError::Cancelled, BodyError::Cancelled);
        self.settle(now);
    }

    fn may_request(&mut self, now: Instant) -> Result<u64, SendError> {
        if self.connection.is_closed() || !self.connection.is_open() {
            return Err(SendError::Closed);
        }
        if self.draining {
            return Err(SendError::Draining);
        }
        let id = self.next_request;
        if id > LAST_NUMBER {
            self.exhausted(now);
            return Err(SendError::MsgnoExhausted);
        }
        if !self.has_room() {
            self.wants_room = true;
            return Err(SendError::WouldBlock);
        }
        Ok(id)
    }

    /// No number is left: what is in progress is finished, and then the connection ends (W-5).
    pub(super) fn exhausted(&mut self, now: Instant) {
        self.draining = true;
        self.is_exhausted = true;
        self.settle(now);
    }

    fn has_room(&self) -> bool {
        let leaving = self.serialized
            && self
                .leaving
                .is_some_and(|id| self.connection.is_begun(id).is_some());
        self.exchanges.len() < self.config.max_outstanding && !leaving
    }

    /// Tells a caller that was refused that there is room now.
    pub(super) fn offer_room(&mut self) {
        if self.wants_room && (self.has_room() || !self.connection.is_open()) {
            self.wants_room = false;
            self.events.push_back(Event::Room);
        }
    }

    /// Opens the request whose header is in `scratch`.
    fn begin_exchange(
        &mut self,
        now: Instant,
        id: u64,
        options: &RequestOptions,
        is_subscribe: bool,
    ) -> Result<SendId, SendError> {
        let send = match self.connection.open_text(now, &self.scratch, false) {
            Err(SendError::MsgnoExhausted) => {
                self.exhausted(now);
                return Err(SendError::MsgnoExhausted);
            }
            opened => opened?,
        };
        self.next_request = id + 1;
        self.leaving = Some(send);
        let deadline = now + options.timeout.unwrap_or(self.config.timeout);
        self.deadlines.insert((deadline, id), ());
        let exchange = Exchange {
            send,
            deadline: Some(deadline),
            covers_body: options.timeout_covers_body,
            keep_sending: options.keep_sending,
            heard: self.connection.stats().octets_in,
            reply: None,
            is_subscribe,
            is_answered: false,
        };
        self.exchanges.insert(id, exchange);
        Ok(send)
    }

    /// Acts on the deadlines that have passed.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(exchange) = self.exchanges.get_mut(&id) {
                exchange.deadline = None;
                // A peer from which nothing at all was heard is not asked again (S-22).
                if exchange.heard == self.connection.stats().octets_in {
                    self.draining = true;
                }
            }
            self.give_up(now, id, ExchangeError::Timeout(id), BodyError::Timeout);
        }
    }

    fn give_up(&mut self, now: Instant, id: u64, error: ExchangeError, body_error: BodyError) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let send = exchange.send;
        match exchange.reply {
            None => {
                self.end_exchange(id);
                self.discarded.insert(id);
                if self.discarded.len() > DISCARD_SET {
                    self.draining = true;
                }
                self.events.push_back(Event::Failed {
                    id: ExchangeId(id),
                    error,
                });
            }
            Some(reply) => {
                self.unset_deadline(id);
                self.connection.fail_message(now, reply, body_error);
            }
        }
        // An ended or lost body needs no stopping.
        let _ = self.connection.abort(now, send, "cancelled");
    }

    /// Forgets an exchange and its deadline.
    pub(super) fn end_exchange(&mut self, id: u64) {
        self.unset_deadline(id);
        if let Some(exchange) = self.exchanges.remove(&id) {
            if let Some(reply) = exchange.reply {
                self.replies.remove(&reply);
            }
        }
    }

    fn unset_deadline(&mut self, id: u64) {
        if let Some(at) = self
            .exchanges
            .get_mut(&id)
            .and_then(|exchange| exchange.deadline.take())
        {
            self.deadlines.remove(&(at, id));
        }
    }

    /// The reply to a request has begun.
    pub(super) fn begin_reply(&mut self, id: u64, body: RecvId, ends_in_lf: bool) {
        if ends_in_lf && self.config.serialize == Serialize::Auto {
            self.serialized = true;
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.reply = Some(body);
        let covers_body = exchange.covers_body;
        self.replies.insert(body, id);
        if !covers_body {
            self.unset_deadline(id);
        }
    }

    /// The peer has ended a reply: an unfinished request body is of no use any more (S-13).
    pub(super) fn reply_ended(&mut self, now: Instant, body: RecvId) {
        if let Some(id) = self.replies.get(&body).copied() {
            self.unset_deadline(id);
            self.stop_request(now, id, "reply already complete");
        }
    }

    /// Ends the body of a request that is of no use any more, unless it is wanted all the same.
    fn stop_request(&mut self, now: Instant, id: u64, text: &str) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let send = exchange.send;
        if !exchange.keep_sending && self.connection.is_writable(send) {
            // It is open, so it can be stopped.
            let _ = self.connection.abort(now, send, text);
        }
    }

    /// A reply whose body has been read to its end, or dropped, is the end of its exchange.
    pub(super) fn after_read(&mut self, now: Instant, body: RecvId, more: bool) {
        if more {
            return;
        }
        if let Some(id) = self.replies.get(&body).copied() {
            // A reply that is dropped before its end stops the request, too.
            self.stop_request(now, id, "cancelled");
            self.end_exchange(id);
        }
        self.settle(now);
    }

    /// A subscription was answered.
    pub(super) fn subscribed(&mut self, now: Instant, id: u64, accepted: bool) {
        if self
            .exchanges
            .get(&id)
            .is_some_and(|exchange| exchange.is_subscribe)
        {
            self.end_exchange(id);
            if accepted && !self.subscribed {
                self.subscribed = true;
                self.connection.set_heartbeat(now, Some(HEARTBEAT));
            }
            self.events.push_back(Event::Subscribed {
                id: ExchangeId(id),
                accepted,
            });
        }
    }

    /// No reply can come any more: what has none fails (S-30).
    pub(super) fn lose_exchanges(&mut self, reason: &CloseReason) {
        let waiting = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.reply.is_none());
        let waiting: alloc::vec::Vec<(u64, Phase)> = waiting
            .map(|(id, exchange)| {
                let phase = self.lost.get(&exchange.send).copied().unwrap_or(
                    match self.connection.is_begun(exchange.send) {
                        // Its HEADER may still leave, before it is stopped.
                        Some(_) => Phase::Sending,
                        None => Phase::Waiting,
                    },
                );
                (id, phase)
            })
            .collect();
        for (id, phase) in waiting {
            self.end_exchange(id);
            let reason = reason.clone();
            let error = match self.established {
                false => ExchangeError::NotEstablished(reason),
                true => ExchangeError::ConnectionLost { phase, reason },
            };
            self.events.push_back(Event::Failed {
                id: ExchangeId(id),
                error,
            });
        }
    }
}
