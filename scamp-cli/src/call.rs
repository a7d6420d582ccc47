//! `scamp call`: one request.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{ArgGroup, Args};
use scamp_blocking::{
    Body, BodyWriter, CallError, IncomingReply, Pin, RequestHead, RequestOptions,
};
use scamp_proto::limits::COLLECTED_BODY;

use crate::action::Action;
use crate::asking::Asking;
use crate::completion;
use crate::failure::Failure;
use crate::finder::Finder;
use crate::json::{self, Object};
use crate::peer::{self, Peer};
use crate::settings::Settings;
use crate::terminal::{FIELD, Terminal, outside, written};

/// Send one request; the reply's body goes to standard output
///
/// The service is found by the action's name, as the configuration says; --connect says where it is
/// instead. On a bus of this machine alone, one that is not there yet is waited for: for two announce
/// intervals and a second.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("trust"))]
pub(crate) struct Call {
    /// What to call: `[SECTOR:]Name.space.verb[~VERSION]`
    #[arg(value_parser = Action::parse, add = completion::actions())]
    action: Action,
    /// The request's body; `@FILE` reads a file, `-` standard input. Without it, standard input is
    /// sent, unless that is a terminal
    #[arg(allow_negative_numbers = true)]
    data: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "DATA", conflicts_with = "data", hide = true)]
    body: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    peer: Peer,
    /// Print the reply's header on standard error
    #[arg(long)]
    show_header: bool,
    /// Pass on every piece at once, both ways; the timeout ends with the reply's header
    #[arg(long, conflicts_with = "json")]
    stream: bool,
    /// Send nothing: print which instance would be asked, and why the others would not
    #[arg(long, conflicts_with = "connect")]
    dry_run: bool,
}

impl Call {
    pub(crate) fn run(&self, terminal: Terminal, settings: &Settings) -> Result<(), Failure> {
        if self.dry_run {
            let finder = Finder::open(terminal, settings)?;
            return self.asking.dry_run(terminal, &self.action, &finder);
        }
        // Everything that can be wrong on this side, before anybody is disturbed.
        let head = self.asking.head(&self.action)?;
        let source = || Source::open(self.data.as_deref().or(self.body.as_deref()));
        match &self.peer.connect {
            Some(address) => {
                let pin = self.peer.pin()?;
                let source = source()?;
                crate::interrupt::ends_the_process()?;
                self.directly(terminal, address, pin, head, source)
            }
            None => {
                let source = source()?;
                let finder = Finder::open(terminal, settings)?;
                crate::interrupt::ends_the_process()?;
                self.by_name(terminal, &finder, &head, source)
            }
        }
    }

    fn directly(
        &self,
        terminal: Terminal,
        address: &str,
        pin: Pin,
        head: RequestHead<'static>,
        source: Source,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let timeout = self.asking.timeout;
        let client = peer::connect(address, pin, timeout)?;
        if let Some(peer) = client.peer() {
            let fingerprint = peer.fingerprint();
            let taken = begun.elapsed();
            terminal.detail(&format!(
                "connected to {address}, {fingerprint}, after {taken:.1?}"
            ));
        }
        let options = RequestOptions {
            timeout: timeout.map(|all| all.saturating_sub(begun.elapsed())),
            timeout_covers_body: timeout.is_some() && !self.stream,
            ..RequestOptions::default()
        };
        let (writer, pending) = client.request(head, &options)?;
        let sender = Sender::start(source, writer, self.stream);
        let outcome = self.receive(terminal, begun, pending.wait());
        terminal.detail(&format!("took {:.1?}", begun.elapsed()));
        for note in client.notes() {
            terminal.detail(&format!("noted: {}", note.what));
        }
        // The body's thread may still wait for its source; what is left to say is said without it.
        client.close();
        // What went wrong here comes before what it led to there.
        sender.failure().map_or(outcome, Err)
    }

    fn by_name(
        &self,
        terminal: Terminal,
        finder: &Finder,
        head: &RequestHead<'static>,
        mut source: Source,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let limit = self.asking.timeout;
        let ask = || {
            let ask = self.asking.ask(&self.action, head.clone());
            match limit {
                Some(all) => ask.timeout(all.saturating_sub(begun.elapsed())),
                None => ask,
            }
        };
        // A body that is all there can be sent again (S-32); until it is sent, the requester sees to
        // further attempts by itself.
        let mut again = match &source {
            Source::Text(text) => Some(text.clone()),
            Source::Reader { .. } => None,
        };
        let (reply, sender) = loop {
            let request = || finder.requester.request(ask());
            let (writer, pending) = finder.patiently(terminal, limit, request)?;
            let sender = Sender::start(source, writer, self.stream);
            let reply = pending.wait();
            let error = match &reply {
                Ok(reply) => reply.error().map(CallError::from),
                Err(error) => Some(error.clone()),
            };
            match (error, again.take()) {
                (Some(error), Some(text))
                    if self.asking.may_repeat(&self.action, finder, &error) =>
                {
                    terminal.detail(&format!(
                        "{}; asking once more",
                        outside(&error.to_string(), FIELD)
                    ));
                    source = Source::Text(text);
                }
                _ => break (reply, sender),
            }
        };
        let outcome = self.receive(terminal, begun, reply);
        terminal.detail(&format!("took {:.1?}", begun.elapsed()));
        finder.tell_notes(terminal);
        sender.failure().map_or(outcome, Err)
    }

    fn receive(
        &self,
        terminal: Terminal,
        begun: Instant,
        reply: Result<IncomingReply, CallError>,
    ) -> Result<(), Failure> {
        let reply = reply?;
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
