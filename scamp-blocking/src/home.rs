//! What the links of one service, or of one client, have in common.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use scamp_proto::session::{Board, Change, ServeId, Session};
use scamp_proto::{Instant, limits};

use crate::actions::Actions;
use crate::job::Work;
use crate::link::Link;
use crate::pool::Pool;

/// The actions, the threads that run them, and what is counted over all links.
pub(crate) struct Home {
    pub(crate) actions: Actions,
    /// Whether each link has a thread of its own.
    pub(crate) is_service: bool,
    /// Requests of one link in handlers at once.
    pub(crate) max_active: usize,
    /// Requests of all links in handlers at once (V-10).
    pub(crate) max_requests: usize,
    /// The largest body that is taken whole, in octets.
    pub(crate) max_body: usize,
    pool: Pool,
    board: Mutex<Board>,
    pub(crate) requests: AtomicUsize,
    pub(crate) requests_started: AtomicU64,
    pub(crate) requests_failed: AtomicU64,
}

impl Home {
    pub(crate) fn new(actions: Actions, is_service: bool) -> Self {
        Self {
            actions,
            is_service,
            max_active: limits::REQUESTS_PER_CONNECTION,
            max_requests: limits::REQUESTS,
            max_body: limits::COLLECTED_BODY,
            pool: Pool::default(),
            board: Mutex::default(),
            requests: AtomicUsize::new(0),
            requests_started: AtomicU64::new(0),
            requests_failed: AtomicU64::new(0),
        }
    }

    /// Counts one more request in a handler, unless it is one too many.
    pub(crate) fn may_start(&self) -> bool {
        let more = |active| (active < self.max_requests).then_some(active + 1);
        let counted = self
            .requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if counted {
            self.requests_started.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    pub(crate) fn request_ended(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has handlers run on threads of their own.
    pub(crate) fn start(&self, link: &Arc<Link>, work: Vec<Work>) {
        self.pool
            .submit(work.into_iter().map(|work| work.ready(link)));
    }

    /// Answers a subscribe.
    pub(crate) fn welcome(&self, now: Instant, session: &mut Session, id: ServeId) {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only if there is nobody left to tell.
        let _ = session.welcome(now, id, &board);
    }

    /// Sets a key of the board; returns the change, if it is one.
    pub(crate) fn publish(&self, code: &str, key: &str, json: &str) -> Option<Change> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.set(code, key, json)
    }
}
