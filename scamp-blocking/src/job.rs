//! One run of a handler.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use scamp_proto::service::{Caller, Check, House};
use scamp_proto::session::{RecvId, SendId, ServeId};
use scamp_proto::wire::{RemoteError, ReplyHead};
use scamp_proto::{Header, SendError};
use scamp_tls::Rsa;

use crate::actions::{Handler, Reply, ReplyBody, Request};
use crate::body::Body;
use crate::link::{Link, Wait};
use crate::waiters::Key;
use crate::writer::BodyWriter;

/// What is to be done on a thread of the pool, as the core tells it.
pub(crate) enum Work {
    /// A handler is to be run.
    Run {
        task: Task,
        header: Header,
        /// The whole body, or a handle to read it by.
        body: Result<Bytes, RecvId>,
        caller: Caller,
        cancelled: Arc<AtomicBool>,
    },
    /// Tickets are to be verified.
    Check(Check),
    /// The authorization table is to be fetched.
    FetchTable,
}

pub(crate) enum Task {
    /// A request to be answered.
    Answer(ServeId, Handler),
    /// A notification.
    Hear,
}

impl Work {
    pub(crate) fn ready(self, link: &Arc<Link>) -> Job {
        let link = link.clone();
        match self {
            Self::Check(check) => Job::Check(Verifying {
                link,
                check: Some(check),
            }),
            Self::FetchTable => Job::Fetch(Fetching { link, done: false }),
            Self::Run {
                task,
                header,
                body,
                caller,
                cancelled,
            } => {
                let body = match body {
                    Ok(whole) => Body::whole(whole),
                    Err(id) => Body::of_request(link.clone(), id),
                };
                let request = Request::new(header, body, caller, cancelled, link.address);
                Job::Run(Running {
                    request: Some(request),
                    open: Open {
                        link,
                        task,
                        sent_by_others: false,
                    },
                })
            }
        }
    }
}

/// Something for a thread of the pool. Dropped without having run, it leaves nobody waiting.
#[expect(clippy::large_enum_variant, reason = "nearly all jobs are handlers")]
pub(crate) enum Job {
    Run(Running),
    Check(Verifying),
    Fetch(Fetching),
}

impl Job {
    /// Does it; returns the link whose output is then to be sent.
    pub(crate) fn run(self) -> Arc<Link> {
        match self {
            Self::Run(running) => running.run(),
            Self::Check(verifying) => verifying.run(),
            Self::Fetch(fetching) => fetching.run(),
        }
    }
}

/// Tickets to be verified.
pub(crate) struct Verifying {
    link: Arc<Link>,
    check: Option<Check>,
}

impl Verifying {
    fn run(mut self) -> Arc<Link> {
        if let Some(check) = self.check.take() {
            let checked = check.run(&Rsa);
            let link = &self.link;
            link.lock().checked(link.now(), &link.home, checked);
        }
        self.link.clone()
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        if let Some(check) = self.check.take() {
            let link = &self.link;
            let mut core = link.lock();
            core.checked(link.now(), &link.home, check.give_up());
            core.flush_or_leave();
        }
    }
}

/// The authorization table to be fetched.
pub(crate) struct Fetching {
    link: Arc<Link>,
    done: bool,
}

impl Fetching {
    fn run(mut self) -> Arc<Link> {
        let home = &self.link.home;
        let source = home.table_source.clone();
        let fetched = source.map(|source| catch_unwind(AssertUnwindSafe(|| source())));
        let now = self.link.now();
        self.done = true;
        match fetched {
            Some(Ok(Ok(json))) => {
                // A text that is no table counts as a failure, and is told to those who wait.
                let _ = home.house.guard(|guard| guard.table_answered(now, &json));
            }
            Some(Ok(Err(_)) | Err(_)) | None => home.house.guard(|guard| guard.table_failed(now)),
        }
        home.resume_all();
        self.link.clone()
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if !self.done {
            let home = &self.link.home;
            let now = self.link.now();
            home.house.guard(|guard| guard.table_failed(now));
            home.resume_all();
        }
    }
}

/// A handler ready to run. Dropped without having run, it answers that it did not.
pub(crate) struct Running {
    // Dropped first, so that its body is discarded before the request is answered.
    request: Option<Request>,
    open: Open,
}

/// A request that has no answer yet; when this is dropped it has one.
struct Open {
    link: Arc<Link>,
    task: Task,
    /// Whether somebody else sees to it that the answer leaves.
    sent_by_others: bool,
}

impl Running {
    /// Runs the handler; returns the link whose output is then to be sent.
    fn run(mut self) -> Arc<Link> {
        self.open.sent_by_others = true;
        let link = self.open.link.clone();
        if let Some(request) = self.request.take() {
            self.open.serve(request);
        }
        link
    }
}

impl Open {
    fn serve(&self, request: Request) {
        let link = &self.link;
        match &self.task {
            Task::Hear => {
                if let Some(listener) = &link.home.house.roster().listener {
                    // A listener has nobody to tell that it failed.
                    let _ = catch_unwind(AssertUnwindSafe(|| listener(request)));
                }
            }
            Task::Answer(id, handler) => {
                match catch_unwind(AssertUnwindSafe(|| handler(request))) {
                    Ok(Ok(reply)) => answer(link, *id, reply),
                    Ok(Err(error)) => {
                        let now = link.now();
                        // It fails only if there is nobody left to tell.
                        let _ = link.lock().session().reply_error(now, *id, error);
                        link.home.house.note_failed();
                    }
                    // What was left unsaid is said when this is dropped (S-19).
                    Err(_) => {
                        link.home.house.note_failed();
                    }
                }
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let link = &self.link;
        match self.task {
            Task::Hear => link.home.house.leave(),
            Task::Answer(id, _) => {
                let mut core = link.lock();
                core.finished(link.now(), &link.home, id);
                if !self.sent_by_others {
                    core.flush_or_leave();
                }
            }
        }
    }
}

fn answer(link: &Arc<Link>, id: ServeId, reply: Reply) {
    let head = ReplyHead {
        error: None,
        extras: reply.extras,
    };
    let mut core = link.lock();
    let send = match core.session().reply(link.now(), id, &head) {
        Ok(send) => send,
        Err(error @ (SendError::BadField(_) | SendError::HeaderTooLarge(_))) => {
            let error = RemoteError::new("general", error.to_string());
            // It fails only if there is nobody left to tell.
            let _ = core.session().reply_error(link.now(), id, error);
            return;
        }
        // Nobody waits for the answer any more.
        Err(_) => return,
    };
    match reply.body {
        ReplyBody::Whole(mut body) => core.wait(|core, now| {
            // The end goes with the last octets, and both with the header if there is room.
            match core.session().write(now, send, &mut body) {
                Ok(_) if body.is_empty() => {
                    let _ = core.session().finish(now, send);
                    Wait::Done(())
                }
                Ok(_) => Wait::For(Key::Send(send)),
                // The peer is gone, or takes nothing any more.
                Err(_) => Wait::Done(()),
            }
        }),
        ReplyBody::Stream(write) => {
            core.answering.insert(send);
            drop(core);
            stream(link, send, write);
            link.lock().answering.remove(&send);
        }
    }
}

fn stream(link: &Arc<Link>, send: SendId, write: crate::actions::Write) {
    let mut writer = BodyWriter::new(link.clone(), send);
    match catch_unwind(AssertUnwindSafe(|| write(&mut writer))) {
        // It fails only if there is nobody left to tell.
        Ok(Ok(())) => {
            let _ = writer.finish();
        }
        Ok(Err(error)) => {
            link.home.house.note_failed();
            let _ = writer.fail(&error.to_string());
        }
        // Dropping the writer ends the body with an error (S-4).
        Err(_) => {
            link.home.house.note_failed();
        }
    }
}
