//! The wish to stop, and how often it was uttered.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Counts the calls to stop, and wakes the one task that waits for them.
#[derive(Debug, Default)]
pub(crate) struct Stop(Mutex<(usize, Option<Waker>)>);

impl Stop {
    pub(crate) fn stop(&self) {
        self.add(1);
    }

    /// Wakes the task that waits, for a look at something else.
    pub(crate) fn wake(&self) {
        self.add(0);
    }

    fn add(&self, count: usize) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 += count;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready once it was called so often.
    pub(crate) fn poll_count(&self, count: usize, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 >= count {
            return Poll::Ready(());
        }
        let old = state.1.replace(cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}
