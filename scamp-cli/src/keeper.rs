//! Keeps the cache file beside a service, so that a bus for development needs nobody else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use scamp_host::{CacheManager, CacheManagerHandle, SetupError};
use scamp_proto::config::Config;

use crate::terminal::{FIELD, Terminal, outside};

/// A cache manager on a thread of its own.
///
/// One process at a time keeps the file; if that is another, this one tries again once a second, and
/// so takes over when the other is gone.
pub(crate) struct Keeper {
    shared: Arc<Mutex<Shared>>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    manager: Option<CacheManagerHandle>,
    stopped: bool,
}

impl Keeper {
    pub(crate) fn start(config: Config, terminal: Terminal) -> Self {
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let theirs = shared.clone();
        let running = thread::spawn(move || keep(&config, terminal, &theirs));
        Self { shared, running }
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        let mut shared = lock(&self.shared);
        shared.stopped = true;
        if let Some(manager) = &shared.manager {
            manager.stop();
        }
        drop(shared);
        self.running.thread().unpark();
        // What it had to say, it has said.
        let _ = self.running.join();
    }
}

fn keep(config: &Config, terminal: Terminal, shared: &Mutex<Shared>) {
    let mut told = String::new();
    loop {
        match CacheManager::from_config(config) {
            Ok(manager) => {
                let mut state = lock(shared);
                if state.stopped {
                    return;
                }
                let handle = manager.handle();
                state.manager = Some(handle.clone());
                drop(state);
                terminal.detail("keeping the discovery cache");
                tell(handle, terminal);
                return manager.run();
            }
            Err(error) => {
                let text = error.to_string();
                match &error {
                    _ if text == told => {}
                    SetupError::Kept(_) => terminal.detail(&text),
                    _ => terminal.say(&format!("the discovery cache is not kept: {text}")),
                }
                told = text;
            }
        }
        thread::park_timeout(AGAIN);
        if lock(shared).stopped {
            return;
        }
    }
}

/// Tells what a cache manager notes, about once a second, for as long as the process lives.
pub(crate) fn tell(handle: CacheManagerHandle, terminal: Terminal) {
    if !terminal.verbose {
        return;
    }
    thread::spawn(move || {
        loop {
            for note in handle.notes() {
                terminal.detail(&outside(&note, FIELD));
            }
            thread::sleep(AGAIN);
        }
    });
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Each change of it is complete in itself.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

const AGAIN: Duration = Duration::from_secs(1);
