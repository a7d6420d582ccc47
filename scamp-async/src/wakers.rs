//! Tasks that wait, and tasks to wake once the lock is let go.

use std::collections::BTreeMap;
use std::task::{Context, Waker};

/// Wakers taken out under a lock, to be woken or dropped when it is let go.
///
/// Waking may run a task, and dropping a waker may drop one, so neither is done under the lock.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
    dropped: Vec<Waker>,
}

impl Wakers {
    /// Wakes it later.
    pub(crate) fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }

    /// Wakes it later, if there is one.
    pub(crate) fn push_from(&mut self, slot: &mut Option<Waker>) {
        if let Some(waker) = slot.take() {
            self.push(waker);
        }
    }

    /// Drops it later, without waking.
    pub(crate) fn discard(&mut self, waker: Option<Waker>) {
        self.dropped.extend(waker);
    }

    /// Puts the task's waker in `slot`; the old one is dropped later.
    pub(crate) fn park(&mut self, slot: &mut Option<Waker>, cx: &Context<'_>) {
        if !slot
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.discard(slot.replace(cx.waker().clone()));
        }
    }

    /// Takes them out, if there are any.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Self> {
        let none = self.first.is_none() && self.dropped.is_empty();
        (!none).then(|| std::mem::take(self))
    }

    /// Wakes them all. The lock must not be held.
    pub(crate) fn wake(self) {
        for waker in self.first.into_iter().chain(self.more) {
            waker.wake();
        }
    }
}

/// Tasks that wait for one thing, first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

impl Queue {
    /// A place in the queue.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Waits with a ticket; its place is kept.
    pub(crate) fn wait(&mut self, ticket: u64, cx: &Context<'_>, wakers: &mut Wakers) {
        let known = self.waiting.get(&ticket);
        if !known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            wakers.discard(self.waiting.insert(ticket, cx.waker().clone()));
        }
    }

    /// Leaves the queue; returns whether the ticket had been called.
    pub(crate) fn leave(&mut self, ticket: u64, wakers: &mut Wakers) -> bool {
        let waker = self.waiting.remove(&ticket);
        let called = waker.is_none();
        wakers.discard(waker);
        called
    }

    /// Calls the first.
    pub(crate) fn call_one(&mut self, wakers: &mut Wakers) {
        if let Some((_, waker)) = self.waiting.pop_first() {
            wakers.push(waker);
        }
    }

    /// Calls everybody.
    pub(crate) fn call_all(&mut self, wakers: &mut Wakers) {
        while let Some((_, waker)) = self.waiting.pop_first() {
            wakers.push(waker);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
