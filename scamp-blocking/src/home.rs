//! What the links of one service, or of one client, have in common.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use scamp_proto::service::{Guard, House};
use scamp_proto::session::{Board, Change, ServeId, Session};
use scamp_proto::{Instant, limits};

use crate::actions::Actions;
use crate::job::Work;
use crate::link::{Clock, Link};
use crate::pool::Pool;

/// The actions, the threads that run them, and what is counted over all links.
pub(crate) struct Home {
    /// Swapped when actions are added or removed while the service runs (V-1).
    actions: RwLock<Arc<Actions>>,
    /// Whether each link has a thread of its own.
    pub(crate) is_service: bool,
    /// Requests of one link in handlers at once.
    pub(crate) max_active: usize,
    /// Requests of all links in handlers at once (V-10).
    pub(crate) max_requests: usize,
    /// How long a handler may take whose action does not say (S-20).
    pub(crate) handler_timeout: Option<Duration>,
    /// The largest body that is taken whole, in octets.
    pub(crate) max_body: usize,
    /// Where the authorization table comes from, if it is fetched.
    pub(crate) table_source: Option<TableSource>,
    /// Tickets and the table. Its lock is taken last, and nothing is waited for under it.
    guard: Mutex<Guard>,
    is_tabled: bool,
    /// The time of all its links, and of the table.
    pub(crate) clock: Clock,
    /// All links there are, for news that concern each.
    pub(crate) links: OnceLock<Links>,
    pool: Pool,
    board: Mutex<Board>,
    pub(crate) requests: AtomicUsize,
    pub(crate) requests_started: AtomicU64,
    pub(crate) requests_failed: AtomicU64,
}

/// Fetches the authorization table as JSON, or says why it cannot be had.
pub(crate) type TableSource = Arc<dyn Fn() -> Result<Bytes, String> + Send + Sync>;

/// Lists the links of a service.
pub(crate) type Links = Box<dyn Fn() -> Vec<Arc<Link>> + Send + Sync>;

impl Home {
    pub(crate) fn new(actions: Actions, is_service: bool) -> Self {
        Self {
            table_source: None,
            guard: Mutex::default(),
            is_tabled: false,
            clock: Clock::start(),
            links: OnceLock::new(),
            actions: RwLock::new(Arc::new(actions)),
            is_service,
            max_active: limits::REQUESTS_PER_CONNECTION,
            max_requests: limits::REQUESTS,
            handler_timeout: None,
            max_body: limits::COLLECTED_BODY,
            pool: Pool::default(),
            board: Mutex::default(),
            requests: AtomicUsize::new(0),
            requests_started: AtomicU64::new(0),
            requests_failed: AtomicU64::new(0),
        }
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

    /// Counts a request or notification that is given to a handler.
    pub(crate) fn started(&self) {
        self.requests_started.fetch_add(1, Ordering::Relaxed);
    }

    /// The authorization table has come, or not: whoever waits for it goes on.
    pub(crate) fn resume_all(&self) {
        for link in self.links.get().map(|links| links()).unwrap_or_default() {
            let mut core = link.lock();
            core.resume(link.now(), self);
            core.flush_or_leave();
        }
    }

    fn lock_guard(&self) -> MutexGuard<'_, Guard> {
        // A verdict is kept whole or not at all.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
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

impl House for Home {
    fn enter(&self) -> bool {
        let more = |active| (active < self.max_requests).then_some(active + 1);
        self.requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn leave(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        self.active() < self.max_requests
    }

    fn active(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn unix(&self) -> i64 {
        unix(SystemTime::now())
    }

    fn is_tabled(&self) -> bool {
        self.is_tabled
    }

    fn guard<T>(&self, look: impl FnOnce(&mut Guard) -> T) -> T {
        look(&mut self.lock_guard())
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
