//! What the shells of scamp need of the operating system, without naming a runtime.
//!
//! The machines of [`scamp_proto`] decide; here is what they decide about: network
//! [interfaces](mod@interfaces), [UDP sockets](udp) and [listening ports](port), [files](mod@file) that
//! change, the [configuration](config) and the files it names, time and randomness. Sockets come back
//! as those of the standard library, for whichever runtime takes them over.
//!
//! [The guide](guide) is about the bus as a whole.
//!
//! A program starts from a face such as `scamp-tokio` or `scamp-blocking` and seldom needs this crate.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unreachable,
        clippy::todo
    )
)]

mod ask;
mod authorized;
mod bus;
mod cache_manager;
pub mod clock;
pub mod config;
pub mod file;
pub mod guide {
    #![doc = include_str!("../guide/bus.md")]
}
mod house;
pub mod interfaces;
mod json;
pub mod port;
mod presence;
mod requester_settings;
pub mod running;
mod service_settings;
mod setup;
mod switchboard;
mod ticket_keys;
pub mod udp;

pub use ask::Ask;
pub use authorized::{Authorized, AuthorizedEvent};
pub use bus::{Bus, News};
pub use cache_manager::{CacheManager, CacheManagerHandle};
pub use config::{LoadError, LoadedConfig, load_config};
pub use house::{Roster, ServiceHouse};
pub use interfaces::{Interface, interfaces};
pub use json::{JsonError, from_json, to_json};
pub use presence::{Addresses, Presence, Site};
pub use requester_settings::{RequesterSettings, TicketSource};
pub use service_settings::{RegisterError, ServiceSettings};
pub use setup::{
    SetupError, requester_config, seed, server_config, service_limits, session_config,
};
pub use switchboard::{Decision, Switchboard};
pub use ticket_keys::TicketKeyFiles;
