//! Sockets and alarms of async-io, which async-std and smol both stand on.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Instant as StdInstant;

use async_io::Async;
use scamp_async::scamp_proto::Instant;
use scamp_async::{Listener, Timer};

/// A connected TCP socket.
pub type Stream = Async<TcpStream>;

/// Connects to the first of these addresses that answers.
pub(crate) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<Stream> {
    let mut failure = None;
    for address in addresses {
        match Async::<TcpStream>::connect(address).await {
            Ok(stream) => {
                stream.get_ref().set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("the name has no address")))
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct Door(Async<TcpListener>);

impl Door {
    /// Takes over a socket that listens.
    pub(crate) fn adopt(listener: TcpListener) -> io::Result<Self> {
        Async::new(listener).map(Self)
    }
}

impl Listener for Door {
    type Stream = Stream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        loop {
            match self.0.get_ref().accept() {
                Ok((stream, address)) => {
                    // A socket that was reset already has no options; reading tells.
                    let _ = stream.set_nodelay(true);
                    return Poll::Ready(Async::new(stream).map(|stream| (stream, address)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.poll_readable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// The time since the first use.
pub(crate) fn now() -> Instant {
    Instant::from_epoch(epoch().elapsed())
}

fn epoch() -> StdInstant {
    static EPOCH: OnceLock<StdInstant> = OnceLock::new();
    *EPOCH.get_or_init(StdInstant::now)
}

/// An alarm clock.
#[derive(Debug)]
pub struct Alarm {
    /// Made when it is first set.
    timer: Option<async_io::Timer>,
    has_rung: bool,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            timer: None,
            has_rung: false,
        }
    }
}

impl Timer for Alarm {
    fn reset(&mut self, at: Option<Instant>) {
        self.has_rung = false;
        // A time that cannot be told never comes.
        let at = at.and_then(|at| epoch().checked_add(at.since_epoch()));
        match (at, &mut self.timer) {
            (Some(at), Some(timer)) => timer.set_at(at),
            (Some(at), None) => self.timer = Some(async_io::Timer::at(at)),
            (None, timer) => *timer = None,
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_rung {
            return Poll::Ready(());
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        ready!(Pin::new(timer).poll(cx));
        self.has_rung = true;
        Poll::Ready(())
    }
}
