//! The command as its users meet it: as a process, with its output and its exit code.
#![allow(clippy::unwrap_used)]

mod announcements;
mod bench;
mod bus;
mod call;
mod completion;
#[cfg(unix)]
mod crashes;
mod demo;
mod directory;
mod dump;
mod dump_mp;
mod dump_waddell;
mod exec;
mod files;
mod managers;
mod named;
mod namespaces;
mod papers;
mod serve;
mod support;
mod tickets;
