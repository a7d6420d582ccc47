//! `scamp completions` and `scamp man`: what packagers install beside the binary.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_complete::env::Shells;
use std::io::{self, Write};

use crate::arguments::Arguments;
use crate::completion::VARIABLE;
use crate::failure::Failure;
use crate::terminal::{Terminal, written};

/// Print a completion script for a shell
///
/// The script asks this program what may come next, the names of actions included: they are those that
/// the discovery cache lists at that moment. For bash, in ~/.bashrc: `source <(scamp completions bash)`
#[derive(Args, Debug)]
pub(crate) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, _: Terminal) -> Result<(), Failure> {
        let mut script = Vec::new();
        // The engine has a script for each shell that can be asked for.
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell.to_string());
        let unknown = || Failure::usage(format!("{} cannot be asked", self.shell));
        shell
            .ok_or_else(unknown)?
            .write_registration(VARIABLE, "scamp", "scamp", "scamp", &mut script)
            .map_err(|error| Failure::local(error.to_string()))?;
        print(&script)
    }
}

/// Print the manual page of scamp, or of one of its verbs
#[derive(Args, Debug)]
pub(crate) struct Man {
    verb: Option<String>,
}

impl Man {
    pub(crate) fn run(&self, _: Terminal) -> Result<(), Failure> {
        let mut command = Arguments::command();
        command.build();
        let command = match &self.verb {
            None => command,
            Some(name) => {
                let found = command.find_subcommand(name).cloned();
                let unknown = || Failure::usage(format!("{name} is not a verb of scamp"));
                found.ok_or_else(unknown)?
            }
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure::local(error.to_string()))?;
        print(&page)
    }
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.flush())
        .map_err(|error| written(&error))
}
