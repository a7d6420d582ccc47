//! Calls by name.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use scamp_host::{Ask, Bus, JsonError, RequesterSettings, SetupError, Switchboard, TicketSource};
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::config::Config;
use scamp_proto::discovery::{Directory, Instance};
use scamp_proto::requester::{CallId, Dispatch, LinkId, Stats, Verdict};
use scamp_proto::session;
use scamp_proto::{CallError, CloseReason, ExchangeError, Instant, SendError, limits};
use scamp_tls::Pin;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, ClientBuilder};
use crate::link::Clock;
use crate::reply::{PendingReply, Response};
use crate::writer::BodyWriter;

/// Calls actions by name, at whichever instance may offer them and is well.
///
/// It knows the services from the discovery cache file, and who may offer what from
/// `bus.authorized_services`; both are looked at again, at most once a second, when a call is made
/// (D-35). Connections are made when they are needed and kept for the next call. What certainly was
/// not processed goes once more to another instance (S-33).
///
/// A handle: clones are the same requester, and may be used from several threads at once. It has no
/// thread of its own; whoever calls does the work.
///
/// # Example
///
/// ```no_run
/// use scamp_blocking::Requester;
/// use serde_json::{Value, json};
///
/// let (config, _) = scamp_host::load_config(None)?;
/// let scamp = Requester::from_config(&config)?;
/// let greeting: Value = scamp.call("Greetings.hello", &json!({"name": "World"}))?;
/// println!("{greeting}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Requester {
    handle: Arc<Handle>,
}

/// The last of them closes the connections.
struct Handle {
    desk: Arc<Desk>,
}

struct Desk {
    board: Mutex<Board>,
    /// Something has come for somebody who waits.
    changed: Condvar,
    clock: Clock,
    dialer: ClientBuilder,
    connect_timeout: Duration,
    bus: Option<Mutex<Bus>>,
    tickets: Option<TicketSource>,
}

type Board = Switchboard<Client>;

impl Requester {
    /// A requester that finds services as the configuration says.
    ///
    /// Reads `discovery.cache_path` and `bus.authorized_services` before it returns.
    ///
    /// # Errors
    ///
    /// [`SetupError`] for a key whose value does not parse, or without `discovery.cache_path`.
    /// A cache file that is not there yet, or stale, is an error of the calls that need it.
    pub fn from_config(config: &Config) -> Result<Self, SetupError> {
        Self::builder().config(config)?.build()
    }

    /// What there is to be set.
    pub fn builder() -> RequesterBuilder {
        RequesterBuilder::default()
    }

    /// Asks in JSON, and waits for the answer in JSON.
    ///
    /// # Errors
    ///
    /// [`JsonError`]: there is no reply, it reports an error, or one of the two bodies is not the
    /// JSON it should be.
    pub fn call<'a, T: DeserializeOwned>(
        &self,
        ask: impl Into<Ask<'a>>,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, JsonError> {
        let body = scamp_host::to_json(body)?;
        let response = self.call_raw(ask, body)?;
        scamp_host::from_json(&response.body)
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a reply that reports an error is [`CallError::Remote`].
    pub fn call_raw<'a>(
        &self,
        ask: impl Into<Ask<'a>>,
        body: impl Into<Bytes>,
    ) -> Result<Response, CallError> {
        let (ask, body) = (ask.into(), body.into());
        let desk = &self.handle.desk;
        let mut waiting = desk.begin(&ask, true);
        loop {
            let (dispatch, client) = waiting.next()?;
            let (head, options) = desk.head(&ask, &dispatch, true);
            let result = match client {
                Some(client) => client.call_with(head, body.clone(), &options),
                None => Err(SendError::Closed.into()),
            };
            match waiting.outcome(&dispatch, result.as_ref().map(drop)) {
                Verdict::Done => return result,
                Verdict::Again => {}
            }
        }
    }

    /// Begins a request, whose body is then written, while its reply is waited for.
    ///
    /// An instance is chosen and connected to first; from then on it is a request on one connection,
    /// as with [`Client::request`], and is not made again: its body cannot be.
    ///
    /// # Errors
    ///
    /// [`CallError`]: nothing of the request has left.
    pub fn request<'a>(
        &self,
        ask: impl Into<Ask<'a>>,
    ) -> Result<(BodyWriter, PendingReply), CallError> {
        let ask = ask.into();
        let desk = &self.handle.desk;
        let mut waiting = desk.begin(&ask, false);
        loop {
            let (dispatch, client) = waiting.next()?;
            let (head, options) = desk.head(&ask, &dispatch, false);
            let begun = match client {
                Some(client) => client.request(head, &options),
                None => Err(SendError::Closed.into()),
            };
            match begun {
                Ok((body, reply)) => {
                    let (desk, id) = (desk.clone(), waiting.leave());
                    let reply = reply.then(move |result| match result {
                        Some(result) => {
                            let _ = desk.outcome(&dispatch, result);
                        }
                        None => desk.abandon(id),
                    });
                    return Ok((body, reply));
                }
                Err(error) => match waiting.outcome(&dispatch, Err(&error)) {
                    Verdict::Done => return Err(error),
                    Verdict::Again => {}
                },
            }
        }
    }

    /// Replaces what is known of services, for a requester without a cache file (D-46).
    pub fn set_directory(&self, directory: Arc<Directory>) {
        let desk = &self.handle.desk;
        desk.lock().machine.set_directory(desk.now(), directory);
        desk.settle(desk.lock());
    }

    /// What is known of services at the moment.
    ///
    /// Looks at the files first, if that was more than a second ago.
    pub fn directory(&self) -> Arc<Directory> {
        self.handle.desk.refresh();
        self.handle.desk.lock().machine.directory().clone()
    }

    /// Who may offer what at the moment.
    pub fn authorized(&self) -> Arc<AuthorizedServices> {
        self.handle.desk.refresh();
        self.handle.desk.lock().machine.authorized().clone()
    }

    /// Takes what is worth a line in a log about the cache and `bus.authorized_services`.
    pub fn notes(&self) -> Vec<String> {
        match &self.handle.desk.bus {
            Some(bus) => unpoisoned(bus.lock()).notes(),
            None => Vec::new(),
        }
    }

    /// Begins nothing new; waits for the calls there are, and closes the connections (S-35).
    pub fn drain(&self) {
        self.handle.desk.drain();
    }

    /// What it does at the moment, and has done.
    pub fn stats(&self) -> Stats {
        self.handle.desk.lock().machine.stats()
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let links = self.desk.lock().take_links();
        links.for_each(|client| client.drain());
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Board> {
        unpoisoned(self.board.lock())
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Looks at the files, unless that was done a moment ago.
    fn refresh(&self) {
        let Some(bus) = &self.bus else { return };
        // Whoever finds somebody at it goes on with what is known.
        let Ok(mut bus) = bus.try_lock() else { return };
        if let Some(news) = bus.refresh(self.now()) {
            let mut board = self.lock();
            let now = self.now();
            board.machine.set_authorized(now, news.authorized);
            board.machine.set_directory(now, news.directory);
            self.settle(board);
        }
    }

    fn begin<'a>(self: &'a Arc<Self>, ask: &Ask<'_>, replayable: bool) -> Waiting<'a> {
        self.refresh();
        let mut board = self.lock();
        let id = board.machine.call(self.now(), &ask.call(replayable));
        self.settle(board);
        Waiting {
            desk: self,
            id: Some(id),
        }
    }

    fn head<'a>(
        &self,
        ask: &'a Ask<'_>,
        dispatch: &Dispatch,
        whole: bool,
    ) -> (scamp_proto::wire::RequestHead<'a>, session::RequestOptions) {
        let ticket = self.tickets.as_ref();
        let ticket = ticket.and_then(|source| source(&dispatch.instance));
        ask.dispatch(self.now(), dispatch, ticket, whole)
    }

    /// Lets what was done take effect: closes what is to be closed, wakes those who wait.
    fn settle<'a>(&'a self, mut board: MutexGuard<'a, Board>) {
        loop {
            board.settle(self.now());
            let closing = board.take_closing();
            if closing.is_empty() {
                break;
            }
            drop(board);
            for (_, client) in &closing {
                client.close();
            }
            board = self.lock();
            for (link, client) in closing {
                let reason = client.closed().unwrap_or(CloseReason::ClosedLocally);
                board.lost(self.now(), link, reason);
            }
        }
        drop(board);
        self.changed.notify_all();
    }

    /// Connects on this thread, or on one of its own where a call may end before that does.
    fn dial_for(self: &Arc<Self>, due: Option<Instant>, link: LinkId, instance: Arc<Instance>) {
        if due.is_none_or(|due| self.now() + self.connect_timeout <= due) {
            return self.dial(link, &instance);
        }
        let (desk, place) = (self.clone(), instance.clone());
        let spawned = thread::Builder::new()
            .name("scamp-dial".into())
            .spawn(move || desk.dial(link, &instance));
        if spawned.is_err() {
            self.dial(link, &place);
        }
    }

    /// Connects.
    fn dial(&self, link: LinkId, instance: &Instance) {
        let pin = match instance.certificate() {
            Some(certificate) => Pin::Certificate(certificate.to_vec().into()),
            None => Pin::Fingerprint(instance.fingerprint()),
        };
        let client = self.dialer.to(pin).connect(&instance.uri().to_string());
        let mut board = self.lock();
        board.dialled(self.now(), link, client);
        self.settle(board);
    }

    /// Tells what became of a request, and of its connection.
    fn outcome(&self, dispatch: &Dispatch, result: Result<(), &CallError>) -> Verdict {
        let client = self.lock().client(dispatch.link);
        let is_open = client.as_ref().is_some_and(Client::is_open);
        let closed = client.and_then(|client| client.closed());
        let mut board = self.lock();
        let verdict = board.outcome(self.now(), dispatch, result, is_open);
        if let Some(reason) = closed {
            board.lost(self.now(), dispatch.link, reason);
        }
        self.settle(board);
        verdict
    }

    fn abandon(&self, id: CallId) {
        let mut board = self.lock();
        board.abandon(self.now(), id);
        self.settle(board);
    }

    /// Waits for something to come, or to be due.
    fn wait<'a>(&'a self, board: MutexGuard<'a, Board>) -> MutexGuard<'a, Board> {
        let now = self.now();
        let due = board.machine.poll_timeout();
        if due.is_some_and(|at| at <= now) {
            self.settle(board);
            return self.lock();
        }
        let patience = due.map_or(PATIENCE, |at| at - now);
        unpoisoned(self.changed.wait_timeout(board, patience)).0
    }

    fn drain(&self) {
        let mut board = self.lock();
        board.machine.drain(self.now());
        self.settle(board);
        let mut board = self.lock();
        while !board.machine.is_drained() {
            board = self.wait(board);
        }
    }
}

/// A call that has no outcome; dropped, it is given up.
struct Waiting<'a> {
    desk: &'a Arc<Desk>,
    /// `None` once it has one.
    id: Option<CallId>,
}

impl Waiting<'_> {
    /// Works and waits until the call can be sent.
    fn next(&mut self) -> Result<(Dispatch, Option<Client>), CallError> {
        let Some(id) = self.id else {
            return Err(ExchangeError::Cancelled.into());
        };
        let desk = self.desk;
        let mut board = desk.lock();
        loop {
            if let Some(decision) = board.take_decision(id) {
                if decision.is_err() {
                    self.id = None;
                }
                return decision;
            }
            board = match board.take_dial() {
                Some((link, instance)) => {
                    let due = board.machine.poll_timeout();
                    drop(board);
                    desk.dial_for(due, link, instance);
                    desk.lock()
                }
                None => desk.wait(board),
            };
        }
    }

    fn outcome(&mut self, dispatch: &Dispatch, result: Result<(), &CallError>) -> Verdict {
        let verdict = self.desk.outcome(dispatch, result);
        if verdict == Verdict::Done {
            self.id = None;
        }
        verdict
    }

    /// Leaves the outcome to somebody else.
    fn leave(mut self) -> CallId {
        self.id.take().expect("asked for before any outcome")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.desk.abandon(id);
        }
    }
}

/// What there is to be set before calling by name.
///
/// # Example
///
/// Services that are known to the program itself, for a test or behind a tunnel:
///
/// ```
/// use std::sync::Arc;
/// use scamp_blocking::{Fingerprint, Requester};
/// use scamp_proto::auth::AuthorizedServices;
/// use scamp_proto::discovery::{Description, Directory, Instance, Offer};
///
/// let mut greeter = Description::new("greeter:1", "beepish+tls://127.0.0.1:30100".parse()?);
/// greeter.actions.push(Offer::new("Greetings.hello")?);
/// let instance = Instance::fixed(&greeter, Fingerprint::of(b"its certificate"), None)?;
/// let scamp = Requester::builder()
///     .directory(Directory::build([Arc::new(instance)], &mut |_| {}))
///     .authorized(AuthorizedServices::allow_all())
///     .build()?;
/// assert_eq!(scamp.directory().instances().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct RequesterBuilder {
    settings: RequesterSettings,
}

impl RequesterBuilder {
    scamp_host::requester_settings!();

    /// The requester.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: nothing says where services are to be found, or the system has no randomness.
    pub fn build(self) -> Result<Requester, SetupError> {
        let mut settings = self.settings;
        let clock = Clock::start();
        let machine = settings.machine(clock.now())?;
        let connect_timeout = settings.connect_timeout.unwrap_or(limits::CONNECT_TIMEOUT);
        let mut dialer = Client::builder(Pin::AnyCertificate).connect_timeout(connect_timeout);
        if let Some(options) = settings.tls {
            dialer = dialer.tls(options);
        }
        if let Some(session) = settings.session {
            dialer = dialer.session(session);
        }
        let desk = Desk {
            board: Mutex::new(Switchboard::new(machine)),
            changed: Condvar::new(),
            clock,
            dialer,
            connect_timeout,
            bus: settings.bus.map(Mutex::new),
            tickets: settings.tickets,
        };
        Ok(Requester {
            handle: Arc::new(Handle {
                desk: Arc::new(desk),
            }),
        })
    }
}

/// A poisoned lock is used all the same: what a panic interrupts here is complete.
fn unpoisoned<T>(locked: Result<T, PoisonError<T>>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// How long somebody waits who has nothing to wait for, before looking again.
const PATIENCE: Duration = Duration::from_secs(60);
