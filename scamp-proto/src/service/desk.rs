//! Where the requests of one connection are taken in.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::Actions;
use crate::Instant;
use crate::error::BodyError;
use crate::limits::REQUESTS_PER_CONNECTION;
use crate::session::{Event, Read, RecvId, ServeId, Session};
use crate::wire::{Header, RemoteError};

/// A request that may be started.
#[derive(Debug)]
pub struct Job<'a, H> {
    /// The request, to answer it by. Tell [`Desk::finished`] when its handler has ended.
    pub id: ServeId,
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: JobBody,
    /// What serves it.
    pub handler: &'a H,
}

/// The body of a request, as its action wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JobBody {
    /// All of it.
    Whole(Bytes),
    /// A handle to read it by, to its end, or to discard it.
    Stream(RecvId),
}

/// What an event leads to.
#[derive(Debug)]
pub enum Step<'a, H> {
    /// A request may be started.
    Start(Job<'a, H>),
    /// A request's connection is gone; its handler may stop.
    Cancel(ServeId),
    /// The event is not about requests.
    Other(Event),
    /// Nothing is left to do.
    Done,
}

/// Takes in the requests of one connection, in the order of V-6.
#[derive(Debug)]
pub struct Desk {
    /// Requests whose body is being collected.
    waiting: BTreeMap<RecvId, (ServeId, Header)>,
    /// Requests in handlers.
    active: BTreeMap<ServeId, ()>,
    max_active: usize,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(REQUESTS_PER_CONNECTION)
    }
}

impl Desk {
    /// A desk that lets `max_active` requests into handlers at once.
    pub fn new(max_active: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            active: BTreeMap::new(),
            max_active,
        }
    }

    /// Takes an event of the session.
    ///
    /// `may_start` is asked before a request is started, and counts it if it says yes: it holds the
    /// service's own limit (V-10). A request over a limit is answered `overloaded`, as certainly
    /// not processed (V-9).
    pub fn handle<'a, H>(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &'a Actions<H>,
        event: Event,
        may_start: impl FnOnce() -> bool,
    ) -> Step<'a, H> {
        match event {
            Event::Request { id, header, body } => {
                let name = header.action().unwrap_or_default();
                let action = match actions.find(&name, header.version(), &header.envelope()) {
                    Ok((action, _)) => action,
                    Err(error) => {
                        drop(name);
                        return refuse(now, session, id, Some(body), error);
                    }
                };
                if action.is_streaming() {
                    drop(name);
                    return self.start(
                        now,
                        session,
                        actions,
                        (id, header),
                        JobBody::Stream(body),
                        may_start,
                    );
                }
                session.collect(now, body, action.body_limit());
                drop(name);
                self.waiting.insert(body, (id, header));
                self.collected(now, session, actions, body, may_start)
            }
            Event::Readable(body) if self.waiting.contains_key(&body) => {
                self.collected(now, session, actions, body, may_start)
            }
            Event::Ended(body) if self.waiting.contains_key(&body) => Step::Done,
            Event::Cancelled(id) => {
                self.waiting.retain(|_, (waiting, _)| *waiting != id);
                match self.active.contains_key(&id) {
                    true => Step::Cancel(id),
                    false => Step::Done,
                }
            }
            event => Step::Other(event),
        }
    }

    /// Notes that a request's handler has ended; the request is answered if it was not (S-19).
    ///
    /// Returns whether it was in a handler, so that the caller's own count follows.
    pub fn finished(&mut self, now: Instant, session: &mut Session, id: ServeId) -> bool {
        session.abandon(now, id);
        self.active.remove(&id).is_some()
    }

    /// Requests in handlers.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Starts a request whose body has come to its end.
    fn collected<'a, H>(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &'a Actions<H>,
        body: RecvId,
        may_start: impl FnOnce() -> bool,
    ) -> Step<'a, H> {
        if !session.is_readable(body) {
            return Step::Done;
        }
        let Some((id, header)) = self.waiting.remove(&body) else {
            return Step::Done;
        };
        match take_body(now, session, body) {
            Ok(whole) => self.start(
                now,
                session,
                actions,
                (id, header),
                JobBody::Whole(whole),
                may_start,
            ),
            Err(error) => match fault(&error) {
                Some(error) => refuse(now, session, id, None, error),
                None => Step::Done,
            },
        }
    }

    fn start<'a, H>(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &'a Actions<H>,
        (id, header): (ServeId, Header),
        body: JobBody,
        may_start: impl FnOnce() -> bool,
    ) -> Step<'a, H> {
        let stream = match &body {
            JobBody::Stream(stream) => Some(*stream),
            JobBody::Whole(_) => None,
        };
        if self.active.len() >= self.max_active || !may_start() {
            let error = RemoteError::refusal("overloaded", "Too many requests");
            return refuse(now, session, id, stream, error);
        }
        let name = header.action().unwrap_or_default();
        let found = actions.find(&name, header.version(), &header.envelope());
        drop(name);
        match found {
            Ok((_, handler)) => {
                self.active.insert(id, ());
                Step::Start(Job {
                    id,
                    header,
                    body,
                    handler,
                })
            }
            Err(error) => refuse(now, session, id, stream, error),
        }
    }
}

/// Answers a request with an error, and drops what it still brings.
fn refuse<'a, H>(
    now: Instant,
    session: &mut Session,
    id: ServeId,
    body: Option<RecvId>,
    error: RemoteError,
) -> Step<'a, H> {
    if let Some(body) = body {
        session.discard(now, body);
    }
    // It fails only if there is nobody left to tell.
    let _ = session.reply_error(now, id, error);
    Step::Done
}

fn take_body(now: Instant, session: &mut Session, body: RecvId) -> Result<Bytes, BodyError> {
    let mut pieces = Vec::new();
    loop {
        match session.read(now, body) {
            Read::Data(piece) => pieces.push(piece),
            Read::End => break,
            Read::Failed(error) => return Err(error),
            Read::Pending | Read::Gone => return Err(BodyError::ConnectionLost),
        }
    }
    Ok(match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.pop().unwrap_or_default(),
        _ => {
            let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in pieces {
                whole.extend_from_slice(&piece);
            }
            whole.freeze()
        }
    })
}

/// What a request is answered whose body did not arrive; `None` if there is nobody to answer.
fn fault(error: &BodyError) -> Option<RemoteError> {
    Some(match error {
        BodyError::BodyTooLarge(limit) => RemoteError::new(
            "bad_request",
            format!("request body larger than {limit} octets"),
        ),
        BodyError::Overloaded => RemoteError::refusal("overloaded", "Too much is waiting"),
        BodyError::ConnectionLost => return None,
        BodyError::PeerError(_) | BodyError::Timeout | BodyError::Cancelled => {
            RemoteError::new("transport", format!("Failed to receive request: {error}"))
        }
    })
}
