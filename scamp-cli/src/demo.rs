//! `scamp demo`: a whole exchange of everything, in one process, with nothing to set up.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use scamp_blocking::{CallError, Client, Fingerprint, Pin, RequestOptions, ServiceHandle};
use sha1::{Digest, Sha1};

use crate::failure::{Exit, Failure};
use crate::json::Object;
use crate::keygen::make;
use crate::offer::{Offer, generated};
use crate::terminal::{FIELD, Paint, Terminal, outside, outside_octets};

/// Show a whole exchange: a service and a client in this process, over TLS on the loopback
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The length of the streamed body, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8,
        value_parser = clap::value_parser!(u64).range(1..=65_536))]
    size: u64,
}

impl Demo {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let mut show = Show {
            terminal,
            paint: terminal.paint(),
            begun: Instant::now(),
        };
        if !terminal.json {
            let title =
                "scamp demo: a service and a client in this process, over TLS on the loopback";
            terminal.data(&format!("{}\n", show.paint.strong(title)))?;
        }
        let (made, identity) = make(NAME, BITS)?;
        drop(made);
        let fingerprint = identity.fingerprint();
        show.step(
            "key",
            &format!("RSA-{BITS} for this run, in memory\nfingerprint {fingerprint}"),
            |o| {
                o.number("bits", BITS.into());
                o.text("fingerprint", &fingerprint.to_string());
            },
        )?;

        let offer = Offer {
            name: NAME.to_owned(),
            prefixes: vec!["Demo".to_owned()],
            verbose: false,
        };
        let (builder, actions) = offer.service(identity)?;
        let service = builder
            .bind("127.0.0.1:0")
            .map_err(|error| Failure::file("cannot listen on 127.0.0.1", &error))?;
        let (address, handle) = (service.local_addr().to_string(), service.handle());
        let text = format!("{NAME} on {address}, {} actions", actions.len());
        show.step("serve", &text, |o| {
            o.text("name", NAME);
            o.text("address", &address);
            o.texts("actions", actions.iter().map(String::as_str));
        })?;
        let running = thread::spawn(move || service.run());

        let outcome = self.conversation(&mut show, &address, fingerprint, &handle);
        handle.shutdown();
        if running.join().is_err() && outcome.is_ok() {
            return Err(Failure::local("the service ended in a panic"));
        }
        outcome
    }

    /// Everything between connecting and closing.
    fn conversation(
        &self,
        show: &mut Show,
        address: &str,
        fingerprint: Fingerprint,
        handle: &ServiceHandle,
    ) -> Result<(), Failure> {
        refused(show, address)?;
        let client = Client::connect(address, Pin::Fingerprint(fingerprint))?;
        let version = client.tls_version();
        let version = version.map_or_else(String::new, |version| version.to_string());
        let text = format!("TLS {version}, the fingerprint is the one expected");
        show.step("connect", &text, |o| {
            o.text("tls", &version);
            o.text("fingerprint", &fingerprint.to_string());
        })?;

        call(show, &client, "hello", "Greetings.hello~1", r#""World""#)?;
        call(
            show,
            &client,
            "echo",
            "Demo.echo~1",
            r#"{"n":1,"text":"any JSON"}"#,
        )?;
        error_reply(show, &client)?;
        at_once(show, &client)?;
        self.streams(show, &client)?;
        subscription(show, &client, handle)?;

        let stats = client.stats();
        let (octets_out, octets_in) = (stats.octets_out, stats.octets_in);
        client.close();
        let text = format!("{octets_out} octets sent and {octets_in} received on one connection");
        show.step("close", &text, |o| {
            o.number("octets_out", octets_out);
            o.number("octets_in", octets_in);
        })
    }

    /// A body that is sent and comes back at the same time, and is never whole anywhere.
    fn streams(&self, show: &mut Show, client: &Client) -> Result<(), Failure> {
        let octets = self.size * 1024 * 1024;
        let begun = Instant::now();
        let options = RequestOptions::default();
        let (mut writer, pending) = client.request("Demo.echo~1", &options)?;
        let sender = thread::spawn(move || -> io::Result<Sha1> {
            let mut sum = Sha1::new();
            let mut piece = Vec::with_capacity(PIECE);
            let mut at = 0;
            while at < octets {
                piece.clear();
                piece.extend((at..octets.min(at + PIECE as u64)).map(generated));
                sum.update(&piece);
                writer.write_all(&piece)?;
                at += piece.len() as u64;
            }
            writer.finish().map_err(io::Error::other)?;
            Ok(sum)
        });
        let mut body = pending.wait()?.body;
        let mut sum = Sha1::new();
        let mut back = 0;
        while let Some(piece) = body.chunk().map_err(CallError::from)? {
            sum.update(&piece);
            back += piece.len() as u64;
            show.progress("stream", back, octets);
        }
        show.clear_progress();
        let sent = sender
            .join()
            .map_err(|_| Failure::local("the sender ended in a panic"))?;
        let sent = sent.map_err(|error| Failure::new(Exit::Lost, error.to_string()))?;
        let (sent, sum) = (hex(&sent.finalize()), hex(&sum.finalize()));
        if (back, &sum) != (octets, &sent) {
            return Err(wrong(
                "stream",
                &format!("{back} octets came back, SHA-1 {sum}"),
            ));
        }
        let rate = octets as f64 / begun.elapsed().as_secs_f64() / (1024.0 * 1024.0);
        let text = format!(
            "{} MiB sent and back at once, {rate:.0} MiB/s each way\nSHA-1 {sum}, both ways the same",
            self.size
        );
        show.step("stream", &text, |o| {
            o.text("action", "Demo.echo~1");
            o.number("octets", octets);
            o.text("sha1", &sum);
        })
    }
}

const NAME: &str = "demo-greeter";

/// A key that lasts a second need not take long to make; services use 4096.
const BITS: u32 = 2048;

/// Octets written at a time.
const PIECE: usize = 65_536;

/// A client that expects somebody else says nothing at all.
fn refused(show: &mut Show, address: &str) -> Result<(), Failure> {
    let other = Fingerprint::of(b"somebody else");
    match Client::connect(address, Pin::Fingerprint(other)) {
        Ok(_) => Err(wrong("trust", "another fingerprint was accepted")),
        Err(error) => {
            let failure = Failure::from(error);
            if failure.exit != Exit::Trust {
                return Err(failure);
            }
            let text = "a client that expects another fingerprint is refused, and sends nothing";
            show.step("trust", text, |o| o.text("refused", &failure.text))
        }
    }
}

fn call(
    show: &mut Show,
    client: &Client,
    step: &str,
    action: &str,
    body: &str,
) -> Result<(), Failure> {
    let response = client.call(action, body.to_owned())?;
    let reply = String::from_utf8_lossy(&response.body).into_owned();
    let text = format!("{action} {body} -> {}", outside(&reply, FIELD));
    show.step(step, &text, |o| {
        o.text("action", action);
        o.raw("body", body);
        o.text("reply", &reply);
    })
}

fn error_reply(show: &mut Show, client: &Client) -> Result<(), Failure> {
    let body = r#"{"code":"x_teapot","text":"short and stout"}"#;
    match client.call("Demo.fail~1", body) {
        Err(CallError::Remote(error)) => {
            let text = format!("Demo.fail~1 -> error_code {}, {:?}", error.code, error.text);
            show.step("error", &text, |o| {
                o.text("action", "Demo.fail~1");
                o.text("error_code", &error.code);
                o.text("error", &error.text);
            })
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(wrong("error", "it succeeded")),
    }
}

/// All requests are under way before the first reply is looked at.
fn at_once(show: &mut Show, client: &Client) -> Result<(), Failure> {
    let options = RequestOptions::default();
    let mut pending = Vec::new();
    for number in 0..AT_ONCE {
        let (mut writer, reply) = client.request("Demo.echo~1", &options)?;
        let written = write!(writer, "{number}");
        written.map_err(|error| Failure::new(Exit::Lost, error.to_string()))?;
        writer.finish()?;
        pending.push((number, reply));
    }
    for (number, reply) in pending {
        let body = reply.wait()?.body.collect(FIELD).map_err(CallError::from)?;
        if body != number.to_string() {
            let text = outside_octets(&body, FIELD);
            return Err(wrong(
                "at_once",
                &format!("request {number} was answered {text}"),
            ));
        }
    }
    let text = format!("{AT_ONCE} requests at once on one connection, each with its own reply");
    show.step("at_once", &text, |o| {
        o.text("action", "Demo.echo~1");
        o.number("requests", AT_ONCE);
    })
}

const AT_ONCE: u64 = 64;

fn subscription(show: &mut Show, client: &Client, handle: &ServiceHandle) -> Result<(), Failure> {
    handle.publish("weather", "Lisbon", "21");
    let mut changes = client.subscribe(&["weather"])?;
    let mut seen = Vec::new();
    for news in [None, Some("22"), Some("19")] {
        if let Some(value) = news {
            handle.publish("weather", "Lisbon", value);
        }
        let told = changes
            .next()
            .ok_or_else(|| wrong("subscribe", "the connection ended"))?;
        seen.extend(told.into_iter().map(|change| change.value));
    }
    if seen != ["21", "22", "19"] {
        return Err(wrong("subscribe", &format!("was told {seen:?}")));
    }
    let text = format!("weather in Lisbon: {}, as it changed", seen.join(", "));
    show.step("subscribe", &text, |o| {
        o.text("topic", "weather");
        o.raw("values", &format!("[{}]", seen.join(",")));
    })
}

/// What must not happen between this program and itself.
fn wrong(step: &str, text: &str) -> Failure {
    Failure::local(format!("demo, step {step}: {text}"))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Tells each step as it is done.
struct Show {
    terminal: Terminal,
    paint: Paint,
    /// When the current step began.
    begun: Instant,
}

impl Show {
    /// Shows a step that has succeeded, and begins the next. Further lines of `text` are details.
    fn step(
        &mut self,
        name: &str,
        text: &str,
        members: impl FnOnce(&mut Object),
    ) -> Result<(), Failure> {
        let taken = self.begun.elapsed();
        let shown = match self.terminal.json {
            true => {
                let mut object = Object::default();
                object.text("step", name);
                object.truth("ok", true);
                members(&mut object);
                object.seconds("seconds", taken);
                self.terminal.data(&object.end())
            }
            false => {
                let mut lines = text.lines();
                let first = lines.next().unwrap_or_default();
                let mark = self.paint.good(&format!("{name:<10}"));
                let taken = self.paint.faint(&format!("({})", short(taken)));
                let mut shown = format!("  {mark} {first} {taken}");
                for line in lines {
                    let _ = write!(shown, "\n  {:<10} {}", "", self.paint.faint(line));
                }
                self.terminal.data(&shown)
            }
        };
        self.begun = Instant::now();
        shown
    }

    /// Overwrites a line with how far a step has come, where that can be seen.
    fn progress(&self, name: &str, done: u64, all: u64) {
        if self.is_live() {
            let percent = done * 100 / all.max(1);
            eprint!("\r  {name:<10} {percent:>3} %");
        }
    }

    fn is_live(&self) -> bool {
        self.paint.is_on() && io::stderr().is_terminal()
    }

    fn clear_progress(&self) {
        if self.is_live() {
            eprint!("\r\u{1b}[K");
        }
    }
}

fn short(span: Duration) -> String {
    match span.as_micros() {
        0..1000 => format!("{} us", span.as_micros()),
        1000..10_000_000 => format!("{:.1} ms", span.as_secs_f64() * 1000.0),
        _ => format!("{:.1} s", span.as_secs_f64()),
    }
}
