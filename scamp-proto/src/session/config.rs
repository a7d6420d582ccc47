//! What can be set on a session.

use core::time::Duration;

use crate::{connection, limits};

/// Which end of its connection a session is.
///
/// Both ends run the same machine and may do the same things; the side decides what a header
/// without a `type` means (H-6) and which idle timeout is the default (S-20).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

/// The settings of one session, with the protocol's defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of the connection beneath.
    pub connection: connection::Config,
    /// How long a request may take when the request does not say (S-21, `rpc.timeout`).
    pub timeout: Duration,
    /// Requests outstanding at once (hardening 4.2, `rpc.max_outstanding`).
    pub max_outstanding: usize,
    /// An incoming request that brings no octet for this long ends; zero is never (HD-30,
    /// `wire.message_idle`).
    pub message_idle: Duration,
    /// Whether one request leaves whole before the next begins (S-18).
    pub serialize: Serialize,
    /// Whether `subscribe` is served; otherwise it is answered `false` (S-40).
    pub subscriptions: bool,
}

/// Whether requests leave one after the other, as Go services need when bodies are streamed.
///
/// Go numbers its replies by the order in which requests became complete (N-14).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Serialize {
    /// Requests interleave.
    Never,
    /// Requests interleave until a reply's header ends in LF, as only Go's do (S-18).
    #[default]
    Auto,
    /// Requests never interleave.
    Always,
}

impl Config {
    /// The defaults of this side.
    pub fn new(side: Side) -> Self {
        let idle_timeout = match side {
            Side::Client => limits::CLIENT_IDLE,
            Side::Server => limits::SERVER_IDLE,
        };
        Self {
            connection: connection::Config {
                idle_timeout,
                ..Default::default()
            },
            timeout: limits::RPC_TIMEOUT,
            max_outstanding: limits::OUTSTANDING,
            message_idle: limits::MESSAGE_IDLE,
            serialize: Serialize::Auto,
            subscriptions: false,
        }
    }
}
