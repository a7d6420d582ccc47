//! Handlers at work: started where the connection's task stands, finished in tasks of their own.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use scamp_proto::service::{Caller, Check, Checked, House, JobBody};
use scamp_proto::session::ServeId;
use scamp_proto::wire::{RemoteError, ReplyHead};
use scamp_proto::{Instant, SendError};
use scamp_tls::Rsa;

use crate::body::Body;
use crate::reply::{Content, Reply};
use crate::request::Request;
use crate::runtime::{Runtime, Work};
use crate::shared::{Shared, State, Task};
use crate::writer::BodyWriter;

/// Starts what the connection's events ask for. The lock must not be held.
pub(crate) fn start<R: Runtime>(runtime: &R, shared: &Arc<Shared>, task: Task) {
    let work = match task {
        Task::Welcome(id) => {
            return shared.office.house.with_board(|board| {
                shared.with(|state, now| {
                    // It fails only if there is nobody left to welcome.
                    let _ = state.session().welcome(now, id, board);
                    state.touch();
                });
            });
        }
        Task::Check(check) => {
            let mut verifying = Verifying {
                shared: shared.clone(),
                check: Some(check),
            };
            // Elsewhere than in the connection's task, which other requests wait for (HD-76).
            return runtime.spawn(async move { verifying.run() });
        }
        Task::FetchTable => {
            let fetching = Fetching {
                shared: shared.clone(),
                done: false,
            };
            return runtime.spawn(fetching.run());
        }
        Task::Serve {
            id,
            header,
            body,
            caller,
            handler,
        } => {
            shared.office.house.note_started();
            let duty = Duty {
                shared: shared.clone(),
                id,
                handed_over: false,
                answered: false,
            };
            let body = match body {
                JobBody::Whole(whole) => Body::whole(whole),
                JobBody::Stream(body) => Body::stream(shared.clone(), body, None),
            };
            let request = Request::new(header, body, caller, shared.clone(), Some(id));
            handler(request, duty)
        }
        Task::Notify { header, body } => {
            let noticing = Noticing(shared.clone());
            let body = Body::stream(shared.clone(), body, None);
            match &shared.office.house.roster().listener {
                Some(notify) => {
                    shared.office.house.note_started();
                    let caller = Caller::default();
                    let request = Request::new(header, body, caller, shared.clone(), None);
                    notify(request, noticing)
                }
                None => return,
            }
        }
    };
    // Most handlers are done at once, and a task for each would cost more than the request
    // (performance 3, rule 11). One that is not is polled again in its task, so no waking is lost.
    let mut work = Careful(Some(work));
    let mut cx = Context::from_waker(Waker::noop());
    if Pin::new(&mut work).poll(&mut cx).is_pending() {
        runtime.spawn(work);
    }
}

/// Gives up what was not started, its connection being gone.
pub(crate) fn drop_task(shared: &Arc<Shared>, task: Task) {
    match task {
        Task::Serve { id, body, .. } => {
            if let JobBody::Stream(body) = body {
                drop(Body::stream(shared.clone(), body, None));
            }
            drop(Duty {
                shared: shared.clone(),
                id,
                handed_over: false,
                answered: false,
            });
        }
        Task::Check(check) => drop(Verifying {
            shared: shared.clone(),
            check: Some(check),
        }),
        Task::FetchTable => drop(Fetching {
            shared: shared.clone(),
            done: false,
        }),
        Task::Notify { body, .. } => {
            drop(Body::stream(shared.clone(), body, None));
            drop(Noticing(shared.clone()));
        }
        Task::Welcome(_) => {}
    }
}

/// Tickets to be verified; dropped before, they count for nothing.
struct Verifying {
    shared: Arc<Shared>,
    check: Option<Check>,
}

impl Verifying {
    fn run(&mut self) {
        if let Some(check) = self.check.take() {
            let checked = check.run(&Rsa);
            self.tell(checked);
        }
    }

    fn tell(&self, checked: Checked) {
        let shared = &self.shared;
        shared.with(|state, now| state.checked(now, &shared.office, checked));
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        if let Some(check) = self.check.take() {
            self.tell(check.give_up());
        }
    }
}

/// The authorization table to be fetched; dropped before, it could not be had.
struct Fetching {
    shared: Arc<Shared>,
    done: bool,
}

impl Fetching {
    async fn run(mut self) {
        let office = &self.shared.office;
        let fetched = match office.table_source.clone() {
            Some(source) => source().await,
            None => Err(String::new()),
        };
        let now = self.shared.now();
        match fetched {
            // A text that is no table counts as a failure, and is told to those who wait.
            Ok(json) => drop(office.house.guard(|guard| guard.table_answered(now, &json))),
            Err(_) => office.house.guard(|guard| guard.table_failed(now)),
        }
        self.done = true;
        self.shared.office.resume_all();
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if !self.done {
            let office = &self.shared.office;
            let now = self.shared.now();
            office.house.guard(|guard| guard.table_failed(now));
            office.resume_all();
        }
    }
}

/// Work whose panics end nothing but itself (F-37, B-20).
struct Careful(Option<Work>);

impl Future for Careful {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.0 else {
            return Poll::Ready(());
        };
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        if let Ok(Poll::Pending) = polled {
            return Poll::Pending;
        }
        let work = self.0.take();
        // What is left of a handler that panicked may panic again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        Poll::Ready(())
    }
}

/// A request that must be answered: dropped unanswered, it answers that it was (S-19).
pub(crate) struct Duty {
    shared: Arc<Shared>,
    id: ServeId,
    /// Whether the request's place in the handlers is free when its reply has left.
    handed_over: bool,
    /// Whether the handler has come to its end.
    answered: bool,
}

impl Duty {
    /// Gives the answer. A reply that streams is sent here to its end.
    pub(crate) async fn answer(mut self, result: Result<Reply, RemoteError>) {
        self.answered = true;
        let (content, extras) = match result {
            Ok(reply) => (reply.content, reply.extras),
            Err(error) => {
                self.shared.office.house.note_failed();
                self.handed_over = true;
                return self.shared.with(|state, now| {
                    // It fails only if there is nobody left to tell.
                    let _ = state.session().reply_error(now, self.id, error);
                    state.finish_serving(now, &self.shared.office, self.id);
                });
            }
        };
        let head = ReplyHead {
            error: None,
            extras,
        };
        match content {
            Content::Whole(body) => {
                let id = self.id;
                let sent = self.shared.with(|state, now| {
                    let send = begin(state, now, id, &head)?;
                    let office = &self.shared.office;
                    state.send_whole(now, office, send, body, Some(id));
                    Some(())
                });
                self.handed_over = sent.is_some();
            }
            Content::Stream(produce) => {
                let begun = self.shared.with(|state, now| {
                    let send = begin(state, now, self.id, &head)?;
                    state.streams.insert(self.id, send);
                    Some(send)
                });
                if let Some(send) = begun {
                    // How a body that was not finished ended is told to the peer, not to anybody
                    // here: its writer sends TXERR when dropped (S-4).
                    let _ = produce(BodyWriter::new(self.shared.clone(), send)).await;
                }
            }
        }
    }
}

fn begin(
    state: &mut State,
    now: Instant,
    id: ServeId,
    head: &ReplyHead<'_>,
) -> Option<scamp_proto::session::SendId> {
    state.touch();
    match state.session().reply(now, id, head) {
        Ok(send) => Some(send),
        Err(SendError::BadField(_) | SendError::HeaderTooLarge(_)) => {
            let error = RemoteError::new("general", "reply header cannot be sent");
            // It fails only if there is nobody left to tell.
            let _ = state.session().reply_error(now, id, error);
            None
        }
        // Nobody waits for it any more.
        Err(_) => None,
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let office = &self.shared.office;
        if !self.answered {
            office.house.note_failed();
        }
        if self.handed_over {
            return;
        }
        self.shared
            .with(|state, now| state.finish_serving(now, office, self.id));
    }
}

/// A notification in its handler.
pub(crate) struct Noticing(Arc<Shared>);

impl Drop for Noticing {
    fn drop(&mut self) {
        self.0.look(State::finish_noticing);
    }
}
