//! The command line.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::call::Call;
use crate::demo::Demo;
use crate::dump::Dump;
use crate::failure::Failure;
use crate::fingerprint::Fingerprint;
use crate::keygen::Keygen;
use crate::papers::{Completions, Man};
use crate::ping::Ping;
use crate::serve::Serve;
use crate::terminal::Terminal;

/// Call and serve SCAMP actions, make keys, decode recorded bytes
#[derive(Debug, Parser)]
#[command(name = "scamp", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) terminal: Terminal,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Demo(Demo),
    Serve(Serve),
    #[command(visible_alias = "request")]
    Call(Box<Call>),
    Ping(Ping),
    Keygen(Keygen),
    Fingerprint(Fingerprint),
    Dump(Dump),
    Completions(Completions),
    Man(Man),
}

impl Verb {
    pub(crate) fn run(self, terminal: Terminal) -> Result<(), Failure> {
        match self {
            Self::Demo(verb) => verb.run(terminal),
            Self::Serve(verb) => verb.run(terminal),
            Self::Call(verb) => verb.run(terminal),
            Self::Ping(verb) => verb.run(terminal),
            Self::Keygen(verb) => verb.run(terminal),
            Self::Fingerprint(verb) => verb.run(terminal),
            Self::Dump(verb) => verb.run(terminal),
            Self::Completions(verb) => verb.run(terminal),
            Self::Man(verb) => verb.run(terminal),
        }
    }
}

/// Turns the seeds' `-fingerprintpath=FILE` into `fingerprint FILE` (K-3).
///
/// Go's flags take one dash or two, and a value after `=` or as the next argument.
pub(crate) fn seed_spelling(
    arguments: impl IntoIterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let spelled = arguments.get(1).and_then(|first| {
        let flag = first.to_str()?.trim_start_matches('-');
        let rest = flag
            .strip_prefix("fingerprintpath")
            .filter(|_| flag.len() < first.len())?;
        match rest.strip_prefix('=') {
            Some(file) => Some(vec!["fingerprint".into(), file.into()]),
            None => rest.is_empty().then(|| vec![OsString::from("fingerprint")]),
        }
    });
    if let Some(spelled) = spelled {
        arguments.splice(1..2, spelled);
    }
    arguments.into_iter()
}

const EXIT_CODES: &str = "\
Exit codes:
    0  a reply without error; success
    1  the service answered with an error; its error_code is on standard error
    2  the command line cannot be understood
    4  not dispatched: safe to try again
    5  timeout
    6  trust: the peer is not who it should be
    7  lost in the middle: whether the request was processed is unknown
    8  local: a file, its contents, the system
  130  interrupted";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// K-3: the seeds' spelling, in each form that Go's flags accept.
    #[test]
    fn seeds_spelling() {
        let spell = |arguments: &[&str]| -> Vec<String> {
            let arguments = arguments.iter().map(OsString::from);
            seed_spelling(arguments)
                .map(|text| text.into_string().expect("UTF-8"))
                .collect()
        };
        for given in [
            &["scamp", "-fingerprintpath=a.crt"][..],
            &["scamp", "--fingerprintpath=a.crt"],
            &["scamp", "-fingerprintpath", "a.crt"],
        ] {
            assert_eq!(spell(given), ["scamp", "fingerprint", "a.crt"]);
        }
        for other in [
            &["scamp"][..],
            &["scamp", "fingerprintpath", "x"],
            &["scamp", "-f"],
        ] {
            assert_eq!(spell(other), other);
        }
    }
}
