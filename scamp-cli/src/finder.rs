//! Calls by name, with the patience that a bus for development needs.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use scamp_blocking::{CallError, Requester};
use scamp_host::Addresses;
use scamp_proto::config::{Config, Selection};
use scamp_proto::discovery;
use scamp_proto::error::{CloseReason, DispatchError, Loss};

use crate::failure::{Exit, Failure};
use crate::settings::Settings;
use crate::terminal::{FIELD, Terminal, outside};

/// A requester as the configuration says.
pub(crate) struct Finder {
    pub(crate) requester: Requester,
    /// The sector of actions that name none.
    pub(crate) sector: String,
    pub(crate) selection: discovery::Selection,
    cache: PathBuf,
    patience: Duration,
}

impl Finder {
    pub(crate) fn open(terminal: Terminal, settings: &Settings) -> Result<Self, Failure> {
        let config = settings.load(terminal)?.config;
        let cache = config.discovery_cache_path().map(PathBuf::from);
        let cache = cache.ok_or_else(|| {
            let text = "no service can be looked up: discovery.cache_path is not set; \
                        --connect HOST:PORT needs no discovery";
            Failure::local(text)
        })?;
        let requester = Requester::from_config(&config)?;
        let finder = Self {
            requester,
            sector: config.bus_default_sector().to_owned(),
            selection: match config.requester_selection()? {
                Selection::Weighted => discovery::Selection::Weighted,
                Selection::Uniform => discovery::Selection::Uniform,
                Selection::LeastOutstanding => discovery::Selection::LeastOutstanding,
            },
            cache,
            patience: patience(&config)?,
        };
        finder.tell_notes(terminal);
        Ok(finder)
    }

    /// Tries until it succeeds, or fails for a reason that time does not mend.
    ///
    /// On a bus of this machine alone, whoever is not there yet may be about to come: `serve` takes
    /// two announce intervals until everybody knows of it. Elsewhere there is one attempt.
    pub(crate) fn patiently<T>(
        &self,
        terminal: Terminal,
        limit: Option<Duration>,
        mut attempt: impl FnMut() -> Result<T, CallError>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let patience = self.patience.min(limit.unwrap_or(Duration::MAX));
        let mut is_told = false;
        loop {
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            self.tell_notes(terminal);
            if begun.elapsed() >= patience || !may_pass(&error) {
                return Err(self.failure(error));
            }
            if !is_told {
                let text = outside(&error.to_string(), FIELD);
                terminal.detail(&format!("{text}; waiting for up to {patience:.1?}"));
                is_told = true;
            }
            thread::sleep(AGAIN);
        }
    }

    /// What `-v` tells of the cache file and of authorized_services.
    pub(crate) fn tell_notes(&self, terminal: Terminal) {
        for note in self.requester.notes() {
            terminal.detail(&outside(&note, FIELD));
        }
    }

    /// Says of a stale cache which one, and whether it is there at all.
    pub(crate) fn failure(&self, error: CallError) -> Failure {
        let stale = CallError::NotDispatched(DispatchError::StaleCache);
        match error == stale {
            false => error.into(),
            true => self.stale(),
        }
    }

    pub(crate) fn stale(&self) -> Failure {
        let stale = Failure::from(DispatchError::StaleCache);
        let there = scamp_host::file::Stamp::of(&self.cache);
        let cache = self.cache.display();
        let text = match there {
            Ok(_) => format!("{cache}: the discovery cache is stale"),
            Err(error) => format!("{cache}: {error}"),
        };
        Failure {
            exit: Exit::NotFound,
            text: format!("{text}; is `scamp cache serve` running?"),
            ..stale
        }
    }
}

/// How long a service is waited for that is not there.
fn patience(config: &Config) -> Result<Duration, Failure> {
    let interval = config.service_announce_interval()?;
    Ok(match is_local(config) {
        true => (interval * 2 + Duration::from_secs(1)).min(LONGEST),
        false => Duration::ZERO,
    })
}

/// Whether the bus is this machine alone.
pub(crate) fn is_local(config: &Config) -> bool {
    // What is wrong with the addresses is for those to say who need them.
    Addresses::from_config(config).is_ok_and(|addresses| addresses.is_local())
        && config
            .discovery_cache_path()
            .is_some_and(|path| !path.is_empty())
}

fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::NotDispatched(error) => match error {
            DispatchError::NotFound(_) | DispatchError::StaleCache => true,
            DispatchError::NotEstablished { reason, .. } => {
                !matches!(reason, CloseReason::Lost(Loss::Untrusted(_)))
            }
            _ => false,
        },
        _ => false,
    }
}

const AGAIN: Duration = Duration::from_millis(100);

/// Longer than this nobody is waited for, however seldom services announce themselves.
const LONGEST: Duration = Duration::from_secs(12);
