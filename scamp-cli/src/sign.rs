//! `scamp sign`: announcements in cache-file form, without a service (K-1, K-2).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use scamp_blocking::Identity;
use scamp_proto::auth::Sign as _;
use scamp_proto::discovery::datagram::compress;
use scamp_proto::discovery::{Announcement, Description, Offer, UnixTime, Unverified, Uri};
use scamp_proto::limits::ANNOUNCEMENT;
use scamp_proto::service::Name;
use scamp_tls::Rsa;

use crate::action::Action;
use crate::certificate;
use crate::failure::Failure;
use crate::json::Object;
use crate::terminal::{Terminal, written};

/// Sign announcements, and print them as a cache file
///
/// Each --announce is the JSON of one, signed with the --key and put beside the --cert of the same
/// place; one key and certificate may serve all. With --template the JSON is made of --name, --uri
/// and --action. What no receiver would take is not written.
#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The JSON of an announcement; `-` is standard input; may be repeated
    #[arg(long, value_name = "FILE", required_unless_present = "template")]
    announce: Vec<PathBuf>,
    /// The private key, PEM; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The certificate, PEM; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    cert: Vec<PathBuf>,
    /// Where to write; standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Make the JSON from the options that follow
    #[arg(long, conflicts_with = "announce", requires = "name", requires = "uri")]
    template: bool,
    /// The service's name; what follows a colon is used as it is, else it is made up
    #[arg(long, requires = "template", help_heading = "Template")]
    name: Option<String>,
    /// Its sector
    #[arg(
        long,
        requires = "template",
        default_value = "main",
        help_heading = "Template"
    )]
    sector: String,
    /// Where it listens: `beepish+tls://HOST:PORT`
    #[arg(long, requires = "template", help_heading = "Template")]
    uri: Option<Uri>,
    /// An action: `Name.space.verb~VERSION`, with flags after commas; may be repeated
    #[arg(long = "action", value_name = "ACTION[,FLAG…]", requires = "template",
        value_parser = offer, help_heading = "Template")]
    actions: Vec<Offer>,
    /// An envelope it takes; may be repeated
    #[arg(
        long = "envelope",
        value_name = "ENVELOPE",
        requires = "template",
        default_value = "json",
        help_heading = "Template"
    )]
    envelopes: Vec<String>,
    /// How much of the requests it wants; 0 withdraws it
    #[arg(
        long,
        requires = "template",
        default_value = "1",
        help_heading = "Template"
    )]
    weight: u32,
}

impl Sign {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let records = match self.template {
            true => vec![self.signed_template()?],
            false => self.signed_files()?,
        };
        let mut file = Vec::new();
        for record in &records {
            file.extend_from_slice(SEPARATOR);
            file.extend_from_slice(record.text().as_bytes());
        }
        if let Some(output) = &self.output {
            scamp_host::file::replace(output, &file)
                .map_err(|error| Failure::file(output.display(), &error))?;
            terminal.detail(&format!("wrote {}", output.display()));
        }
        if terminal.json {
            return records
                .iter()
                .try_for_each(|record| terminal.data(&self.to_json(record)));
        }
        match self.output {
            Some(_) => Ok(()),
            None => {
                let mut out = io::stdout().lock();
                let all = out.write_all(&file).and_then(|()| out.flush());
                all.map_err(|error| written(&error))
            }
        }
    }

    fn signed_files(&self) -> Result<Vec<Announcement>, Failure> {
        let count = self.announce.len();
        for (option, files) in [("--key", &self.key), ("--cert", &self.cert)] {
            if files.len() != count && files.len() != 1 {
                let text = format!("{count} --announce need 1 or {count} {option}");
                return Err(Failure::usage(text));
            }
        }
        let pick = |files: &[PathBuf], index: usize| files.get(index).or(files.first()).cloned();
        let mut records = Vec::new();
        for (index, announce) in self.announce.iter().enumerate() {
            let (key, cert) = (pick(&self.key, index), pick(&self.cert, index));
            let identity =
                certificate::identity(&key.unwrap_or_default(), &cert.unwrap_or_default())?;
            let json = certificate::read_up_to(announce, ANNOUNCEMENT as u64)?;
            records.push(seal(announce, json.trim_ascii(), &identity)?);
        }
        Ok(records)
    }

    fn signed_template(&self) -> Result<Announcement, Failure> {
        let ([key], [cert]) = (&self.key[..], &self.cert[..]) else {
            return Err(Failure::usage("--template takes one --key and one --cert"));
        };
        let owner = certificate::identity(key, cert)?;
        let name = self.name.as_deref().unwrap_or_default();
        let identity = match name.contains(':') {
            true => name.to_owned(),
            false => {
                let name = Name::parse(name).map_err(|error| Failure::usage(error.to_string()))?;
                let random = scamp_host::clock::random();
                name.identity(random.map_err(|error| Failure::file("random numbers", &error))?)
            }
        };
        let Some(uri) = self.uri.clone() else {
            return Err(Failure::usage("--template needs --uri"));
        };
        let description = Description {
            sector: self.sector.clone(),
            weight: self.weight,
            envelopes: self.envelopes.clone(),
            actions: self.actions.clone(),
            ..Description::new(identity, uri)
        };
        let at = UnixTime::from_micros(scamp_host::clock::unix_micros());
        let text = description
            .sign(at, owner.certificate(), &owner)
            .map_err(|error| Failure::local(error.to_string()))?;
        check(Path::new("--template"), &text)
    }

    fn to_json(&self, record: &Announcement) -> String {
        let mut object = Object::default();
        let output = self.output.as_ref().map(|file| file.display().to_string());
        object.maybe("file", output.as_deref());
        object.text("identity", record.identity());
        object.text("fingerprint", &record.fingerprint().to_string());
        object.text("announcement", record.text());
        object.end()
    }
}

/// What is between the records of a cache file, and before the first (D-31).
const SEPARATOR: &[u8] = b"\n%%%\n";

/// An action of a template (K-2).
pub(crate) fn offer(text: &str) -> Result<Offer, String> {
    let (action, flags) = text.split_once(',').unwrap_or((text, ""));
    let parsed = Action::parse(action)?;
    let offer = Offer::new(&parsed.name).map_err(|error| error.to_string())?;
    let offer = offer.version(parsed.version).flags(flags);
    Ok(match action.contains(':') {
        true => offer.sector(&parsed.sector),
        false => offer,
    })
}

/// An announcement of this JSON as it is, checked as a receiver would (K-1, D-2).
fn seal(file: &Path, json: &[u8], owner: &Identity) -> Result<Announcement, Failure> {
    if json.windows(2).any(|pair| pair == b"\n\n") {
        let text = format!("{}: an empty line would end the JSON", file.display());
        return Err(Failure::local(text));
    }
    let signature = owner
        .sign(json)
        .map_err(|error| Failure::local(error.to_string()))?;
    let mut text = json.to_vec();
    text.extend_from_slice(b"\n\n-----BEGIN CERTIFICATE-----\n");
    push_lines(&mut text, &BASE64.encode(owner.certificate()), 64);
    text.extend_from_slice(b"-----END CERTIFICATE-----\n\n");
    push_lines(&mut text, &BASE64.encode(signature), 76);
    text.push(b'\n');
    check(file, &text)
}

/// Reads what was signed as a receiver does, who would leave out bad actions and say nothing.
fn check(file: &Path, text: &[u8]) -> Result<Announcement, Failure> {
    let file = file.display();
    let failed = |why: String| Failure::local(format!("{file}: nobody would take it: {why}"));
    let announcement = Unverified::split(text)
        .and_then(|unverified| unverified.verify(&Rsa))
        .map_err(|error| failed(error.to_string()))?;
    if let Some(bad) = announcement.bad_actions().0.first() {
        return Err(failed(format!("action {}: {}", bad.index, bad.fault)));
    }
    if text
        .windows(SEPARATOR.len())
        .any(|window| window == SEPARATOR)
    {
        return Err(failed("a line of it is %%%".to_owned()));
    }
    compress(text).map_err(|error| failed(error.to_string()))?;
    Ok(announcement)
}

fn push_lines(out: &mut Vec<u8>, base64: &str, width: usize) {
    for line in base64.as_bytes().chunks(width) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}
