//! The command as its users meet it: as a process, with its output and its exit code.
#![allow(clippy::unwrap_used)]

mod announcements;
mod bus;
mod call;
mod demo;
mod directory;
mod dump;
mod files;
mod papers;
mod serve;
mod support;
mod tickets;
