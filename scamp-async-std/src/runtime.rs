//! The tasks of async-std, and those of smol.

use std::future::Future;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};

use scamp_async::Runtime;
use scamp_async::scamp_proto::Instant;

use crate::net::{self, Alarm, Door, Stream};

/// Implements [`Runtime`] for a runtime that differs in how it begins tasks and blocking work only.
macro_rules! runtime {
    ($runtime:ident, $spawn:expr, $unblock:path) => {
        impl Runtime for $runtime {
            type Stream = Stream;
            type Timer = Alarm;
            type Listener = Door;

            fn now(&self) -> Instant {
                net::now()
            }

            fn timer(&self) -> Alarm {
                Alarm::new()
            }

            fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
                $spawn(task)
            }

            fn offload<T: Send + 'static>(
                &self,
                work: impl FnOnce() -> T + Send + 'static,
            ) -> impl Future<Output = T> + Send {
                $unblock(work)
            }

            async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
                let host = host.to_owned();
                let look_up = move || (host.as_str(), port).to_socket_addrs();
                let addresses = self.offload(look_up).await?;
                net::connect(addresses.collect()).await
            }

            fn bind(&self, address: &str) -> io::Result<Door> {
                self.adopt(TcpListener::bind(address)?)
            }

            fn adopt(&self, listener: TcpListener) -> io::Result<Door> {
                Door::adopt(listener)
            }
        }
    };
}

/// async-std: tasks run on its threads, wherever they are begun.
#[cfg(feature = "async-std")]
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStd;

#[cfg(feature = "async-std")]
runtime!(
    AsyncStd,
    |task| drop(async_std::task::spawn(task)),
    async_std::task::spawn_blocking
);

/// smol: tasks run on its global executor, wherever they are begun.
#[cfg(feature = "smol")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Smol;

#[cfg(feature = "smol")]
runtime!(Smol, |task| smol::spawn(task).detach(), smol::unblock);
