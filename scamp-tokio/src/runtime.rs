//! tokio's clock, alarm, tasks and sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use scamp_async::scamp_proto::Instant;
use scamp_async::{Listener, Runtime, Timer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use crate::Io;

/// tokio, current-thread or multi-thread.
///
/// Connections, services and handlers run in the tokio runtime they are begun in; it needs its
/// I/O and time drivers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    type Stream = Io<TcpStream>;
    type Timer = Alarm;
    type Listener = Door;

    fn now(&self) -> Instant {
        Instant::from_epoch(tokio::time::Instant::now().saturating_duration_since(epoch()))
    }

    fn timer(&self) -> Alarm {
        Alarm { sleep: None }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Self::Stream> {
        let mut failure = None;
        for address in tokio::net::lookup_host((host, port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Io(stream));
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("the name has no address")))
    }

    fn bind(&self, address: &str) -> io::Result<Door> {
        self.adopt(std::net::TcpListener::bind(address)?)
    }

    fn adopt(&self, listener: std::net::TcpListener) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Door)
    }
}

/// The moment that all times are counted from.
///
/// It lies before the first use, so that the clock of a runtime that is older, and paused, does not
/// lie before it.
fn epoch() -> tokio::time::Instant {
    static EPOCH: OnceLock<tokio::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        let now = std::time::Instant::now();
        now.checked_sub(Duration::from_secs(3600))
            .unwrap_or(now)
            .into()
    })
}

/// tokio's alarm clock.
#[derive(Debug)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer for Alarm {
    fn reset(&mut self, at: Option<Instant>) {
        let at = at.and_then(|at| epoch().checked_add(at.since_epoch()));
        match (at, &mut self.sleep) {
            (Some(at), Some(sleep)) => sleep.as_mut().reset(at),
            (Some(at), None) => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
            // A time that cannot be told never comes.
            (None, sleep) => *sleep = None,
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// tokio's listening socket.
#[derive(Debug)]
pub struct Door(TcpListener);

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self(listener)
    }
}

impl Listener for Door {
    type Stream = Io<TcpStream>;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, SocketAddr)>> {
        let (stream, address) = ready!(self.0.poll_accept(cx))?;
        // A socket that was reset already has no options; reading tells.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok((Io(stream), address)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
