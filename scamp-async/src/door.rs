//! Where connections come in.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use scamp_proto::service::Occurrence;

use crate::runtime::{Listener, Runtime, Timer};
use crate::service_handle::ServiceHandle;

/// Where connections come in.
pub(crate) struct Door<'a, R: Runtime> {
    listener: R::Listener,
    handle: &'a ServiceHandle<R>,
    timer: R::Timer,
    /// How long the next error makes it wait; reset by success.
    pause: Duration,
    waiting: bool,
    spare: Spare,
}

impl<'a, R: Runtime> Door<'a, R> {
    pub(crate) fn new(listener: R::Listener, handle: &'a ServiceHandle<R>) -> Self {
        let timer = handle.runtime.timer();
        let spare = Spare::hold();
        Self {
            listener,
            handle,
            timer,
            pause: FIRST_PAUSE,
            waiting: false,
            spare,
        }
    }

    /// Accepts who waits. No error ends it (HD-17).
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        for _ in 0..ACCEPTS {
            if self.waiting {
                if self.timer.poll_alarm(cx).is_pending() {
                    return;
                }
                self.waiting = false;
            }
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, address))) => {
                    self.pause = FIRST_PAUSE;
                    self.handle.serve(stream, address);
                }
                Poll::Ready(Err(error)) => {
                    let core = &self.handle.core;
                    let what = Occurrence::AcceptFailed(error.to_string());
                    core.office.tell(None, what);
                    // Where no file is left to accept with, the one held back is used to take the
                    // connection and close it, so that its client need not wait.
                    self.spare.release();
                    if let Poll::Ready(Ok(_)) = self.listener.poll_accept(cx) {
                        core.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    self.spare = Spare::hold();
                    self.timer
                        .reset(Some(self.handle.runtime.now() + self.pause));
                    self.pause = (self.pause * 2).min(LAST_PAUSE);
                    self.waiting = true;
                }
            }
        }
        cx.waker().wake_by_ref();
    }
}

/// A file held back for when there are no more.
struct Spare(Option<std::fs::File>);

impl Spare {
    fn hold() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// Connections accepted before other tasks run.
const ACCEPTS: usize = 32;

/// How long the first of a row of accept errors is waited out (HD-17).
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How long any of them is, at most.
const LAST_PAUSE: Duration = Duration::from_secs(1);
