//! `scamp keygen`: a key and a certificate for a service.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use scamp_tls::keygen::{self, KeyPair};
use scamp_tls::{Fingerprint, Identity};

use crate::failure::Failure;
use crate::json::Object;
use crate::terminal::Terminal;

/// Make a key and a certificate for a service
#[derive(Args, Debug)]
pub(crate) struct Keygen {
    /// The service's name: letters, digits, `.`, `-` and `_`
    #[arg(value_parser = service_name)]
    name: String,
    /// Where NAME.key and NAME.crt go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The RSA key's length
    #[arg(long, default_value = "4096", value_parser = ["2048", "3072", "4096"])]
    bits: String,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

/// A name that can be a file's, a certificate's and a namespace's at once.
pub(crate) fn service_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(plain)
        && text.len() <= COMMON_NAME;
    match good {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a name is 1 to {COMMON_NAME} letters, digits, '.', '-' and '_', and begins with a \
             letter or digit"
        )),
    }
}

/// The longest common name a certificate may have, in octets (X.520).
const COMMON_NAME: usize = 64;

/// Makes a key and its certificate, in memory.
pub(crate) fn make(name: &str, bits: u32) -> Result<(KeyPair, Identity), Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let made = keygen::generate(name, bits, now.as_secs())
        .map_err(|error| Failure::local(error.to_string()))?;
    let identity = Identity::from_pem(&made.certificate_pem, &made.key_pem)
        .map_err(|error| Failure::local(error.to_string()))?;
    Ok((made, identity))
}

impl Keygen {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        let key = self.out.join(format!("{}.key", self.name));
        let certificate = self.out.join(format!("{}.crt", self.name));
        // Before the work rather than after it; the files are opened so that this holds anyway.
        for file in [&key, &certificate] {
            if !self.force && file.symlink_metadata().is_ok() {
                return Err(exists(file));
            }
        }
        let bits = self.bits.parse().expect("clap accepts only numbers");
        let (made, identity) = make(&self.name, bits)?;
        save(
            &certificate,
            made.certificate_pem.as_bytes(),
            PUBLIC,
            self.force,
        )?;
        if let Err(failure) = save(&key, made.key_pem.as_bytes(), PRIVATE, self.force) {
            if !self.force {
                // Half a pair is of no use; the failure is what counts.
                let _ = fs::remove_file(&certificate);
            }
            return Err(failure);
        }
        self.tell(terminal, &key, &certificate, identity.fingerprint())
    }

    fn tell(
        &self,
        terminal: Terminal,
        key: &Path,
        certificate: &Path,
        fingerprint: Fingerprint,
    ) -> Result<(), Failure> {
        let line = format!("{fingerprint} main:{}", self.name);
        let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
        if terminal.json {
            let mut object = Object::default();
            object.text("name", &self.name);
            object.text("key", &key);
            object.text("certificate", &certificate);
            object.text("fingerprint", &fingerprint.to_string());
            object.text("authorized_services", &line);
            return terminal.data(&object.end());
        }
        terminal.say(&format!("wrote {key} (keep it secret) and {certificate}"));
        terminal.say(&format!(
            "the second line, in authorized_services, lets it provide the actions {}.*",
            self.name
        ));
        terminal.data(&format!("fingerprint: {fingerprint}\n{line}"))
    }
}

pub(crate) const PRIVATE: u32 = 0o600;
pub(crate) const PUBLIC: u32 = 0o644;

/// Writes a new file; with `force` it takes the place of an old one in one step.
pub(crate) fn save(file: &Path, octets: &[u8], mode: u32, force: bool) -> Result<(), Failure> {
    let target = match force {
        true => file.with_extension(format!("tmp{}", std::process::id())),
        false => file.to_owned(),
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(&target),
        _ => Failure::file(target.display(), &error),
    };
    let mut open = create(mode).open(&target).map_err(failed)?;
    let written = open
        .write_all(octets)
        .and_then(|()| open.sync_all())
        .and_then(|()| match force {
            true => fs::rename(&target, file),
            false => Ok(()),
        });
    written.map_err(|error| {
        // What is left is not whole.
        let _ = fs::remove_file(&target);
        Failure::file(target.display(), &error)
    })
}

/// Opens a file that was not there, with these permissions from the start.
fn create(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
}

pub(crate) fn exists(file: &Path) -> Failure {
    Failure::local(format!("{} exists; --force overwrites it", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "greeter", "host-1.example_x"] {
            assert!(service_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "../x",
            "a b",
            "a:b",
            "a,b",
            "-x",
            "é",
            &"x".repeat(65),
        ] {
            assert!(service_name(bad).is_err(), "{bad}");
        }
    }
}
