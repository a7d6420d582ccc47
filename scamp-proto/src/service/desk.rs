//! Where the requests of one connection are taken in.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::ToString;
use core::time::Duration;

use bytes::Bytes;

use super::Actions;
use super::access::{
    Caller, Check, Checked, Guard, Need, Papers, TableAnswer, admit, decide, decide_by_table, need,
    no_table,
};
use super::action::{Action, Server};
use super::builtin::Builtin;
use crate::Instant;
use crate::auth::table::WaiterId;
use crate::error::BodyError;
use crate::limits::{REQUESTS_PER_CONNECTION, RPC_TIMEOUT};
use crate::note::What;
use crate::session::{Event, RecvId, ServeId, Session};
use crate::wire::{Header, RemoteError};

/// What the connections of a service have in common, as far as a [`Desk`] asks for it.
pub trait House {
    /// Counts one more request in a handler, unless that is one too many (V-10).
    fn enter(&self) -> bool;

    /// Counts one request less in a handler.
    fn leave(&self);

    /// Whether [`enter`](Self::enter) would say yes.
    fn has_room(&self) -> bool;

    /// Requests in handlers.
    fn active(&self) -> usize;

    /// The time of day, in seconds after 1970.
    fn unix(&self) -> i64;

    /// Whether the authorization table has a say ([`Guard::is_tabled`]).
    fn is_tabled(&self) -> bool;

    /// Uses the guard, and waits for nothing while it does.
    fn guard<T>(&self, look: impl FnOnce(&mut Guard) -> T) -> T;
}

/// A request that may be started.
#[derive(Debug)]
pub struct Job<H> {
    /// The request, to answer it by. Tell [`Desk::finished`] when its handler has ended.
    pub id: ServeId,
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: JobBody,
    /// Who asks.
    pub caller: Caller,
    /// What serves it.
    pub handler: H,
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
pub enum Step<H> {
    /// A request may be started.
    Start(Job<H>),
    /// Tickets are to be verified, elsewhere than here (HD-76): [`Check::run`], and then
    /// [`Desk::checked`].
    Check(Check),
    /// The authorization table is to be fetched; then let every desk [`resume`](Desk::resume).
    FetchTable,
    /// A request's connection is gone, or its time is up (S-20); its handler may stop.
    Cancel(ServeId),
    /// The event is not about requests.
    Other(Event),
    /// Nothing is left to do.
    Done,
}

/// Takes in the requests of one connection, in the order of V-6.
#[derive(Debug)]
pub struct Desk<H> {
    /// Requests about which it is not decided yet whether they may be served.
    deciding: BTreeMap<ServeId, Deciding>,
    /// Their bodies.
    unread: BTreeMap<RecvId, ServeId>,
    /// When those who wait for the table have waited long enough.
    deadlines: BTreeSet<(Instant, ServeId)>,
    /// Those of them to be looked at again.
    awake: VecDeque<ServeId>,
    /// Requests whose body is being collected.
    waiting: BTreeMap<RecvId, Waiting<H>>,
    /// Requests in handlers.
    active: BTreeSet<ServeId>,
    max_active: usize,
    /// How long a handler may take whose action does not say (S-20).
    handler_timeout: Option<Duration>,
}

#[derive(Debug)]
struct Deciding {
    header: Header,
    body: RecvId,
    stage: Stage,
}

/// ```text
/// request ──tickets unknown──> Checking ──checked()──> allowed, or refused
///    │                            │ needs the table        ^
///    └──needs the table───────────┴──> Table ──resume()────┘
/// ```
#[derive(Debug)]
enum Stage {
    Checking,
    Table {
        papers: Papers,
        waiter: WaiterId,
        until: Instant,
    },
}

#[derive(Debug)]
struct Waiting<H> {
    id: ServeId,
    header: Header,
    caller: Caller,
    /// What serves it: the action of that name when it was decided about.
    handler: H,
    limit: Option<Duration>,
}

/// A request on its way to a handler.
struct Arrival {
    id: ServeId,
    header: Header,
    body: RecvId,
}

impl<H: Clone> Default for Desk<H> {
    /// A desk with the limit of hardening 4.2: 512 requests in handlers.
    fn default() -> Self {
        Self::new(REQUESTS_PER_CONNECTION)
    }
}

impl<H: Clone> Desk<H> {
    /// A desk that lets `max_active` requests into handlers at once.
    pub fn new(max_active: usize) -> Self {
        Self {
            deciding: BTreeMap::new(),
            unread: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            awake: VecDeque::new(),
            waiting: BTreeMap::new(),
            active: BTreeSet::new(),
            max_active,
            handler_timeout: None,
        }
    }

    /// Limits how long handlers may take whose action has no `tN` (S-20).
    pub fn handler_timeout(self, limit: Option<Duration>) -> Self {
        Self {
            handler_timeout: limit,
            ..self
        }
    }

    /// Takes an event of the session.
    ///
    /// A request is refused, decided about, or started, in the order of V-6. One over a limit is
    /// answered `overloaded`, as certainly not processed (V-9).
    pub fn handle(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &Actions<H>,
        house: &impl House,
        event: Event,
    ) -> Step<H> {
        match event {
            Event::Request { id, header, body } => {
                let arrival = Arrival { id, header, body };
                self.take_in(now, session, actions, house, arrival)
            }
            Event::Readable(body) if self.waiting.contains_key(&body) => {
                self.collected(now, session, house, body)
            }
            // Whoever gets the body looks at what is there first.
            Event::Readable(body) | Event::Ended(body)
                if self.waiting.contains_key(&body) || self.unread.contains_key(&body) =>
            {
                Step::Done
            }
            Event::Cancelled(id) => {
                self.waiting.retain(|_, waiting| waiting.id != id);
                self.give_up(house, id);
                match self.active.contains(&id) {
                    true => Step::Cancel(id),
                    false => Step::Done,
                }
            }
            event => Step::Other(event),
        }
    }

    /// Takes the result of a [`Check`].
    pub fn checked(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &Actions<H>,
        house: &impl House,
        checked: Checked,
    ) -> Step<H> {
        house.leave();
        let Checked { id, papers } = checked;
        house.guard(|guard| guard.keep(&papers));
        let Some(deciding) = self.deciding.remove(&id) else {
            // The peer is gone.
            return Step::Done;
        };
        let Deciding { header, body, .. } = deciding;
        self.unread.remove(&body);
        let arrival = Arrival { id, header, body };
        self.decide(now, session, actions, house, arrival, papers)
    }

    /// The authorization table is there, or failed to come: go on with
    /// [`poll`](Self::poll).
    pub fn resume(&mut self) {
        let waits = |deciding: &Deciding| matches!(deciding.stage, Stage::Table { .. });
        let waiting = self.deciding.iter().filter(|(_, deciding)| waits(deciding));
        self.awake = waiting.map(|(id, _)| *id).collect();
    }

    /// Whether [`poll`](Self::poll) has something to look at.
    pub fn has_awake(&self) -> bool {
        !self.awake.is_empty()
    }

    /// What follows for requests that waited for the table; `None` if nothing does.
    pub fn poll(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &Actions<H>,
        house: &impl House,
    ) -> Option<Step<H>> {
        loop {
            let id = self.awake.pop_front()?;
            let Some(deciding) = self.deciding.remove(&id) else {
                continue;
            };
            let Deciding {
                header,
                body,
                stage,
            } = deciding;
            self.unread.remove(&body);
            let Stage::Table {
                papers,
                waiter,
                until,
            } = stage
            else {
                continue;
            };
            self.deadlines.remove(&(until, id));
            house.guard(|guard| guard.leave_table(waiter));
            if until <= now {
                return Some(refuse(now, session, id, body, no_table()));
            }
            let arrival = Arrival { id, header, body };
            return Some(self.decide(now, session, actions, house, arrival, papers));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) should next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends the waiting of requests that have waited long enough; go on with [`poll`](Self::poll).
    pub fn handle_timeout(&mut self, now: Instant) {
        let over = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        self.awake.extend(over.map(|(_, id)| *id));
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

    /// Whether nothing is being decided, collected or served (R-11).
    pub fn is_empty(&self) -> bool {
        self.deciding.is_empty()
            && self.unread.is_empty()
            && self.deadlines.is_empty()
            && self.waiting.is_empty()
            && self.active.is_empty()
    }

    fn take_in(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &Actions<H>,
        house: &impl House,
        arrival: Arrival,
    ) -> Step<H> {
        let Arrival { id, header, body } = &arrival;
        if self.active.len() >= self.max_active || !house.has_room() {
            return refuse(now, session, *id, *body, overloaded());
        }
        let (action, server) = match find(actions, header) {
            Ok(found) => found,
            Err(error) => return refuse(now, session, *id, *body, error),
        };
        if let Server::Builtin(builtin) = server {
            return answer(now, session, actions, house, *builtin, *id, *body);
        }
        let needed = need(action, house.is_tabled(), actions.default_access());
        // What is refused in any case, or needs nothing and shows nothing, is decided without a look.
        let shows = header.ticket().is_some() || header.identifying_token().is_some();
        if !shows || needed == Need::Refused {
            return self.decide(now, session, actions, house, arrival, Papers::none());
        }
        let unix = house.unix();
        match house.guard(|guard| guard.present(*id, header, unix)) {
            Ok(papers) => self.decide(now, session, actions, house, arrival, papers),
            Err(check) if house.enter() => {
                let Arrival { id, header, body } = arrival;
                self.unread.insert(body, id);
                let stage = Stage::Checking;
                let deciding = Deciding {
                    header,
                    body,
                    stage,
                };
                self.deciding.insert(id, deciding);
                Step::Check(check)
            }
            Err(_) => refuse(now, session, *id, *body, overloaded()),
        }
    }

    /// Decides about a request whose tickets are judged (T-9), and lets it go on.
    fn decide(
        &mut self,
        now: Instant,
        session: &mut Session,
        actions: &Actions<H>,
        house: &impl House,
        arrival: Arrival,
        papers: Papers,
    ) -> Step<H> {
        let Arrival { id, header, body } = arrival;
        if let Some(error) = papers.worthless() {
            session.note(What::BadTicket(error.to_string()));
        }
        let (action, server) = match find(actions, &header) {
            Ok(found) => found,
            Err(error) => return refuse(now, session, id, body, error),
        };
        let needed = need(action, house.is_tabled(), actions.default_access());
        let mut decision = decide(needed, action, &papers);
        if decision.is_ok() && needed == Need::TicketAndTable {
            let until = now + RPC_TIMEOUT;
            match house.guard(|guard| guard.ask_table(now, until)) {
                TableAnswer::Ready(table) => decision = decide_by_table(&table, action, &papers),
                TableAnswer::Unavailable => decision = Err(no_table()),
                TableAnswer::Waiting(waiter) => {
                    self.unread.insert(body, id);
                    self.deadlines.insert((until, id));
                    let stage = Stage::Table {
                        papers,
                        waiter,
                        until,
                    };
                    let deciding = Deciding {
                        header,
                        body,
                        stage,
                    };
                    self.deciding.insert(id, deciding);
                    return match house.guard(Guard::poll_fetch) {
                        true => Step::FetchTable,
                        false => Step::Done,
                    };
                }
            }
        }
        if let Err(error) = decision {
            return refuse(now, session, id, body, error);
        }
        let caller = admit(papers, &header);
        match server {
            Server::Builtin(builtin) => answer(now, session, actions, house, *builtin, id, body),
            Server::Handler(handler) => {
                let limit = action.time_limit().or(self.handler_timeout);
                let waiting = Waiting {
                    id,
                    header,
                    caller,
                    handler: handler.clone(),
                    limit,
                };
                if action.is_streaming() {
                    return self.start(now, session, house, waiting, body, None);
                }
                session.collect(now, body, action.body_limit());
                if session.is_readable(body) {
                    return self.begin(now, session, house, waiting, body);
                }
                self.waiting.insert(body, waiting);
                Step::Done
            }
        }
    }

    /// Starts a request that waited for the end of its body, if that has come.
    fn collected(
        &mut self,
        now: Instant,
        session: &mut Session,
        house: &impl House,
        body: RecvId,
    ) -> Step<H> {
        if !session.is_readable(body) {
            return Step::Done;
        }
        match self.waiting.remove(&body) {
            Some(waiting) => self.begin(now, session, house, waiting, body),
            None => Step::Done,
        }
    }

    /// Starts a request whose body has come to its end.
    fn begin(
        &mut self,
        now: Instant,
        session: &mut Session,
        house: &impl House,
        waiting: Waiting<H>,
        body: RecvId,
    ) -> Step<H> {
        match session.take_whole(now, body) {
            Ok(whole) => self.start(now, session, house, waiting, body, Some(whole)),
            Err(error) => match fault(&error) {
                Some(error) => refuse(now, session, waiting.id, body, error),
                None => Step::Done,
            },
        }
    }

    /// Starts a request, with its whole body or with one that streams.
    fn start(
        &mut self,
        now: Instant,
        session: &mut Session,
        house: &impl House,
        waiting: Waiting<H>,
        body: RecvId,
        whole: Option<Bytes>,
    ) -> Step<H> {
        let Waiting {
            id,
            header,
            caller,
            handler,
            limit,
        } = waiting;
        if !self.admit(id, house) {
            return refuse(now, session, id, body, overloaded());
        }
        if let Some(limit) = limit {
            session.limit_serving(now, id, body, limit);
        }
        let body = match whole {
            Some(whole) => JobBody::Whole(whole),
            None => JobBody::Stream(body),
        };
        Step::Start(Job {
            id,
            header,
            body,
            caller,
            handler,
        })
    }

    fn admit(&mut self, id: ServeId, house: &impl House) -> bool {
        let admitted = self.active.len() < self.max_active && house.enter();
        if admitted {
            self.active.insert(id);
        }
        admitted
    }

    /// Forgets a request whose peer is gone, if it was not decided about.
    fn give_up(&mut self, house: &impl House, id: ServeId) {
        let Some(deciding) = self.deciding.remove(&id) else {
            return;
        };
        self.unread.remove(&deciding.body);
        if let Stage::Table { waiter, until, .. } = deciding.stage {
            self.deadlines.remove(&(until, id));
            house.guard(|guard| guard.leave_table(waiter));
        }
    }
}

fn find<'a, H>(
    actions: &'a Actions<H>,
    header: &Header,
) -> Result<(&'a Action, &'a Server<H>), RemoteError> {
    actions.find(
        &header.action().unwrap_or_default(),
        header.version(),
        &header.envelope(),
    )
}

fn answer<H>(
    now: Instant,
    session: &mut Session,
    actions: &Actions<H>,
    house: &impl House,
    builtin: Builtin,
    id: ServeId,
    body: RecvId,
) -> Step<H> {
    session.discard(now, body);
    let reply = builtin.answer(actions, house.active());
    // It fails only if there is nobody left to tell.
    let _ = session.answer(now, id, reply.into());
    Step::Done
}

fn overloaded() -> RemoteError {
    RemoteError::refusal("overloaded", "Too many requests")
}

fn refuse<H>(
    now: Instant,
    session: &mut Session,
    id: ServeId,
    body: RecvId,
    error: RemoteError,
) -> Step<H> {
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
