//! What the links of one service, or of one client, have in common.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use scamp_host::ServiceHouse;
use scamp_proto::limits;

use crate::actions::{Handler, Listener};
use crate::job::Work;
use crate::link::{Clock, Link};
use crate::pool::Pool;

/// The actions, the threads that run them, and what concerns all links.
pub(crate) struct Home {
    /// The actions, who may call them, and what is counted.
    pub(crate) house: ServiceHouse<Handler, Listener>,
    /// Whether each link has a thread of its own.
    pub(crate) is_service: bool,
    /// Requests of one link in handlers at once.
    pub(crate) max_active: usize,
    /// How long a handler may take whose action does not say (S-20).
    pub(crate) handler_timeout: Option<Duration>,
    /// The largest body that is taken whole, in octets.
    pub(crate) max_body: usize,
    /// Where the authorization table comes from, if it is fetched.
    pub(crate) table_source: Option<TableSource>,
    /// The time of all its links, and of the table.
    pub(crate) clock: Clock,
    /// All links there are, for news that concern each.
    pub(crate) links: OnceLock<Links>,
    pool: Pool,
}

/// Fetches the authorization table as JSON, or says why it cannot be had.
pub(crate) type TableSource = Arc<dyn Fn() -> Result<Bytes, String> + Send + Sync>;

/// Lists the links of a service.
pub(crate) type Links = Box<dyn Fn() -> Vec<Arc<Link>> + Send + Sync>;

impl Home {
    pub(crate) fn new(house: ServiceHouse<Handler, Listener>) -> Self {
        Self {
            house,
            is_service: false,
            max_active: limits::REQUESTS_PER_CONNECTION,
            handler_timeout: None,
            max_body: limits::COLLECTED_BODY,
            table_source: None,
            clock: Clock::start(),
            links: OnceLock::new(),
            pool: Pool::default(),
        }
    }

    /// The authorization table has come, or not: whoever waits for it goes on.
    pub(crate) fn resume_all(&self) {
        for link in self.links.get().map(|links| links()).unwrap_or_default() {
            let mut core = link.lock();
            core.resume(link.now(), self);
            core.flush_or_leave();
        }
    }

    /// Has handlers run on threads of their own.
    pub(crate) fn start(&self, link: &Arc<Link>, work: Vec<Work>) {
        self.pool
            .submit(work.into_iter().map(|work| work.ready(link)));
    }
}
