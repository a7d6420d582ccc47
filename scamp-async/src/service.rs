//! Actions offered on a port.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use scamp_host::{Presence, SetupError, Site};
use scamp_proto::Session;
use scamp_proto::auth::{TableState, TicketKeys};
use scamp_proto::config::Config;
use scamp_proto::service::{
    Access, ActionError, Guard, House, IntoAction, Lifecycle, Limits, Name, Occurrence, Order,
    ServiceNote, Stats as ServiceStats,
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
use crate::runtime::{Listener, Runtime, Timer};
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
    listeners: Vec<R::Listener>,
    addresses: Vec<SocketAddr>,
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

    /// A service that is found by its actions: its name, key, certificate, addresses and limits are
    /// those of the configuration. Add actions, then [`build`](ServiceBuilder::build) it.
    ///
    /// Tickets are verified with `auth.ticket_verify_key`. Actions that say nothing of who may call
    /// them are refused to all, unless [`default_access`](ServiceBuilder::default_access) says
    /// otherwise (T-9).
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key of the configuration, or the file.
    pub fn from_config(config: &Config, name: &str) -> Result<ServiceBuilder<R>, SetupError>
    where
        R: Default,
    {
        let site = Site::from_config(config, name)?;
        let mut builder = ServiceBuilder::new(R::default(), Some(site.identity().clone()))
            .name(site.name().clone())
            .sector(config.bus_default_sector())
            .session(scamp_host::server_config(config)?)
            .limits(scamp_host::service_limits(config, open_files())?)
            .clock_skew(config.ticket_clock_skew()?);
        if let Some(keys) = scamp_host::config::ticket_keys(config)? {
            builder = builder.tickets(keys);
        }
        builder.site = Some(site);
        Ok(builder)
    }

    /// A service without TLS, for tests.
    pub fn plain() -> ServiceBuilder<R>
    where
        R: Default,
    {
        ServiceBuilder::new(R::default(), None)
    }

    /// Where it listens; the first of its addresses, if there are several.
    pub fn local_addr(&self) -> SocketAddr {
        // There is at least one.
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(any)
    }

    /// Everywhere it listens (C-10).
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
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
    /// A service that is announced first says that it leaves, and serves for `service.shutdown_grace`
    /// more. Then it stops listening, refuses new requests, and waits for those in progress for at
    /// most [`Limits::shutdown_drain`]; what is left of replies ends with TXERR `service shutting
    /// down` (V-12). If its future is dropped instead, connections close at once.
    pub async fn run(self) {
        let Self {
            listeners, handle, ..
        } = self;
        let _closing = CloseAll(&handle);
        let mut running = Running::new(listeners, &handle);
        poll_fn(|cx| running.poll(cx)).await;
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
            .field("addresses", &self.addresses)
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
    site: Option<Site>,
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
            site: None,
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

    /// Listens where the configuration says, to be announced once it runs; for a service made by
    /// [`Service::from_config`].
    ///
    /// # Errors
    ///
    /// [`SetupError`]: no free port, no socket, actions that cannot be announced, TLS options that do
    /// not fit, or nothing that says where to listen.
    pub fn build(mut self) -> Result<Service<R>, SetupError> {
        let site = self.site.take().ok_or(SetupError::NoAddress)?;
        let runtime = self.runtime.clone();
        let actions = self.finish_actions();
        let (sockets, presence) = site.open(actions.table().iter())?;
        let listeners = sockets.into_iter().map(|socket| runtime.adopt(socket));
        let listeners: Vec<_> = listeners.collect::<io::Result<_>>()?;
        Ok(self.start(actions, listeners, Some(presence))?)
    }

    /// Listens on a socket that is ready.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn listen(mut self, listener: R::Listener) -> io::Result<Service<R>> {
        let actions = self.finish_actions();
        self.start(actions, vec![listener], None)
    }

    /// A service that does not listen: connections are brought to it with
    /// [`ServiceHandle::serve`].
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn detached(mut self) -> io::Result<ServiceHandle<R>> {
        let actions = self.finish_actions();
        Ok(self.start(actions, Vec::new(), None)?.handle)
    }

    /// All actions, with those that are built in.
    fn finish_actions(&mut self) -> Actions {
        let mut actions = std::mem::take(&mut self.actions);
        actions.build_in(
            self.name.as_ref().filter(|_| self.has_queue_depth),
            self.has_documentation.then_some(self.documents_all),
        );
        actions
    }

    fn start(
        self,
        actions: Actions,
        listeners: Vec<R::Listener>,
        presence: Option<Presence>,
    ) -> io::Result<Service<R>> {
        let addresses = listeners.iter().map(Listener::local_addr);
        let addresses = addresses.collect::<io::Result<_>>()?;
        let tls = match self.identity {
            None => None,
            Some(identity) => {
                let options = self.options.or_else(default_options);
                let options = options.ok_or_else(|| bad_tls("no crypto provider"))?;
                Some(ServerTls::with_options(identity, &options).map_err(bad_config)?)
            }
        };
        let limits = self.limits;
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
            suspended: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            listens: !listeners.is_empty(),
            presence,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Ok(Service {
            listeners,
            addresses,
            handle: ServiceHandle {
                runtime: self.runtime,
                core: Arc::new(core),
            },
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
    /// Whether weight 0 is announced (V-13).
    suspended: AtomicBool,
    /// Whether new connections are refused.
    refuses: AtomicBool,
    listens: bool,
    /// Its place on the bus, if it is announced.
    presence: Option<Presence>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl<R> ServiceHandle<R> {
    /// Ends [`Service::run`] in good order; a second call does not wait for requests in progress, and
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
        self.0.core.refuses.store(true, Ordering::Release);
        self.0.core.stop.stop();
        self.0.close_all();
    }
}

/// A service that runs: its doors, and the machine that says when to do what (V-12).
struct Running<'a, R: Runtime> {
    handle: &'a ServiceHandle<R>,
    doors: Vec<Door<'a, R>>,
    life: Lifecycle,
    timer: R::Timer,
    /// How often shutting down was asked for.
    stops: usize,
    /// Whether connections are being drained.
    leaving: bool,
}

impl<'a, R: Runtime> Running<'a, R> {
    fn new(listeners: Vec<R::Listener>, handle: &'a ServiceHandle<R>) -> Self {
        let core = &handle.core;
        let mut life = Lifecycle::new(core.presence.is_some()).drain(core.limits.shutdown_drain);
        if let Some(presence) = &core.presence {
            life = life.grace(presence.grace());
        }
        life.listening(handle.runtime.now());
        let doors = listeners.into_iter();
        Self {
            handle,
            doors: doors.map(|listener| Door::new(listener, handle)).collect(),
            life,
            timer: handle.runtime.timer(),
            stops: 0,
            leaving: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.tell(cx);
            let Some(order) = self.life.poll_order() else {
                break;
            };
            if order == Order::Return {
                return Poll::Ready(());
            }
            self.perform(order, cx);
        }
        for door in &mut self.doors {
            door.poll(cx);
        }
        Poll::Pending
    }

    /// Tells the machine what has happened.
    fn tell(&mut self, cx: &mut Context<'_>) {
        let core = &self.handle.core;
        let now = self.handle.runtime.now();
        while core.stop.poll_count(self.stops + 1, cx).is_ready() {
            self.stops += 1;
            self.life.shutdown(now);
        }
        match core.suspended.load(Ordering::Acquire) {
            true => self.life.suspend(),
            false => self.life.resume(),
        }
        if self.leaving && core.registry.poll_empty(cx).is_ready() {
            self.life.closed(now);
        }
        if core.presence.as_ref().is_some_and(Presence::has_left) {
            self.life.left();
        }
        self.timer.reset(self.life.poll_timeout());
        if self.timer.poll_alarm(cx).is_ready() {
            self.life.handle_timeout(now);
        }
    }

    fn perform(&mut self, order: Order, cx: &Context<'_>) {
        let core = &self.handle.core;
        if let Some(presence) = &core.presence {
            if order == Order::Leave {
                let waker = cx.waker().clone();
                presence.when_left(move || waker.wake());
            }
            presence.perform(order);
        }
        match order {
            Order::StopListening => {
                core.refuses.store(true, Ordering::Release);
                self.doors.clear();
            }
            Order::Refuse => {
                self.leaving = true;
                for shared in core.registry.all() {
                    shared.with(|state, now| {
                        state.session().drain(now);
                        state.touch();
                    });
                }
            }
            Order::CutReplies => {
                for shared in core.registry.all() {
                    shared.with(|state, now| {
                        state.cut_replies(now);
                        state.touch();
                    });
                }
            }
            Order::Close => self.handle.close_all(),
            _ => {}
        }
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

    /// Accepts who waits. No error ends it (HD-17).
    fn poll(&mut self, cx: &mut Context<'_>) {
        for _ in 0..ACCEPTS {
            if self.waiting {
                if self.timer.poll_alarm(cx).is_pending() {
                    return;
                }
                self.waiting = false;
            }
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
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
