//! The command line.

use std::ffi::{OsStr, OsString};

use clap::{Parser, Subcommand};

use crate::announce::Announce;
use crate::bench::Bench;
use crate::cache::Cache;
use crate::call::Call;
use crate::check::Check;
use crate::demo::Demo;
use crate::describe::Describe;
use crate::doctor::Doctor;
use crate::dump::Dump;
use crate::failure::Failure;
use crate::fingerprint::Fingerprint;
use crate::keygen::Keygen;
use crate::list::List;
use crate::papers::{Completions, Man};
use crate::ping::Ping;
use crate::provision::Provision;
use crate::serve::Serve;
use crate::settings::Settings;
use crate::sign::Sign;
use crate::terminal::Terminal;
use crate::ticket::Ticket;
use crate::verify::Verify;
use crate::watch::Watch;

/// Call, serve and find SCAMP actions, make keys, sign and check
#[derive(Debug, Parser)]
#[command(name = "scamp", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) terminal: Terminal,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Demo(Demo),
    Serve(Box<Serve>),
    #[command(visible_alias = "request")]
    Call(Box<Call>),
    #[command(visible_alias = "load")]
    Bench(Box<Bench>),
    List(Box<List>),
    Describe(Describe),
    Check(Check),
    Cache(Cache),
    #[command(visible_alias = "monitor")]
    Watch(Watch),
    Announce(Box<Announce>),
    #[command(visible_alias = "fake-cache")]
    Sign(Box<Sign>),
    Verify(Verify),
    Ticket(Ticket),
    Provision(Provision),
    Doctor(Doctor),
    Ping(Ping),
    Keygen(Keygen),
    Fingerprint(Fingerprint),
    Dump(Dump),
    Completions(Completions),
    Man(Man),
}

impl Verb {
    pub(crate) fn run(self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        match self {
            Self::Demo(verb) => verb.run(terminal),
            Self::Serve(verb) => verb.run(terminal, settings),
            Self::Call(verb) => verb.run(terminal, settings),
            Self::Bench(verb) => verb.run(terminal, settings),
            Self::List(verb) => verb.run(terminal, settings),
            Self::Describe(verb) => verb.run(terminal, settings),
            Self::Check(verb) => verb.run(terminal, settings),
            Self::Cache(verb) => verb.run(terminal, settings),
            Self::Watch(verb) => verb.run(terminal, settings),
            Self::Announce(verb) => verb.run(terminal, settings),
            Self::Sign(verb) => verb.run(terminal),
            Self::Verify(verb) => verb.run(terminal),
            Self::Ticket(verb) => verb.run(terminal, settings),
            Self::Provision(verb) => verb.run(terminal),
            Self::Doctor(verb) => verb.run(terminal, settings),
            Self::Ping(verb) => verb.run(terminal),
            Self::Keygen(verb) => verb.run(terminal),
            Self::Fingerprint(verb) => verb.run(terminal),
            Self::Dump(verb) => verb.run(terminal),
            Self::Completions(verb) => verb.run(terminal),
            Self::Man(verb) => verb.run(terminal),
        }
    }
}

/// Turns the seeds' flags into verbs and options: `-fingerprintpath=FILE` into `fingerprint FILE`
/// (K-3), and `-announcepath=FILE -keypath=FILE -certpath=FILE` into `sign` with its options (K-1).
///
/// Go's flags take one dash or two, and a value after `=` or as the next argument.
pub(crate) fn seed_spelling(
    arguments: impl IntoIterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let first = arguments.get(1).cloned().unwrap_or_default();
    if let Some((_, value)) = seed_flag(&first, &["fingerprintpath"]) {
        let spelled = [Some(OsString::from("fingerprint")), value];
        arguments.splice(1..2, spelled.into_iter().flatten());
        return arguments.into_iter();
    }
    let is_verb = ["sign", "fake-cache"].iter().any(|verb| first == *verb);
    if is_verb || seed_flag(&first, &SIGN_FLAGS).is_some() {
        let spelled =
            arguments
                .iter()
                .skip(1)
                .flat_map(|argument| match seed_flag(argument, &SIGN_FLAGS) {
                    Some((flag, value)) => {
                        let option = format!("--{}", flag.trim_end_matches("path"));
                        [Some(OsString::from(option)), value]
                    }
                    None => [Some(argument.clone()), None],
                });
        let verb = (!is_verb).then(|| OsString::from("sign"));
        let spelled: Vec<_> = verb.into_iter().chain(spelled.flatten()).collect();
        arguments.splice(1.., spelled);
    }
    arguments.into_iter()
}

/// One of these flags of the seeds, and its value if that stands behind a `=`.
fn seed_flag<'a>(argument: &OsStr, flags: &[&'a str]) -> Option<(&'a str, Option<OsString>)> {
    let text = argument.to_str()?;
    let rest = text.strip_prefix("--").or(text.strip_prefix('-'))?;
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name, Some(value.into())),
        None => (rest, None),
    };
    let flag = flags.iter().find(|flag| **flag == name)?;
    Some((flag, value))
}

const SIGN_FLAGS: [&str; 3] = ["announcepath", "keypath", "certpath"];

const EXIT_CODES: &str = "\
Exit codes:
    0  a reply without error; success
    1  the service answered with an error; its error_code is on standard error
    2  the command line cannot be understood
    3  no such action, or discovery is empty or stale
    4  not dispatched: safe to try again
    5  timeout
    6  trust: the peer is not who it should be, a signature, an authorization, a ticket
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

    /// cli.md: the names of section 12 stay.
    #[test]
    fn other_names() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from(arguments).map(|all| all.verb);
        assert!(matches!(
            parse(&["scamp", "request", "A.b"]),
            Ok(Verb::Call(_))
        ));
        assert!(matches!(
            parse(&["scamp", "load", "A.b"]),
            Ok(Verb::Bench(_))
        ));
        assert!(matches!(parse(&["scamp", "monitor"]), Ok(Verb::Watch(_))));
        assert!(matches!(parse(&["scamp", "cache"]), Ok(Verb::Cache(_))));
        assert!(matches!(
            parse(&["scamp", "cache", "serve", "--pidfile", "x"]),
            Ok(Verb::Cache(_))
        ));
        assert!(parse(&["scamp", "cache", "--pidfile", "x"]).is_ok());
    }

    /// K-1, K-3: the seeds' spelling, in each form that Go's flags accept.
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
        let expected = [
            "scamp",
            "sign",
            "--announce",
            "a",
            "--key",
            "k",
            "--cert",
            "c",
        ];
        for given in [
            &["scamp", "-announcepath=a", "-keypath=k", "-certpath=c"][..],
            &[
                "scamp",
                "--announcepath",
                "a",
                "-keypath",
                "k",
                "--certpath=c",
            ],
            &[
                "scamp",
                "sign",
                "-announcepath",
                "a",
                "--key",
                "k",
                "-certpath=c",
            ],
        ] {
            assert_eq!(spell(given), expected);
        }
        let alias = spell(&["scamp", "fake-cache", "-keypath=k"]);
        assert_eq!(alias, ["scamp", "fake-cache", "--key", "k"]);
        for other in [
            &["scamp"][..],
            &["scamp", "call", "-keypath=x"],
            &["scamp", "fingerprintpath", "x"],
            &["scamp", "-f"],
        ] {
            assert_eq!(spell(other), other);
        }
    }
}
