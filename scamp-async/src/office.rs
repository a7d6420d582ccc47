//! What the requests of a service, or of a client that serves, are answered from.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scamp_host::ServiceHouse;
use scamp_proto::limits::REQUESTS_PER_CONNECTION;
use scamp_proto::note::Newest;
use scamp_proto::service::{Guard, Limits, Occurrence, ServiceNote};

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
    /// The actions, who may call them, and what is counted.
    pub(crate) house: ServiceHouse<Handler, NotifyHandler>,
    pub(crate) max_per_connection: usize,
    /// How long a handler may take whose action does not say (S-20).
    pub(crate) handler_timeout: Option<Duration>,
    /// What is worth a line in a service's log; the connection of a client keeps its own notes.
    notes: Option<Mutex<Newest<ServiceNote>>>,
    /// Where the authorization table comes from, if it is fetched.
    pub(crate) table_source: Option<TableSource>,
    /// All connections there are, for news that concern each.
    pub(crate) members: OnceLock<Members>,
}

impl Office {
    /// The office of a client that serves, too.
    pub(crate) fn of_client(actions: Actions) -> Self {
        Self {
            house: ServiceHouse::of_client(actions.roster),
            max_per_connection: REQUESTS_PER_CONNECTION,
            handler_timeout: None,
            notes: None,
            table_source: None,
            members: OnceLock::new(),
        }
    }

    /// The office of a service, which keeps the notes of all its connections.
    pub(crate) fn of_service(
        actions: Actions,
        guard: Guard,
        table_source: Option<TableSource>,
        limits: &Limits,
    ) -> Self {
        Self {
            house: ServiceHouse::new(actions.roster, guard, limits.max_requests),
            max_per_connection: limits.max_requests_per_connection,
            handler_timeout: limits.handler_timeout,
            notes: Some(Mutex::default()),
            table_source,
            members: OnceLock::new(),
        }
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

    /// The authorization table has come, or not: whoever waits for it goes on. No connection may be
    /// locked.
    pub(crate) fn resume_all(&self) {
        let members = self.members.get().map(|members| members());
        for shared in members.unwrap_or_default() {
            shared.with(|state, _| state.resume());
        }
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office")
            .field("house", &self.house)
            .finish_non_exhaustive()
    }
}

/// Nothing under these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
