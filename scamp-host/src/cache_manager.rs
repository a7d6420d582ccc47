//! The cache manager, with its sockets and files (D-33…D-42).

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use scamp_proto::Instant;
use scamp_proto::config::Config;
use scamp_proto::discovery::cache_manager::{
    self, Command, Settings, Stats, Via, may_write_authorized,
};
use scamp_proto::discovery::peering::PEERING_PORT;
use scamp_proto::discovery::{Instance, UnixTime};
use scamp_proto::limits::{CACHE_FIRST_WRITE, DATAGRAM, FILE_LOOK};
use scamp_tls::Rsa;

use crate::authorized::Authorized;
use crate::clock::unix_micros;
use crate::file::{self, Stamp};
use crate::presence::Addresses;
use crate::setup::{SetupError, seed};
use crate::udp;

/// Hears announcements, by multicast and from the cache managers of other networks, and keeps the
/// cache file that the programs of this machine read.
///
/// It needs no runtime: [`run`](Self::run) works on the thread it is called on, and hears on two
/// more. While it is there, a lock on `PATH.lock` keeps others from writing the same file.
///
/// On a bus of loopback addresses alone it peers with nobody, unless `discovery.seed_hosts` names
/// somebody, so that several such buses go together on one machine; and it waits for one announce
/// interval and a half before its first write, since all there is can be heard in that time.
///
/// # Example
///
/// ```no_run
/// use scamp_host::CacheManager;
///
/// let (config, _) = scamp_host::load_config(None)?;
/// let manager = CacheManager::from_config(&config)?;
/// let handle = manager.handle();
/// let running = std::thread::spawn(move || manager.run());
/// // …
/// handle.stop();
/// running.join().expect("it does not panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CacheManager {
    shared: Arc<Shared>,
    multicast: UdpSocket,
    peering: Option<Arc<UdpSocket>>,
    cache: Option<PathBuf>,
    /// Held for as long as the file is ours.
    _lock: Option<File>,
}

/// A cache manager, for use while it runs; cheap to clone.
#[derive(Clone, Debug)]
pub struct CacheManagerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    begun: StdInstant,
    state: Mutex<State>,
    changed: Condvar,
    accept_pss: bool,
}

struct State {
    machine: cache_manager::CacheManager,
    authorized: Authorized,
    looked: Option<Instant>,
    notes: VecDeque<String>,
    stopped: bool,
}

impl CacheManager {
    /// A cache manager as the configuration says: `discovery.cache_path` and the other keys of
    /// `discovery`.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: no cache path, a value that cannot be used, a socket that cannot be had, and
    /// [`SetupError::Kept`] where another keeps the file.
    pub fn from_config(config: &Config) -> Result<Self, SetupError> {
        let path = config
            .discovery_cache_path()
            .ok_or(SetupError::NoServices)?;
        Self::open(config, Some(PathBuf::from(path)))
    }

    /// One that only listens: it writes no file and speaks to no other cache manager.
    ///
    /// # Errors
    ///
    /// As [`from_config`](Self::from_config), without the cache path.
    pub fn listener(config: &Config) -> Result<Self, SetupError> {
        Self::open(config, None)
    }

    fn open(config: &Config, cache: Option<PathBuf>) -> Result<Self, SetupError> {
        let addresses = Addresses::from_config(config)?;
        let first = addresses.discovery.first().copied();
        let first = first.ok_or(SetupError::NoAddress)?;
        let lock = match &cache {
            None => None,
            Some(path) => Some(lock(path)?),
        };
        let seed_hosts = seed_hosts(&config.discovery_seed_hosts());
        let is_local = addresses.is_local();
        let interval = config.service_announce_interval()?;
        let multicast = udp::multicast_receiver(addresses.group, &addresses.discovery);
        let multicast = multicast.map_err(|error| SetupError::Socket {
            what: "hearing announcements",
            address: addresses.group.ip(),
            error,
        })?;
        let peering = match &cache {
            None => None,
            Some(_) if is_local && seed_hosts.is_empty() => None,
            Some(_) => {
                let address = addresses.service.first().copied().unwrap_or(first);
                let at = SocketAddr::new(address, PEERING_PORT);
                let socket = udp::unicast(at).map_err(|error| SetupError::Socket {
                    what: "peering",
                    address,
                    error,
                })?;
                Some(Arc::new(socket))
            }
        };
        if let Some(path) = &cache {
            // Where the folder cannot be read, whoever writes into it will say so.
            let _ = file::remove_leftovers(path);
        }
        let existing = cache.as_ref().and_then(|path| Stamp::of(path).ok());
        let existing_age = existing.map(|stamp| {
            SystemTime::now()
                .duration_since(stamp.modified)
                .unwrap_or_default()
        });
        let settings = Settings {
            cache_max_age: config.discovery_cache_max_age()?,
            existing_age,
            first_write: match is_local {
                true => CACHE_FIRST_WRITE.min(interval.saturating_add(interval / 2)),
                false => CACHE_FIRST_WRITE,
            },
            min_ttl: config.discovery_min_ttl()?,
            max_announcement_age: config.discovery_max_announcement_age()?,
            cache_unlisted: config.discovery_cache_unlisted()? || cache.is_none(),
            auth_localhost: config.discovery_auth_localhost(),
            own_addresses: crate::interfaces()?
                .iter()
                .map(|each| each.address)
                .collect(),
            seed_hosts,
            peer_allow: config.discovery_peer_allow()?.unwrap_or_default(),
        };
        let machine = cache_manager::CacheManager::new(Instant::EPOCH, settings, seed()?);
        let shared = Shared {
            begun: StdInstant::now(),
            state: Mutex::new(State {
                machine,
                authorized: Authorized::of(config)?,
                looked: None,
                notes: VecDeque::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
            accept_pss: config.discovery_accept_pss()?,
        };
        Ok(Self {
            shared: Arc::new(shared),
            multicast,
            peering,
            cache,
            _lock: lock,
        })
    }

    /// For use while it runs.
    pub fn handle(&self) -> CacheManagerHandle {
        CacheManagerHandle {
            shared: self.shared.clone(),
        }
    }

    /// Works until [`CacheManagerHandle::stop`].
    pub fn run(self) {
        let Self {
            shared,
            multicast,
            peering,
            cache,
            _lock,
        } = self;
        thread::scope(|scope| {
            let hear = |name: &str, socket: &UdpSocket, via: Via| -> io::Result<()> {
                let (shared, socket) = (shared.clone(), socket.try_clone()?);
                let ear = thread::Builder::new().name(name.into());
                ear.spawn_scoped(scope, move || shared.hear(&socket, via))
                    .map(drop)
            };
            let heard =
                hear("scamp-multicast", &multicast, Via::Multicast).and_then(|()| match &peering {
                    Some(peering) => hear("scamp-peering", peering, Via::Peering),
                    None => Ok(()),
                });
            if let Err(error) = heard {
                shared.lock().note(format!("cannot hear: {error}"));
            }
            shared.work(peering.as_deref(), cache.as_deref());
        });
    }
}

impl CacheManagerHandle {
    /// Ends [`CacheManager::run`], within a quarter of a second.
    pub fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }

    /// The services heard.
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        self.shared.lock().machine.instances().cloned().collect()
    }

    /// How much came, and what became of it.
    pub fn stats(&self) -> Stats {
        self.shared.lock().machine.stats()
    }

    /// Takes what is worth a line in a log; the newest 256 are kept.
    pub fn notes(&self) -> Vec<String> {
        self.shared.lock().notes.drain(..).collect()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheManager")
            .field("stats", &self.lock().machine.stats())
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

    /// Takes datagrams in; what is to be made of them is for [`work`](Self::work) (HD-38).
    fn hear(&self, socket: &UdpSocket, via: Via) {
        let mut room = vec![0; DATAGRAM];
        // Without either, the loop would spin.
        if socket.set_nonblocking(false).is_err() || socket.set_read_timeout(Some(EAR)).is_err() {
            return self.lock().note("a socket cannot be waited for".into());
        }
        loop {
            let received = socket.recv_from(&mut room);
            let mut state = self.lock();
            if state.stopped {
                return;
            }
            match received {
                Ok((len, from)) => {
                    let datagram = room.get(..len).unwrap_or_default();
                    state.machine.receive(self.now(), from.ip(), via, datagram);
                    drop(state);
                    self.changed.notify_all();
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    state.note(format!("hearing: {error}"));
                    drop(state);
                    thread::sleep(EAR);
                }
            }
        }
    }

    /// Verifies, writes, sends, and minds the clock, until it is stopped.
    fn work(&self, peering: Option<&UdpSocket>, cache: Option<&Path>) {
        let mut state = self.lock();
        while !state.stopped {
            let now = self.now();
            state.look(now);
            state.machine.handle_timeout(now);
            let wall = UnixTime::from_micros(unix_micros());
            if let Some(pending) = state.machine.poll_pending(now, wall) {
                drop(state);
                let checked = pending.verify(&Rsa, self.accept_pss);
                state = self.lock();
                state.machine.checked(self.now(), wall, checked);
                continue;
            }
            while let Some(event) = state.machine.poll_event() {
                state.note(event.to_string());
            }
            if let Some(command) = state.machine.poll_command(now) {
                let authorized = state.authorized.path().map(PathBuf::from);
                drop(state);
                let done = perform(&command, peering, cache, authorized.as_deref());
                state = self.lock();
                match (command, done) {
                    (Command::Touch | Command::Write(_), done) => {
                        let done = done.map_err(|error| error.to_string());
                        let told = done.as_ref().copied().map_err(String::as_str);
                        state.machine.written(self.now(), told);
                    }
                    (Command::Send(host, _), Err(error)) => {
                        state.note(format!("peering with {host}: {error}"));
                    }
                    (_, Err(error)) => state.note(error.to_string()),
                    (_, Ok(())) => {}
                }
                continue;
            }
            let due = state.machine.poll_timeout();
            let patience = due.map_or(FILE_LOOK, |at| (at - now).min(FILE_LOOK));
            let waited = self.changed.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Looks at `bus.authorized_services`, once a second.
    fn look(&mut self, now: Instant) {
        if self.looked.is_some_and(|looked| now < looked + FILE_LOOK) {
            return;
        }
        self.looked = Some(now);
        let mut told = Vec::new();
        if self
            .authorized
            .look(&mut |event| told.push(event.to_string()))
        {
            let authorized = self.authorized.current().clone();
            self.machine.set_authorized(authorized);
        }
        told.into_iter().for_each(|text| self.note(text));
    }

    fn note(&mut self, text: String) {
        if self.notes.len() >= NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(text);
    }
}

fn perform(
    command: &Command,
    peering: Option<&UdpSocket>,
    cache: Option<&Path>,
    authorized: Option<&Path>,
) -> io::Result<()> {
    match (command, cache) {
        (Command::Send(host, datagram), _) => match peering {
            Some(peering) => peering
                .send_to(datagram, SocketAddr::new(*host, PEERING_PORT))
                .map(drop),
            None => Ok(()),
        },
        (Command::Write(content), Some(cache)) => file::replace(cache, content),
        (Command::Touch, Some(cache)) => file::touch(cache),
        (Command::Write(_) | Command::Touch, None) => Ok(()),
        (Command::WriteAuthorized(content), _) => {
            let Some(path) = authorized else {
                return Err(io::Error::other(
                    "discovery.auth_localhost needs bus.authorized_services",
                ));
            };
            let existing = match fs::read(path) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            match may_write_authorized(existing.as_deref()) {
                true => file::replace(path, content),
                false => Err(io::Error::other(format!(
                    "{} was not written by discovery.auth_localhost, and is left as it is",
                    path.display()
                ))),
            }
        }
    }
}

/// Locks a file beside the cache file, for as long as what is returned is open.
///
/// The cache file itself is replaced again and again, and cannot be what is locked.
fn lock(cache: &Path) -> Result<File, SetupError> {
    let mut name = cache.as_os_str().to_owned();
    name.push(".lock");
    let unusable = |error: io::Error| {
        let text = format!("{}: {error}", Path::new(&name).display());
        SetupError::System(io::Error::new(error.kind(), text))
    };
    let file = File::options().create(true).append(true).open(&name);
    let file = file.map_err(unusable)?;
    #[cfg(unix)]
    {
        use rustix::fs::{FlockOperation, flock};
        // A file system without locks is used without.
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(SetupError::Kept(cache.to_owned()));
        }
    }
    Ok(file)
}

/// Hosts that are always peered with; a name that means nothing is left out.
fn seed_hosts(names: &[&str]) -> Vec<IpAddr> {
    let found = names.iter().filter_map(|name| match name.parse() {
        Ok(address) => Some(address),
        Err(_) => Some((*name, 0).to_socket_addrs().ok()?.next()?.ip()),
    });
    found.collect()
}

/// Whether an error of receiving means no more than "again".
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            // A peer's port was closed when we last wrote to it.
            | io::ErrorKind::ConnectionRefused
    )
}

/// How long an ear listens before it looks whether it should stop.
const EAR: Duration = Duration::from_millis(200);

/// Notes that are kept for whoever asks.
const NOTES: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use scamp_proto::discovery::Description;

    use super::*;

    /// D-33: one cache file has one writer at a time; the next begins when the first is gone.
    #[test]
    #[cfg(unix)]
    fn one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let text = format!(
            "bus.address = 127.0.0.1\ndiscovery.local_port = 45555\ndiscovery.local_multicast = yes\n\
             discovery.cache_path = {}\n",
            path.display()
        );
        let (config, _) = Config::parse("test", text.as_bytes());
        let first = CacheManager::from_config(&config).unwrap();
        let second = CacheManager::from_config(&config);
        assert!(matches!(second, Err(SetupError::Kept(kept)) if kept == path));
        assert!(CacheManager::listener(&config).is_ok());
        drop(first);
        assert!(CacheManager::from_config(&config).is_ok());
    }

    /// F-45, D-33: where the file cannot be written the old one stays, that is told, and the next change
    /// is written with all that was missed.
    #[test]
    fn a_folder_that_cannot_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (here, away) = (folder.path().join("here"), folder.path().join("away"));
        fs::create_dir(&here).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let text = format!(
            "bus.address = 127.0.0.1\ndiscovery.local_multicast = yes\ndiscovery.local_port = {port}\n\
             discovery.cache_unlisted = yes\ndiscovery.min_ttl = 1000\n\
             discovery.cache_path = {}\n",
            here.join("cache").display()
        );
        let (config, _) = Config::parse("test", text.as_bytes());
        let manager = CacheManager::from_config(&config).unwrap();
        let handle = manager.handle();
        let running = thread::spawn(move || manager.run());

        let vectors =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/scamp/discovery");
        let [certificate, key] =
            ["key-go.crt", "key-go.key"].map(|name| fs::read(vectors.join(name)).unwrap());
        let identity = scamp_tls::Identity::from_pem(&certificate, &key).unwrap();
        let sender = udp::multicast_sender(Ipv4Addr::LOCALHOST.into()).unwrap();
        let announce = |name: &str| {
            let uri = "beepish+tls://127.0.0.1:9".parse().unwrap();
            let service = Description::new(name, uri);
            let text = service.sign(UnixTime::from_micros(1), identity.certificate(), &identity);
            let text = text.unwrap();
            let known = || handle.instances().iter().any(|it| it.identity() == name);
            // Until the manager hears.
            until(name, || {
                sender.send_to(&text, ("239.63.248.106", port)).unwrap();
                known()
            });
        };
        let has = |path: &Path, names: &[&str]| {
            let text = fs::read_to_string(path.join("cache")).unwrap_or_default();
            text.matches("\n%%%\n").count() == names.len()
                && names
                    .iter()
                    .all(|name| text.contains(&format!("\"{name}\"")))
        };
        announce("first");
        until("it is written", || has(&here, &["first"]));

        fs::rename(&here, &away).unwrap();
        announce("second");
        let mut told = Vec::new();
        until("it is told", || {
            told.extend(handle.notes());
            told.iter().any(|note| note.contains("cannot be written"))
        });
        assert!(has(&away, &["first"]));
        fs::rename(&away, &here).unwrap();
        announce("third");
        until("all are written", || {
            has(&here, &["first", "second", "third"])
        });
        handle.stop();
        running.join().unwrap();
    }

    /// Waits until something is so; the test fails if it never is.
    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = StdInstant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
