//! A service: what accepts connections and answers their requests.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags};
use scamp_host::{Presence, SetupError, Site};
use scamp_proto::CloseReason;
use scamp_proto::auth::{TableState, TicketKeys};
use scamp_proto::config::Config;
use scamp_proto::note::Newest;
use scamp_proto::service::{
    Access, ActionError, Guard, IntoAction, Lifecycle, Limits, Name, Occurrence, Order,
    ServiceNote, Stats as ServiceStats,
};
use scamp_proto::session::{self, Session, Side};
use scamp_proto::wire::RemoteError;
use scamp_tls::{Channel, ConfigError, Fingerprint, Identity, Options, ServerTls, Tls};

use crate::actions::{Actions, Reply, Request};
use crate::handshakes::Handshakes;
use crate::home::{Home, Links, TableSource};
use crate::link::{Link, STACK, Wait, reason_of};
use crate::socket::{Socket, Transport, files, wait_for};
use crate::waiters::Key;

/// A service that listens.
///
/// Each connection has a thread that reads it; handlers run on threads of a pool that grows as
/// needed, and send their replies themselves.
///
/// # Example
///
/// ```
/// use scamp_blocking::{Client, Pin, Reply, Service};
/// # let certificate = include_str!("../../scamp-tls/tests/data/rsa2048.crt");
/// # let key = include_str!("../../scamp-tls/tests/data/rsa2048.key");
/// # let identity = scamp_blocking::Identity::from_pem(certificate, key)?;
///
/// let service = Service::builder(identity)
///     .action(("Greetings.hello", "noauth"), |mut request| {
///         Ok(Reply::new(format!("Hello {}", request.text()?)))
///     })?
///     .bind("127.0.0.1:0")?;
/// let address = service.local_addr().to_string();
/// let pin = Pin::Fingerprint(service.fingerprint().expect("it uses TLS"));
/// let handle = service.handle();
/// let running = std::thread::spawn(move || service.run());
///
/// let client = Client::connect(&address, pin)?;
/// assert_eq!(client.call("Greetings.hello", "World")?.body, "Hello World");
///
/// drop(client);
/// handle.shutdown();
/// running.join().expect("no panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Service {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    wake: UnixStream,
}

impl Service {
    /// What there is to be set before listening.
    pub fn builder(identity: Identity) -> ServiceBuilder {
        ServiceBuilder::new(Some(identity))
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
    pub fn from_config(config: &Config, name: &str) -> Result<ServiceBuilder, SetupError> {
        let site = Site::from_config(config, name)?;
        let mut builder = ServiceBuilder::new(Some(site.identity().clone()))
            .name(site.name().clone())
            .sector(config.bus_default_sector())
            .session(scamp_host::server_config(config)?)
            .limits(scamp_host::service_limits(config, files())?)
            .clock_skew(config.ticket_clock_skew()?);
        if let Some(keys) = scamp_host::config::ticket_keys(config)? {
            builder = builder.tickets(keys);
        }
        builder.site = Some(site);
        Ok(builder)
    }

    /// As [`builder`](Self::builder), without TLS: for tests, or inside a tunnel.
    pub fn plain() -> ServiceBuilder {
        ServiceBuilder::new(None)
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

    /// What clients are to expect; `None` without TLS.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let tls = self.shared.tls.as_ref()?;
        Some(tls.identity().fingerprint())
    }

    /// What the service is asked and told by while it runs.
    pub fn handle(&self) -> ServiceHandle {
        ServiceHandle {
            shared: self.shared.clone(),
        }
    }

    /// Accepts connections until the service is shut down and its requests have ended.
    ///
    /// A service that is announced first says that it leaves, and serves for `service.shutdown_grace`
    /// more (V-12). No failure to accept ends it: it tries again after 10 ms, then at growing
    /// intervals of up to a second (HD-17).
    pub fn run(self) {
        let Self {
            listeners,
            shared,
            wake,
            ..
        } = self;
        let mut running = Running::new(&shared, listeners, &wake);
        while running.settle() {
            running.wait();
        }
        for link in shared.links() {
            link.cut();
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What there is to be set before listening.
#[derive(Clone)]
pub struct ServiceBuilder {
    identity: Option<Identity>,
    tls: Option<Options>,
    session: session::Config,
    limits: Limits,
    actions: Actions,
    guard: Guard,
    table_source: Option<TableSource>,
    name: Option<Name>,
    has_queue_depth: bool,
    has_documentation: bool,
    documents_all: bool,
    site: Option<Site>,
}

impl ServiceBuilder {
    fn new(identity: Option<Identity>) -> Self {
        Self {
            identity,
            tls: None,
            session: session::Config {
                subscriptions: true,
                ..session::Config::new(Side::Server)
            },
            limits: Limits::for_files(files()),
            actions: Actions::default(),
            guard: Guard::default(),
            table_source: None,
            name: None,
            has_queue_depth: true,
            has_documentation: true,
            documents_all: false,
            site: None,
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

    /// Sets all actions at once.
    pub fn actions(self, actions: Actions) -> Self {
        Self { actions, ..self }
    }

    /// Sets what the service takes on at once; unless set, [`Limits::for_files`] with as many files as
    /// the process may open.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how each connection behaves. Subscriptions are served unless that says otherwise.
    pub fn session(self, session: session::Config) -> Self {
        Self { session, ..self }
    }

    /// Sets how TLS behaves.
    pub fn tls(self, options: Options) -> Self {
        Self {
            tls: Some(options),
            ..self
        }
    }

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
        let actions = self.finish_actions();
        self.start(actions, vec![listener], None)
    }

    /// Listens where the configuration says, to be announced once it runs; for a service made by
    /// [`Service::from_config`].
    ///
    /// # Errors
    ///
    /// [`SetupError`]: no free port, no socket, actions that cannot be announced, TLS settings that
    /// cannot work together, or nothing that says where to listen.
    pub fn build(mut self) -> Result<Service, SetupError> {
        let site = self.site.take().ok_or(SetupError::NoAddress)?;
        let actions = self.finish_actions();
        let (listeners, presence) = site.open(actions.table().iter())?;
        Ok(self.start(actions, listeners, Some(presence))?)
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
        listeners: Vec<TcpListener>,
        presence: Option<Presence>,
    ) -> io::Result<Service> {
        let mut addresses = Vec::new();
        for listener in &listeners {
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
        }
        let (wake, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let fault =
            |error: ConfigError| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let tls = match (self.identity, self.tls) {
            (None, _) => None,
            (Some(identity), None) => Some(ServerTls::new(identity)),
            (Some(identity), Some(options)) => {
                Some(ServerTls::with_options(identity, &options).map_err(fault)?)
            }
        };
        let mut home = Home::new(actions, true).with_guard(self.guard, self.table_source);
        home.max_active = self.limits.max_requests_per_connection;
        home.max_requests = self.limits.max_requests;
        home.max_body = self.session.connection.max_body;
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let all = shared.clone();
            let links: Links =
                Box::new(move || all.upgrade().map(|all| all.links()).unwrap_or_default());
            // It is new, so nothing is set yet.
            let _ = home.links.set(links);
            Shared {
                home: Arc::new(home),
                tls,
                session: self.session,
                limits: self.limits,
                stage: Mutex::default(),
                gone: Condvar::new(),
                stops: AtomicUsize::new(0),
                suspended: AtomicBool::new(false),
                refuses: AtomicBool::new(false),
                presence,
                waker,
                held: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
                accepted: AtomicU64::new(0),
                octets_in: AtomicU64::new(0),
                octets_out: AtomicU64::new(0),
                protocol_errors: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }
        });
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
            .field("limits", &self.limits)
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}

/// What a service is asked and told by while it runs.
#[derive(Clone)]
pub struct ServiceHandle {
    shared: Arc<Shared>,
}

impl ServiceHandle {
    /// Ends the service: it accepts nothing more, refuses new requests as certainly not processed,
    /// and lets those in progress end for up to [`Limits::shutdown_drain`]. Told twice, it does not
    /// wait for them, and told three times, not for the last announcements either (V-12).
    pub fn shutdown(&self) {
        self.shared.stops.fetch_add(1, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Announces that the service wants no requests; those that come are served all the same (V-13).
    pub fn suspend(&self) {
        self.shared.suspended.store(true, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Announces that the service wants requests again.
    pub fn resume(&self) {
        self.shared.suspended.store(false, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Announces how much of the requests the service wants, compared with others; 1 at first.
    pub fn set_weight(&self, weight: u32) {
        if let Some(presence) = &self.shared.presence {
            presence.set_weight(weight);
        }
    }

    /// What it is called on the bus: its name, and letters that differ in each process (V-3); `None`
    /// for a service that is not announced.
    pub fn identity(&self) -> Option<&str> {
        self.shared.presence.as_ref().map(Presence::identity)
    }

    /// Takes what is worth a line in a log about announcing; the newest 256 are kept.
    pub fn presence_notes(&self) -> Vec<String> {
        let presence = self.shared.presence.as_ref();
        presence.map(Presence::notes).unwrap_or_default()
    }

    /// Sets a key of a topic to a JSON value, or removes it with `null`, and tells subscribers.
    ///
    /// Returns whether that was a change.
    pub fn publish(&self, code: &str, key: &str, json: &str) -> bool {
        let Some(change) = self.shared.home.publish(code, key, json) else {
            return false;
        };
        for link in self.shared.links() {
            let mut core = link.lock();
            core.session().publish(link.now(), &change);
            core.flush_or_leave();
        }
        true
    }

    /// Serves a byte stream that is there already, on a thread of its own.
    ///
    /// # Errors
    ///
    /// If there is no thread to be had, or the service has been shut down.
    pub fn adopt(&self, transport: impl Transport) -> io::Result<()> {
        self.shared.serve(Box::new(transport), None)
    }

    /// What has happened so far, and what is there now.
    pub fn stats(&self) -> ServiceStats {
        let shared = &self.shared;
        let home = &shared.home;
        let mut octets_in = shared.octets_in.load(Ordering::Relaxed);
        let mut octets_out = shared.octets_out.load(Ordering::Relaxed);
        for link in shared.links() {
            let stats = link.lock().session().connection().stats();
            octets_in += stats.octets_in;
            octets_out += stats.octets_out;
        }
        ServiceStats {
            total_clients_accepted: shared.accepted.load(Ordering::Relaxed),
            open_connections: self.connections(),
            requests_started: home.requests_started.load(Ordering::Relaxed),
            requests_active: home.requests.load(Ordering::Relaxed),
            requests_failed: home.requests_failed.load(Ordering::Relaxed),
            bytes_in: octets_in,
            bytes_out: octets_out,
            protocol_errors: shared.protocol_errors.load(Ordering::Relaxed),
            announcements_sent: shared.presence.as_ref().map_or(0, Presence::sent),
            connections_refused: shared.refused.load(Ordering::Relaxed),
            handshakes: shared.stage().handshakes.len(),
            memory: shared.held.load(Ordering::Relaxed),
        }
    }

    /// Connections there are now.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Takes what is worth a line in a log; at most 1024 are kept, the newest.
    pub fn notes(&self) -> Vec<ServiceNote> {
        self.shared.stage().notes.take()
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle")
            .field("stats", &self.stats())
            .finish()
    }
}

/// What the threads of a service share.
struct Shared {
    home: Arc<Home>,
    tls: Option<ServerTls>,
    session: session::Config,
    limits: Limits,
    stage: Mutex<Stage>,
    /// Told whenever a connection has gone.
    gone: Condvar,
    /// How often shutting down was asked for.
    stops: AtomicUsize,
    /// Whether weight 0 is announced (V-13).
    suspended: AtomicBool,
    /// Whether connections are no longer taken, and those that come all the same are drained.
    refuses: AtomicBool,
    /// Its place on the bus, if it is announced.
    presence: Option<Presence>,
    waker: UnixStream,
    /// Octets held for all connections together, as of each one's last turn.
    held: AtomicUsize,
    open: AtomicUsize,
    accepted: AtomicU64,
    octets_in: AtomicU64,
    octets_out: AtomicU64,
    protocol_errors: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Stage {
    links: BTreeMap<u64, Weak<Link>>,
    next: u64,
    handshakes: Handshakes,
    notes: Newest<ServiceNote>,
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Each change of it is complete in itself.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_refusing(&self) -> bool {
        self.refuses.load(Ordering::SeqCst)
    }

    /// Has the thread that runs the service look at what has changed.
    fn wake(&self) {
        // Dropped octets do not matter: one is enough.
        let _ = io::Write::write(&mut &self.waker, b".");
        // Under the lock, so that nobody is between asking and waiting.
        drop(self.stage());
        self.gone.notify_all();
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let stage = self.stage();
        stage.links.values().filter_map(Weak::upgrade).collect()
    }

    fn tell(&self, peer: Option<SocketAddr>, what: Occurrence) {
        self.stage().notes.push(ServiceNote { peer, what });
    }

    /// Whether one more connection would be one too many (HD-17, HD-26).
    fn is_full(&self) -> bool {
        let budget = self.limits.mem_budget;
        self.open.load(Ordering::Relaxed) >= self.limits.max_connections
            || self.held.load(Ordering::Relaxed) > budget.saturating_add(budget / 10)
    }

    /// Gives a connection a thread.
    fn serve(
        self: &Arc<Self>,
        transport: Box<dyn Transport>,
        address: Option<SocketAddr>,
    ) -> io::Result<()> {
        let clock = self.home.clock;
        let session = Session::new(self.session.clone(), Side::Server, clock.now());
        let machine = match &self.tls {
            None => Channel::Plain(Box::new(session)),
            Some(tls) => Channel::Tls(Box::new(Tls::server(session, tls, clock.now()))),
        };
        let link = Link::new(machine, transport, clock, self.home.clone(), address);
        let mut stage = self.stage();
        let number = stage.next;
        stage.next += 1;
        stage.links.insert(number, Arc::downgrade(&link));
        let oldest = match self.tls.is_some() {
            true => stage.handshakes.begin(
                number,
                address.map(|address| address.ip()),
                self.limits.max_handshakes,
                self.limits.max_handshakes_per_address,
            ),
            false => None,
        };
        let oldest = oldest.and_then(|number| stage.links.get(&number)?.upgrade());
        drop(stage);
        if let Some(oldest) = oldest {
            oldest.cut();
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = Connection {
            shared: self.clone(),
            number,
            link,
            _gone: Gone(self.clone()),
        };
        // Shut down while it was being taken in, it is drained like the others.
        if self.is_refusing() {
            connection.drain();
        }
        // Without a thread the connection is dropped, and with it all trace of it (F-17).
        thread::Builder::new()
            .name("scamp-connection".into())
            .stack_size(STACK)
            .spawn(move || connection.run())
            .map(drop)
    }

    /// Waits until a connection has gone, or the service is told to end, or the time is up.
    fn wait_gone(&self, longest: Duration) {
        let stage = self.stage();
        if !self.is_refusing() {
            // Woken for nothing, its caller only tries in vain.
            drop(self.gone.wait_timeout(stage, longest));
        }
    }
}

fn drain(link: &Link) {
    let mut core = link.lock();
    core.session().drain(link.now());
    core.flush_or_leave();
}

/// A service that runs: its listeners, and the machine that says when to do what (V-12).
struct Running<'a> {
    shared: &'a Arc<Shared>,
    listeners: Vec<TcpListener>,
    wake: &'a UnixStream,
    door: Door<'a>,
    life: Lifecycle,
    stops: usize,
    /// Whether connections are being drained.
    leaving: bool,
    /// How long the next failure to accept is waited out.
    delay: Duration,
}

impl<'a> Running<'a> {
    fn new(shared: &'a Arc<Shared>, listeners: Vec<TcpListener>, wake: &'a UnixStream) -> Self {
        let mut life =
            Lifecycle::new(shared.presence.is_some()).drain(shared.limits.shutdown_drain);
        if let Some(presence) = &shared.presence {
            life = life.grace(presence.grace());
        }
        life.listening(shared.home.clock.now());
        Self {
            shared,
            listeners,
            wake,
            door: Door::new(shared),
            life,
            stops: 0,
            leaving: false,
            delay: SHORTEST_DELAY,
        }
    }

    /// Tells the machine what has happened and does what it says; `false` when all is over.
    fn settle(&mut self) -> bool {
        loop {
            self.tell();
            match self.life.poll_order() {
                None => return true,
                Some(Order::Return) => return false,
                Some(order) => self.perform(order),
            }
        }
    }

    fn tell(&mut self) {
        let shared = self.shared;
        let now = shared.home.clock.now();
        while self.stops < shared.stops.load(Ordering::SeqCst) {
            self.stops += 1;
            self.life.shutdown(now);
        }
        match shared.suspended.load(Ordering::SeqCst) {
            true => self.life.suspend(),
            false => self.life.resume(),
        }
        if self.leaving && shared.stage().links.is_empty() {
            self.life.closed(now);
        }
        if shared.presence.as_ref().is_some_and(Presence::has_left) {
            self.life.left();
        }
        self.life.handle_timeout(now);
    }

    fn perform(&mut self, order: Order) {
        let shared = self.shared;
        if let Some(presence) = &shared.presence {
            if order == Order::Leave {
                let shared = Arc::downgrade(shared);
                presence.when_left(move || {
                    if let Some(shared) = shared.upgrade() {
                        shared.wake();
                    }
                });
            }
            presence.perform(order);
        }
        match order {
            Order::StopListening => {
                shared.refuses.store(true, Ordering::SeqCst);
                self.listeners.clear();
                self.door.spare = None;
            }
            Order::Refuse => {
                self.leaving = true;
                shared.links().iter().for_each(|link| drain(link));
            }
            Order::CutReplies => {
                for link in shared.links() {
                    let mut core = link.lock();
                    let now = link.now();
                    for send in std::mem::take(&mut core.answering) {
                        // It may have ended meanwhile.
                        let _ = core.session().fail(now, send, "service shutting down");
                    }
                    core.flush_or_leave();
                }
            }
            Order::Close => {
                for link in shared.links() {
                    let mut core = link.lock();
                    core.session().close(link.now());
                    core.flush_or_leave();
                }
            }
            _ => {}
        }
    }

    /// Waits for connections, or for whatever the machine waits for.
    fn wait(&mut self) {
        let due = self.life.poll_timeout();
        let patience = due.map(|at| at - self.shared.home.clock.now());
        match self.listeners.is_empty() {
            true => self.wait_for_end(patience),
            false => self.wait_at_doors(patience),
        }
    }

    fn wait_at_doors(&mut self, patience: Option<Duration>) {
        let mut fds = vec![PollFd::new(self.wake, PollFlags::IN)];
        let listeners = self.listeners.iter();
        fds.extend(listeners.map(|listener| PollFd::new(listener, PollFlags::IN)));
        // Without news this was for nothing, and with an error accepting fails as well.
        let _ = wait_for(&mut fds, patience);
        drop(fds);
        self.hear();
        for listener in &self.listeners {
            match self.door.accept_all(listener) {
                Ok(()) => self.delay = SHORTEST_DELAY,
                Err(error) => {
                    self.shared
                        .tell(None, Occurrence::AcceptFailed(error.to_string()));
                    // What a connection leaves behind when it goes may be what is missing.
                    self.shared.wait_gone(self.delay);
                    self.delay = (self.delay * 2).min(LONGEST_DELAY);
                }
            }
        }
    }

    /// Takes what called it awake.
    fn hear(&self) {
        let mut heard = [0; 16];
        while io::Read::read(&mut &*self.wake, &mut heard).is_ok_and(|count| count > 0) {}
    }

    /// Waits for connections to go, looking after deadlines that closing has set.
    fn wait_for_end(&self, patience: Option<Duration>) {
        let shared = self.shared;
        let stage = shared.stage();
        // Nobody may have been told between being asked and here.
        if self.stops == shared.stops.load(Ordering::SeqCst) {
            let patience = patience.unwrap_or(TEND).min(TEND);
            let waited = shared.gone.wait_timeout(stage, patience);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        shared.links().iter().for_each(|link| link.tend());
    }
}

/// Takes connections in.
struct Door<'a> {
    shared: &'a Arc<Shared>,
    /// Held back, so that a connection can be taken and closed when there are no more files.
    spare: Option<File>,
}

impl<'a> Door<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        let mut door = Self {
            shared,
            spare: None,
        };
        door.hold_spare();
        door
    }

    fn hold_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
    }

    /// Accepts what waits. An error is worth waiting a while.
    fn accept_all(&mut self, listener: &TcpListener) -> io::Result<()> {
        self.hold_spare();
        while !self.shared.is_refusing() {
            match listener.accept() {
                Ok((stream, address)) => self.admit(stream, address)?,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.turn_away(listener);
                        return Err(error);
                    }
                },
            }
        }
        Ok(())
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        if self.shared.is_full() {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            self.shared.tell(Some(address), Occurrence::Refused);
            return Ok(());
        }
        // Some systems hand the listener's mode on.
        stream.set_nonblocking(false)?;
        self.shared
            .serve(Box::new(Socket::from(stream)), Some(address))
    }

    /// Takes a connection only to close it, so that its client need not wait.
    fn turn_away(&mut self, listener: &TcpListener) {
        if self.spare.take().is_some() {
            // There may be none, or another error: all the same now.
            drop(listener.accept());
            self.hold_spare();
        }
    }
}

/// One connection and its thread; when this is dropped, nothing is left of it.
struct Connection {
    shared: Arc<Shared>,
    number: u64,
    link: Arc<Link>,
    /// Told after the socket has been closed.
    _gone: Gone,
}

/// Tells whoever waits, when it is dropped, that a connection has gone.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.notify_all();
    }
}

impl Connection {
    fn run(&self) {
        let (shared, link) = (&self.shared, &self.link);
        let mut share = Share {
            shared,
            held: 0,
            lowered: false,
        };
        let mut core = link.lock();
        core.wait(
            |core, _| match core.machine.is_established() || core.is_over() {
                true => Wait::Done(()),
                false => Wait::For(Key::Anything),
            },
        );
        drop(core);
        shared.stage().handshakes.end(self.number);
        let mut core = link.lock();
        loop {
            let notes = core.wait(|core, now| {
                share.update(core.session(), now);
                let notes = core.take_notes();
                match core.is_over() || !notes.is_empty() {
                    true => Wait::Done(notes),
                    false => Wait::For(Key::Anything),
                }
            });
            let is_over = core.is_over();
            drop(core);
            for note in notes {
                shared.tell(link.address, Occurrence::Note(note));
            }
            if is_over {
                return;
            }
            core = link.lock();
        }
    }

    fn drain(&self) {
        drain(&self.link);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let shared = &self.shared;
        let mut core = self.link.lock();
        let reason = reason_of(&core);
        let stats = core.session().connection().stats();
        drop(core);
        if matches!(reason, CloseReason::Violation(_)) {
            shared.protocol_errors.fetch_add(1, Ordering::Relaxed);
        }
        shared
            .octets_in
            .fetch_add(stats.octets_in, Ordering::Relaxed);
        shared
            .octets_out
            .fetch_add(stats.octets_out, Ordering::Relaxed);
        shared.tell(self.link.address, Occurrence::Closed(reason));
        let mut stage = shared.stage();
        stage.handshakes.end(self.number);
        stage.links.remove(&self.number);
        drop(stage);
        shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection's part of the memory that all together may hold (HD-26).
struct Share<'a> {
    shared: &'a Shared,
    held: usize,
    lowered: bool,
}

impl Share<'_> {
    fn update(&mut self, session: &mut Session, now: scamp_proto::Instant) {
        let shared = self.shared;
        let held = session.connection().memory();
        if held != self.held {
            let before = self.held;
            self.held = held;
            if held > before {
                shared.held.fetch_add(held - before, Ordering::Relaxed);
            } else {
                shared.held.fetch_sub(before - held, Ordering::Relaxed);
            }
        }
        let budget = shared.limits.mem_budget;
        if shared.held.load(Ordering::Relaxed) > budget {
            let open = shared.open.load(Ordering::Relaxed).max(1);
            session.set_allowance(now, (budget / open).max(LEAST_SHARE));
            self.lowered = true;
        } else if self.lowered {
            session.set_allowance(now, usize::MAX);
            self.lowered = false;
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Waiting after a failure to accept, at first and at last (HD-17).
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// How often connections are looked after while the service shuts down.
const TEND: Duration = Duration::from_millis(100);

/// What a connection may hold however little memory there is, in octets (HD-26).
const LEAST_SHARE: usize = 256 * 1024;
