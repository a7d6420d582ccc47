//! `scamp announce`: announcements of a service that does not announce itself.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use scamp_blocking::Identity;
use scamp_host::clock::unix_micros;
use scamp_host::{Addresses, config};
use scamp_proto::discovery::{Announcer, Description, Offer, Resign, UnixTime, Uri};
use scamp_proto::service::Name;

use crate::certificate;
use crate::failure::Failure;
use crate::interrupt;
use crate::json::Object;
use crate::settings::Settings;
use crate::sign::offer;
use crate::terminal::Terminal;

/// Announce a service that is somewhere else
///
/// Says again and again that a service is there, signed with its key, as it would itself; and at
/// Ctrl-C that it is gone, ten times in ten seconds. For services that cannot, or that are to be seen
/// on another network.
#[derive(Args, Debug)]
pub(crate) struct Announce {
    /// The service's name; what follows a colon is used as it is, else it is made up
    #[arg(long)]
    name: String,
    /// Where it listens: `beepish+tls://HOST:PORT`
    #[arg(long)]
    uri: Uri,
    /// An action: `Name.space.verb~VERSION`, with flags after commas; may be repeated
    #[arg(long = "action", value_name = "ACTION[,FLAG…]", value_parser = offer)]
    actions: Vec<Offer>,
    /// The private key, PEM; without it the configuration's for the name
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The certificate, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its sector; without it `bus.default_sector`
    #[arg(long)]
    sector: Option<String>,
    /// An envelope it takes; may be repeated
    #[arg(long = "envelope", value_name = "ENVELOPE", default_value = "json")]
    envelopes: Vec<String>,
    /// How much of the requests it wants
    #[arg(long, default_value = "1")]
    weight: u32,
    /// How often; without it `service.announce_interval`
    #[arg(long, value_name = "TIME", value_parser = crate::asking::span)]
    interval: Option<Duration>,
    /// Announce it once, and say nothing when this ends
    #[arg(long)]
    once: bool,
    /// Say once that it is gone
    #[arg(long, conflicts_with = "once")]
    withdraw: bool,
}

impl Announce {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let config = settings.load(terminal)?.config;
        let (name, rest) = match self.name.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (self.name.as_str(), None),
        };
        let owner = match (&self.key, &self.cert) {
            (Some(key), Some(cert)) => certificate::identity(key, cert)?,
            _ => {
                let files = config::service_files(&config, name)?;
                Identity::from_pem(&files.certificate.octets, &files.key.octets)
                    .map_err(|error| Failure::local(format!("{name}: {error}")))?
            }
        };
        let identity = match rest {
            Some(_) => self.name.clone(),
            None => {
                let name = Name::parse(name).map_err(|error| Failure::usage(error.to_string()))?;
                let random = scamp_host::clock::random();
                name.identity(random.map_err(|error| Failure::file("random numbers", &error))?)
            }
        };
        if self.withdraw && rest.is_none() {
            return Err(Failure::usage(
                "--withdraw needs the whole identity as --name: NAME:REST",
            ));
        }
        let mut description = Description::new(identity, self.uri.clone());
        description.sector = match &self.sector {
            Some(sector) => sector.clone(),
            None => config.bus_default_sector().to_owned(),
        };
        description.interval = match self.interval {
            Some(interval) => interval,
            None => config.service_announce_interval()?,
        };
        description.envelopes = self.envelopes.clone();
        if !self.withdraw {
            description.actions = self.actions.clone();
            description.weight = self.weight;
        } else {
            description.weight = 0;
        }
        let Addresses {
            discovery, group, ..
        } = Addresses::from_config(&config)?;
        let mut senders = Vec::new();
        for address in discovery {
            let sender = scamp_host::udp::multicast_sender(address);
            senders.push(sender.map_err(|error| Failure::file(address, &error))?);
        }
        self.announce(terminal, description, &owner, &senders, group)
    }

    fn announce(
        &self,
        terminal: Terminal,
        description: Description,
        owner: &Identity,
        senders: &[UdpSocket],
        group: SocketAddr,
    ) -> Result<(), Failure> {
        let refused = |error: &dyn std::fmt::Display| Failure::local(error.to_string());
        let identity = description.identity.clone();
        let uris = vec![description.uri.clone(); senders.len()];
        let mut announcer =
            Announcer::new(description, owner.certificate().to_vec(), Resign::Always);
        announcer.check(owner).map_err(|error| refused(&error))?;
        let begun = Instant::now();
        let now = || scamp_proto::Instant::from_epoch(begun.elapsed());
        announcer.set_addresses(now(), uris);
        announcer.start(now());
        let signals = Arc::new(AtomicUsize::new(0));
        let (first, second) = (signals.clone(), signals.clone());
        interrupt::shuts_down(
            move || {
                terminal.say("saying that it is gone, for ten seconds; once more ends it at once");
                first.store(1, Ordering::SeqCst);
            },
            move || second.store(2, Ordering::SeqCst),
        )?;
        let (mut sent, mut is_leaving) = (0, false);
        loop {
            match signals.load(Ordering::SeqCst) {
                0 => {}
                1 if self.once || self.withdraw => return Ok(()),
                1 if !is_leaving => {
                    announcer.leave(now());
                    is_leaving = true;
                }
                1 => {}
                _ => return Ok(()),
            }
            let wall = UnixTime::from_micros(unix_micros());
            match announcer.poll_datagram(now(), wall, owner) {
                Some(made) => {
                    let (output, datagram) = made.map_err(|error| refused(&error))?;
                    if let Some(sender) = senders.get(output) {
                        let gone = sender.send_to(&datagram, group);
                        gone.map_err(|error| Failure::file(group, &error))?;
                    }
                    sent += 1;
                    let word = if is_leaving || self.withdraw {
                        "withdrawn"
                    } else {
                        "announced"
                    };
                    tell(terminal, word, &identity, group, datagram.len())?;
                    if (self.once || self.withdraw) && sent >= senders.len() {
                        return Ok(());
                    }
                }
                None if announcer.is_done() => return Ok(()),
                None => {
                    let due = announcer.poll_timeout();
                    let patience = due.map_or(LOOK, |at| at - now());
                    thread::sleep(patience.clamp(Duration::from_millis(1), LOOK));
                }
            }
        }
    }
}

fn tell(
    terminal: Terminal,
    word: &str,
    identity: &str,
    group: SocketAddr,
    octets: usize,
) -> Result<(), Failure> {
    if !terminal.json {
        terminal.detail(&format!("{word} {identity} to {group}, {octets} octets"));
        return Ok(());
    }
    let mut object = Object::default();
    object.text("change", word);
    object.text("identity", identity);
    object.text("group", &group.to_string());
    object.number("datagram", octets as u64);
    terminal.data(&object.end())
}

/// How often it is looked whether somebody wants the end.
const LOOK: Duration = Duration::from_millis(100);
