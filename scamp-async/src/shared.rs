//! One machine, its users, and the lock between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use scamp_proto::error::Loss;
use scamp_proto::note::{Newest, Note};
use scamp_proto::service::{Caller, Check, Checked, Desk, House, JobBody, Occurrence, Step};
use scamp_proto::session::{Event, ExchangeId, RecvId, SendId, ServeId};
use scamp_proto::{CallError, CloseReason, Duplex, End, Header, Instant, SendError, Session};

use scamp_tls::Channel;

use crate::office::{Handler, Office};
use crate::subscription::Inbox;
use crate::wakers::{Queue, Wakers};

/// One end of one connection, shared by its task and its handles.
///
/// The lock is held for one command at a time and never while anything is waited for, any code of
/// the user's runs, or a task is woken. Whoever holds it leaves with every event taken and
/// everybody who waits for one called.
///
/// ```text
///  handles ──with()──> State { machine, who waits } <──with()── driver ──> socket
///                                                                  └──tasks──> handlers
/// ```
pub(crate) struct Shared {
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    pub(crate) office: Arc<Office>,
    state: Mutex<State>,
}

/// What the lock guards.
pub(crate) struct State {
    pub(crate) machine: Channel<Session>,
    desk: Desk<Handler>,
    /// What the driver waits for, while it does.
    rest: Option<Rest>,
    /// Whether a command since the driver's last turn may have made output.
    touched: bool,
    /// What the driver is to start.
    pub(crate) tasks: VecDeque<Task>,
    /// Handlers of notifications that run.
    pub(crate) noticing: usize,
    pub(crate) exchanges: BTreeMap<ExchangeId, Exchange>,
    pub(crate) bodies: BTreeMap<RecvId, Reader>,
    pub(crate) writers: BTreeMap<SendId, Waker>,
    feeds: BTreeMap<SendId, Feed>,
    /// Requests in handlers whose connection is gone.
    cancelled: BTreeSet<ServeId>,
    /// Tasks that want to know of it; notifications have no id.
    cancel_waits: BTreeMap<Option<ServeId>, Vec<Waker>>,
    /// Replies that handlers are streaming.
    pub(crate) streams: BTreeMap<ServeId, SendId>,
    pub(crate) room: Queue,
    pub(crate) closers: Queue,
    opener: Option<Waker>,
    pub(crate) inbox: Option<Inbox>,
    /// Serial number of the newest subscription.
    pub(crate) subscriptions: u64,
    peer: Option<SocketAddr>,
    notes: Newest<Note>,
    closed: Option<CloseReason>,
    pub(crate) wakers: Wakers,
}

/// What the driver waits for.
struct Rest {
    waker: Waker,
    alarm: Option<Instant>,
    reading: bool,
}

/// A request of ours, as far as a handle wants to know.
pub(crate) struct Exchange {
    /// Its body, if it is not a subscribe.
    pub(crate) send: Option<SendId>,
    /// The reply's limit, if it is wanted whole.
    pub(crate) collect: Option<usize>,
    pub(crate) progress: Progress,
    pub(crate) waker: Option<Waker>,
}

/// How far a request of ours has come.
pub(crate) enum Progress {
    /// No reply yet.
    Waiting,
    /// The reply has begun and is wanted whole.
    Collecting(Box<Header>, RecvId),
    /// The outcome is there, and nobody has fetched it.
    Done(Box<Outcome>),
}

/// What a request of ours came to.
pub(crate) enum Outcome {
    Reply(Header, RecvId),
    Whole(Header, Bytes),
    Failed(CallError),
    Subscribed(bool),
}

/// A body that somebody reads.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) waker: Option<Waker>,
    /// Whether the peer has ended it, so that reading makes no more ACKs.
    pub(crate) ended: bool,
    /// The exchange that wants it whole.
    whole_for: Option<ExchangeId>,
}

/// A whole body that did not fit at once, and the request it answers.
struct Feed {
    rest: Bytes,
    serve: Option<ServeId>,
}

/// Something the driver is to start, outside the lock.
pub(crate) enum Task {
    Serve {
        id: ServeId,
        header: Header,
        body: JobBody,
        caller: Caller,
        handler: Handler,
    },
    /// Tickets are to be verified.
    Check(Check),
    /// The authorization table is to be fetched.
    FetchTable,
    Notify {
        header: Header,
        body: RecvId,
    },
    Welcome(ServeId),
}

impl Shared {
    pub(crate) fn new(
        machine: Channel<Session>,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
        office: Arc<Office>,
        peer: Option<SocketAddr>,
    ) -> Arc<Self> {
        let desk = Desk::new(office.max_per_connection).handler_timeout(office.handler_timeout);
        let state = State {
            machine,
            desk,
            rest: None,
            touched: false,
            tasks: VecDeque::new(),
            noticing: 0,
            exchanges: BTreeMap::new(),
            bodies: BTreeMap::new(),
            writers: BTreeMap::new(),
            feeds: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            cancel_waits: BTreeMap::new(),
            streams: BTreeMap::new(),
            room: Queue::default(),
            closers: Queue::default(),
            opener: None,
            inbox: None,
            subscriptions: 0,
            peer,
            notes: Newest::default(),
            closed: None,
            wakers: Wakers::default(),
        };
        let state = Mutex::new(state);
        Arc::new(Self {
            clock: Box::new(clock),
            office,
            state,
        })
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// Runs one command, takes what it leads to, and wakes whom it concerns.
    pub(crate) fn with<T>(&self, command: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = (self.clock)();
        let (result, wakers) = {
            let mut state = self.lock();
            let result = command(&mut state, now);
            state.settle(now, &self.office);
            (result, state.wakers.take())
        };
        if let Some(wakers) = wakers {
            wakers.wake();
        }
        result
    }

    /// Looks at the state, or fetches what is there, without a command to the machine.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let (result, wakers) = {
            let mut state = self.lock();
            let result = look(&mut state);
            (result, state.wakers.take())
        };
        if let Some(wakers) = wakers {
            wakers.wake();
        }
        result
    }

    /// Ends the connection from outside: its transport, task or place is gone.
    pub(crate) fn cut(&self, loss: Loss) {
        self.with(|state, now| {
            state.machine.receive_end(now, End::Lost(loss));
            state.touch();
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl State {
    pub(crate) fn session(&mut self) -> &mut Session {
        self.machine.inner_mut()
    }

    /// Notes that there may be output for the driver to fetch.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Takes the notes that were kept.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// Begins a turn of the driver.
    pub(crate) fn begin_turn(&mut self) {
        // This waker is the driver's, which is alive: dropping it here drops no task.
        self.rest = None;
        self.touched = false;
        if self.opener.is_some() && (self.machine.is_established() || self.closed.is_some()) {
            self.wakers.push_from(&mut self.opener);
        }
    }

    /// Lets the driver wait, unless there is something to do after all.
    pub(crate) fn rest(&mut self, alarm: Option<Instant>, cx: &Context<'_>) -> bool {
        if self.touched || !self.tasks.is_empty() {
            return false;
        }
        let reading = self.machine.wants_read();
        self.rest = Some(Rest {
            waker: cx.waker().clone(),
            alarm,
            reading,
        });
        true
    }

    /// Ready when requests can be made, with the reason if they never will.
    pub(crate) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<Result<(), CloseReason>> {
        if let Some(reason) = &self.closed {
            return Poll::Ready(Err(reason.clone()));
        }
        if self.machine.is_established() {
            return Poll::Ready(Ok(()));
        }
        let mut opener = self.opener.take();
        self.wakers.park(&mut opener, cx);
        self.opener = opener;
        Poll::Pending
    }

    /// Sends a whole body; what does not fit at once follows as there is room.
    ///
    /// `serve` is the request it answers: its place in the handlers is free when the body is gone,
    /// so a peer that does not read cannot make many of them wait.
    pub(crate) fn send_whole(
        &mut self,
        now: Instant,
        office: &Office,
        send: SendId,
        mut rest: Bytes,
        serve: Option<ServeId>,
    ) {
        self.touch();
        let session = self.machine.inner_mut();
        let ended = match rest.is_empty() {
            true => true,
            // An error is the end, too: the message is lost or given up.
            false => session.write(now, send, &mut rest).is_err() || rest.is_empty(),
        };
        if !ended {
            self.feeds.insert(send, Feed { rest, serve });
            return;
        }
        // It fails only for a message that has ended already.
        let _ = session.finish(now, send);
        if let Some(id) = serve {
            self.finish_serving(now, office, id);
        }
    }

    /// Stops feeding a body; the message itself has ended.
    fn stop_feed(&mut self, now: Instant, office: &Office, send: SendId) {
        if let Some(Feed {
            serve: Some(id), ..
        }) = self.feeds.remove(&send)
        {
            self.finish_serving(now, office, id);
        }
    }

    /// Notes that a request of the peer's is out of our hands; it is answered if it was not.
    pub(crate) fn finish_serving(&mut self, now: Instant, office: &Office, id: ServeId) {
        if self.desk.finished(now, self.machine.inner_mut(), id) {
            office.house.leave();
        }
        self.cancelled.remove(&id);
        self.streams.remove(&id);
        self.forget_waits(Some(id));
        self.touch();
    }

    /// Notes that the handler of a notification has ended.
    pub(crate) fn finish_noticing(&mut self) {
        self.noticing -= 1;
        if self.noticing == 0 {
            self.forget_waits(None);
        }
    }

    fn forget_waits(&mut self, id: Option<ServeId>) {
        for waker in self.cancel_waits.remove(&id).into_iter().flatten() {
            self.wakers.discard(Some(waker));
        }
    }

    /// Ready when nobody waits for the answer to this request any more.
    pub(crate) fn poll_cancelled(&mut self, id: Option<ServeId>, cx: &Context<'_>) -> Poll<()> {
        if self.closed.is_some() || id.is_some_and(|id| self.cancelled.contains(&id)) {
            return Poll::Ready(());
        }
        let waits = self.cancel_waits.entry(id).or_default();
        if !waits.iter().any(|waker| waker.will_wake(cx.waker())) {
            waits.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ends every reply that has begun (V-12, step 4).
    pub(crate) fn cut_replies(&mut self, now: Instant) {
        let sends: Vec<SendId> = self.streams.values().copied().collect();
        let fed = self.feeds.iter().filter(|(_, feed)| feed.serve.is_some());
        let fed: Vec<SendId> = fed.map(|(send, _)| *send).collect();
        for send in sends.into_iter().chain(fed) {
            // It fails only for a message that has ended already.
            let _ = self.session().fail(now, send, "service shutting down");
            self.feeds.remove(&send);
        }
        self.touch();
    }

    /// Whether nothing is kept for any handle (R-11).
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
            && self.noticing == 0
            && self.desk.is_empty()
            && self.exchanges.is_empty()
            && self.bodies.is_empty()
            && self.writers.is_empty()
            && self.feeds.is_empty()
            && self.cancelled.is_empty()
            && self.cancel_waits.is_empty()
            && self.streams.is_empty()
            && self.room.is_empty()
            && self.closers.is_empty()
            && self.inbox.is_none()
            && self.machine.inner().is_empty()
    }

    /// Tickets have been verified.
    pub(crate) fn checked(&mut self, now: Instant, office: &Office, checked: Checked) {
        let session = self.machine.inner_mut();
        let roster = office.house.roster();
        let step = self
            .desk
            .checked(now, session, &roster.table, &office.house, checked);
        self.follow(now, office, step);
        self.touch();
    }

    /// The authorization table has come, or not.
    pub(crate) fn resume(&mut self) {
        self.desk.resume();
        self.touch();
    }

    /// When something happens by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.machine.poll_timeout(), self.desk.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Acts on the deadlines that have passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
        }
        self.desk.handle_timeout(now);
    }

    /// Takes every event, and wakes the driver if it has something to do.
    fn settle(&mut self, now: Instant, office: &Office) {
        let mut roster = None;
        while let Some(event) = self.machine.inner_mut().poll_event() {
            let table = &roster.get_or_insert_with(|| office.house.roster()).table;
            let session = self.machine.inner_mut();
            let step = self.desk.handle(now, session, table, &office.house, event);
            self.follow(now, office, step);
        }
        while self.desk.has_awake() {
            let table = &roster.get_or_insert_with(|| office.house.roster()).table;
            let session = self.machine.inner_mut();
            let Some(step) = self.desk.poll(now, session, table, &office.house) else {
                break;
            };
            self.follow(now, office, step);
            self.touch();
        }
        let Some(rest) = &self.rest else { return };
        let earlier = match (self.deadline(), rest.alarm) {
            (Some(at), Some(alarm)) => at < alarm,
            (at, None) => at.is_some(),
            (None, Some(_)) => false,
        };
        let reads = self.machine.wants_read() && !rest.reading;
        if self.touched || earlier || reads || !self.tasks.is_empty() {
            if let Some(rest) = self.rest.take() {
                self.wakers.push(rest.waker);
            }
        }
    }

    fn follow(&mut self, now: Instant, office: &Office, step: Step<Handler>) {
        match step {
            Step::Start(job) => {
                if let JobBody::Stream(body) = job.body {
                    self.bodies.insert(body, Reader::default());
                }
                self.tasks.push_back(Task::Serve {
                    id: job.id,
                    header: job.header,
                    body: job.body,
                    caller: job.caller,
                    handler: job.handler,
                });
            }
            Step::Check(check) => self.tasks.push_back(Task::Check(check)),
            Step::FetchTable => self.tasks.push_back(Task::FetchTable),
            Step::Cancel(id) => {
                self.cancelled.insert(id);
                for waker in self.cancel_waits.remove(&Some(id)).into_iter().flatten() {
                    self.wakers.push(waker);
                }
            }
            Step::Other(event) => self.take(now, office, event),
            Step::Done => {}
        }
    }

    fn take(&mut self, now: Instant, office: &Office, event: Event) {
        match event {
            Event::Reply { id, header, body } => self.begin_reply(now, id, header, body),
            Event::Failed { id, error } => self.fail_exchange(now, office, id, error.into()),
            Event::Subscribed { id, accepted } => {
                self.end_exchange(id, Outcome::Subscribed(accepted));
            }
            Event::Readable(body) => {
                let Some(reader) = self.bodies.get_mut(&body) else {
                    return;
                };
                match reader.whole_for {
                    Some(exchange) => self.collected(now, exchange, body),
                    None => self.wakers.push_from(&mut reader.waker),
                }
            }
            Event::Ended(body) => {
                if let Some(reader) = self.bodies.get_mut(&body) {
                    reader.ended = true;
                }
            }
            Event::Writable(send) => {
                if let Some(feed) = self.feeds.remove(&send) {
                    self.send_whole(now, office, send, feed.rest, feed.serve);
                } else if let Some(waker) = self.writers.remove(&send) {
                    self.wakers.push(waker);
                }
            }
            Event::Lost(send) => {
                self.stop_feed(now, office, send);
                if let Some(waker) = self.writers.remove(&send) {
                    self.wakers.push(waker);
                }
            }
            Event::Room => self.room.call_one(&mut self.wakers),
            Event::Changed(changes) => {
                if let Some(inbox) = &mut self.inbox {
                    inbox.push(changes, &mut self.wakers);
                }
            }
            Event::Subscribe { id, .. } => self.tasks.push_back(Task::Welcome(id)),
            Event::Notify { header, body } => {
                match office.house.roster().listener.is_some()
                    && self.noticing < office.max_per_connection
                {
                    true => {
                        self.noticing += 1;
                        self.bodies.insert(body, Reader::default());
                        self.tasks.push_back(Task::Notify { header, body });
                    }
                    false => {
                        self.session().discard(now, body);
                        self.touch();
                    }
                }
            }
            Event::Note(note) => match office.is_service() {
                true => office.tell(self.peer, Occurrence::Note(note)),
                false => self.notes.push(note),
            },
            Event::Closed(reason) => {
                office.tell(self.peer, Occurrence::Closed(reason.clone()));
                self.close(reason);
            }
            // The desk has taken these.
            Event::Request { .. } | Event::Cancelled(_) => {}
            // An event this face knows nothing of concerns nobody here.
            _ => {}
        }
    }

    fn begin_reply(&mut self, now: Instant, id: ExchangeId, header: Header, body: RecvId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            self.machine.inner_mut().cancel(now, id);
            self.machine.inner_mut().discard(now, body);
            return self.touch();
        };
        let Some(limit) = exchange.collect else {
            self.bodies.insert(body, Reader::default());
            return self.end_exchange(id, Outcome::Reply(header, body));
        };
        if let Some(error) = header.error() {
            self.drop_exchange(now, id, Some(body));
            return self.end_exchange(id, Outcome::Failed(error.into()));
        }
        exchange.progress = Progress::Collecting(Box::new(header), body);
        self.machine.inner_mut().collect(now, body, limit);
        self.collected(now, id, body);
    }

    /// Takes the whole of a reply if it is there.
    fn collected(&mut self, now: Instant, id: ExchangeId, body: RecvId) {
        let session = self.machine.inner_mut();
        if !session.is_readable(body) {
            let reader = Reader {
                whole_for: Some(id),
                ..Reader::default()
            };
            self.bodies.insert(body, reader);
            return;
        }
        self.bodies.remove(&body);
        let whole = session.take_whole(now, body);
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let progress = std::mem::replace(&mut exchange.progress, Progress::Waiting);
        let Progress::Collecting(header, _) = progress else {
            return;
        };
        let outcome = match whole {
            Ok(whole) => Outcome::Whole(*header, whole),
            Err(error) => Outcome::Failed(error.into()),
        };
        self.end_exchange(id, outcome);
    }

    fn fail_exchange(&mut self, now: Instant, office: &Office, id: ExchangeId, error: CallError) {
        if let Some(send) = self.exchanges.get(&id).and_then(|exchange| exchange.send) {
            self.stop_feed(now, office, send);
        }
        self.end_exchange(id, Outcome::Failed(error));
    }

    fn end_exchange(&mut self, id: ExchangeId, outcome: Outcome) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.progress = Progress::Done(Box::new(outcome));
            self.wakers.push_from(&mut exchange.waker);
        }
    }

    /// Gives up on a request and what it brings (S-14); its handle may go on asking.
    pub(crate) fn drop_exchange(&mut self, now: Instant, id: ExchangeId, body: Option<RecvId>) {
        if let Some(send) = self.exchanges.get(&id).and_then(|exchange| exchange.send) {
            self.feeds.remove(&send);
        }
        let session = self.machine.inner_mut();
        session.cancel(now, id);
        if let Some(body) = body {
            session.discard(now, body);
            let reader = self.bodies.remove(&body);
            self.wakers.discard(reader.and_then(|reader| reader.waker));
        }
        self.touch();
    }

    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
        self.room.call_all(&mut self.wakers);
        self.closers.call_all(&mut self.wakers);
        self.wakers.push_from(&mut self.opener);
        for waker in std::mem::take(&mut self.cancel_waits)
            .into_values()
            .flatten()
        {
            self.wakers.push(waker);
        }
        if let Some(inbox) = &mut self.inbox {
            inbox.end(&mut self.wakers);
        }
        self.touch();
    }
}

/// Runs a command that may have to wait for room, in the order of the callers.
pub(crate) async fn with_room<T: Unpin>(
    shared: &Shared,
    command: impl FnMut(&mut State, Instant) -> Result<T, SendError> + Unpin,
) -> Result<T, SendError> {
    RoomWait {
        shared,
        command,
        ticket: None,
    }
    .await
}

struct RoomWait<'a, F> {
    shared: &'a Shared,
    command: F,
    ticket: Option<u64>,
}

impl<T, F> Future for RoomWait<'_, F>
where
    F: FnMut(&mut State, Instant) -> Result<T, SendError> + Unpin,
{
    type Output = Result<T, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.shared.with(|state, now| {
            let result = (this.command)(state, now);
            if matches!(result, Err(SendError::WouldBlock)) && state.closed.is_none() {
                let ticket = *this.ticket.get_or_insert_with(|| state.room.ticket());
                state.room.wait(ticket, cx, &mut state.wakers);
                return Poll::Pending;
            }
            if let Some(ticket) = this.ticket.take() {
                state.room.leave(ticket, &mut state.wakers);
            }
            // Where one found room, there may be more.
            state.room.call_one(&mut state.wakers);
            Poll::Ready(result)
        })
    }
}

impl<F> Drop for RoomWait<'_, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.look(|state| {
                if state.room.leave(ticket, &mut state.wakers) {
                    state.room.call_one(&mut state.wakers);
                }
            });
        }
    }
}
