//! From the configuration's values to the machines' settings.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use scamp_proto::config::{AddressError, Config, ConfigError, Heartbeat, Selection};
use scamp_proto::connection;
use scamp_proto::service::Limits;
use scamp_proto::session::{self, Side};
use scamp_proto::{discovery, requester};
use thiserror::Error;

use crate::clock::random;
use crate::config::LoadError;
use crate::port::ListenError;

/// Why a requester or a service cannot begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A value of the configuration cannot be used.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// A file that the configuration names cannot be used.
    #[error(transparent)]
    Load(Box<LoadError>),
    /// Nothing says where services are to be found.
    #[error(
        "no discovery.cache_path is configured, so no service can be found; see `scamp doctor`"
    )]
    NoServices,
    /// An address of the configuration is not one of this machine (C-8).
    #[error("{key}: {error}")]
    Address {
        /// The key.
        key: &'static str,
        /// What is wrong.
        error: AddressError,
    },
    /// No address is configured, and this machine has public ones only (C-9).
    #[error("no bus.address is configured, and no interface has an address of a private network")]
    NoAddress,
    /// No port to listen on (V-2).
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket for discovery cannot be had.
    #[error("no socket for {what} on {address}: {error}")]
    Socket {
        /// What it was for.
        what: &'static str,
        /// Where.
        address: IpAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Another cache manager keeps the file.
    #[error("{} is kept by another process", .0.display())]
    Kept(PathBuf),
    /// The service's certificate and key do not fit.
    #[error("the service's certificate or key cannot be used: {0}")]
    Identity(#[from] scamp_tls::IdentityError),
    /// The service cannot be announced as it is.
    #[error("the service cannot be announced: {0}")]
    Offer(#[from] discovery::OfferError),
    /// A name that no service may have (V-3).
    #[error("{0}")]
    Name(String),
    /// The operating system does not do what it must.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl From<ConfigError> for SetupError {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl From<LoadError> for SetupError {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}

/// A requester's settings: `rpc.timeout`, `bus.default_sector`, `requester.selection`.
///
/// # Errors
///
/// [`ConfigError`] names the key.
pub fn requester_config(config: &Config) -> Result<requester::Config, ConfigError> {
    Ok(requester::Config {
        sector: config.bus_default_sector().to_owned(),
        timeout: config.rpc_timeout()?,
        selection: match config.requester_selection()? {
            Selection::Weighted => discovery::Selection::Weighted,
            Selection::Uniform => discovery::Selection::Uniform,
            Selection::LeastOutstanding => discovery::Selection::LeastOutstanding,
        },
        ..requester::Config::default()
    })
}

/// A session's settings, and those of the connection beneath: the keys of `beepish`, `rpc`, `flow`,
/// `wire` and `net`.
///
/// # Errors
///
/// [`ConfigError`] names the key.
pub fn session_config(config: &Config, side: Side) -> Result<session::Config, ConfigError> {
    let mut settings = session::Config::new(side);
    settings.timeout = config.rpc_timeout()?;
    settings.max_outstanding = config.rpc_max_outstanding()?;
    settings.message_idle = config.wire_message_idle()?;
    let wire = &mut settings.connection;
    wire.idle_timeout = match side {
        Side::Client => config.beepish_client_timeout()?,
        Side::Server => config.beepish_server_timeout()?,
    };
    wire.heartbeat = match config.beepish_heartbeat()? {
        Heartbeat::Off => connection::Heartbeat::Off,
        Heartbeat::Auto => connection::Heartbeat::Auto,
        Heartbeat::Every(interval) => connection::Heartbeat::On(interval),
    };
    wire.max_body = config.rpc_max_body()?;
    wire.max_collected = config.rpc_max_collected()?;
    wire.max_queued = config.flow_max_queued()?;
    wire.max_buffered = config.flow_max_buffered()?;
    wire.max_control = config.flow_max_control()?;
    wire.chunk_size = config.flow_chunk_size()?;
    wire.max_inflight_cap = config.flow_max_inflight_cap()?;
    if let Some(fixed) = config.flow_max_inflight()? {
        wire.max_inflight = Some(fixed);
    }
    wire.shed_after = config.flow_shed_after()?;
    wire.stall_timeout = config.flow_stall_timeout()?;
    wire.max_packet_body = config.wire_max_packet_body()?;
    wire.max_open_messages = config.wire_max_open_messages()?;
    wire.strict_txerr = config.wire_strict_txerr()?;
    wire.packet_timeout = config.wire_packet_timeout()?;
    wire.write_timeout = config.net_write_timeout()?;
    wire.send_stall = config.rpc_reply_stall()?;
    Ok(settings)
}

/// A service's session settings: subscriptions are served.
///
/// # Errors
///
/// [`ConfigError`] names the key.
pub fn server_config(config: &Config) -> Result<session::Config, ConfigError> {
    Ok(session::Config {
        subscriptions: true,
        ..session_config(config, Side::Server)?
    })
}

/// What a service takes on at once, in a process that may have `files` files open: the keys of
/// `service`, and `mem.budget`.
///
/// # Errors
///
/// [`ConfigError`] names the key.
pub fn service_limits(config: &Config, files: usize) -> Result<Limits, ConfigError> {
    let customary = Limits::for_files(files);
    Ok(Limits {
        max_connections: config
            .service_max_connections()?
            .unwrap_or(customary.max_connections),
        max_handshakes_per_address: config.service_max_handshakes_per_address()?,
        max_requests: config.service_max_requests()?,
        mem_budget: config.mem_budget()?,
        handler_timeout: config.service_handler_timeout()?,
        shutdown_drain: config.service_shutdown_drain()?,
        ..customary
    })
}

/// What a machine's choices by chance begin from; different in each process (F-13).
///
/// # Errors
///
/// The operating system has no randomness to give.
pub fn seed() -> io::Result<u64> {
    random().map(u64::from_ne_bytes)
}
