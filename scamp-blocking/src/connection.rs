//! One connection of a service.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use scamp_proto::CloseReason;
use scamp_proto::service::Occurrence;
use scamp_proto::session::Session;

use crate::link::{Link, Wait, reason_of};
use crate::service::{Shared, drain};
use crate::waiters::Key;

/// One connection and its thread; when this is dropped, nothing is left of it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    number: u64,
    link: Arc<Link>,
    /// Told after the socket has been closed.
    _gone: Gone,
}

/// Tells whoever waits, when it is dropped, that a connection has gone.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.notify_all();
    }
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, number: u64, link: Arc<Link>) -> Self {
        Self {
            number,
            link,
            _gone: Gone(shared.clone()),
            shared,
        }
    }

    pub(crate) fn run(&self) {
        let (shared, link) = (&self.shared, &self.link);
        let mut share = Share {
            shared,
            held: 0,
            lowered: false,
        };
        let mut core = link.lock();
        core.wait(
            |core, _| match core.machine.is_established() || core.is_over() {
                true => Wait::Done(()),
                false => Wait::For(Key::Anything),
            },
        );
        drop(core);
        shared.stage().handshakes.end(self.number);
        let mut core = link.lock();
        loop {
            let notes = core.wait(|core, now| {
                share.update(core.session(), now);
                let notes = core.take_notes();
                match core.is_over() || !notes.is_empty() {
                    true => Wait::Done(notes),
                    false => Wait::For(Key::Anything),
                }
            });
            let is_over = core.is_over();
            drop(core);
            for note in notes {
                shared.tell(link.address, Occurrence::Note(note));
            }
            if is_over {
                return;
            }
            core = link.lock();
        }
    }

    pub(crate) fn drain(&self) {
        drain(&self.link);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let shared = &self.shared;
        let mut core = self.link.lock();
        let reason = reason_of(&core);
        let stats = core.session().connection().stats();
        drop(core);
        if matches!(reason, CloseReason::Violation(_)) {
            shared.protocol_errors.fetch_add(1, Ordering::Relaxed);
        }
        shared
            .octets_in
            .fetch_add(stats.octets_in, Ordering::Relaxed);
        shared
            .octets_out
            .fetch_add(stats.octets_out, Ordering::Relaxed);
        shared.tell(self.link.address, Occurrence::Closed(reason));
        let mut stage = shared.stage();
        stage.handshakes.end(self.number);
        stage.links.remove(&self.number);
        drop(stage);
        shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection's part of the memory that all together may hold (HD-26).
struct Share<'a> {
    shared: &'a Shared,
    held: usize,
    lowered: bool,
}

impl Share<'_> {
    fn update(&mut self, session: &mut Session, now: scamp_proto::Instant) {
        let shared = self.shared;
        let held = session.connection().memory();
        if held != self.held {
            let before = self.held;
            self.held = held;
            if held > before {
                shared.held.fetch_add(held - before, Ordering::Relaxed);
            } else {
                shared.held.fetch_sub(before - held, Ordering::Relaxed);
            }
        }
        let budget = shared.limits.mem_budget;
        if shared.held.load(Ordering::Relaxed) > budget {
            let open = shared.open.load(Ordering::Relaxed).max(1);
            session.set_allowance(now, (budget / open).max(LEAST_SHARE));
            self.lowered = true;
        } else if self.lowered {
            session.set_allowance(now, usize::MAX);
            self.lowered = false;
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// What a connection may hold however little memory there is, in octets (HD-26).
const LEAST_SHARE: usize = 256 * 1024;
