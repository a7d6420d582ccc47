//! A service while it runs.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use scamp_host::Presence;
use scamp_proto::service::{Lifecycle, Occurrence, Order};

use crate::door::Door;
use crate::service::{Shared, drain};
use crate::socket::wait_for;

/// A service that runs: its listeners, and the machine that says when to do what (V-12).
pub(crate) struct Running<'a> {
    shared: &'a Arc<Shared>,
    listeners: Vec<TcpListener>,
    wake: &'a UnixStream,
    door: Door<'a>,
    life: Lifecycle,
    stops: usize,
    /// Whether connections are being drained.
    leaving: bool,
    /// How long the next failure to accept is waited out.
    delay: Duration,
}

impl<'a> Running<'a> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        listeners: Vec<TcpListener>,
        wake: &'a UnixStream,
    ) -> Self {
        let mut life =
            Lifecycle::new(shared.presence.is_some()).drain(shared.limits.shutdown_drain);
        if let Some(presence) = &shared.presence {
            life = life.grace(presence.grace());
        }
        life.listening(shared.home.clock.now());
        Self {
            shared,
            listeners,
            wake,
            door: Door::new(shared),
            life,
            stops: 0,
            leaving: false,
            delay: SHORTEST_DELAY,
        }
    }

    /// Tells the machine what has happened and does what it says; `false` when all is over.
    pub(crate) fn settle(&mut self) -> bool {
        loop {
            self.tell();
            match self.life.poll_order() {
                None => return true,
                Some(Order::Return) => return false,
                Some(order) => self.perform(order),
            }
        }
    }

    fn tell(&mut self) {
        let shared = self.shared;
        let now = shared.home.clock.now();
        while self.stops < shared.stops.load(Ordering::SeqCst) {
            self.stops += 1;
            self.life.shutdown(now);
        }
        match shared.suspended.load(Ordering::SeqCst) {
            true => self.life.suspend(),
            false => self.life.resume(),
        }
        if self.leaving && shared.stage().links.is_empty() {
            self.life.closed(now);
        }
        if shared.presence.as_ref().is_some_and(Presence::has_left) {
            self.life.left();
        }
        self.life.handle_timeout(now);
    }

    fn perform(&mut self, order: Order) {
        let shared = self.shared;
        if let Some(presence) = &shared.presence {
            if order == Order::Leave {
                let shared = Arc::downgrade(shared);
                presence.when_left(move || {
                    if let Some(shared) = shared.upgrade() {
                        shared.wake();
                    }
                });
            }
            presence.perform(order);
        }
        match order {
            Order::StopListening => {
                shared.refuses.store(true, Ordering::SeqCst);
                self.listeners.clear();
                self.door.close();
            }
            Order::Refuse => {
                self.leaving = true;
                shared.links().iter().for_each(|link| drain(link));
            }
            Order::CutReplies => {
                for link in shared.links() {
                    let mut core = link.lock();
                    let now = link.now();
                    for send in std::mem::take(&mut core.answering) {
                        // It may have ended meanwhile.
                        let _ = core.session().fail(now, send, "service shutting down");
                    }
                    core.flush_or_leave();
                }
            }
            Order::Close => {
                for link in shared.links() {
                    let mut core = link.lock();
                    core.session().close(link.now());
                    core.flush_or_leave();
                }
            }
            _ => {}
        }
    }

    /// Waits for connections, or for whatever the machine waits for.
    pub(crate) fn wait(&mut self) {
        let due = self.life.poll_timeout();
        let patience = due.map(|at| at - self.shared.home.clock.now());
        match self.listeners.is_empty() {
            true => self.wait_for_end(patience),
            false => self.wait_at_doors(patience),
        }
    }

    fn wait_at_doors(&mut self, patience: Option<Duration>) {
        let mut fds = vec![PollFd::new(self.wake, PollFlags::IN)];
        let listeners = self.listeners.iter();
        fds.extend(listeners.map(|listener| PollFd::new(listener, PollFlags::IN)));
        // Without news this was for nothing, and with an error accepting fails as well.
        let _ = wait_for(&mut fds, patience);
        drop(fds);
        self.hear();
        for listener in &self.listeners {
            match self.door.accept_all(listener) {
                Ok(()) => self.delay = SHORTEST_DELAY,
                Err(error) => {
                    self.shared
                        .tell(None, Occurrence::AcceptFailed(error.to_string()));
                    // What a connection leaves behind when it goes may be what is missing.
                    self.shared.wait_gone(self.delay);
                    self.delay = (self.delay * 2).min(LONGEST_DELAY);
                }
            }
        }
    }

    /// Takes what called it awake.
    fn hear(&self) {
        let mut heard = [0; 16];
        while io::Read::read(&mut &*self.wake, &mut heard).is_ok_and(|count| count > 0) {}
    }

    /// Waits for connections to go, looking after deadlines that closing has set.
    fn wait_for_end(&self, patience: Option<Duration>) {
        let shared = self.shared;
        let stage = shared.stage();
        // Nobody may have been told between being asked and here.
        if self.stops == shared.stops.load(Ordering::SeqCst) {
            let patience = patience.unwrap_or(TEND).min(TEND);
            let waited = shared.gone.wait_timeout(stage, patience);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        shared.links().iter().for_each(|link| link.tend());
    }
}

/// Waiting after a failure to accept, at first and at last (HD-17).
const SHORTEST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// How often connections are looked after while the service shuts down.
const TEND: Duration = Duration::from_millis(100);
