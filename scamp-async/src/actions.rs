//! What is offered to the peer.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use scamp_host::Roster;
use scamp_proto::service::{Access, ActionError, IntoAction};
use scamp_proto::wire::RemoteError;

use crate::office::{Handler, NotifyHandler};
use crate::reply::Reply;
use crate::request::Request;

/// Actions and what serves them.
///
/// A service's builder has the same methods; on its own it serves a client whose peer sends
/// requests, too.
///
/// # Example
///
/// ```
/// use scamp_async::{Actions, Reply};
///
/// let actions = Actions::new()
///     .action(("Client.ping", "noauth"), |request| async move { Ok(Reply::new(request.bytes().clone())) })?;
/// # Ok::<(), scamp_async::ActionError>(())
/// ```
#[derive(Clone, Default)]
pub struct Actions {
    pub(crate) roster: Roster<Handler, NotifyHandler>,
}

impl Actions {
    /// No actions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an action that gets its body whole.
    ///
    /// # Errors
    ///
    /// [`ActionError`] for a name that is none, or is there already (V-5).
    pub fn action<F, W>(mut self, action: impl IntoAction, handler: F) -> Result<Self, ActionError>
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
    {
        let table = &mut self.roster.table;
        table.insert(action.into_action()?, into_handler(handler))?;
        Ok(self)
    }

    /// Adds an action that is started when the header of a request is there, and reads the body as
    /// it comes (S-17).
    ///
    /// # Errors
    ///
    /// As [`action`](Self::action).
    pub fn streaming_action<F, W>(
        self,
        action: impl IntoAction,
        handler: F,
    ) -> Result<Self, ActionError>
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
    {
        self.action(action.into_action()?.streaming(), handler)
    }

    /// Sets what becomes of requests for actions that nothing is said about: they are refused, unless
    /// this says otherwise (T-9).
    pub fn default_access(mut self, access: Access) -> Self {
        self.roster.table.set_default_access(access);
        self
    }

    /// Sets what notifications are given to, with a body that streams; without, they are dropped.
    ///
    /// At most 512 of a connection are in the handler at once, and what comes then is dropped.
    pub fn on_notify<F, W>(mut self, handler: F) -> Self
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.roster.listener = Some(Arc::new(move |request, noticing| {
            let handler = handler.clone();
            Box::pin(async move {
                let noticing = noticing;
                handler(request).await;
                drop(noticing);
            })
        }));
        self
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.roster.table.iter()).finish()
    }
}

/// A handler whose answer is certain: called, polled and dropped with its duty at hand.
pub(crate) fn into_handler<F, W>(handler: F) -> Handler
where
    F: Fn(Request) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Reply, RemoteError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |request, duty| {
        let handler = handler.clone();
        Box::pin(async move {
            // Held from the start, so that a panic answers, too.
            let duty = duty;
            let result = handler(request).await;
            duty.answer(result).await;
        })
    })
}
