//! What a shell offers for an action that is begun to be written.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use scamp_proto::discovery::ActionRef;

use crate::bus::Bus;
use crate::settings::Settings;
use crate::terminal::Terminal;

/// The environment variable by which a shell's script asks.
pub(crate) const VARIABLE: &str = "SCAMP_COMPLETE";

/// Offers the actions that the cache file lists, if whoever announced them may, and but for the secret
/// ones (D-47).
pub(crate) fn actions() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let begun = begun.to_str().unwrap_or_default();
        let names = known(begun).unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The names that begin like this; `None` where the configuration or the cache file is missing.
///
/// A line that is being written is no place for complaints, so that nothing else is said.
fn known(begun: &str) -> Option<BTreeSet<String>> {
    let silent = Terminal {
        quiet: true,
        ..Terminal::default()
    };
    let settings = Settings {
        config: config(std::env::args_os()),
    };
    let loaded = settings.load(silent).ok()?;
    let sector = loaded.config.bus_default_sector();
    let bus = Bus::load(silent, &settings, None).ok()?;
    let (instances, authorized) = (bus.directory.instances().iter(), &bus.authorized);
    let actions = instances.flat_map(|instance| {
        let fingerprint = instance.fingerprint();
        let actions = instance.actions();
        actions.filter(move |action| {
            authorized.allows(&fingerprint, action.sector, action.namespace, action.name)
        })
    });
    let names = actions
        .filter(|action| !action.flags.is_secret())
        .map(|action| written(&action, sector, begun.contains(':')))
        .filter(|name| name.chars().all(is_plain));
    // Names are compared without regard to case (D-18).
    let fits = |name: &String| {
        let start = name.as_bytes().get(..begun.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(begun.as_bytes()))
    };
    Some(names.filter(fits).collect())
}

/// An action as it is written on the command line, without what needs not be written.
fn written(action: &ActionRef<'_>, sector: &str, with_sector: bool) -> String {
    let mut name = format!("{}.{}", action.namespace, action.name);
    if with_sector || !action.sector.eq_ignore_ascii_case(sector) {
        name.insert_str(0, &format!("{}:", action.sector));
    }
    if action.version != 1 {
        name.push_str(&format!("~{}", action.version));
    }
    name
}

/// Whether a character is one that no shell takes for anything else (HD-13).
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "._-/:~".contains(c)
}

/// The configuration that the line names which is being written.
fn config(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut arguments = arguments.skip_while(|argument| argument != "--").skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--config="))
        {
            return Some(path.into());
        }
    }
    None
}
