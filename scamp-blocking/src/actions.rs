//! What is done with requests of the peer's.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use scamp_host::Roster;
use scamp_proto::auth::VerifiedTicket;
use scamp_proto::limits::COLLECTED_BODY;
use scamp_proto::service::{Access, ActionError, Caller, IntoAction};
use scamp_proto::wire::RemoteError;
use scamp_proto::{BodyError, Header};

use crate::body::Body;
use crate::writer::BodyWriter;

/// Actions and what serves them: of a service, or of a client whose peer sends requests as well.
///
/// Handlers run on threads of their own, as many at once as there are requests, within the
/// limits. A panic in one ends its own request with an error and nothing else (S-19).
///
/// # Example
///
/// ```
/// use scamp_blocking::{Actions, RemoteError, Reply, Request};
///
/// fn hello(mut request: Request) -> Result<Reply, RemoteError> {
///     let name = request.text()?;
///     Ok(Reply::new(format!("Hello {name}")))
/// }
///
/// let actions = Actions::default()
///     .action(("Greetings.hello", "noauth"), hello)?
///     .action(("Greetings.fail~2", "noauth"), |_| Err(RemoteError::new("general", "no")))?;
/// # let _ = actions;
/// # Ok::<(), scamp_blocking::ActionError>(())
/// ```
#[derive(Clone, Default)]
pub struct Actions {
    pub(crate) roster: Roster<Handler, Listener>,
}

pub(crate) type Handler = Arc<dyn Fn(Request) -> Result<Reply, RemoteError> + Send + Sync>;
pub(crate) type Listener = Arc<dyn Fn(Request) + Send + Sync>;
pub(crate) type Write = Box<dyn FnOnce(&mut BodyWriter) -> io::Result<()> + Send>;

impl Actions {
    /// Adds an action whose handler gets the whole body, up to [`Action::max_body`](scamp_proto::service::Action::max_body) octets.
    ///
    /// # Errors
    ///
    /// [`ActionError`] for a name that is none, or that is taken (V-5).
    pub fn action(
        mut self,
        action: impl IntoAction,
        handler: impl Fn(Request) -> Result<Reply, RemoteError> + Send + Sync + 'static,
    ) -> Result<Self, ActionError> {
        let table = &mut self.roster.table;
        table.insert(action.into_action()?, Arc::new(handler))?;
        Ok(self)
    }

    /// Adds an action whose handler starts when the header is there, and reads the body as it
    /// comes (S-17).
    ///
    /// # Errors
    ///
    /// As [`action`](Self::action).
    pub fn streaming_action(
        self,
        action: impl IntoAction,
        handler: impl Fn(Request) -> Result<Reply, RemoteError> + Send + Sync + 'static,
    ) -> Result<Self, ActionError> {
        self.action(action.into_action()?.streaming(), handler)
    }

    /// Sets what becomes of requests for actions that nothing is said about: they are refused, unless
    /// this says otherwise (T-9).
    pub fn default_access(mut self, access: Access) -> Self {
        self.roster.table.set_default_access(access);
        self
    }

    /// Sets what hears notifications; without, they are dropped.
    ///
    /// It gets their bodies whole. Each runs on a thread of its own, so they may overtake one another.
    pub fn on_notify(mut self, listener: impl Fn(Request) + Send + Sync + 'static) -> Self {
        self.roster.listener = Some(Arc::new(listener));
        self
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.roster.table.iter()).finish()
    }
}

/// A request, or a notification, of the peer's.
#[derive(Debug)]
pub struct Request {
    /// Its header.
    pub header: Header,
    /// Its body: all there for an ordinary action, as it comes for a streaming one.
    pub body: Body,
    caller: Caller,
    cancelled: Arc<AtomicBool>,
    address: Option<SocketAddr>,
}

impl Request {
    pub(crate) fn new(
        header: Header,
        body: Body,
        caller: Caller,
        cancelled: Arc<AtomicBool>,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            header,
            body,
            caller,
            cancelled,
            address,
        }
    }

    /// Reads what is left of the body, up to 16 MiB.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if the body did not come to its proper end, or is larger.
    pub fn bytes(&mut self) -> Result<Bytes, BodyError> {
        self.body.gather(COLLECTED_BODY)
    }

    /// Reads what is left of the body as text.
    ///
    /// # Errors
    ///
    /// `bad_request` if it is not UTF-8, `transport` if it did not come to its proper end: return it.
    pub fn text(&mut self) -> Result<String, RemoteError> {
        let whole = self.bytes().map_err(|error| {
            RemoteError::new("transport", format!("Failed to receive request: {error}"))
        })?;
        String::from_utf8(whole.into())
            .map_err(|_| RemoteError::new("bad_request", "body is not UTF-8"))
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

    /// Whether nobody waits for the reply any more, since the connection is gone (S-31).
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Where the request comes from, if that was a network.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.address
    }
}

/// The answer to a request.
///
/// # Example
///
/// ```
/// use std::io::Write;
///
/// use scamp_blocking::Reply;
///
/// let whole = Reply::new("\"Hello\"").extra("took_ms", "5");
/// let long = Reply::stream(|body| {
///     for line in 0..1_000_000 {
///         writeln!(body, "{line}")?;
///     }
///     Ok(())
/// });
/// # let _ = (whole, long);
/// ```
pub struct Reply {
    pub(crate) body: ReplyBody,
    pub(crate) extras: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

pub(crate) enum ReplyBody {
    Whole(Bytes),
    Stream(Write),
}

impl Reply {
    /// A reply with this body.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: ReplyBody::Whole(body.into()),
            extras: Vec::new(),
        }
    }

    /// A reply whose body `write` writes, on the handler's thread, as fast as the peer takes it.
    ///
    /// An error, or a panic, ends the body with an error, so that the peer never takes it for
    /// complete (S-10).
    pub fn stream(write: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static) -> Self {
        Self {
            body: ReplyBody::Stream(Box::new(write)),
            extras: Vec::new(),
        }
    }

    /// Adds a field to the reply's header; `json` must be JSON.
    pub fn extra(
        mut self,
        name: impl Into<Cow<'static, str>>,
        json: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.extras.push((name.into(), json.into()));
        self
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = match &self.body {
            ReplyBody::Whole(body) => Some(body.len()),
            ReplyBody::Stream(_) => None,
        };
        f.debug_struct("Reply")
            .field("octets", &octets)
            .finish_non_exhaustive()
    }
}
