//! What there is to be set of a service.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use scamp_host::{Presence, ServiceSettings, SetupError};
use scamp_proto::config::Config;
use scamp_proto::service::{Access, ActionError, IntoAction};
use scamp_proto::wire::RemoteError;
use scamp_tls::Identity;

use crate::actions::Actions;
use crate::dial::default_options;
use crate::office::{Office, TableSource};
use crate::reply::Reply;
use crate::request::Request;
use crate::requester::Requester;
use crate::runtime::{Listener, Runtime};
use crate::service::Service;
use crate::service_handle::{Core, ServiceHandle};

/// Builds a [`Service`].
pub struct ServiceBuilder<R> {
    runtime: R,
    settings: ServiceSettings,
    actions: Actions,
    table_source: Option<TableSource>,
}

impl<R: Runtime> ServiceBuilder<R> {
    /// A service of this runtime; without an identity it has no TLS.
    pub fn new(runtime: R, identity: Option<Identity>) -> Self {
        Self::with_settings(runtime, ServiceSettings::new(identity, open_files()))
    }

    /// A service that is found by its actions, as
    /// [`Service::from_config`](crate::Service::from_config) makes it.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key of the configuration, or the file.
    pub fn from_config(runtime: R, config: &Config, name: &str) -> Result<Self, SetupError> {
        let settings = ServiceSettings::from_config(config, name, open_files())?;
        Ok(Self::with_settings(runtime, settings))
    }

    fn with_settings(runtime: R, settings: ServiceSettings) -> Self {
        Self {
            runtime,
            settings,
            actions: Actions::new(),
            table_source: None,
        }
    }

    /// Adds an action that gets its body whole.
    ///
    /// # Errors
    ///
    /// [`ActionError`] for a name that is none, or is there already (V-5).
    pub fn action<F, W>(self, action: impl IntoAction, handler: F) -> Result<Self, ActionError>
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
    {
        Ok(Self {
            actions: self.actions.action(action, handler)?,
            ..self
        })
    }

    /// Adds an action that is started when the header of a request is there, and reads the body as
    /// it comes (S-17).
    ///
    /// # Errors
    ///
    /// As [`action`](Self::action).
    pub fn streaming_action<F, W>(
        self,
        action: impl IntoAction,
        handler: F,
    ) -> Result<Self, ActionError>
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
    {
        Ok(Self {
            actions: self.actions.streaming_action(action, handler)?,
            ..self
        })
    }

    /// Sets what notifications are given to; see [`Actions::on_notify`].
    pub fn on_notify<F, W>(self, handler: F) -> Self
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        Self {
            actions: self.actions.on_notify(handler),
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

    /// Sets what fetches the authorization table, as JSON; its errors are for logs. It runs in a
    /// task of its own, one at a time, and must come to an end.
    pub fn table_source<F, W>(self, fetch: F) -> Self
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        Self {
            table_source: Some(Arc::new(move || Box::pin(fetch()))),
            ..self
        }
    }

    /// Gives the service a requester, with which it fetches the authorization table from
    /// `Auth.getAuthzTable` when it needs it (T-13, T-16).
    ///
    /// From then on the table has a say about every action that is not `noauth`. The requester must
    /// not need this very service for it (T-17).
    pub fn requester(self, requester: &Requester<R>) -> Self {
        let requester = requester.clone();
        let table = self.settings.remote_table.clone();
        self.table(table).table_source(move || {
            let requester = requester.clone();
            async move {
                let table = requester.call_raw("Auth.getAuthzTable", "{}").await;
                table
                    .map(|reply| reply.body)
                    .map_err(|error| error.to_string())
            }
        })
    }

    scamp_host::service_settings!();

    /// Listens on an address such as `0.0.0.0:30100`; port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// Those of the operating system, and [`io::ErrorKind::InvalidInput`] for TLS options that do
    /// not fit.
    pub fn bind(self, address: &str) -> io::Result<Service<R>> {
        let listener = self.runtime.bind(address)?;
        self.listen(listener)
    }

    /// Listens where the configuration says, to be announced once it runs; for a service made by
    /// [`Service::from_config`].
    ///
    /// # Errors
    ///
    /// [`SetupError`]: no free port, no socket, actions that cannot be announced, TLS options that do
    /// not fit, or nothing that says where to listen.
    pub fn build(mut self) -> Result<Service<R>, SetupError> {
        let site = self.settings.site.take().ok_or(SetupError::NoAddress)?;
        self.settings.build_in(&mut self.actions.roster.table);
        let runtime = self.runtime.clone();
        let (sockets, presence) = site.open(self.actions.roster.table.iter())?;
        let listeners = sockets.into_iter().map(|socket| runtime.adopt(socket));
        let listeners: Vec<_> = listeners.collect::<io::Result<_>>()?;
        Ok(self.start(listeners, Some(presence))?)
    }

    /// Listens on a socket that is ready.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn listen(mut self, listener: R::Listener) -> io::Result<Service<R>> {
        self.settings.build_in(&mut self.actions.roster.table);
        self.start(vec![listener], None)
    }

    /// A service that does not listen: connections are brought to it with
    /// [`ServiceHandle::serve`](crate::ServiceHandle::serve).
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn detached(mut self) -> io::Result<ServiceHandle<R>> {
        self.settings.build_in(&mut self.actions.roster.table);
        Ok(self.start(Vec::new(), None)?.handle)
    }

    fn start(
        self,
        listeners: Vec<R::Listener>,
        presence: Option<Presence>,
    ) -> io::Result<Service<R>> {
        let addresses = listeners.iter().map(Listener::local_addr);
        let addresses = addresses.collect::<io::Result<_>>()?;
        let settings = self.settings;
        let tls = settings.server_tls(default_options())?;
        let office = Office::of_service(
            self.actions,
            settings.guard,
            self.table_source,
            &settings.limits,
        );
        let listens = !listeners.is_empty();
        let core = Core::new(
            office,
            tls,
            settings.session,
            settings.limits,
            presence,
            listens,
        );
        Ok(Service {
            listeners,
            addresses,
            handle: ServiceHandle {
                runtime: self.runtime,
                core,
            },
        })
    }
}

impl<R> fmt::Debug for ServiceBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder")
            .field("actions", &self.actions)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How many files the process may have open, as far as it can be known.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(1024).max(20)
}
