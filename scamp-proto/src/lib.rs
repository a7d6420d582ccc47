//! The SCAMP protocol as pure state machines.
//!
//! Bytes, time and commands go in; bytes, events and the next deadline come out. Nothing here owns a
//! socket, clock, file, thread, task, waker, log or random source, so it runs in any runtime, in
//! tests with a clock of their own, and under a fuzzer.
//!
//! ```text
//!  bytes in ──> receive ──> Session ──> Connection ──> wire::decode ──> poll_event ──> you
//!  you ──> request, reply, write ──> Session ──> Connection ──> wire::encode ──> poll_transmit ──> bytes out
//! ```
//!
//! A user of requests and replies starts from [`Session`]; [`Connection`] is the layer below it,
//! which knows messages and not what they mean. Both are [`Duplex`], which is all that a driver of
//! sockets needs to know.
//!
//! # Rules
//!
//! * **Told the time, never asking.** `now` comes with each call; it starts wherever the caller likes.
//! * **Drain before you wait.** After any call that takes `&mut self`, take everything from
//!   `poll_transmit` and `poll_event`, then sleep until `poll_timeout`.
//! * **One door out.** Whatever ends a connection, the last event is `Closed`, once.
//! * **Any cut of the byte stream gives the same events.**
#![no_std]
#![forbid(unsafe_code)]
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

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(test)]
mod arbitrary;
#[cfg(feature = "auth")]
pub mod auth;
pub mod config;
pub mod connection;
#[cfg(feature = "discovery")]
pub mod discovery;
pub mod duplex;
pub mod error;
#[cfg(feature = "auth")]
mod flag;
pub mod limits;
#[cfg(feature = "mp")]
pub mod mp;
pub mod note;
mod ordered;
mod outbox;
mod rand;
#[cfg(feature = "discovery")]
pub mod requester;
#[cfg(feature = "auth")]
pub mod service;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
#[cfg(feature = "waddell")]
pub mod waddell;
pub mod wire;

pub use connection::Connection;
pub use duplex::{Duplex, End};
pub use error::{
    BodyError, CallError, CloseReason, DispatchError, ExchangeError, Loss, Phase, SendError,
    Violation, ViolationKind,
};
pub use outbox::Outbox;
pub use rand::Rng;
pub use session::Session;
pub use time::Instant;
pub use wire::{Header, MsgNo};
