//! What a service offers.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use thiserror::Error;

use super::access::Access;
use super::builtin::Builtin;
use super::name::Name;
use crate::flag::time_limit;
use crate::limits::{ACTION, COLLECTED_BODY};
use crate::wire::RemoteError;

/// One action of a service: its name, who may call it, and how it wants its requests.
///
/// ```
/// use scamp_proto::service::Action;
///
/// let wave = Action::parse("Greetings.wave~2")?.requires(&[20]).flags("update,t30");
/// assert_eq!((wave.name(), wave.version()), ("Greetings.wave", 2));
/// assert_eq!(wave.flags_text(), "update,t30");
/// let hello = Action::parse("Greetings.hello")?.noauth();
/// assert!(hello.is_noauth());
/// # Ok::<(), scamp_proto::service::ActionError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Action {
    name: String,
    version: u32,
    envelopes: Vec<String>,
    streaming: bool,
    max_body: usize,
    /// In order, each once, without a time limit (D-17).
    flags: BTreeSet<String>,
    /// How long a request may take (`tN`), in whole seconds.
    limit: Option<Duration>,
    /// Privileges that a caller must have, in the order given.
    required: Vec<u64>,
    /// What documentation shows, as HTML.
    html: String,
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
            flags: BTreeSet::new(),
            limit: None,
            required: Vec::new(),
            html: String::new(),
        })
    }

    /// Lets anybody call it: no ticket is asked for (T-9, step 2).
    ///
    /// A valid ticket still reaches the handler.
    pub fn noauth(self) -> Self {
        self.flags("noauth")
    }

    /// Serves only callers whose ticket has all of these privileges (T-9, step 3).
    ///
    /// An authorization table may ask for more, never for less (T-10). An action that is
    /// [`noauth`](Self::noauth) asks for none.
    pub fn requires(mut self, privileges: &[u64]) -> Self {
        self.required.extend_from_slice(privileges);
        self
    }

    /// Adds flags, a list with commas such as `read,public,t30` (D-17).
    ///
    /// `noauth` is as [`noauth`](Self::noauth), `tN` is a time limit of `N` seconds of which the last
    /// one counts, from 1 to 86 400; what has no meaning here is announced all the same.
    pub fn flags(mut self, list: &str) -> Self {
        for flag in list
            .split(',')
            .map(str::trim)
            .filter(|flag| !flag.is_empty())
        {
            match time_limit(flag) {
                Some(limit) => self.limit = Some(limit),
                None => {
                    self.flags.insert(flag.to_owned());
                }
            }
        }
        self
    }

    /// Describes it for `_meta.documentation`, as HTML (V-8).
    pub fn html(self, html: impl Into<String>) -> Self {
        Self {
            html: html.into(),
            ..self
        }
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

    /// Refuses bodies over `octets` (A-13).
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

    /// The envelopes it is offered under; none is any.
    pub fn offered_envelopes(&self) -> &[String] {
        &self.envelopes
    }

    /// Whether it has this flag; a time limit is none.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// Whether anybody may call it.
    pub fn is_noauth(&self) -> bool {
        self.has_flag("noauth")
    }

    /// The privileges a caller must have, as far as the code says.
    pub fn required(&self) -> &[u64] {
        &self.required
    }

    /// How long a request may take, from being complete to the end of its reply (S-20).
    pub fn time_limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Its flags as they are announced: sorted, the time limit last (D-17).
    pub fn flags_text(&self) -> String {
        let mut text = String::new();
        for flag in self.all_flags() {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&flag);
        }
        text
    }

    pub(super) fn all_flags(&self) -> impl Iterator<Item = String> {
        let limit = self.limit.map(|limit| format!("t{}", limit.as_secs()));
        self.flags.iter().cloned().chain(limit)
    }

    pub(super) fn documentation(&self) -> &str {
        &self.html
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

/// An action that was set up further.
impl IntoAction for Result<Action, ActionError> {
    fn into_action(self) -> Result<Action, ActionError> {
        self
    }
}

/// A name and flags: `("Greetings.hello~1", "noauth,read")`.
impl IntoAction for (&str, &str) {
    fn into_action(self) -> Result<Action, ActionError> {
        Ok(Action::parse(self.0)?.flags(self.1))
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
    table: Vec<(Action, Server<H>)>,
    default_access: Access,
}

/// What serves an action.
#[derive(Clone, Debug)]
pub(super) enum Server<H> {
    Handler(H),
    Builtin(Builtin),
}

impl<H> Default for Actions<H> {
    fn default() -> Self {
        Self {
            table: Vec::new(),
            default_access: Access::default(),
        }
    }
}

impl<H> Actions<H> {
    /// Adds an action.
    ///
    /// # Errors
    ///
    /// [`ActionError::Duplicate`]: names are compared without regard to ASCII case (V-5).
    pub fn insert(&mut self, action: Action, handler: H) -> Result<(), ActionError> {
        self.add(action, Server::Handler(handler))
    }

    /// Removes an action; returns whether it was there.
    pub fn remove(&mut self, name: &str, version: u32) -> bool {
        let place = self.place(name, version);
        if let Ok(place) = place {
            self.table.remove(place);
        }
        place.is_ok()
    }

    /// Adds `NAME.queue_depth`, which tells how many requests are in handlers (V-8).
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn add_queue_depth(&mut self, name: &Name) -> Result<(), ActionError> {
        let action = Action::parse(&format!("{name}.queue_depth"))?.noauth();
        self.add(action, Server::Builtin(Builtin::QueueDepth))
    }

    /// Adds `_meta.documentation`, which lists the actions that are `public`, or `all` that are not
    /// `secret` (V-8).
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn add_documentation(&mut self, all: bool) -> Result<(), ActionError> {
        let action = Action::parse("_meta.documentation")?.noauth();
        self.add(action, Server::Builtin(Builtin::Documentation { all }))
    }

    fn add(&mut self, action: Action, server: Server<H>) -> Result<(), ActionError> {
        match self.place(&action.name, action.version) {
            Ok(_) => Err(ActionError::Duplicate(format!(
                "{}~{}",
                action.name, action.version
            ))),
            Err(place) => {
                self.table.insert(place, (action, server));
                Ok(())
            }
        }
    }

    /// Sets what becomes of requests for actions that nothing is said about: refused, unless this
    /// says otherwise (T-9, step 5).
    pub fn set_default_access(&mut self, access: Access) {
        self.default_access = access;
    }

    /// What becomes of requests for actions that nothing is said about.
    pub fn default_access(&self) -> Access {
        self.default_access
    }

    /// The action of this name and version.
    pub fn get(&self, name: &str, version: u32) -> Option<&Action> {
        let place = self.place(name, version).ok()?;
        self.table.get(place).map(|(action, _)| action)
    }

    /// The action a request asks for, and what serves it, or the error to answer it with (V-6).
    pub(super) fn find(
        &self,
        name: &str,
        version: u32,
        envelope: &str,
    ) -> Result<(&Action, &Server<H>), RemoteError> {
        let found = self
            .place(name, version)
            .ok()
            .and_then(|place| self.table.get(place));
        let Some((action, server)) = found else {
            return Err(RemoteError::new(
                "no_action",
                format!("No such action: {name}.v{version}"),
            ));
        };
        if !action.takes(envelope) {
            let text = format!("Unsupported envelope type: {envelope}");
            return Err(RemoteError::new("bad_request", text));
        }
        Ok((action, server))
    }

    /// All actions, by name and version, with those that are built in.
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
        let found = actions.find("a.b", 2, "json").expect("it is there");
        assert!(matches!(found.1, Server::Handler(2)));
        assert_eq!(actions.get("A.B", 1).map(Action::name), Some("A.b"));
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

    /// D-17, S-21: flags are sorted, the last valid time limit counts and comes last.
    #[test]
    fn flags() {
        let action = |list: &str| Action::parse("A.b").expect("a name").flags(list);
        for (list, text) in [
            ("", ""),
            ("read", "read"),
            ("t5,update, read,,read", "read,update,t5"),
            ("t5,t70", "t70"),
            (
                "t5,t0,t86401,t99999999999,t,tx",
                "t,t0,t86401,t99999999999,tx,t5",
            ),
        ] {
            assert_eq!(action(list).flags_text(), text, "{list}");
        }
        let limit = |list: &str| action(list).time_limit().map(|limit| limit.as_secs());
        assert_eq!((limit("t86400"), limit("t86401")), (Some(86_400), None));
        assert!(action("read,noauth").is_noauth() && !action("noauthx").is_noauth());
        let both = ("A.b~2", "noauth").into_action().expect("a name");
        assert!(both.is_noauth() && both.version() == 2);
    }

    /// V-5: what was removed is not there, and its name is free again.
    #[test]
    fn removal() {
        let mut actions = Actions::default();
        let action = || Action::parse("A.b").expect("a name");
        assert_eq!(actions.insert(action(), 1), Ok(()));
        assert!(!actions.remove("A.b", 2) && actions.remove("a.B", 1));
        assert!(actions.is_empty() && !actions.remove("A.b", 1));
        assert_eq!(actions.insert(action(), 2), Ok(()));
    }
}
