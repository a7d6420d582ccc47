//! What the requests of a service, or of a client that serves, are answered from.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use scamp_proto::limits::{REQUESTS, REQUESTS_PER_CONNECTION};
use scamp_proto::note::Newest;
use scamp_proto::service::{Guard, House, Limits, Occurrence, ServiceNote};
use scamp_proto::session::Board;

use crate::actions::Actions;
use crate::request::Request;
use crate::runtime::Work;
use crate::shared::Shared;
use crate::work::{Duty, Noticing};

/// What serves an action.
pub(crate) type Handler = Arc<dyn Fn(Request, Duty) -> Work + Send + Sync>;

/// What is called for notifications.
pub(crate) type NotifyHandler = Arc<dyn Fn(Request, Noticing) -> Work + Send + Sync>;

/// Fetches the authorization table as JSON, or says why it cannot be had.
pub(crate) type TableSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>> + Send + Sync>;

/// Lists the connections of a service.
pub(crate) type Members = Box<dyn Fn() -> Vec<Arc<Shared>> + Send + Sync>;

/// What the connections of one service have in common, or what one client serves with.
pub(crate) struct Office {
    /// Swapped when actions are added or removed while the service runs (V-1).
    actions: RwLock<Arc<Actions>>,
    /// What is published. Its lock is taken before that of any connection.
    board: Mutex<Board>,
    /// Requests in handlers.
    active: AtomicUsize,
    max_active: usize,
    pub(crate) max_per_connection: usize,
    /// How long a handler may take whose action does not say (S-20).
    pub(crate) handler_timeout: Option<Duration>,
    /// What is worth a line in a service's log; the connection of a client keeps its own notes.
    notes: Option<Mutex<Newest<ServiceNote>>>,
    /// Tickets and the table. Its lock is taken last, and nothing is waited for under it.
    guard: Mutex<Guard>,
    is_tabled: bool,
    /// Where the authorization table comes from, if it is fetched.
    pub(crate) table_source: Option<TableSource>,
    /// All connections there are, for news that concern each.
    pub(crate) members: OnceLock<Members>,
    /// Requests and notifications given to a handler so far.
    pub(crate) started: AtomicU64,
    /// Requests whose handler reported an error or was not there at the end, so far.
    pub(crate) failed: AtomicU64,
}

impl Office {
    pub(crate) fn new(actions: Actions) -> Self {
        Self {
            actions: RwLock::new(Arc::new(actions)),
            board: Mutex::default(),
            active: AtomicUsize::new(0),
            max_active: REQUESTS,
            max_per_connection: REQUESTS_PER_CONNECTION,
            handler_timeout: None,
            notes: None,
            guard: Mutex::default(),
            is_tabled: false,
            table_source: None,
            members: OnceLock::new(),
            started: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The office of a service, with its limits, which keeps the notes of all its connections.
    pub(crate) fn of_service(self, limits: &Limits) -> Self {
        Self {
            max_active: limits.max_requests,
            max_per_connection: limits.max_requests_per_connection,
            handler_timeout: limits.handler_timeout,
            notes: Some(Mutex::default()),
            ..self
        }
    }

    /// The actions as they are now.
    pub(crate) fn actions(&self) -> Arc<Actions> {
        let actions = self.actions.read();
        actions.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves these actions from now on.
    pub(crate) fn set_actions(&self, actions: Actions) {
        let mut place = self.actions.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(actions);
    }

    /// Whether this is a service's, which keeps the notes of all its connections.
    pub(crate) fn is_service(&self) -> bool {
        self.notes.is_some()
    }

    /// Keeps a note, if this is a service's.
    pub(crate) fn tell(&self, peer: Option<SocketAddr>, what: Occurrence) {
        if let Some(notes) = &self.notes {
            lock(notes).push(ServiceNote { peer, what });
        }
    }

    /// Takes the notes that were kept.
    pub(crate) fn take_notes(&self) -> Vec<ServiceNote> {
        let notes = self.notes.as_ref();
        notes.map(|notes| lock(notes).take()).unwrap_or_default()
    }

    /// Checks callers with this guard.
    pub(crate) fn with_guard(self, guard: Guard, table_source: Option<TableSource>) -> Self {
        Self {
            is_tabled: guard.is_tabled(),
            guard: Mutex::new(guard),
            table_source,
            ..self
        }
    }

    /// The authorization table has come, or not: whoever waits for it goes on. No connection may be
    /// locked.
    pub(crate) fn resume_all(&self) {
        let members = self.members.get().map(|members| members());
        for shared in members.unwrap_or_default() {
            shared.with(|state, _| state.resume());
        }
    }

    /// Uses the board, before which no connection may be locked.
    pub(crate) fn with_board<T>(&self, command: impl FnOnce(&mut Board) -> T) -> T {
        command(&mut lock(&self.board))
    }
}

impl House for Office {
    fn enter(&self) -> bool {
        let more = |active| (active < self.max_active).then_some(active + 1);
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    fn leave(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    fn has_room(&self) -> bool {
        self.active() < self.max_active
    }

    fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    fn unix(&self) -> i64 {
        unix(SystemTime::now())
    }

    fn is_tabled(&self) -> bool {
        self.is_tabled
    }

    fn guard<T>(&self, look: impl FnOnce(&mut Guard) -> T) -> T {
        look(&mut lock(&self.guard))
    }
}

/// Seconds after 1970, or before it.
fn unix(time: SystemTime) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office")
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}

/// Nothing under these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
