//! What a service takes on at once.

use core::time::Duration;

use crate::limits::{
    HANDSHAKES, HANDSHAKES_PER_ADDRESS, MEM_BUDGET, REQUESTS, REQUESTS_PER_CONNECTION,
    SHUTDOWN_DRAIN,
};

/// What a service takes on at once, over all its connections.
///
/// What one connection may do is set by [`session::Config`](crate::session::Config).
///
/// ```
/// use scamp_proto::service::Limits;
///
/// let limits = Limits { max_requests: 64, ..Limits::for_files(1024) };
/// assert_eq!(limits.max_connections, 819);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections; one too many is closed at once (HD-17, `service.max_connections`).
    pub max_connections: usize,
    /// Connections that shake hands; the oldest makes way for a new one (HD-18).
    pub max_handshakes: usize,
    /// Connections of one address that shake hands (HD-18, `service.max_handshakes_per_address`).
    pub max_handshakes_per_address: usize,
    /// Requests in handlers; one too many is answered `overloaded` (V-10, `service.max_requests`).
    pub max_requests: usize,
    /// Requests of one connection in handlers (hardening 4.2).
    pub max_requests_per_connection: usize,
    /// Octets held for all connections together. Above it each is held to its share, and a tenth
    /// above it no new connection is taken (HD-26, `mem.budget`).
    pub mem_budget: usize,
    /// How long the reply to a request may take, from the end of the request to its own, where the
    /// action has no `tN` of its own (S-20, `service.handler_timeout`). Then the request is answered
    /// `general`, or its reply ends with TXERR, and the handler is told.
    pub handler_timeout: Option<Duration>,
    /// How long requests in progress may take to end when the service is shut down (V-12,
    /// `service.shutdown_drain`).
    pub shutdown_drain: Duration,
}

impl Limits {
    /// The defaults of a process that may have `files` files open: four fifths of them for
    /// connections, and at least 16 (HD-17).
    pub fn for_files(files: usize) -> Self {
        Self {
            max_connections: (files / 5)
                .saturating_mul(4)
                .saturating_add(files % 5 * 4 / 5)
                .max(16),
            max_handshakes: HANDSHAKES,
            max_handshakes_per_address: HANDSHAKES_PER_ADDRESS,
            max_requests: REQUESTS,
            max_requests_per_connection: REQUESTS_PER_CONNECTION,
            mem_budget: MEM_BUDGET,
            handler_timeout: None,
            shutdown_drain: SHUTDOWN_DRAIN,
        }
    }
}

impl Default for Limits {
    /// The limits of a process with the usual 1024 files; a service that is not told any looks at
    /// its own.
    fn default() -> Self {
        Self::for_files(1024)
    }
}
