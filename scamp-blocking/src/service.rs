//! A service: what accepts connections and answers their requests.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use scamp_host::{Presence, RegisterError, ServiceSettings, SetupError};
use scamp_proto::config::Config;
use scamp_proto::note::Newest;
use scamp_proto::service::{
    House, IntoAction, Limits, Occurrence, ServiceNote, Stats as ServiceStats,
};
use scamp_proto::session::{self, Session, Side};
use scamp_proto::wire::RemoteError;
use scamp_tls::{Channel, Fingerprint, Identity, ServerTls, Tls};

use crate::actions::{Reply, Request};
use crate::connection::Connection;
use crate::handshakes::Handshakes;
use crate::home::{Home, Links};
use crate::link::{Link, STACK};
use crate::running::Running;
use crate::service_builder::ServiceBuilder;
use crate::socket::{Transport, files};

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
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wake: UnixStream,
}

impl Service {
    /// What there is to be set before listening.
    pub fn builder(identity: Identity) -> ServiceBuilder {
        ServiceBuilder::new(ServiceSettings::new(Some(identity), files()))
    }

    /// A service that is found by its actions: its name, key, certificate, addresses and limits are
    /// those of the configuration. Add actions, then [`build`](ServiceBuilder::build) it.
    ///
    /// Tickets are verified with `auth.ticket_verify_key`, which is read again when it changes.
    /// Actions that say nothing of who may call
    /// them are refused to all, unless [`default_access`](ServiceBuilder::default_access) says
    /// otherwise (T-9).
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key of the configuration, or the file.
    pub fn from_config(config: &Config, name: &str) -> Result<ServiceBuilder, SetupError> {
        let settings = ServiceSettings::from_config(config, name, files())?;
        Ok(ServiceBuilder::new(settings))
    }

    /// As [`builder`](Self::builder), without TLS: for tests, or inside a tunnel.
    pub fn plain() -> ServiceBuilder {
        ServiceBuilder::new(ServiceSettings::new(None, files()))
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

    /// Adds an action while the service runs, which is announced at once (V-1, D-28); see
    /// [`Actions::action`](crate::Actions::action).
    ///
    /// # Errors
    ///
    /// [`RegisterError`]: the name is none or taken, or the service could not be announced with it.
    pub fn add_action(
        &self,
        action: impl IntoAction,
        handler: impl Fn(Request) -> Result<Reply, RemoteError> + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        let (action, handler) = (action.into_action()?, Arc::new(handler));
        let presence = self.shared.presence.as_ref();
        let house = &self.shared.home.house;
        house.change(presence, |table| Ok(table.insert(action, handler)?))
    }

    /// As [`add_action`](Self::add_action), for a handler that reads its body as it comes.
    ///
    /// # Errors
    ///
    /// As [`add_action`](Self::add_action).
    pub fn add_streaming_action(
        &self,
        action: impl IntoAction,
        handler: impl Fn(Request) -> Result<Reply, RemoteError> + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
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
        let presence = self.shared.presence.as_ref();
        self.shared.home.house.remove(presence, name, version)
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
        let house = &self.shared.home.house;
        let Some(change) = house.with_board(|board| board.set(code, key, json)) else {
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
        let house = &shared.home.house;
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
            requests_started: house.started(),
            requests_active: house.active(),
            requests_failed: house.failed(),
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
pub(crate) struct Shared {
    pub(crate) home: Arc<Home>,
    tls: Option<ServerTls>,
    session: session::Config,
    pub(crate) limits: Limits,
    stage: Mutex<Stage>,
    /// Told whenever a connection has gone.
    pub(crate) gone: Condvar,
    /// How often shutting down was asked for.
    pub(crate) stops: AtomicUsize,
    /// Whether weight 0 is announced (V-13).
    pub(crate) suspended: AtomicBool,
    /// Whether connections are no longer taken, and those that come all the same are drained.
    pub(crate) refuses: AtomicBool,
    /// Its place on the bus, if it is announced.
    pub(crate) presence: Option<Presence>,
    waker: UnixStream,
    /// Octets held for all connections together, as of each one's last turn.
    pub(crate) held: AtomicUsize,
    pub(crate) open: AtomicUsize,
    accepted: AtomicU64,
    pub(crate) octets_in: AtomicU64,
    pub(crate) octets_out: AtomicU64,
    pub(crate) protocol_errors: AtomicU64,
    pub(crate) refused: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) links: BTreeMap<u64, Weak<Link>>,
    next: u64,
    pub(crate) handshakes: Handshakes,
    notes: Newest<ServiceNote>,
}

impl Shared {
    pub(crate) fn new(
        home: Home,
        tls: Option<ServerTls>,
        session: session::Config,
        limits: Limits,
        presence: Option<Presence>,
        waker: UnixStream,
    ) -> Arc<Self> {
        Arc::new_cyclic(|shared: &Weak<Self>| {
            let all = shared.clone();
            let links: Links =
                Box::new(move || all.upgrade().map(|all| all.links()).unwrap_or_default());
            // It is new, so nothing is set yet.
            let _ = home.links.set(links);
            if let Some(presence) = &presence {
                let shared = shared.clone();
                presence.on_ticket_keys(move |keys| {
                    if let Some(shared) = shared.upgrade() {
                        shared.home.house.guard(|guard| guard.set_keys(keys));
                    }
                });
            }
            Self {
                home: Arc::new(home),
                tls,
                session,
                limits,
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
        })
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        // Each change of it is complete in itself.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.refuses.load(Ordering::SeqCst)
    }

    /// Has the thread that runs the service look at what has changed.
    pub(crate) fn wake(&self) {
        // Dropped octets do not matter: one is enough.
        let _ = io::Write::write(&mut &self.waker, b".");
        // Under the lock, so that nobody is between asking and waiting.
        drop(self.stage());
        self.gone.notify_all();
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let stage = self.stage();
        stage.links.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn tell(&self, peer: Option<SocketAddr>, what: Occurrence) {
        self.stage().notes.push(ServiceNote { peer, what });
    }

    /// Whether one more connection would be one too many (HD-17, HD-26).
    pub(crate) fn is_full(&self) -> bool {
        let budget = self.limits.mem_budget;
        self.open.load(Ordering::Relaxed) >= self.limits.max_connections
            || self.held.load(Ordering::Relaxed) > budget.saturating_add(budget / 10)
    }

    /// Gives a connection a thread.
    pub(crate) fn serve(
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
        let connection = Connection::new(self.clone(), number, link);
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
    pub(crate) fn wait_gone(&self, longest: Duration) {
        let stage = self.stage();
        if !self.is_refusing() {
            // Woken for nothing, its caller only tries in vain.
            drop(self.gone.wait_timeout(stage, longest));
        }
    }
}

pub(crate) fn drain(link: &Link) {
    let mut core = link.lock();
    core.session().drain(link.now());
    core.flush_or_leave();
}
