//! What can be set at either end.

use core::time::Duration;

use super::encoding::{DecodeLimits, Encoding};
use crate::limits;

/// The settings of a server: of its [`Router`](super::Router) and of each
/// [`Session`](super::Session).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The encoding of every stream; `None` finds it by its first octets (MP-44).
    pub encoding: Option<Encoding>,
    /// What a message may be (HD-48).
    pub decode: DecodeLimits,
    /// How long signing in may take (MP-52).
    pub auth_timeout: Duration,
    /// A client that takes nothing for this long while something waits for it has departed (MP-62).
    pub stall_timeout: Duration,
    /// How long what is queued may take to leave at the end (MP-74).
    pub linger: Duration,
    /// Octets queued for a client beyond which its senders wait (MP-61).
    pub high_water: usize,
    /// Octets queued for a client below which its senders go on (MP-61).
    pub low_water: usize,
    /// Octets of the server's own messages beyond the high water mark (MP-63).
    pub reserve: usize,
    /// What becomes of a client that reads too slowly (MP-64).
    pub slow_client: SlowClient,
    /// What becomes of a second sign-in under a name (MP-70).
    pub duplicate_name: DuplicateName,
    /// Whether a refused sign-in is not told why, as the original never does (MP-54).
    pub silent_refusal: bool,
    /// Whether all numbers but 1 and 4 are routed, as the original does (MP-58).
    pub route_any_meta: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            encoding: None,
            decode: DecodeLimits {
                payload: limits::MP_MESSAGE,
                json_depth: limits::MP_SERVER_DEPTH,
            },
            auth_timeout: limits::MP_AUTH_TIMEOUT,
            stall_timeout: limits::MP_STALL_TIMEOUT,
            linger: limits::MP_LINGER,
            high_water: limits::MP_HIGH_WATER,
            low_water: limits::MP_LOW_WATER,
            reserve: limits::MP_RESERVE,
            slow_client: SlowClient::Pause,
            duplicate_name: DuplicateName::Replace,
            silent_refusal: false,
            route_any_meta: false,
        }
    }
}

/// What becomes of a client for which too much is queued (MP-64).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SlowClient {
    /// Those who write to it wait (MP-61).
    #[default]
    Pause,
    /// It is disconnected.
    Disconnect,
}

/// What becomes of a second sign-in under a name that is taken (MP-70).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DuplicateName {
    /// The newer one wins.
    #[default]
    Replace,
    /// The older one stays.
    Refuse,
}

/// The settings of a [`Client`](super::Client).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The encoding; a client does not look at octets to find it (mp.md §4).
    pub encoding: Encoding,
    /// What a message that arrives may be.
    pub decode: DecodeLimits,
    /// Largest payload sent, in octets (HD-48: servers like ours take no more).
    pub max_message: usize,
    /// How long signing in may take (MP-81).
    pub auth_timeout: Duration,
    /// How long a connection may take to open, and an offer to be decided.
    pub open_timeout: Duration,
    /// How long what is queued may take to leave at the end (MP-83).
    pub linger: Duration,
    /// Octets queued for sending (MP-97).
    pub send_queue: usize,
    /// Octets kept for the application before reading stops (MP-99).
    pub receive_buffer: usize,
    /// What happens when those are used up (MP-99).
    pub on_full: OnFull,
    /// Offers that are not decided (MP-96).
    pub max_offered: usize,
    /// Connections, offers included (HD-48).
    pub max_connections: usize,
    /// The number of the first connection (MP-9: 0).
    ///
    /// A client that comes back under its name should go on where it
    /// [left off](super::Client::next_number): what others sent before they knew that it had left
    /// would otherwise fit its new connections.
    pub first_number: u32,
}

impl ClientConfig {
    /// The defaults, in this encoding.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            decode: DecodeLimits::default(),
            max_message: limits::MP_MESSAGE,
            auth_timeout: limits::MP_AUTH_TIMEOUT,
            open_timeout: limits::MP_OPEN_TIMEOUT,
            linger: limits::MP_LINGER,
            send_queue: limits::MP_SEND_QUEUE,
            receive_buffer: limits::MP_RECEIVE_BUFFER,
            on_full: OnFull::Pause,
            max_offered: limits::MP_OFFERED,
            max_connections: limits::MP_CONNECTIONS,
            first_number: 0,
        }
    }
}

/// What a client does when nobody reads what has arrived (MP-99).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFull {
    /// It stops reading until somebody does; its senders wait.
    #[default]
    Pause,
    /// It closes the connection that holds most.
    CloseConnection,
}
