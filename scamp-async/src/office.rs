//! What the requests of a service, or of a client that serves, are answered from.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use scamp_proto::limits::{REQUESTS, REQUESTS_PER_CONNECTION};
use scamp_proto::note::Note;
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
    /// What the connections of a service noted; those of a client keep their own.
    notes: Option<Mutex<Notes>>,
}

/// What is worth a line in a log, as far as it is kept: the newest 256.
#[derive(Debug, Default)]
pub(crate) struct Notes(VecDeque<Note>);

impl Notes {
    pub(crate) fn push(&mut self, note: Note) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(note);
    }

    pub(crate) fn take(&mut self) -> Vec<Note> {
        self.0.drain(..).collect()
    }
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
            notes: None,
        }
    }

    /// The office of a service, with its limits, which keeps the notes of all its connections.
    pub(crate) fn of_service(self, max_active: usize, max_per_connection: usize) -> Self {
        Self {
            max_active,
            max_per_connection,
            notes: Some(Mutex::default()),
            ..self
        }
    }

    /// Uses the common notes, if there are any.
    pub(crate) fn with_notes<T>(&self, command: impl FnOnce(&mut Notes) -> T) -> Option<T> {
        let notes = self.notes.as_ref()?;
        Some(command(
            &mut notes.lock().unwrap_or_else(PoisonError::into_inner),
        ))
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

/// Notes kept for whoever asks; the oldest goes first.
const KEPT: usize = 256;
