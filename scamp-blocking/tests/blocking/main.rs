//! Clients and services over real sockets, in one process.
#![allow(clippy::unwrap_used)]

mod counting;
mod echo;
mod faults;
mod handles;
mod service;
mod streams;
mod support;
mod threads;
