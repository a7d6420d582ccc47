//! Where the requests of one connection are taken in.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use bytes::Bytes;

use super::Actions;
use crate::Instant;
use crate::error::BodyError;
use crate::limits::REQUESTS_PER_CONNECTION;
use crate::session::{Event, RecvId, ServeId, Session};
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
    active: BTreeSet<ServeId>,
    max_active: usize,
}

impl Default for Desk {
    /// A desk with the limit of hardening 4.2: 512 requests in handlers.
    fn default() -> Self {
        Self::new(REQUESTS_PER_CONNECTION)
    }
}

impl Desk {
    /// A desk that lets `max_active` requests into handlers at once.
    pub fn new(max_active: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            active: BTreeSet::new(),
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
                let found = actions.find(
                    &header.action().unwrap_or_default(),
                    header.version(),
                    &header.envelope(),
                );
                match found {
                    Err(error) => refuse(now, session, id, body, error),
                    Ok((action, handler)) if action.is_streaming() => {
                        match self.admit(id, may_start) {
                            true => Step::Start(Job {
                                id,
                                header,
                                body: JobBody::Stream(body),
                                handler,
                            }),
                            false => refuse(now, session, id, body, overloaded()),
                        }
                    }
                    Ok((action, handler)) => {
                        session.collect(now, body, action.body_limit());
                        match session.is_readable(body) {
                            true => {
                                self.begin(now, session, (id, header), body, handler, may_start)
                            }
                            false => {
                                self.waiting.insert(body, (id, header));
                                Step::Done
                            }
                        }
                    }
                }
            }
            Event::Readable(body) if self.waiting.contains_key(&body) => {
                self.collected(now, session, actions, body, may_start)
            }
            Event::Ended(body) if self.waiting.contains_key(&body) => Step::Done,
            Event::Cancelled(id) => {
                self.waiting.retain(|_, (waiting, _)| *waiting != id);
                match self.active.contains(&id) {
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
        self.active.remove(&id)
    }

    /// Requests in handlers.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Starts a request that waited for the end of its body, if that has come.
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
        let found = actions.find(
            &header.action().unwrap_or_default(),
            header.version(),
            &header.envelope(),
        );
        match found {
            Err(error) => refuse(now, session, id, body, error),
            Ok((_, handler)) => self.begin(now, session, (id, header), body, handler, may_start),
        }
    }

    /// Starts a request whose body has come to its end.
    fn begin<'a, H>(
        &mut self,
        now: Instant,
        session: &mut Session,
        (id, header): (ServeId, Header),
        body: RecvId,
        handler: &'a H,
        may_start: impl FnOnce() -> bool,
    ) -> Step<'a, H> {
        match session.take_whole(now, body) {
            Ok(whole) => match self.admit(id, may_start) {
                true => Step::Start(Job {
                    id,
                    header,
                    body: JobBody::Whole(whole),
                    handler,
                }),
                false => refuse(now, session, id, body, overloaded()),
            },
            Err(error) => match fault(&error) {
                Some(error) => refuse(now, session, id, body, error),
                None => Step::Done,
            },
        }
    }

    fn admit(&mut self, id: ServeId, may_start: impl FnOnce() -> bool) -> bool {
        let admitted = self.active.len() < self.max_active && may_start();
        if admitted {
            self.active.insert(id);
        }
        admitted
    }
}

fn overloaded() -> RemoteError {
    RemoteError::refusal("overloaded", "Too many requests")
}

fn refuse<'a, H>(
    now: Instant,
    session: &mut Session,
    id: ServeId,
    body: RecvId,
    error: RemoteError,
) -> Step<'a, H> {
    // It fails only if there is nobody left to tell.
    let _ = session.refuse(now, id, body, error);
    Step::Done
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
