//! The ways to send a request that are compared, each in its own file.

pub mod raw;
pub mod scamp;
pub mod tarpc;
pub mod tonic;

use std::any::Any;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::case::{Case, Shape};
use super::run::{Run, Samples};
use super::tls::{Listener, Target};

/// One way to send a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Plain octets over the TLS stream: the ceiling. Bulk has no limit in flight.
    Raw,
    /// As `Raw`, but bulk keeps to the case's window, acknowledged: the ceiling for a protocol
    /// that has such a window.
    RawLimited,
    /// As `Raw`, but an echo leaves in three writes: a negative control. If it is not slower
    /// than `Raw`, the harness is broken.
    RawSplit,
    /// SCAMP with scamp-tokio.
    Scamp,
    /// tarpc with bincode.
    Tarpc,
    /// gRPC with tonic and prost.
    Tonic,
}

impl Kind {
    /// All of them; the first is what the others are compared with.
    pub const ALL: &[Self] = &[
        Self::Scamp,
        Self::Raw,
        Self::RawLimited,
        Self::RawSplit,
        Self::Tonic,
        Self::Tarpc,
    ];

    /// Whether this kind has something to say about `shape`.
    pub fn takes_part_in(self, shape: Shape) -> bool {
        match (self, shape) {
            (Self::Scamp | Self::Tonic, _) => true,
            (Self::Tarpc, Shape::Echo { .. } | Shape::Idle { .. }) => true,
            (Self::Tarpc, Shape::Bulk { .. } | Shape::Beside { .. }) => false,
            (Self::Raw, Shape::Echo { .. } | Shape::Bulk { .. } | Shape::Idle { .. }) => true,
            (Self::RawLimited, Shape::Bulk { .. }) => true,
            (Self::RawSplit, Shape::Echo { .. }) => true,
            (Self::Raw | Self::RawLimited | Self::RawSplit, _) => false,
        }
    }
}

/// Serves `kind` on `listener` until the process ends.
pub async fn serve(kind: Kind, case: &Case, listener: Listener) -> io::Result<()> {
    match kind {
        Kind::Raw | Kind::RawLimited | Kind::RawSplit => raw::serve(kind, case, listener).await,
        Kind::Scamp => scamp::serve(case, listener).await,
        Kind::Tarpc => tarpc::serve(listener).await,
        Kind::Tonic => tonic::serve(listener).await,
    }
}

/// Connects to a server of `kind` and does what `case` says until `run` is over.
pub async fn client(
    kind: Kind,
    case: &Case,
    target: &Target,
    run: &Arc<Run>,
) -> io::Result<Samples> {
    match kind {
        Kind::Raw | Kind::RawLimited | Kind::RawSplit => {
            raw::client(kind, case.shape, target, run).await
        }
        Kind::Scamp => drive(scamp::Caller::connect(target).await?, case.shape, run).await,
        Kind::Tarpc => drive(tarpc::Caller::connect(target).await?, case.shape, run).await,
        Kind::Tonic => drive(tonic::Caller::connect(target).await?, case.shape, run).await,
    }
}

/// Opens a connection, does one echo, and returns what keeps the connection open.
pub async fn park(kind: Kind, target: &Target) -> io::Result<Box<dyn Any>> {
    let body = Bytes::from_static(&[b'x'; SMALL_BODY]);
    match kind {
        Kind::Raw | Kind::RawLimited | Kind::RawSplit => raw::park(target).await,
        Kind::Scamp => {
            let mut caller = scamp::Caller::connect(target).await?;
            caller.echo(body).await?;
            Ok(Box::new(caller))
        }
        Kind::Tarpc => {
            let mut caller = tarpc::Caller::connect(target).await?;
            caller.echo(body).await?;
            Ok(Box::new(caller))
        }
        Kind::Tonic => {
            let mut caller = tonic::Caller::connect(target).await?;
            caller.echo(body).await?;
            Ok(Box::new(caller))
        }
    }
}

/// A handle on one connection, as cheap to clone as its library makes it.
pub trait Call: Clone + Send + 'static {
    /// Sends `body` and awaits the same; an error where something else comes back.
    fn echo(&mut self, body: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads an endless reply in pieces of `chunk` octets until `run` is over.
    fn pour(&mut self, chunk: usize, run: Arc<Run>) -> impl Future<Output = io::Result<()>> + Send;
}

/// Does what `shape` says through clones of `caller`.
async fn drive<C: Call>(mut caller: C, shape: Shape, run: &Arc<Run>) -> io::Result<Samples> {
    match shape {
        Shape::Echo { callers, body } => echoes(caller, callers, body, run).await,
        Shape::Bulk { chunk, .. } => {
            caller.pour(chunk, Arc::clone(run)).await?;
            Ok(Samples::default())
        }
        Shape::Beside { chunk, .. } => {
            let mut other = caller.clone();
            let pouring = Arc::clone(run);
            let bulk = tokio::spawn(async move { other.pour(chunk, pouring).await });
            let samples = echoes(caller, 1, SMALL_BODY, run).await?;
            bulk.await.map_err(io::Error::other)??;
            Ok(samples)
        }
        Shape::Idle { .. } => Err(io::Error::other("idle connections are parked, not driven")),
    }
}

/// `callers` tasks, each with one request open at a time.
async fn echoes<C: Call>(
    caller: C,
    callers: usize,
    body: usize,
    run: &Arc<Run>,
) -> io::Result<Samples> {
    let body = Bytes::from(vec![b'x'; body]);
    let mut tasks = Vec::new();
    for _ in 0..callers {
        tasks.push(tokio::spawn(one_caller(
            caller.clone(),
            body.clone(),
            Arc::clone(run),
        )));
    }
    let mut samples = Samples::default();
    for task in tasks {
        samples.append(task.await.map_err(io::Error::other)??);
    }
    Ok(samples)
}

async fn one_caller<C: Call>(mut caller: C, body: Bytes, run: Arc<Run>) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let mut begun = Instant::now();
    while run.goes_on() {
        caller.echo(body.clone()).await?;
        let now = Instant::now();
        if run.is_measured() {
            samples.push(now - begun);
        }
        begun = now;
    }
    Ok(samples)
}

/// An error where the reply is not as long as the request.
fn same_length(sent: usize, received: usize) -> io::Result<()> {
    if sent == received {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "sent {sent} octets, {received} came back"
    )))
}

/// Octets of body in an echo that has no other size.
const SMALL_BODY: usize = 100;

impl FromStr for Kind {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let known = Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.to_string() == text);
        known.ok_or_else(|| io::Error::other(format!("not a kind: {text:?}")))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::RawLimited => "raw-limited",
            Self::RawSplit => "raw-split",
            Self::Scamp => "scamp",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
        })
    }
}
