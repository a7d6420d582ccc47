//! Threads for handlers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Threads that run one job after the other; there are as many as jobs at once.
///
/// It has no bound of its own: those who submit count what they submit (V-10).
#[derive(Clone, Default)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
}

impl Pool {
    /// Runs `job` on a thread that waits for one, or on a new one.
    ///
    /// Returns `false`, and drops the job, if there is none and none can be had (F-17).
    pub(crate) fn submit(&self, job: Job) -> bool {
        let mut state = self.shared.lock();
        if state.idle > state.queue.len() {
            state.queue.push_back(job);
            drop(state);
            self.shared.news.notify_one();
            return true;
        }
        drop(state);
        let shared = self.shared.clone();
        thread::Builder::new()
            .name("scamp-handler".into())
            .spawn(move || shared.work(job))
            .is_ok()
    }
}

impl Shared {
    fn work(&self, first: Job) {
        let mut job = first;
        loop {
            job();
            let mut state = self.lock();
            state.idle += 1;
            job = loop {
                if let Some(job) = state.queue.pop_front() {
                    state.idle -= 1;
                    break job;
                }
                let (again, waited) = self
                    .news
                    .wait_timeout(state, KEPT)
                    .unwrap_or_else(PoisonError::into_inner);
                state = again;
                if waited.timed_out() && state.queue.is_empty() {
                    state.idle -= 1;
                    return;
                }
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No job runs under the lock, so nothing in it is half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a thread without a job is kept.
const KEPT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// HD-76: jobs that wait for each other all run, however many there are.
    #[test]
    fn grows_with_its_jobs() {
        let pool = Pool::default();
        let (done, told) = channel();
        let barrier = Arc::new(std::sync::Barrier::new(20));
        for _ in 0..20 {
            let (barrier, done) = (barrier.clone(), done.clone());
            assert!(pool.submit(Box::new(move || {
                barrier.wait();
                done.send(()).expect("the test listens");
            })));
        }
        assert_eq!(told.iter().take(20).count(), 20);
    }
}
