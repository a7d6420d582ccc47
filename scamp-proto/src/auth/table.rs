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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::string::ToString;
    use std::{format, vec};

    use proptest::prelude::*;

    use super::*;

    fn table(json: &str) -> Table {
        Table::parse(json.as_bytes()).unwrap()
    }

    fn ticket(privileges: &[u64]) -> Ticket {
        Ticket::new(1, 2, 0, 9, privileges.iter().copied())
    }

    /// E-17, T-14: the specification's example.
    #[test]
    fn the_example_of_the_specification() {
        let table = table(
            r#"{"greetings.hello":["20"],"greetings.wave":[20,99],"greetings.x":[],"_NAMES":[null,"a"]}"#,
        );
        let ticket = ticket(&[1, 20, 31]);
        let check = |action: &str| {
            table
                .check(action, &ticket)
                .map_err(|denied| denied.to_string())
        };
        assert_eq!(check("greetings.hello"), Ok(()));
        let missing = "Missing privilege 99 for greetings.wave".to_string();
        assert_eq!(check("greetings.wave"), Err(missing));
        assert_eq!(check("greetings.x"), Ok(()));
        let unconfigured = "Unconfigured action: greetings.y".to_string();
        assert_eq!(check("greetings.y"), Err(unconfigured));
        assert_eq!(Denied::CODE, "authz");
    }

    /// T-14, N-26, N-39: numbers and texts count alike, a null hides nothing wherever it stands, and
    /// anything else makes the action unconfigured, and no other.
    #[test]
    fn elements() {
        for (entry, needed) in [
            ("[]", Some(vec![])),
            ("[1]", Some(vec![1])),
            (r#"["1"]"#, Some(vec![1])),
            (r#"["1", 2 ,"003"]"#, Some(vec![1, 2, 3])),
            (r#"["\u0031"]"#, Some(vec![1])),
            ("[null]", Some(vec![])),
            ("[1,null]", Some(vec![1])),
            ("[null,1,null,2,null]", Some(vec![1, 2])),
            ("[18446744073709551615]", Some(vec![u64::MAX])),
            ("[18446744073709551616]", None),
            (r#"["18446744073709551616"]"#, None),
            ("[-1]", None),
            ("[1.0]", None),
            ("[1e1]", None),
            ("[true]", None),
            ("[1,[2]]", None),
            ("[{}]", None),
            (r#"[""]"#, None),
            (r#"["+1"]"#, None),
            (r#"[" 1"]"#, None),
            (r#"["x"]"#, None),
            (r#"["null"]"#, None),
            ("null", None),
            ("1", None),
            (r#""1""#, None),
            ("{}", None),
        ] {
            let table = table(&format!(r#"{{"a.b":{entry},"a.c":[7]}}"#));
            assert_eq!(table.needed("a.b"), needed.as_deref(), "{entry}");
            assert_eq!(table.needed("a.c"), Some(&[7][..]), "{entry}");
            assert_eq!(table.len(), 2);
        }
    }

    /// N-26: a privilege found missing stays missing, whatever follows it.
    #[test]
    fn a_null_hides_nothing() {
        let table = table(r#"{"a.b":[1,2,null]}"#);
        for privileges in [&[][..], &[1], &[2]] {
            assert!(table.check("a.b", &ticket(privileges)).is_err());
        }
        assert_eq!(table.check("A.B", &ticket(&[1, 2])), Ok(()));
    }

    /// T-14, T-18: names in any case; those that begin with `_` are no actions.
    #[test]
    fn names() {
        let table = table(
            r#"{"User.Login":[1],"_meta.x":[],"_NAMES":["root",null,7,"Caf\u00e9","root"],"user.e":[3,0]}"#,
        );
        for spelling in ["user.login", "USER.LOGIN", "User.Login"] {
            assert_eq!(table.needed(spelling), Some(&[1][..]));
        }
        assert_eq!(
            (table.needed("_meta.x"), table.needed("_NAMES")),
            (None, None)
        );
        let called = |privilege| table.name(privilege);
        assert_eq!(
            [called(0), called(1), called(2), called(3), called(5)],
            [Some("root"), None, None, Some("Café"), None]
        );
        assert_eq!(
            (table.privilege("root"), table.privilege("none")),
            (Some(0), None)
        );
        let denied = |privileges: &[u64]| {
            table
                .check("User.E", &ticket(privileges))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(denied(&[]), "Missing privilege Café for User.E");
        assert_eq!(denied(&[3]), "Missing privilege root for User.E");
    }

    /// T-14: two spellings of one action must both be met; the same key twice is JSON's last.
    #[test]
    fn two_entries_for_one_action() {
        let table = table(r#"{"a.b":[1],"A.b":[2],"c.d":[1],"C.d":[true],"e.f":[1],"e.f":[2]}"#);
        let mut both = table.needed("a.b").unwrap().to_vec();
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
        assert_eq!(table.needed("c.d"), None);
        assert_eq!(table.needed("e.f"), Some(&[2][..]));
    }

    /// T-15: what is no object is no table.
    #[test]
    fn not_a_table() {
        for json in ["", "null", "[]", "1", "{", "{} x", "{\"a\":}", "\u{FEFF}{}"] {
            assert_eq!(
                Table::parse(json.as_bytes()),
                Err(TableError::NotAnObject),
                "{json}"
            );
        }
        assert_eq!(
            Table::parse(b"{\"a\":\"\xFF\"}"),
            Err(TableError::NotAnObject)
        );
        assert!(table(" {} ").is_empty());
        let names = table(r#"{"_NAMES":{"1":"x"}}"#);
        assert_eq!(names.name(1), None);
    }

    /// HD-4, HD-15: 4 MiB are looked at, one octet more is not.
    #[test]
    fn the_longest_table() {
        let json = |len: usize| format!("{{}}{}", " ".repeat(len - 2));
        assert!(Table::parse(json(limits::TABLE).as_bytes()).is_ok());
        let longer = Table::parse(json(limits::TABLE + 1).as_bytes());
        assert_eq!(longer, Err(TableError::TooLarge));
    }

    /// HD-6: nesting to any depth is neither followed nor an error.
    #[test]
    fn deep_nesting() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let table = table(&format!(r#"{{"a.b":{deep},"c.d":[{deep}],"e.f":[1]}}"#));
        assert_eq!((table.needed("a.b"), table.needed("c.d")), (None, None));
        assert_eq!(table.needed("e.f"), Some(&[1][..]));
    }

    proptest! {
        /// T-14: whoever has all that is needed passes, and nobody else does.
        #[test]
        fn all_are_needed(
            needed in prop::collection::vec(prop::option::of(0..6_u64), 0..6),
            held in prop::collection::btree_set(0..6_u64, 0..6),
        ) {
            let elements: Vec<_> = needed
                .iter()
                .zip(0..)
                .map(|(id, place)| match (id, place % 2) {
                    (None, _) => "null".to_string(),
                    (Some(id), 0) => id.to_string(),
                    (Some(id), _) => format!("\"{id}\""),
                })
                .collect();
            let table = table(&format!(r#"{{"a.b":[{}]}}"#, elements.join(",")));
            let held: Vec<_> = held.into_iter().collect();
            let enough = needed.iter().flatten().all(|id| held.contains(id));
            prop_assert_eq!(table.check("a.b", &ticket(&held)).is_ok(), enough);
        }
    }
}
