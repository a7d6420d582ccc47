//! Every key the library reads, with its default.
//!
//! Each is a method of [`Config`] whose name is the key's, with `_` for `.`; keys of files and addresses
//! are with what they mean, in `search.rs` and `address.rs`.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::ops::RangeInclusive;
use core::time::Duration;

#[cfg(doc)]
use super::Problem;
use super::{Config, ConfigError};
use crate::limits;

/// What a row of the table becomes: a method for each kind of value, and the keys for [`is_known`].
macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident $keys:tt $kind:ident $(($($range:tt)*))? $(= $default:expr)?;)*) => {
        impl Config {
            $(keys!{ @method $(#[$doc])* $name $keys $kind $(($($range)*))? $(= $default)? })*
        }

        /// The keys of each row of the table.
        const ROWS: &[&[&str]] = &[$(&$keys),*];
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt duration = $default:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Problem::NotADuration`].
        pub fn $name(&self) -> Result<Duration, ConfigError> {
            let found = self.find(&$keys);
            Ok(found.map(|found| found.duration()).transpose()?.unwrap_or($default))
        }
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt duration_or_off) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Problem::NotADuration`].
        pub fn $name(&self) -> Result<Option<Duration>, ConfigError> {
            let found = self.find(&$keys);
            Ok(found.map(|found| found.duration_or_off()).transpose()?.flatten())
        }
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt flag = $default:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Problem::NotAFlag`].
        pub fn $name(&self) -> Result<bool, ConfigError> {
            let found = self.find(&$keys);
            Ok(found.map(|found| found.flag()).transpose()?.unwrap_or($default))
        }
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt presence) => {
        $(#[$doc])*
        pub fn $name(&self) -> bool {
            $keys.iter().any(|key| self.presence(key))
        }
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt number ($type:ty, $range:expr) = $default:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Problem::NotANumber`].
        pub fn $name(&self) -> Result<$type, ConfigError> {
            let found = self.find(&$keys);
            let number = found.map(|found| found.number::<$type>($range)).transpose()?;
            Ok(number.unwrap_or($default))
        }
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt number_or_none ($type:ty, $range:expr)) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// [`Problem::NotANumber`].
        pub fn $name(&self) -> Result<Option<$type>, ConfigError> {
            let found = self.find(&$keys);
            found.map(|found| found.number::<$type>($range)).transpose()
        }
    };
    (@method $(#[$doc:meta])* $name:ident $keys:tt text) => {
        $(#[$doc])*
        pub fn $name(&self) -> Option<&str> {
            let found = self.find(&$keys);
            found.map(|found| found.value).filter(|value| !value.is_empty())
        }
    };
}

keys! {
    /// `auth.meta_for_all`: whether anyone may answer for metadata (Z-6). Default: no.
    auth_meta_for_all ["auth.meta_for_all"] flag = false;
    /// `auth.table_grace`: how much longer a table counts when no newer one can be had (T-16).
    /// Default: 0.
    auth_table_grace ["auth.table_grace"] duration = Duration::ZERO;
    /// `auth.table_all_sectors`: whether the table has a say outside `main` (T-18). Default: no.
    auth_table_all_sectors ["auth.table_all_sectors"] flag = false;
    /// `ticket.clock_skew`: how far the clock of who issues tickets may be from ours (T-4).
    /// Default: 0.
    ticket_clock_skew ["ticket.clock_skew"] duration = Duration::ZERO;

    /// `discovery.port`: where announcements are sent (D-25). Default: 5555.
    discovery_port ["discovery.port"] number(u16, PORTS) = DISCOVERY_PORT;
    /// `discovery.cache_path`: the cache file. Default: none.
    discovery_cache_path ["discovery.cache_path"] text;
    /// `discovery.cache_max_age`: how old the cache file may be (D-36). Default: 120 s.
    discovery_cache_max_age ["discovery.cache_max_age"] duration = Duration::from_secs(120);
    /// `discovery.min_ttl`: how long an announcement counts at least (D-22). Default: 10.5 s.
    discovery_min_ttl ["discovery.min_ttl"] duration = Duration::from_millis(10_500);
    /// `discovery.max_announcement_age`: how old an announcement may say it is (D-22). `None`, the
    /// default, is `off`.
    discovery_max_announcement_age ["discovery.max_announcement_age"] duration_or_off;
    /// `discovery.accept_pss`: whether signatures with PSS padding are taken (D-8). Default: no.
    discovery_accept_pss ["discovery.accept_pss"] flag = false;
    /// `discovery.cache_unlisted`: whether the cache file has services of certificates that are not
    /// listed, too (D-42). Default: no.
    discovery_cache_unlisted ["discovery.cache_unlisted"] flag = false;
    /// `discovery.auth_localhost`: whether the cache manager lists who announces from this machine
    /// (D-41). Default: no.
    discovery_auth_localhost ["discovery.auth_localhost"] presence;
    /// `discovery.local_multicast`: whether to announce and listen on the loopback, too. Default: no.
    discovery_local_multicast ["discovery.local_multicast"] presence;

    /// `beepish.bind_tries`: how many ports are tried (V-2). Default: 20.
    beepish_bind_tries ["beepish.bind_tries", "scamp.bind_tries"] number(u32, 1..=65_535) = 20;
    /// `beepish.client_timeout`: silence that ends a client's connection (S-20). Default: 90 s.
    beepish_client_timeout ["beepish.client_timeout", "scamp.client_timeout"]
        duration = limits::CLIENT_IDLE;
    /// `beepish.server_timeout`: silence that ends a server's connection (S-20). Default: 120 s.
    beepish_server_timeout ["beepish.server_timeout", "scamp.server_timeout"]
        duration = limits::SERVER_IDLE;
    /// `beepish.connect_timeout`: time to connect, TLS included (S-20). Default: 10 s.
    beepish_connect_timeout ["beepish.connect_timeout", "scamp.connect_timeout"]
        duration = limits::CONNECT_TIMEOUT;

    /// `rpc.timeout`: how long a request may take (S-21). Default: 75 s.
    rpc_timeout ["rpc.timeout"] duration = limits::RPC_TIMEOUT;
    /// `rpc.max_body`: largest collected body, in octets. Default: 16 MiB.
    rpc_max_body ["rpc.max_body"] number(usize, ANY) = limits::COLLECTED_BODY;
    /// `rpc.max_collected`: collected bodies of one connection, in octets (hardening 4.2).
    /// Default: 32 MiB.
    rpc_max_collected ["rpc.max_collected"] number(usize, ANY) = limits::COLLECTED;
    /// `rpc.max_outstanding`: requests outstanding on one connection (hardening 4.2).
    /// Default: 16 384.
    rpc_max_outstanding ["rpc.max_outstanding"] number(usize, 1..=u64::MAX) = limits::OUTSTANDING;
    /// `rpc.reply_stall`: how long the window of a reply may stay shut (HD-31). Default: 300 s.
    rpc_reply_stall ["rpc.reply_stall"] duration = limits::REPLY_STALL;

    /// `flow.max_inflight`: octets of one message in flight, and 0 for no limit. Not given, the
    /// window begins at 65 536 and grows (A-6, A-6a).
    flow_max_inflight ["flow.max_inflight"] number_or_none(u64, 0..=WINDOW_MOST);
    /// `flow.max_inflight_cap`: where a growing window stops, in octets (A-6a). Default: 262 144.
    flow_max_inflight_cap ["flow.max_inflight_cap"] number(u64, 0..=WINDOW_MOST) = limits::WINDOW_CAP;
    /// `flow.chunk_size`: body octets of one DATA packet sent (W-7). Default: 32 768.
    flow_chunk_size ["flow.chunk_size"] number(usize, 1..=131_072) = limits::CHUNK;
    /// `flow.max_queued`: octets queued for sending on one connection. Default: 1 MiB.
    flow_max_queued ["flow.max_queued"] number(usize, 1..=u64::MAX) = limits::QUEUED;
    /// `flow.max_buffered`: octets unread on one connection. Default: 8 MiB.
    flow_max_buffered ["flow.max_buffered"] number(usize, 1..=u64::MAX) = limits::BUFFERED;
    /// `flow.max_control`: octets of refusals queued on one connection (HD-22). Default: 256 KiB.
    flow_max_control ["flow.max_control"] number(usize, 1..=u64::MAX) = limits::CONTROL;
    /// `flow.shed_after`: how long reading pauses before a message is shed (HD-24). Default: 5 s.
    flow_shed_after ["flow.shed_after"] duration = limits::SHED_AFTER;
    /// `flow.stall_timeout`: how long reading pauses before the connection ends.
    /// Default: 60 s.
    flow_stall_timeout ["flow.stall_timeout"] duration = limits::STALL_TIMEOUT;

    /// `wire.max_packet_body`: largest packet body received, in octets (W-6). Default: 131 072.
    wire_max_packet_body ["wire.max_packet_body"]
        number(usize, 131_072..=16_777_216) = limits::PACKET_BODY;
    /// `wire.max_open_messages`: incoming messages open at once (S-6). Default: 4096.
    wire_max_open_messages ["wire.max_open_messages"]
        number(usize, 1..=u64::MAX) = limits::OPEN_MESSAGES;
    /// `wire.strict_txerr`: whether an empty or `0` TXERR ends the connection (S-8). Default: no.
    wire_strict_txerr ["wire.strict_txerr"] flag = false;
    /// `wire.packet_timeout`: how long a packet may take once begun (HD-30). Default: 30 s.
    wire_packet_timeout ["wire.packet_timeout"] duration = limits::PACKET_TIMEOUT;
    /// `wire.message_idle`: how long an open request may bring nothing; 0 is for ever (HD-30).
    /// Default: 300 s.
    wire_message_idle ["wire.message_idle"] duration = limits::MESSAGE_IDLE;
    /// `net.write_timeout`: how long the transport may take nothing (HD-31). Default: 120 s.
    net_write_timeout ["net.write_timeout"] duration = limits::WRITE_TIMEOUT;
    /// `net.max_age`: how old a connection may become (hardening 4.5). `None`, the default, is `off`.
    net_max_age ["net.max_age"] duration_or_off;
    /// `mem.budget`: octets held for all connections together (HD-26). Default: 512 MiB.
    mem_budget ["mem.budget"] number(usize, ANY) = limits::MEM_BUDGET;

    /// `service.announce_interval`: how often a service is announced (D-28). Default: 5 s.
    service_announce_interval ["service.announce_interval"] duration = Duration::from_secs(5);
    /// `service.handler_timeout`: how long a handler may take (S-20). `None`, the default, is `off`.
    service_handler_timeout ["service.handler_timeout"] duration_or_off;
    /// `service.max_connections`: connections at once (HD-17). `None`, the default, goes by the files
    /// the process may open.
    service_max_connections ["service.max_connections"] number_or_none(usize, 1..=u64::MAX);
    /// `service.max_handshakes_per_address`: handshakes of one address at once (HD-18). Default: 64.
    service_max_handshakes_per_address ["service.max_handshakes_per_address"]
        number(usize, 1..=u64::MAX) = limits::HANDSHAKES_PER_ADDRESS;
    /// `service.max_requests`: requests in handlers at once (V-10). Default: 1024.
    service_max_requests ["service.max_requests"] number(usize, 1..=u64::MAX) = limits::REQUESTS;
    /// `service.shutdown_grace`: how long a service that is leaving takes new requests (V-12).
    /// Default: 5 s.
    service_shutdown_grace ["service.shutdown_grace"] duration = Duration::from_secs(5);
    /// `service.shutdown_drain`: how long requests in progress may take then (V-12). Default: 30 s.
    service_shutdown_drain ["service.shutdown_drain"] duration = limits::SHUTDOWN_DRAIN;
    /// `service.running_service_file_dir_path`: where a file says that the service runs (V-7).
    /// Default: none.
    service_running_service_file_dir_path ["service.running_service_file_dir_path"] text;
}

/// Keys with values of their own kind.
impl Config {
    /// `bus.default_sector`: the sector of services and lookups that name none. Default: `main`.
    pub fn bus_default_sector(&self) -> &str {
        let found = self.find(&["bus.default_sector"]).map(|found| found.value);
        found.filter(|value| !value.is_empty()).unwrap_or("main")
    }

    /// `discovery.multicast_address` (D-25). Default: 239.63.248.106.
    ///
    /// # Errors
    ///
    /// [`Problem::NotAnAddress`] unless it is a multicast address.
    pub fn discovery_multicast_address(&self) -> Result<IpAddr, ConfigError> {
        self.multicast(&["discovery.multicast_address"])
    }

    /// `discovery.local_multicast_address`. Default: that of `discovery.multicast_address`.
    ///
    /// # Errors
    ///
    /// [`Problem::NotAnAddress`] unless it is a multicast address.
    pub fn discovery_local_multicast_address(&self) -> Result<IpAddr, ConfigError> {
        self.multicast(&[
            "discovery.local_multicast_address",
            "discovery.multicast_address",
        ])
    }

    /// `discovery.local_port`. Default: that of `discovery.port`.
    ///
    /// # Errors
    ///
    /// [`Problem::NotANumber`].
    pub fn discovery_local_port(&self) -> Result<u16, ConfigError> {
        let found = self.find(&["discovery.local_port", "discovery.port"]);
        let port = found.map(|found| found.number(PORTS)).transpose()?;
        Ok(port.unwrap_or(DISCOVERY_PORT))
    }

    /// `discovery.stale_policy`: `error`, the default, or `warn` (D-36).
    ///
    /// # Errors
    ///
    /// [`Problem::NotOneOf`].
    pub fn discovery_stale_policy(&self) -> Result<StalePolicy, ConfigError> {
        let choose = |word: &str| match word {
            "error" => Some(StalePolicy::Error),
            "warn" => Some(StalePolicy::Warn),
            _ => None,
        };
        let found = self.find(&["discovery.stale_policy"]);
        let policy = found.map(|found| found.one_of("error, warn", choose));
        Ok(policy.transpose()?.unwrap_or_default())
    }

    /// `discovery.seed_hosts`, before 2015 `discovery.known_hosts`: hosts that are always peered with
    /// (D-38). Default: none.
    pub fn discovery_seed_hosts(&self) -> Vec<&str> {
        let hosts = self.find(&["discovery.seed_hosts", "discovery.known_hosts"]);
        let hosts = hosts.map(|found| found.value).unwrap_or_default();
        hosts.split_ascii_whitespace().collect()
    }

    /// `beepish.first_port` and `beepish.last_port`, or `scamp.` for `beepish.` (V-2, C-11). Default:
    /// 30100 to 30399.
    ///
    /// # Errors
    ///
    /// [`Problem::NotANumber`], also if the last is before the first.
    pub fn beepish_ports(&self) -> Result<Ports, ConfigError> {
        let first = self.find(&["beepish.first_port", "scamp.first_port"]);
        let first = first.map(|found| found.number(PORTS)).transpose()?;
        let first = first.unwrap_or(FIRST_PORT);
        let last = match self.find(&["beepish.last_port", "scamp.last_port"]) {
            Some(found) => found.number(u64::from(first)..=*PORTS.end())?,
            // A first port beyond the default last one stands for itself.
            None => LAST_PORT.max(first),
        };
        Ok(Ports { first, last })
    }

    /// `beepish.heartbeat`: `off`, the default, `auto`, or a number of seconds (S-27).
    ///
    /// # Errors
    ///
    /// [`Problem::NotADuration`].
    pub fn beepish_heartbeat(&self) -> Result<Heartbeat, ConfigError> {
        let Some(found) = self.find(&["beepish.heartbeat", "scamp.heartbeat"]) else {
            return Ok(Heartbeat::Off);
        };
        if found.value.eq_ignore_ascii_case("auto") {
            return Ok(Heartbeat::Auto);
        }
        let interval = found.duration_or_off()?;
        Ok(interval.map_or(Heartbeat::Off, Heartbeat::Every))
    }

    /// `requester.selection`: `weighted`, the default, `uniform` or `least_outstanding` (D-44).
    ///
    /// # Errors
    ///
    /// [`Problem::NotOneOf`].
    pub fn requester_selection(&self) -> Result<Selection, ConfigError> {
        let choose = |word: &str| match word {
            "weighted" => Some(Selection::Weighted),
            "uniform" => Some(Selection::Uniform),
            "least_outstanding" => Some(Selection::LeastOutstanding),
            _ => None,
        };
        let words = "weighted, uniform, least_outstanding";
        let found = self.find(&["requester.selection"]);
        let selection = found.map(|found| found.one_of(words, choose));
        Ok(selection.transpose()?.unwrap_or_default())
    }

    /// `service.announce_resign`: `always`, the default, or for how many seconds the same octets are
    /// announced again; 0 is until something changes (D-28).
    ///
    /// # Errors
    ///
    /// [`Problem::NotADuration`].
    pub fn service_announce_resign(&self) -> Result<Resign, ConfigError> {
        match self.find(&["service.announce_resign"]) {
            None => Ok(Resign::Always),
            Some(found) if found.value.eq_ignore_ascii_case("always") => Ok(Resign::Always),
            Some(found) => match found.duration()? {
                Duration::ZERO => Ok(Resign::OnChange),
                every => Ok(Resign::Every(every)),
            },
        }
    }

    fn multicast(&self, keys: &[&'static str]) -> Result<IpAddr, ConfigError> {
        let found = self.find(keys);
        let address = found.map(|found| found.ip("a multicast address", IpAddr::is_multicast));
        Ok(address.transpose()?.unwrap_or(MULTICAST))
    }
}

/// What an old cache file is good for (D-36).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StalePolicy {
    /// Nothing: lookups fail.
    #[default]
    Error,
    /// It is used, with an event.
    Warn,
}

/// The ports a service may listen on (V-2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The first of them.
    pub first: u16,
    /// The last of them, not below the first.
    pub last: u16,
}

/// Whether PING is sent (S-27).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Heartbeat {
    /// Never.
    #[default]
    Off,
    /// Once the peer has sent one itself.
    Auto,
    /// At this interval.
    Every(Duration),
}

/// How one of several instances is chosen (D-44).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Selection {
    /// As likely as its weight is great.
    #[default]
    Weighted,
    /// All as likely.
    Uniform,
    /// The one with the fewest requests outstanding.
    LeastOutstanding,
}

/// When an announcement is signed anew (D-28).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Resign {
    /// Each time it is sent, as RS needs it.
    #[default]
    Always,
    /// When it is this old.
    Every(Duration),
    /// Not before something changes.
    OnChange,
}

/// Whether the library itself reads this key.
pub(super) fn is_known(key: &str) -> bool {
    ROWS.iter().any(|row| row.contains(&key)) || OTHERS.contains(&key)
}

/// The keys that are not in the table above.
const OTHERS: &[&str] = &[
    "auth.ticket_verify_key",
    "beepish.first_port",
    "beepish.heartbeat",
    "beepish.last_port",
    "bus.address",
    "bus.authorized_services",
    "bus.default_sector",
    "discovery.address",
    "discovery.known_hosts",
    "discovery.local_multicast_address",
    "discovery.local_port",
    "discovery.multicast_address",
    "discovery.peer_allow",
    "discovery.seed_hosts",
    "discovery.stale_policy",
    "requester.selection",
    "scamp.first_port",
    "scamp.heartbeat",
    "scamp.last_port",
    "service.address",
    "service.announce_address",
    "service.announce_resign",
];

const ANY: RangeInclusive<u64> = 0..=u64::MAX;

/// Port 0 is chosen in code only (V-2).
const PORTS: RangeInclusive<u64> = 1..=65_535;

/// The largest window (scamp.md 17).
const WINDOW_MOST: u64 = 1 << 31;

const MULTICAST: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 63, 248, 106));
const DISCOVERY_PORT: u16 = 5555;
const FIRST_PORT: u16 = 30_100;
const LAST_PORT: u16 = 30_399;
