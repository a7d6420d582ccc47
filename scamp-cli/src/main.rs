//! The `scamp` command: call, serve and find SCAMP actions, make keys, sign and check.
//!
//! Standard output carries data only; everything else goes to standard error. The exit code says
//! what kind of failure it was (see `failure`).
#![forbid(unsafe_code)]

mod action;
mod announce;
mod arguments;
mod asking;
mod bench;
mod bus;
mod cache;
mod call;
mod certificate;
mod check;
mod completion;
mod demo;
mod describe;
mod doctor;
mod dump;
mod exec;
mod failure;
mod finder;
mod fingerprint;
mod hear;
mod histogram;
mod interrupt;
mod json;
mod keeper;
mod keygen;
mod list;
mod offer;
mod papers;
mod peer;
mod ping;
mod progress;
mod provision;
mod records;
mod serve;
mod settings;
mod sign;
mod table;
mod terminal;
mod ticket;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use crate::arguments::{Arguments, seed_spelling};
use crate::failure::Exit;

fn main() -> ExitCode {
    // A shell that asks what may come next is told, and that is all.
    CompleteEnv::with_factory(Arguments::command)
        .var(completion::VARIABLE)
        .complete();
    // clap prints help to standard output with code 0, and what it cannot understand to standard
    // error with code 2.
    let arguments = match Arguments::try_parse_from(seed_spelling(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Whoever reads it may have gone, which changes nothing.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let terminal = arguments.terminal;
    match arguments.verb.run(terminal, &arguments.settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.fail(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}
