//! What the fuzz targets run: functions over octets that panic when they find a fault (U-1…U-15).
//!
//! They are compiled by every build and run over the committed seeds as ordinary tests (HD-61).
//!
//! ```
//! use scamp_proto::sim::bodies;
//!
//! bodies::packet_stream(b"\x05HEADER 0 2\r\n{}END\r\nEOF 0 0\r\nEND\r\n");
//! bodies::header(br#"{"type":"reply","request_id":"7"}"#);
//! ```

#[cfg(feature = "discovery")]
mod announcement;
#[cfg(feature = "auth")]
mod authorized;
mod bites;
#[cfg(feature = "discovery")]
mod cache_file;
mod config;
mod emitter;
mod endpoint;
mod header;
#[cfg(feature = "mp")]
mod mp;
#[cfg(all(test, feature = "discovery"))]
mod mutants;
mod packet_stream;
#[cfg(feature = "auth")]
mod ticket;
#[cfg(feature = "waddell")]
mod waddell;

#[cfg(feature = "discovery")]
pub use self::announcement::{announcement, datagram, vectors};
#[cfg(feature = "auth")]
pub use self::authorized::authorized;
#[cfg(feature = "discovery")]
pub use self::cache_file::cache_file;
pub use self::config::config;
pub use self::emitter::emitter;
pub use self::endpoint::endpoint;
pub use self::header::header;
#[cfg(feature = "mp")]
pub use self::mp::mp;
pub use self::packet_stream::packet_stream;
#[cfg(feature = "auth")]
pub use self::ticket::{table, ticket, ticket_keys};
#[cfg(feature = "waddell")]
pub use self::waddell::waddell;

use self::bites::Bites;
use super::script::{Profile, Script};
use super::world::World;
use crate::Rng;

/// A requester among instances that fail, where the octets decide what happens; the judge of
/// [`bus`](super::bus) judges.
#[cfg(feature = "discovery")]
pub fn requester(octets: &[u8]) {
    let _ = super::bus::run_with(octets, 1);
}

/// U-4: two sessions, where the octets decide what happens; the oracle judges.
pub fn two_endpoints(octets: &[u8]) {
    let mut bites = Bites::new(octets);
    let profile = Profile::ALL[usize::from(bites.octet()) % Profile::ALL.len()];
    let mut rng = Rng::new(bites.number());
    let mut script = Script::draw(&mut rng, profile);
    while !bites.is_empty() {
        script.bend(bites.octet(), bites.number());
    }
    let _ = World::new(script).run();
}
