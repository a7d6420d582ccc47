//! All faces behind one: a client and a service that block, whichever crate does the work.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use scamp_proto::connection::{AckPolicy, Stats};
use scamp_proto::service::ServiceNote;
use scamp_proto::session::{Change, RequestOptions};
use scamp_proto::wire::{RemoteError, RequestHead};
use scamp_proto::{BodyError, CallError, CloseReason, Header, Rng, SendError};
use scamp_tls::{Fingerprint, Identity, Pin, TlsVersion};
use tokio::runtime::Runtime;

/// Which crate an end is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Face {
    Blocking,
    Tokio,
    AsyncStd,
    Smol,
}

impl Face {
    /// The faces themselves, without the others that stand on the same one.
    #[allow(dead_code, reason = "not every file of tests pairs faces")]
    pub(crate) const ALL: [Self; 4] = [Self::Blocking, Self::Tokio, Self::AsyncStd, Self::Smol];
}

/// Does the same with a client, or a service, of whichever runtime.
macro_rules! each {
    ($value:expr, $of:ident: $blocking:pat => $block:expr, $name:ident => $task:expr) => {
        match $value {
            $of::Blocking($blocking) => $block,
            $of::Tokio($name) => $task,
            $of::AsyncStd($name) => $task,
            $of::Smol($name) => $task,
        }
    };
}

/// A client of any face.
#[derive(Clone)]
pub(crate) enum Client {
    Blocking(scamp_blocking::Client),
    Tokio(scamp_tokio::Client),
    AsyncStd(scamp_async_std::Client),
    Smol(scamp_async_std::smol::Client),
}

impl Client {
    pub(crate) fn connect(face: Face, address: &str, pin: Pin) -> Result<Self, CallError> {
        match face {
            Face::Blocking => scamp_blocking::Client::connect(address, pin).map(Self::Blocking),
            Face::Tokio => wait(scamp_tokio::Client::connect(address, pin)).map(Self::Tokio),
            Face::AsyncStd => {
                wait(scamp_async_std::Client::connect(address, pin)).map(Self::AsyncStd)
            }
            Face::Smol => {
                wait(scamp_async_std::smol::Client::connect(address, pin)).map(Self::Smol)
            }
        }
    }

    /// Whole bodies both ways.
    pub(crate) fn call<'a>(
        &self,
        action: impl Into<RequestHead<'a>>,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, CallError> {
        each!(self, Self:
            client => client.call(action, body).map(|reply| reply.body),
            client => wait(client.call(action, body)).map(|reply| reply.body))
    }

    /// A request whose body is still to be written.
    pub(crate) fn begin(&self, action: &str) -> (Writer, Pending) {
        let options = RequestOptions::default();
        each!(self, Self:
        client => {
            let (body, reply) = client.request(action, &options).unwrap();
            (Writer::Blocking(body), Pending::Blocking(reply))
        },
        client => {
            let (body, reply) = wait(client.request(action, &options)).unwrap();
            (Writer::Async(body), Pending::Async(reply))
        })
    }

    pub(crate) fn notify(&self, body: &'static str) {
        each!(self, Self:
            client => client.notify(body).unwrap(),
            client => wait(client.notify(body)).unwrap());
    }

    pub(crate) fn subscribe(&self, topics: &[&str]) -> Subscription {
        each!(self, Self:
            client => Subscription::Blocking(client.subscribe(topics).unwrap()),
            client => Subscription::Async(wait(client.subscribe(topics)).unwrap()))
    }

    pub(crate) fn tls_version(&self) -> Option<TlsVersion> {
        each!(self, Self: client => client.tls_version(), client => client.tls_version())
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        each!(self, Self: client => client.closed(), client => client.closed())
    }

    pub(crate) fn stats(&self) -> Stats {
        each!(self, Self: client => client.stats(), client => client.stats())
    }
}

/// The body of a request.
pub(crate) enum Writer {
    Blocking(scamp_blocking::BodyWriter),
    Async(scamp_async::BodyWriter),
}

impl Writer {
    /// Hands over octets; they have left when this returns, as far as the peer takes them.
    pub(crate) fn write(&mut self, octets: Bytes) -> Result<(), SendError> {
        match self {
            Self::Blocking(body) => {
                body.write_bytes(octets)?;
                body.flush().map_err(|_| SendError::Closed)
            }
            Self::Async(body) => wait(body.write_bytes(octets)),
        }
    }

    pub(crate) fn finish(self) -> Result<(), SendError> {
        match self {
            Self::Blocking(body) => body.finish(),
            Self::Async(body) => wait(body.finish()),
        }
    }

    pub(crate) fn fail(self, text: &str) -> Result<(), SendError> {
        match self {
            Self::Blocking(body) => body.fail(text),
            Self::Async(body) => body.fail(text),
        }
    }
}

/// A request whose reply has not begun.
pub(crate) enum Pending {
    Blocking(scamp_blocking::PendingReply),
    Async(scamp_async::PendingReply),
}

impl Pending {
    pub(crate) fn wait(self) -> Result<(Header, Body), CallError> {
        match self {
            Self::Blocking(reply) => {
                let reply = reply.wait()?;
                Ok((reply.header, Body::Blocking(reply.body)))
            }
            Self::Async(reply) => {
                let reply = wait(reply.wait())?;
                Ok((reply.header, Body::Async(reply.body)))
            }
        }
    }
}

/// The body of a reply.
pub(crate) enum Body {
    Blocking(scamp_blocking::Body),
    Async(scamp_async::Body),
}

impl Body {
    pub(crate) fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Blocking(body) => body.chunk(),
            Self::Async(body) => wait(body.chunk()),
        }
    }

    pub(crate) fn set_ack_policy(&mut self, policy: AckPolicy) {
        match self {
            Self::Blocking(body) => body.set_ack_policy(policy),
            Self::Async(body) => body.set_ack_policy(policy),
        }
    }
}

pub(crate) enum Subscription {
    Blocking(scamp_blocking::Subscription),
    Async(scamp_async::Subscription),
}

impl Subscription {
    pub(crate) fn next(&mut self) -> Option<Vec<Change>> {
        match self {
            Self::Blocking(changes) => changes.next(),
            Self::Async(changes) => wait(changes.next()),
        }
    }
}

/// A service of any face that runs until this is dropped.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) heard: mpsc::Receiver<Bytes>,
    pub(crate) gate: Gate,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

enum Handle {
    Blocking(scamp_blocking::ServiceHandle),
    Tokio(scamp_tokio::ServiceHandle),
    AsyncStd(scamp_async_std::ServiceHandle),
    Smol(scamp_async_std::smol::ServiceHandle),
}

impl Running {
    pub(crate) fn start(face: Face) -> Self {
        let gate = Gate::default();
        let (tell, heard) = mpsc::channel();
        let (address, fingerprint, handle, thread) = match face {
            Face::Blocking => {
                let tell = Mutex::new(tell);
                let builder = blocking_actions(gate.clone()).on_notify(move |mut request| {
                    let body = request.bytes().unwrap();
                    tell.lock().unwrap().send(body).unwrap();
                });
                let service = builder.bind("127.0.0.1:0").unwrap();
                (
                    service.local_addr(),
                    service.fingerprint(),
                    Handle::Blocking(service.handle()),
                    std::thread::spawn(move || service.run()),
                )
            }
            Face::Tokio => start_async(&gate, tell, Handle::Tokio),
            Face::AsyncStd => start_async(&gate, tell, Handle::AsyncStd),
            Face::Smol => start_async(&gate, tell, Handle::Smol),
        };
        Self {
            address: address.to_string(),
            fingerprint: fingerprint.unwrap(),
            heard,
            gate,
            handle,
            thread: Some(thread),
        }
    }

    pub(crate) fn client(&self, face: Face) -> Client {
        Client::connect(face, &self.address, Pin::Fingerprint(self.fingerprint)).unwrap()
    }

    pub(crate) fn publish(&self, code: &str, key: &str, json: &str) -> bool {
        each!(&self.handle, Handle: handle => handle.publish(code, key, json), handle => handle.publish(code, key, json))
    }

    pub(crate) fn shutdown(&self) {
        each!(&self.handle, Handle: handle => handle.shutdown(), handle => handle.shutdown())
    }

    /// Takes what is worth a line in a log.
    pub(crate) fn notes(&self) -> Vec<ServiceNote> {
        each!(&self.handle, Handle: handle => handle.notes(), handle => handle.notes())
    }

    /// Requests in handlers.
    pub(crate) fn active(&self) -> usize {
        each!(&self.handle, Handle: handle => handle.stats().requests_active, handle => handle.stats().requests_active)
    }

    pub(crate) fn connections(&self) -> usize {
        each!(&self.handle, Handle: handle => handle.connections(), handle => handle.connections())
    }

    /// Whether [`shutdown`](Self::shutdown) has come to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

type Started = (SocketAddr, Option<Fingerprint>, Handle, JoinHandle<()>);

fn start_async<R: scamp_async::Runtime + Default>(
    gate: &Gate,
    tell: mpsc::Sender<Bytes>,
    handle: impl FnOnce(scamp_async::ServiceHandle<R>) -> Handle,
) -> Started {
    let tell = Arc::new(Mutex::new(tell));
    let builder = async_actions::<R>(gate.clone()).on_notify(move |request| {
        let tell = tell.clone();
        async move {
            let body = request.body.collect(1 << 20).await.unwrap();
            tell.lock().unwrap().send(body).unwrap();
        }
    });
    let _inside = RUNTIME.enter();
    let service = builder.bind("127.0.0.1:0").unwrap();
    (
        service.local_addr(),
        service.fingerprint(),
        handle(service.handle()),
        std::thread::spawn(move || wait(service.run())),
    )
}

/// Polls a future of any runtime; those of tokio find theirs here.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gate.open();
        self.shutdown();
        self.shutdown();
        if let Some(thread) = self.thread.take() {
            // A failed test has said why already.
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// What `Slow.gate` waits for.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    is_open: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    /// Requests that have come to the gate so far.
    pub(crate) fn came(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    fn arrive(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }
}

fn blocking_actions(gate: Gate) -> scamp_blocking::ServiceBuilder {
    use scamp_blocking::{Access, Reply, Request, Service};

    Service::builder(identity())
        .default_access(Access::Allow)
        .action("Echo.whole", |mut request: Request| {
            Ok(Reply::new(request.bytes().unwrap()))
        })
        .unwrap()
        .streaming_action("Echo.stream", |request: Request| {
            Ok(Reply::stream(move |out| {
                for piece in request.body {
                    let piece = piece.map_err(std::io::Error::other)?;
                    out.write_bytes(piece).map_err(std::io::Error::other)?;
                    out.flush()?;
                }
                Ok(())
            }))
        })
        .unwrap()
        .action("Slow.gate", move |mut request: Request| {
            gate.arrive();
            while !gate.is_open() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Reply::new(request.bytes().unwrap()))
        })
        .unwrap()
        .action("Bad.half", |_| {
            Ok(Reply::stream(|out| {
                out.write_all(HALF)?;
                Err(std::io::Error::other("out of words"))
            }))
        })
        .unwrap()
        .action("Bad.error", |_| Err(bad_luck()))
        .unwrap()
}

fn async_actions<R: scamp_async::Runtime + Default>(gate: Gate) -> scamp_async::ServiceBuilder<R> {
    use scamp_async::{Access, Reply, Request, Service};

    Service::<R>::builder(identity())
        .default_access(Access::Allow)
        .action("Echo.whole", |request: Request| async move {
            Ok(Reply::new(request.bytes().clone()))
        })
        .unwrap()
        .streaming_action("Echo.stream", |mut request: Request| async move {
            Ok(Reply::stream(|mut out| async move {
                while let Some(piece) = request.body.chunk().await? {
                    out.write_bytes(piece).await?;
                }
                Ok(out.finish().await?)
            }))
        })
        .unwrap()
        .action("Slow.gate", move |request: Request| {
            let gate = gate.clone();
            async move {
                gate.arrive();
                while !gate.is_open() {
                    pause::<R>(Duration::from_millis(1)).await;
                }
                Ok(Reply::new(request.bytes().clone()))
            }
        })
        .unwrap()
        .action("Bad.half", |_| async move {
            Ok(Reply::stream(|mut out| async move {
                out.write_bytes(HALF).await?;
                Ok(out.fail("out of words")?)
            }))
        })
        .unwrap()
        .action("Bad.error", |_| async move { Err(bad_luck()) })
        .unwrap()
}

/// Lets time pass on the clock of a runtime.
pub(crate) async fn pause<R: scamp_async::Runtime + Default>(time: Duration) {
    use scamp_async::Timer;

    let runtime = R::default();
    let mut timer = runtime.timer();
    timer.reset(Some(runtime.now() + time));
    std::future::poll_fn(|cx| timer.poll_alarm(cx)).await;
}

/// What `Bad.error` answers.
pub(crate) fn bad_luck() -> RemoteError {
    RemoteError::new("bad_luck", "not today: \"é\"").with_data(r#"{"tomorrow":[true,1.50]}"#)
}

/// What comes of `Bad.half` before it fails.
pub(crate) const HALF: &[u8] = b"half of it";

pub(crate) fn identity() -> Identity {
    Identity::from_pem(CERTIFICATE, KEY).unwrap()
}

pub(crate) const CERTIFICATE: &str = include_str!("../../../scamp-tls/tests/data/rsa2048.crt");
pub(crate) const KEY: &str = include_str!("../../../scamp-tls/tests/data/rsa2048.key");

/// `len` octets of the test body, from octet `at`; none can be missing or twice without notice.
pub(crate) fn body(at: usize, len: usize) -> Bytes {
    let from = at % PERIOD;
    let mut octets = Vec::with_capacity(len);
    octets.extend_from_slice(&BLOCK[from..PERIOD.min(from + len)]);
    while octets.len() < len {
        let more = (len - octets.len()).min(PERIOD);
        octets.extend_from_slice(&BLOCK[..more]);
    }
    octets.into()
}

/// A prime, so that the body lines up with no power of two.
const PERIOD: usize = 65_521;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng::new(1);
    (0..PERIOD).map(|_| rng.next_u64() as u8).collect()
});

/// Waits until something is so; the test fails if it never is.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs something that must come to an end.
pub(crate) fn bounded(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(run);
    until("the test's end", || thread.is_finished());
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where everything of the tokio face runs, and the others are waited for.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});
