//! The configuration, as the command line and the environment name it.

use std::path::PathBuf;

use clap::Args;
use scamp_host::LoadedConfig;

use crate::failure::Failure;
use crate::terminal::{FIELD, Terminal, outside};

/// Where the configuration is; the same for every verb.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The configuration file; without it the one that SCAMP_CONFIG, SCAMP or GTSOA names, or
    /// /etc/scamp/scamp.conf
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Configuration"
    )]
    pub(crate) config: Option<PathBuf>,
}

impl Settings {
    /// Reads it, and tells what is odd about its lines.
    pub(crate) fn load(&self, terminal: Terminal) -> Result<LoadedConfig, Failure> {
        let loaded = scamp_host::config::load_config_file(self.config.as_deref())?;
        if let Some(path) = &loaded.path {
            for event in &loaded.events {
                let text = outside(&event.to_string(), FIELD);
                terminal.say(&format!("{}, {text}", path.display()));
            }
            terminal.detail(&format!("configuration: {}", path.display()));
        }
        Ok(loaded)
    }
}
