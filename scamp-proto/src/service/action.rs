//! What a service offers.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use thiserror::Error;

use crate::limits::{ACTION, COLLECTED_BODY};
use crate::wire::RemoteError;

/// One action of a service: its name, and how it wants its requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Action {
    name: String,
    version: u32,
    envelopes: Vec<String>,
    streaming: bool,
    max_body: usize,
}

/// Why an action cannot be registered.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ActionError {
    /// The name is not `Namespace.name`, or has a `:` in it (H-7, D-11).
    #[error("{0:?} is not the name of an action: it must be Namespace.name without a colon")]
    BadName(String),
    /// The version is not a number from 1 to 2 147 483 647.
    #[error("{0:?} is not a version: it must be a number from 1 to 2147483647")]
    BadVersion(String),
    /// The name is registered already, with the same version (V-5).
    #[error("{0} is registered already")]
    Duplicate(String),
}

impl Action {
    /// The action written `Namespace.name` or `Namespace.name~version`.
    ///
    /// It takes envelope `json` and gets its body whole, unless told otherwise.
    ///
    /// # Errors
    ///
    /// [`ActionError::BadName`], [`ActionError::BadVersion`].
    pub fn parse(text: &str) -> Result<Self, ActionError> {
        let (name, version) = match text.split_once('~') {
            Some((name, version)) => (name, parse_version(version)?),
            None => (text, 1),
        };
        let whole = name
            .rsplit_once('.')
            .is_some_and(|(space, last)| !space.is_empty() && !last.is_empty());
        if !whole || name.contains(':') || name.len() > ACTION {
            return Err(ActionError::BadName(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            version,
            envelopes: Vec::from(["json".to_owned()]),
            streaming: false,
            max_body: COLLECTED_BODY,
        })
    }

    /// Offers the action under these envelopes; an empty list is any.
    pub fn envelopes(self, envelopes: &[&str]) -> Self {
        Self {
            envelopes: envelopes.iter().map(ToString::to_string).collect(),
            ..self
        }
    }

    /// Starts requests when their header is there, with a body that streams (S-17).
    pub fn streaming(self) -> Self {
        Self {
            streaming: true,
            ..self
        }
    }

    /// Refuses bodies over `octets`.
    pub fn max_body(self, octets: usize) -> Self {
        Self {
            max_body: octets,
            ..self
        }
    }

    /// `Namespace.name`, in the case it was registered with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether requests start before their body is complete.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// The largest body it takes whole, in octets.
    pub fn body_limit(&self) -> usize {
        self.max_body
    }

    fn takes(&self, envelope: &str) -> bool {
        self.envelopes.is_empty() || self.envelopes.iter().any(|own| own == envelope)
    }
}

/// What names an action: `Namespace.name`, `Namespace.name~version`, or an [`Action`] with settings.
pub trait IntoAction {
    /// The action.
    ///
    /// # Errors
    ///
    /// [`ActionError`] for a name that is none.
    fn into_action(self) -> Result<Action, ActionError>;
}

impl IntoAction for Action {
    fn into_action(self) -> Result<Action, ActionError> {
        Ok(self)
    }
}

impl IntoAction for &str {
    fn into_action(self) -> Result<Action, ActionError> {
        Action::parse(self)
    }
}

impl IntoAction for String {
    fn into_action(self) -> Result<Action, ActionError> {
        Action::parse(&self)
    }
}

/// The octets of a name, without regard to ASCII case.
fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|octet| octet.to_ascii_lowercase())
}

fn parse_version(text: &str) -> Result<u32, ActionError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = text
        .parse::<u32>()
        .ok()
        .filter(|v| digits && *v > 0 && i32::try_from(*v).is_ok());
    version.ok_or_else(|| ActionError::BadVersion(text.to_owned()))
}

/// The actions of a service, and what serves each.
#[derive(Clone, Debug)]
pub struct Actions<H> {
    /// By name without regard to ASCII case, and then by version.
    table: Vec<(Action, H)>,
}

impl<H> Default for Actions<H> {
    fn default() -> Self {
        Self { table: Vec::new() }
    }
}

impl<H> Actions<H> {
    /// Adds an action.
    ///
    /// # Errors
    ///
    /// [`ActionError::Duplicate`]: names are compared without regard to ASCII case (V-5).
    pub fn insert(&mut self, action: Action, handler: H) -> Result<(), ActionError> {
        match self.place(&action.name, action.version) {
            Ok(_) => Err(ActionError::Duplicate(format!(
                "{}~{}",
                action.name, action.version
            ))),
            Err(place) => {
                self.table.insert(place, (action, handler));
                Ok(())
            }
        }
    }

    /// The action a request asks for, or the error to answer it with (V-6).
    ///
    /// # Errors
    ///
    /// `no_action` for one that is not here, `bad_request` for an envelope it is not offered under.
    pub fn find(
        &self,
        name: &str,
        version: u32,
        envelope: &str,
    ) -> Result<(&Action, &H), RemoteError> {
        let found = self
            .place(name, version)
            .ok()
            .and_then(|place| self.table.get(place));
        let Some((action, handler)) = found else {
            return Err(RemoteError::new(
                "no_action",
                format!("No such action: {name}.v{version}"),
            ));
        };
        if !action.takes(envelope) {
            let text = format!("Unsupported envelope type: {envelope}");
            return Err(RemoteError::new("bad_request", text));
        }
        Ok((action, handler))
    }

    /// All actions, by name and version.
    pub fn iter(&self) -> impl Iterator<Item = &Action> {
        self.table.iter().map(|(action, _)| action)
    }

    /// Where an action is, or would be.
    fn place(&self, name: &str, version: u32) -> Result<usize, usize> {
        self.table.binary_search_by(|(action, _)| {
            let order = lower(&action.name).cmp(lower(name));
            order.then(action.version.cmp(&version))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H-7, D-11: what may be registered.
    #[test]
    fn names() {
        for good in ["A.b", "a.b.c", "Greetings.hello~2", "A.b~2147483647"] {
            assert!(Action::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            ".a",
            "a.",
            "x:a.b",
            "A.b~",
            "A.b~0",
            "A.b~+1",
            "A.b~2147483648",
            "A.b~1~2",
        ] {
            assert!(Action::parse(bad).is_err(), "{bad}");
        }
    }

    /// V-5, X-38: ASCII case is ignored, the version counts, a duplicate is an error.
    #[test]
    fn lookup() {
        let mut actions = Actions::default();
        let add = |actions: &mut Actions<u8>, text: &str, handler| {
            actions.insert(Action::parse(text).expect("a name"), handler)
        };
        assert_eq!(add(&mut actions, "A.b", 1), Ok(()));
        assert_eq!(add(&mut actions, "A.b~2", 2), Ok(()));
        assert_eq!(
            add(&mut actions, "a.B", 3),
            Err(ActionError::Duplicate("a.B~1".into()))
        );
        assert_eq!(
            actions.find("a.b", 2, "json").map(|(_, handler)| *handler),
            Ok(2)
        );
        let code = |name: &str, version, envelope: &str| {
            actions
                .find(name, version, envelope)
                .map(|_| ())
                .map_err(|error| (error.code, error.text))
        };
        let error = |code: &str, text: &str| Err((code.to_owned(), text.to_owned()));
        assert_eq!(
            code("nope.nope", 1, "json"),
            error("no_action", "No such action: nope.nope.v1")
        );
        assert_eq!(
            code("A.b", 3, "json"),
            error("no_action", "No such action: A.b.v3")
        );
        // R-17, H-9: envelopes are case-sensitive.
        assert_eq!(
            code("A.b", 1, "JSON"),
            error("bad_request", "Unsupported envelope type: JSON")
        );
    }
}
