//! `scamp cache`: the discovery cache file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use scamp_host::{CacheManager, CacheManagerHandle};
use scamp_proto::discovery::Announcement;
use scamp_proto::discovery::cache_file::encode;

use crate::bus::{Bus, authorized, cache_path};
use crate::failure::{Exit, Failure};
use crate::hear::Ear;
use crate::interrupt;
use crate::json::Object;
use crate::list::service_json;
use crate::records;
use crate::settings::Settings;
use crate::table::{Table, Tone};
use crate::terminal::{FIELD, Terminal, outside, written};
use crate::verify::Report;

/// Keep the discovery cache, or look into it
///
/// Without a verb of its own it is `cache serve`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cache {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Serve),
    Write(Write),
    Show(Show),
    Verify(Verify),
}

impl Cache {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let Some(verb) = &self.verb else {
            return self.serve.run(terminal, settings);
        };
        match verb {
            Verb::Serve(verb) => verb.run(terminal, settings),
            Verb::Write(verb) => verb.run(terminal, settings),
            Verb::Show(verb) => verb.run(terminal, settings),
            Verb::Verify(verb) => verb.run(terminal, settings),
        }
    }
}

/// Be the cache manager: hear announcements, and keep the cache file (K-8)
#[derive(Args, Debug)]
struct Serve {
    /// Write here, once a second, who is there and how much was heard: a JSON object per line
    #[arg(long, value_name = "FILE")]
    scoreboard: Option<PathBuf>,
    /// Write the process's number here, and remove it at the end
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
}

impl Serve {
    fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let config = settings.load(terminal)?.config;
        let path = cache_path(&config, None)?;
        let manager = CacheManager::from_config(&config)?;
        let handle = manager.handle();
        let stopper = handle.clone();
        interrupt::shuts_down(
            move || stopper.stop(),
            || process::exit(Exit::Success.code().into()),
        )?;
        let pidfile = self.pidfile.as_deref();
        if let Some(file) = pidfile {
            replace(file, format!("{}\n", process::id()).as_bytes())?;
        }
        let running = thread::spawn(move || manager.run());
        if terminal.json {
            let mut object = Object::default();
            object.text("file", &path.display().to_string());
            object.number("pid", process::id().into());
            terminal.data(&object.end())?;
        } else {
            terminal.say(&format!("keeping {}", path.display()));
        }
        let outcome = self.watch(terminal, &handle, &running);
        handle.stop();
        // Nothing of it panics.
        let _ = running.join();
        if let Some(file) = pidfile {
            // It may have been removed by somebody else.
            let _ = fs::remove_file(file);
        }
        outcome
    }

    /// Tells what the manager notes, and writes the scoreboard, until the manager ends.
    fn watch(
        &self,
        terminal: Terminal,
        handle: &CacheManagerHandle,
        running: &JoinHandle<()>,
    ) -> Result<(), Failure> {
        let mut at = Instant::now();
        while !running.is_finished() {
            for note in handle.notes() {
                terminal.say(&outside(&note, FIELD));
            }
            if let (Some(file), true) = (&self.scoreboard, Instant::now() >= at) {
                replace(file, scoreboard(handle).as_bytes())?;
                at = Instant::now() + Duration::from_secs(1);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

fn scoreboard(handle: &CacheManagerHandle) -> String {
    let (stats, instances) = (handle.stats(), handle.instances());
    let mut object = Object::default();
    object.number("services", instances.len() as u64);
    object.number("datagrams", stats.datagrams);
    object.number("dropped", stats.dropped);
    object.number("bad", stats.bad);
    object.number("unlisted", stats.unlisted);
    object.number("refreshed", stats.refreshed);
    object.number("replayed", stats.replayed);
    object.number("verified", stats.verified);
    object.number("relayed", stats.relayed);
    object.number("written", stats.written);
    let mut text = object.end();
    for instance in instances {
        let mut object = Object::default();
        object.text("identity", instance.identity());
        object.text("fingerprint", &instance.fingerprint().to_string());
        object.text("sector", instance.sector());
        object.float("weight", instance.weight());
        object.text("uri", &instance.uri().to_string());
        object.float("timestamp", instance.timestamp().number());
        text.push('\n');
        text.push_str(&object.end());
    }
    text.push('\n');
    text
}

fn replace(file: &Path, octets: &[u8]) -> Result<(), Failure> {
    scamp_host::file::replace(file, octets).map_err(|error| Failure::file(file.display(), &error))
}

/// Listen for a while, and write a cache file once
#[derive(Args, Debug)]
struct Write {
    /// The file, if not the configuration's; `-` is standard output
    file: Option<PathBuf>,
    /// How long to listen; without it two announce intervals
    #[arg(long = "for", value_name = "TIME", value_parser = crate::asking::span)]
    span: Option<Duration>,
    /// Write services of unlisted certificates, too (`discovery.cache_unlisted`)
    #[arg(long)]
    all: bool,
}

impl Write {
    fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let config = settings.load(terminal)?.config;
        let path = cache_path(&config, self.file.as_deref())?;
        let all = self.all || config.discovery_cache_unlisted()?;
        let span = match self.span {
            Some(span) => span,
            None => config.service_announce_interval()? * 2,
        };
        let mut ear = Ear::open(&config)?;
        interrupt::ends_the_process()?;
        let end = Instant::now() + span;
        let mut bad = 0_u64;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if let Some(heard) = ear.next(left)? {
                if let Err(error) = heard.news {
                    bad += 1;
                    let text = format!("datagram from {} dropped: {error}", heard.from);
                    terminal.detail(&outside(&text, FIELD));
                }
            }
            ear.expired();
        }
        let authorized = authorized(terminal, &config)?;
        let is_listed = |known: &&Announcement| all || authorized.lists(&known.fingerprint());
        let heard = ear.registry.len();
        let kept: Vec<&Announcement> = ear.registry.announcements().filter(is_listed).collect();
        let octets = encode(kept.iter().copied(), &mut |event| {
            terminal.say(&event.to_string());
        });
        if path.as_os_str() == "-" {
            let mut out = io::stdout().lock();
            let all =
                io::Write::write_all(&mut out, &octets).and_then(|()| io::Write::flush(&mut out));
            return all.map_err(|error| written(&error));
        }
        replace(&path, &octets)?;
        let (path, count, unlisted) = (path.display().to_string(), kept.len(), heard - kept.len());
        if terminal.json {
            let mut object = Object::default();
            object.text("file", &path);
            object.number("records", count as u64);
            object.number("unlisted", unlisted as u64);
            object.number("bad", bad);
            object.number("octets", octets.len() as u64);
            return terminal.data(&object.end());
        }
        terminal.data(&format!(
            "{path}: {count} services, {unlisted} more are not listed"
        ))
    }
}

/// Show the cache file's age, and the services in it
#[derive(Args, Debug)]
struct Show {
    /// The cache file, if not the configuration's
    file: Option<PathBuf>,
}

impl Show {
    fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let bus = Bus::load(terminal, settings, self.file.as_deref())?;
        let (cache, bad) = (&bus.cache, bus.bad.len());
        if terminal.json {
            let mut object = Object::default();
            object.text("file", &cache.path.display().to_string());
            object.number("octets", cache.octets as u64);
            object.seconds("age", cache.age);
            object.truth("stale", cache.is_old());
            object.number("records", bus.records as u64);
            object.number("bad", bad as u64);
            terminal.data(&object.end())?;
        } else {
            let paint = terminal.paint();
            let age = format!("{} s old", cache.age.as_secs());
            let age = match cache.is_old() {
                true => paint.bad(&format!("{age}, stale")),
                false => paint.good(&age),
            };
            let file = paint.strong(&cache.path.display().to_string());
            let (octets, records) = (cache.octets, bus.records);
            terminal.data(&format!(
                "{file}: {octets} octets, {age}, {records} records, {bad} not valid"
            ))?;
        }
        let mut table = Table::new(&["ID", "Sector", "Weight", "Address", "#OK", "Fingerprint"]);
        table.numbers(&[2, 4]);
        for instance in bus.directory.instances() {
            let all = instance.actions().count();
            let usable = instance
                .actions()
                .filter(|action| bus.why_not(instance, action).is_none())
                .count();
            if terminal.json {
                let reason = bus.why_nothing(instance).map(|reason| reason.to_string());
                terminal.data(&service_json(instance, all, usable, reason.as_deref()))?;
                continue;
            }
            let row = [
                instance.identity(),
                instance.sector(),
                &instance.weight().to_string(),
                &instance.uri().to_string(),
                &format!("{usable}/{all}"),
                &instance.fingerprint().to_string(),
            ];
            let tone = if usable > 0 { Tone::Plain } else { Tone::Faint };
            table.row(row, tone);
        }
        table.print(terminal)
    }
}

/// Check all signatures of the cache file
///
/// The exit code is 6 if one of them is not valid.
#[derive(Args, Debug)]
struct Verify {
    /// The cache file, if not the configuration's; `-` is standard input
    file: Option<PathBuf>,
    /// Take signatures with PSS padding, too (`discovery.accept_pss`)
    #[arg(long)]
    accept_pss: bool,
}

impl Verify {
    fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        // A file that is named needs no configuration.
        let (file, accept_pss) = match &self.file {
            Some(file) => (file.clone(), self.accept_pss),
            None => {
                let config = settings.load(terminal)?.config;
                let accept_pss = config.discovery_accept_pss()? || self.accept_pss;
                (cache_path(&config, None)?, accept_pss)
            }
        };
        let mut report = Report::new(terminal);
        report.file(&records::read(&file)?, accept_pss)?;
        report.end()
    }
}
