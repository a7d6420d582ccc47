//! A request of the peer's, as its handler sees it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;

use bytes::Bytes;
use scamp_proto::Header;
use scamp_proto::auth::VerifiedTicket;
use scamp_proto::service::Caller;
use scamp_proto::session::ServeId;
use scamp_proto::wire::RemoteError;

use crate::body::Body;
use crate::shared::Shared;

/// What a handler is given.
///
/// An action gets its body whole, in [`bytes`](Self::bytes) and [`text`](Self::text); a streaming
/// action reads [`body`](Self::body) as it comes.
pub struct Request {
    /// The request's header.
    pub header: Header,
    /// The request's body. Dropped, what is unread of it is dropped, too.
    pub body: Body,
    caller: Caller,
    shared: Arc<Shared>,
    id: Option<ServeId>,
}

impl Request {
    pub(crate) fn new(
        header: Header,
        body: Body,
        caller: Caller,
        shared: Arc<Shared>,
        id: Option<ServeId>,
    ) -> Self {
        Self {
            header,
            body,
            caller,
            shared,
            id,
        }
    }

    /// The body, which an action has whole; empty for a streaming action and for notifications.
    pub fn bytes(&self) -> &Bytes {
        self.body.at_hand()
    }

    /// The same as text.
    ///
    /// # Errors
    ///
    /// `bad_request` for a body that is not UTF-8, ready to be returned from the handler.
    pub fn text(&self) -> Result<&str, RemoteError> {
        std::str::from_utf8(self.bytes())
            .map_err(|_| RemoteError::new("bad_request", "request body is not UTF-8"))
    }

    /// The request's ticket, if it has a valid one (T-11).
    pub fn ticket(&self) -> Option<&VerifiedTicket> {
        self.caller.ticket()
    }

    /// Who really asks: the identifying token if there is a valid one, else the ticket.
    pub fn real_ticket(&self) -> Option<&VerifiedTicket> {
        self.caller.real_ticket()
    }

    /// The client of the real ticket, or, if that names none, the one in the header.
    ///
    /// Without a ticket this is what the caller says of itself, and proves nothing.
    pub fn client_id(&self) -> u64 {
        self.caller.client_id()
    }

    /// Done when nobody waits for the answer any more, since the connection is gone (S-31).
    ///
    /// A handler with much to do may stop then; what it answers is dropped in any case.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let (shared, id) = (self.shared.clone(), self.id);
        poll_fn(move |cx| shared.look(|state| state.poll_cancelled(id, cx)))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
