//! Why a connection ended, and what was asked that cannot be done.

use core::time::Duration;

use thiserror::Error;

use crate::error::Loss;

/// Why a connection ended.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed the connection.
    #[error("closed locally")]
    ClosedLocally,
    /// The peer closed the transport; the frame it was in the midst of, if any, is lost (WD-2).
    #[error("closed by peer")]
    ClosedByPeer,
    /// The server is shutting down (WD-44).
    #[error("server is shutting down")]
    ShuttingDown,
    /// The first frame of a server is too short to assign an id (WD-51).
    #[error("no id was assigned: the first frame has {0} octets")]
    BadAssignment(usize),
    /// A server has assigned no id in time (WD-51).
    #[error("no id was assigned within {0:?}")]
    NoAssignment(Duration),
    /// A frame over the limit (WD-34).
    #[error("frame of {length} octets, limit {limit}")]
    FrameTooLong {
        /// Octets of its content.
        length: usize,
        /// The limit in force.
        limit: usize,
    },
    /// So many malformed frames came one after the other (WD-33).
    #[error("{0} malformed frames in a row")]
    Malformed(u32),
    /// A frame begun was not complete in time (HD-30).
    #[error("frame not complete within {0:?}")]
    FrameTimeout(Duration),
    /// Nothing arrived for the whole idle timeout (WD-43).
    #[error("idle limit exceeded ({0:?})")]
    Idle(Duration),
    /// The transport took nothing for too long while output waited (WD-42, HD-47).
    #[error("peer stalled: it took nothing in {0:?}")]
    Stalled(Duration),
    /// More was sent to the peer than may wait for it, and the server was told to end such a
    /// connection (WD-41).
    #[error("peer is too slow: its queue is full")]
    TooSlow,
    /// The layer below failed, for example TLS.
    #[error("{0}")]
    Lost(#[from] Loss),
}

/// A message that was not sent; the connection is as it was.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SendError {
    /// The client has been closed, or has given up (WD-59).
    #[error("client is closed")]
    Closed,
    /// Too much is waiting to leave; try again when some of it has gone (WD-53).
    #[error("send queue is full")]
    Full,
    /// There is no connection, and nothing was to be kept for the next (WD-76).
    #[error("not connected")]
    NotConnected,
    /// The server has not assigned an id yet (WD-50).
    #[error("no id has been assigned yet")]
    NotReady,
    /// The body is longer than 65 517 octets (WD-52).
    #[error("body of {0} octets, limit 65517")]
    TooLong(usize),
}

/// Why a peer was given no id.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum JoinError {
    /// Every id drawn is in use, which no random source brings about (WD-21).
    #[error("no id is free: is the random source working?")]
    Collision,
    /// As many peers as may be are connected (`max_peers`).
    #[error("{0} peers are connected already")]
    Full(usize),
    /// The server is shutting down (WD-44).
    #[error("server is shutting down")]
    ShuttingDown,
}
