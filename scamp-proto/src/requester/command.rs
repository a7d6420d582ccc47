//! What goes into a requester and what comes out.

use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use crate::Instant;
use crate::discovery::Instance;
use crate::error::CallError;

/// What is asked for: an action, and how the call is to be treated.
///
/// Ticket and token have no place here: a face asks its ticket source for them when
/// [`Command::Send`] comes, so that a call that waited, or goes out again, has a fresh one (T-19).
///
/// ```
/// use scamp_proto::requester::Call;
///
/// let call = Call::new("Greetings.hello~2");
/// assert_eq!((call.action, call.version), ("Greetings.hello", 2));
/// let other = Call { instance: Some("greeter:abc"), ..Call::new("Greetings.hello") };
/// assert_eq!(other.version, 1);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call<'a> {
    /// Where the action is to be; `None` is [`Config::sector`](super::Config::sector).
    pub sector: Option<&'a str>,
    /// `Namespace.name`, or `Namespace._read` and the like for an alias (D-19).
    pub action: &'a str,
    /// The action's version, from 1.
    pub version: u32,
    /// How the body is to be understood; `json` unless said otherwise (H-9).
    pub envelope: &'a str,
    /// The one instance to ask: its identity, or `fingerprint#identity` (D-43). Such a call is never
    /// sent to another (S-33).
    pub instance: Option<&'a str>,
    /// How long it may take in all; `None` is the action's own limit, or
    /// [`Config::timeout`](super::Config::timeout) (S-21).
    pub timeout: Option<Duration>,
    /// Whether it does no harm to do it twice; `None` is whether the action has the flag `read`
    /// (S-32).
    pub idempotent: Option<bool>,
    /// Whether the body can be sent again: it is in memory, or can be made again (S-32, N-25).
    pub replayable: bool,
}

impl<'a> Call<'a> {
    /// A call of `Namespace.name` or `Namespace.name~version`, with a JSON body that is in memory.
    ///
    /// A version that is none counts as part of the name, which then is not found.
    pub fn new(action: &'a str) -> Self {
        let written = action.rsplit_once('~');
        let parsed = written.and_then(|(name, version)| Some((name, version.parse().ok()?)));
        let (action, version) = parsed.unwrap_or((action, 1));
        Self {
            sector: None,
            action,
            version,
            envelope: "json",
            instance: None,
            timeout: None,
            idempotent: None,
            replayable: true,
        }
    }
}

/// A call that is being seen to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub(super) u64);

/// A connection, from [`Command::Dial`] until it is gone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub(super) u64);

/// A connection that is wanted for as long as this is (S-34).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PinId(pub(super) u64);

/// What is to be done for a requester.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Connect to an instance: resolve its host, connect, shake hands, compare the fingerprint,
    /// within the connect timeout. Answer with
    /// [`established`](super::Requester::established) or
    /// [`not_established`](super::Requester::not_established).
    Dial {
        /// What to call the connection.
        link: LinkId,
        /// Its [`uri`](Instance::uri), [`fingerprint`](Instance::fingerprint) and, where it is
        /// known, certificate say where to and whom to expect.
        instance: Arc<Instance>,
    },
    /// Send a call's request. Answer with [`outcome`](super::Requester::outcome).
    Send(Dispatch),
    /// A call has ended without having been sent, or without having been sent again.
    Fail {
        /// The call; it is forgotten.
        call: CallId,
        /// Why.
        error: CallError,
    },
    /// A pin has a connection: subscribe on it. When it is lost there will be another.
    Pinned {
        /// The pin.
        pin: PinId,
        /// Its connection.
        link: LinkId,
    },
    /// Close a connection in good order. Answer with [`lost`](super::Requester::lost) when it is gone.
    Close(LinkId),
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The call it is for.
    pub call: CallId,
    /// The connection to send it on.
    pub link: LinkId,
    /// Who is asked.
    pub instance: Arc<Instance>,
    /// The action's real name, in the case of its announcement (H-8).
    pub action: String,
    /// The action's version.
    pub version: u32,
    /// When the call must have its reply: what is left of the time is the exchange's timeout.
    pub deadline: Instant,
}

/// What an outcome means for its call.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The outcome is the call's; the call is forgotten.
    Done,
    /// The call goes out again: another [`Command::Send`] comes for it, or a [`Command::Fail`].
    Again,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D-18: `~` is how a version is written; what is no version is part of the name.
    #[test]
    fn versions() {
        for (text, action, version) in [
            ("A.b", "A.b", 1),
            ("A.b~3", "A.b", 3),
            ("A.b~", "A.b~", 1),
            ("A.b~x", "A.b~x", 1),
        ] {
            let call = Call::new(text);
            assert_eq!((call.action, call.version), (action, version));
        }
    }
}
