//! Calls by name.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use scamp_host::{Ask, Bus, JsonError, RequesterSettings, SetupError, Switchboard, TicketSource};
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::config::Config;
use scamp_proto::discovery::{Directory, Instance};
use scamp_proto::requester::{CallId, Dispatch, LinkId, Stats, Verdict};
use scamp_proto::session::RequestOptions;
use scamp_proto::wire::RequestHead;
use scamp_proto::{CallError, ExchangeError, Instant, SendError};
use scamp_tls::Pin;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::dial::ClientBuilder;
use crate::exchange::{PendingReply, Response};
use crate::runtime::{Runtime, Timer};
use crate::writer::BodyWriter;

/// Calls actions by name, at whichever instance may offer them and is well.
///
/// It knows the services from the discovery cache file, and who may offer what from
/// `bus.authorized_services`; both are looked at again, at most once a second, when a call is made
/// (D-35). Connections are made when they are needed and kept for the next call. What certainly was
/// not processed goes once more to another instance (S-33).
///
/// A handle: clones are the same requester, in as many tasks as you like. Dropping the future of a
/// call gives it up. When the last handle is gone, the connections close as soon as nothing is in
/// progress.
///
/// # Example
///
/// ```
/// use scamp_async::{JsonError, Requester, Runtime};
/// use serde_json::{Value, json};
///
/// async fn greet<R: Runtime>(scamp: &Requester<R>) -> Result<(), JsonError> {
///     let greeting: Value = scamp.call("Greetings.hello", &json!({"name": "World"})).await?;
///     println!("{greeting}");
///     Ok(())
/// }
/// ```
pub struct Requester<R: Runtime> {
    handle: Arc<Handle<R>>,
}

/// The last of them lets the connections go.
struct Handle<R: Runtime> {
    desk: Arc<Desk<R>>,
}

struct Desk<R: Runtime> {
    runtime: R,
    state: Mutex<State<R>>,
    dialer: ClientBuilder<R>,
    bus: Option<Arc<Mutex<Bus>>>,
    tickets: Option<TicketSource>,
}

struct State<R: Runtime> {
    board: Switchboard<Client<R>>,
    /// Those who wait for a decision.
    waiting: BTreeMap<CallId, Waker>,
    /// Those who wait until all is drained.
    draining: Vec<Waker>,
}

impl<R: Runtime> Requester<R> {
    /// A requester that finds services as the configuration says.
    ///
    /// Reads `discovery.cache_path` and `bus.authorized_services` before it returns.
    ///
    /// # Errors
    ///
    /// [`SetupError`] for a key whose value does not parse, or without `discovery.cache_path`.
    /// A cache file that is not there yet, or stale, is an error of the calls that need it.
    pub fn from_config(config: &Config) -> Result<Self, SetupError>
    where
        R: Default,
    {
        Self::builder().config(config)?.build()
    }

    /// What there is to be set.
    pub fn builder() -> RequesterBuilder<R>
    where
        R: Default,
    {
        RequesterBuilder::new(R::default())
    }

    /// Asks in JSON, and waits for the answer in JSON.
    ///
    /// # Errors
    ///
    /// [`JsonError`]: there is no reply, it reports an error, or one of the two bodies is not the
    /// JSON it should be.
    pub async fn call<'a, T: DeserializeOwned>(
        &self,
        ask: impl Into<Ask<'a>>,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, JsonError> {
        let body = scamp_host::to_json(body)?;
        let response = self.call_raw(ask, body).await?;
        scamp_host::from_json(&response.body)
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a reply that reports an error is [`CallError::Remote`].
    pub async fn call_raw<'a>(
        &self,
        ask: impl Into<Ask<'a>>,
        body: impl Into<Bytes>,
    ) -> Result<Response, CallError> {
        let (ask, body) = (ask.into(), body.into());
        let desk = &self.handle.desk;
        let mut waiting = desk.begin(&ask, true).await;
        loop {
            let (dispatch, client) = waiting.next().await?;
            let (head, options) = desk.head(&ask, &dispatch, true);
            let result = match client {
                Some(client) => client.call_with(head, body.clone(), &options).await,
                None => Err(SendError::Closed.into()),
            };
            match waiting.outcome(&dispatch, result.as_ref().map(drop)) {
                Verdict::Done => return result,
                Verdict::Again => {}
            }
        }
    }

    /// Begins a request whose body is written, and whose reply is read, piece by piece.
    ///
    /// An instance is chosen and connected to first; from then on it is a request on one connection,
    /// as with [`Client::request`], and is not made again: its body cannot be.
    ///
    /// # Errors
    ///
    /// [`CallError`]: nothing of the request has left.
    pub async fn request<'a>(
        &self,
        ask: impl Into<Ask<'a>>,
    ) -> Result<(BodyWriter, PendingReply), CallError> {
        let ask = ask.into();
        let desk = &self.handle.desk;
        let mut waiting = desk.begin(&ask, false).await;
        loop {
            let (dispatch, client) = waiting.next().await?;
            let (head, options) = desk.head(&ask, &dispatch, false);
            let begun = match client {
                Some(client) => client.request(head, &options).await,
                None => Err(SendError::Closed.into()),
            };
            match begun {
                Ok((body, reply)) => {
                    waiting.leave();
                    let desk = desk.clone();
                    let reply = reply.then(move |result| match result {
                        Some(result) => {
                            let _ = desk.outcome(&dispatch, result);
                        }
                        None => desk.abandon(dispatch.call),
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
        desk.tell(|board, now| board.machine.set_directory(now, directory));
    }

    /// What is known of services at the moment.
    ///
    /// Looks at the files first, if that was more than a second ago.
    pub async fn directory(&self) -> Arc<Directory> {
        self.handle.desk.refresh().await;
        self.handle.desk.lock().board.machine.directory().clone()
    }

    /// Who may offer what at the moment.
    pub async fn authorized(&self) -> Arc<AuthorizedServices> {
        self.handle.desk.refresh().await;
        self.handle.desk.lock().board.machine.authorized().clone()
    }

    /// Takes what is worth a line in a log about the cache and `bus.authorized_services`.
    pub fn notes(&self) -> Vec<String> {
        match &self.handle.desk.bus {
            Some(bus) => unpoisoned(bus.lock()).notes(),
            None => Vec::new(),
        }
    }

    /// Begins nothing new; waits for the calls there are, and closes the connections (S-35).
    pub async fn drain(&self) {
        let desk = &self.handle.desk;
        desk.tell(|board, now| board.machine.drain(now));
        poll_fn(|cx| {
            let mut state = desk.lock();
            if state.board.machine.is_drained() {
                return Poll::Ready(());
            }
            state.draining.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What it does at the moment, and has done.
    pub fn stats(&self) -> Stats {
        self.handle.desk.lock().board.machine.stats()
    }
}

impl<R: Runtime> Clone for Requester<R> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl<R: Runtime> fmt::Debug for Requester<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Drop for Handle<R> {
    fn drop(&mut self) {
        let links = self.desk.lock().board.take_links();
        links.for_each(|client| client.drain());
    }
}

impl<R: Runtime> Desk<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        unpoisoned(self.state.lock())
    }

    /// Looks at the files, unless that was done a moment ago.
    async fn refresh(self: &Arc<Self>) {
        let Some(bus) = &self.bus else { return };
        let now = self.runtime.now();
        // Whoever finds somebody at it goes on with what is known.
        if !bus.try_lock().is_ok_and(|bus| bus.wants_look(now)) {
            return;
        }
        let bus = bus.clone();
        let news = self
            .runtime
            .offload(move || unpoisoned(bus.lock()).refresh(now))
            .await;
        if let Some(news) = news {
            self.tell(|board, now| {
                board.machine.set_authorized(now, news.authorized);
                board.machine.set_directory(now, news.directory);
            });
        }
    }

    async fn begin<'a>(self: &'a Arc<Self>, ask: &Ask<'_>, replayable: bool) -> Waiting<'a, R> {
        self.refresh().await;
        let id = self.tell(|board, now| board.machine.call(now, &ask.call(replayable)));
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
    ) -> (RequestHead<'a>, RequestOptions) {
        let ticket = self.tickets.as_ref();
        let ticket = ticket.and_then(|source| source(&dispatch.instance));
        ask.dispatch(self.runtime.now(), dispatch, ticket, whole)
    }

    /// Lets what was done take effect: dials, closes, and wakes those whom it concerns.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State<R>>) {
        state.board.settle(self.runtime.now());
        let closing = state.board.take_closing();
        let mut dials = Vec::new();
        while let Some(dial) = state.board.take_dial() {
            dials.push(dial);
        }
        let State { board, waiting, .. } = &mut *state;
        let mut wakers: Vec<_> = board
            .decided()
            .filter_map(|call| waiting.remove(&call))
            .collect();
        if state.board.machine.is_drained() {
            wakers.append(&mut state.draining);
        }
        drop(state);
        for (link, instance) in dials {
            self.runtime.spawn(self.clone().connect(link, instance));
        }
        // Their ends are told by the tasks that watch them.
        closing.into_iter().for_each(|(_, client)| client.drain());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Connects, and watches the connection to its end.
    async fn connect(self: Arc<Self>, link: LinkId, instance: Arc<Instance>) {
        let pin = match instance.certificate() {
            Some(certificate) => Pin::Certificate(certificate.to_vec().into()),
            None => Pin::Fingerprint(instance.fingerprint()),
        };
        let uri = instance.uri().to_string();
        let client = self.dialer.to(pin).connect(&uri).await;
        let watched = client.as_ref().ok().cloned();
        self.tell(|board, now| board.dialled(now, link, client));
        if let Some(client) = watched {
            let reason = client.wait_closed().await;
            self.tell(|board, now| board.lost(now, link, reason));
        }
    }

    /// Tells the board something, and lets that take effect.
    fn tell<T>(
        self: &Arc<Self>,
        news: impl FnOnce(&mut Switchboard<Client<R>>, Instant) -> T,
    ) -> T {
        let mut state = self.lock();
        let result = news(&mut state.board, self.runtime.now());
        self.settle(state);
        result
    }

    fn outcome(self: &Arc<Self>, dispatch: &Dispatch, result: Result<(), &CallError>) -> Verdict {
        let client = self.lock().board.client(dispatch.link);
        let is_open = client.is_some_and(|client| client.is_open());
        self.tell(|board, now| board.outcome(now, dispatch, result, is_open))
    }

    fn abandon(self: &Arc<Self>, id: CallId) {
        self.lock().waiting.remove(&id);
        self.tell(|board, now| board.abandon(now, id));
    }
}

/// A call that has no outcome; dropped, it is given up.
struct Waiting<'a, R: Runtime> {
    desk: &'a Arc<Desk<R>>,
    /// `None` once it has one.
    id: Option<CallId>,
}

impl<R: Runtime> Waiting<'_, R> {
    /// Waits until the call can be sent.
    async fn next(&mut self) -> Result<(Dispatch, Option<Client<R>>), CallError> {
        let Some(id) = self.id else {
            return Err(ExchangeError::Cancelled.into());
        };
        let desk = self.desk;
        let mut timer = desk.runtime.timer();
        let decision = poll_fn(|cx| {
            loop {
                let mut state = desk.lock();
                if let Some(decision) = state.board.take_decision(id) {
                    return Poll::Ready(decision);
                }
                timer.reset(state.board.machine.poll_timeout());
                if timer.poll_alarm(cx).is_pending() {
                    state.waiting.insert(id, cx.waker().clone());
                    return Poll::Pending;
                }
                desk.settle(state);
            }
        });
        let decision = decision.await;
        if decision.is_err() {
            self.id = None;
        }
        decision
    }

    fn outcome(&mut self, dispatch: &Dispatch, result: Result<(), &CallError>) -> Verdict {
        let verdict = self.desk.outcome(dispatch, result);
        if verdict == Verdict::Done {
            self.id = None;
        }
        verdict
    }

    /// Leaves the outcome to somebody else.
    fn leave(mut self) {
        self.id = None;
    }
}

impl<R: Runtime> Drop for Waiting<'_, R> {
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
/// use scamp_async::scamp_proto::auth::AuthorizedServices;
/// use scamp_async::scamp_proto::discovery::Directory;
/// use scamp_async::{Requester, Runtime, SetupError};
///
/// fn requester<R: Runtime + Default>(services: Directory) -> Result<Requester<R>, SetupError> {
///     Requester::builder()
///         .directory(services)
///         .authorized(AuthorizedServices::allow_all())
///         .build()
/// }
/// ```
#[derive(Debug)]
pub struct RequesterBuilder<R> {
    runtime: R,
    settings: RequesterSettings,
}

impl<R: Runtime> RequesterBuilder<R> {
    /// A requester of this runtime.
    pub fn new(runtime: R) -> Self {
        Self {
            runtime,
            settings: RequesterSettings::default(),
        }
    }

    scamp_host::requester_settings!();

    /// The requester.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: nothing says where services are to be found, or the system has no randomness.
    pub fn build(self) -> Result<Requester<R>, SetupError> {
        let mut settings = self.settings;
        let machine = settings.machine(self.runtime.now())?;
        let mut dialer = ClientBuilder::new(self.runtime.clone(), Some(Pin::AnyCertificate));
        if let Some(options) = settings.tls {
            dialer = dialer.tls(options);
        }
        if let Some(timeout) = settings.connect_timeout {
            dialer = dialer.connect_timeout(timeout);
        }
        if let Some(session) = settings.session {
            dialer = dialer.session(session);
        }
        let desk = Desk {
            runtime: self.runtime,
            state: Mutex::new(State {
                board: Switchboard::new(machine),
                waiting: BTreeMap::new(),
                draining: Vec::new(),
            }),
            dialer,
            bus: settings.bus.map(|bus| Arc::new(Mutex::new(bus))),
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
