//! `scamp cache`: the discovery cache file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::bus::{Bus, cache_path};
use crate::failure::Failure;
use crate::json::Object;
use crate::list::service_json;
use crate::records;
use crate::settings::Settings;
use crate::table::{Table, Tone};
use crate::terminal::Terminal;
use crate::verify::Report;

/// Look into the discovery cache
#[derive(Args, Debug)]
pub(crate) struct Cache {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Show),
    Verify(Verify),
}

impl Cache {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        match &self.verb {
            Verb::Show(verb) => verb.run(terminal, settings),
            Verb::Verify(verb) => verb.run(terminal, settings),
        }
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
