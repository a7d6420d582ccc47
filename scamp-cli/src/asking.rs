//! What is asked for beside the action, and what directories know of it.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use scamp_blocking::{Ask, CallError, ExchangeError, RequestHead};
use scamp_proto::discovery::{Instance, LookupError, Marks, Query};
use scamp_proto::error::{DispatchError, Phase};
use scamp_proto::wire::Field;
use scamp_proto::{Instant, Rng};

use crate::action::Action;
use crate::certificate;
use crate::failure::Failure;
use crate::finder::Finder;
use crate::json::{self, Object};
use crate::table::{Table, Tone};
use crate::terminal::Terminal;

/// How a request is made, whichever way it goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Asking {
    /// Look for the action in this sector, as if it stood before its name
    #[arg(long, conflicts_with = "connect")]
    sector: Option<String>,
    /// Ask this instance only: its identity, or `FINGERPRINT#IDENTITY`
    #[arg(long, value_name = "ID", conflicts_with = "connect")]
    instance: Option<String>,
    /// Doing it twice does no harm, so it may be asked again when a connection is lost; without this
    /// the action's flag `read` says so
    #[arg(long, conflicts_with = "connect")]
    idempotent: bool,
    /// How the body is to be understood
    #[arg(long, default_value = "json")]
    envelope: String,
    /// The ticket that says who asks; `@FILE` reads it from a file
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// The client the request is made for
    #[arg(long, value_name = "NUMBER")]
    client_id: Option<u64>,
    /// A field of the request's header: `key=text`, or `key:=JSON`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = Extra::parse)]
    headers: Vec<Extra>,
    /// How long it may take, connecting and the reply included: `2s`, `500ms`, `1m`
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) timeout: Option<Duration>,
}

impl Asking {
    pub(crate) fn head(&self, action: &Action) -> Result<RequestHead<'static>, Failure> {
        let mut head = RequestHead::new(action.name.clone())
            .version(action.version)
            .envelope(self.envelope.clone());
        if let Some(ticket) = &self.ticket {
            head = head.ticket(match ticket.strip_prefix('@') {
                Some(file) => secret(Path::new(file))?,
                None => ticket.clone(),
            });
        }
        head.client_id = self.client_id;
        for Extra { name, json } in &self.headers {
            let text = || serde_json::from_str::<String>(json).unwrap_or_else(|_| json.clone());
            head = match name.as_str() {
                "ticket" => head.ticket(text()),
                "identifying_token" => head.identifying_token(text()),
                "terminal" => head.terminal(text()),
                "client_id" => {
                    let number = text().parse();
                    let bad = |_| Failure::usage("-H client_id: not a number");
                    head.client_id(number.map_err(bad)?)
                }
                _ => head.extra(name.clone(), json.clone()),
            };
        }
        Ok(head)
    }

    /// The same for a requester, which has a time limit of its own.
    pub(crate) fn ask<'a>(&'a self, action: &'a Action, head: RequestHead<'a>) -> Ask<'a> {
        let mut ask = Ask::from(head);
        if let Some(sector) = self.sector_of(action) {
            ask = ask.in_sector(sector);
        }
        if let Some(instance) = &self.instance {
            ask = ask.at(instance);
        }
        match self.idempotent {
            true => ask.idempotent(true),
            false => ask,
        }
    }

    /// Whether what failed may be asked again, of another instance (S-32, S-33).
    pub(crate) fn may_repeat(&self, action: &Action, finder: &Finder, error: &CallError) -> bool {
        let is_lost = matches!(
            error,
            CallError::NoReply(ExchangeError::ConnectionLost {
                phase: Phase::Sending | Phase::Waiting,
                ..
            })
        );
        let is_safe = error.is_dispatch_failure()
            && matches!(error, CallError::NoReply(_) | CallError::Remote(_));
        self.instance.is_none() && (is_safe || is_lost && self.is_idempotent(action, finder))
    }

    fn is_idempotent(&self, action: &Action, finder: &Finder) -> bool {
        let (directory, authorized) = (finder.requester.directory(), finder.requester.authorized());
        let found = directory.lookup(&self.query(action, finder), &authorized);
        let mut found = found.into_iter().flatten();
        self.idempotent || found.any(|candidate| candidate.action.flags.is_read())
    }

    fn sector_of<'a>(&'a self, action: &'a Action) -> Option<&'a str> {
        let written = action.has_sector.then_some(action.sector.as_str());
        self.sector.as_deref().or(written)
    }

    fn query<'a>(&'a self, action: &'a Action, finder: &'a Finder) -> Query<'a> {
        Query {
            sector: self.sector_of(action).unwrap_or(&finder.sector),
            action: &action.name,
            version: action.version,
            envelope: &self.envelope,
            instance: self.instance.as_deref(),
        }
    }

    /// Whether there is somebody to ask.
    pub(crate) fn look_up(
        &self,
        terminal: Terminal,
        action: &Action,
        finder: &Finder,
    ) -> Result<(), Failure> {
        let query = self.query(action, finder);
        let name = format!("{}:{action}", query.sector);
        let requester = &finder.requester;
        finder.patiently(terminal, self.timeout, || {
            let (directory, authorized) = (requester.directory(), requester.authorized());
            match directory.lookup(&query, &authorized) {
                Ok(_) => Ok(()),
                Err(error) => Err(refused(&query, &name, error).into()),
            }
        })
    }

    /// Chooses as a call would, and says why so; the exit code is the call's.
    pub(crate) fn dry_run(
        &self,
        terminal: Terminal,
        action: &Action,
        finder: &Finder,
    ) -> Result<(), Failure> {
        let query = self.query(action, finder);
        let name = format!("{}:{action}", query.sector);
        let requester = &finder.requester;
        let found = self.look_up(terminal, action, finder);
        let (directory, authorized) = (requester.directory(), requester.authorized());
        let seed = scamp_host::seed().map_err(|error| Failure::file("random numbers", &error))?;
        let chosen = directory
            .lookup(&query, &authorized)
            .ok()
            .and_then(|found| {
                let (now, mut rng) = (Instant::EPOCH, Rng::new(seed));
                let selection = finder.selection;
                selection.choose(found, &Marks::new(), |_| 0, &mut rng, now)
            });
        let chosen = chosen.map(|candidate| candidate.instance.clone());
        let mut others = Vec::new();
        for (instance, reason) in directory.explain(&query, &authorized) {
            let is_chosen = chosen.as_ref().is_some_and(|chosen| {
                chosen.fingerprint() == instance.fingerprint()
                    && chosen.identity() == instance.identity()
            });
            if !is_chosen {
                let reason = reason.map_or(LOST.to_owned(), |reason| reason.to_string());
                others.push((instance, reason));
            }
        }
        if terminal.json {
            let mut object = Object::default();
            object.text("action", &name);
            match &chosen {
                Some(chosen) => object.raw("chosen", &instance_json(chosen, None)),
                None => object.null("chosen"),
            }
            let others: Vec<String> = others
                .iter()
                .map(|(instance, reason)| instance_json(instance, Some(reason)))
                .collect();
            object.objects("others", &others);
            terminal.data(&object.end())?;
            return found.map_err(Failure::told);
        }
        let mut table = Table::new(&["ID", "Address", "Weight", "Fingerprint", "Outcome"]);
        table.numbers(&[2]);
        let mut row = |instance: &Instance, outcome: &str, tone| {
            let row = [
                instance.identity(),
                &instance.uri().to_string(),
                &instance.weight().to_string(),
                &instance.fingerprint().to_string(),
                outcome,
            ];
            table.row(row, tone);
        };
        if let Some(chosen) = &chosen {
            row(chosen, "chosen", Tone::Good);
        }
        for (instance, reason) in &others {
            row(instance, reason, Tone::Faint);
        }
        table.print(terminal)?;
        found
    }
}

/// Why an instance is not chosen that could have been.
const LOST: &str = "as good, but another was chosen";

fn instance_json(instance: &Instance, reason: Option<&str>) -> String {
    let mut object = Object::default();
    object.text("identity", instance.identity());
    object.text("fingerprint", &instance.fingerprint().to_string());
    object.text("uri", &instance.uri().to_string());
    object.text("sector", instance.sector());
    object.float("weight", instance.weight());
    if let Some(reason) = reason {
        object.text("reason", reason);
    }
    object.end()
}

fn refused(query: &Query<'_>, name: &str, error: LookupError) -> DispatchError {
    match error {
        LookupError::NotAuthorized => DispatchError::NotAuthorized(name.to_owned()),
        LookupError::StaleCache => DispatchError::StaleCache,
        LookupError::UnsupportedEnvelope => DispatchError::UnsupportedEnvelope {
            action: name.to_owned(),
            envelope: query.envelope.to_owned(),
        },
        _ => DispatchError::NotFound(name.to_owned()),
    }
}

/// A header field given on the command line.
#[derive(Clone, Debug)]
struct Extra {
    name: String,
    json: String,
}

impl Extra {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("expected key=text or key:=JSON")?;
        let (name, json) = match name.strip_suffix(':') {
            Some(name) => {
                let valid = serde_json::from_str::<serde::de::IgnoredAny>(value);
                valid.map_err(|error| format!("the value after := is not JSON: {error}"))?;
                (name, json::one_line(value))
            }
            None => (name, json::string(value)),
        };
        let own = ["ticket", "identifying_token", "terminal", "client_id"];
        if name.is_empty() {
            return Err("the key is empty".to_owned());
        }
        if Field::ALL.iter().any(|field| field.name() == name) && !own.contains(&name) {
            return Err(format!(
                "{name} has an option of its own, or is not for requests"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            json,
        })
    }
}

/// A time on the command line: seconds, or a number with `ms`, `s` or `m`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err("the units are ms, s and m".to_owned()),
    };
    let plain = digits
        .bytes()
        .all(|octet| octet.is_ascii_digit() || octet == b'.');
    let number: Option<f64> = digits.parse().ok().filter(|_| plain);
    let seconds = number.ok_or("not a time: expected 2s, 500ms or 1m")? * unit;
    match (0.001..=DAY).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("a time is from 1ms to 1440m".to_owned()),
    }
}

/// The longest timeout, in seconds; action flags know none longer either (S-21).
const DAY: f64 = 86_400.0;

/// A ticket from a file, without the white space around it.
fn secret(file: &Path) -> Result<String, Failure> {
    let octets = certificate::read(file)?;
    let text = String::from_utf8(octets)
        .map_err(|_| Failure::local(format!("{}: not text", file.display())))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cli.md: `--timeout 2s`; K-4: a number alone is seconds.
    #[test]
    fn times() {
        assert_eq!(span("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(span("1m"), Ok(Duration::from_secs(60)));
        for bad in [
            "", "s", "0", "-1s", "2h", "1e9", "inf", "NaN", "2 s", "1441m", "1.2.3s",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    /// H-10: the fields the request writes itself cannot be given twice.
    #[test]
    fn extras() {
        let parse = |text| Extra::parse(text).map(|extra| (extra.name, extra.json));
        assert_eq!(parse("a=b=c"), Ok(("a".into(), "\"b=c\"".into())));
        assert_eq!(parse("a:={\"n\": 1}"), Ok(("a".into(), "{\"n\":1}".into())));
        assert_eq!(parse("ticket=x"), Ok(("ticket".into(), "\"x\"".into())));
        for bad in [
            "a",
            "=x",
            ":=1",
            "a:=x",
            "type=x",
            "request_id:=1",
            "action=x",
            "error=x",
        ] {
            assert!(Extra::parse(bad).is_err(), "{bad}");
        }
    }
}
