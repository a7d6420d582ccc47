//! Services found by name, with real sockets on the loopback: announced, heard, written to the cache
//! file, chosen, called, and gone.

#![allow(clippy::unwrap_used)]

mod access;
mod actions;
mod life;
mod support;
