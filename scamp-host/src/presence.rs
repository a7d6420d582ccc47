//! A service's place on the bus: its name, its ports, its announcements (V-1…V-4, V-7, V-12, V-13).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use scamp_proto::auth::TicketKeys;
use scamp_proto::config::{self, Config, DefaultAddress, default_address, resolve};
use scamp_proto::discovery::{Announcer, Description, Offer, OfferError, Resign, UnixTime, Uri};
use scamp_proto::service::{Action, Name, Order, Ports};
use scamp_proto::{Instant, Rng, limits};
use scamp_tls::Identity;

use crate::clock::{random, unix_micros};
use crate::config::service_files;
use crate::interfaces::interfaces;
use crate::running::RunningFile;
use crate::setup::{SetupError, seed};
use crate::ticket_keys::TicketKeyFiles;
use crate::{port, udp};

/// What the configuration says of a service, before it listens.
#[derive(Clone, Debug)]
pub struct Site {
    name: Name,
    identity: Identity,
    service: Vec<IpAddr>,
    announce: Option<IpAddr>,
    discovery: Vec<IpAddr>,
    group: SocketAddr,
    ports: Ports,
    sector: String,
    interval: Duration,
    resign: Resign,
    running: Option<PathBuf>,
    grace: Duration,
    /// Looked at once a second while the service is announced; see [`Presence::on_ticket_keys`].
    pub(crate) watched_keys: Option<TicketKeyFiles>,
}

impl Site {
    /// Reads the key and the certificate of the service called `name`, and where it is to listen and
    /// to be announced.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key of the configuration, the file, or the address.
    pub fn from_config(config: &Config, name: &str) -> Result<Self, SetupError> {
        let name = Name::parse(name).map_err(|error| SetupError::Name(error.to_string()))?;
        let files = service_files(config, name.as_str())?;
        let identity = Identity::from_pem(&files.certificate.octets, &files.key.octets)?;
        let addresses = Addresses::from_config(config)?;
        let range = config.beepish_ports()?;
        Ok(Self {
            identity,
            service: addresses.service,
            announce: config.service_announce_address()?,
            discovery: addresses.discovery,
            group: addresses.group,
            ports: Ports {
                first: range.first,
                last: range.last,
                tries: config.beepish_bind_tries()?,
            },
            sector: config.bus_default_sector().to_owned(),
            interval: config.service_announce_interval()?,
            resign: match config.service_announce_resign()? {
                config::Resign::Always => Resign::Always,
                config::Resign::Every(span) => Resign::Every(span),
                config::Resign::OnChange => Resign::OnChange,
            },
            running: config
                .service_running_service_file_dir_path()
                .map(PathBuf::from),
            grace: config.service_shutdown_grace()?,
            watched_keys: None,
            name,
        })
    }

    /// The service's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its certificate and key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Listens on all of the service's addresses (C-10, V-2), and prepares to announce these actions.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: no free port, no socket, or actions that cannot be announced (D-30).
    pub fn open<'a>(
        self,
        actions: impl IntoIterator<Item = &'a Action>,
    ) -> Result<(Vec<TcpListener>, Presence), SetupError> {
        let mut rng = Rng::new(seed()?);
        let mut listeners = Vec::new();
        let mut uris = Vec::new();
        for address in &self.service {
            let listener = port::listen(*address, self.ports, &mut rng)?;
            let mut at = listener.local_addr()?;
            if let Some(announced) = self.announce {
                at.set_ip(announced);
            }
            uris.push(Uri::of(at));
            listeners.push(listener);
        }
        let identity = self.name.identity(random()?);
        let mut senders = Vec::new();
        let mut outputs = Vec::new();
        for address in &self.discovery {
            let sender = udp::multicast_sender(*address).map_err(|error| SetupError::Socket {
                what: "announcements",
                address: *address,
                error,
            })?;
            senders.push(sender);
            // The service's address on the same interface, or else its first (D-27).
            let here = self.service.iter().position(|service| service == address);
            outputs.extend(uris.get(here.unwrap_or(0)).cloned());
        }
        let first = outputs.first().ok_or(SetupError::NoAddress)?;
        let mut description = Description::new(identity.clone(), first.clone());
        description.sector = self.sector;
        description.interval = self.interval;
        let offers = actions.into_iter().map(Action::to_offer);
        description.actions = offers.collect::<Result<_, _>>()?;
        let certificate = self.identity.certificate().to_vec();
        let mut announcer = Announcer::new(description, certificate, self.resign);
        announcer.set_addresses(Instant::EPOCH, outputs);
        announcer.check(&self.identity)?;
        let shared = Shared {
            begun: StdInstant::now(),
            state: Mutex::new(State {
                announcer,
                weight: 1,
                running: None,
                left: false,
                stopped: false,
                notes: VecDeque::new(),
                on_left: None,
                on_ticket_keys: None,
            }),
            changed: Condvar::new(),
            identity: self.identity,
            senders,
            group: self.group,
        };
        let presence = Presence {
            shared: Arc::new(shared),
            identity,
            running: self.running,
            grace: self.grace,
            ticket_keys: Mutex::new(self.watched_keys),
        };
        Ok((listeners, presence))
    }
}

/// Where services listen and discovery happens, on this machine (C-7…C-9).
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where services listen.
    pub service: Vec<IpAddr>,
    /// The interfaces that announcements leave by and come in on.
    pub discovery: Vec<IpAddr>,
    /// Where they are sent (D-25).
    pub group: SocketAddr,
}

impl Addresses {
    /// Finds them: what the configuration names, or the customary ones.
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] for an entry that is none of this machine's (C-8),
    /// [`SetupError::NoAddress`] where nothing is named and nothing customary is there.
    pub fn from_config(config: &Config) -> Result<Self, SetupError> {
        let ours = interfaces()?;
        let ours: Vec<_> = ours
            .iter()
            .map(|each| config::Interface {
                name: &each.name,
                address: each.address,
            })
            .collect();
        let find = |key, entries: Vec<config::Address>, wildcard| {
            if !entries.is_empty() {
                return resolve(&entries, &ours, wildcard)
                    .map_err(|error| SetupError::Address { key, error });
            }
            match default_address(&ours) {
                Some(DefaultAddress::Private(address) | DefaultAddress::Loopback(address)) => {
                    Ok(vec![address])
                }
                None => Err(SetupError::NoAddress),
            }
        };
        let has_announced = config.service_announce_address()?.is_some();
        let service = find(
            "service.address",
            config.service_addresses()?,
            has_announced,
        )?;
        let (discovery, group) = match config.discovery_local_multicast() {
            false => (
                find("discovery.address", config.discovery_addresses()?, false)?,
                SocketAddr::new(
                    config.discovery_multicast_address()?,
                    config.discovery_port()?,
                ),
            ),
            true => (
                vec![Ipv4Addr::LOCALHOST.into()],
                SocketAddr::new(
                    config.discovery_local_multicast_address()?,
                    config.discovery_local_port()?,
                ),
            ),
        };
        Ok(Self {
            service,
            discovery,
            group,
        })
    }

    /// Whether all of it is this machine alone, as on a bus for development.
    pub fn is_local(&self) -> bool {
        let mut all = self.service.iter().chain(&self.discovery);
        all.all(IpAddr::is_loopback)
    }
}

/// Announces a service from when it listens until it has left.
///
/// The announcements are signed and sent on a thread of their own, since signing takes
/// milliseconds; it ends when the service has left, or with this value.
pub struct Presence {
    shared: Arc<Shared>,
    identity: String,
    running: Option<PathBuf>,
    grace: Duration,
    /// Until the announcing thread has them.
    ticket_keys: Mutex<Option<TicketKeyFiles>>,
}

struct Shared {
    begun: StdInstant,
    state: Mutex<State>,
    changed: Condvar,
    identity: Identity,
    senders: Vec<UdpSocket>,
    group: SocketAddr,
}

struct State {
    announcer: Announcer,
    weight: u32,
    running: Option<RunningFile>,
    /// Whether nothing will be announced any more.
    left: bool,
    stopped: bool,
    notes: VecDeque<String>,
    on_left: Option<Box<dyn FnOnce() + Send>>,
    on_ticket_keys: Option<OnTicketKeys>,
}

type OnTicketKeys = Arc<dyn Fn(TicketKeys) + Send + Sync>;

impl Presence {
    /// What the service calls itself: its name, and letters that differ in each process (V-3).
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long requests are taken after leaving has begun (V-12).
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Does what an order of the service's [`Lifecycle`](scamp_proto::service::Lifecycle) asks of
    /// it; the others are left to the face.
    pub fn perform(&self, order: Order) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        match order {
            Order::CreateRunningFile => {
                if let Some(directory) = &self.running {
                    match RunningFile::create(directory, &self.identity) {
                        Ok(file) => state.running = Some(file),
                        Err(error) => state.note(format!("running-service file: {error}")),
                    }
                }
            }
            Order::Announce => {
                state.announcer.start(now);
                let shared = self.shared.clone();
                let files = self.ticket_keys.lock();
                let files = files.unwrap_or_else(PoisonError::into_inner).take();
                let spawned = thread::Builder::new()
                    .name("scamp-announce".into())
                    .spawn(move || shared.announce(files));
                if let Err(error) = spawned {
                    state.note(format!("nothing is announced: {error}"));
                    state.left = true;
                }
            }
            Order::Suspend => state.announcer.set_weight(now, 0),
            Order::Resume => {
                let weight = state.weight;
                state.announcer.set_weight(now, weight);
            }
            Order::Leave => state.announcer.leave(now),
            Order::RemoveRunningFile => {
                if let Some(Err(error)) = state.running.take().map(RunningFile::remove) {
                    state.note(format!("running-service file: {error}"));
                }
            }
            _ => return,
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Announces another weight: how much of the requests the service wants, compared with others;
    /// 1 at first.
    pub fn set_weight(&self, weight: u32) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state.weight = weight;
        state.announcer.set_weight(now, weight);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Announces other actions from now on (V-1, D-28).
    ///
    /// # Errors
    ///
    /// [`OfferError`] if the service could not be announced with them (D-30); then nothing changes.
    pub fn set_actions(&self, actions: Vec<Offer>) -> Result<(), OfferError> {
        let now = self.shared.now();
        let mut tried = self.shared.lock().announcer.clone();
        tried.set_actions(now, actions.clone());
        // Signing takes milliseconds, so nothing is locked meanwhile.
        tried.check(&self.shared.identity)?;
        self.shared.lock().announcer.set_actions(now, actions);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Has `told` called, on the announcing thread, with the ticket keys whenever their files have
    /// changed (T-6).
    pub fn on_ticket_keys(&self, told: impl Fn(TicketKeys) + Send + Sync + 'static) {
        self.shared.lock().on_ticket_keys = Some(Arc::new(told));
    }

    /// Whether the last announcement has been sent (D-29).
    pub fn has_left(&self) -> bool {
        self.shared.lock().left
    }

    /// Has `told` called once the last announcement has been sent; at once, if it has.
    pub fn when_left(&self, told: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        if !state.left {
            state.on_left = Some(Box::new(told));
            return;
        }
        drop(state);
        told();
    }

    /// How many announcements were sent (V-11).
    pub fn sent(&self) -> u64 {
        self.shared.lock().announcer.sent()
    }

    /// Takes what is worth a line in a log; the newest 256 are kept.
    pub fn notes(&self) -> Vec<String> {
        self.shared.lock().notes.drain(..).collect()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("identity", &self.identity)
            .field("group", &self.shared.group)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn now(&self) -> Instant {
        Instant::from_epoch(self.begun.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is due until nothing will be, and looks at the ticket keys from time to time.
    fn announce(&self, mut keys: Option<TicketKeyFiles>) {
        let mut look_at = self.now() + LOOK;
        let mut state = self.lock();
        while !state.stopped {
            let now = self.now();
            if let Some(files) = keys.as_mut().filter(|_| look_at <= now) {
                drop(state);
                self.look(files);
                look_at = now + LOOK;
                state = self.lock();
                continue;
            }
            let wall = UnixTime::from_micros(unix_micros());
            match state.announcer.poll_datagram(now, wall, &self.identity) {
                Some(Ok((output, datagram))) => {
                    if let Err(error) = self.send(output, &datagram) {
                        state.note(format!("announcement not sent: {error}"));
                    }
                }
                Some(Err(error)) => state.note(format!("announcement not made: {error}")),
                None if state.announcer.is_done() => break,
                None => {
                    let look = keys.as_ref().map(|_| look_at);
                    let due = state.announcer.poll_timeout().into_iter().chain(look).min();
                    let patience = due.map_or(PATIENCE, |at| at - now);
                    let waited = self.changed.wait_timeout(state, patience);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        state.left = true;
        let told = state.on_left.take();
        drop(state);
        if let Some(told) = told {
            told();
        }
    }

    fn look(&self, files: &mut TicketKeyFiles) {
        match files.look() {
            None => {}
            Some(Err(error)) => self.lock().note(format!("ticket keys: {error}")),
            Some(Ok(keys)) => {
                let told = self.lock().on_ticket_keys.clone();
                if let Some(told) = told {
                    told(keys);
                }
            }
        }
    }

    fn send(&self, output: usize, datagram: &[u8]) -> io::Result<()> {
        let Some(sender) = self.senders.get(output) else {
            return Ok(());
        };
        match sender.send_to(datagram, self.group) {
            // It is said again soon.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent.map(drop),
        }
    }
}

impl State {
    fn note(&mut self, text: String) {
        if self.notes.len() >= NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(text);
    }
}

/// Notes that are kept for whoever asks.
const NOTES: usize = 256;

/// How often the files of ticket keys are looked at (T-6).
const LOOK: Duration = Duration::from_secs(1);

/// How long the announcing thread sleeps when nothing is due.
const PATIENCE: Duration = limits::ANNOUNCE_INTERVAL;
