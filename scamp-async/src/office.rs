//! What the requests of a service, or of a client that serves, are answered from.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use scamp_proto::limits::{REQUESTS, REQUESTS_PER_CONNECTION};
use scamp_proto::service;
use scamp_proto::session::Board;

use crate::request::Request;
use crate::runtime::Work;
use crate::work::{Duty, Noticing};

/// What serves an action.
pub(crate) type Handler = Arc<dyn Fn(Request, Duty) -> Work + Send + Sync>;

/// What is called for notifications.
pub(crate) type NotifyHandler = Arc<dyn Fn(Request, Noticing) -> Work + Send + Sync>;

/// What the connections of one service have in common, or what one client serves with.
pub(crate) struct Office {
    pub(crate) actions: service::Actions<Handler>,
    pub(crate) notify: Option<NotifyHandler>,
    /// What is published. Its lock is taken before that of any connection.
    board: Mutex<Board>,
    /// Requests in handlers.
    active: AtomicUsize,
    max_active: usize,
    pub(crate) max_per_connection: usize,
}

impl Office {
    pub(crate) fn new(actions: service::Actions<Handler>, notify: Option<NotifyHandler>) -> Self {
        Self {
            actions,
            notify,
            board: Mutex::default(),
            active: AtomicUsize::new(0),
            max_active: REQUESTS,
            max_per_connection: REQUESTS_PER_CONNECTION,
        }
    }

    pub(crate) fn with_limits(self, max_active: usize, max_per_connection: usize) -> Self {
        Self {
            max_active,
            max_per_connection,
            ..self
        }
    }

    /// Lets one more request into the handlers, if there is room (V-10).
    pub(crate) fn enter(&self) -> bool {
        let more = |active| (active < self.max_active).then_some(active + 1);
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    /// Notes that a request has left the handlers.
    pub(crate) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    /// Requests in handlers.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// Uses the board, before which no connection may be locked.
    pub(crate) fn with_board<T>(&self, command: impl FnOnce(&mut Board) -> T) -> T {
        command(&mut self.board.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office")
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}
