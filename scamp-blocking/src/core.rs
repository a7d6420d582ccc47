//! What the threads of one connection share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use scamp_proto::limits::CLOSE_LINGER;
use scamp_proto::note::{Newest, Note};
use scamp_proto::service::{Caller, Checked, Desk, House, JobBody, Step};
use scamp_proto::session::{Change, Event, ExchangeId, RecvId, SendId, ServeId, Session};
use scamp_proto::{CloseReason, Duplex, End, ExchangeError, Header, Instant, Outbox};

use crate::actions::Handler;
use crate::home::Home;
use crate::job::{Task, Work};
use crate::waiters::{Key, Waiters};
use scamp_tls::Channel;

/// The machine, who moves octets for it, and what it has told that nobody has asked for yet.
pub(crate) struct Core {
    pub(crate) machine: Channel<Session>,
    desk: Desk<Handler>,
    /// Whether a thread reads the socket, or waits for it to become readable.
    pub(crate) reader: Option<Watch>,
    /// Whether a thread writes to the socket, or waits for it to become writable.
    pub(crate) writer: bool,
    /// Whether a thread exists only to write.
    pub(crate) has_scribe: bool,
    /// Whether the socket would not take all of `out`.
    pub(crate) blocked: bool,
    /// Whether the socket has come to its end.
    pub(crate) ended: bool,
    /// Whether the socket has been shut down.
    pub(crate) shut: bool,
    pub(crate) out: Outbox,
    /// When the last octets may be given up.
    pub(crate) give_up: Option<Instant>,
    pub(crate) inbox: Vec<u8>,
    /// When the socket was last read.
    pub(crate) heard: Instant,
    pub(crate) waiters: Waiters,
    /// Threads to wake once the lock is free.
    pub(crate) woken: Vec<Thread>,
    /// Handlers to start once the lock is free.
    pub(crate) work: Vec<Work>,
    outcomes: BTreeMap<ExchangeId, Option<Outcome>>,
    /// What a subscriber has not taken yet.
    changes: Option<Changes>,
    notes: Newest<Note>,
    /// Notifications whose body is being collected.
    notified: BTreeMap<RecvId, Header>,
    serving: BTreeMap<ServeId, Arc<AtomicBool>>,
    /// Bodies that handlers stream.
    pub(crate) answering: BTreeSet<SendId>,
    pub(crate) closed: Option<CloseReason>,
}

/// Until when the reading thread looks after the machine's deadlines; `None` is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch(pub(crate) Option<Instant>);

impl Watch {
    /// Whether it wakes up in time for a deadline.
    pub(crate) fn covers(self, deadline: Option<Instant>) -> bool {
        match (self.0, deadline) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(until), Some(deadline)) => until <= deadline,
        }
    }
}

/// What became of a request.
pub(crate) enum Outcome {
    Reply { header: Header, body: RecvId },
    Failed(ExchangeError),
    Subscribed(bool),
}

/// Changes in the order they came; far behind, only the newest of each key.
#[derive(Default)]
struct Changes {
    queue: VecDeque<Vec<Change>>,
    octets: usize,
}

impl Core {
    pub(crate) fn new(machine: Channel<Session>, desk: Desk<Handler>, now: Instant) -> Self {
        Self {
            machine,
            desk,
            reader: None,
            writer: false,
            has_scribe: false,
            blocked: false,
            ended: false,
            shut: false,
            out: Outbox::default(),
            give_up: None,
            inbox: Vec::new(),
            heard: now,
            waiters: Waiters::default(),
            woken: Vec::new(),
            work: Vec::new(),
            outcomes: BTreeMap::new(),
            changes: None,
            notes: Newest::default(),
            notified: BTreeMap::new(),
            serving: BTreeMap::new(),
            answering: BTreeSet::new(),
            closed: None,
        }
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.machine.inner_mut()
    }

    /// Begins to care for the outcome of a request.
    pub(crate) fn expect(&mut self, id: ExchangeId) {
        self.outcomes.insert(id, None);
    }

    /// The outcome of a request, once it is there.
    pub(crate) fn take_outcome(&mut self, id: ExchangeId) -> Option<Outcome> {
        let outcome = self.outcomes.get_mut(&id)?.take()?;
        self.outcomes.remove(&id);
        Some(outcome)
    }

    /// Gives up on a request, whatever became of it.
    pub(crate) fn forget(&mut self, now: Instant, id: ExchangeId) {
        let outcome = self.outcomes.remove(&id).flatten();
        self.session().cancel(now, id);
        if let Some(Outcome::Reply { body, .. }) = outcome {
            self.session().discard(now, body);
        }
    }

    /// Begins or ends to keep changes.
    pub(crate) fn keep_changes(&mut self, keep: bool) -> bool {
        let kept = self.changes.is_some();
        if kept != keep {
            self.changes = keep.then(Changes::default);
        }
        kept
    }

    pub(crate) fn take_changes(&mut self) -> Option<Vec<Change>> {
        let changes = self.changes.as_mut()?;
        let next = changes.queue.pop_front()?;
        changes.octets -= next.iter().map(cost).sum::<usize>();
        Some(next)
    }

    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// A handler has ended; its request is answered if it was not.
    pub(crate) fn finished(&mut self, now: Instant, home: &Home, id: ServeId) {
        self.serving.remove(&id);
        if self.desk.finished(now, self.machine.inner_mut(), id) {
            home.house.leave();
        }
    }

    /// Tickets have been verified.
    pub(crate) fn checked(&mut self, now: Instant, home: &Home, checked: Checked) {
        let session = self.machine.inner_mut();
        let roster = home.house.roster();
        let step = self
            .desk
            .checked(now, session, &roster.table, &home.house, checked);
        self.follow(now, home, step);
        self.process(now, home);
    }

    /// The authorization table has come, or not.
    pub(crate) fn resume(&mut self, now: Instant, home: &Home) {
        self.desk.resume();
        self.process(now, home);
    }

    /// Whether every octet has been handed to the socket.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.blocked && !self.writer && self.out.is_empty()
    }

    /// Whether nothing more will come or go.
    pub(crate) fn is_over(&self) -> bool {
        self.machine.is_drained() && self.out.is_empty()
    }

    /// Whether reading the socket is of use.
    pub(crate) fn wants_read(&self) -> bool {
        !self.ended && self.machine.wants_read()
    }

    /// When something happens by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let own = [self.give_up, self.desk.poll_timeout()];
        [self.machine.poll_timeout()]
            .into_iter()
            .chain(own)
            .flatten()
            .min()
    }

    /// Acts on deadlines that have passed.
    pub(crate) fn expire(&mut self, now: Instant, home: &Home) {
        self.machine.handle_timeout(now);
        if self.give_up.take_if(|at| *at <= now).is_some() {
            self.out.clear();
            self.blocked = false;
            // Else it would have a farewell left to say, and perhaps nobody to say it.
            self.end(now, home, End::io("the peer takes nothing more"));
        }
        self.desk.handle_timeout(now);
        self.process(now, home);
    }

    /// The socket has come to its end.
    pub(crate) fn end(&mut self, now: Instant, home: &Home, end: End) {
        self.ended = true;
        self.machine.receive_end(now, end);
        self.process(now, home);
    }

    /// Passes on what the machine has to tell.
    pub(crate) fn process(&mut self, now: Instant, home: &Home) {
        let mut roster = None;
        while let Some(event) = self.machine.inner_mut().poll_event() {
            let table = &roster.get_or_insert_with(|| home.house.roster()).table;
            let session = self.machine.inner_mut();
            let step = self.desk.handle(now, session, table, &home.house, event);
            self.follow(now, home, step);
        }
        while self.desk.has_awake() {
            let table = &roster.get_or_insert_with(|| home.house.roster()).table;
            let session = self.machine.inner_mut();
            match self.desk.poll(now, session, table, &home.house) {
                Some(step) => self.follow(now, home, step),
                None => break,
            }
        }
        self.bound_the_end(now);
    }

    fn follow(&mut self, now: Instant, home: &Home, step: Step<Handler>) {
        match step {
            Step::Start(job) => {
                home.house.note_started();
                let cancelled = Arc::new(AtomicBool::new(false));
                self.serving.insert(job.id, cancelled.clone());
                let body = match job.body {
                    JobBody::Whole(whole) => Ok(whole),
                    JobBody::Stream(id) => Err(id),
                };
                self.work.push(Work::Run {
                    task: Task::Answer(job.id, job.handler),
                    header: job.header,
                    body,
                    caller: job.caller,
                    cancelled,
                });
            }
            Step::Check(check) => self.work.push(Work::Check(check)),
            Step::FetchTable => self.work.push(Work::FetchTable),
            Step::Cancel(id) => {
                if let Some(cancelled) = self.serving.get(&id) {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
            Step::Other(event) => self.take(now, home, event),
            Step::Done => {}
        }
    }

    /// A peer that takes nothing must not keep a connection that has ended (HD-31).
    pub(crate) fn bound_the_end(&mut self, now: Instant) {
        let ended = self.machine.is_drained() || self.machine.inner().connection().is_closed();
        if ended && !self.out.is_empty() && self.give_up.is_none() {
            self.give_up = Some(now + CLOSE_LINGER);
        }
    }

    fn take(&mut self, now: Instant, home: &Home, event: Event) {
        match event {
            Event::Reply { id, header, body } => match self.outcomes.get_mut(&id) {
                Some(slot) => {
                    *slot = Some(Outcome::Reply { header, body });
                    self.wake(Key::Exchange(id));
                }
                None => self.session().discard(now, body),
            },
            Event::Failed { id, error } => self.decide(id, Outcome::Failed(error)),
            Event::Subscribed { id, accepted } => self.decide(id, Outcome::Subscribed(accepted)),
            Event::Readable(id) => match self.notified.remove(&id) {
                Some(header) => self.notify(now, home, header, id),
                None => self.wake(Key::Body(id)),
            },
            Event::Writable(id) | Event::Lost(id) => self.wake(Key::Send(id)),
            Event::Room => self.wake(Key::Room),
            Event::Changed(changes) => self.changed(now, changes),
            Event::Notify { header, body } => match home.house.roster().listener.is_some() {
                true => {
                    let limit = home.max_body;
                    self.session().collect(now, body, limit);
                    match self.session().is_readable(body) {
                        true => self.notify(now, home, header, body),
                        false => {
                            self.notified.insert(body, header);
                        }
                    }
                }
                false => self.session().discard(now, body),
            },
            Event::Subscribe { id, .. } => home.house.with_board(|board| {
                // It fails only if there is nobody left to tell.
                let _ = self.session().welcome(now, id, board);
            }),
            Event::Note(note) => self.notes.push(note),
            Event::Closed(reason) => {
                self.closed = Some(reason);
                self.notified.clear();
                let all = self.waiters.take_all();
                self.woken.extend(all);
            }
            // A body that ended tells so when it is read; requests are the desk's.
            Event::Ended(_) | Event::Request { .. } | Event::Cancelled(_) => {}
            // Nothing that anybody could wait for yet.
            _ => {}
        }
    }

    fn decide(&mut self, id: ExchangeId, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(&id) {
            *slot = Some(outcome);
            self.wake(Key::Exchange(id));
        }
    }

    /// A notification has come whole, or not at all.
    fn notify(&mut self, now: Instant, home: &Home, header: Header, body: RecvId) {
        let Ok(whole) = self.session().take_whole(now, body) else {
            return;
        };
        if home.house.enter() {
            home.house.note_started();
            self.work.push(Work::Run {
                task: Task::Hear,
                header,
                body: Ok(whole),
                caller: Caller::default(),
                cancelled: Arc::default(),
            });
        }
    }

    fn changed(&mut self, now: Instant, news: Vec<Change>) {
        let Some(changes) = &mut self.changes else {
            return;
        };
        changes.push(news);
        if changes.octets > CHANGES_KEPT {
            // Telling only some of the changes would be worse than none.
            self.changes = Some(Changes::default());
            self.session().close(now);
        }
        self.wake(Key::Changes);
    }

    pub(crate) fn wake(&mut self, key: Key) {
        let woken = &mut self.woken;
        self.waiters.take(key, |thread| woken.push(thread));
    }

    /// Finds somebody to read the socket, or to watch the time, if nobody does and somebody waits.
    pub(crate) fn appoint(&mut self) {
        if self.reader.is_some() || self.waiters.is_empty() {
            return;
        }
        if self.wants_read() || !self.waiters.is_watching(self.deadline()) {
            if let Some(thread) = self.waiters.appoint() {
                self.woken.push(thread);
            }
        }
    }
}

impl Changes {
    fn push(&mut self, news: Vec<Change>) {
        self.octets += news.iter().map(cost).sum::<usize>();
        self.queue.push_back(news);
        if self.octets > CHANGES_MERGED && self.queue.len() > MERGED_FROM {
            let mut newest = BTreeMap::new();
            for change in self.queue.drain(..).flatten() {
                newest.insert((change.code, change.key), change.value);
            }
            let merged = newest
                .into_iter()
                .map(|((code, key), value)| Change { code, key, value });
            let merged: Vec<Change> = merged.collect();
            self.octets = merged.iter().map(cost).sum();
            self.queue.push_back(merged);
        }
    }
}

/// What a change that waits costs, in octets.
fn cost(change: &Change) -> usize {
    change.code.len() + change.key.len() + change.value.len() + size_of::<Change>()
}

/// Octets of changes from which on older ones of the same key are dropped.
const CHANGES_MERGED: usize = 1024 * 1024;
/// Pieces of news worth merging: with fewer, merging would cost more than it saves.
const MERGED_FROM: usize = 64;
/// Octets of changes kept for a subscriber; one that falls further behind loses its connection.
const CHANGES_KEPT: usize = 16 * 1024 * 1024;
