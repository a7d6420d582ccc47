//! The keys that tickets are verified with, read again when their files change (T-6).

use std::path::{Path, PathBuf};

use scamp_proto::auth::TicketKeys;
use scamp_proto::config::{Config, Search};

use crate::config::{LoadError, ticket_keys};
use crate::file::Stamp;

/// The files that hold the ticket keys, as they were when they were last looked at.
///
/// # Example
///
/// ```
/// use scamp_host::TicketKeyFiles;
/// use scamp_proto::config::Config;
///
/// let (config, _) = Config::parse("soa.conf", b"auth.ticket_verify_key = /no/such.pem");
/// let error = TicketKeyFiles::read(&config).unwrap_err();
/// assert!(error.to_string().contains("/no/such.pem"));
/// ```
#[derive(Clone, Debug)]
pub struct TicketKeyFiles {
    config: Config,
    paths: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

impl TicketKeyFiles {
    /// Reads the keys that the configuration names, or the first of the customary files that is
    /// there; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file that cannot be used.
    pub fn read(config: &Config) -> Result<(Self, Option<TicketKeys>), LoadError> {
        let paths = match config.ticket_verify_keys() {
            Search::Named(files) => files.into_iter().map(|file| file.path).collect(),
            Search::FirstOf(paths) => paths,
        };
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        // Looked at first: a change while they are read is seen the next time.
        let files = Self {
            config: config.clone(),
            seen: stamps(&paths),
            paths,
        };
        let keys = ticket_keys(config)?;
        Ok((files, keys))
    }

    /// Reads the keys again if one of the files is another than last time.
    ///
    /// `None` if nothing has changed. After an error, and while the files are not there, the keys
    /// that were read last stay in force; the error is told once for each change.
    pub fn look(&mut self) -> Option<Result<TicketKeys, LoadError>> {
        let now = stamps(&self.paths);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        ticket_keys(&self.config).transpose()
    }
}

fn stamps(paths: &[impl AsRef<Path>]) -> Vec<Option<Stamp>> {
    let stamp = |path: &_| Stamp::of(AsRef::as_ref(path)).ok();
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = include_str!("../../scamp-tls/tests/data/rsa2048.crt");
    const OTHER: &str = include_str!("../../scamp-tls/tests/data/rsa4096.crt");

    /// T-6: a changed file counts at the next look; one that is gone or rubbish changes nothing.
    #[test]
    fn keys_change() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key.pem");
        let text = format!("auth.ticket_verify_key={}", path.display());
        let (config, _) = Config::parse("test.conf", text.as_bytes());
        fs::write(&path, ONE).unwrap();
        let (mut files, first) = TicketKeyFiles::read(&config).unwrap();
        let first = first.unwrap();
        assert!(files.look().is_none());
        fs::write(&path, OTHER).unwrap();
        let second = files.look().unwrap().unwrap();
        assert_ne!(format!("{first:?}"), format!("{second:?}"));
        assert!(files.look().is_none());
        fs::write(&path, "rubbish").unwrap();
        assert!(files.look().unwrap().is_err());
        assert!(files.look().is_none(), "told once");
        fs::remove_file(&path).unwrap();
        assert!(files.look().unwrap().is_err());
        fs::write(&path, ONE).unwrap();
        let third = files.look().unwrap().unwrap();
        assert_eq!(format!("{first:?}"), format!("{third:?}"));
    }
}
