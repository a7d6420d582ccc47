//! Conversations between two TLS ends in memory, on a clock nobody waits for.
#![allow(clippy::unwrap_used)]

mod close;
mod faults;
mod flow;
mod handshake;
mod limits;
mod resumption;
mod session;
mod support;
mod trust;
