//! `scamp call`: one request.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{ArgGroup, Args, CommandFactory, error::ErrorKind};
use scamp_blocking::{Body, BodyWriter, CallError, Client, ExchangeError, Pin, RequestHead};
use scamp_blocking::{CloseReason, Fingerprint, RequestOptions};
use scamp_proto::error::Loss;
use scamp_proto::limits::{COLLECTED_BODY, CONNECT_TIMEOUT};
use scamp_proto::wire::Field;

use crate::action::Action;
use crate::arguments::Arguments;
use crate::certificate;
use crate::failure::{Exit, Failure};
use crate::json::{self, Object};
use crate::terminal::{Terminal, written};

/// Send one request; the reply's body goes to standard output
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("trust"))]
pub(crate) struct Call {
    /// What to call: `Name.space.verb`, optionally with `~VERSION`
    #[arg(value_parser = Action::parse)]
    action: Action,
    /// The request's body; `@FILE` reads a file, `-` standard input. Without it, standard input is
    /// sent, unless that is a terminal
    #[arg(allow_negative_numbers = true)]
    data: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "DATA", conflicts_with = "data", hide = true)]
    body: Option<String>,
    /// The service's address
    #[arg(long, value_name = "HOST:PORT", requires = "trust")]
    connect: Option<String>,
    /// Talk to the service only if its certificate has this fingerprint
    #[arg(long, value_name = "FP", group = "trust", requires = "connect")]
    fingerprint: Option<Fingerprint>,
    /// Talk to the service only if it has this certificate
    #[arg(long, value_name = "FILE", group = "trust", requires = "connect")]
    certificate: Option<PathBuf>,
    /// Talk to whoever answers: for diagnosis and tests only
    #[arg(long, group = "trust", requires = "connect")]
    any_certificate: bool,
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
    timeout: Option<Duration>,
    /// Print the reply's header on standard error
    #[arg(long)]
    show_header: bool,
    /// Pass on every piece at once, both ways; the timeout ends with the reply's header
    #[arg(long, conflicts_with = "json")]
    stream: bool,
}

impl Call {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let Some(address) = &self.connect else {
            return Err(no_address());
        };
        // Everything that can be wrong on this side, before anybody is disturbed.
        let pin = self.pin()?;
        let head = self.head()?;
        let source = Source::open(self.data.as_deref().or(self.body.as_deref()))?;
        crate::interrupt::ends_the_process()?;

        let begun = Instant::now();
        let client = self.connect(address, pin)?;
        if let Some(peer) = client.peer() {
            let fingerprint = peer.fingerprint();
            let taken = begun.elapsed();
            terminal.detail(&format!(
                "connected to {address}, {fingerprint}, after {taken:.1?}"
            ));
        }
        let options = RequestOptions {
            timeout: self.timeout.map(|all| all.saturating_sub(begun.elapsed())),
            timeout_covers_body: self.timeout.is_some() && !self.stream,
            ..RequestOptions::default()
        };
        let (writer, pending) = client.request(head, &options)?;
        let sender = Sender::start(source, writer, self.stream);
        let outcome = pending
            .wait()
            .map_err(Failure::from)
            .and_then(|reply| self.receive(terminal, begun, reply));
        terminal.detail(&format!("took {:.1?}", begun.elapsed()));
        for note in client.notes() {
            terminal.detail(&format!("noted: {}", note.what));
        }
        // The body's thread may still wait for its source; what is left to say is said without it.
        client.close();
        // What went wrong here comes before what it led to there.
        match sender.failure() {
            Some(failure) => Err(failure),
            None => outcome,
        }
    }

    fn connect(&self, address: &str, pin: Pin) -> Result<Client, Failure> {
        let limit = self.timeout.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT);
        let connected = Client::builder(pin).connect_timeout(limit).connect(address);
        connected.map_err(|error| match &error {
            // The caller's deadline covers connecting (S-21); our own limit is another matter.
            CallError::NoReply(ExchangeError::NotEstablished(CloseReason::Lost(
                Loss::ConnectTimeout(_),
            ))) if self.timeout.is_some_and(|all| all <= CONNECT_TIMEOUT) => Failure {
                exit: Exit::Timeout,
                ..Failure::from(error)
            },
            _ => Failure::from(error),
        })
    }

    fn pin(&self) -> Result<Pin, Failure> {
        if let Some(fingerprint) = self.fingerprint {
            return Ok(Pin::Fingerprint(fingerprint));
        }
        if let Some(file) = &self.certificate {
            let first = certificate::load(file)?.into_iter().next();
            return Ok(Pin::Certificate(
                first.expect("a loaded file has a certificate"),
            ));
        }
        Ok(Pin::AnyCertificate)
    }

    fn head(&self) -> Result<RequestHead<'static>, Failure> {
        let mut head = RequestHead::new(self.action.name.clone())
            .version(self.action.version)
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

    fn receive(
        &self,
        terminal: Terminal,
        begun: Instant,
        reply: scamp_blocking::IncomingReply,
    ) -> Result<(), Failure> {
        let header = json::one_line(reply.header.as_json());
        if self.show_header {
            terminal.always(&header);
        }
        let error = reply.error();
        if !terminal.json {
            let octets = print(reply.body, self.stream)?;
            terminal.detail(&format!("reply of {octets} octets"));
            return error.map_or(Ok(()), |error| Err(error.into()));
        }
        let body = reply
            .body
            .collect(COLLECTED_BODY)
            .map_err(CallError::from)?;
        if let Some(error) = error {
            return Err(error.into());
        }
        let mut object = Object::default();
        object.text("action", &self.action.to_string());
        object.raw("header", &header);
        object.number("octets", body.len() as u64);
        body_member(&mut object, &body);
        object.seconds("seconds", begun.elapsed());
        terminal.data(&object.end())
    }
}

/// The error for a command line without `--connect`.
fn no_address() -> Failure {
    let text = "call needs --connect HOST:PORT: this version does not look services up";
    let mut command = Arguments::command();
    command.build();
    let call = command.find_subcommand_mut("call").expect("it is a verb");
    // Whoever reads it may have gone, which changes nothing.
    let _ = call.error(ErrorKind::MissingRequiredArgument, text).print();
    Failure::new(Exit::Usage, "")
}

/// Shows a body as what it is: JSON, text, or octets.
fn body_member(object: &mut Object, body: &[u8]) {
    match std::str::from_utf8(body) {
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            object.raw("body", text);
        }
        Ok(text) => object.text("body_text", text),
        Err(_) => object.text("body_base64", &BASE64.encode(body)),
    }
}

/// Copies a reply's body to standard output as it comes; returns its length in octets.
fn print(body: Body, at_once: bool) -> Result<u64, Failure> {
    let mut out = io::stdout().lock();
    let mut octets = 0;
    for piece in body {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // What did arrive is shown (S-8); the error matters more than a second one here.
                let _ = out.flush();
                return Err(CallError::from(error).into());
            }
        };
        octets += piece.len() as u64;
        out.write_all(&piece).map_err(|error| written(&error))?;
        if at_once {
            out.flush().map_err(|error| written(&error))?;
        }
    }
    out.flush().map_err(|error| written(&error))?;
    Ok(octets)
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

/// Where a request's body comes from.
enum Source {
    Text(Vec<u8>),
    Reader {
        name: String,
        input: Box<dyn Read + Send>,
    },
}

impl Source {
    fn open(data: Option<&str>) -> Result<Self, Failure> {
        let stdin = || Self::Reader {
            name: "standard input".to_owned(),
            input: Box::new(io::stdin()),
        };
        Ok(match data {
            None if io::IsTerminal::is_terminal(&io::stdin()) => Self::Text(Vec::new()),
            None | Some("-" | "@-") => stdin(),
            Some(text) => match text.strip_prefix('@') {
                None => Self::Text(text.as_bytes().to_vec()),
                Some(name) => {
                    let file = File::open(name).map_err(|error| Failure::file(name, &error))?;
                    let (name, input) = (name.to_owned(), Box::new(file));
                    Self::Reader { name, input }
                }
            },
        })
    }
}

/// Sends a request's body from a thread of its own, since the reply may come before it is through.
struct Sender {
    failure: Arc<Mutex<Option<Failure>>>,
}

impl Sender {
    fn start(source: Source, writer: BodyWriter, at_once: bool) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let note = failure.clone();
        match source {
            Source::Text(text) if text.is_empty() => {
                // If it cannot be sent, the reply says so.
                let _ = writer.finish();
            }
            Source::Text(text) => {
                thread::spawn(move || send(writer, &mut text.as_slice(), "", at_once, &note));
            }
            Source::Reader { name, mut input } => {
                thread::spawn(move || send(writer, &mut input, &name, at_once, &note));
            }
        }
        Self { failure }
    }

    /// What went wrong on this side, if anything did.
    fn failure(&self) -> Option<Failure> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

/// Copies the body. Faults of the connection are left for the reply to report.
fn send(
    mut writer: BodyWriter,
    input: &mut dyn Read,
    name: &str,
    at_once: bool,
    failure: &Mutex<Option<Failure>>,
) {
    let mut room = vec![0; PIECE];
    loop {
        let piece = match input.read(&mut room) {
            Ok(0) => break,
            Ok(len) => room.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // Noted before the peer learns of it and answers.
                *failure.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Failure::file(name, &error));
                let _ = writer.fail("the request's source failed");
                return;
            }
        };
        let sent = writer.write_all(piece);
        if sent
            .and_then(|()| if at_once { writer.flush() } else { Ok(()) })
            .is_err()
        {
            return;
        }
    }
    let _ = writer.finish();
}

/// Octets read from a body's source at a time.
const PIECE: usize = 65_536;

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

    /// `--json` shows a body as what it is.
    #[test]
    fn bodies() {
        let shown = |body: &[u8]| {
            let mut object = Object::default();
            body_member(&mut object, body);
            object.end()
        };
        assert_eq!(shown(b"{\"a\" : 1e400}"), r#"{"body":{"a":1e400}}"#);
        assert_eq!(shown(b"hello"), r#"{"body_text":"hello"}"#);
        assert_eq!(shown(b""), r#"{"body_text":""}"#);
        assert_eq!(shown(b"\xff\x00"), r#"{"body_base64":"/wA="}"#);
    }
}
