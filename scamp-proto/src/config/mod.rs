//! Configuration: the text of a `soa.conf` as values.
//!
//! ```text
//! # who we are on this bus
//! bus.address = if:eth0, 10.0.0.5
//! rpc.timeout = 30
//! ```
//!
//! Nothing is opened here: [`search`] says where a shell has to look, [`Config::parse`] takes what it
//! found. Every key the library reads is a method of [`Config`] with its default; all of them stand
//! in one table, in `keys.rs`.
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | the file, in octets | 1 MiB | [`CONFIG_FILE`] |
//! | one line, in octets | 64 KiB | [`CONFIG_LINE`] |
//! | events | 100 | [`CONFIG_EVENTS`] |

mod address;
mod keys;
mod search;
mod value;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry as MapEntry;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

pub use self::address::{
    Address, AddressError, AddressProblem, DefaultAddress, Interface, Network, default_address,
    resolve,
};
pub use self::keys::{Heartbeat, Ports, Resign, Selection, StalePolicy};
pub use self::search::{By, NamedFile, Search, search};
use self::value::shortened;
use crate::limits::{CONFIG_EVENTS, CONFIG_FILE, CONFIG_LINE};

/// The values of one configuration file, and those a program has put in their place.
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use scamp_proto::config::Config;
///
/// let (mut config, events) = Config::parse("soa.conf", b"rpc.timeout = 2.5 # seconds\n");
/// assert!(events.is_empty());
/// assert_eq!(config.rpc_timeout()?, Duration::from_millis(2500));
/// config.set_override("rpc.timeout", "soon");
/// let error = config.rpc_timeout().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"rpc.timeout, set by the program: "soon" is not a number of seconds"#
/// );
/// # Ok::<(), scamp_proto::config::ConfigError>(())
/// ```
#[derive(Debug, Default)]
pub struct Config {
    file: String,
    entries: BTreeMap<String, Entry>,
    overrides: BTreeMap<String, String>,
    directory: Option<String>,
}

#[derive(Debug)]
struct Entry {
    value: String,
    line: usize,
    /// Whether anybody has asked; for [`Config::unused_keys`].
    asked: AtomicBool,
}

impl Config {
    /// A configuration without a file: every value is its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file's text; `file` is its name, for messages.
    ///
    /// What cannot be used is told in an event, and left out (C-1, C-2, C-5).
    pub fn parse(file: &str, text: &[u8]) -> (Self, Vec<Event>) {
        let mut config = Self {
            file: file.to_owned(),
            ..Self::default()
        };
        let mut events = Events::default();
        let text = match text.get(..CONFIG_FILE) {
            Some(first) if text.len() > CONFIG_FILE => {
                events.add(0, What::LimitHit(CONFIG_FILE));
                let end = first.iter().rposition(|octet| *octet == b'\n');
                first.get(..end.unwrap_or(0)).unwrap_or_default()
            }
            Some(_) | None => text,
        };
        let text = text.strip_prefix(BOM).unwrap_or(text);
        for (line, number) in text.split(|octet| *octet == b'\n').zip(1..) {
            if let Err(what) = config.take_line(line, number) {
                events.add(number, what);
            }
        }
        (config, events.all)
    }

    fn take_line(&mut self, line: &[u8], number: usize) -> Result<(), What> {
        if line.len() > CONFIG_LINE {
            return Err(What::LimitHit(CONFIG_LINE));
        }
        let line = line.split(|octet| *octet == b'#').next();
        let line = line.unwrap_or_default().trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        let line = core::str::from_utf8(line).map_err(|_| What::NotUtf8)?;
        let (key, value) = line.split_once('=').ok_or(What::NoEqualsSign)?;
        let (key, value) = (key.trim_ascii(), value.trim_ascii());
        if key.is_empty() {
            return Err(What::NoKey);
        }
        match self.entries.entry(key.to_owned()) {
            MapEntry::Occupied(_) => Err(What::Duplicate(shortened(key))),
            MapEntry::Vacant(vacant) => {
                vacant.insert(Entry {
                    value: value.to_owned(),
                    line: number,
                    asked: AtomicBool::new(false),
                });
                Ok(())
            }
        }
    }

    /// Puts a value in place of whatever the file says (C-5).
    pub fn set_override(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.overrides.insert(key.into(), value.into());
    }

    /// Names the folder that `SCAMP_CONFIG_DIR` names, where keys and authorized_services are looked
    /// for first (C-12).
    pub fn set_directory(&mut self, directory: impl Into<String>) {
        self.directory = Some(directory.into());
    }

    /// The value of a key as it is written; it may be empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.find(&[key]).map(|found| found.value)
    }

    /// The file's keys that mean nothing to the library and that nobody has asked for (C-6).
    pub fn unused_keys(&self) -> impl Iterator<Item = &str> {
        let unused = |(key, entry): &(&String, &Entry)| {
            !entry.asked.load(Ordering::Relaxed) && !keys::is_known(key)
        };
        self.entries
            .iter()
            .filter(unused)
            .map(|(key, _)| key.as_str())
    }

    /// The value of the first of these keys that is there (C-11).
    fn find(&self, keys: &[&str]) -> Option<Found<'_>> {
        keys.iter().find_map(|key| {
            let entry = self.entries.get_key_value(*key);
            if let Some((_, entry)) = entry {
                entry.asked.store(true, Ordering::Relaxed);
            }
            let found = match (self.overrides.get_key_value(*key), entry) {
                (Some((key, value)), _) => (key, value, None),
                (None, Some((key, entry))) => (key, &entry.value, Some(entry.line)),
                (None, None) => return None,
            };
            let (key, value, line) = found;
            Some(Found {
                config: self,
                key,
                value,
                line,
            })
        })
    }
}

impl Clone for Config {
    fn clone(&self) -> Self {
        let entry = |entry: &Entry| Entry {
            value: entry.value.clone(),
            line: entry.line,
            asked: AtomicBool::new(entry.asked.load(Ordering::Relaxed)),
        };
        Self {
            file: self.file.clone(),
            entries: self
                .entries
                .iter()
                .map(|(key, value)| (key.clone(), entry(value)))
                .collect(),
            overrides: self.overrides.clone(),
            directory: self.directory.clone(),
        }
    }
}

/// A value, and where it comes from.
#[derive(Clone, Copy)]
struct Found<'a> {
    config: &'a Config,
    key: &'a str,
    value: &'a str,
    /// `None` if the program has set it.
    line: Option<usize>,
}

impl Found<'_> {
    fn error(&self, problem: Problem) -> ConfigError {
        ConfigError {
            file: self.config.file.clone(),
            line: self.line,
            key: self.key.to_owned(),
            value: shortened(self.value),
            problem,
        }
    }
}

/// A value that cannot be used; there is no silent default (C-3).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub struct ConfigError {
    /// The file's name.
    pub file: String,
    /// The line, from 1; `None` if the program has set the value.
    pub line: Option<usize>,
    /// The key.
    pub key: String,
    /// The value, or its beginning.
    pub value: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.file, self.key)?,
            None => write!(f, "{}, set by the program", self.key)?,
        }
        write!(f, ": {:?} {}", self.value, self.problem)
    }
}

/// What is wrong with a value.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// An entry of it is no address (C-7).
    #[error(
        "has the entry {0:?}, which is neither an IP address nor if: and the name of an interface"
    )]
    NotAddresses(String),
    /// It is no IP address, or none of the kind that is needed.
    #[error("is not {0}")]
    NotAnAddress(&'static str),
    /// It is no number of seconds.
    #[error("is not a number of seconds")]
    NotADuration,
    /// It says neither yes nor no.
    #[error("is none of 1, true, yes, on, 0, false, no, off")]
    NotAFlag,
    /// It is no whole number in the range that makes sense.
    #[error("is not a whole number from {least} to {most}")]
    NotANumber {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// An entry of it is no network.
    #[error("has the entry {0:?}, which is not a network like 10.0.0.0/8")]
    NotNetworks(String),
    /// It is none of the words that mean something here.
    #[error("is not one of: {0}")]
    NotOneOf(&'static str),
}

/// Something about the file that somebody should look at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Which line, from 1; 0 where it is about the whole file.
    pub line: usize,
    /// What there is to tell.
    pub what: What,
}

/// What an [`Event`] tells.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// The key is there before; the first value counts (C-2).
    Duplicate(String),
    /// A limit acted: its value in octets. What is beyond it is ignored (C-5).
    LimitHit(usize),
    /// This many events more were left out.
    More(usize),
    /// There is no `=`; the line is ignored (C-1).
    NoEqualsSign,
    /// There is nothing before the `=`; the line is ignored (C-1).
    NoKey,
    /// The line is not UTF-8, and ignored.
    NotUtf8,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        match &self.what {
            What::Duplicate(key) => write!(f, "{key:?} is there before; the first value counts"),
            What::LimitHit(limit) => {
                write!(f, "more than {limit} octets; the excess is ignored")
            }
            What::More(count) => write!(f, "{count} more of the kind"),
            What::NoEqualsSign => f.write_str("there is no =; the line is ignored"),
            What::NoKey => f.write_str("there is no key before the =; the line is ignored"),
            What::NotUtf8 => f.write_str("not UTF-8; the line is ignored"),
        }
    }
}

/// Events, up to their limit.
#[derive(Default)]
struct Events {
    all: Vec<Event>,
}

impl Events {
    fn add(&mut self, line: usize, what: What) {
        let full = self.all.len() >= CONFIG_EVENTS;
        match self.all.last_mut() {
            Some(Event {
                what: What::More(count),
                ..
            }) => *count = count.saturating_add(1),
            // The last one stands for itself and those to come.
            Some(last) if full => {
                *last = Event {
                    line: 0,
                    what: What::More(2),
                }
            }
            Some(_) | None => self.all.push(Event { line, what }),
        }
    }
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
