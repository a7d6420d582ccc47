//! What a service takes on at once.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use scamp_proto::limits;

/// What a service takes on at once, over all its connections.
///
/// What one connection may do is set by [`session::Config`](scamp_proto::session::Config).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections; further ones are closed at once. 80 % of the files the process may open, at
    /// least 16 (HD-17, `service.max_connections`).
    pub max_connections: usize,
    /// Connections that shake hands; for a new one the oldest goes (HD-18).
    pub max_handshakes: usize,
    /// Connections of one address that shake hands (HD-18, `service.max_handshakes_per_address`).
    pub max_handshakes_per_address: usize,
    /// Requests in handlers (V-10, `service.max_requests`).
    pub max_requests: usize,
    /// Requests of one connection in handlers (hardening 4.2).
    pub max_requests_per_connection: usize,
    /// Octets held for all connections together; above, each is held to its share (HD-26,
    /// `mem.budget`).
    pub mem_budget: usize,
    /// How long requests in progress may take to end when the service is shut down (V-12,
    /// `service.shutdown_drain`).
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            max_connections: (files / 5).saturating_mul(4).max(16),
            max_handshakes: 1024,
            max_handshakes_per_address: 64,
            max_requests: limits::REQUESTS,
            max_requests_per_connection: limits::REQUESTS_PER_CONNECTION,
            mem_budget: 512 * 1024 * 1024,
            drain: Duration::from_secs(30),
        }
    }
}
