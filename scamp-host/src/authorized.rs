//! The file that says who may provide what, looked at from time to time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scamp_proto::auth::authorized::{AuthorizedFile, Content, Event};
use scamp_proto::auth::{AuthorizedServices, authorized};
use scamp_proto::config::{Config, ConfigError};
use scamp_proto::limits::AUTHORIZED_FILE;

use crate::file::{self, Stamp};

/// `authorized_services` as it was when it was last looked at (Z-7, Z-9).
///
/// # Example
///
/// ```no_run
/// let (config, _) = scamp_host::load_config(None)?;
/// let mut services = scamp_host::Authorized::of(&config)?;
/// services.look(&mut |event| eprintln!("{event}"));
/// println!("{} certificates", services.current().len());
/// # Ok::<(), scamp_host::LoadError>(())
/// ```
#[derive(Debug)]
pub struct Authorized {
    path: Option<PathBuf>,
    file: AuthorizedFile,
    seen: Option<Stamp>,
}

impl Authorized {
    /// The file that the configuration names, not yet looked at.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `auth.meta_for_all` is no flag.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        let file = match config.auth_meta_for_all()? {
            true => AuthorizedFile::new().meta_for_all(),
            false => AuthorizedFile::new(),
        };
        Ok(Self {
            path: config.authorized_services().map(PathBuf::from),
            file,
            seen: None,
        })
    }

    /// Where it is; `None` if none is named, and then nothing is authorized.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the file if it is another than last time, and says whether anything changed.
    pub fn look(&mut self, on_event: &mut dyn FnMut(Event)) -> bool {
        let Some(path) = &self.path else {
            return self.file.look(Content::Absent, on_event);
        };
        if self.seen.is_some() && Stamp::of(path).ok() == self.seen {
            return false;
        }
        // One octet more than counts, so that a longer file has its event.
        let read = file::read(path, AUTHORIZED_FILE as u64 + 1);
        self.seen = read.as_ref().ok().map(|content| content.stamp);
        match read {
            Ok(content) => self.file.look(Content::Text(&content.octets), on_event),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.file.look(Content::Absent, on_event)
            }
            Err(_) => self.file.look(Content::Unreadable, on_event),
        }
    }

    /// What counts now.
    pub fn current(&self) -> &Arc<AuthorizedServices> {
        self.file.current()
    }
}

/// What there is to tell of the file.
pub type AuthorizedEvent = authorized::Event;

#[cfg(test)]
mod tests {
    use std::fs;

    use scamp_proto::auth::Fingerprint;

    use super::*;

    /// Z-7, Z-9: a change counts at the next look, a file that is gone allows nothing, and a file
    /// that is no file any more changes nothing.
    #[test]
    fn looks() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("services");
        let text = format!("bus.authorized_services = {}", path.display());
        let (config, _) = Config::parse("test.conf", text.as_bytes());
        let mut services = Authorized::of(&config).unwrap();
        let us = Fingerprint::of(b"abc");
        let mut events = Vec::new();
        let mut look = |services: &mut Authorized| services.look(&mut |event| events.push(event));
        assert!(look(&mut services));
        assert!(services.current().is_empty());
        fs::write(&path, format!("{us} config\n")).unwrap();
        assert!(look(&mut services));
        assert!(services.current().allows(&us, "main", "Config", "get"));
        assert!(!look(&mut services));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!look(&mut services));
        assert!(services.current().lists(&us));
        fs::remove_dir(&path).unwrap();
        assert!(look(&mut services));
        assert!(!services.current().lists(&us));
        let told: Vec<_> = events.iter().map(|event| event.what).collect();
        use authorized::What::{Absent, Unreadable};
        assert_eq!(told, [Absent, Unreadable, Absent]);
    }

    /// Z-7: no key, no rights, one event.
    #[test]
    fn none_is_named() {
        let mut services = Authorized::of(&Config::new()).unwrap();
        let mut events = 0;
        services.look(&mut |_| events += 1);
        services.look(&mut |_| events += 1);
        assert_eq!((events, services.path()), (1, None));
    }
}
