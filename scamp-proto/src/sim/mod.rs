//! Two ends, a wire with faults, a clock nobody waits for, and a judge that shares no code with them.
//!
//! ```text
//!  App ── Session ── Outbox ──> Pipe ──> Session ── App        all of it from one 64-bit seed
//!             ▲                  │ delay, rate, pieces, stalls, an end at any octet
//!             └────── Pipe <─────┘
//!                      │
//!                      └─ Strict, Oracle: read every octet, and say what must and may not happen
//! ```
//!
//! [`Pair`] joins any two [`Duplex`](crate::Duplex) machines. [`World`] adds applications with random
//! [scripts](script) and the [`Oracle`]; [`matrix`] cuts scripted exchanges at every octet instead.
//! [`bodies`] are what the fuzz targets run. Everything here panics when it finds a fault: that is
//! its purpose, and the only place in this crate where it is allowed.
//!
//! # Example
//!
//! ```
//! use scamp_proto::sim::{Profile, World};
//!
//! let report = World::from_seed(7, Profile::Calm).run();
//! assert_eq!(report, World::from_seed(7, Profile::Calm).run());
//! ```
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::string_slice
)]

mod app;
pub mod bodies;
#[cfg(feature = "discovery")]
pub mod bus;
#[cfg(feature = "waddell")]
pub mod flock;
pub mod matrix;
#[cfg(feature = "mp")]
pub mod mp;
mod oracle;
mod pair;
mod personality;
pub mod script;
mod strict;
mod wire;
mod world;

pub use self::app::App;
pub use self::oracle::Oracle;
pub use self::pair::{Pair, Watch};
pub use self::personality::{Habit, Personality};
pub use self::script::{Profile, Script};
pub use self::strict::{Kind, Seen, Splitter, Strict};
pub use self::wire::{Cut, Link, Pipe};
pub use self::world::{Peer, Report, World};
