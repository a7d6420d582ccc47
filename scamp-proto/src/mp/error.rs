//! Why a stream, an opening or a connection ended, and what was asked that cannot be done (MP-122).

use alloc::string::String;
use core::time::Duration;

use thiserror::Error;

use crate::error::Loss;
use crate::{End, mp::Text};

/// What is wrong with octets that should be messages. The stream cannot go on (MP-13, MP-37).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are no message; what is wrong.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A message beyond the limit; the limit, in octets.
    #[error("message of more than {0} octets")]
    TooLarge(usize),
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The first octets belong to no encoding (MP-40).
    #[error("neither JSON nor gob")]
    UnknownFormat,
    /// The first octets are TLS's, on a stream without TLS (MP-40).
    #[error("TLS where none was expected")]
    TlsOnPlainPort,
}

impl DecodeError {
    /// The variant's name, for machines that read reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::TooLarge(_) => "TooLarge",
            Self::Truncated => "Truncated",
            Self::UnknownFormat => "UnknownFormat",
            Self::TlsOnPlainPort => "TlsOnPlainPort",
        }
    }
}

/// Why a client's stream ended.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// What arrived cannot be understood.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// Signing in was refused; in the words of whoever refused.
    #[error("sign-in refused: {0}")]
    AuthRefused(Text),
    /// It took too long; what, and how long it may take.
    #[error("{0} took longer than {1:?}")]
    Timeout(&'static str, Duration),
    /// Somebody else signed in under the same name (MP-70).
    #[error("replaced by another sign-in under the same name")]
    Replaced,
    /// The other end takes nothing, or not enough (MP-62, MP-63).
    #[error("the other end does not read")]
    Stalled,
    /// The other end closed the stream.
    #[error("closed by the other end")]
    Eof,
    /// The transport failed.
    #[error("{0}")]
    Transport(Loss),
    /// The application closed it.
    #[error("closed locally")]
    Local,
}

impl Reason {
    /// What the end of the transport means, inside a message or between two.
    pub(super) fn from_end(end: End, is_between: bool) -> Self {
        match end {
            End::Lost(loss) => Self::Transport(loss),
            End::Eof | End::Cut if is_between => Self::Eof,
            End::Eof | End::Cut => Self::Decode(DecodeError::Truncated),
        }
    }
}

/// Why a connection did not open.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum OpenError {
    /// The other client refused: it does not know the protocol (MP-95).
    #[error("unknown protocol")]
    UnknownProtocol,
    /// No client has that name.
    #[error("no such client")]
    NoSuchClient,
    /// The other client closed the connection, or left, before it was open.
    #[error("closed by the other client")]
    PeerClosed,
    /// The other client did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A client has no connection to itself (MP-94).
    #[error("a client cannot open a connection to itself")]
    SelfConnection,
    /// The stream to the server has ended.
    #[error("the client is closed")]
    ClientClosed,
    /// No client can have that name (MP-8).
    #[error("invalid name of a client")]
    InvalidName,
    /// The protocol's name is too long; the limit, in octets.
    #[error("name of the protocol longer than {0} octets")]
    ProtocolTooLong(usize),
    /// There are too many connections; the limit.
    #[error("more than {0} connections")]
    TooMany(usize),
    /// Too much waits to be sent.
    #[error("too much waits to be sent")]
    Full,
}

/// Why a connection that was open, or offered, is closed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other client closed it.
    #[error("closed by the other client")]
    ByPeer,
    /// This end closed it.
    #[error("closed locally")]
    ByUs,
    /// The other client left.
    #[error("the other client is gone")]
    PeerGone,
    /// The other client does not know the connection any more, or is gone.
    #[error("the other client does not know the connection")]
    NoSuchConnection,
    /// The other client used the connection's id for another one (MP-93).
    #[error("the other client used its id again")]
    IdReused,
    /// It was offered, and not decided in time.
    #[error("the offer was not decided in time")]
    NotDecided,
    /// Nobody read what arrived on it (MP-99).
    #[error("too much was left unread")]
    Overflow,
    /// The stream to the server has ended.
    #[error("the client is closed")]
    ClientClosed,
}

/// A message that cannot be sent; nothing else is harmed (MP-97).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is not open yet.
    #[error("connection is not open yet")]
    NotOpen,
    /// The connection is closed, or there never was one.
    #[error("connection is closed")]
    Closed,
    /// The message is too large; the limit, in octets.
    #[error("message of more than {0} octets")]
    TooLarge(usize),
    /// Too much waits to be sent; wait for [`Event::Writable`](super::Event::Writable).
    #[error("too much waits to be sent")]
    Full,
}

/// What a server tells a client whose sign-in it refuses (MP-120).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// Unknown name or wrong secret; it does not say which (MP-54).
    #[error("authentication didn't recognize name+secret pair")]
    NotRecognized,
    /// Not a name (MP-8).
    #[error("client name is invalid")]
    InvalidName,
    /// Something came before signing in.
    #[error("expected MetaAuth as first message")]
    NotFirst,
    /// The name is taken, and the server replaces nobody (MP-70).
    #[error("name already in use")]
    NameInUse,
    /// Signing in took too long (MP-52).
    #[error("sign-in timed out")]
    TimedOut,
    /// Too many sign-ins from the same address failed (HD-48).
    #[error("too many failed sign-ins")]
    TooManyFailures,
    /// The application's own words.
    #[error("{0}")]
    Other(String),
}
