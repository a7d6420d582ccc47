//! The actions that `serve` and `demo` offer.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scamp_blocking::{Action, Body, BodyWriter, Identity, RemoteError, Reply, Request};
use scamp_blocking::{Service, ServiceBuilder};
use scamp_proto::session::{Config, Side};
use serde_json::Value;

use crate::failure::Failure;
use crate::json::{self, Object};

/// What a service made of these actions is called, and under which namespaces it offers them.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) name: String,
    pub(crate) prefixes: Vec<String>,
    /// Whether each request is told on standard error.
    pub(crate) verbose: bool,
}

impl Offer {
    /// A service with the actions, ready to be bound, and their names.
    pub(crate) fn service(
        &self,
        identity: Identity,
    ) -> Result<(ServiceBuilder, Vec<String>), Failure> {
        let mut session = Config::new(Side::Server);
        session.subscriptions = true;
        self.add_to(Service::builder(identity).session(session))
    }

    /// Adds the actions to a service, and tells their names.
    pub(crate) fn add_to(
        &self,
        mut builder: ServiceBuilder,
    ) -> Result<(ServiceBuilder, Vec<String>), Failure> {
        let shared = Arc::new(Shared {
            name: self.name.clone(),
            begun: Instant::now(),
            requests: AtomicU64::new(0),
            verbose: self.verbose,
        });
        let mut names: Vec<String> = Vec::new();
        let wanted = self
            .prefixes
            .iter()
            .flat_map(|prefix| ACTIONS.iter().map(move |action| (prefix.as_str(), action)))
            .chain(
                ACTIONS
                    .iter()
                    .filter(|action| action.word == "hello")
                    .map(|a| ("Greetings", a)),
            );
        for (prefix, action) in wanted {
            let name = format!("{prefix}.{}~1", action.word);
            // Names are compared without regard to case (V-5).
            if names.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
                continue;
            }
            builder = add(builder, &name, action, shared.clone())
                .map_err(|error| Failure::usage(error.to_string()))?;
            names.push(name);
        }
        Ok((builder, names))
    }
}

fn add(
    builder: ServiceBuilder,
    name: &str,
    action: &'static Offered,
    shared: Arc<Shared>,
) -> Result<ServiceBuilder, scamp_blocking::ActionError> {
    let parsed = Action::parse(name)?
        .noauth()
        // None of them changes anything, so each may be asked twice (S-32).
        .flags("public,read")
        .envelopes(&["json", "jsonstore"]);
    let handler = move |request: Request| {
        shared.note(&request);
        (action.serve)(&shared, request)
    };
    match action.streams {
        true => builder.streaming_action(parsed, handler),
        false => builder.action(parsed.max_body(PARAMETERS), handler),
    }
}

/// Largest body of an action that reads parameters from it, in octets.
const PARAMETERS: usize = 65_536;

#[derive(Debug)]
struct Shared {
    name: String,
    begun: Instant,
    requests: AtomicU64,
    verbose: bool,
}

impl Shared {
    fn note(&self, request: &Request) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.verbose {
            let header = &request.header;
            let name = header.action().unwrap_or_default();
            let peer = request
                .peer()
                .map_or_else(String::new, |peer| peer.to_string());
            let name = crate::terminal::outside(&name, crate::terminal::FIELD);
            crate::terminal::complain(&format!("{peer} {name}~{}", header.version()));
        }
    }
}

struct Offered {
    word: &'static str,
    /// Whether it gets its body as it comes.
    streams: bool,
    serve: fn(&Shared, Request) -> Result<Reply, RemoteError>,
}

const ACTIONS: &[Offered] = &[
    Offered {
        word: "echo",
        streams: true,
        serve: echo,
    },
    Offered {
        word: "fail",
        streams: false,
        serve: fail,
    },
    Offered {
        word: "health_check",
        streams: false,
        serve: health_check,
    },
    Offered {
        word: "hello",
        streams: false,
        serve: hello,
    },
    Offered {
        word: "sleep",
        streams: false,
        serve: sleep,
    },
    Offered {
        word: "stream",
        streams: false,
        serve: stream,
    },
    Offered {
        word: "txerr",
        streams: false,
        serve: txerr,
    },
];

/// Sends the request's body back, piece by piece as it comes.
fn echo(_: &Shared, request: Request) -> Result<Reply, RemoteError> {
    let body = request.body;
    Ok(Reply::stream(move |writer| pass(body, writer)))
}

fn pass(mut body: Body, writer: &mut BodyWriter) -> io::Result<()> {
    while let Some(piece) = body.chunk().map_err(io::Error::other)? {
        writer.write_bytes(piece).map_err(io::Error::other)?;
        writer.flush()?;
    }
    Ok(())
}

/// Answers with the error that the body describes: `code`, `text` and `data`.
fn fail(_: &Shared, request: Request) -> Result<Reply, RemoteError> {
    let wanted = parameters(request)?;
    let text = |name: &str, default: &str| {
        let given = wanted
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        given.unwrap_or(default).to_owned()
    };
    let error = RemoteError::new(text("code", "x_demo"), text("text", "asked to fail"));
    Err(match wanted.get("data") {
        None | Some(Value::Null) => error,
        Some(data) => error.with_data(data.to_string()),
    })
}

fn health_check(shared: &Shared, _: Request) -> Result<Reply, RemoteError> {
    let mut object = Object::default();
    object.text("status", "ok");
    object.text("name", &shared.name);
    object.seconds("uptime", shared.begun.elapsed());
    object.number("requests", shared.requests.load(Ordering::Relaxed));
    Ok(Reply::new(object.end()))
}

/// Greets the name in the body: a JSON string, or an object with a `name`.
fn hello(_: &Shared, request: Request) -> Result<Reply, RemoteError> {
    let wanted = parameters(request)?;
    let name = wanted.as_str().or_else(|| wanted.get("name")?.as_str());
    Ok(Reply::new(json::string(&format!(
        "Hello {}",
        name.unwrap_or("World")
    ))))
}

/// Waits for `ms` milliseconds before it answers.
fn sleep(_: &Shared, mut request: Request) -> Result<Reply, RemoteError> {
    let wanted = read(&mut request)?;
    let span = Duration::from_millis(number(&wanted, "ms", 1000, HOUR_MS)?);
    let begun = Instant::now();
    while begun.elapsed() < span && !request.cancelled() {
        thread::sleep(LOOK.min(span.saturating_sub(begun.elapsed())));
    }
    Ok(Reply::new("true"))
}

/// How often a sleeping request looks whether anybody still waits.
const LOOK: Duration = Duration::from_millis(50);

const HOUR_MS: u64 = 3_600_000;

/// Replies with `octets` generated octets.
fn stream(_: &Shared, request: Request) -> Result<Reply, RemoteError> {
    let octets = number(&parameters(request)?, "octets", 1024 * 1024, STREAMED)?;
    Ok(Reply::stream(move |writer| generate(octets, writer)))
}

/// The longest generated body, in octets: a limit against slips of the finger.
const STREAMED: u64 = 1 << 40;

/// Replies with `octets` generated octets, and then gives up with `text`.
fn txerr(_: &Shared, request: Request) -> Result<Reply, RemoteError> {
    let wanted = parameters(request)?;
    let octets = number(&wanted, "octets", 1000, STREAMED)?;
    let text = wanted
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or("asked to give up");
    let text = text.to_owned();
    Ok(Reply::stream(move |writer| {
        generate(octets, writer)?;
        writer.flush()?;
        Err(io::Error::other(text))
    }))
}

fn generate(octets: u64, writer: &mut BodyWriter) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    let mut at = 0;
    while at < octets {
        piece.clear();
        let end = octets.min(at + PIECE as u64);
        piece.extend((at..end).map(generated));
        writer.write_all(&piece)?;
        at = end;
    }
    Ok(())
}

/// Octets generated at a time.
const PIECE: usize = 32_768;

/// Octet number `i` of every generated body: printable, and never the same for long.
pub(crate) fn generated(i: u64) -> u8 {
    let value = 32 + (i % 95 * 7 + i / 256 % 95) % 95;
    u8::try_from(value).expect("it is below 127")
}

/// The request's body as JSON; an empty one is `{}`.
fn parameters(mut request: Request) -> Result<Value, RemoteError> {
    read(&mut request)
}

fn read(request: &mut Request) -> Result<Value, RemoteError> {
    let text = request.text()?;
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(&text)
        .map_err(|error| RemoteError::new("bad_request", format!("the body is not JSON: {error}")))
}

/// The number that the body is, or has as member `name`.
fn number(wanted: &Value, name: &str, default: u64, limit: u64) -> Result<u64, RemoteError> {
    let given = match wanted.get(name) {
        None if wanted.is_object() => return Ok(default),
        None => wanted,
        Some(member) => member,
    };
    given
        .as_u64()
        .filter(|number| *number <= limit)
        .ok_or_else(|| {
            RemoteError::new(
                "bad_request",
                format!("{name} is not a number from 0 to {limit}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The formula that the recorded vectors' generated bodies use.
    #[test]
    fn generated_bodies() {
        for i in [0, 1, 255, 256, 1_000_000, 6_007_199_254_740_993] {
            let wide = u128::from(i);
            assert_eq!(
                u128::from(generated(i)),
                32 + (7 * wide + wide / 256) % 95,
                "{i}"
            );
        }
    }

    #[test]
    fn numbers() {
        let read = |value: Value| number(&value, "n", 7, 10).map_err(|error| error.code);
        assert_eq!(read(json!({})), Ok(7));
        assert_eq!(read(json!({"n": 10})), Ok(10));
        assert_eq!(read(json!(3)), Ok(3));
        for bad in [
            json!({"n": 11}),
            json!({"n": -1}),
            json!("x"),
            json!([]),
            json!(null),
        ] {
            assert_eq!(read(bad), Err("bad_request".to_owned()));
        }
    }
}
