//! What a service has to tell whoever runs it.

use alloc::string::String;
use core::fmt;
use core::net::SocketAddr;

use crate::error::CloseReason;
use crate::limits::SERVICE_NOTES_KEPT;
use crate::note::{Newest, Note};

/// Something worth a line in a service's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceNote {
    /// Whose connection it is about.
    pub peer: Option<SocketAddr>,
    /// What happened.
    pub what: Occurrence,
}

/// The things a [`ServiceNote`] can tell.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Occurrence {
    /// A connection could not be accepted, or not be served; the system's own words.
    AcceptFailed(String),
    /// A connection ended.
    Closed(CloseReason),
    /// A connection handled something odd.
    Note(Note),
    /// A connection was closed at once, since there are too many (HD-17).
    Refused,
}

impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AcceptFailed(text) => write!(f, "not accepted: {text}"),
            Self::Closed(reason) => write!(f, "connection ended: {reason}"),
            Self::Note(note) => note.what.fmt(f),
            Self::Refused => f.write_str("refused: too many connections"),
        }
    }
}

/// What a service has to tell and nobody has asked for yet: the newest 1024.
impl Default for Newest<ServiceNote> {
    fn default() -> Self {
        Self::new(SERVICE_NOTES_KEPT)
    }
}
