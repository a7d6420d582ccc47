//! `scamp describe`: all about one action.

use std::path::PathBuf;

use clap::Args;
use scamp_proto::discovery::{ActionRef, Instance, LookupError, Query};
use scamp_proto::limits::FLAG_TIMEOUT_ADDED;

use crate::action::Action;
use crate::bus::Bus;
use crate::completion;
use crate::failure::Failure;
use crate::json::Object;
use crate::settings::Settings;
use crate::table::{Table, Tone};
use crate::terminal::{FIELD, Terminal, outside};

/// Show an action's flags, timeout, envelopes and instances
///
/// The exit code is 3 if nobody offers it, and 6 if nobody who does is authorized to.
#[derive(Args, Debug)]
pub(crate) struct Describe {
    /// The action: `[SECTOR:]Name.space.verb[~VERSION]`
    #[arg(value_parser = Action::parse, add = completion::actions())]
    action: Action,
    /// The cache file, if not the configuration's
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

/// An instance that offers the action, and its entry for it.
struct Entry<'a> {
    instance: &'a Instance,
    action: ActionRef<'a>,
    reason: Option<String>,
}

impl Describe {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let bus = Bus::load(terminal, settings, self.cache.as_deref())?;
        let instances = bus.directory.instances().iter();
        let entries: Vec<Entry<'_>> = instances
            .filter_map(|instance| self.entry(&bus, instance))
            .collect();
        let Some(first) = entries.first() else {
            bus.usable()?;
            return Err(self.not_found(&bus));
        };
        match terminal.json {
            true => terminal.data(&to_json(first, &entries))?,
            false => print(terminal, first, &entries)?,
        }
        // Whoever asked sees the reasons; a script sees the code.
        match entries.iter().any(|entry| entry.reason.is_none()) {
            true => Ok(()),
            false => {
                bus.usable().map_err(Failure::told)?;
                Err(self.named(LookupError::NotAuthorized).told())
            }
        }
    }

    fn entry<'a>(&self, bus: &Bus, instance: &'a Instance) -> Option<Entry<'a>> {
        let is_it = |action: &ActionRef<'_>| {
            let name = format!("{}.{}", action.namespace, action.name);
            self.action.name.eq_ignore_ascii_case(&name)
                && self.action.sector.eq_ignore_ascii_case(action.sector)
                && self.action.version == action.version
        };
        let action = instance.actions().find(is_it)?;
        let reason = bus.why_not(instance, &action);
        Some(Entry {
            instance,
            action,
            reason: reason.map(|reason| reason.to_string()),
        })
    }

    /// No such action; the versions there are help more than that.
    fn not_found(&self, bus: &Bus) -> Failure {
        let query = Query {
            version: self.action.version,
            ..Query::new(&self.action.sector, &self.action.name)
        };
        let known = bus.directory.explain(&query, &bus.authorized);
        let other = known.into_iter().find_map(|(_, reason)| reason);
        let failure = self.named(LookupError::NotFound);
        match other {
            Some(reason) => Failure {
                text: format!("{}; {reason}", failure.text),
                ..failure
            },
            None => failure,
        }
    }

    fn named(&self, error: LookupError) -> Failure {
        let failure = Failure::from(error);
        Failure {
            text: format!("{}:{}: {}", self.action.sector, self.action, failure.text),
            ..failure
        }
    }
}

fn print(terminal: Terminal, first: &Entry<'_>, entries: &[Entry<'_>]) -> Result<(), Failure> {
    let action = &first.action;
    let paint = terminal.paint();
    let name = outside(&action.to_string(), FIELD);
    let list = |items: Vec<&str>| match items.is_empty() {
        true => "none".to_owned(),
        false => outside(&items.join(", "), FIELD),
    };
    terminal.data(&paint.strong(&name))?;
    terminal.data(&format!(
        "  flags      {}",
        list(action.flags.iter().collect())
    ))?;
    terminal.data(&format!(
        "  envelopes  {}",
        list(action.envelopes.iter().collect())
    ))?;
    if let Some(timeout) = timeout(action) {
        terminal.data(&format!("  timeout    {timeout} s"))?;
    }
    terminal.data("")?;
    let mut table = Table::new(&["ID", "Address", "Weight", "Fingerprint", "Reason"]);
    table.numbers(&[2]);
    for Entry {
        instance, reason, ..
    } in entries
    {
        let row = [
            instance.identity(),
            &instance.uri().to_string(),
            &instance.weight().to_string(),
            &instance.fingerprint().to_string(),
            reason.as_deref().unwrap_or("may be asked"),
        ];
        let tone = if reason.is_none() {
            Tone::Plain
        } else {
            Tone::Faint
        };
        table.row(row, tone);
    }
    table.print(terminal)
}

fn to_json(first: &Entry<'_>, entries: &[Entry<'_>]) -> String {
    let action = &first.action;
    let mut object = Object::default();
    object.text("action", &action.to_string());
    object.text("sector", action.sector);
    object.text("name", &format!("{}.{}", action.namespace, action.name));
    object.number("version", action.version.into());
    object.texts("flags", action.flags.iter());
    object.texts("envelopes", action.envelopes.iter());
    match timeout(action) {
        Some(seconds) => object.number("timeout", seconds),
        None => object.null("timeout"),
    }
    let instances: Vec<String> = entries.iter().map(entry_json).collect();
    object.objects("instances", &instances);
    object.end()
}

fn entry_json(entry: &Entry<'_>) -> String {
    let Entry {
        instance,
        action,
        reason,
    } = entry;
    let mut object = Object::default();
    object.text("identity", instance.identity());
    object.text("fingerprint", &instance.fingerprint().to_string());
    object.text("uri", &instance.uri().to_string());
    object.float("weight", instance.weight());
    object.texts("flags", action.flags.iter());
    object.texts("envelopes", action.envelopes.iter());
    object.truth("authorized", reason.is_none());
    object.maybe("reason", reason.as_deref());
    object.end()
}

/// How long a request for it may take unless the caller says so, in seconds (S-21).
fn timeout(action: &ActionRef<'_>) -> Option<u64> {
    let limit = action.timeout()?;
    Some((limit + FLAG_TIMEOUT_ADDED).as_secs())
}
