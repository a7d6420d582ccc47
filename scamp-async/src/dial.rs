//! How a client comes to its connection.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use scamp_proto::error::Loss;
use scamp_proto::session::{self, Side};
use scamp_proto::{CallError, CloseReason, ExchangeError, Instant, Session, limits};
use scamp_tls::{Channel, ClientTlsCache, Options, Pin, Tls};

use crate::actions::Actions;
use crate::client::Client;
use crate::drive::Driver;
use crate::office::Office;
use crate::runtime::{Runtime, until};
use crate::shared::Shared;

/// Makes connections with the same settings.
///
/// Connections of one builder, and of its clones, remember TLS sessions together, so that later
/// ones shake hands faster (L-5).
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use scamp_async::{CallError, Client, Pin, Runtime};
///
/// async fn connect<R: Runtime + Default>(pin: Pin) -> Result<Client<R>, CallError> {
///     let builder = Client::<R>::builder(pin).connect_timeout(Duration::from_secs(3));
///     builder.connect("beepish+tls://greeter.example.com:30100").await
/// }
/// ```
pub struct ClientBuilder<R> {
    runtime: R,
    /// `None` is no TLS.
    pin: Option<Pin>,
    session: session::Config,
    tls: Option<Arc<Mutex<ClientTlsCache>>>,
    options: Option<Options>,
    connect_timeout: Duration,
    office: Arc<Office>,
}

impl<R: Runtime> ClientBuilder<R> {
    /// Connections of this runtime, to whom `pin` says; `None` is no TLS.
    pub fn new(runtime: R, pin: Option<Pin>) -> Self {
        Self {
            runtime,
            pin,
            session: session::Config::new(Side::Client),
            tls: None,
            options: None,
            connect_timeout: limits::CONNECT_TIMEOUT,
            office: Arc::new(Office::of_client(Actions::new())),
        }
        .with_cache()
    }

    /// The same for another peer; TLS sessions are remembered together.
    pub(crate) fn to(&self, pin: Pin) -> Self {
        Self {
            pin: Some(pin),
            ..self.clone()
        }
    }

    /// Sets the settings of the session and the connection beneath.
    pub fn session(mut self, config: session::Config) -> Self {
        self.session = config;
        self
    }

    /// Sets the settings of TLS. Its time for the handshake is that of
    /// [`connect_timeout`](Self::connect_timeout).
    pub fn tls(mut self, options: Options) -> Self {
        self.options = Some(options);
        self.with_cache()
    }

    /// How long looking up, connecting and shaking hands may take together: ten seconds, unless
    /// told otherwise (S-20).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self.with_cache()
    }

    /// Serves requests and notifications of the peer's; without, requests are answered
    /// `no_action`.
    pub fn actions(mut self, actions: Actions) -> Self {
        self.office = Arc::new(Office::of_client(actions));
        self
    }

    fn with_cache(mut self) -> Self {
        let options = self.options.clone().or_else(default_options);
        let options = options.map(|options| options.handshake_timeout(self.connect_timeout));
        self.tls = options.map(|options| Arc::new(Mutex::new(ClientTlsCache::new(options))));
        self
    }

    /// Connects to `host:port`, `beepish+tls://host:port` or `scamp+tls://host:port`.
    ///
    /// # Errors
    ///
    /// [`ExchangeError::NotEstablished`] with the reason, inside [`CallError::NoReply`].
    pub async fn connect(&self, address: &str) -> Result<Client<R>, CallError> {
        let start = self.runtime.now();
        let Some((host, port)) = split(address) else {
            return Err(failed(Loss::Connect(format!(
                "{address:?} is not host:port"
            ))));
        };
        let dial = self.runtime.connect(host, port);
        // Saturating arithmetic: a time of `Duration::MAX` never comes (HD-32).
        let dialled = until(self.runtime.timer(), start + self.connect_timeout, dial).await;
        match dialled {
            None => Err(failed(Loss::ConnectTimeout(self.connect_timeout))),
            Some(Err(error)) => Err(failed(Loss::Connect(error.to_string()))),
            Some(Ok(stream)) => self.open(start, host, port, stream).await,
        }
    }

    /// Speaks over a byte stream that is ready, with a service called `host`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn over<S>(&self, host: &str, stream: S) -> Result<Client<R>, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.open(self.runtime.now(), host, 0, stream).await
    }

    async fn open<S>(
        &self,
        start: Instant,
        host: &str,
        port: u16,
        stream: S,
    ) -> Result<Client<R>, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let session = Session::new(self.session.clone(), Side::Client, self.runtime.now());
        let machine = match (&self.pin, &self.tls) {
            (None, _) => Channel::Plain(Box::new(session)),
            (Some(_), None) => {
                let text = "no crypto provider: choose a feature or set TLS options";
                return Err(failed(Loss::Tls(text.into())));
            }
            (Some(pin), Some(cache)) => {
                let uri = format!("beepish+tls://{host}:{port}");
                let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                let tls = cache.get(&uri, host, pin);
                let tls = tls.map_err(|error| failed(Loss::Tls(error.to_string())))?;
                Channel::Tls(Box::new(Tls::client(session, &tls, start)))
            }
        };
        let runtime = self.runtime.clone();
        let shared = Shared::new(machine, move || runtime.now(), self.office.clone(), None);
        let client = Client::new(shared.clone());
        let driver = Driver::new(self.runtime.clone(), shared.clone(), stream, None);
        self.runtime.spawn(driver);
        match poll_fn(|cx| shared.look(|state| state.poll_open(cx))).await {
            Ok(()) => Ok(client),
            Err(reason) => Err(CallError::NoReply(ExchangeError::NotEstablished(reason))),
        }
    }
}

impl<R: Clone> Clone for ClientBuilder<R> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            pin: self.pin.clone(),
            session: self.session.clone(),
            tls: self.tls.clone(),
            options: self.options.clone(),
            connect_timeout: self.connect_timeout,
            office: self.office.clone(),
        }
    }
}

impl<R> fmt::Debug for ClientBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("pin", &self.pin)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

fn failed(loss: Loss) -> CallError {
    CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(loss)))
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
pub(crate) fn default_options() -> Option<Options> {
    Some(Options::default())
}

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
pub(crate) fn default_options() -> Option<Options> {
    None
}

/// Host and port of an address. The host of an IPv6 address comes without its brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    let rest = ["beepish+tls://", "scamp+tls://"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme))
        .unwrap_or(address);
    let (host, port) = rest.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(bare) => bare,
        None if host.contains([':', '/', '[', ']']) => return None,
        None => host,
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits)?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L-1: the addresses a service may have.
    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("localhost:30100", "localhost", 30100),
            ("beepish+tls://10.1.2.3:1", "10.1.2.3", 1),
            ("scamp+tls://[::1]:65535", "::1", 65535),
        ] {
            assert_eq!(split(text), Some((host, port)), "{text}");
        }
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:+1",
            "host:65536",
            "::1:80",
            "http://host:80",
            "[]:1",
            "scamp+tls://a/b:1",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
