//! `scamp ticket`: tickets made, read and checked (K-12).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use scamp_proto::auth::{Ticket as Content, TicketError, TicketKeys};
use scamp_tls::{Rsa, SigningKey};

use crate::certificate;
use crate::failure::{Exit, Failure};
use crate::json::Object;
use crate::settings::Settings;
use crate::terminal::Terminal;

/// Issue, read and check tickets
#[derive(Args, Debug)]
pub(crate) struct Ticket {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Issue(Issue),
    Show(Show),
    Verify(Verify),
}

impl Ticket {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        match &self.verb {
            Verb::Issue(verb) => verb.run(terminal),
            Verb::Show(verb) => verb.run(terminal),
            Verb::Verify(verb) => verb.run(terminal, settings),
        }
    }
}

/// Make a ticket, and print it
#[derive(Args, Debug)]
struct Issue {
    /// The private key of who issues tickets, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The user it is made out to
    #[arg(long, value_name = "NUMBER")]
    user: u64,
    /// The client the user belongs to
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    client: u64,
    /// A privilege, or several with commas between them; may be repeated
    #[arg(long = "privilege", value_name = "NUMBER", value_delimiter = ',')]
    privileges: Vec<u64>,
    /// When it begins to be valid, in seconds after 1970; now without it
    #[arg(long, value_name = "UNIX")]
    start: Option<i64>,
    /// How long it is valid, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    ttl: i64,
}

impl Issue {
    fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let pem = certificate::read(&self.key)?;
        let key = SigningKey::from_pem(pem)
            .map_err(|error| Failure::local(format!("{}: {error}", self.key.display())))?;
        let start = self.start.unwrap_or_else(scamp_host::clock::unix_seconds);
        let privileges = self.privileges.iter().copied();
        let ticket = Content::new(self.user, self.client, start, self.ttl, privileges);
        let text = ticket
            .issue(&key)
            .map_err(|error| Failure::local(error.to_string()))?;
        if !terminal.json {
            return terminal.data(&text);
        }
        let mut object = Object::default();
        object.text("ticket", &text);
        fields(&mut object, &ticket);
        terminal.data(&object.end())
    }
}

/// Print what a ticket says, without checking it
#[derive(Args, Debug)]
struct Show {
    /// The ticket; `@FILE` reads it from a file, `-` from standard input
    ticket: String,
}

impl Show {
    fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let text = read(&self.ticket)?;
        let ticket = Content::decode(&text).map_err(|error| Failure::local(error.to_string()))?;
        if terminal.json {
            let mut object = Object::default();
            fields(&mut object, &ticket);
            return terminal.data(&object.end());
        }
        let end = ticket.start().saturating_add(ticket.ttl());
        let now = scamp_host::clock::unix_seconds();
        terminal.data(&format!("user        {}", ticket.user_id()))?;
        terminal.data(&format!("client      {}", ticket.client_id()))?;
        terminal.data(&format!("start       {}", ticket.start()))?;
        terminal.data(&format!(
            "end         {end} ({})",
            away(end.saturating_sub(now))
        ))?;
        terminal.data(&format!("privileges  {}", privileges(&ticket)))?;
        terminal.say("nothing was checked; `scamp ticket verify` does that");
        Ok(())
    }
}

/// Check a ticket's signature and time
///
/// The exit code is 6 if it is not valid.
#[derive(Args, Debug)]
struct Verify {
    /// The ticket; `@FILE` reads it from a file, `-` from standard input
    ticket: String,
    /// The public key of who issues tickets, or its certificate, PEM; without it the
    /// configuration's `auth.ticket_verify_key`
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// The time to judge it at, in seconds after 1970; now without it
    #[arg(long, value_name = "UNIX", allow_negative_numbers = true)]
    at: Option<i64>,
    /// How many seconds the issuer's clock may be from ours; without it the configuration's
    /// `ticket.clock_skew`, or 0 with --key
    #[arg(long, value_name = "SECONDS")]
    skew: Option<u64>,
}

impl Verify {
    fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        let (keys, configured) = self.keys(terminal, settings)?;
        let skew = self.skew.map_or(configured, Duration::from_secs);
        let text = read(&self.ticket)?;
        let now = self.at.unwrap_or_else(scamp_host::clock::unix_seconds);
        let outcome = keys.verify(&text, now, skew, &Rsa);
        let (reason, ticket) = match &outcome {
            Ok(verified) => (None, Some((**verified).clone())),
            Err(error) => {
                // Its time is judged last, when everything else is known to be good (T-5).
                let genuine = matches!(error, TicketError::Expired | TicketError::NotYetValid);
                let known = Content::decode(&text).ok().filter(|_| genuine);
                (Some(short(*error)), known)
            }
        };
        if terminal.json {
            let mut object = Object::default();
            object.truth("valid", reason.is_none());
            object.maybe("reason", reason);
            match &ticket {
                Some(ticket) => {
                    object.number("user_id", ticket.user_id());
                    object.number("client_id", ticket.client_id());
                    object.numbers("privileges", ticket.privileges());
                }
                None => ["user_id", "client_id", "privileges"]
                    .iter()
                    .for_each(|name| object.null(name)),
            }
            terminal.data(&object.end())?;
        } else if let (None, Some(ticket)) = (reason, &ticket) {
            let (user, client) = (ticket.user_id(), ticket.client_id());
            let end = ticket.start().saturating_add(ticket.ttl());
            let left = away(end.saturating_sub(now));
            terminal.data(&format!(
                "valid: user {user}, client {client}, privileges {}; it ends {left}",
                privileges(ticket)
            ))?;
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(Exit::Trust, error.to_string()).told()),
        }
    }

    fn keys(
        &self,
        terminal: Terminal,
        settings: &Settings,
    ) -> Result<(TicketKeys, Duration), Failure> {
        if let Some(file) = &self.key {
            let keys = TicketKeys::from_pem(certificate::read(file)?)
                .map_err(|error| Failure::local(format!("{}: {error}", file.display())))?;
            return Ok((keys, Duration::ZERO));
        }
        let config = settings.load(terminal)?.config;
        let keys = scamp_host::config::ticket_keys(&config)?.ok_or_else(|| {
            let places = scamp_host::config::places(&config.ticket_verify_keys());
            Failure::local(format!(
                "no ticket key: give --key or set auth.ticket_verify_key; looked for {places}"
            ))
        })?;
        Ok((keys, config.ticket_clock_skew()?))
    }
}

/// A ticket from the command line, a file or standard input.
fn read(given: &str) -> Result<String, Failure> {
    let file = match given.strip_prefix('@') {
        Some(file) => PathBuf::from(file),
        None if given == "-" => PathBuf::from("-"),
        None => return Ok(given.to_owned()),
    };
    String::from_utf8(certificate::read(&file)?)
        .map_err(|_| Failure::local(format!("{}: not a ticket", file.display())))
}

fn fields(object: &mut Object, ticket: &Content) {
    object.number("user_id", ticket.user_id());
    object.number("client_id", ticket.client_id());
    object.raw("start", &ticket.start().to_string());
    object.raw("ttl", &ticket.ttl().to_string());
    object.numbers("privileges", ticket.privileges());
}

fn privileges(ticket: &Content) -> String {
    let ids: Vec<String> = ticket.privileges().iter().map(u64::to_string).collect();
    match ids.is_empty() {
        true => "none".to_owned(),
        false => ids.join(" "),
    }
}

/// A number of seconds from now, or before now.
fn away(seconds: i64) -> String {
    let unit = |seconds: u64| match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    match seconds > 0 {
        true => format!("in {}", unit(seconds.unsigned_abs())),
        false => format!("{} ago", unit(seconds.unsigned_abs())),
    }
}

/// Why a ticket is not valid, in the words of the recorded ones.
fn short(error: TicketError) -> &'static str {
    match error {
        TicketError::BadSignature => "bad signature",
        TicketError::Expired => "expired",
        TicketError::Malformed => "malformed",
        TicketError::Missing => "missing",
        TicketError::NotYetValid => "not yet valid",
        TicketError::Version => "bad version",
        other => {
            debug_assert!(false, "{other} has no short name");
            "not valid"
        }
    }
}
