//! Services found: announcements, the cache file, the directory, and the machines that keep them.
//!
//! ```text
//!  service ── Description ── Announcer ──> datagrams ──> CacheManager ──> cache file
//!                                                                            │
//!  requester <── Candidate <── Directory::lookup <── Directory <── cache_file::Reading
//! ```
//!
//! # Rules
//!
//! * **Verified is a type.** What a text says can be had from an [`Announcement`] only, and that is
//!   made by [`Unverified::verify`].
//! * **One bad one is skipped, never its neighbours.** Records, actions and datagrams alike.
//! * **A service is its fingerprint and its identity**, never one of them alone (HD-37).
//! * **The directory is swapped, not edited**; verifying happens outside of any lock (HD-38).
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::as_conversions)
)]

mod action;
mod announcement;
pub mod announcer;
mod body;
pub mod cache_file;
pub mod cache_manager;
pub mod choice;
pub mod datagram;
pub mod directory;
mod error;
mod event;
mod instance;
pub mod intake;
mod json;
pub mod known;
mod offer;
pub mod peering;
pub mod registry;
mod uri;
mod vector;

pub use action::{ActionRef, Envelopes, Flags};
pub use announcement::{Announcement, Unverified};
pub use announcer::{Announcer, Resign};
pub use body::{BadAction, Timestamp};
pub use cache_manager::CacheManager;
pub use choice::{Marks, Selection};
pub use datagram::DatagramError;
pub use directory::{Candidate, Candidates, Directory, LookupError, Query, WhyNot};
pub use error::{ActionFault, AnnouncementError};
pub use event::Event;
pub use instance::Instance;
pub use offer::{Description, Offer, OfferError, UnixTime};
pub use registry::Registry;
pub use uri::{Uri, UriError};

#[cfg(test)]
mod tests;
