//! A request of ours and what comes back for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::Utf8Error;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use scamp_proto::session::ExchangeId;
use scamp_proto::wire::RemoteError;
use scamp_proto::{BodyError, CallError, ExchangeError, Header};

use crate::body::Body;
use crate::shared::{Outcome, Progress, Shared};

/// A reply with its whole body.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The reply's header.
    pub header: Header,
    /// The reply's body.
    pub body: Bytes,
}

impl Response {
    /// The body as text.
    ///
    /// # Errors
    ///
    /// Where it is not UTF-8.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.body)
    }
}

/// A reply that has begun.
#[derive(Debug)]
pub struct IncomingReply {
    /// The reply's header.
    pub header: Header,
    /// The reply's body, as it comes.
    pub body: Body,
}

impl IncomingReply {
    /// The error the reply reports, if it is one (H-12).
    pub fn error(&self) -> Option<RemoteError> {
        self.header.error()
    }

    /// The reply with its whole body.
    ///
    /// # Errors
    ///
    /// [`CallError::Remote`] if it reports an error, [`CallError::Body`] if its body is not
    /// complete or larger than `limit` octets.
    pub async fn whole(self, limit: usize) -> Result<Response, CallError> {
        if let Some(error) = self.error() {
            return Err(error.into());
        }
        let body = self.body.collect(limit).await?;
        Ok(Response {
            header: self.header,
            body,
        })
    }
}

/// A request whose reply is still to come; a future of the reply.
///
/// Dropping it gives the request up: what is left of it is stopped, and its reply is dropped when
/// it comes (S-14).
///
/// # Example
///
/// ```
/// use scamp_async::{BodyWriter, CallError, PendingReply};
///
/// async fn first_piece(body: BodyWriter, reply: PendingReply) -> Result<(), CallError> {
///     body.finish().await?;
///     let mut reply = reply.wait().await?;
///     if let Some(error) = reply.error() {
///         return Err(error.into());
///     }
///     println!("{:?}", reply.body.chunk().await?);
///     Ok(()) // what is unread is dropped
/// }
/// ```
#[must_use = "dropping it gives the request up"]
pub struct PendingReply {
    shared: Arc<Shared>,
    id: ExchangeId,
    /// Whether its outcome has been fetched.
    fetched: bool,
    told: Option<Told>,
}

/// Who else wants to know what becomes of a request: whether its reply is good, or `None` if it was
/// given up.
type Told = Box<dyn FnOnce(Option<Result<(), &CallError>>) + Send>;

impl PendingReply {
    pub(crate) fn new(shared: Arc<Shared>, id: ExchangeId) -> Self {
        Self {
            shared,
            id,
            fetched: false,
            told: None,
        }
    }

    /// Tells somebody what becomes of the request.
    pub(crate) fn then(
        mut self,
        told: impl FnOnce(Option<Result<(), &CallError>>) + Send + 'static,
    ) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// The request's number, as it is on the wire (S-12).
    pub fn id(&self) -> ExchangeId {
        self.id
    }

    /// The reply, once it has begun.
    ///
    /// # Errors
    ///
    /// [`CallError::NoReply`] if there will be none. A reply that reports an error is a reply; see
    /// [`IncomingReply::error`].
    pub async fn wait(self) -> Result<IncomingReply, CallError> {
        self.await
    }

    /// The outcome, once it is there.
    pub(crate) fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let id = self.id;
        let outcome = self.shared.look(|state| {
            let Some(exchange) = state.exchanges.get_mut(&id) else {
                return Poll::Ready(Outcome::Failed(ExchangeError::Cancelled.into()));
            };
            if let Progress::Done(_) = exchange.progress {
                if let Some(exchange) = state.exchanges.remove(&id) {
                    state.wakers.discard(exchange.waker);
                    if let Progress::Done(outcome) = exchange.progress {
                        return Poll::Ready(*outcome);
                    }
                }
            } else {
                state.wakers.park(&mut exchange.waker, cx);
            }
            Poll::Pending
        });
        self.fetched |= outcome.is_ready();
        outcome
    }
}

impl Future for PendingReply {
    type Output = Result<IncomingReply, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let reply = ready!(this.poll_outcome(cx));
        let reply = match reply {
            Outcome::Reply(header, body) => {
                let body = Body::stream(this.shared.clone(), body, Some(this.id));
                Ok(IncomingReply { header, body })
            }
            Outcome::Whole(header, body) => Ok(IncomingReply {
                header,
                body: Body::whole(body),
            }),
            Outcome::Failed(error) => Err(error),
            // Subscriptions have handles of their own.
            Outcome::Subscribed(_) => Err(CallError::Body(BodyError::Cancelled)),
        };
        if let Some(told) = this.told.take() {
            let error = match &reply {
                Ok(reply) => reply.error().map(CallError::from),
                Err(error) => Some(error.clone()),
            };
            told(Some(error.as_ref().map_or(Ok(()), Err)));
        }
        Poll::Ready(reply)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if self.fetched {
            return;
        }
        let id = self.id;
        self.shared.with(|state, now| {
            let body = match state.exchanges.get(&id).map(|exchange| &exchange.progress) {
                Some(Progress::Collecting(_, body)) => Some(*body),
                Some(Progress::Done(outcome)) => match **outcome {
                    Outcome::Reply(_, body) => Some(body),
                    Outcome::Whole(..) | Outcome::Failed(_) | Outcome::Subscribed(_) => None,
                },
                Some(Progress::Waiting) | None => None,
            };
            state.drop_exchange(now, id, body);
            if let Some(exchange) = state.exchanges.remove(&id) {
                state.wakers.discard(exchange.waker);
            }
        });
        if let Some(told) = self.told.take() {
            told(None);
        }
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReply")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
