//! `scamp doctor`: whether this machine can take part in the bus.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use scamp_blocking::Identity;
use scamp_host::file::Stamp;
use scamp_host::{Authorized, config, interfaces, udp};
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::config::{
    Address, Config, ConfigError, DefaultAddress, Interface, default_address, resolve,
};
use scamp_proto::limits::CACHE_FILE;

use crate::failure::{Exit, Failure};
use crate::json::Object;
use crate::records;
use crate::settings::Settings;
use crate::terminal::{FIELD, Terminal, outside};

/// Check the configuration, keys, clock, network and cache of this machine
///
/// The exit code is 8 if something fails; warnings do not count.
#[derive(Args, Debug)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let mut report = Report {
            terminal,
            failed: 0,
        };
        let quiet = Terminal {
            quiet: true,
            verbose: false,
            ..terminal
        };
        match settings.load(quiet) {
            Err(failure) => report.failed("config", failure.text)?,
            Ok(loaded) => {
                let config = &loaded.config;
                // What the library does not know is asked for below.
                let names = service_names(config);
                report.config(&loaded, &names)?;
                let authorized = report.authorized(config)?;
                for name in &names {
                    report.service(config, name, &authorized)?;
                }
                report.tickets(config)?;
                report.clock()?;
                report.network(config)?;
                report.cache(config)?;
            }
        }
        match report.failed {
            0 => Ok(()),
            count => {
                let text = format!("{count} of the checks failed");
                Err(Failure::new(Exit::Local, text).told())
            }
        }
    }
}

/// What was found so far.
struct Report {
    terminal: Terminal,
    failed: usize,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Ok,
    Warning,
    Failed,
}

impl Report {
    fn ok(&mut self, check: &str, text: impl Display) -> Result<(), Failure> {
        self.tell(check, State::Ok, text)
    }

    fn warning(&mut self, check: &str, text: impl Display) -> Result<(), Failure> {
        self.tell(check, State::Warning, text)
    }

    fn failed(&mut self, check: &str, text: impl Display) -> Result<(), Failure> {
        self.failed += 1;
        self.tell(check, State::Failed, text)
    }

    fn tell(&self, check: &str, state: State, text: impl Display) -> Result<(), Failure> {
        let text = text.to_string();
        let word = match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "failed",
        };
        if self.terminal.json {
            let mut object = Object::default();
            object.text("check", check);
            object.text("state", word);
            object.text("text", &text);
            return self.terminal.data(&object.end());
        }
        let paint = self.terminal.paint();
        let padded = format!("{word:<7}");
        let word = match state {
            State::Ok => paint.good(&padded),
            State::Warning => paint.doubtful(&padded),
            State::Failed => paint.bad(&padded),
        };
        let text = outside(&text, FIELD);
        self.terminal.data(&format!("{word}  {check:<19}  {text}"))
    }

    fn config(
        &mut self,
        loaded: &scamp_host::LoadedConfig,
        names: &[String],
    ) -> Result<(), Failure> {
        const CHECK: &str = "config";
        let failed = self.failed;
        let Some(path) = &loaded.path else {
            let text = "no configuration file: SCAMP_CONFIG is not set, and there is none in \
                        /etc/scamp; every value is its default";
            return self.warning(CHECK, text);
        };
        let path = path.display();
        for event in &loaded.events {
            self.warning(CHECK, format!("{path}, {event}"))?;
        }
        for error in bad_values(&loaded.config) {
            self.failed(CHECK, error)?;
        }
        let config = &loaded.config;
        let unused = config.unused_keys().filter(|key| {
            let of_service = |name: &String| {
                let rest = key.strip_prefix(name.as_str());
                rest.is_some_and(|rest| SERVICE_KEYS.contains(&rest))
            };
            !names.iter().any(of_service)
        });
        let unused: Vec<&str> = unused.collect();
        if !unused.is_empty() {
            let text = format!(
                "{path}: keys that scamp does not know: {}",
                unused.join(", ")
            );
            self.warning(CHECK, text)?;
        }
        match self.failed == failed {
            true => self.ok(CHECK, path),
            false => Ok(()),
        }
    }

    fn authorized(&mut self, config: &Config) -> Result<AuthorizedServices, Failure> {
        const CHECK: &str = "authorized_services";
        let mut file = match Authorized::of(config) {
            Ok(file) => file,
            // It is among the values that were told already.
            Err(_) => return Ok(AuthorizedServices::none()),
        };
        let mut events = Vec::new();
        file.look(&mut |event| events.push(event));
        let services = file.current().as_ref().clone();
        let Some(path) = file.path() else {
            self.failed(
                CHECK,
                "bus.authorized_services is not set: nobody may provide anything",
            )?;
            return Ok(services);
        };
        if let Err(error) = Stamp::of(path) {
            self.failed(CHECK, format!("{}: {error}", path.display()))?;
            return Ok(services);
        }
        for event in events {
            self.warning(CHECK, format!("{}: {event}", path.display()))?;
        }
        if mode_of(path).is_some_and(|mode| mode & 0o022 != 0) {
            let text = "others can write it, and so let anyone provide anything";
            self.failed(CHECK, format!("{}: {text}", path.display()))?;
        }
        let text = format!("{}: {} certificates", path.display(), services.len());
        match services.is_empty() {
            true => self.warning(CHECK, text)?,
            false => self.ok(CHECK, text)?,
        }
        Ok(services)
    }

    /// The key and the certificate of a service that the configuration names.
    fn service(
        &mut self,
        config: &Config,
        name: &str,
        authorized: &AuthorizedServices,
    ) -> Result<(), Failure> {
        let check = format!("service {name}");
        let files = match config::service_files(config, name) {
            Ok(files) => files,
            Err(error) => return self.failed(&check, error),
        };
        let key = files.key.path.display();
        if mode_of(&files.key.path).is_some_and(|mode| mode & 0o077 != 0) {
            let text = format!("{key}: others can read this private key: chmod 600 {key}");
            self.failed(&check, text)?;
        }
        match Identity::from_pem(&files.certificate.octets, &files.key.octets) {
            Err(error) => {
                let certificate = files.certificate.path.display();
                self.failed(&check, format!("{key}, {certificate}: {error}"))
            }
            Ok(identity) => {
                let fingerprint = identity.fingerprint();
                match authorized.lists(&fingerprint) {
                    true => self.ok(&check, fingerprint),
                    false => {
                        let text = format!("{fingerprint} is not in authorized_services");
                        self.warning(&check, text)
                    }
                }
            }
        }
    }

    fn tickets(&mut self, config: &Config) -> Result<(), Failure> {
        const CHECK: &str = "ticket key";
        match config::ticket_keys(config) {
            Err(error) => self.failed(CHECK, error),
            Ok(Some(keys)) => self.ok(CHECK, format!("{} key(s)", keys.len())),
            Ok(None) => self.warning(
                CHECK,
                "none: a service here cannot check tickets (auth.ticket_verify_key)",
            ),
        }
    }

    fn clock(&mut self) -> Result<(), Failure> {
        const CHECK: &str = "clock";
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        match now < LONG_AGO {
            true => self.failed(CHECK, format!("{now} s after 1970 is long ago")),
            false => self.ok(CHECK, format!("{now} s after 1970")),
        }
    }

    /// The addresses, and whether what is sent to the group comes back (D-25, D-27).
    fn network(&mut self, config: &Config) -> Result<(), Failure> {
        const CHECK: &str = "addresses";
        let known = match interfaces() {
            Ok(known) => known,
            Err(error) => return self.failed(CHECK, format!("interfaces: {error}")),
        };
        let known: Vec<Interface<'_>> = known
            .iter()
            .map(|each| Interface {
                name: &each.name,
                address: each.address,
            })
            .collect();
        let wildcard = matches!(config.service_announce_address(), Ok(Some(_)));
        let lists = [
            ("service", config.service_addresses(), wildcard),
            ("discovery", config.discovery_addresses(), false),
        ];
        let mut discovery = Vec::new();
        for (what, entries, wildcard) in lists {
            // A bad value was told already.
            let Ok(entries) = entries else { continue };
            match addresses(&entries, &known, wildcard) {
                Err(error) => self.failed(CHECK, format!("{what}: {error}"))?,
                Ok((addresses, doubt)) => {
                    let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                    let text = format!("{what}: {}{doubt}", list.join(", "));
                    match doubt.is_empty() {
                        true => self.ok(CHECK, text)?,
                        false => self.warning(CHECK, text)?,
                    }
                    discovery = addresses;
                }
            }
        }
        let mut group = config.discovery_multicast_address();
        if config.discovery_local_multicast() {
            group = config.discovery_local_multicast_address();
            discovery = vec![Ipv4Addr::LOCALHOST.into()];
        }
        let Ok(group) = group else { return Ok(()) };
        for address in discovery {
            self.multicast(group, address)?;
        }
        Ok(())
    }

    fn multicast(&mut self, group: IpAddr, address: IpAddr) -> Result<(), Failure> {
        const CHECK: &str = "multicast";
        match echo(group, address) {
            Ok(true) => self.ok(CHECK, format!("{group} on {address}")),
            Ok(false) => {
                let text = format!("{group} on {address}: what was sent did not come back");
                self.failed(CHECK, text)
            }
            Err(error) => self.failed(CHECK, format!("{group} on {address}: {error}")),
        }
    }

    fn cache(&mut self, config: &Config) -> Result<(), Failure> {
        const CHECK: &str = "cache";
        let Some(path) = config
            .discovery_cache_path()
            .filter(|path| !path.is_empty())
        else {
            return self.warning(CHECK, "discovery.cache_path is not set");
        };
        let content = match scamp_host::file::read(Path::new(path), CACHE_FILE) {
            Ok(content) => content,
            Err(error) => {
                let text = format!("{path}: {error}; is a cache manager running?");
                return self.warning(CHECK, text);
            }
        };
        let (mut good, mut bad) = (0, 0);
        let accept_pss = config.discovery_accept_pss().unwrap_or_default();
        records::records(&content.octets, accept_pss, &mut |_| {}, &mut |record| {
            match record.outcome {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
            Ok(())
        })?;
        let Ok(most) = config.discovery_cache_max_age() else {
            return Ok(());
        };
        match SystemTime::now().duration_since(content.stamp.modified) {
            Err(ahead) => {
                let ahead = ahead.duration().as_secs();
                self.warning(
                    CHECK,
                    format!("{path}: its time is {ahead} s ahead of the clock"),
                )?;
            }
            Ok(age) if age > most => {
                let (age, most) = (age.as_secs(), most.as_secs());
                let text = format!("{path}: {age} s old, and {most} s is the most");
                self.failed(CHECK, format!("{text}; is a cache manager running?"))?;
            }
            Ok(age) => {
                let text = format!("{path}: {} s old, {good} announcements", age.as_secs());
                self.ok(CHECK, text)?;
            }
        }
        match bad {
            0 => Ok(()),
            bad => self.warning(CHECK, format!("{path}: {bad} records are not valid")),
        }
    }
}

/// What the entries mean here, and what is to be said about it (C-7, C-8, C-9).
fn addresses(
    entries: &[Address],
    known: &[Interface<'_>],
    wildcard: bool,
) -> Result<(Vec<IpAddr>, &'static str), String> {
    if !entries.is_empty() {
        let addresses = resolve(entries, known, wildcard).map_err(|error| error.to_string())?;
        return Ok((addresses, ""));
    }
    match default_address(known) {
        Some(DefaultAddress::Private(address)) => Ok((vec![address], "")),
        Some(DefaultAddress::Loopback(address)) => Ok((
            vec![address],
            ", since there is no other: nobody else will find this machine",
        )),
        None => Err("no private address here; set bus.address".to_owned()),
    }
}

/// Whether what is sent to the group on this address can be heard on it, at a port of no other use.
fn echo(group: IpAddr, address: IpAddr) -> std::io::Result<bool> {
    let receiver = udp::multicast_receiver(SocketAddr::new(group, 0), &[address])?;
    let sender = udp::multicast_sender(address)?;
    let to = SocketAddr::new(group, receiver.local_addr()?.port());
    let random: [u8; 16] = scamp_host::clock::random()?;
    receiver.set_nonblocking(false)?;
    sender.send_to(&random, to)?;
    let end = Instant::now() + PATIENCE;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if heard(&receiver, left)? == Some(random) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn heard(receiver: &UdpSocket, patience: Duration) -> std::io::Result<Option<[u8; 16]>> {
    receiver.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
    let mut room = [0; 16];
    match receiver.recv(&mut room) {
        Ok(16) => Ok(Some(room)),
        Ok(_) => Ok(None),
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock
            | std::io::ErrorKind::TimedOut
            | std::io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

/// The services that have a key or a certificate in the configuration.
pub(crate) fn service_names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config
        .unused_keys()
        .filter_map(|key| SERVICE_KEYS.iter().find_map(|end| key.strip_suffix(end)))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the keys of a service end in.
const SERVICE_KEYS: [&str; 4] = [".soa_key", ".soa_cert", ".key", ".cert"];

/// Every value that cannot be used; each is asked for once.
fn bad_values(config: &Config) -> Vec<ConfigError> {
    macro_rules! ask {
        ($($getter:ident)*) => {
            [$(config.$getter().err()),*]
        };
    }
    let errors = ask! {
        auth_meta_for_all auth_table_all_sectors auth_table_grace
        beepish_bind_tries beepish_client_timeout beepish_connect_timeout beepish_heartbeat
        beepish_ports beepish_server_timeout bus_addresses
        discovery_accept_pss discovery_addresses discovery_cache_max_age discovery_cache_unlisted
        discovery_local_multicast_address discovery_local_port discovery_max_announcement_age
        discovery_min_ttl discovery_multicast_address discovery_peer_allow discovery_port
        discovery_stale_policy
        flow_chunk_size flow_max_buffered flow_max_control flow_max_inflight flow_max_inflight_cap
        flow_max_queued flow_shed_after flow_stall_timeout
        mem_budget net_max_age net_write_timeout requester_selection
        rpc_max_body rpc_max_collected rpc_max_outstanding rpc_reply_stall rpc_timeout
        service_addresses service_announce_address service_announce_interval
        service_announce_resign service_handler_timeout service_max_connections
        service_max_handshakes_per_address service_max_requests service_shutdown_drain
        service_shutdown_grace ticket_clock_skew
        wire_max_open_messages wire_max_packet_body wire_message_idle wire_packet_timeout
        wire_strict_txerr
    };
    let mut bad: Vec<ConfigError> = Vec::new();
    for error in errors.into_iter().flatten() {
        // `bus.address` is asked for by all that fall back on it.
        if !bad.contains(&error) {
            bad.push(error);
        }
    }
    bad
}

/// The permissions of a file, where there are such.
fn mode_of(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    return path
        .metadata()
        .ok()
        .map(|known| std::os::unix::fs::MetadataExt::mode(&known));
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Before this was written: 2025, in seconds after 1970.
const LONG_AGO: u64 = 1_735_689_600;

/// How long a datagram on this machine may take.
const PATIENCE: Duration = Duration::from_millis(1_500);
