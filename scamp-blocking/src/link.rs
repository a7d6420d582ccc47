//! One connection, driven by the threads that wait for something of it.
//!
//! ```text
//!  thread ──lock, command──> machine ──> out ──unlock, send (never waits)──> socket
//!  thread ──lock, nothing yet──> takes the reader's role ──unlock, receive──> machine ──> wakes others
//!                           └──> somebody reads already: parks until woken
//! ```
//!
//! # Rules
//!
//! * Nobody holds the lock while the socket can make it wait.
//! * At most one thread reads and at most one writes. Whoever finds the writer at work leaves its
//!   octets to it: the writer looks again after each write, and so several messages share a write.
//! * Whoever leaves finds somebody to read, if anybody still waits.
//! * Deadlines are looked at only when the socket has been found empty: nobody may have read it
//!   for minutes.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use bytes::Buf;
use scamp_proto::limits::TURN;
use scamp_proto::service::Desk;
use scamp_proto::{CloseReason, Duplex, End, Instant, Session};
use scamp_tls::Channel;

use crate::core::{Core, Watch};
use crate::home::Home;
use crate::socket::{Patience, Transport};
use crate::waiters::Key;

/// One connection.
pub(crate) struct Link {
    core: Mutex<Core>,
    transport: Box<dyn Transport>,
    clock: Clock,
    pub(crate) home: Arc<Home>,
    pub(crate) address: Option<SocketAddr>,
    me: Weak<Link>,
}

/// A clock that starts when its link does.
#[derive(Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_epoch(self.0.elapsed())
    }
}

/// What a thread that was asked whether it still waits has to say.
pub(crate) enum Wait<T> {
    Done(T),
    For(Key),
    Either(Key, Key),
}

/// The locked core.
pub(crate) struct Held<'a> {
    link: &'a Link,
    guard: Option<MutexGuard<'a, Core>>,
}

impl Link {
    pub(crate) fn new(
        machine: Channel<Session>,
        transport: Box<dyn Transport>,
        clock: Clock,
        home: Arc<Home>,
        address: Option<SocketAddr>,
    ) -> Arc<Self> {
        let desk = Desk::new(home.max_active).handler_timeout(home.handler_timeout);
        let core = Core::new(machine, desk, clock.now());
        Arc::new_cyclic(|me| Self {
            core: Mutex::new(core),
            transport,
            clock,
            home,
            address,
            me: me.clone(),
        })
    }

    pub(crate) fn lock(&self) -> Held<'_> {
        Held {
            link: self,
            guard: Some(self.guard()),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Cuts the connection.
    pub(crate) fn cut(&self) {
        self.transport.shutdown();
    }

    /// Acts on deadlines that have come nearer while a thread waits for the socket.
    pub(crate) fn tend(&self) {
        let mut core = self.lock();
        let now = self.now();
        if core.deadline().is_some_and(|at| at <= now) {
            core.expire(now, &self.home);
            core.flush_or_leave();
        }
    }

    /// Ends the connection in order, and waits until it has ended.
    pub(crate) fn close(&self) {
        let mut core = self.lock();
        let now = self.now();
        core.session().close(now);
        core.process(now, &self.home);
        core.run();
    }

    fn guard(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is a bug of ours. The core answers for its own state even then.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Link {
    /// The last handle is gone: what is in progress is lost, what can be flushed is (S-35).
    fn drop(&mut self) {
        if !self.lock().shut {
            self.close();
        }
    }
}

impl Held<'_> {
    /// Sends what can be sent without waiting, and returns whether it let go of the lock.
    pub(crate) fn flush(&mut self) -> bool {
        let link = self.link;
        let mut let_go = false;
        self.process(link.now(), &link.home);
        if self.writer || self.blocked {
            return false;
        }
        self.writer = true;
        loop {
            let now = link.now();
            let core = &mut **self;
            if core.out.is_empty() {
                let added = core.machine.poll_transmit(now, &mut core.out);
                core.process(now, &link.home);
                if added.is_none() || core.out.is_empty() {
                    break;
                }
            }
            let out = std::mem::take(&mut core.out);
            self.let_go();
            let sent = send(&*link.transport, &out);
            self.take_back();
            let_go = true;
            self.out = out;
            match sent {
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_patience(&error) => {
                    self.blocked = true;
                    self.bound_the_end(link.now());
                    break;
                }
                Err(error) => {
                    self.out.clear();
                    let now = link.now();
                    self.end(now, &link.home, End::io(error.to_string()));
                }
            }
        }
        self.writer = false;
        if !self.blocked {
            self.give_up = None;
            if !self.machine.inner().connection().is_busy() {
                self.out.release();
            }
            self.wake(Key::Flushed);
        }
        let_go
    }

    /// As [`flush`](Self::flush); what the socket does not take is left to a thread of its own if
    /// nobody would look after it.
    pub(crate) fn flush_or_leave(&mut self) {
        self.flush();
        self.leave_to_scribe();
    }

    /// As [`flush`](Self::flush); in a client, waits until the socket has taken everything.
    ///
    /// A client has no thread that would go on sending behind its back.
    pub(crate) fn deliver(&mut self) {
        self.flush();
        if self.link.home.is_service {
            self.leave_to_scribe();
        } else if self.blocked {
            self.wait_flushed();
        }
    }

    /// Waits until `turn` is done, moving octets meanwhile if nobody else does.
    pub(crate) fn wait<T>(&mut self, mut turn: impl FnMut(&mut Core, Instant) -> Wait<T>) -> T {
        let link = self.link;
        loop {
            let keys = match turn(self, link.now()) {
                Wait::Done(result) => {
                    if !self.out.is_empty() {
                        self.flush_or_leave();
                    }
                    return result;
                }
                Wait::For(key) => [Some(key), None],
                Wait::Either(one, other) => [Some(one), Some(other)],
            };
            if !self.flush() {
                self.step(keys);
            }
        }
    }

    /// Moves octets until the connection is over.
    pub(crate) fn run(&mut self) {
        self.wait(|core, _| match core.is_over() {
            true => Wait::Done(()),
            false => Wait::For(Key::Anything),
        });
    }

    /// Reads what has come since somebody last looked, and acts on deadlines that have passed.
    ///
    /// Does nothing if somebody has looked within the last second.
    pub(crate) fn catch_up(&mut self) {
        let link = self.link;
        if self.reader.is_some() || link.now() - self.heard < FRESH {
            return;
        }
        for _ in 0..CATCH_UP {
            if self.reader.is_some() || !self.wants_read() {
                break;
            }
            if !self.receive(Patience::None, None) {
                break;
            }
        }
        if self.reader.is_none() {
            self.expire(link.now(), &link.home);
            self.heard = link.now();
        }
    }

    pub(crate) fn wait_flushed(&mut self) {
        self.wait(|core, _| match core.is_flushed() || core.closed.is_some() {
            true => Wait::Done(()),
            false => Wait::For(Key::Flushed),
        });
    }

    /// One step towards whatever the thread waits for.
    fn step(&mut self, keys: [Option<Key>; 2]) {
        let link = self.link;
        let now = link.now();
        let deadline = self.deadline();
        let is_due = deadline.is_some_and(|at| at <= now);
        let is_blocked = self.blocked && !self.writer;
        if self.reader.is_none() && self.wants_read() {
            let patience = self.patience(keys, now, deadline);
            if is_due {
                if !self.receive(Patience::None, deadline) {
                    let now = link.now();
                    self.expire(now, &link.home);
                }
            } else if is_blocked {
                self.await_writable(true, patience);
            } else {
                let patience = patience.map_or(Patience::Forever, Patience::For);
                self.receive(patience, deadline);
            }
        } else if is_due {
            self.expire(now, &link.home);
        } else if is_blocked && link.home.is_service && keys.contains(&Some(Key::Flushed)) {
            // The connection's own thread reads, or will.
            self.await_writable(false, deadline.map(|at| at - now));
        } else if is_blocked
            && !link.home.is_service
            && (self.reader.is_none() || keys.contains(&Some(Key::Flushed)))
        {
            // Whoever reads may leave without notice.
            let patience = self.patience(keys, now, deadline).unwrap_or(GLANCE);
            self.await_writable(false, Some(patience.min(GLANCE)));
        } else {
            self.leave_to_scribe();
            self.park(keys, now, deadline);
        }
    }

    /// How long a thread that reads may stay away.
    fn patience(
        &self,
        keys: [Option<Key>; 2],
        now: Instant,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let until_deadline = deadline.map(|at| at - now);
        let longest = keys.iter().flatten().filter_map(|key| match key {
            // Other threads may bring that about as well, and cannot wake a thread that reads.
            Key::Flushed | Key::Room | Key::Send(_) => Some(PEEK),
            // Handlers set deadlines and do not stay to watch them.
            Key::Anything => Some(ROUND),
            Key::Body(_) | Key::Changes | Key::Exchange(_) => None,
        });
        until_deadline.into_iter().chain(longest).min()
    }

    /// Reads once; returns whether something came, be it the end.
    fn receive(&mut self, patience: Patience, deadline: Option<Instant>) -> bool {
        let link = self.link;
        let is_idle = !self.machine.inner().connection().is_busy();
        let mut inbox = std::mem::take(&mut self.inbox);
        if inbox.is_empty() || (is_idle && inbox.len() > INBOX_IDLE) {
            inbox = vec![0; INBOX_IDLE];
        }
        self.reader = Some(Watch(deadline));
        self.let_go();
        let received = link.transport.receive(&mut inbox, patience);
        self.take_back();
        self.reader = None;
        let now = link.now();
        let came = match received {
            Ok(0) => {
                self.end(now, &link.home, End::Eof);
                true
            }
            Ok(count) => {
                self.heard = now;
                let octets = inbox.get(..count).unwrap_or(&inbox);
                self.machine.receive(now, octets);
                self.process(now, &link.home);
                if count >= inbox.len() && inbox.len() < INBOX {
                    inbox = vec![0; INBOX];
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if is_patience(&error) => false,
            Err(error) => {
                self.end(now, &link.home, End::io(error.to_string()));
                true
            }
        };
        self.inbox = inbox;
        came
    }

    /// Waits for room in the socket, and for octets to come if this thread is to read.
    fn await_writable(&mut self, reads: bool, patience: Option<Duration>) {
        let link = self.link;
        self.writer = true;
        if reads {
            let until = patience.map(|time| link.now() + time);
            self.reader = Some(Watch(until));
        }
        self.let_go();
        let waited = link.transport.wait_writable(reads, patience);
        self.take_back();
        self.writer = false;
        // The next write tells whether that is so.
        self.blocked = false;
        if reads {
            self.reader = None;
            if waited.is_ok() {
                self.receive(Patience::None, None);
            }
        }
        if let Err(error) = waited {
            self.end(link.now(), &link.home, End::io(error.to_string()));
        }
    }

    /// Sleeps until woken, or until a deadline that nobody else looks after.
    fn park(&mut self, keys: [Option<Key>; 2], now: Instant, deadline: Option<Instant>) {
        let ticket = self.waiters.add(keys, &thread::current());
        let covered = match self.reader {
            Some(watch) => watch.covers(deadline),
            None => {
                self.waiters.post(ticket, deadline);
                false
            }
        };
        self.let_go();
        match deadline {
            Some(at) if !covered => thread::park_timeout(at - now),
            _ => thread::park(),
        }
        self.take_back();
        self.waiters.remove(ticket);
    }

    /// Starts a thread that writes, if octets wait and nobody would notice that they can go.
    fn leave_to_scribe(&mut self) {
        // A client whose socket nobody reads sends when somebody next waits for something.
        let is_seen = self.reader.is_none() && !self.link.home.is_service;
        if is_seen || !self.blocked || self.writer || self.has_scribe {
            return;
        }
        let Some(link) = self.link.me.upgrade() else {
            return;
        };
        self.has_scribe = true;
        let scribe = thread::Builder::new()
            .name("scamp-write".into())
            .stack_size(STACK)
            .spawn(move || {
                let mut core = link.lock();
                // An end that waits to be flushed needs somebody to give it up in time.
                core.wait(|core, _| match core.is_flushed() || core.is_over() {
                    true => Wait::Done(()),
                    false => Wait::For(Key::Flushed),
                });
                core.has_scribe = false;
            });
        if scribe.is_err() {
            // Whoever came with octets stays with them.
            self.has_scribe = false;
            self.wait_flushed();
        }
    }

    /// Lets go of the lock, and does what had to wait for that.
    fn let_go(&mut self) {
        let link = self.link;
        let Some(mut core) = self.guard.take() else {
            return;
        };
        core.appoint();
        let woken = std::mem::take(&mut core.woken);
        let work = std::mem::take(&mut core.work);
        let is_last = core.is_over() && !core.shut;
        core.shut |= is_last;
        drop(core);
        for thread in woken {
            thread.unpark();
        }
        if is_last {
            link.transport.shutdown();
        }
        if !work.is_empty() {
            if let Some(link) = link.me.upgrade() {
                link.home.start(&link, work);
            }
        }
    }

    fn take_back(&mut self) {
        self.guard = Some(self.link.guard());
    }
}

impl Deref for Held<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        self.guard.as_ref().expect("let go of only inside a method")
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        self.guard.as_mut().expect("let go of only inside a method")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Why a connection that takes nothing any more has ended.
pub(crate) fn reason_of(core: &Core) -> CloseReason {
    core.closed.clone().unwrap_or(CloseReason::ClosedLocally)
}

/// Whether a call came back only because it was not to wait any longer.
fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn send(transport: &dyn Transport, out: &scamp_proto::Outbox) -> io::Result<usize> {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let used = out.chunks_vectored(&mut pieces);
    match transport.send(pieces.get(..used).unwrap_or_default())? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// Octets read at a time while nothing is in progress.
const INBOX_IDLE: usize = 4096;
/// Octets read at a time otherwise: a turn's worth (performance 3, rule 4).
const INBOX: usize = TURN;
/// Pieces written at a time.
const PIECES: usize = 32;
/// Reads before a command at most; what is still unread then is read in the ordinary way.
const CATCH_UP: usize = 256;
/// A socket read within this time needs no looking at before a command.
const FRESH: Duration = Duration::from_secs(1);
/// How long a reading thread stays away that may be relieved by others.
const PEEK: Duration = Duration::from_millis(64);
/// How long a connection's own thread stays away at most: about sixteen seconds.
const ROUND: Duration = Duration::from_millis(1 << 14);
/// How long a writing thread stays away that may have to read.
const GLANCE: Duration = Duration::from_millis(20);
/// Stack of a thread that only moves octets.
pub(crate) const STACK: usize = 256 * 1024;
