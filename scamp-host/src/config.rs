//! The configuration and the files it names.
//!
//! [`scamp_proto::config`] says where to look; here it is looked.
//!
//! ```no_run
//! let (config, events) = scamp_host::load_config(None)?;
//! events.iter().for_each(|event| eprintln!("{event}"));
//! let keys = scamp_host::config::ticket_keys(&config)?;
//! # Ok::<(), scamp_host::LoadError>(())
//! ```

use std::io;
use std::path::{Path, PathBuf};

use scamp_proto::auth::TicketKeys;
use scamp_proto::auth::ticket::TicketKeyError;
use scamp_proto::config::{By, Config, ConfigError, Event, NamedFile, Search, search};
use scamp_proto::limits::{CONFIG_FILE, TICKET_KEY_FILE};
use thiserror::Error;

use crate::file;

/// Reads the configuration: `explicit`, or the file that the environment names, or the first of the
/// customary ones that exists (C-4, C-12).
///
/// The events are about the file's lines; where no file is there at all, the configuration is empty
/// and without events. `SCAMP_CONFIG_DIR` becomes its [directory](Config::set_directory).
///
/// # Errors
///
/// [`LoadError::File`] for a file that was named and cannot be read.
///
/// # Example
///
/// ```
/// use std::path::Path;
///
/// let error = scamp_host::load_config(Some(Path::new("/no/such.conf"))).unwrap_err();
/// assert!(error.to_string().starts_with("/no/such.conf: "));
/// ```
pub fn load_config(explicit: Option<&Path>) -> Result<(Config, Vec<Event>), LoadError> {
    let loaded = load_config_file(explicit)?;
    Ok((loaded.config, loaded.events))
}

/// The same, and which file it was.
///
/// # Errors
///
/// As [`load_config`].
pub fn load_config_file(explicit: Option<&Path>) -> Result<LoadedConfig, LoadError> {
    load_from(explicit, |name| std::env::var(name).ok())
}

/// A configuration and where it comes from.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The values.
    pub config: Config,
    /// What is to be said about the file's lines.
    pub events: Vec<Event>,
    /// The file; `None` if there is none, so that every value is its default.
    pub path: Option<PathBuf>,
}

fn load_from(
    explicit: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<LoadedConfig, LoadError> {
    // One octet more than counts, so that a longer file has its event.
    let limit = CONFIG_FILE as u64 + 1;
    let found = match explicit {
        Some(path) => Some(named(path, &By::Caller, limit)?),
        None => one(&search(None, &env), limit)?,
    };
    let (mut config, events) = match &found {
        Some(found) => Config::parse(&found.path.display().to_string(), &found.octets),
        None => (Config::new(), Vec::new()),
    };
    if let Some(directory) = env("SCAMP_CONFIG_DIR").filter(|directory| !directory.is_empty()) {
        config.set_directory(directory);
    }
    Ok(LoadedConfig {
        config,
        events,
        path: found.map(|found| found.path),
    })
}

/// The keys that verify tickets (T-6); `None` if none is named and none is where they usually are.
///
/// # Errors
///
/// [`LoadError`] names the file that cannot be used.
pub fn ticket_keys(config: &Config) -> Result<Option<TicketKeys>, LoadError> {
    let mut keys: Option<TicketKeys> = None;
    for found in read(&config.ticket_verify_keys(), TICKET_KEY_FILE as u64 + 1)? {
        let unusable = |error| LoadError::TicketKey {
            path: found.path.clone(),
            error,
        };
        let these = TicketKeys::from_pem(&found.octets).map_err(unusable)?;
        keys = Some(match keys {
            None => these,
            Some(others) => others.and(these).map_err(unusable)?,
        });
    }
    Ok(keys)
}

/// A service's key and certificate, both as they stand in their files.
#[derive(Clone, Debug)]
pub struct ServiceFiles {
    /// The private key.
    pub key: Found,
    /// The certificate.
    pub certificate: Found,
}

/// Reads the key and the certificate of the service with this name: from `NAME.soa_key` and
/// `NAME.soa_cert`, or from where they usually are (`scamp.md` 10.2).
///
/// # Errors
///
/// [`LoadError`] names the file that is not there or cannot be read.
pub fn service_files(config: &Config, name: &str) -> Result<ServiceFiles, LoadError> {
    let needed = |search: &Search, what| {
        one(search, SERVICE_FILE)?.ok_or_else(|| LoadError::NotFound {
            what,
            name: name.to_owned(),
            places: places(search),
        })
    };
    Ok(ServiceFiles {
        key: needed(&config.service_key(name), "private key")?,
        certificate: needed(&config.service_certificate(name), "certificate")?,
    })
}

/// A file that was found, and what is in it. `Debug` leaves that out, since it may be a key (HD-12).
#[derive(Clone, Eq, PartialEq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its content.
    pub octets: Vec<u8>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("path", &self.path)
            .field("octets", &self.octets.len())
            .finish()
    }
}

/// Reads the files that were named, or the first of the customary ones that exists; maybe none does.
///
/// # Errors
///
/// [`LoadError::File`] for a file that was named and is not there, for one that cannot be read, and
/// for one of `limit` octets or more.
pub fn read(search: &Search, limit: u64) -> Result<Vec<Found>, LoadError> {
    match search {
        Search::Named(files) => files.iter().map(|file| open(file, limit)).collect(),
        Search::FirstOf(paths) => {
            for path in paths.iter().map(Path::new) {
                match file::read(path, limit) {
                    Ok(content) => return Ok(vec![content_of(path, content)]),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(LoadError::file(path, None, error)),
                }
            }
            Ok(Vec::new())
        }
    }
}

/// Where a search looks, for people.
pub fn places(search: &Search) -> String {
    let paths: Vec<&str> = match search {
        Search::Named(files) => files.iter().map(|file| file.path.as_str()).collect(),
        Search::FirstOf(paths) => paths.iter().map(String::as_str).collect(),
    };
    paths.join(", ")
}

fn one(search: &Search, limit: u64) -> Result<Option<Found>, LoadError> {
    Ok(read(search, limit)?.into_iter().next())
}

fn open(file: &NamedFile, limit: u64) -> Result<Found, LoadError> {
    let path = Path::new(&file.path);
    match &file.in_directory {
        Some(inside) if path.is_dir() => named(Path::new(inside), &file.by, limit),
        Some(_) | None => named(path, &file.by, limit),
    }
}

fn named(path: &Path, by: &By, limit: u64) -> Result<Found, LoadError> {
    match file::read(path, limit) {
        Ok(content) => Ok(content_of(path, content)),
        Err(error) => Err(LoadError::file(path, Some(by), error)),
    }
}

fn content_of(path: &Path, content: file::Content) -> Found {
    Found {
        path: path.to_owned(),
        octets: content.octets,
    }
}

/// Octets of a key or certificate file that are read; a long chain has about 20 000.
const SERVICE_FILE: u64 = 1024 * 1024;

/// Why the configuration, or a file that it names, cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A value of the configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("{}: {error}{by}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Who named it, in brackets, or nothing.
        by: String,
        /// The operating system's word.
        error: io::Error,
    },
    /// A service's key or certificate is in none of the places where it is looked for.
    #[error("no {what} of service {name:?} found; looked for {places}")]
    NotFound {
        /// What is missing.
        what: &'static str,
        /// The service's name.
        name: String,
        /// Where it was looked for.
        places: String,
    },
    /// A file has no key that verifies tickets.
    #[error("{}: {error}", path.display())]
    TicketKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: TicketKeyError,
    },
}

impl LoadError {
    fn file(path: &Path, by: Option<&By>, error: io::Error) -> Self {
        let by = match by {
            None | Some(By::Caller) => String::new(),
            Some(By::Key(key)) => format!(" (named by the key {key})"),
            Some(By::Variable(name)) => format!(" (named by the environment variable {name})"),
        };
        Self::File {
            path: path.to_owned(),
            by,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("test.conf", text.as_bytes()).0
    }

    /// C-4: what was named must be there, and says who named it; GTSOA may name a directory.
    #[test]
    fn which_file() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("a.conf");
        fs::write(&conf, "rpc.timeout = 3\nnonsense\n").unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("soa.conf"), "rpc.timeout = 4").unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let seconds = |loaded: &LoadedConfig| loaded.config.rpc_timeout().unwrap().as_secs();

        let loaded = load_from(Some(&conf), |_| Some("/no/such".to_owned())).unwrap();
        assert_eq!((seconds(&loaded), loaded.events.len()), (3, 1));
        assert_eq!(loaded.path.as_deref(), Some(&*conf));
        let gtsoa = |name: &str| (name == "GTSOA").then(|| text(root.path()));
        assert_eq!(seconds(&load_from(None, gtsoa).unwrap()), 4);
        let missing = |name: &str| (name == "SCAMP_CONFIG").then(|| "/no/such".to_owned());
        let error = load_from(None, missing).unwrap_err().to_string();
        assert!(error.starts_with("/no/such: "), "{error}");
        assert!(error.ends_with("variable SCAMP_CONFIG)"), "{error}");
        let directory = |name: &str| (name == "SCAMP_CONFIG_DIR").then(|| text(root.path()));
        let loaded = load_from(Some(&conf), directory).unwrap();
        let services = text(&root.path().join("authorized_services"));
        assert_eq!(loaded.config.authorized_services(), Some(services));
    }

    /// C-5: a file over its limit has its event.
    #[test]
    fn long_files() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("a.conf");
        fs::write(&conf, "a = b\n".repeat(CONFIG_FILE / 6 + 2)).unwrap();
        let (_, events) = load_config(Some(&conf)).unwrap();
        let told = events.iter().any(|event| {
            matches!(event.what, scamp_proto::config::What::LimitHit(limit) if limit == CONFIG_FILE)
        });
        assert!(told, "{events:?}");
    }

    /// T-6: all keys that are named count, and one that cannot be used is named.
    #[test]
    fn keys_for_tickets() {
        let pem = include_str!("../tests/data/ticket.pub");
        let root = tempfile::tempdir().unwrap();
        let (good, bad) = (root.path().join("a.pem"), root.path().join("b.pem"));
        fs::write(&good, pem).unwrap();
        fs::write(&bad, "none").unwrap();
        let of = |files: &[&Path]| {
            let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
            ticket_keys(&config(&format!(
                "auth.ticket_verify_key={}",
                files.join(",")
            )))
        };
        assert_eq!(of(&[&good, &good]).unwrap().unwrap().len(), 1);
        let error = of(&[&good, &bad]).unwrap_err().to_string();
        assert!(error.contains("b.pem: no ticket key"), "{error}");
        let error = of(&[&root.path().join("c")]).unwrap_err().to_string();
        assert!(error.contains("the key auth.ticket_verify_key"), "{error}");
    }

    /// `scamp.md` 10.2: `NAME.soa_key` before `NAME.key`, and what is missing is said.
    #[test]
    fn files_of_a_service() {
        let root = tempfile::tempdir().unwrap();
        for name in ["k", "c"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let at = root.path().display();
        let both = config(&format!("x.soa_key={at}/k\nx.key=/none\nx.cert={at}/c"));
        let files = service_files(&both, "x").unwrap();
        assert_eq!(
            (&*files.key.octets, &*files.certificate.octets),
            (&b"k"[..], &b"c"[..])
        );
        assert!(!format!("{files:?}").contains("107"), "HD-12");
        let error = service_files(&both, "y").unwrap_err().to_string();
        assert!(error.contains("/etc/scamp/services/y.key"), "{error}");
    }
}
