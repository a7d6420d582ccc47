//! Ctrl-C and SIGTERM.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Exit, Failure};

/// Ends the process with code 130 at the first signal: for verbs that wait for somebody.
///
/// The peer sees the connection end, which tells it that nobody waits for the reply (S-31).
pub(crate) fn ends_the_process() -> Result<(), Failure> {
    install(|| process::exit(Exit::Interrupted.code().into()))
}

/// Calls `first` at the first signal and `second` at the next one.
pub(crate) fn shuts_down(
    first: impl Fn() + Send + 'static,
    second: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    let seen = AtomicBool::new(false);
    install(move || match seen.swap(true, Ordering::Relaxed) {
        false => first(),
        true => second(),
    })
}

fn install(handler: impl Fn() + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(handler)
        .map_err(|error| Failure::local(format!("cannot listen for Ctrl-C: {error}")))
}
