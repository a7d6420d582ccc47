//! Where a shell has to look for files, as data: nothing is opened here.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Config;

/// Which files to open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Search {
    /// These, which were asked for by name: each must exist.
    Named(Vec<NamedFile>),
    /// The first of these that exists; maybe none does.
    FirstOf(Vec<String>),
}

/// A file that somebody asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedFile {
    /// Where it is.
    pub path: String,
    /// Who says so, for the message when it is not there.
    pub by: By,
    /// What to open instead if `path` is a directory.
    pub in_directory: Option<String>,
}

/// Who named a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum By {
    /// The program, or its user on the command line.
    Caller,
    /// This key of the configuration.
    Key(String),
    /// This environment variable.
    Variable(&'static str),
}

/// Where the configuration file is (C-4).
///
/// `explicit` is what the program was told; `env` looks up an environment variable, and one that is
/// empty counts for nothing. If nothing is named and none of the defaults exists, the configuration
/// is [empty](Config::new).
///
/// # Example
///
/// ```
/// use scamp_proto::config::{Search, search};
///
/// let env = |name: &str| (name == "GTSOA").then(|| "/opt/soa".to_string());
/// let Search::Named(files) = search(None, env) else { panic!("the variable names it") };
/// assert_eq!(files[0].path, "/opt/soa");
/// assert_eq!(files[0].in_directory.as_deref(), Some("/opt/soa/etc/soa.conf"));
/// ```
pub fn search(explicit: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Search {
    let named = |path: String, by| {
        let in_directory = (by == By::Variable(GTSOA))
            .then(|| format!("{}/etc/soa.conf", path.trim_end_matches('/')));
        NamedFile {
            path,
            by,
            in_directory,
        }
    };
    if let Some(path) = explicit {
        return Search::Named(Vec::from([named(path.to_owned(), By::Caller)]));
    }
    let variable = VARIABLES.into_iter().find_map(|variable| {
        let path = env(variable).filter(|path| !path.is_empty())?;
        Some(named(path, By::Variable(variable)))
    });
    match variable {
        Some(file) => Search::Named(Vec::from([file])),
        None => Search::FirstOf(FILES.map(str::to_owned).into()),
    }
}

impl Config {
    /// The file that says who may provide what: `bus.authorized_services`,
    /// else `authorized_services` in the folder of [`set_directory`](Self::set_directory), else none,
    /// and then nothing is authorized (Z-7).
    pub fn authorized_services(&self) -> Option<String> {
        match self.text("bus.authorized_services") {
            Some("") => None,
            Some(path) => Some(path.to_owned()),
            None => {
                let directory = self.directory.as_deref()?;
                Some(within(directory, "authorized_services"))
            }
        }
    }

    /// The files of the keys that verify tickets: `auth.ticket_verify_key`, separated by commas, or
    /// one of the customary places (T-6).
    pub fn ticket_verify_keys(&self) -> Search {
        let key = "auth.ticket_verify_key";
        let named: Vec<_> = self.list(key).map(|path| by_key(key, path)).collect();
        match named.is_empty() {
            false => Search::Named(named),
            true => {
                let file = |folder: &str| within(folder, "ticket_verify_public_key.pem");
                Search::FirstOf(TICKET_KEY_FOLDERS.map(file).into())
            }
        }
    }

    /// The file of a service's private key: `NAME.soa_key`, `NAME.key`, or one of the customary
    /// places.
    pub fn service_key(&self, name: &str) -> Search {
        self.service_file(name, ["soa_key", "key"], "key")
    }

    /// The file of a service's certificate: `NAME.soa_cert`, `NAME.cert`, or one of the customary
    /// places.
    pub fn service_certificate(&self, name: &str) -> Search {
        self.service_file(name, ["soa_cert", "cert"], "crt")
    }

    fn service_file(&self, name: &str, keys: [&str; 2], extension: &str) -> Search {
        let named = keys.iter().find_map(|key| {
            let key = format!("{name}.{key}");
            let path = self.text(&key).filter(|path| !path.is_empty())?;
            Some(by_key(&key, path))
        });
        if let Some(file) = named {
            return Search::Named(Vec::from([file]));
        }
        let first = self
            .directory
            .as_deref()
            .map(|folder| within(folder, "services"));
        let folders = first.into_iter().chain(SERVICE_FOLDERS.map(str::to_owned));
        let file = |folder: String| within(&folder, &format!("{name}.{extension}"));
        Search::FirstOf(folders.map(file).collect())
    }
}

fn by_key(key: &str, path: &str) -> NamedFile {
    NamedFile {
        path: path.to_owned(),
        by: By::Key(key.to_owned()),
        in_directory: None,
    }
}

fn within(folder: &str, file: &str) -> String {
    format!("{}/{file}", folder.trim_end_matches('/'))
}

/// The variables that name a configuration file, in their order. GTSOA may name a directory.
const VARIABLES: [&str; 3] = ["SCAMP_CONFIG", "SCAMP", GTSOA];
const GTSOA: &str = "GTSOA";

const FILES: [&str; 4] = [
    "/etc/scamp/scamp.conf",
    "/etc/SCAMP/soa.conf",
    "/etc/GTSOA/soa.conf",
    "/etc/GTSOA/scamp.conf",
];

const TICKET_KEY_FOLDERS: [&str; 4] = [
    "/etc/scamp/auth",
    "/etc/SCAMP/auth",
    "/etc/GTSOA/auth",
    "/etc/GT/auth",
];

const SERVICE_FOLDERS: [&str; 3] = [
    "/etc/scamp/services",
    "/etc/SCAMP/services",
    "/etc/GT_private/services",
];
