//! Actions offered on a port.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use scamp_proto::Session;
use scamp_proto::auth::{TableState, TicketKeys};
use scamp_proto::service::{
    Access, ActionError, Guard, House, IntoAction, Limits, Name, Occurrence, ServiceNote,
    Stats as ServiceStats,
};
use scamp_proto::session::{self, Side};
use scamp_proto::wire::RemoteError;
use scamp_tls::{Channel, ConfigError, Fingerprint, Identity, Options, ServerTls, Tls};

use crate::actions::Actions;
use crate::dial::default_options;
use crate::drive::Driver;
use crate::office::{Members, Office, TableSource};
use crate::registry::Registry;
use crate::reply::Reply;
use crate::request::Request;
use crate::runtime::{Listener, Runtime, Timer, until};
use crate::shared::Shared;
use crate::stop::Stop;

/// A service that listens, and serves once it is [`run`](Self::run).
///
/// Each connection has a task, and so has each handler that is not done at once; none of them can
/// delay another. A handler that panics answers `general`, and nothing else comes of it.
///
/// # Example
///
/// ```
/// use scamp_async::{Identity, Reply, Runtime, Service};
///
/// async fn serve<R: Runtime + Default>(identity: Identity) -> Result<(), Box<dyn std::error::Error>> {
///     let service = Service::<R>::builder(identity)
///         .action(("Greetings.hello", "noauth"), |request| async move {
///             Ok(Reply::new(format!("Hello {}", request.text()?)))
///         })?
///         .bind("127.0.0.1:0")?;
///     println!("{} {}", service.local_addr(), service.handle().fingerprint().expect("it has TLS"));
///     service.run().await;
///     Ok(())
/// }
/// ```
pub struct Service<R: Runtime> {
    listener: R::Listener,
    address: SocketAddr,
    handle: ServiceHandle<R>,
}

impl<R: Runtime> Service<R> {
    /// A service with this certificate and key.
    pub fn builder(identity: Identity) -> ServiceBuilder<R>
    where
        R: Default,
    {
        ServiceBuilder::new(R::default(), Some(identity))
    }

    /// A service without TLS, for tests.
    pub fn plain() -> ServiceBuilder<R>
    where
        R: Default,
    {
        ServiceBuilder::new(R::default(), None)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What clients pin; `None` without TLS.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.handle.fingerprint()
    }

    /// For use while it runs.
    pub fn handle(&self) -> ServiceHandle<R> {
        self.handle.clone()
    }

    /// Serves until [`ServiceHandle::shutdown`], and returns when the last connection is closed.
    ///
    /// Shutting down stops listening, refuses new requests, and waits for those in progress for at
    /// most [`Limits::shutdown_drain`]; what is left of replies then ends with TXERR `service shutting
    /// down` (V-12). If its future is dropped instead, connections close at once.
    pub async fn run(self) {
        let Self {
            listener, handle, ..
        } = self;
        let _closing = CloseAll(&handle);
        let mut door = Door::<R>::new(listener, &handle);
        poll_fn(|cx| door.poll(cx)).await;
        drop(door);

        let core = &*handle.core;
        for shared in core.registry.all() {
            shared.with(|state, now| {
                state.session().drain(now);
                state.touch();
            });
        }
        let patience = handle.runtime.now() + core.limits.shutdown_drain;
        let empty_or_hurried = poll_fn(|cx| match core.registry.poll_empty(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => core.stop.poll_count(2, cx),
        });
        until(handle.runtime.timer(), patience, empty_or_hurried).await;

        for shared in core.registry.all() {
            shared.with(|state, now| {
                state.cut_replies(now);
                state.session().close(now);
                state.touch();
            });
        }
        let patience = handle.runtime.now() + FAREWELL;
        let empty = poll_fn(|cx| core.registry.poll_empty(cx));
        until(handle.runtime.timer(), patience, empty).await;
    }

    /// Serves until `signal` is done, and then shuts down as [`run`](Self::run) does.
    pub async fn run_until(self, signal: impl Future) {
        let handle = self.handle();
        let mut run = pin!(self.run());
        let mut signal = pin!(signal);
        let mut signalled = false;
        poll_fn(|cx| {
            if !signalled && signal.as_mut().poll(cx).is_ready() {
                signalled = true;
                handle.shutdown();
            }
            run.as_mut().poll(cx)
        })
        .await;
    }
}

impl<R: Runtime> fmt::Debug for Service<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Service`].
pub struct ServiceBuilder<R> {
    runtime: R,
    identity: Option<Identity>,
    actions: Actions,
    session: session::Config,
    options: Option<Options>,
    limits: Limits,
    guard: Guard,
    table_source: Option<TableSource>,
    name: Option<Name>,
    has_queue_depth: bool,
    has_documentation: bool,
    documents_all: bool,
}

impl<R: Runtime> ServiceBuilder<R> {
    /// A service of this runtime; without an identity it has no TLS.
    pub fn new(runtime: R, identity: Option<Identity>) -> Self {
        let session = session::Config {
            subscriptions: true,
            ..session::Config::new(Side::Server)
        };
        Self {
            runtime,
            identity,
            actions: Actions::new(),
            session,
            options: None,
            limits: Limits::for_files(open_files()),
            guard: Guard::default(),
            table_source: None,
            name: None,
            has_queue_depth: true,
            has_documentation: true,
            documents_all: false,
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

    /// Sets the keys that tickets are verified with; without any, no ticket is valid.
    pub fn tickets(mut self, keys: TicketKeys) -> Self {
        self.guard.set_keys(keys);
        self
    }

    /// Sets how far the clocks of those who issue tickets may be from ours (`ticket.clock_skew`).
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.guard.set_skew(skew);
        self
    }

    /// Sets the authorization table (T-13). One that is [`remote`](TableState::remote) is fetched
    /// with what [`table_source`](Self::table_source) sets.
    pub fn table(mut self, table: TableState) -> Self {
        self.guard.set_table(table);
        self
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

    /// Sets the sector the service is in; `main` unless set.
    pub fn sector(mut self, sector: &str) -> Self {
        self.guard.set_sector(sector);
        self
    }

    /// Names the service, for its identity and for `NAME.queue_depth` (V-3, V-8).
    pub fn name(self, name: Name) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// Sets whether a service with a name offers `NAME.queue_depth`; it does unless told otherwise
    /// (V-8).
    pub fn queue_depth(self, is_offered: bool) -> Self {
        Self {
            has_queue_depth: is_offered,
            ..self
        }
    }

    /// Sets whether `_meta.documentation` is offered, which lists the actions that are `public`; it
    /// is unless told otherwise (V-8).
    pub fn documentation(self, is_offered: bool) -> Self {
        Self {
            has_documentation: is_offered,
            ..self
        }
    }

    /// Sets whether `_meta.documentation` lists actions that are not `public`, too; those that are
    /// `secret` never.
    pub fn documentation_all(self, all: bool) -> Self {
        Self {
            documents_all: all,
            ..self
        }
    }

    /// Sets the settings of each connection's session. Subscriptions are served unless it says
    /// otherwise.
    pub fn session(self, session: session::Config) -> Self {
        Self { session, ..self }
    }

    /// Sets the settings of TLS.
    pub fn tls(self, options: Options) -> Self {
        Self {
            options: Some(options),
            ..self
        }
    }

    /// Sets what the service bears.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

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

    /// Listens on a socket that is ready.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn listen(self, listener: R::Listener) -> io::Result<Service<R>> {
        let address = listener.local_addr()?;
        Ok(Service {
            listener,
            address,
            handle: self.detached()?,
        })
    }

    /// A service that does not listen: connections are brought to it with
    /// [`ServiceHandle::serve`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn detached(self) -> io::Result<ServiceHandle<R>> {
        let tls = match self.identity {
            None => None,
            Some(identity) => {
                let options = self.options.or_else(default_options);
                let options = options.ok_or_else(|| bad_tls("no crypto provider"))?;
                Some(ServerTls::with_options(identity, &options).map_err(bad_config)?)
            }
        };
        let limits = self.limits;
        let mut actions = self.actions;
        actions.build_in(
            self.name.as_ref().filter(|_| self.has_queue_depth),
            self.has_documentation.then_some(self.documents_all),
        );
        let office = actions
            .into_office()
            .of_service(limits.max_requests, limits.max_requests_per_connection)
            .with_guard(self.guard, self.table_source);
        let registry = Registry::new(limits.clone());
        let all = Arc::downgrade(&registry);
        let members: Members =
            Box::new(move || all.upgrade().map(|all| all.all()).unwrap_or_default());
        // It is new, so nothing is set yet.
        let _ = office.members.set(members);
        let core = Core {
            tls,
            office: Arc::new(office),
            session: self.session,
            registry,
            limits,
            stop: Stop::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok(ServiceHandle {
            runtime: self.runtime,
            core: Arc::new(core),
        })
    }
}

fn bad_tls(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn bad_config(error: ConfigError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl<R> fmt::Debug for ServiceBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder")
            .field("actions", &self.actions)
            .field("limits", &self.limits)
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

/// A service, for use while it runs; cheap to clone.
pub struct ServiceHandle<R> {
    runtime: R,
    core: Arc<Core>,
}

struct Core {
    tls: Option<ServerTls>,
    office: Arc<Office>,
    session: session::Config,
    registry: Arc<Registry>,
    limits: Limits,
    stop: Stop,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl<R> ServiceHandle<R> {
    /// Ends [`Service::run`] in good order; a second call does not wait for requests in progress.
    pub fn shutdown(&self) {
        self.core.stop.stop();
    }

    /// Publishes a value, as JSON, under a key of a topic; `null` takes it away (S-41).
    ///
    /// Returns whether that was news: an equal value is none, and neither is what is not JSON.
    pub fn publish(&self, code: &str, key: &str, json: &str) -> bool {
        let core = &self.core;
        core.office.with_board(|board| {
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
        let office = &core.office;
        let mut stats = ServiceStats {
            total_clients_accepted: core.accepted.load(Ordering::Relaxed),
            connections_refused: core.refused.load(Ordering::Relaxed),
            requests_started: office.started.load(Ordering::Relaxed),
            requests_active: office.active(),
            requests_failed: office.failed.load(Ordering::Relaxed),
            ..ServiceStats::default()
        };
        core.registry.count(&mut stats);
        stats
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
        if !core.registry.has_room() || core.stop.is_stopped() {
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

    fn close_all(&self) {
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

/// Closes what is open when a service's future ends, in whatever way.
struct CloseAll<'a, R: Runtime>(&'a ServiceHandle<R>);

impl<R: Runtime> Drop for CloseAll<'_, R> {
    fn drop(&mut self) {
        self.0.core.stop.stop();
        self.0.close_all();
    }
}

/// Where connections come in.
struct Door<'a, R: Runtime> {
    listener: R::Listener,
    handle: &'a ServiceHandle<R>,
    timer: R::Timer,
    /// How long the next error makes it wait; reset by success.
    pause: Duration,
    waiting: bool,
    spare: Spare,
}

impl<'a, R: Runtime> Door<'a, R> {
    fn new(listener: R::Listener, handle: &'a ServiceHandle<R>) -> Self {
        let timer = handle.runtime.timer();
        let spare = Spare::hold();
        Self {
            listener,
            handle,
            timer,
            pause: FIRST_PAUSE,
            waiting: false,
            spare,
        }
    }

    /// Accepts until the service stops. No error ends it (HD-17).
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ACCEPTS {
            if self.handle.core.stop.poll_count(1, cx).is_ready() {
                return Poll::Ready(());
            }
            if self.waiting {
                if self.timer.poll_alarm(cx).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = false;
            }
            match self.listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((stream, address))) => {
                    self.pause = FIRST_PAUSE;
                    self.handle.serve(stream, address);
                }
                Poll::Ready(Err(error)) => {
                    let core = &self.handle.core;
                    let what = Occurrence::AcceptFailed(error.to_string());
                    core.office.tell(None, what);
                    // Where no file is left to accept with, the one held back is used to take the
                    // connection and close it, so that its client need not wait.
                    self.spare.release();
                    if let Poll::Ready(Ok(_)) = self.listener.poll_accept(cx) {
                        core.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    self.spare = Spare::hold();
                    self.timer
                        .reset(Some(self.handle.runtime.now() + self.pause));
                    self.pause = (self.pause * 2).min(LAST_PAUSE);
                    self.waiting = true;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A file held back for when there are no more.
struct Spare(Option<std::fs::File>);

impl Spare {
    fn hold() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// Connections accepted before other tasks run.
const ACCEPTS: usize = 32;

/// How long the first of a row of accept errors is waited out (HD-17).
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How long any of them is, at most.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How long connections have to flush and to wait for the peer's close, when all is over.
const FAREWELL: Duration = Duration::from_secs(3);
