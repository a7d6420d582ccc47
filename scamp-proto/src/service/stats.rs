//! What a service counts.

use alloc::format;
use alloc::string::String;

/// What a service has done and does at the moment (V-11).
///
/// ```
/// use scamp_proto::service::Stats;
///
/// let stats = Stats { open_connections: 2, ..Stats::default() };
/// assert!(stats.to_json().starts_with("{\"total_clients_accepted\":0,\"open_connections\":2,"));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Connections accepted so far.
    pub total_clients_accepted: u64,
    /// Connections there are.
    pub open_connections: usize,
    /// Requests and notifications given to a handler so far.
    pub requests_started: u64,
    /// Requests and notifications in a handler.
    pub requests_active: usize,
    /// Requests whose handler reported an error, or panicked, so far.
    pub requests_failed: u64,
    /// Octets received so far, without TLS.
    pub bytes_in: u64,
    /// Octets sent so far, without TLS.
    pub bytes_out: u64,
    /// Connections that ended so far because their peer broke a rule.
    pub protocol_errors: u64,
    /// Announcements sent so far.
    pub announcements_sent: u64,
    /// Connections closed so far at once, since there were too many.
    pub connections_refused: u64,
    /// Connections that shake hands.
    pub handshakes: usize,
    /// Octets that connections hold, for handlers and for the transport.
    pub memory: usize,
}

impl Stats {
    /// All of it as a JSON object, under the names of the fields.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"total_clients_accepted\":{},\"open_connections\":{},\"requests_started\":{},\
             \"requests_active\":{},\"requests_failed\":{},\"bytes_in\":{},\"bytes_out\":{},\
             \"protocol_errors\":{},\"announcements_sent\":{},\"connections_refused\":{},\
             \"handshakes\":{},\"memory\":{}}}",
            self.total_clients_accepted,
            self.open_connections,
            self.requests_started,
            self.requests_active,
            self.requests_failed,
            self.bytes_in,
            self.bytes_out,
            self.protocol_errors,
            self.announcements_sent,
            self.connections_refused,
            self.handshakes,
            self.memory,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V-11: readable as JSON, under the names in use.
    #[test]
    fn as_json() {
        let stats = Stats {
            total_clients_accepted: 1,
            bytes_out: u64::MAX,
            ..Stats::default()
        };
        let json: serde_json::Value = serde_json::from_str(&stats.to_json()).expect("JSON");
        let names = [
            "total_clients_accepted",
            "open_connections",
            "requests_started",
            "requests_active",
            "requests_failed",
            "bytes_in",
            "bytes_out",
            "protocol_errors",
            "announcements_sent",
        ];
        for name in names {
            assert!(json[name].is_u64(), "{name}");
        }
        assert_eq!(json["total_clients_accepted"], 1);
        assert_eq!(json["bytes_out"], u64::MAX);
    }
}
