//! `scamp provision`: a development bus in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::json::Object;
use crate::keygen::{PRIVATE, PUBLIC, exists, make, save, service_name};
use crate::terminal::Terminal;

/// Make a bus for development in one folder
///
/// The folder gets a configuration, a key and a certificate for a service, the list that lets it
/// provide anything, and a key that issues tickets. Everything stays on this machine. Programs that
/// get SCAMP_CONFIG=DIR/scamp.conf find each other.
#[derive(Args, Debug)]
pub(crate) struct Provision {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The service's name
    #[arg(long, default_value = "scamp-demo", value_parser = service_name)]
    name: String,
    /// The RSA keys' length
    #[arg(long, default_value = "2048", value_parser = ["2048", "3072", "4096"])]
    bits: String,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

/// Where everything is.
struct Files {
    config: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
    authorized: PathBuf,
    cache: PathBuf,
    ticket_key: PathBuf,
    ticket_certificate: PathBuf,
}

impl Provision {
    pub(crate) fn run(&self, terminal: Terminal) -> Result<(), Failure> {
        fs::create_dir_all(&self.directory)
            .and_then(|()| self.directory.canonicalize())
            .map_err(|error| Failure::file(self.directory.display(), &error))
            .and_then(|directory| self.fill(terminal, &directory))
    }

    fn fill(&self, terminal: Terminal, directory: &Path) -> Result<(), Failure> {
        let root = plain(directory)?;
        let in_root = |name: &str| directory.join(name);
        let files = Files {
            config: in_root("scamp.conf"),
            key: in_root(&format!("{}.key", self.name)),
            certificate: in_root(&format!("{}.crt", self.name)),
            authorized: in_root("authorized_services"),
            cache: in_root("discovery.cache"),
            ticket_key: in_root("ticket.key"),
            ticket_certificate: in_root("ticket.crt"),
        };
        if let Some(there) = files
            .written()
            .find(|file| !self.force && file.symlink_metadata().is_ok())
        {
            return Err(exists(there));
        }
        let bits = self.bits.parse().expect("clap accepts only numbers");
        let (service, identity) = make(&self.name, bits)?;
        let (tickets, _) = make("tickets", bits)?;
        let fingerprint = identity.fingerprint().to_string();
        let authorized = format!("# Who may provide what on this bus.\n{fingerprint} main:ALL\n");
        let config = self.config(root);
        let texts = [
            (&files.key, &service.key_pem, PRIVATE),
            (&files.certificate, &service.certificate_pem, PUBLIC),
            (&files.ticket_key, &tickets.key_pem, PRIVATE),
            (&files.ticket_certificate, &tickets.certificate_pem, PUBLIC),
            (&files.authorized, &authorized, PUBLIC),
            // The last one: where it is, everything is.
            (&files.config, &config, PUBLIC),
        ];
        for (file, text, mode) in texts {
            save(file, text.as_bytes(), mode, self.force)?;
        }
        self.tell(terminal, &files, &fingerprint)
    }

    fn config(&self, root: &str) -> String {
        let name = &self.name;
        format!(
            "\
# A bus for development, on this machine alone: made by `scamp provision`.
bus.address = 127.0.0.1
bus.authorized_services = {root}/authorized_services
discovery.local_multicast = yes
discovery.cache_path = {root}/discovery.cache
service.announce_interval = 1
{name}.soa_key = {root}/{name}.key
{name}.soa_cert = {root}/{name}.crt
auth.ticket_verify_key = {root}/ticket.crt
"
        )
    }

    fn tell(&self, terminal: Terminal, files: &Files, fingerprint: &str) -> Result<(), Failure> {
        let text = |file: &Path| file.display().to_string();
        let config = text(&files.config);
        if terminal.json {
            let mut object = Object::default();
            object.text("name", &self.name);
            object.text("config", &config);
            object.text("key", &text(&files.key));
            object.text("certificate", &text(&files.certificate));
            object.text("fingerprint", fingerprint);
            object.text("authorized_services", &text(&files.authorized));
            object.text("cache", &text(&files.cache));
            object.text("ticket_key", &text(&files.ticket_key));
            object.text("ticket_verify_key", &text(&files.ticket_certificate));
            return terminal.data(&object.end());
        }
        terminal.data(&config)?;
        let quoted = shell_quoted(&config);
        terminal.say(&format!(
            "try: export SCAMP_CONFIG={quoted}; scamp doctor; scamp serve"
        ));
        Ok(())
    }
}

impl Files {
    fn written(&self) -> impl Iterator<Item = &Path> {
        let files = [
            &self.config,
            &self.key,
            &self.certificate,
            &self.authorized,
            &self.ticket_key,
            &self.ticket_certificate,
        ];
        files.into_iter().map(PathBuf::as_path)
    }
}

/// A folder's name as the configuration can say it: there is no quoting (C-1, C-2).
fn plain(directory: &Path) -> Result<&str, Failure> {
    let text = directory.to_str().filter(|text| {
        !text.contains(['#', ',', '\n', '\r']) && text.trim_ascii() == *text && *text != "/"
    });
    text.ok_or_else(|| {
        let directory = directory.display().to_string();
        let directory = crate::terminal::outside(&directory, crate::terminal::FIELD);
        Failure::local(format!(
            "{directory}: the configuration has no way to say a name with '#', ',' or a line end"
        ))
    })
}

/// A word that a shell takes as it is.
fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scamp_proto::config::Config;

    /// C-1: what is written is understood, with nothing left over.
    #[test]
    fn the_configuration_is_read_as_meant() {
        let verb = Provision {
            directory: PathBuf::new(),
            name: "greeter".to_owned(),
            bits: "2048".to_owned(),
            force: false,
        };
        let text = verb.config("/tmp/a bus");
        let (config, events) = Config::parse("scamp.conf", text.as_bytes());
        assert_eq!(events, []);
        let authorized = config.authorized_services();
        assert_eq!(
            authorized.as_deref(),
            Some("/tmp/a bus/authorized_services")
        );
        assert_eq!(
            config.discovery_cache_path(),
            Some("/tmp/a bus/discovery.cache")
        );
        assert_eq!(
            config.text("greeter.soa_key"),
            Some("/tmp/a bus/greeter.key")
        );
        assert_eq!(
            config.text("greeter.soa_cert"),
            Some("/tmp/a bus/greeter.crt")
        );
        assert!(config.discovery_local_multicast());
        assert_eq!(config.unused_keys().collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn names_that_cannot_be_said() {
        for bad in ["/a#b", "/a,b", "/a\nb", "/a "] {
            assert!(plain(Path::new(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(shell_quoted("/a b/it's"), "'/a b/it'\\''s'");
        assert_eq!(shell_quoted("/a/b.conf"), "/a/b.conf");
    }
}
