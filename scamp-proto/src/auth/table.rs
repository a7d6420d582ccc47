//! The authorization table: which privileges an action asks of its caller.
//!
//! ```text
//! {"greetings.hello": [20], "greetings.wave": ["20", 99], "_NAMES": [null, "login", …]}
//! ```
//!
//! [`Table`] is one such table; [`TableState`] is the machine that keeps one fresh: it decides when to
//! fetch, who waits for it, and what counts while fetching fails.

mod state;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::value::RawValue;
use thiserror::Error;

pub use self::state::{Answer, TableState, TableUnavailable, WaiterId};
use super::Ticket;
use crate::limits;

/// Which privileges each action needs, and what the privileges are called (T-14).
///
/// # Example
///
/// ```
/// use scamp_proto::auth::{Table, Ticket};
///
/// let table = Table::parse(br#"{"greetings.hello":["20"],"_NAMES":[null,"login"]}"#)?;
/// let ticket = Ticket::new(7, 1, 0, 3600, [20]);
/// assert_eq!(table.check("Greetings.hello", &ticket), Ok(()));
/// let denied = table.check("Greetings.wave", &ticket).unwrap_err();
/// assert_eq!(denied.to_string(), "Unconfigured action: Greetings.wave");
/// assert_eq!(table.privilege("login"), Some(1));
/// # Ok::<(), scamp_proto::auth::table::TableError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table {
    /// By name in lower case, each once.
    actions: Vec<(Box<str>, Entry)>,
    names: BTreeMap<u64, Box<str>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    /// The privileges, in the table's order.
    Needs(Box<[u64]>),
    /// Something in the entry has no meaning, so nobody may call the action.
    Unusable,
}

impl Table {
    /// Reads a table.
    ///
    /// An entry that cannot be used makes its action unconfigured, and only that one. Two entries
    /// that differ only in case must both be met.
    ///
    /// # Errors
    ///
    /// [`TableError`] if the text is not one JSON object, or too long (T-15).
    pub fn parse(json: &[u8]) -> Result<Self, TableError> {
        if json.len() > limits::TABLE {
            return Err(TableError::TooLarge);
        }
        // Values are kept as slices, so that what is none of ours costs nothing (HD-7).
        let members: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(json).map_err(|_| TableError::NotAnObject)?;
        let mut actions = BTreeMap::<Box<str>, Entry>::new();
        for (key, value) in members.iter().filter(|(key, _)| !key.starts_with('_')) {
            let entry = Entry::parse(value);
            let key = key.to_ascii_lowercase().into_boxed_str();
            let both = match actions.remove(&key) {
                Some(other) => other.and(entry),
                None => entry,
            };
            actions.insert(key, both);
        }
        Ok(Self {
            actions: actions.into_iter().collect(),
            names: members
                .get(NAMES)
                .map(|names| parse_names(names))
                .unwrap_or_default(),
        })
    }

    /// Whether a caller with this ticket may call `action`, which is `Namespace.name` without sector
    /// and version, in any case (T-18). Nothing is allocated if it may.
    ///
    /// # Errors
    ///
    /// [`Denied`], whose text is for the peer, with `error_code` `authz`.
    pub fn check(&self, action: &str, ticket: &Ticket) -> Result<(), Denied> {
        let Some(needed) = self.needed(action) else {
            return Err(Denied::Unconfigured {
                action: action.into(),
            });
        };
        match needed.iter().find(|privilege| !ticket.has(**privilege)) {
            None => Ok(()),
            Some(missing) => Err(Denied::Missing {
                privilege: *missing,
                name: self.name(*missing).map(Into::into),
                action: action.into(),
            }),
        }
    }

    /// The privileges that an action needs, or `None` if it is not configured.
    pub fn needed(&self, action: &str) -> Option<&[u64]> {
        let lower = || action.bytes().map(|octet| octet.to_ascii_lowercase());
        let at = self
            .actions
            .binary_search_by(|(key, _)| key.bytes().cmp(lower()))
            .ok()?;
        match self.actions.get(at)? {
            (_, Entry::Needs(privileges)) => Some(privileges),
            (_, Entry::Unusable) => None,
        }
    }

    /// What a privilege is called, if the table says so.
    pub fn name(&self, privilege: u64) -> Option<&str> {
        self.names.get(&privilege).map(|name| &**name)
    }

    /// The privilege of this name; of several the smallest.
    pub fn privilege(&self, name: &str) -> Option<u64> {
        let mut names = self.names.iter();
        names
            .find(|(_, other)| &***other == name)
            .map(|(privilege, _)| *privilege)
    }

    /// How many actions are named, usable or not.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Whether no action is named.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

impl Entry {
    fn parse(value: &RawValue) -> Self {
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
            return Self::Unusable;
        };
        let mut privileges = Vec::new();
        for element in elements.iter().map(|element| element.get()) {
            // A null says nothing, and hides nothing either (N-26).
            if element == "null" {
                continue;
            }
            match privilege(element) {
                Some(privilege) => privileges.push(privilege),
                None => return Self::Unusable,
            }
        }
        Self::Needs(privileges.into())
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Needs(ours), Self::Needs(theirs)) => {
                Self::Needs([ours, theirs].concat().into_boxed_slice())
            }
            (Self::Unusable, _) | (_, Self::Unusable) => Self::Unusable,
        }
    }
}

/// A number, or a text that is one (N-39: RS drops texts, and so asks for nothing).
fn privilege(element: &str) -> Option<u64> {
    let text: Cow<'_, str> = match element.starts_with('"') {
        true => serde_json::from_str::<String>(element).ok()?.into(),
        false => element.into(),
    };
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Names by their place in the array; entries that are no text have none.
fn parse_names(value: &RawValue) -> BTreeMap<u64, Box<str>> {
    let elements = serde_json::from_str::<Vec<&RawValue>>(value.get()).unwrap_or_default();
    let names = elements.iter().zip(0..).filter_map(|(element, id)| {
        let name: String = serde_json::from_str(element.get()).ok()?;
        Some((id, name.into()))
    });
    names.collect()
}

/// Why a text is no [`Table`]: then there is none (T-15).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TableError {
    /// It is not one JSON object.
    #[error("authorization table is not a JSON object")]
    NotAnObject,
    /// It is longer than is looked at.
    #[error("authorization table is over {max} octets", max = limits::TABLE)]
    TooLarge,
}

/// Why a caller may not call an action; the text is what the peer is told (T-9).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Denied {
    /// The ticket lacks a privilege; the first that is missing, by name if it has one.
    #[error("Missing privilege {name} for {action}", name = shown(*privilege, name.as_deref()))]
    Missing {
        /// Its number.
        privilege: u64,
        /// Its name, if the table says so.
        name: Option<Box<str>>,
        /// The action asked for.
        action: Box<str>,
    },
    /// The table does not say what the action needs.
    #[error("Unconfigured action: {action}")]
    Unconfigured {
        /// The action asked for.
        action: Box<str>,
    },
}

impl Denied {
    /// The `error_code` that a peer gets.
    pub const CODE: &'static str = "authz";
}

fn shown(privilege: u64, name: Option<&str>) -> String {
    match name {
        Some(name) => name.into(),
        None => alloc::format!("{privilege}"),
    }
}

const NAMES: &str = "_NAMES";
