//! Threads for handlers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::job::Job;
use crate::link::Link;

/// Threads that run jobs, as many as it takes for no job to wait for another.
///
/// ```text
/// submit ──> queue ──wakes one thread──> takes a job, and wakes the next if there are more
/// ```
///
/// Jobs that are quickly done are so done by few threads, and their replies leave in few writes:
/// a thread that goes on to another job leaves its reply to the thread it has woken, which sends
/// first of all. The pool has no bound of its own: those who submit count what they submit (V-10).
#[derive(Clone, Default)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Links with replies that wait to be sent.
    owed: Vec<Arc<Link>>,
    /// Threads that wait for a job.
    idle: usize,
    /// Whether a thread has been woken, or started, and has not come yet.
    waking: bool,
}

impl Pool {
    /// Runs these jobs; those for which there is no thread to be had are dropped (F-17).
    pub(crate) fn submit(&self, jobs: impl Iterator<Item = Job>) {
        let mut state = self.shared.lock();
        state.queue.extend(jobs);
        self.wake_one(state);
    }

    /// Sees to it that a thread comes for the first of the jobs that wait.
    fn wake_one(&self, mut state: MutexGuard<'_, State>) {
        if state.waking || (state.queue.is_empty() && state.owed.is_empty()) {
            return;
        }
        state.waking = true;
        if state.idle > 0 {
            drop(state);
            self.shared.news.notify_one();
            return;
        }
        drop(state);
        let pool = self.clone();
        let started = thread::Builder::new()
            .name("scamp-handler".into())
            .spawn(move || pool.work());
        if started.is_err() {
            let mut state = self.shared.lock();
            state.waking = false;
            let jobs = std::mem::take(&mut state.queue);
            let owed = std::mem::take(&mut state.owed);
            drop(state);
            drop(jobs);
            send(owed);
        }
    }

    fn work(self) {
        let mut state = self.shared.lock();
        state.waking = false;
        loop {
            if state.queue.len() < 2 && !state.owed.is_empty() {
                // Nobody else comes for them, or not soon.
                let owed = std::mem::take(&mut state.owed);
                drop(state);
                send(owed);
                state = self.shared.lock();
                continue;
            }
            let Some(job) = state.queue.pop_front() else {
                match self.rest(state) {
                    Some(woken) => state = woken,
                    None => return,
                }
                // Replies left by whoever woke this thread go first.
                let owed = std::mem::take(&mut state.owed);
                if !owed.is_empty() {
                    drop(state);
                    send(owed);
                    state = self.shared.lock();
                }
                continue;
            };
            if state.queue.is_empty() {
                drop(state);
            } else {
                self.wake_one(state);
            }
            let link = job.run();
            state = self.shared.lock();
            if !state.owed.iter().any(|owed| Arc::ptr_eq(owed, &link)) {
                state.owed.push(link);
            }
        }
    }

    /// Waits for news; `None` if none came for long.
    fn rest<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Option<MutexGuard<'a, State>> {
        state.idle += 1;
        let waited = self.shared.news.wait_timeout(state, KEPT);
        let (mut state, time) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        // Whether it was meant or not, this thread has come.
        state.waking = false;
        let is_needed = !state.queue.is_empty() || !state.owed.is_empty();
        (is_needed || !time.timed_out()).then_some(state)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No job runs under the lock, so nothing in it is half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(owed: Vec<Arc<Link>>) {
    for link in owed {
        link.lock().flush_or_leave();
    }
}

/// How long a thread without a job is kept.
const KEPT: Duration = Duration::from_secs(10);
