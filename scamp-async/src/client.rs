//! One connection to a service.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use scamp_proto::connection::Stats;
use scamp_proto::note::Note;
use scamp_proto::session::{ExchangeId, RequestOptions, SendId};
use scamp_proto::wire::{RemoteError, RequestHead};
use scamp_proto::{CallError, CloseReason, ExchangeError, Instant, SendError, limits};
use scamp_tls::{Peer, Pin, TlsVersion};

use crate::dial::ClientBuilder;
use crate::exchange::{PendingReply, Response};
use crate::runtime::Runtime;
use crate::shared::{Exchange, Outcome, Progress, Shared, State, with_room};
use crate::subscription::{Inbox, Subscription};
use crate::writer::BodyWriter;

/// One connection, for requests that run side by side.
///
/// Clones share it, in as many tasks as you like. When the last is dropped, the connection takes
/// nothing new and closes as soon as nothing is in progress; what is, goes on for as long as its
/// own handles live. Dropping the future of a call, or a handle, gives up what it stands for and
/// leaves the connection as it was.
///
/// # Example
///
/// ```
/// use scamp_async::{CallError, Client, Pin, Runtime};
///
/// async fn greet<R: Runtime + Default>(address: &str, pin: Pin) -> Result<(), CallError> {
///     let client = Client::<R>::connect(address, pin).await?;
///     let reply = client.call("Greetings.hello", "{\"name\":\"World\"}").await?;
///     println!("{}", reply.text().unwrap_or("not text"));
///     Ok(())
/// }
/// ```
pub struct Client<R> {
    pub(crate) handle: Arc<Handle>,
    runtime: PhantomData<fn() -> R>,
}

/// What the clones of a client share; the last of them drains the connection.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(|state, now| {
            state.session().drain(now);
            state.touch();
        });
    }
}

impl<R: Runtime> Client<R> {
    /// Connects to `host:port`, `beepish+tls://host:port` or `scamp+tls://host:port`.
    ///
    /// Returns once the peer has shown the certificate that `pin` asks for, within ten seconds.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::NotEstablished`] with the reason, inside [`CallError::NoReply`].
    pub async fn connect(address: &str, pin: Pin) -> Result<Self, CallError>
    where
        R: Default,
    {
        Self::builder(pin).connect(address).await
    }

    /// A connection with settings of your own.
    pub fn builder(pin: Pin) -> ClientBuilder<R>
    where
        R: Default,
    {
        ClientBuilder::new(R::default(), Some(pin))
    }

    /// A connection without TLS: for tests, and for byte streams that are safe by themselves.
    pub fn plain() -> ClientBuilder<R>
    where
        R: Default,
    {
        ClientBuilder::new(R::default(), None)
    }
}

impl<R> Client<R> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle { shared }),
            runtime: PhantomData,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Sends a request with its whole body, and waits for the whole reply.
    ///
    /// `head` is `Namespace.name`, `Namespace.name~version`, or a [`RequestHead`]. It takes at
    /// most [`session::Config::timeout`](scamp_proto::session::Config::timeout), the reply's body
    /// included; a reply of more than 16 MiB is an error.
    ///
    /// # Errors
    ///
    /// [`CallError::Remote`] if the service answers with an error; the others if there is no
    /// complete reply.
    pub async fn call<'a>(
        &self,
        head: impl Into<RequestHead<'a>>,
        body: impl Into<Bytes>,
    ) -> Result<Response, CallError> {
        let options = RequestOptions {
            timeout_covers_body: true,
            ..RequestOptions::default()
        };
        self.call_with(head, body, &options).await
    }

    /// The same with options. Without `timeout_covers_body` only the wait for the reply's header
    /// has a limit.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn call_with<'a>(
        &self,
        head: impl Into<RequestHead<'a>>,
        body: impl Into<Bytes>,
        options: &RequestOptions,
    ) -> Result<Response, CallError> {
        let (head, mut body) = (head.into(), body.into());
        let shared = self.shared();
        let (id, _) = with_room(shared, |state, now| {
            let (id, send) = begin(state, now, &head, options, Some(limits::COLLECTED_BODY))?;
            let body = std::mem::take(&mut body);
            state.send_whole(now, &shared.office, send, body, None);
            Ok((id, send))
        })
        .await?;
        let mut pending = PendingReply::new(shared.clone(), id);
        match poll_fn(|cx| pending.poll_outcome(cx)).await {
            Outcome::Whole(header, body) => Ok(Response { header, body }),
            Outcome::Failed(error) => Err(error),
            // Whole replies are what was asked for.
            Outcome::Reply(..) | Outcome::Subscribed(_) => {
                Err(CallError::NoReply(ExchangeError::Cancelled))
            }
        }
    }

    /// Begins a request whose body is written, and whose reply is read, piece by piece.
    ///
    /// Waits while as many requests as may be are outstanding. The time for the reply runs from
    /// when it returns.
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`] with the reason.
    pub async fn request<'a>(
        &self,
        head: impl Into<RequestHead<'a>>,
        options: &RequestOptions,
    ) -> Result<(BodyWriter, PendingReply), CallError> {
        let head = head.into();
        let shared = self.shared();
        let (id, send) =
            with_room(shared, |state, now| begin(state, now, &head, options, None)).await?;
        Ok((
            BodyWriter::new(shared.clone(), send),
            PendingReply::new(shared.clone(), id),
        ))
    }

    /// Tells the peer something that has no answer.
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`] with the reason.
    pub async fn notify(&self, body: impl Into<Bytes>) -> Result<(), CallError> {
        let mut body = body.into();
        let shared = self.shared();
        with_room(shared, |state, now| {
            let send = state.session().notify(now)?;
            let body = std::mem::take(&mut body);
            state.send_whole(now, &shared.office, send, body, None);
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Begins a notification whose body is written piece by piece.
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`] with the reason.
    pub async fn notify_stream(&self) -> Result<BodyWriter, CallError> {
        self.send_other("notify", &[]).await
    }

    /// Begins a message of any type, with these fields: names, and values as JSON (H-6).
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`] with the reason.
    pub async fn send_other(
        &self,
        kind: &str,
        fields: &[(Cow<'_, str>, Cow<'_, str>)],
    ) -> Result<BodyWriter, CallError> {
        let shared = self.shared();
        let send = with_room(shared, |state, now| {
            state.touch();
            state.session().send_other(now, kind, fields)
        })
        .await?;
        Ok(BodyWriter::new(shared.clone(), send))
    }

    /// Subscribes to topics, and returns once the service has agreed.
    ///
    /// A connection has one subscription; this one takes the place of an earlier one, whose stream
    /// ends.
    ///
    /// # Errors
    ///
    /// [`CallError::Remote`] if the service does not agree.
    pub async fn subscribe(&self, topics: &[&str]) -> Result<Subscription, CallError> {
        let shared = self.shared();
        let (id, serial) = with_room(shared, |state, now| {
            let id = state.session().subscribe(now, Some(topics))?;
            state.touch();
            state.exchanges.insert(id, Exchange::new(None, None));
            state.subscriptions += 1;
            let serial = state.subscriptions;
            let old = state.inbox.replace(Inbox::new(serial));
            if let Some(waker) = old.and_then(|inbox| inbox.waker) {
                state.wakers.push(waker);
            }
            Ok((id, serial))
        })
        .await?;
        let subscription = Subscription::new(self.handle.clone(), serial);
        let mut pending = PendingReply::new(shared.clone(), id);
        match poll_fn(|cx| pending.poll_outcome(cx)).await {
            Outcome::Subscribed(true) => Ok(subscription),
            Outcome::Failed(error) => Err(error),
            Outcome::Subscribed(false) | Outcome::Reply(..) | Outcome::Whole(..) => {
                let text = "the service does not take the subscription";
                Err(RemoteError::new("general", text).into())
            }
        }
    }

    /// Why the connection has ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.shared().look(|state| state.closed().cloned())
    }

    /// Waits for the connection's end, and says why it came.
    pub async fn wait_closed(&self) -> CloseReason {
        let mut wait = ClosedWait {
            shared: self.shared(),
            ticket: None,
        };
        poll_fn(|cx| {
            let ticket = &mut wait.ticket;
            wait.shared.look(|state| match state.closed().cloned() {
                Some(reason) => Poll::Ready(reason),
                None => {
                    let ticket = *ticket.get_or_insert_with(|| state.closers.ticket());
                    state.closers.wait(ticket, cx, &mut state.wakers);
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// Whether requests may be begun.
    pub fn is_open(&self) -> bool {
        self.shared().look(|state| state.session().is_open())
    }

    /// Begins nothing new, and closes when what is in progress has ended (S-35).
    pub fn drain(&self) {
        self.shared().with(|state, now| {
            state.session().drain(now);
            state.touch();
        });
    }

    /// Closes; what is in progress is lost. What is queued still leaves, for a second at most.
    pub fn close(&self) {
        self.shared().with(|state, now| {
            state.session().close(now);
            state.touch();
        });
    }

    /// What has passed so far.
    pub fn stats(&self) -> Stats {
        self.shared()
            .look(|state| state.session().connection().stats())
    }

    /// Whom the connection has reached; `None` without TLS.
    pub fn peer(&self) -> Option<Peer> {
        self.shared().look(|state| state.machine.peer().cloned())
    }

    /// The TLS version both ends have agreed on; `None` without TLS.
    pub fn tls_version(&self) -> Option<TlsVersion> {
        self.shared().look(|state| state.machine.tls_version())
    }

    /// Takes what is worth a line in a log; at most the newest 256 are kept.
    pub fn notes(&self) -> Vec<Note> {
        self.shared().look(State::take_notes)
    }
}

impl<R> Clone for Client<R> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            runtime: PhantomData,
        }
    }
}

impl<R> fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

fn begin(
    state: &mut State,
    now: Instant,
    head: &RequestHead<'_>,
    options: &RequestOptions,
    collect: Option<usize>,
) -> Result<(ExchangeId, SendId), SendError> {
    let (id, send) = state.session().request(now, head, options)?;
    state
        .exchanges
        .insert(id, Exchange::new(Some(send), collect));
    state.touch();
    Ok((id, send))
}

impl Exchange {
    fn new(send: Option<SendId>, collect: Option<usize>) -> Self {
        Self {
            send,
            collect,
            progress: Progress::Waiting,
            waker: None,
        }
    }
}

struct ClosedWait<'a> {
    shared: &'a Shared,
    ticket: Option<u64>,
}

impl Drop for ClosedWait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared
                .look(|state| state.closers.leave(ticket, &mut state.wakers));
        }
    }
}
