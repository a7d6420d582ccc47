//! What a service does while it runs.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use scamp_host::Presence;
use scamp_proto::service::{Lifecycle, Order};

use crate::door::Door;
use crate::runtime::{Runtime, Timer};
use crate::service_handle::ServiceHandle;

/// A service that runs: its doors, and the machine that says when to do what (V-12).
pub(crate) struct Running<'a, R: Runtime> {
    handle: &'a ServiceHandle<R>,
    doors: Vec<Door<'a, R>>,
    life: Lifecycle,
    timer: R::Timer,
    /// How often shutting down was asked for.
    stops: usize,
    /// Whether connections are being drained.
    leaving: bool,
}

impl<'a, R: Runtime> Running<'a, R> {
    pub(crate) fn new(listeners: Vec<R::Listener>, handle: &'a ServiceHandle<R>) -> Self {
        let core = &handle.core;
        let mut life = Lifecycle::new(core.presence.is_some()).drain(core.limits.shutdown_drain);
        if let Some(presence) = &core.presence {
            life = life.grace(presence.grace());
        }
        life.listening(handle.runtime.now());
        let doors = listeners.into_iter();
        Self {
            handle,
            doors: doors.map(|listener| Door::new(listener, handle)).collect(),
            life,
            timer: handle.runtime.timer(),
            stops: 0,
            leaving: false,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.tell(cx);
            let Some(order) = self.life.poll_order() else {
                break;
            };
            if order == Order::Return {
                return Poll::Ready(());
            }
            self.perform(order, cx);
        }
        for door in &mut self.doors {
            door.poll(cx);
        }
        Poll::Pending
    }

    /// Tells the machine what has happened.
    fn tell(&mut self, cx: &mut Context<'_>) {
        let core = &self.handle.core;
        let now = self.handle.runtime.now();
        while core.stop.poll_count(self.stops + 1, cx).is_ready() {
            self.stops += 1;
            self.life.shutdown(now);
        }
        match core.suspended.load(Ordering::Acquire) {
            true => self.life.suspend(),
            false => self.life.resume(),
        }
        if self.leaving && core.registry.poll_empty(cx).is_ready() {
            self.life.closed(now);
        }
        if core.presence.as_ref().is_some_and(Presence::has_left) {
            self.life.left();
        }
        self.timer.reset(self.life.poll_timeout());
        if self.timer.poll_alarm(cx).is_ready() {
            self.life.handle_timeout(now);
        }
    }

    fn perform(&mut self, order: Order, cx: &Context<'_>) {
        let core = &self.handle.core;
        if let Some(presence) = &core.presence {
            if order == Order::Leave {
                let waker = cx.waker().clone();
                presence.when_left(move || waker.wake());
            }
            presence.perform(order);
        }
        match order {
            Order::StopListening => {
                core.refuses.store(true, Ordering::Release);
                self.doors.clear();
            }
            Order::Refuse => {
                self.leaving = true;
                for shared in core.registry.all() {
                    shared.with(|state, now| {
                        state.session().drain(now);
                        state.touch();
                    });
                }
            }
            Order::CutReplies => {
                for shared in core.registry.all() {
                    shared.with(|state, now| {
                        state.cut_replies(now);
                        state.touch();
                    });
                }
            }
            Order::Close => self.handle.close_all(),
            _ => {}
        }
    }
}
