//! A service that runs until the test ends, and clients of it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scamp_blocking::scamp_proto::session::{Config, Side};
use scamp_blocking::{
    BodyWriter, Client, ClientBuilder, Fingerprint, Identity, PendingReply, Pin, RemoteError,
    Reply, Request, RequestHead, RequestOptions, Service, ServiceBuilder, ServiceHandle,
};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) handle: ServiceHandle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(builder: ServiceBuilder) -> Self {
        let service = builder.bind("127.0.0.1:0").unwrap();
        Self {
            address: service.local_addr(),
            fingerprint: service.fingerprint(),
            handle: service.handle(),
            thread: Some(std::thread::spawn(move || service.run())),
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(|builder| builder)
    }

    pub(crate) fn client_with(&self, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let builder = match self.fingerprint {
            Some(fingerprint) => Client::builder(Pin::Fingerprint(fingerprint)),
            None => Client::plain(),
        };
        set(builder).connect(&self.address.to_string()).unwrap()
    }

    /// A connection that speaks for itself, where the service is without TLS.
    pub(crate) fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// Shuts down and waits for the end.
    pub(crate) fn stop(mut self) {
        self.handle.shutdown();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

pub(crate) fn identity() -> Identity {
    Identity::from_pem(
        include_str!("../data/p256.crt"),
        include_str!("../data/p256.key"),
    )
    .unwrap()
}

/// `Test.echo`, `Test.stream` (an echo as it comes), `Test.panic`, `Test.slow` (until released).
pub(crate) fn actions(builder: ServiceBuilder) -> ServiceBuilder {
    builder
        .action("Test.echo", |mut request: Request| {
            Ok(Reply::new(request.bytes().unwrap()))
        })
        .unwrap()
        .streaming_action("Test.stream", stream)
        .unwrap()
        .action("Test.panic", |_| panic!("as the test wants it"))
        .unwrap()
        .action("Test.error", |_| {
            Err(RemoteError::new("teapot", "short and stout"))
        })
        .unwrap()
}

fn stream(request: Request) -> Result<Reply, RemoteError> {
    let body = request.body;
    Ok(Reply::stream(move |out| {
        for piece in body {
            let piece = piece.map_err(std::io::Error::other)?;
            out.write_bytes(piece).map_err(std::io::Error::other)?;
            out.flush()?;
        }
        Ok(())
    }))
}

pub(crate) fn service() -> Running {
    Running::start(actions(
        Service::builder(identity()).default_access(scamp_blocking::Access::Allow),
    ))
}

/// Begins a request whose body is still to be written.
pub(crate) fn begin(client: &Client, action: &str) -> (BodyWriter, PendingReply) {
    let options = RequestOptions::default();
    client.request(head(action), &options).unwrap()
}

/// Sends a request without a body, and does not wait for the reply.
pub(crate) fn ask(client: &Client, action: &str) -> PendingReply {
    let (body, reply) = begin(client, action);
    body.finish().unwrap();
    reply
}

/// `Test.echo` gives back what it is given.
#[track_caller]
pub(crate) fn echo(client: &Client, text: &'static str) {
    let reply = client.call(head("Test.echo"), text).unwrap();
    assert_eq!(reply.body, text);
}

pub(crate) fn head(action: &str) -> RequestHead<'_> {
    RequestHead::new(action)
}

/// Octets that look random and can be made again.
pub(crate) fn octets(len: usize) -> Vec<u8> {
    let mut rng = scamp_blocking::scamp_proto::Rng::new(7);
    let mut all = Vec::with_capacity(len + 8);
    while all.len() < len {
        all.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    all.truncate(len);
    all
}

/// Two clients' worth of session settings with room for large bodies.
pub(crate) fn roomy(side: Side) -> Config {
    let mut config = Config::new(side);
    config.connection.max_body = 128 << 20;
    config.connection.max_collected = 256 << 20;
    config
}

/// Waits until something is so; the test fails if it never is.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs something that must come to an end.
pub(crate) fn bounded<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(run()));
    ended
        .recv_timeout(PATIENCE)
        .expect("it neither hangs nor panics")
}

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
