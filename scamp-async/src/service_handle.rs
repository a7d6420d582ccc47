//! A service while it runs, as others ask and tell it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_io::{AsyncRead, AsyncWrite};
use scamp_host::{Presence, RegisterError};
use scamp_proto::Session;
use scamp_proto::service::{
    House, IntoAction, Limits, Occurrence, ServiceNote, Stats as ServiceStats,
};
use scamp_proto::session::{self, Side};
use scamp_proto::wire::RemoteError;
use scamp_tls::{Channel, Fingerprint, ServerTls, Tls};

use crate::actions::into_handler;
use crate::drive::Driver;
use crate::office::{Members, Office};
use crate::registry::Registry;
use crate::reply::Reply;
use crate::request::Request;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::stop::Stop;

/// A service, for use while it runs; cheap to clone.
pub struct ServiceHandle<R> {
    pub(crate) runtime: R,
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    tls: Option<ServerTls>,
    pub(crate) office: Arc<Office>,
    session: session::Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) limits: Limits,
    pub(crate) stop: Stop,
    /// Whether weight 0 is announced (V-13).
    pub(crate) suspended: AtomicBool,
    /// Whether new connections are refused.
    pub(crate) refuses: AtomicBool,
    listens: bool,
    /// Its place on the bus, if it is announced.
    pub(crate) presence: Option<Presence>,
    accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Core {
    pub(crate) fn new(
        office: Office,
        tls: Option<ServerTls>,
        session: session::Config,
        limits: Limits,
        presence: Option<Presence>,
        listens: bool,
    ) -> Arc<Self> {
        let registry = Registry::new(limits.clone());
        let all = Arc::downgrade(&registry);
        let members: Members =
            Box::new(move || all.upgrade().map(|all| all.all()).unwrap_or_default());
        // It is new, so nothing is set yet.
        let _ = office.members.set(members);
        let office = Arc::new(office);
        if let Some(presence) = &presence {
            let office = Arc::downgrade(&office);
            presence.on_ticket_keys(move |keys| {
                if let Some(office) = office.upgrade() {
                    office.house.guard(|guard| guard.set_keys(keys));
                }
            });
        }
        Arc::new(Self {
            tls,
            office,
            session,
            registry,
            limits,
            stop: Stop::default(),
            suspended: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            listens,
            presence,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }
}

impl<R> ServiceHandle<R> {
    /// Ends [`Service::run`](crate::Service::run) in good order; a second call does not wait for requests in progress, and
    /// a third not for the last announcements.
    pub fn shutdown(&self) {
        if !self.core.listens {
            self.core.refuses.store(true, Ordering::Release);
        }
        self.core.stop.stop();
    }

    /// Announces that the service wants no requests; those that come are served all the same (V-13).
    pub fn suspend(&self) {
        self.core.suspended.store(true, Ordering::Release);
        self.core.stop.wake();
    }

    /// Announces that the service wants requests again.
    pub fn resume(&self) {
        self.core.suspended.store(false, Ordering::Release);
        self.core.stop.wake();
    }

    /// Adds an action while the service runs, which is announced at once (V-1, D-28); see
    /// [`Actions::action`](crate::Actions::action).
    ///
    /// # Errors
    ///
    /// [`RegisterError`]: the name is none or taken, or the service could not be announced with it.
    pub fn add_action<F, W>(&self, action: impl IntoAction, handler: F) -> Result<(), RegisterError>
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
    {
        let (action, handler) = (action.into_action()?, into_handler(handler));
        let presence = self.core.presence.as_ref();
        let house = &self.core.office.house;
        house.change(presence, |table| Ok(table.insert(action, handler)?))
    }

    /// As [`add_action`](Self::add_action), for a handler that reads its body as it comes.
    ///
    /// # Errors
    ///
    /// As [`add_action`](Self::add_action).
    pub fn add_streaming_action<F, W>(
        &self,
        action: impl IntoAction,
        handler: F,
    ) -> Result<(), RegisterError>
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
    {
        self.add_action(action.into_action()?.streaming(), handler)
    }

    /// Takes an action from the service, which is announced without it at once (V-1, D-28).
    ///
    /// Requests that have reached the action are served; others are answered `no_action`.
    ///
    /// # Errors
    ///
    /// [`RegisterError::NoSuch`].
    pub fn remove_action(&self, name: &str, version: u32) -> Result<(), RegisterError> {
        let presence = self.core.presence.as_ref();
        self.core.office.house.remove(presence, name, version)
    }

    /// Announces how much of the requests the service wants, compared with others; 1 at first.
    pub fn set_weight(&self, weight: u32) {
        if let Some(presence) = &self.core.presence {
            presence.set_weight(weight);
        }
    }

    /// What it is called on the bus: its name, and letters that differ in each process (V-3); `None`
    /// for a service that is not announced.
    pub fn identity(&self) -> Option<&str> {
        self.core.presence.as_ref().map(Presence::identity)
    }

    /// Publishes a value, as JSON, under a key of a topic; `null` takes it away (S-41).
    ///
    /// Returns whether that was news: an equal value is none, and neither is what is not JSON.
    pub fn publish(&self, code: &str, key: &str, json: &str) -> bool {
        let core = &self.core;
        core.office.house.with_board(|board| {
            let Some(change) = board.set(code, key, json) else {
                return false;
            };
            for shared in core.registry.all() {
                shared.with(|state, now| {
                    state.session().publish(now, &change);
                    state.touch();
                });
            }
            true
        })
    }

    /// What clients pin; `None` without TLS.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.core
            .tls
            .as_ref()
            .map(|tls| tls.identity().fingerprint())
    }

    #[cfg(test)]
    pub(crate) fn members(&self) -> Vec<Arc<Shared>> {
        self.core.registry.all()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.core.registry.len()
    }

    /// Takes what is worth a line in a log; at most 1024 are kept, the newest.
    pub fn notes(&self) -> Vec<ServiceNote> {
        self.core.office.take_notes()
    }

    /// What it does at the moment, and has done.
    pub fn stats(&self) -> ServiceStats {
        let core = &self.core;
        let house = &core.office.house;
        let mut stats = ServiceStats {
            total_clients_accepted: core.accepted.load(Ordering::Relaxed),
            connections_refused: core.refused.load(Ordering::Relaxed),
            requests_started: house.started(),
            requests_active: house.active(),
            requests_failed: house.failed(),
            ..ServiceStats::default()
        };
        core.registry.count(&mut stats);
        if let Some(presence) = &core.presence {
            stats.announcements_sent = presence.sent();
        }
        stats
    }

    /// Takes what is worth a line in a log about announcing; the newest 256 are kept.
    pub fn presence_notes(&self) -> Vec<String> {
        let presence = self.core.presence.as_ref();
        presence.map(Presence::notes).unwrap_or_default()
    }
}

impl<R: Runtime> ServiceHandle<R> {
    /// Serves a byte stream that is ready, as if it had been accepted from `address`.
    ///
    /// Returns whether there was room for it.
    pub fn serve<S>(&self, stream: S, address: SocketAddr) -> bool
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let core = &self.core;
        if !core.registry.has_room() || core.refuses.load(Ordering::Acquire) {
            core.refused.fetch_add(1, Ordering::Relaxed);
            core.office.tell(Some(address), Occurrence::Refused);
            return false;
        }
        core.accepted.fetch_add(1, Ordering::Relaxed);
        let now = self.runtime.now();
        let session = Session::new(core.session.clone(), Side::Server, now);
        let machine = match &core.tls {
            None => Channel::Plain(Box::new(session)),
            Some(tls) => Channel::Tls(Box::new(Tls::server(session, tls, now))),
        };
        let runtime = self.runtime.clone();
        let shared = Shared::new(
            machine,
            move || runtime.now(),
            core.office.clone(),
            Some(address),
        );
        let place = core.registry.enter(shared.clone(), address.ip());
        self.runtime.spawn(Driver::new(
            self.runtime.clone(),
            shared,
            stream,
            Some(place),
        ));
        true
    }

    pub(crate) fn close_all(&self) {
        for shared in self.core.registry.all() {
            shared.with(|state, now| {
                state.session().close(now);
                state.touch();
            });
        }
    }
}

impl<R: Clone> Clone for ServiceHandle<R> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            core: self.core.clone(),
        }
    }
}

impl<R> fmt::Debug for ServiceHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
