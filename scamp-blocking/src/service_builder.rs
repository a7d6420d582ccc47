//! What there is to be set of a service.

use std::fmt;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use scamp_host::{Presence, ServiceHouse, ServiceSettings, SetupError};
use scamp_proto::service::{Access, ActionError, IntoAction};
use scamp_proto::wire::RemoteError;
use scamp_tls::Options;

use crate::actions::{Actions, Reply, Request};
use crate::home::{Home, TableSource};
use crate::requester::Requester;
use crate::service::{Service, Shared};

/// What there is to be set before listening.
#[derive(Clone)]
pub struct ServiceBuilder {
    settings: ServiceSettings,
    actions: Actions,
    table_source: Option<TableSource>,
}

impl ServiceBuilder {
    pub(crate) fn new(settings: ServiceSettings) -> Self {
        Self {
            settings,
            actions: Actions::default(),
            table_source: None,
        }
    }

    /// Adds an action; see [`Actions::action`].
    ///
    /// # Errors
    ///
    /// [`ActionError`].
    pub fn action(
        self,
        action: impl IntoAction,
        handler: impl Fn(Request) -> Result<Reply, RemoteError> + Send + Sync + 'static,
    ) -> Result<Self, ActionError> {
        let actions = self.actions.action(action, handler)?;
        Ok(Self { actions, ..self })
    }

    /// Adds an action that reads its body as it comes; see [`Actions::streaming_action`].
    ///
    /// # Errors
    ///
    /// [`ActionError`].
    pub fn streaming_action(
        self,
        action: impl IntoAction,
        handler: impl Fn(Request) -> Result<Reply, RemoteError> + Send + Sync + 'static,
    ) -> Result<Self, ActionError> {
        let actions = self.actions.streaming_action(action, handler)?;
        Ok(Self { actions, ..self })
    }

    /// Sets what hears notifications; see [`Actions::on_notify`].
    pub fn on_notify(self, listener: impl Fn(Request) + Send + Sync + 'static) -> Self {
        Self {
            actions: self.actions.on_notify(listener),
            ..self
        }
    }

    /// Sets what becomes of requests for actions that nothing is said about: they are refused, unless
    /// this says otherwise (T-9).
    pub fn default_access(self, access: Access) -> Self {
        Self {
            actions: self.actions.default_access(access),
            ..self
        }
    }

    /// Sets what fetches the authorization table, as JSON; its errors are for logs. It runs on a
    /// thread of its own, one at a time, and must come to an end.
    pub fn table_source(
        self,
        fetch: impl Fn() -> Result<Bytes, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            table_source: Some(Arc::new(fetch)),
            ..self
        }
    }

    /// Gives the service a requester, with which it fetches the authorization table from
    /// `Auth.getAuthzTable` when it needs it (T-13, T-16).
    ///
    /// From then on the table has a say about every action that is not `noauth`. The requester must
    /// not need this very service for it (T-17).
    pub fn requester(self, requester: &Requester) -> Self {
        let requester = requester.clone();
        let table = self.settings.remote_table.clone();
        self.table(table).table_source(move || {
            let table = requester.call_raw("Auth.getAuthzTable", "{}");
            table
                .map(|reply| reply.body)
                .map_err(|error| error.to_string())
        })
    }

    /// Sets all actions at once.
    pub fn actions(self, actions: Actions) -> Self {
        Self { actions, ..self }
    }

    scamp_host::service_settings!();

    /// Listens on an address; port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// Those of the operating system, and [`InvalidInput`](io::ErrorKind::InvalidInput) for TLS
    /// settings that cannot work together.
    pub fn bind(self, address: impl ToSocketAddrs) -> io::Result<Service> {
        self.listen(TcpListener::bind(address)?)
    }

    /// Takes over a listener that is there already.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn listen(mut self, listener: TcpListener) -> io::Result<Service> {
        self.settings.build_in(&mut self.actions.roster.table);
        self.start(vec![listener], None)
    }

    /// Listens where the configuration says, to be announced once it runs; for a service made by
    /// [`Service::from_config`].
    ///
    /// # Errors
    ///
    /// [`SetupError`]: no free port, no socket, actions that cannot be announced, TLS settings that
    /// cannot work together, or nothing that says where to listen.
    pub fn build(mut self) -> Result<Service, SetupError> {
        let site = self.settings.site.take().ok_or(SetupError::NoAddress)?;
        self.settings.build_in(&mut self.actions.roster.table);
        let (listeners, presence) = site.open(self.actions.roster.table.iter())?;
        Ok(self.start(listeners, Some(presence))?)
    }

    fn start(self, listeners: Vec<TcpListener>, presence: Option<Presence>) -> io::Result<Service> {
        let mut addresses = Vec::new();
        for listener in &listeners {
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
        }
        let (wake, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let settings = self.settings;
        let tls = settings.server_tls(Some(Options::default()))?;
        let limits = settings.limits;
        let house = ServiceHouse::new(self.actions.roster, settings.guard, limits.max_requests);
        let mut home = Home::new(house);
        home.is_service = true;
        home.max_active = limits.max_requests_per_connection;
        home.handler_timeout = limits.handler_timeout;
        home.table_source = self.table_source;
        home.max_body = settings.session.connection.max_body;
        let shared = Shared::new(home, tls, settings.session, limits, presence, waker);
        Ok(Service {
            addresses,
            listeners,
            shared,
            wake,
        })
    }
}

impl fmt::Debug for ServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder")
            .field("settings", &self.settings)
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}
