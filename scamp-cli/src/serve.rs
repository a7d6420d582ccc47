//! `scamp serve`: a service to try things on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::Duration;

use clap::Args;
use scamp_blocking::{Access, Identity, Service, ServiceBuilder, ServiceHandle};
use scamp_host::LoadError;
use scamp_proto::config::Config;

use crate::certificate;
use crate::doctor::service_names;
use crate::exec::Exec;
use crate::failure::{Exit, Failure};
use crate::finder;
use crate::interrupt;
use crate::json::Object;
use crate::keeper::Keeper;
use crate::keygen::{make, service_name};
use crate::offer::Offer;
use crate::settings::Settings;
use crate::terminal::{FIELD, Terminal, outside};

/// Run a service: examples, or programs of yours
///
/// It offers, in each namespace of --action-prefix: echo (sends the body back as it comes), hello
/// (greets the name in the body), health_check, stream (`{"octets":N}`: a body of N octets), sleep
/// (`{"ms":N}`), fail (`{"code":…,"text":…,"data":…}`: answers with that error) and txerr
/// (`{"octets":N,"text":…}`: gives up in the middle of the reply); and Greetings.hello. With --exec
/// it offers those programs instead.
///
/// With a configuration that has a key for its name, it is announced, and found by `scamp call`. On a
/// bus of this machine alone it then keeps the discovery cache as well, unless somebody else does.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Listen on this address, and announce nothing; port 0 is any that is free
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Announce nothing, whatever the configuration says; listen on 127.0.0.1
    #[arg(long = "static")]
    is_static: bool,
    /// The private key of a service that is not announced, PEM; without it one is made for this run
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Its certificate, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The service's name; without it the one that the configuration has a key for, or scamp-demo
    #[arg(long, value_parser = service_name)]
    name: Option<String>,
    /// Keep the discovery cache, also where the bus is more than this machine
    #[arg(long, conflicts_with_all = ["listen", "is_static", "key"])]
    keep_cache: bool,
    /// Run a program for each request: the body is its input, its output the reply, an exit code
    /// other than 0 an error; may be repeated
    #[arg(long, value_name = "ACTION[,FLAG…]=COMMAND", value_parser = Exec::parse)]
    exec: Vec<Exec>,
    /// Let only callers run programs whose ticket has this privilege; may be repeated
    #[arg(long, value_name = "PRIVILEGE", requires = "exec")]
    require: Vec<u64>,
    /// The namespace of the example actions; may be repeated
    #[arg(
        long = "action-prefix",
        value_name = "NAMESPACE",
        default_value = "Demo"
    )]
    prefixes: Vec<String>,
    /// Publish a counter this often, as topic `tick`, key `count`; alone it means every second
    #[arg(long, value_name = "TIME", value_parser = crate::asking::span, num_args = 0..=1,
        require_equals = true, default_missing_value = "1s")]
    tick: Option<Duration>,
    /// Offer the example actions beside those of --exec
    #[arg(long)]
    demo: bool,
}

/// A service that listens.
struct Ready {
    name: String,
    service: Service,
    actions: Vec<String>,
    keeper: Option<Keeper>,
}

impl Serve {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let is_alone = self.is_static || self.listen.is_some() || self.key.is_some();
        let found = match is_alone {
            true => None,
            false => self.configured(terminal, settings)?,
        };
        let ready = match found {
            Some((name, config)) => self.announced(terminal, name, config)?,
            None => self.alone(terminal)?,
        };
        let Ready {
            name,
            service,
            actions,
            keeper,
        } = ready;
        let handle = service.handle();
        let (first, second) = (handle.clone(), handle.clone());
        let leaving = match handle.identity() {
            Some(_) => "leaving the bus, which takes a while; once more ends it at once",
            None => "shutting down; once more ends it at once",
        };
        interrupt::shuts_down(
            move || {
                terminal.say(leaving);
                first.shutdown();
            },
            move || {
                second.shutdown();
                process::exit(Exit::Success.code().into());
            },
        )?;
        self.publish(&handle, &name, &actions);
        if terminal.verbose {
            watch(handle.clone(), terminal);
        }
        tell(terminal, &name, &service, &actions)?;
        service.run();
        if let Some(keeper) = keeper {
            keeper.stop();
        }
        terminal.detail("shut down");
        Ok(())
    }

    /// The name and the configuration of a service that is to be announced.
    fn configured(
        &self,
        terminal: Terminal,
        settings: &Settings,
    ) -> Result<Option<(String, Config)>, Failure> {
        let loaded = settings.load(terminal)?;
        if loaded.path.is_none() {
            if self.keep_cache {
                return Err(Failure::local("--keep-cache needs a configuration"));
            }
            return Ok(None);
        }
        let config = loaded.config;
        let names = service_names(&config);
        let name = match (&self.name, &names[..]) {
            (Some(name), _) => name.clone(),
            (None, [only]) => only.clone(),
            (None, _) => NAME.to_owned(),
        };
        match scamp_host::config::service_files(&config, &name) {
            Ok(_) => Ok(Some((name, config))),
            Err(LoadError::NotFound { .. }) if !self.keep_cache => {
                terminal.say(&format!(
                    "not announced: the configuration has no {name}.soa_key"
                ));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn announced(
        &self,
        terminal: Terminal,
        name: String,
        mut config: Config,
    ) -> Result<Ready, Failure> {
        let sectors: BTreeSet<&str> = self
            .exec
            .iter()
            .filter_map(|exec| exec.sector.as_deref())
            .collect();
        let mut sectors = sectors.into_iter();
        if let Some(sector) = sectors.next() {
            if sectors.next().is_some() {
                return Err(Failure::usage(
                    "all actions of a service are in one sector: run `scamp serve` once for each",
                ));
            }
            config.set_override("bus.default_sector", sector);
        }
        let (builder, actions) = self.offer(terminal, &name, |offer| {
            let builder = Service::from_config(&config, &name)?;
            match offer {
                Some(offer) => offer.add_to(builder),
                None => Ok((builder, Vec::new())),
            }
        })?;
        let service = builder.build()?;
        let keeps = self.keep_cache || finder::is_local(&config);
        let keeper = keeps.then(|| Keeper::start(config, terminal));
        Ok(Ready {
            name,
            service,
            actions,
            keeper,
        })
    }

    fn alone(&self, terminal: Terminal) -> Result<Ready, Failure> {
        let name = self.name.clone().unwrap_or(NAME.to_owned());
        let identity = self.identity(terminal, &name)?;
        let (builder, actions) = self.offer(terminal, &name, |offer| match offer {
            Some(offer) => offer.service(identity),
            None => Ok((Service::builder(identity), Vec::new())),
        })?;
        let listen = self.listen.as_deref().unwrap_or("127.0.0.1:0");
        let service = builder
            .bind(listen)
            .map_err(|error| Failure::file(format!("cannot listen on {listen}"), &error))?;
        Ok(Ready {
            name,
            service,
            actions,
            keeper: None,
        })
    }

    /// A service with the examples, if they are wanted, and with programs.
    fn offer(
        &self,
        terminal: Terminal,
        name: &str,
        begin: impl FnOnce(Option<Offer>) -> Result<(ServiceBuilder, Vec<String>), Failure>,
    ) -> Result<(ServiceBuilder, Vec<String>), Failure> {
        let offer = Offer {
            name: name.to_owned(),
            prefixes: self.prefixes.clone(),
            verbose: terminal.verbose,
        };
        let (mut builder, mut actions) =
            begin((self.demo || self.exec.is_empty()).then_some(offer))?;
        for exec in &self.exec {
            let theirs = exec.clone();
            let action = exec.action().clone().requires(&self.require);
            let added = builder.streaming_action(action, move |request| theirs.serve(request));
            builder = added.map_err(|error| Failure::usage(error.to_string()))?;
            actions.push(exec.name());
        }
        if !self.exec.is_empty() {
            // Whoever needs no privilege may call them.
            builder = builder.default_access(Access::Allow);
        }
        Ok((builder, actions))
    }

    fn identity(&self, terminal: Terminal, name: &str) -> Result<Identity, Failure> {
        let (Some(key), Some(cert)) = (&self.key, &self.cert) else {
            // A key that lasts one run need not be slow to make.
            return Ok(make(name, 2048)?.1);
        };
        warn_of_readers(key, terminal);
        certificate::identity(key, cert)
    }

    fn publish(&self, handle: &ServiceHandle, name: &str, actions: &[String]) {
        let mut object = Object::default();
        object.texts("actions", actions.iter().map(String::as_str));
        handle.publish("announce", name, &object.end());
        let Some(pause) = self.tick else { return };
        let handle = handle.clone();
        thread::spawn(move || {
            for count in 0_u64.. {
                handle.publish("tick", "count", &count.to_string());
                thread::sleep(pause);
            }
        });
    }
}

/// Says that the service is there, where, and how to try it.
fn tell(
    terminal: Terminal,
    name: &str,
    service: &Service,
    actions: &[String],
) -> Result<(), Failure> {
    let address = service.local_addr();
    let fingerprint = service.fingerprint();
    let fingerprint = fingerprint.map_or_else(String::new, |known| known.to_string());
    let handle = service.handle();
    if terminal.json {
        let mut object = Object::default();
        object.text("name", name);
        object.maybe("identity", handle.identity());
        object.text("address", &address.to_string());
        object.text("fingerprint", &fingerprint);
        object.texts("actions", actions.iter().map(String::as_str));
        return terminal.data(&object.end());
    }
    terminal.data(&format!("listening on {address} fingerprint {fingerprint}"))?;
    let action = actions.first().map_or("", String::as_str);
    let example = match actions.iter().any(|action| action == "Greetings.hello~1") {
        true => "Greetings.hello '{\"name\":\"World\"}'".to_owned(),
        false => format!("{action} '{{}}'"),
    };
    match handle.identity() {
        Some(identity) => {
            terminal.say(&format!("announced as {identity}"));
            terminal.say(&format!("try: scamp call {example}"));
        }
        None => terminal.say(&format!(
            "try: scamp call {example} --connect {address} --fingerprint {fingerprint}"
        )),
    }
    Ok(())
}

/// What a service is called that nobody gave a name.
const NAME: &str = "scamp-demo";

/// Tells what the service notes, about once a second.
fn watch(handle: ServiceHandle, terminal: Terminal) {
    thread::spawn(move || {
        loop {
            for note in handle.presence_notes() {
                terminal.detail(&outside(&note, FIELD));
            }
            for note in handle.notes() {
                let peer = note
                    .peer
                    .map_or_else(String::new, |peer| format!("{peer} "));
                let what = note.what.to_string();
                terminal.detail(&format!("{peer}{}", outside(&what, FIELD)));
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
}

/// Says so if others can read a private key.
fn warn_of_readers(key: &std::path::Path, terminal: Terminal) {
    #[cfg(unix)]
    if let Ok(known) = key.metadata() {
        let mode = std::os::unix::fs::MetadataExt::mode(&known);
        if mode & 0o077 != 0 {
            let key = key.display();
            terminal.say(&format!(
                "{key}: others can read this private key: chmod 600 {key}"
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (key, terminal);
}
