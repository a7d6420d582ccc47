//! A call by name, as the faces take it.

use std::borrow::Cow;
use std::time::Duration;

use scamp_proto::Instant;
use scamp_proto::requester::{Call, Dispatch};
use scamp_proto::session::RequestOptions;
use scamp_proto::wire::RequestHead;

/// What is asked for by name, of whom, and on whose behalf.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use scamp_host::Ask;
///
/// let plain = Ask::from("Greetings.hello");
/// assert_eq!((plain.sector(), plain.action(), plain.version()), (None, "Greetings.hello", 1));
///
/// let ask = Ask::new("web:Cart.total~2")
///     .ticket("1,42,7,1700000000,3600,,c2lnbmF0dXJl")
///     .timeout(Duration::from_secs(2))
///     .idempotent(true);
/// assert_eq!((ask.sector(), ask.action(), ask.version()), (Some("web"), "Cart.total", 2));
/// ```
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    sector: Option<Cow<'a, str>>,
    instance: Option<Cow<'a, str>>,
    timeout: Option<Duration>,
    idempotent: Option<bool>,
    head: RequestHead<'a>,
}

impl<'a> Ask<'a> {
    /// Asks for `sector:Namespace.name~version`; without them, the requester's own sector and
    /// version 1 are meant.
    ///
    /// A version that is none stays in the name, which then is not found. `Namespace._read` and the
    /// like stand for the action with that flag (D-19).
    pub fn new(action: &'a str) -> Self {
        let (sector, name) = match action.split_once(':') {
            Some((sector, name)) => (Some(Cow::Borrowed(sector)), name),
            None => (None, action),
        };
        Self {
            sector,
            ..RequestHead::from(name).into()
        }
    }

    /// Asks one instance only: its identity, or `fingerprint#identity` (D-43). It is never asked of
    /// another (S-33).
    pub fn at(self, instance: impl Into<Cow<'a, str>>) -> Self {
        Self {
            instance: Some(instance.into()),
            ..self
        }
    }

    /// Looks for the action in this sector.
    pub fn in_sector(self, sector: impl Into<Cow<'a, str>>) -> Self {
        Self {
            sector: Some(sector.into()),
            ..self
        }
    }

    /// Says how long it may take in all: choosing, connecting, asking, a second attempt, and the
    /// whole reply where that is wanted whole. Otherwise it is the action's own limit, or
    /// `rpc.timeout` (S-21).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// Says whether doing it twice does no harm; otherwise the action's flag `read` says so (S-32).
    pub fn idempotent(self, idempotent: bool) -> Self {
        Self {
            idempotent: Some(idempotent),
            ..self
        }
    }

    /// Says how the body is to be understood; `json` unless said otherwise (H-9).
    pub fn envelope(self, envelope: impl Into<Cow<'a, str>>) -> Self {
        self.with(|head| head.envelope(envelope))
    }

    /// Presents a ticket.
    pub fn ticket(self, ticket: impl Into<Cow<'a, str>>) -> Self {
        self.with(|head| head.ticket(ticket))
    }

    /// Presents a second ticket, naming the real user.
    pub fn identifying_token(self, token: impl Into<Cow<'a, str>>) -> Self {
        self.with(|head| head.identifying_token(token))
    }

    /// Names the client it is asked for.
    pub fn client_id(self, client_id: u64) -> Self {
        self.with(|head| head.client_id(client_id))
    }

    /// Names the terminal it comes from.
    pub fn terminal(self, terminal: impl Into<Cow<'a, str>>) -> Self {
        self.with(|head| head.terminal(terminal))
    }

    /// Adds a field to the header; `json` must be JSON (H-10).
    pub fn extra(self, name: impl Into<Cow<'a, str>>, json: impl Into<Cow<'a, str>>) -> Self {
        self.with(|head| head.extra(name, json))
    }

    fn with(self, change: impl FnOnce(RequestHead<'a>) -> RequestHead<'a>) -> Self {
        Self {
            head: change(self.head),
            ..self
        }
    }

    /// The sector asked for, if one was named.
    pub fn sector(&self) -> Option<&str> {
        self.sector.as_deref()
    }

    /// `Namespace.name`.
    pub fn action(&self) -> &str {
        &self.head.action
    }

    /// The version.
    pub fn version(&self) -> u32 {
        self.head.version
    }

    /// What the machine that chooses needs to know of it; `replayable` is whether the body is in
    /// memory.
    pub fn call(&self, replayable: bool) -> Call<'_> {
        Call {
            sector: self.sector(),
            action: self.action(),
            version: self.version(),
            envelope: &self.head.envelope,
            instance: self.instance.as_deref(),
            timeout: self.timeout,
            idempotent: self.idempotent,
            replayable,
        }
    }

    /// The header that goes out once an instance is chosen, under the action's real name (H-8), and
    /// the time that is left for it.
    ///
    /// `ticket` is what a ticket source brings; a ticket of the call's own goes before it (T-19).
    pub fn dispatch(
        &self,
        now: Instant,
        dispatch: &Dispatch,
        ticket: Option<String>,
        whole: bool,
    ) -> (RequestHead<'_>, RequestOptions) {
        let mut head = self.head.clone();
        head.action = Cow::Owned(dispatch.action.clone());
        head.version = dispatch.version;
        if let (None, Some(ticket)) = (&head.ticket, ticket) {
            head = head.ticket(ticket);
        }
        let options = RequestOptions {
            timeout: Some(dispatch.deadline - now),
            timeout_covers_body: whole,
            ..RequestOptions::default()
        };
        (head, options)
    }
}

/// For what is written by somebody else: as it is, in the requester's sector.
impl<'a> From<RequestHead<'a>> for Ask<'a> {
    fn from(head: RequestHead<'a>) -> Self {
        Self {
            sector: None,
            instance: None,
            timeout: None,
            idempotent: None,
            head,
        }
    }
}

impl<'a> From<&'a str> for Ask<'a> {
    fn from(action: &'a str) -> Self {
        Self::new(action)
    }
}

impl<'a> From<&'a String> for Ask<'a> {
    fn from(action: &'a String) -> Self {
        Self::new(action)
    }
}
