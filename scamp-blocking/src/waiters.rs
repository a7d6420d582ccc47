//! Who waits for what.

use std::collections::BTreeMap;
use std::thread::Thread;

use scamp_proto::Instant;
use scamp_proto::session::{ExchangeId, RecvId, SendId};

/// What a thread can wait for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    /// For whatever comes; first choice when somebody must read the socket.
    Anything,
    /// For octets of a body, or its end.
    Body(RecvId),
    /// For news of topics.
    Changes,
    /// For the outcome of a request.
    Exchange(ExchangeId),
    /// For the socket to have taken everything.
    Flushed,
    /// For room for another request.
    Room,
    /// For room in a body that is sent.
    Send(SendId),
}

/// One thread's wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    keys: [Option<Key>; 2],
    number: u64,
}

/// The threads that wait, by what they wait for.
///
/// A thread may wait for two things, and is woken by the first.
#[derive(Default)]
pub(crate) struct Waiters {
    threads: BTreeMap<(Key, u64), (Ticket, Thread)>,
    next: u64,
    /// The wait whose thread was told to read the socket and has not come yet.
    appointed: Option<u64>,
    /// While nobody reads: the wait whose thread will wake by itself, and when.
    sentry: Option<(u64, Option<Instant>)>,
}

impl Waiters {
    pub(crate) fn add(&mut self, keys: [Option<Key>; 2], thread: &Thread) -> Ticket {
        let number = self.next;
        self.next += 1;
        let ticket = Ticket { keys, number };
        for key in keys.into_iter().flatten() {
            self.threads.insert((key, number), (ticket, thread.clone()));
        }
        ticket
    }

    /// Ends a wait, whether it was woken or not.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        for key in ticket.keys.into_iter().flatten() {
            self.threads.remove(&(key, ticket.number));
        }
        if self.appointed == Some(ticket.number) {
            self.appointed = None;
        }
        if self
            .sentry
            .is_some_and(|(number, _)| number == ticket.number)
        {
            self.sentry = None;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Notes that a wait ends by itself at this deadline.
    pub(crate) fn post(&mut self, ticket: Ticket, deadline: Option<Instant>) {
        self.sentry = Some((ticket.number, deadline));
    }

    /// Whether a waiting thread will wake by itself in time for `deadline`.
    pub(crate) fn is_watching(&self, deadline: Option<Instant>) -> bool {
        match (self.sentry, deadline) {
            (_, None) => true,
            (Some((_, Some(until))), Some(deadline)) => until <= deadline,
            (Some((_, None)) | None, Some(_)) => false,
        }
    }

    /// Takes out the threads that wait for `key`.
    pub(crate) fn take(&mut self, key: Key, mut each: impl FnMut(Thread)) {
        while let Some((&at, _)) = self.threads.range((key, 0)..=(key, u64::MAX)).next() {
            if let Some((ticket, thread)) = self.threads.remove(&at) {
                self.remove_entries(ticket);
                each(thread);
            }
        }
    }

    pub(crate) fn take_all(&mut self) -> Vec<Thread> {
        let threads = std::mem::take(&mut self.threads);
        threads.into_values().map(|(_, thread)| thread).collect()
    }

    /// A thread to read the socket, unless one is on its way.
    pub(crate) fn appoint(&mut self) -> Option<Thread> {
        if self.appointed.is_some() {
            return None;
        }
        let (ticket, thread) = self.threads.values().next()?.clone();
        self.remove_entries(ticket);
        self.appointed = Some(ticket.number);
        Some(thread)
    }

    fn remove_entries(&mut self, ticket: Ticket) {
        for key in ticket.keys.into_iter().flatten() {
            self.threads.remove(&(key, ticket.number));
        }
    }
}
