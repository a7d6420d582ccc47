//! Calls to whoever offers an action: choosing, connecting, trying again.
//!
//! A [`Requester`] decides and owns no connection. It is told of calls, and of what became of
//! connections and requests; it says what to dial, what to send where, and what has failed. Whoever
//! drives it holds a client for each [`LinkId`].
//!
//! ```text
//!  call() ──> Directory, marks ──> instance ──> place (URI, fingerprint)
//!                                                 │ connection up: Command::Send
//!                                                 │ none: Command::Dial, then Send
//!                                                 │ failed lately: wait, then Dial
//!  outcome() ──> Verdict::Done                    │ deadline: Command::Fail
//!            └─> Verdict::Again ──another instance┘
//! ```
//!
//! # Rules
//!
//! * **One outcome.** Every call ends in exactly one of [`Verdict::Done`], [`Command::Fail`] and
//!   [`abandon`](Requester::abandon).
//! * **Sent twice only if it is safe**: what was certainly not processed goes once more to another
//!   instance (S-33), and so does what was lost if its caller said it may be repeated (S-32).
//! * **One dial at a time** for each (URI, fingerprint), and none while the last failure is too
//!   recent (S-34).
//! * **The deadline covers everything**: waiting, connecting, sending, and the second attempt (S-21).
//! * **Drain before you wait.** After any call that takes `&mut self`, take every
//!   [`poll_command`](Requester::poll_command), then sleep until
//!   [`poll_timeout`](Requester::poll_timeout).
//!
//! # Limits
//!
//! | What | Bound | Set by |
//! | --- | --- | --- |
//! | calls that wait for a connection | 16 384 | [`Config::max_waiting`] |
//! | places remembered for their failures | those tried in the last 5 minutes | |

mod backoff;
mod command;
mod lookup;
mod pool;
#[cfg(test)]
mod tests;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::time::Duration;

pub use self::command::{Call, CallId, Command, Dispatch, LinkId, PinId, Verdict};

use self::lookup::{Target, Wanted};
use self::pool::{PlaceId, Pool, share_a_place};
use crate::auth::AuthorizedServices;
use crate::discovery::{Directory, Instance, Marks, Selection};
use crate::error::{CallError, CloseReason, DispatchError, ExchangeError, Phase, SendError};
use crate::limits::{RECONNECT_SPREAD, RPC_TIMEOUT, WAITING_CALLS};
use crate::ordered::Ordered;
use crate::{Instant, Rng};

/// Sees to calls. The module's page has the whole picture.
#[derive(Debug)]
pub struct Requester {
    config: Config,
    directory: Arc<Directory>,
    authorized: Arc<AuthorizedServices>,
    marks: Marks,
    pool: Pool,
    calls: Ordered<u64, Calling>,
    /// Of calls that are not sent.
    deadlines: Ordered<(Instant, u64), ()>,
    pins: Ordered<u64, Pinning>,
    rng: Rng,
    next_call: u64,
    next_pin: u64,
    draining: bool,
    counts: Counts,
}

/// How a requester behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where actions are looked for when a call does not say (`bus.default_sector`).
    pub sector: String,
    /// How long a call may take when neither it nor the action says (S-21, `rpc.timeout`).
    pub timeout: Duration,
    /// How one of several instances is chosen (D-44, `requester.selection`).
    pub selection: Selection,
    /// Calls that may wait for a connection; one too many fails.
    pub max_waiting: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sector: "main".to_string(),
            timeout: RPC_TIMEOUT,
            selection: Selection::default(),
            max_waiting: WAITING_CALLS,
        }
    }
}

/// What a requester does at the moment, and has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that have no outcome yet.
    pub calls: usize,
    /// Those of them that wait for a connection.
    pub waiting: usize,
    /// Connections, those included that are being dialled.
    pub links: usize,
    /// Connections that are being dialled.
    pub dialing: usize,
    /// Places that are connected to, or whose failures are remembered.
    pub places: usize,
    /// Calls so far.
    pub calls_begun: u64,
    /// Calls that went out a second time.
    pub calls_repeated: u64,
    /// Connections dialled that were not established.
    pub dials_failed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    begun: u64,
    repeated: u64,
    dials_failed: u64,
}

/// ```text
/// Waiting ──connection──> Sent ──outcome──> done
///    │ deadline, no connection   │ dispatch failure, safe loss
///    v                           v
///  Fail <──no other instance── Waiting, Sent (once more)
/// ```
#[derive(Debug)]
struct Calling {
    wanted: Wanted,
    timeout: Duration,
    deadline: Instant,
    target: Target,
    place: PlaceId,
    stage: Stage,
    is_idempotent: bool,
    is_replayable: bool,
    /// Whether its one retry is used up (S-33).
    retried: bool,
    /// Whom it was taken from then; it never goes back there.
    left: Option<Arc<Instance>>,
    /// Whether a connection once was closed before anything was sent on it.
    reopened: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Waiting,
    Sent(LinkId),
}

#[derive(Debug)]
struct Pinning {
    wanted: Wanted,
    instance: Arc<Instance>,
    place: PlaceId,
}

impl Requester {
    /// A requester that knows no services yet and authorizes none.
    ///
    /// `seed` decides what is left to chance: which of several instances, and how long to wait
    /// before trying again. It must differ between processes (F-13).
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            directory: Arc::default(),
            authorized: Arc::new(AuthorizedServices::none()),
            marks: Marks::default(),
            pool: Pool::default(),
            calls: Ordered::new(),
            deadlines: Ordered::new(),
            pins: Ordered::new(),
            rng: Rng::new(seed),
            next_call: 0,
            next_pin: 0,
            draining: false,
            counts: Counts::default(),
        }
    }

    /// Replaces what is known of services.
    ///
    /// Connections stay, and so do failure marks; calls that wait out a failure are given to an
    /// instance that is better now (D-20).
    pub fn set_directory(&mut self, now: Instant, directory: Arc<Directory>) {
        self.directory = directory;
        self.choose_again(now);
    }

    /// Replaces what is known of who may offer what; it counts from the next call on (Z-9).
    pub fn set_authorized(&mut self, now: Instant, authorized: Arc<AuthorizedServices>) {
        self.authorized = authorized;
        self.choose_again(now);
    }

    /// Begins a call.
    ///
    /// What comes of it is told by commands; a call that cannot be dispatched at all fails with one
    /// as well.
    pub fn call(&mut self, now: Instant, call: &Call<'_>) -> CallId {
        let id = self.next_call;
        self.next_call += 1;
        self.counts.begun += 1;
        if let Err(error) = self.begin(now, id, call) {
            self.pool.commands.push_back(Command::Fail {
                call: CallId(id),
                error: error.into(),
            });
        }
        CallId(id)
    }

    /// Takes what became of a call that was sent: its reply's header and, where the face reads it
    /// whole, its body.
    ///
    /// A call that is not known any more is done.
    pub fn outcome(&mut self, now: Instant, id: CallId, result: Result<(), &CallError>) -> Verdict {
        let Some(calling) = self.calls.get(&id.0) else {
            return Verdict::Done;
        };
        let Stage::Sent(link) = calling.stage else {
            return Verdict::Done;
        };
        let instance = calling.target.instance.clone();
        let fate = match result {
            Ok(()) => {
                self.marks.succeeded(&instance);
                Fate::Final
            }
            Err(error) => fate(error),
        };
        if fate == Fate::Unprocessed {
            self.marks.failed(&instance, now);
        }
        match result {
            Err(error) if is_lost(error) => self.pool.suspect(now, link, &mut self.rng),
            Err(_) if fate == Fate::Unopened => self.pool.retire(now, link),
            Ok(()) | Err(_) => {}
        }
        let again = match fate {
            Fate::Final => false,
            Fate::Unopened => self.reopen(now, id.0),
            Fate::Unprocessed => self.repeat(now, id.0, false),
            Fate::Unknown => self.repeat(now, id.0, true),
        };
        match again {
            true => Verdict::Again,
            false => {
                self.end(now, id.0);
                Verdict::Done
            }
        }
    }

    /// Gives up on a call: no command comes for it any more.
    ///
    /// If it was sent, cancelling its exchange is up to whoever sent it.
    pub fn abandon(&mut self, now: Instant, id: CallId) {
        self.end(now, id.0);
        let other = |command: &Command| match command {
            Command::Send(dispatch) => dispatch.call != id,
            Command::Fail { call, .. } => *call != id,
            Command::Dial { .. } | Command::Pinned { .. } | Command::Close(_) => true,
        };
        self.pool.commands.retain(other);
    }

    /// Wants a connection to an instance that offers the action, for as long as the pin is there
    /// (S-34).
    ///
    /// [`Command::Pinned`] tells the connection, and tells it anew whenever it had to be
    /// established again. Until the subscription on it is answered, what was subscribed to is not
    /// known. A connection has one pin at most, since a connection has one subscription.
    ///
    /// # Errors
    ///
    /// [`DispatchError`], if there is no such instance to begin with.
    pub fn pin(&mut self, now: Instant, call: &Call<'_>) -> Result<PinId, DispatchError> {
        if self.draining {
            return Err(DispatchError::Draining);
        }
        let wanted = Wanted::new(call, &self.config.sector);
        let target = self.pick(now, &wanted, None)?;
        let place = self.pool.place(now, &target.instance);
        let id = self.next_pin;
        self.next_pin += 1;
        let pinning = Pinning {
            wanted,
            instance: target.instance,
            place,
        };
        self.pins.insert(id, pinning);
        self.pool.pin(now, place, PinId(id), now);
        Ok(PinId(id))
    }

    /// Ends a pin. Its connection stays and is used by calls, until it has been idle long enough.
    pub fn unpin(&mut self, now: Instant, id: PinId) {
        if let Some(pinning) = self.pins.remove(&id.0) {
            self.pool.unpin(now, pinning.place, id);
        }
        let other =
            |command: &Command| !matches!(command, Command::Pinned { pin, .. } if *pin == id);
        self.pool.commands.retain(other);
        self.close_if_done();
    }

    /// A connection is established: TCP, TLS and the comparison of the fingerprint.
    pub fn established(&mut self, now: Instant, link: LinkId) {
        let Some((place, waiting)) = self.pool.established(now, link) else {
            return;
        };
        for call in waiting {
            self.dispatch(now, call.0, place);
        }
        self.close_if_done();
    }

    /// A connection could not be established, and why.
    ///
    /// The instance is marked (D-45), and its place left alone for a while (S-34). Calls that waited
    /// go to another instance, if they may; the others fail (S-33). A body that was to be streamed
    /// is no hindrance, since nothing of it has been asked for yet.
    pub fn not_established(&mut self, now: Instant, link: LinkId, reason: CloseReason) {
        let Some(gone) = self.pool.not_established(now, link, &mut self.rng) else {
            return;
        };
        self.counts.dials_failed += 1;
        self.marks.failed(&gone.instance, now);
        let error = DispatchError::NotEstablished {
            uri: gone.instance.uri().to_string(),
            reason,
        };
        for call in gone.waiting {
            let Some(calling) = self.calls.get(&call.0) else {
                continue;
            };
            // Another name at the same place is another instance, as unreachable as the first.
            if !same(&calling.target.instance, &gone.instance) {
                let other = calling.target.instance.clone();
                if !self.marks.is_failed(&other, now) {
                    self.marks.failed(&other, now);
                }
            }
            if !self.go_elsewhere(now, call.0) {
                self.fail(now, call.0, error.clone());
            }
        }
        self.move_pins(now, &gone.instance, &gone.pins);
        self.close_if_done();
    }

    /// A connection takes no new requests: it is suspect or draining (S-22, S-35). What it carries
    /// goes on.
    pub fn retire(&mut self, now: Instant, link: LinkId) {
        self.pool.retire(now, link);
    }

    /// A connection is gone. Tell the outcomes of what it carried as well, before or after.
    pub fn lost(&mut self, now: Instant, link: LinkId, reason: CloseReason) {
        if self.pool.is_dialing(link) {
            return self.not_established(now, link, reason);
        }
        if let Some(pin) = self.pool.lost(now, link, &mut self.rng) {
            if let Some(pinning) = self.pins.get_mut(&pin.0) {
                // Not all of a server's clients at once (F-13).
                let spread = u64::try_from(RECONNECT_SPREAD.as_millis()).unwrap_or(0);
                let at = now + Duration::from_millis(self.rng.below(spread));
                pinning.place = self.pool.place(now, &pinning.instance);
                self.pool.pin(now, pinning.place, pin, at);
            }
        }
        self.close_if_done();
    }

    /// Begins nothing new; closes the connections when the calls there are have ended (S-35).
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        for (id, pinning) in self.pins.take_all() {
            self.pool.unpin(now, pinning.place, PinId(id));
        }
        self.close_if_done();
    }

    /// Whether it has drained: no call, no connection.
    pub fn is_drained(&self) -> bool {
        self.draining && self.calls.is_empty() && self.pool.has_no_links()
    }

    /// What is to be done next, or `None` for now.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.pool.commands.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) should next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| at);
        [deadline, self.pool.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(timeout) = self.calls.get(&id).map(|calling| calling.timeout) {
                self.fail(now, id, DispatchError::Timeout(timeout));
            }
        }
        self.pool.handle_timeout(now);
        self.close_if_done();
    }

    /// What it does at the moment, and has done.
    pub fn stats(&self) -> Stats {
        let (places, links, dialing) = self.pool.sizes();
        Stats {
            calls: self.calls.len(),
            waiting: self.deadlines.len(),
            links,
            dialing,
            places,
            calls_begun: self.counts.begun,
            calls_repeated: self.counts.repeated,
            dials_failed: self.counts.dials_failed,
        }
    }

    /// What is known of services.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// What is known of who may offer what.
    pub fn authorized(&self) -> &Arc<AuthorizedServices> {
        &self.authorized
    }

    fn begin(&mut self, now: Instant, id: u64, call: &Call<'_>) -> Result<(), DispatchError> {
        if self.draining {
            return Err(DispatchError::Draining);
        }
        let wanted = Wanted::new(call, &self.config.sector);
        let target = self.pick(now, &wanted, None)?;
        let timeout = call
            .timeout
            .or(target.timeout)
            .unwrap_or(self.config.timeout);
        let place = self.pool.place(now, &target.instance);
        if self.deadlines.len() >= self.config.max_waiting && self.pool.link(place).is_none() {
            self.pool.enter(now, place);
            self.pool.leave(now, place);
            return Err(DispatchError::TooManyWaiting(self.config.max_waiting));
        }
        let calling = Calling {
            is_idempotent: call.idempotent.unwrap_or(target.is_read),
            is_replayable: call.replayable,
            wanted,
            timeout,
            deadline: now + timeout,
            target,
            place,
            stage: Stage::Waiting,
            retried: false,
            left: None,
            reopened: false,
        };
        self.calls.insert(id, calling);
        self.pool.enter(now, place);
        self.dispatch(now, id, place);
        Ok(())
    }

    /// Sends a call, or has it wait, at its place.
    fn dispatch(&mut self, now: Instant, id: u64, place: PlaceId) {
        let Some(calling) = self.calls.get_mut(&id) else {
            return;
        };
        let deadline = (calling.deadline, id);
        match self.pool.link(place) {
            Some(link) => {
                calling.stage = Stage::Sent(link);
                self.deadlines.remove(&deadline);
                self.pool.commands.push_back(Command::Send(Dispatch {
                    call: CallId(id),
                    link,
                    instance: calling.target.instance.clone(),
                    action: calling.target.action.clone(),
                    version: calling.target.version,
                    deadline: calling.deadline,
                }));
            }
            None => {
                calling.stage = Stage::Waiting;
                self.deadlines.insert(deadline, ());
                self.pool.wait(now, place, CallId(id));
            }
        }
    }

    /// Sends a call again that was sent, if it may be (S-32, S-33).
    ///
    /// `anywhere`: to the same instance if there is no other, since what was lost there was the
    /// connection.
    fn repeat(&mut self, now: Instant, id: u64, anywhere: bool) -> bool {
        let Some(calling) = self.calls.get_mut(&id) else {
            return false;
        };
        let may = calling.is_replayable && (!anywhere || calling.is_idempotent);
        if !may || now >= calling.deadline {
            return false;
        }
        if self.go_elsewhere(now, id) {
            return true;
        }
        let Some(calling) = self.calls.get_mut(&id) else {
            return false;
        };
        if !anywhere || calling.retried || calling.wanted.is_pinned() {
            return false;
        }
        calling.retried = true;
        let place = calling.place;
        self.counts.repeated += 1;
        self.dispatch(now, id, place);
        true
    }

    /// Gives a call to another instance, once; `false` if there is none or it may not (S-33).
    fn go_elsewhere(&mut self, now: Instant, id: u64) -> bool {
        let Some(calling) = self.calls.get_mut(&id) else {
            return false;
        };
        if calling.retried || calling.wanted.is_pinned() || now >= calling.deadline {
            return false;
        }
        let here = calling.target.instance.clone();
        let wanted = core::mem::take(&mut calling.wanted);
        let picked = self.pick(now, &wanted, Some(&here));
        let Some(calling) = self.calls.get_mut(&id) else {
            return false;
        };
        calling.wanted = wanted;
        let Ok(target) = picked else {
            return false;
        };
        calling.retried = true;
        calling.left = Some(here);
        self.counts.repeated += 1;
        self.move_to(now, id, target);
        true
    }

    /// Sends a call whose connection was closed before anything was sent, on another connection to
    /// the same place, once.
    fn reopen(&mut self, now: Instant, id: u64) -> bool {
        let Some(calling) = self.calls.get_mut(&id) else {
            return false;
        };
        if calling.reopened || now >= calling.deadline {
            return false;
        }
        calling.reopened = true;
        let place = calling.place;
        self.dispatch(now, id, place);
        true
    }

    /// Gives a call to another instance.
    fn move_to(&mut self, now: Instant, id: u64, target: Target) {
        let place = self.pool.place(now, &target.instance);
        self.pool.enter(now, place);
        let Some(calling) = self.calls.get_mut(&id) else {
            return;
        };
        calling.target = target;
        let old = core::mem::replace(&mut calling.place, place);
        self.pool.stop_waiting(old, CallId(id));
        self.pool.leave(now, old);
        self.dispatch(now, id, place);
    }

    /// Gives calls that wait out a failure to instances that need not, if there are any now.
    fn choose_again(&mut self, now: Instant) {
        let stuck: alloc::vec::Vec<CallId> = self.pool.stuck().collect();
        for CallId(id) in stuck {
            let Some(calling) = self.calls.get_mut(&id) else {
                continue;
            };
            let here = calling.target.instance.clone();
            let left = calling.left.clone();
            let wanted = core::mem::take(&mut calling.wanted);
            let picked = self.pick(now, &wanted, left.as_deref());
            if let Some(calling) = self.calls.get_mut(&id) {
                calling.wanted = wanted;
            }
            match picked {
                Ok(target) if !share_a_place(&target.instance, &here) => {
                    self.move_to(now, id, target);
                }
                // What is gone may come back before the deadline.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Gives pins that wait for an instance that is announced no more to one that is.
    fn move_pins(&mut self, now: Instant, from: &Arc<Instance>, waiting: &[PinId]) {
        for id in waiting {
            let Some(pinning) = self.pins.get_mut(&id.0) else {
                continue;
            };
            let wanted = core::mem::take(&mut pinning.wanted);
            let still_there = self.offers(&wanted, from);
            let picked = self.pick(now, &wanted, Some(from));
            let Some(pinning) = self.pins.get_mut(&id.0) else {
                continue;
            };
            pinning.wanted = wanted;
            if let (false, Ok(target)) = (still_there, picked) {
                let place = self.pool.place(now, &target.instance);
                let old = core::mem::replace(&mut pinning.place, place);
                pinning.instance = target.instance;
                self.pool.unpin(now, old, *id);
                self.pool.pin(now, place, *id, now);
            }
        }
    }

    fn fail(&mut self, now: Instant, id: u64, error: DispatchError) {
        if self.end(now, id) {
            self.pool.commands.push_back(Command::Fail {
                call: CallId(id),
                error: error.into(),
            });
        }
    }

    /// Forgets a call; returns whether it was there.
    fn end(&mut self, now: Instant, id: u64) -> bool {
        let Some(calling) = self.calls.remove(&id) else {
            return false;
        };
        self.deadlines.remove(&(calling.deadline, id));
        if calling.stage == Stage::Waiting {
            self.pool.stop_waiting(calling.place, CallId(id));
        }
        self.pool.leave(now, calling.place);
        self.close_if_done();
        true
    }

    fn close_if_done(&mut self) {
        if self.draining && self.calls.is_empty() {
            self.pool.close_all();
        }
    }
}

/// What an error says of its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is the outcome, whatever else.
    Final,
    /// The connection was closed before the request was begun; that says nothing of the service.
    Unopened,
    /// It was certainly not processed (H-13).
    Unprocessed,
    /// It may have been processed, or be processed yet (S-30).
    Unknown,
}

fn fate(error: &CallError) -> Fate {
    match error {
        CallError::NotSent(SendError::Closed | SendError::Draining | SendError::MsgnoExhausted) => {
            Fate::Unopened
        }
        CallError::NoReply(ExchangeError::ConnectionLost {
            phase: Phase::Sending | Phase::Waiting,
            ..
        }) => Fate::Unknown,
        CallError::NoReply(_) | CallError::Remote(_) if error.is_dispatch_failure() => {
            Fate::Unprocessed
        }
        CallError::NoReply(_)
        | CallError::Remote(_)
        | CallError::NotSent(_)
        | CallError::NotDispatched(_)
        | CallError::Body(_) => Fate::Final,
    }
}

/// Whether an error tells that its connection is gone.
fn is_lost(error: &CallError) -> bool {
    matches!(
        error,
        CallError::NoReply(ExchangeError::NotEstablished(_) | ExchangeError::ConnectionLost { .. })
    )
}

/// Whether two entries are the same instance (D-20).
fn same(one: &Instance, other: &Instance) -> bool {
    one.fingerprint() == other.fingerprint() && one.identity() == other.identity()
}
