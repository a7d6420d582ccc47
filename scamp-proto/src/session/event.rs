//! What a session tells its user.

use alloc::string::String;
use alloc::vec::Vec;

use super::subscription::Change;
use crate::connection::{RecvId, SendId};
use crate::error::{CloseReason, ExchangeError};
use crate::note::Note;
use crate::wire::Header;

/// A request of ours and what comes back for it. Its number is the request's id (S-12).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExchangeId(pub(crate) u64);

impl ExchangeId {
    /// The request's id on the wire.
    pub fn request_id(self) -> u64 {
        self.0
    }
}

/// A request of the peer's that we serve.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServeId(pub(crate) u64);

/// What a session tells its user.
///
/// Every request of ours ends in exactly one of [`Failed`](Self::Failed),
/// [`Subscribed`](Self::Subscribed), or [`Reply`](Self::Reply) followed by the end of its body
/// (HD-49).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer asks for something. Answer with [`Session::reply`](super::Session::reply).
    Request {
        /// The request, to answer it by.
        id: ServeId,
        /// Its header.
        header: Header,
        /// Its body; read it or discard it.
        body: RecvId,
    },
    /// A request's answer will not arrive: its connection is gone (S-31), or its time is up and it
    /// was ended for it (S-20).
    Cancelled(ServeId),
    /// The peer tells something and expects nothing.
    Notify {
        /// Its header.
        header: Header,
        /// Its body; read it or discard it.
        body: RecvId,
    },
    /// The reply to a request of ours has begun; its header may report an error (H-12).
    Reply {
        /// The request.
        id: ExchangeId,
        /// The reply's header.
        header: Header,
        /// The reply's body; read it or discard it.
        body: RecvId,
    },
    /// A request of ours has no reply, and will have none.
    Failed {
        /// The request.
        id: ExchangeId,
        /// Why.
        error: ExchangeError,
    },
    /// The peer subscribes to topics. Answer with [`Session::welcome`](super::Session::welcome).
    Subscribe {
        /// The request, to answer it by.
        id: ServeId,
        /// The topics' codes.
        topics: Vec<String>,
    },
    /// A subscription of ours was answered.
    Subscribed {
        /// The request.
        id: ExchangeId,
        /// Whether the peer took it.
        accepted: bool,
    },
    /// Topics have changed, or are told for the first time.
    Changed(Vec<Change>),
    /// A body has something to read. Told once until it is read.
    Readable(RecvId),
    /// The peer has ended a body, or it was lost; what it brought may still be unread.
    Ended(RecvId),
    /// A write was cut short; there is room again.
    Writable(SendId),
    /// A message of ours ended without our doing.
    Lost(SendId),
    /// A request was refused with `WouldBlock`; there is room for one now.
    Room,
    /// Something odd was handled.
    Note(Note),
    /// The connection has ended. Always the last event, and always sent once.
    Closed(CloseReason),
}
