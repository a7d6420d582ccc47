//! Actions offered on a port.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;

use scamp_host::SetupError;
use scamp_proto::config::Config;
use scamp_tls::{Fingerprint, Identity};

use crate::running::Running;
use crate::runtime::Runtime;
use crate::service_builder::ServiceBuilder;
use crate::service_handle::ServiceHandle;

/// A service that listens, and serves once it is [`run`](Self::run).
///
/// Each connection has a task, and so has each handler that is not done at once; none of them can
/// delay another. A handler that panics answers `general`, and nothing else comes of it.
///
/// # Example
///
/// ```
/// use scamp_async::{Identity, Reply, Runtime, Service};
///
/// async fn serve<R: Runtime + Default>(identity: Identity) -> Result<(), Box<dyn std::error::Error>> {
///     let service = Service::<R>::builder(identity)
///         .action(("Greetings.hello", "noauth"), |request| async move {
///             Ok(Reply::new(format!("Hello {}", request.text()?)))
///         })?
///         .bind("127.0.0.1:0")?;
///     println!("{} {}", service.local_addr(), service.handle().fingerprint().expect("it has TLS"));
///     service.run().await;
///     Ok(())
/// }
/// ```
pub struct Service<R: Runtime> {
    pub(crate) listeners: Vec<R::Listener>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) handle: ServiceHandle<R>,
}

impl<R: Runtime> Service<R> {
    /// A service with this certificate and key.
    pub fn builder(identity: Identity) -> ServiceBuilder<R>
    where
        R: Default,
    {
        ServiceBuilder::new(R::default(), Some(identity))
    }

    /// A service that is found by its actions: its name, key, certificate, addresses and limits are
    /// those of the configuration. Add actions, then [`build`](ServiceBuilder::build) it.
    ///
    /// Tickets are verified with `auth.ticket_verify_key`, which is read again when it changes.
    /// Actions that say nothing of who may call
    /// them are refused to all, unless [`default_access`](ServiceBuilder::default_access) says
    /// otherwise (T-9).
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the key of the configuration, or the file.
    pub fn from_config(config: &Config, name: &str) -> Result<ServiceBuilder<R>, SetupError>
    where
        R: Default,
    {
        ServiceBuilder::from_config(R::default(), config, name)
    }

    /// A service without TLS, for tests.
    pub fn plain() -> ServiceBuilder<R>
    where
        R: Default,
    {
        ServiceBuilder::new(R::default(), None)
    }

    /// Where it listens; the first of its addresses, if there are several.
    pub fn local_addr(&self) -> SocketAddr {
        // There is at least one.
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(any)
    }

    /// Everywhere it listens (C-10).
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What clients pin; `None` without TLS.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.handle.fingerprint()
    }

    /// For use while it runs.
    pub fn handle(&self) -> ServiceHandle<R> {
        self.handle.clone()
    }

    /// Serves until [`ServiceHandle::shutdown`], and returns when the last connection is closed.
    ///
    /// A service that is announced first says that it leaves, and serves for `service.shutdown_grace`
    /// more. Then it stops listening, refuses new requests, and waits for those in progress for at
    /// most [`Limits::shutdown_drain`](crate::Limits::shutdown_drain); what is left of replies ends with TXERR `service shutting
    /// down` (V-12). If its future is dropped instead, connections close at once.
    pub async fn run(self) {
        let Self {
            listeners, handle, ..
        } = self;
        let _closing = CloseAll(&handle);
        let mut running = Running::new(listeners, &handle);
        poll_fn(|cx| running.poll(cx)).await;
    }

    /// Serves until `signal` is done, and then shuts down as [`run`](Self::run) does.
    pub async fn run_until(self, signal: impl Future) {
        let handle = self.handle();
        let mut run = pin!(self.run());
        let mut signal = pin!(signal);
        let mut signalled = false;
        poll_fn(|cx| {
            if !signalled && signal.as_mut().poll(cx).is_ready() {
                signalled = true;
                handle.shutdown();
            }
            run.as_mut().poll(cx)
        })
        .await;
    }
}

impl<R: Runtime> fmt::Debug for Service<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Closes what is open when a service's future ends, in whatever way.
struct CloseAll<'a, R: Runtime>(&'a ServiceHandle<R>);

impl<R: Runtime> Drop for CloseAll<'_, R> {
    fn drop(&mut self) {
        self.0.core.refuses.store(true, Ordering::Release);
        self.0.core.stop.stop();
        self.0.close_all();
    }
}
