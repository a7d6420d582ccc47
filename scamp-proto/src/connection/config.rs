//! What can be set on a connection.

use core::time::Duration;

use crate::limits;

/// The settings of one connection, with the protocol's defaults.
///
/// # Example
///
/// ```
/// use scamp_proto::connection::Config;
///
/// let config = Config { max_inflight: Some(1 << 20), ..Config::default() };
/// assert_eq!(config.chunk_size, 32_768);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest packet body accepted, in octets: 131 072 up to 16 MiB (W-6, `wire.max_packet_body`).
    pub max_packet_body: usize,
    /// Incoming messages open at once; twice this ends the connection (S-6,
    /// `wire.max_open_messages`).
    pub max_open_messages: usize,
    /// Whether an empty or `0` TXERR ends the connection, as with JS (S-8, `wire.strict_txerr`).
    pub strict_txerr: bool,
    /// Body octets of one DATA packet sent: 1 to 131 072 (W-7, `flow.chunk_size`).
    pub chunk_size: usize,
    /// Octets of one message in flight: `None` starts at 65 536 and grows, a value is fixed, and 0
    /// is no window at all (A-6, A-6a, `flow.max_inflight`).
    pub max_inflight: Option<u64>,
    /// Where a growing window stops, in octets (A-6a, `flow.max_inflight_cap`).
    pub max_inflight_cap: u64,
    /// Body octets queued for sending, all messages together (A-9, `flow.max_queued`).
    pub max_queued: usize,
    /// Octets unread by the application before reading pauses (A-10, `flow.max_buffered`).
    pub max_buffered: usize,
    /// Octets of refusals and other answers queued before reading pauses (HD-22,
    /// `flow.max_control`).
    pub max_control: usize,
    /// Largest collected body, in octets (A-13, `rpc.max_body`).
    pub max_body: usize,
    /// Collected bodies together, in octets (hardening 4.2, `rpc.max_collected`).
    pub max_collected: usize,
    /// How long a pause lasts before the largest unread message is shed (HD-24, `flow.shed_after`).
    pub shed_after: Duration,
    /// How long a pause lasts before the connection ends (A-10, `flow.stall_timeout`).
    pub stall_timeout: Duration,
    /// How long a packet may take once begun (HD-30, `wire.packet_timeout`).
    pub packet_timeout: Duration,
    /// How long the transport may take fewer than 64 KiB of waiting output (HD-31,
    /// `net.write_timeout`).
    pub write_timeout: Duration,
    /// How long a message's window may stay shut (HD-31, `rpc.reply_stall`).
    pub send_stall: Duration,
    /// How long silence lasts when nothing is in progress (S-24).
    pub idle_timeout: Duration,
    /// How long closing may take to flush (V-12).
    pub close_timeout: Duration,
    /// Whether and how often PING is sent (S-27, `beepish.heartbeat`).
    pub heartbeat: Heartbeat,
    /// The number of the first message each way; anything but 0 is for tests (F-28).
    pub first_msgno: u64,
}

/// Whether PING is sent. Perl, Go and C# drop a connection on one, so off is the default (W-18).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Heartbeat {
    /// Never.
    #[default]
    Off,
    /// Every 15 seconds, once the peer has sent a PING itself.
    Auto,
    /// At this interval.
    On(Duration),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_packet_body: limits::PACKET_BODY,
            max_open_messages: limits::OPEN_MESSAGES,
            strict_txerr: false,
            chunk_size: limits::CHUNK,
            max_inflight: None,
            max_inflight_cap: limits::WINDOW_CAP,
            max_queued: limits::QUEUED,
            max_buffered: limits::BUFFERED,
            max_control: limits::CONTROL,
            max_body: limits::COLLECTED_BODY,
            max_collected: limits::COLLECTED,
            shed_after: limits::SHED_AFTER,
            stall_timeout: limits::STALL_TIMEOUT,
            packet_timeout: limits::PACKET_TIMEOUT,
            write_timeout: limits::WRITE_TIMEOUT,
            send_stall: limits::REPLY_STALL,
            idle_timeout: limits::CLIENT_IDLE,
            close_timeout: limits::CLOSE_LINGER,
            heartbeat: Heartbeat::Off,
            first_msgno: 0,
        }
    }
}

impl Config {
    /// The same settings, each forced into the range the protocol allows.
    pub(super) fn clamped(mut self) -> Self {
        let body = limits::PACKET_BODY..=limits::PACKET_BODY_MAX;
        self.max_packet_body = self.max_packet_body.clamp(*body.start(), *body.end());
        self.chunk_size = self.chunk_size.clamp(1, limits::PACKET_BODY);
        self.max_open_messages = self.max_open_messages.max(1);
        self.max_queued = self.max_queued.max(1);
        self
    }
}
