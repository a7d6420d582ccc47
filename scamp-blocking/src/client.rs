//! One connection to a service.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scamp_host::ServiceHouse;
use scamp_proto::connection::Stats;
use scamp_proto::error::Loss;
use scamp_proto::note::Note;
use scamp_proto::session::{self, ExchangeId, RecvId, RequestOptions, SendId, Session, Side};
use scamp_proto::wire::RequestHead;
use scamp_proto::{BodyError, CallError, CloseReason, ExchangeError, Header, SendError, limits};
use scamp_tls::{Channel, ClientTlsCache, Options, Peer, Pin, Tls, TlsVersion};

use crate::actions::Actions;
use crate::core::{Core, Outcome};
use crate::dial::Address;
use crate::home::Home;
use crate::link::{Clock, Held, Link, Wait, reason_of};
use crate::reply::{PendingReply, Response, outcome};
use crate::socket::{Socket, Transport};
use crate::subscription::Subscription;
use crate::waiters::Key;
use crate::writer::BodyWriter;

/// One connection to a service: requests, replies, notifications, subscriptions.
///
/// A handle: clones are the same connection, and may be used from several threads at once. When the
/// last of them is gone, and with it all bodies and replies that it brought, the connection is
/// closed, which waits up to a second for the peer to do the same.
///
/// # Who moves the octets
///
/// Nobody works behind the client's back: octets move while some thread is inside one of its
/// calls. Of several that wait, one reads for all; it hands that on when it has what it came for.
/// A call that sends returns when the socket has taken everything. A client that nobody uses is
/// silent, and finds out at the next call what has happened meanwhile; see [`run`](Self::run).
///
/// # Example
///
/// ```no_run
/// use scamp_blocking::{Client, Pin};
///
/// let pin = Pin::Fingerprint("3A:66:5E:D5:8B:B5:A0:00:B7:CE:DF:54:5C:84:BC:3D:D6:3D:53:0B".parse()?);
/// let client = Client::connect("beepish+tls://10.0.0.1:30100", pin)?;
/// let reply = client.call("Greetings.hello", "\"World\"")?;
/// println!("{}", reply.text()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    link: Arc<Link>,
}

impl Client {
    /// Connects to `host:port`, with or without `beepish+tls://` or `scamp+tls://` before it.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::NotEstablished`] with the reason, after ten seconds at the latest.
    pub fn connect(address: &str, pin: Pin) -> Result<Self, CallError> {
        Self::builder(pin).connect(address)
    }

    /// What there is to be set before connecting.
    pub fn builder(pin: Pin) -> ClientBuilder {
        ClientBuilder::new(Some(pin))
    }

    /// As [`builder`](Self::builder), for connections without TLS: for tests, or inside a tunnel.
    pub fn plain() -> ClientBuilder {
        ClientBuilder::new(None)
    }

    /// Asks, and waits for the whole answer.
    ///
    /// The request's deadline covers the whole reply, whose body may have up to
    /// [`max_body`](scamp_proto::connection::Config::max_body) octets, 16 MiB unless set.
    ///
    /// # Errors
    ///
    /// [`CallError`]; a reply that reports an error is [`CallError::Remote`].
    pub fn call<'a>(
        &self,
        head: impl Into<RequestHead<'a>>,
        body: impl Into<Bytes>,
    ) -> Result<Response, CallError> {
        let options = RequestOptions {
            timeout_covers_body: true,
            ..RequestOptions::default()
        };
        self.call_with(head, body, &options)
    }

    /// As [`call`](Self::call), treated in another way.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_with<'a>(
        &self,
        head: impl Into<RequestHead<'a>>,
        body: impl Into<Bytes>,
        options: &RequestOptions,
    ) -> Result<Response, CallError> {
        let head = head.into();
        let mut core = self.link.lock();
        core.catch_up();
        Call::new(&self.link.home, &head, body.into(), options).run(&mut core)
    }

    /// Begins a request, whose body is then written, while its reply is waited for.
    ///
    /// Waits while too many requests are outstanding, or while an earlier one must leave first. The
    /// header leaves with the first full chunk, [`flush`](std::io::Write::flush),
    /// [`finish`](BodyWriter::finish), or when somebody waits.
    ///
    /// Write and read on two threads, or read only when all is written: a service that answers
    /// while it is being asked stops reading when its answer is not read.
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`].
    pub fn request<'a>(
        &self,
        head: impl Into<RequestHead<'a>>,
        options: &RequestOptions,
    ) -> Result<(BodyWriter, PendingReply), CallError> {
        let head = head.into();
        let mut core = self.link.lock();
        core.catch_up();
        let begun = core.wait(
            |core, now| match core.session().request(now, &head, options) {
                Ok((exchange, send)) => {
                    core.expect(exchange);
                    Wait::Done(Ok((exchange, send)))
                }
                Err(SendError::WouldBlock) => Wait::For(Key::Room),
                Err(error) => Wait::Done(Err(error)),
            },
        );
        let (exchange, send) = begun?;
        drop(core);
        let writer = BodyWriter::new(self.link.clone(), send);
        let reply = PendingReply::new(self.link.clone(), exchange, options.keep_sending);
        Ok((writer, reply))
    }

    /// Tells the service something that has no answer.
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`].
    pub fn notify(&self, body: impl Into<Bytes>) -> Result<(), CallError> {
        let mut writer = self.notify_stream()?;
        let body = body.into();
        if body.len() <= limits::CHUNK {
            // In one write with its header and its end.
            use std::io::Write;
            writer.write_all(&body).map_err(|_| SendError::Closed)?;
        } else {
            writer.write_bytes(body)?;
        }
        Ok(writer.finish()?)
    }

    /// As [`notify`](Self::notify), with a body that is yet to be written.
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`].
    pub fn notify_stream(&self) -> Result<BodyWriter, CallError> {
        self.open(|session, now| session.notify(now))
    }

    /// Opens a message of any type, with these header fields: names, and values as JSON (H-6).
    ///
    /// # Errors
    ///
    /// [`CallError::NotSent`].
    pub fn send_other(
        &self,
        kind: &str,
        fields: &[(Cow<'_, str>, Cow<'_, str>)],
    ) -> Result<BodyWriter, CallError> {
        self.open(|session, now| session.send_other(now, kind, fields))
    }

    /// Subscribes to these topics, at most ten; see [`Subscription`].
    ///
    /// A connection has one subscription: while one is there, a second is refused.
    ///
    /// # Errors
    ///
    /// [`CallError::Remote`] with code `refused` if the service has no subscriptions, or there is
    /// one already; [`CallError::NotSent`], [`CallError::NoReply`].
    pub fn subscribe(&self, topics: &[&str]) -> Result<Subscription, CallError> {
        let refused = |text: &str| scamp_proto::wire::RemoteError::new("refused", text);
        let mut core = self.link.lock();
        core.catch_up();
        if core.keep_changes(true) {
            return Err(refused("this connection has a subscription already").into());
        }
        let begun = core.wait(
            |core, now| match core.session().subscribe(now, Some(topics)) {
                Ok(id) => {
                    core.expect(id);
                    Wait::Done(Ok(id))
                }
                Err(SendError::WouldBlock) => Wait::For(Key::Room),
                Err(error) => Wait::Done(Err(error)),
            },
        );
        let id = match begun {
            Ok(id) => id,
            Err(error) => {
                core.keep_changes(false);
                return Err(error.into());
            }
        };
        drop(core);
        let error = match outcome(&self.link, id) {
            Outcome::Subscribed(true) => return Ok(Subscription::new(self.link.clone())),
            Outcome::Subscribed(false) => refused("the service refused the subscription").into(),
            Outcome::Failed(error) => error.into(),
            Outcome::Reply { body, .. } => {
                self.link.lock().session().discard(self.link.now(), body);
                refused("the service answered something else").into()
            }
        };
        self.link.lock().keep_changes(false);
        Err(error)
    }

    /// Why the connection has ended, if it has. Looks at the socket first, without waiting.
    pub fn closed(&self) -> Option<CloseReason> {
        let mut core = self.link.lock();
        core.catch_up();
        core.flush_or_leave();
        core.closed.clone()
    }

    /// Whether requests may be begun. Looks at the socket first, without waiting.
    pub fn is_open(&self) -> bool {
        let mut core = self.link.lock();
        core.catch_up();
        core.flush_or_leave();
        core.session().is_open()
    }

    /// Begins nothing new; the connection closes when what is in progress has ended (S-35).
    pub fn drain(&self) {
        let mut core = self.link.lock();
        core.session().drain(self.link.now());
        core.flush_or_leave();
    }

    /// Closes the connection: what is queued is sent, what is in progress is lost.
    ///
    /// Waits for the peer to close as well, up to a second.
    pub fn close(&self) {
        self.link.close();
    }

    /// Moves octets until the connection has ended, and says why it has.
    ///
    /// For a client that answers requests or only listens: give it a thread.
    pub fn run(&self) -> CloseReason {
        let mut core = self.link.lock();
        core.run();
        reason_of(&core)
    }

    /// What has passed over the connection so far.
    pub fn stats(&self) -> Stats {
        self.link.lock().session().connection().stats()
    }

    /// Whom the connection has reached; `None` without TLS.
    pub fn peer(&self) -> Option<Peer> {
        self.link.lock().machine.peer().cloned()
    }

    /// The TLS version both ends have agreed on; `None` without TLS.
    pub fn tls_version(&self) -> Option<TlsVersion> {
        self.link.lock().machine.tls_version()
    }

    /// Takes what is worth a line in a log; at most 256 notes are kept, the newest.
    pub fn notes(&self) -> Vec<Note> {
        self.link.lock().take_notes()
    }

    fn open(
        &self,
        mut open: impl FnMut(&mut Session, scamp_proto::Instant) -> Result<SendId, SendError>,
    ) -> Result<BodyWriter, CallError> {
        let mut core = self.link.lock();
        core.catch_up();
        let opened = open(core.session(), self.link.now());
        drop(core);
        Ok(BodyWriter::new(self.link.clone(), opened?))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.link.address)
            .finish_non_exhaustive()
    }
}

/// What there is to be set before connecting.
///
/// May be used several times: its connections to one address remember their TLS session, so that
/// the next handshake is cheaper (L-5).
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use scamp_blocking::{Client, Pin};
///
/// let builder = Client::builder(Pin::AnyCertificate).connect_timeout(Duration::from_secs(2));
/// let client = builder.connect("localhost:30100")?;
/// # let _ = client;
/// # Ok::<(), scamp_blocking::CallError>(())
/// ```
#[derive(Clone)]
pub struct ClientBuilder {
    pin: Option<Pin>,
    session: session::Config,
    tls: Option<Options>,
    known: Arc<Mutex<Option<ClientTlsCache>>>,
    connect_timeout: Duration,
    actions: Actions,
}

impl ClientBuilder {
    fn new(pin: Option<Pin>) -> Self {
        Self {
            pin,
            session: session::Config::new(Side::Client),
            tls: None,
            known: Arc::default(),
            connect_timeout: limits::CONNECT_TIMEOUT,
            actions: Actions::default(),
        }
    }

    /// The same for another peer; TLS sessions are remembered together.
    pub(crate) fn to(&self, pin: Pin) -> Self {
        Self {
            pin: Some(pin),
            ..self.clone()
        }
    }

    /// Sets how the connection behaves.
    pub fn session(self, session: session::Config) -> Self {
        Self { session, ..self }
    }

    /// Sets how TLS behaves; what was remembered of earlier connections is forgotten.
    pub fn tls(self, options: Options) -> Self {
        Self {
            tls: Some(options),
            known: Arc::default(),
            ..self
        }
    }

    /// Sets how long resolving, connecting and shaking hands may take together; 10 s unless set.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self {
            connect_timeout: timeout,
            known: Arc::default(),
            ..self
        }
    }

    /// Sets what is done with requests of the service's; without, they are answered `no_action`.
    pub fn actions(self, actions: Actions) -> Self {
        Self { actions, ..self }
    }

    /// Connects to `host:port`, with or without `beepish+tls://` or `scamp+tls://` before it.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::NotEstablished`] with the reason.
    pub fn connect(&self, address: &str) -> Result<Client, CallError> {
        let clock = Clock::start();
        let address = Address::parse(address).map_err(not_established)?;
        let stream = address
            .connect(self.connect_timeout)
            .map_err(not_established)?;
        let to = stream.peer_addr().ok();
        self.shake(&address.host, Box::new(Socket::from(stream)), to, clock)
    }

    /// Uses a byte stream that is there already, to a service on `host`.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::NotEstablished`] with the reason.
    pub fn over(&self, host: &str, transport: impl Transport) -> Result<Client, CallError> {
        self.shake(host, Box::new(transport), None, Clock::start())
    }

    /// Shakes hands, and judges the peer.
    fn shake(
        &self,
        host: &str,
        transport: Box<dyn Transport>,
        address: Option<SocketAddr>,
        clock: Clock,
    ) -> Result<Client, CallError> {
        let session = Session::new(self.session.clone(), Side::Client, clock.now());
        let machine = match &self.pin {
            None => Channel::Plain(Box::new(session)),
            Some(pin) => {
                let tls = self.known_tls(host, address, pin)?;
                // Its deadline counts from when connecting began.
                Channel::Tls(Box::new(Tls::client(
                    session,
                    &tls,
                    scamp_proto::Instant::EPOCH,
                )))
            }
        };
        let mut home = Home::new(ServiceHouse::of_client(self.actions.roster.clone()));
        home.max_body = self.session.connection.max_body;
        let link = Link::new(machine, transport, clock, Arc::new(home), address);
        let mut core = link.lock();
        let shaken = core.wait(|core, _| match &core.closed {
            _ if core.machine.is_established() => Wait::Done(Ok(())),
            Some(reason) => Wait::Done(Err(reason.clone())),
            None => Wait::For(Key::Anything),
        });
        core.flush_or_leave();
        drop(core);
        match shaken {
            Ok(()) => Ok(Client { link }),
            Err(reason) => Err(ExchangeError::NotEstablished(reason).into()),
        }
    }

    fn known_tls(
        &self,
        host: &str,
        address: Option<SocketAddr>,
        pin: &Pin,
    ) -> Result<scamp_tls::ClientTls, CallError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = known.get_or_insert_with(|| match &self.tls {
            Some(options) => {
                ClientTlsCache::new(options.clone().handshake_timeout(self.connect_timeout))
            }
            None => ClientTlsCache::new(Options::default().handshake_timeout(self.connect_timeout)),
        });
        let port = address.map(|address| address.port()).unwrap_or_default();
        cache
            .get(&format!("{host}:{port}"), host, pin)
            .map_err(|error| not_established(Loss::Tls(error.to_string())))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("pin", &self.pin)
            .field("connect_timeout", &self.connect_timeout)
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}

/// A request with its whole body, until its whole reply is there.
struct Call<'a> {
    head: &'a RequestHead<'a>,
    options: &'a RequestOptions,
    max_body: usize,
    /// What is still to be sent of the request.
    body: Bytes,
    exchange: Option<ExchangeId>,
    /// The request's message, until all of it has been taken.
    unsent: Option<SendId>,
    reply: Option<(Header, RecvId)>,
}

type Answer = Result<Response, CallError>;

impl<'a> Call<'a> {
    fn new(
        home: &Home,
        head: &'a RequestHead<'a>,
        body: Bytes,
        options: &'a RequestOptions,
    ) -> Self {
        Self {
            head,
            options,
            max_body: home.max_body,
            body,
            exchange: None,
            unsent: None,
            reply: None,
        }
    }

    fn run(mut self, core: &mut Held<'_>) -> Answer {
        let answer = core.wait(|core, now| match self.turn(core, now) {
            Ok(wait) => wait,
            Err(error) => {
                // What is left of the request is of no use any more.
                if let Some(send) = self.unsent {
                    core.session().drop_body(now, send);
                }
                Wait::Done(Err(error))
            }
        });
        core.flush_or_leave();
        answer
    }

    fn turn(
        &mut self,
        core: &mut Core,
        now: scamp_proto::Instant,
    ) -> Result<Wait<Answer>, CallError> {
        let exchange = match self.exchange {
            Some(exchange) => exchange,
            None => match core.session().request(now, self.head, self.options) {
                Ok((exchange, send)) => {
                    core.expect(exchange);
                    self.unsent = Some(send);
                    *self.exchange.insert(exchange)
                }
                Err(SendError::WouldBlock) => return Ok(Wait::For(Key::Room)),
                Err(error) => return Err(error.into()),
            },
        };
        self.send(core.session(), now);
        if self.reply.is_none() {
            self.reply = match core.take_outcome(exchange) {
                None => return Ok(self.wait_for(Key::Exchange(exchange))),
                Some(Outcome::Failed(error)) => return Err(error.into()),
                Some(Outcome::Subscribed(_)) => return Err(ExchangeError::Cancelled.into()),
                Some(Outcome::Reply { header, body }) => {
                    if let Some(error) = header.error() {
                        core.session().discard(now, body);
                        return Err(error.into());
                    }
                    core.session().collect(now, body, self.max_body);
                    Some((header, body))
                }
            };
        }
        if let Some((header, body)) = self
            .reply
            .take_if(|(_, body)| core.session().is_readable(*body))
        {
            let body = core.session().take_whole(now, body)?;
            return Ok(Wait::Done(Ok(Response { header, body })));
        }
        if core.closed.is_some() {
            return Err(BodyError::ConnectionLost.into());
        }
        Ok(match &self.reply {
            Some((_, body)) => self.wait_for(Key::Body(*body)),
            None => self.wait_for(Key::Exchange(exchange)),
        })
    }

    fn send(&mut self, session: &mut Session, now: scamp_proto::Instant) {
        let Some(send) = self.unsent else { return };
        match session.write(now, send, &mut self.body) {
            Ok(_) if !self.body.is_empty() => return,
            // The reply may be complete already (S-13); otherwise the outcome says what is wrong.
            Ok(_) => drop(session.finish(now, send)),
            Err(_) => {}
        }
        self.unsent = None;
    }

    fn wait_for(&self, key: Key) -> Wait<Answer> {
        match self.unsent {
            Some(send) => Wait::Either(key, Key::Send(send)),
            None => Wait::For(key),
        }
    }
}

fn not_established(loss: Loss) -> CallError {
    ExchangeError::NotEstablished(CloseReason::Lost(loss)).into()
}
