//! Clients and services over real sockets and TLS, in both kinds of runtime.

#![allow(clippy::unwrap_used)]

mod cancel;
mod deadlines;
mod echo;
mod faults;
mod streaming;
mod subscriptions;
mod support;
