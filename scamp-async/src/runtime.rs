//! What a runtime must bring: a clock, an alarm, tasks and sockets.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use scamp_host::port::TcpListener;
use scamp_proto::Instant;

/// A runtime: the seam between this crate and tokio, async-std or smol.
///
/// A runtime's crate implements it once, in some fifty lines, and re-exports everything else with
/// the runtime filled in. Values are cheap to clone.
pub trait Runtime: Clone + Send + Sync + Unpin + 'static {
    /// A connected TCP socket with Nagle's algorithm off (performance 3, rule 3).
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// An alarm clock.
    type Timer: Timer;

    /// A listening TCP socket.
    type Listener: Listener<Stream = Self::Stream>;

    /// The time on a monotonic clock; its epoch must be the same for all clones.
    fn now(&self) -> Instant;

    /// A new alarm clock, which is not set.
    fn timer(&self) -> Self::Timer;

    /// Runs a future to its end in a task of its own.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Does work that may take long, such as reading a large file, where it keeps no task waiting.
    fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// Looks a host up and connects to the first of its addresses that answers.
    ///
    /// It has no limit of time of its own; whoever calls it stops polling.
    fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Listens on an address such as `127.0.0.1:0`.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    fn bind(&self, address: &str) -> io::Result<Self::Listener>;

    /// Takes over a socket of the standard library's that listens.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    fn adopt(&self, listener: TcpListener) -> io::Result<Self::Listener>;
}

/// An alarm clock for one task.
pub trait Timer: Send + Unpin + 'static {
    /// Sets the alarm, or unsets it with `None`.
    fn reset(&mut self, at: Option<Instant>);

    /// Ready once the alarm has gone off; until then the task is woken when it does.
    ///
    /// An alarm that is not set is never ready. One that went off stays so until it is set again.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A listening socket.
pub trait Listener: Send + Unpin + 'static {
    /// What it accepts; Nagle's algorithm is off.
    type Stream;

    /// The next connection.
    ///
    /// An error is not the end: the caller waits and asks again.
    fn poll_accept(&mut self, cx: &mut Context<'_>)
    -> Poll<io::Result<(Self::Stream, SocketAddr)>>;

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Runs a future until it is done or the time has come; `None` if it was the time.
pub(crate) async fn until<T>(
    mut timer: impl Timer,
    at: Instant,
    work: impl Future<Output = T>,
) -> Option<T> {
    timer.reset(Some(at));
    let mut work = pin!(work);
    poll_fn(move |cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        timer.poll_alarm(cx).map(|()| None)
    })
    .await
}

/// A future of any kind, in a box.
pub(crate) type Work<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;
