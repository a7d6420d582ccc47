//! Requests of the peer's, each with exactly one reply.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::event::{Event, ServeId};
use super::subscription::{Board, Change, event_body};
use super::{RecvId, SendId, Session};
use crate::Instant;
use crate::error::SendError;
use crate::note::What;
use crate::wire::{RemoteError, ReplyHead, RequestId, write_plain};

#[derive(Debug)]
pub(super) struct Serving {
    /// The id to echo.
    pub(super) request_id: RequestId,
    /// The reply, once it has begun.
    pub(super) reply: Option<SendId>,
    /// The topics, if it is a subscribe.
    pub(super) topics: Option<Vec<String>>,
    /// How long its reply may take, once it is complete (S-20).
    limit: Option<Duration>,
    /// When that is over.
    due: Option<Instant>,
}

impl Session {
    /// Begins the reply to a request; returns its body to write.
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if the request has its reply or its connection is gone;
    /// [`SendError::BadField`] for extras that are none; [`SendError::HeaderTooLarge`].
    pub fn reply(
        &mut self,
        now: Instant,
        id: ServeId,
        head: &ReplyHead<'_>,
    ) -> Result<SendId, SendError> {
        self.begin_reply_to(now, id, head, false)
    }

    fn begin_reply_to(
        &mut self,
        now: Instant,
        id: ServeId,
        head: &ReplyHead<'_>,
        is_answer: bool,
    ) -> Result<SendId, SendError> {
        let serving = self.serving.get_mut(&id.0).ok_or(SendError::NotOpen)?;
        if serving.reply.is_some() || serving.topics.is_some() {
            return Err(SendError::NotOpen);
        }
        self.scratch.clear();
        head.write(&serving.request_id, &mut self.scratch)?;
        let send = match self.connection.open_text(now, &self.scratch, is_answer) {
            Err(SendError::MsgnoExhausted) => {
                // It cannot be answered on this connection, which ends when the rest is done (W-5).
                self.end_serving(id.0);
                self.exhausted(now);
                return Err(SendError::MsgnoExhausted);
            }
            opened => opened?,
        };
        serving.reply = Some(send);
        self.answers.insert(send, id.0);
        self.settle(now);
        Ok(send)
    }

    /// Answers a request with an error and no body (H-12).
    ///
    /// An error that cannot be sent as it is, is sent without its data and cut short.
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if the request has its reply or its connection is gone.
    pub fn reply_error(
        &mut self,
        now: Instant,
        id: ServeId,
        error: RemoteError,
    ) -> Result<(), SendError> {
        let plain = RemoteError {
            code: error.code.chars().take(64).collect(),
            text: error.text.chars().take(4096).collect(),
            data: None,
        };
        let head = ReplyHead {
            error: Some(error),
            ..ReplyHead::default()
        };
        let send = match self.begin_reply_to(now, id, &head, true) {
            Err(SendError::BadField(_) | SendError::HeaderTooLarge(_)) => self.reply(
                now,
                id,
                &ReplyHead {
                    error: Some(plain),
                    ..ReplyHead::default()
                },
            ),
            sent => sent,
        }?;
        self.finish(now, send)
    }

    /// Ends a request whose reply has not ended within `limit` of the request's own end (S-20).
    ///
    /// Then a request without a reply is answered `general`, a reply that has begun ends with TXERR,
    /// and [`Event::Cancelled`] tells whoever serves it. A request whose reply has left, or whose
    /// connection is gone, has no limit.
    pub fn limit_serving(&mut self, now: Instant, id: ServeId, body: RecvId, limit: Duration) {
        let Some(serving) = self.serving.get_mut(&id.0) else {
            return;
        };
        serving.limit = Some(limit);
        match self.connection.is_arriving(body) {
            true => {
                self.arriving.insert(body, id.0);
            }
            false => self.set_due(now, id.0),
        }
    }

    /// The peer has ended a body: if it is a request's, the time for its reply runs.
    pub(super) fn request_ended(&mut self, now: Instant, body: RecvId) {
        if let Some(id) = self.arriving.remove(&body) {
            self.set_due(now, id);
        }
    }

    fn set_due(&mut self, now: Instant, id: u64) {
        let Some(serving) = self.serving.get_mut(&id) else {
            return;
        };
        if let Some(limit) = serving.limit {
            let due = now + limit;
            serving.due = Some(due);
            self.due.insert((due, id));
        }
    }

    /// Ends the requests whose time is up.
    pub(super) fn expire_serving(&mut self, now: Instant) {
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.due.pop_first();
            let Some(serving) = self.serving.get_mut(&id) else {
                continue;
            };
            serving.due = None;
            let limit = serving.limit.unwrap_or_default();
            let text = format!("handler took longer than {} s", limit.as_secs_f64());
            self.connection.note(What::HandlerTimeout(limit));
            match serving.reply {
                None => {
                    let error = RemoteError::new("general", text);
                    // It fails only if there is nobody left to tell.
                    let _ = self.reply_error(now, ServeId(id), error);
                }
                Some(send) => {
                    if self.fail(now, send, &text).is_ok() {
                        self.trailing.retain(|(trailing, _)| *trailing != send);
                        self.events.push_back(Event::Lost(send));
                    }
                }
            }
            self.events.push_back(Event::Cancelled(ServeId(id)));
        }
    }

    /// Forgets a request that is answered, or will not be.
    fn end_serving(&mut self, id: u64) {
        if let Some(serving) = self.serving.remove(&id) {
            if let Some(due) = serving.due {
                self.due.remove(&(due, id));
            }
        }
    }

    /// Answers with an error a request that nothing was started for, drops its body, and says so in
    /// a note (V-6, R-17).
    ///
    /// # Errors
    ///
    /// As [`reply_error`](Self::reply_error).
    pub fn refuse(
        &mut self,
        now: Instant,
        id: ServeId,
        body: RecvId,
        error: RemoteError,
    ) -> Result<(), SendError> {
        let text = error.text.chars().take(128).collect();
        self.connection.note(What::RequestRefused(text));
        self.discard(now, body);
        self.reply_error(now, id, error)
    }

    /// Answers a request with this body, all of it; what does not fit at once follows by itself.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn answer(&mut self, now: Instant, id: ServeId, mut body: Bytes) -> Result<(), SendError> {
        let send = self.begin_reply_to(now, id, &ReplyHead::default(), true)?;
        self.connection.write(now, send, &mut body)?;
        match body.is_empty() {
            true => self.finish(now, send),
            false => {
                self.trailing.push((send, body));
                Ok(())
            }
        }
    }

    /// Tells the application something that is worth a line in a log.
    #[cfg(feature = "auth")]
    pub(crate) fn note(&mut self, what: What) {
        self.connection.note(what);
    }

    /// Answers a request that nobody answered: its handler is gone (S-19).
    ///
    /// A reply that has begun ends with TXERR. A request that has its whole reply is left alone.
    pub fn abandon(&mut self, now: Instant, id: ServeId) {
        match self.serving.get(&id.0).map(|serving| serving.reply) {
            None => {}
            Some(Some(send)) => self.drop_body(now, send),
            Some(None) => {
                let error = RemoteError::new("general", "handler ended without a reply");
                // It fails only if there is nobody left to tell.
                let _ = self.reply_error(now, id, error);
            }
        }
    }

    /// Answers a subscribe with everything `board` holds of its topics; changes follow (S-40).
    ///
    /// # Errors
    ///
    /// [`SendError::NotOpen`] if it has its answer or its connection is gone.
    pub fn welcome(&mut self, now: Instant, id: ServeId, board: &Board) -> Result<(), SendError> {
        let serving = self.serving.get_mut(&id.0).ok_or(SendError::NotOpen)?;
        let topics = serving.topics.take().ok_or(SendError::NotOpen)?;
        let request_id = serving.request_id;
        self.serving.remove(&id.0);
        self.send_whole(now, "event", None, event_body(board.records(&topics)))?;
        self.send_whole(
            now,
            "subscribe_done",
            Some(&request_id),
            Vec::from(*b"true"),
        )?;
        self.pending.clear();
        self.subscriber = Some(topics);
        self.settle(now);
        Ok(())
    }

    /// Tells the peer of a change, if it subscribes to the topic (S-41).
    ///
    /// While much is queued, changes of one key are told as one (S-42).
    pub fn publish(&mut self, now: Instant, change: &Change) {
        if self
            .subscriber
            .as_ref()
            .is_some_and(|topics| topics.contains(&change.code))
        {
            self.pending.push(change);
            self.settle(now);
        }
    }

    /// Sends the changes that wait, as far as there is room.
    pub(super) fn tell_subscriber(&mut self, now: Instant) {
        let room = self.config.connection.max_queued / 4;
        while self.subscriber.is_some()
            && self.connection.is_open()
            && self.connection.queued() < room
        {
            let Some(change) = self.pending.pop() else {
                break;
            };
            let record = (
                change.code.as_str(),
                change.key.as_str(),
                change.value.as_str(),
            );
            let body = event_body(core::iter::once(record));
            if self.send_whole(now, "event", None, body).is_err() {
                break;
            }
        }
    }

    /// A message of our own making, with its whole body.
    pub(super) fn send_whole(
        &mut self,
        now: Instant,
        kind: &str,
        id: Option<&RequestId>,
        body: Vec<u8>,
    ) -> Result<(), SendError> {
        self.scratch.clear();
        match id {
            Some(id) => write_done(id, &mut self.scratch),
            None => write_plain(kind, None, &[], &mut self.scratch)?,
        }
        let send = self
            .connection
            .open_text(now, &self.scratch, id.is_some())?;
        let mut body = Bytes::from(body);
        self.connection.write(now, send, &mut body)?;
        if body.is_empty() {
            return self.connection.finish(now, send);
        }
        // Larger than what may be queued at once: it follows as there is room.
        self.trailing.push((send, body));
        Ok(())
    }

    /// Goes on with bodies of ours that did not fit at once.
    pub(super) fn feed_trailing(&mut self, now: Instant, id: SendId) {
        let Some(at) = self.trailing.iter().position(|(send, _)| *send == id) else {
            return;
        };
        let Some((send, body)) = self.trailing.get_mut(at) else {
            return;
        };
        let ended = match self.connection.write(now, *send, body) {
            Ok(_) if body.is_empty() => {
                let finished = self.connection.finish(now, id).is_ok();
                self.answered(id);
                finished
            }
            Ok(_) => false,
            Err(_) => true,
        };
        if ended {
            self.trailing.swap_remove(at);
        }
    }

    /// A reply has left our hands, and with it the request.
    pub(super) fn answered(&mut self, send: SendId) {
        if let Some(id) = self.answers.remove(&send) {
            self.end_serving(id);
        }
    }

    pub(super) fn begin_serving(
        &mut self,
        request_id: RequestId,
        topics: Option<Vec<String>>,
    ) -> ServeId {
        let id = self.next_serve;
        self.next_serve += 1;
        self.serving.insert(
            id,
            Serving {
                request_id,
                reply: None,
                topics,
                limit: None,
                due: None,
            },
        );
        ServeId(id)
    }

    /// Answers with an error what is not passed on, and drops its body (V-6).
    pub(super) fn refuse_at_once(
        &mut self,
        now: Instant,
        request_id: RequestId,
        body: RecvId,
        error: RemoteError,
    ) {
        let id = self.begin_serving(request_id, None);
        if self.refuse(now, id, body, error).is_err() {
            self.serving.remove(&id.0);
        }
    }

    /// The peer is gone: nobody waits for answers any more (S-31).
    pub(super) fn lose_serving(&mut self) {
        for (id, _) in self.serving.take_all() {
            self.events.push_back(Event::Cancelled(ServeId(id)));
        }
        drop(self.answers.take_all());
        self.arriving.clear();
        self.due.clear();
        self.subscriber = None;
        self.pending.clear();
        self.trailing.clear();
    }
}

/// The header of an answer to a subscribe (E-11).
fn write_done(id: &RequestId, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"request_id\":");
    out.extend_from_slice(id.as_json().as_bytes());
    out.extend_from_slice(b",\"type\":\"subscribe_done\"}");
}
