//! `scamp fingerprint`: what certificates are pinned by.

use std::path::PathBuf;

use clap::Args;
use scamp_blocking::{Client, Pin};

use crate::certificate;
use crate::failure::Failure;
use crate::json::Object;
use crate::terminal::Terminal;

/// Print the fingerprints of certificates
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub(crate) struct Fingerprint {
    /// Certificates, PEM or DER; `-` is standard input
    #[arg(required_unless_present = "check")]
    files: Vec<PathBuf>,
    /// Print what this server presents
    #[arg(long, value_name = "HOST:PORT")]
    check: Option<String>,
}

impl Fingerprint {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        for file in &self.files {
            for certificate in certificate::load(file)? {
                let fingerprint = scamp_tls::Fingerprint::of(&certificate);
                print(terminal, "file", &file.display().to_string(), fingerprint)?;
            }
        }
        if let Some(address) = &self.check {
            crate::interrupt::ends_the_process()?;
            let client = Client::connect(address, Pin::AnyCertificate)?;
            let peer = client.peer();
            let peer = peer.ok_or_else(|| Failure::local("the peer showed no certificate"))?;
            print(terminal, "address", address, peer.fingerprint())?;
        }
        Ok(())
    }
}

fn print(
    terminal: Terminal,
    origin: &str,
    name: &str,
    fingerprint: scamp_tls::Fingerprint,
) -> Result<(), Failure> {
    if !terminal.json {
        return terminal.data(&format!("fingerprint: {fingerprint}"));
    }
    let mut object = Object::default();
    object.text(origin, name);
    object.text("fingerprint", &fingerprint.to_string());
    terminal.data(&object.end())
}
