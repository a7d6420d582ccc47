//! `scamp serve`: a service to try things on.

use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::Duration;

use clap::Args;
use scamp_blocking::{Identity, ServiceHandle};

use crate::certificate;
use crate::failure::{Exit, Failure};
use crate::interrupt;
use crate::json::Object;
use crate::keygen::{make, service_name};
use crate::offer::Offer;
use crate::terminal::{FIELD, Terminal, outside};

/// Run an example service
///
/// It offers, in each namespace of --action-prefix: echo (sends the body back as it comes), hello
/// (greets the name in the body), health_check, stream (`{"octets":N}`: a body of N octets), sleep
/// (`{"ms":N}`), fail (`{"code":…,"text":…,"data":…}`: answers with that error) and txerr
/// (`{"octets":N,"text":…}`: gives up in the middle of the reply); and Greetings.hello.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The address to listen on; port 0 is any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// The private key, PEM; without it one is made for this run
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The certificate, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The service's name
    #[arg(long, default_value = "scamp-demo", value_parser = service_name)]
    name: String,
    /// The namespace of the actions; may be repeated
    #[arg(
        long = "action-prefix",
        value_name = "NAMESPACE",
        default_value = "Demo"
    )]
    prefixes: Vec<String>,
    /// Publish a counter this often, as topic `tick`, key `count`; alone it means every second
    #[arg(long, value_name = "TIME", value_parser = crate::call::span, num_args = 0..=1,
        require_equals = true, default_missing_value = "1s")]
    tick: Option<Duration>,
    /// Offer the example actions, which is all there is so far
    #[arg(long, hide = true)]
    demo: bool,
}

impl Serve {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let identity = self.identity(terminal)?;
        let offer = Offer {
            name: self.name.clone(),
            prefixes: self.prefixes.clone(),
            verbose: terminal.verbose,
        };
        let (builder, actions) = offer.service(identity.clone())?;
        let service = builder
            .bind(self.listen.as_str())
            .map_err(|error| Failure::file(format!("cannot listen on {}", self.listen), &error))?;
        let handle = service.handle();
        let (first, second) = (handle.clone(), handle.clone());
        interrupt::shuts_down(
            move || {
                terminal.say("shutting down; once more ends it at once");
                first.shutdown();
            },
            move || {
                second.shutdown();
                process::exit(Exit::Success.code().into());
            },
        )?;
        self.publish(&handle, &actions);
        if terminal.verbose {
            watch(handle, terminal);
        }

        let (address, fingerprint) = (service.local_addr(), identity.fingerprint());
        if terminal.json {
            let mut object = Object::default();
            object.text("name", &self.name);
            object.text("address", &address.to_string());
            object.text("fingerprint", &fingerprint.to_string());
            object.texts("actions", actions.iter().map(String::as_str));
            terminal.data(&object.end())?;
        } else {
            terminal.data(&format!("listening on {address} fingerprint {fingerprint}"))?;
            let action = actions.first().map_or("", String::as_str);
            terminal.say(&format!(
                "try: scamp call {action} '\"hi\"' --connect {address} --fingerprint {fingerprint}"
            ));
        }
        service.run();
        terminal.detail("shut down");
        Ok(())
    }

    fn identity(&self, terminal: Terminal) -> Result<Identity, Failure> {
        let (Some(key), Some(cert)) = (&self.key, &self.cert) else {
            // A key that lasts one run need not be slow to make.
            return Ok(make(&self.name, 2048)?.1);
        };
        warn_of_readers(key, terminal);
        certificate::identity(key, cert)
    }

    fn publish(&self, handle: &ServiceHandle, actions: &[String]) {
        let mut object = Object::default();
        object.texts("actions", actions.iter().map(String::as_str));
        handle.publish("announce", &self.name, &object.end());
        let Some(pause) = self.tick else { return };
        let handle = handle.clone();
        thread::spawn(move || {
            for count in 0_u64.. {
                handle.publish("tick", "count", &count.to_string());
                thread::sleep(pause);
            }
        });
    }
}

/// Tells what the service notes, about once a second.
fn watch(handle: ServiceHandle, terminal: Terminal) {
    thread::spawn(move || {
        loop {
            for note in handle.notes() {
                let peer = note
                    .peer
                    .map_or_else(String::new, |peer| format!("{peer} "));
                let what = note.what.to_string();
                terminal.detail(&format!("{peer}{}", outside(&what, FIELD)));
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
}

/// Says so if others can read a private key.
fn warn_of_readers(key: &std::path::Path, terminal: Terminal) {
    #[cfg(unix)]
    if let Ok(known) = key.metadata() {
        let mode = std::os::unix::fs::MetadataExt::mode(&known);
        if mode & 0o077 != 0 {
            let key = key.display();
            terminal.say(&format!(
                "{key}: others can read this private key: chmod 600 {key}"
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (key, terminal);
}
