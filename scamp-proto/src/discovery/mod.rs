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
mod body;
pub mod choice;
pub mod datagram;
pub mod directory;
mod error;
mod event;
mod instance;
mod json;
mod offer;
mod uri;
mod vector;

pub use action::{ActionRef, Envelopes, Flags};
pub use announcement::{Announcement, Unverified};
pub use body::{BadAction, Timestamp};
pub use choice::{Marks, Selection};
pub use datagram::DatagramError;
pub use directory::{Candidate, Candidates, Directory, LookupError, Query, WhyNot};
pub use error::{ActionFault, AnnouncementError};
pub use event::Event;
pub use instance::Instance;
pub use offer::{Description, Offer, OfferError, UnixTime};
pub use uri::{Uri, UriError};

#[cfg(test)]
mod tests;
