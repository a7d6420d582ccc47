//! What a requester knows of the bus: the cache file and `bus.authorized_services` (D-35, Z-9).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scamp_proto::Instant;
use scamp_proto::auth::AuthorizedServices;
use scamp_proto::config::{self, Config};
use scamp_proto::discovery::cache_file::{Content, Look, Reading, StalePolicy, Stat, Step, Watch};
use scamp_proto::discovery::{Directory, Instance, UnixTime};
use scamp_tls::Rsa;

use crate::authorized::Authorized;
use crate::clock::unix_micros;
use crate::file::Stamp;
use crate::setup::SetupError;

/// Services as the files tell them, and services that are known otherwise.
///
/// Each look costs two system calls while nothing has changed. What has not changed within a file is
/// not verified again (N-57).
pub struct Bus {
    cache: Option<Cache>,
    authorized: Authorized,
    /// Known to the program itself (D-46).
    fixed: Vec<Arc<Instance>>,
    directory: Arc<Directory>,
    accept_pss: bool,
    notes: VecDeque<String>,
}

struct Cache {
    path: PathBuf,
    watch: Watch,
    content: Content,
}

/// What is known now.
#[derive(Clone, Debug)]
pub struct News {
    /// The services.
    pub directory: Arc<Directory>,
    /// Which certificate may offer which actions.
    pub authorized: Arc<AuthorizedServices>,
}

impl Bus {
    /// Looks at the files that the configuration names.
    ///
    /// # Errors
    ///
    /// [`SetupError::NoServices`] without `discovery.cache_path`; a value that does not parse.
    pub fn from_config(config: &Config) -> Result<Self, SetupError> {
        let path = config
            .discovery_cache_path()
            .ok_or(SetupError::NoServices)?;
        let policy = match config.discovery_stale_policy()? {
            config::StalePolicy::Error => StalePolicy::Error,
            config::StalePolicy::Warn => StalePolicy::Warn,
        };
        let watch = Watch::new(config.discovery_cache_max_age()?, policy);
        Ok(Self {
            cache: Some(Cache {
                path: path.into(),
                watch,
                content: Content::new(),
            }),
            authorized: Authorized::of(config)?,
            fixed: Vec::new(),
            directory: Arc::default(),
            accept_pss: config.discovery_accept_pss()?,
            notes: VecDeque::new(),
        })
    }

    /// Adds services that are known to the program itself; they never expire (D-46).
    pub fn fixed(self, instances: impl IntoIterator<Item = Arc<Instance>>) -> Self {
        Self {
            fixed: instances.into_iter().collect(),
            ..self
        }
    }

    /// The cache file.
    pub fn cache_path(&self) -> Option<&Path> {
        self.cache.as_ref().map(|cache| cache.path.as_path())
    }

    /// Whether it is time to look at the files: once a second at most (D-35).
    pub fn wants_look(&self, now: Instant) -> bool {
        self.cache
            .as_ref()
            .is_some_and(|cache| cache.watch.wants_look(now))
    }

    /// Looks at the files if it is time, and says what is known if that has changed.
    ///
    /// `now` is of any monotonic clock, the same each time. A file that has changed is read, and its
    /// new records are verified, before this returns.
    pub fn refresh(&mut self, now: Instant) -> Option<News> {
        let cache = self.cache.as_mut()?;
        if !cache.watch.wants_look(now) {
            return None;
        }
        let notes = &mut self.notes;
        let mut changed = self.authorized.look(&mut |event| note(notes, &event));
        if let Some(content) = cache.look(now, self.accept_pss, notes) {
            cache.content = content;
            let known = cache.content.instances().chain(&self.fixed).cloned();
            let directory = Directory::build(known, &mut |event| note(notes, &event));
            self.directory = Arc::new(directory);
            changed = true;
        }
        let is_stale = cache.watch.is_stale(now);
        if is_stale != self.directory.is_stale() {
            self.directory = Arc::new(self.directory.with_stale_cache(is_stale));
            changed = true;
        }
        changed.then(|| self.news())
    }

    /// What was known after the last look.
    pub fn news(&self) -> News {
        News {
            directory: self.directory.clone(),
            authorized: self.authorized.current().clone(),
        }
    }

    /// How old the cache file is; `None` if it was never readable (D-36).
    pub fn cache_age(&self, now: Instant) -> Option<std::time::Duration> {
        self.cache.as_ref()?.watch.age(now)
    }

    /// Takes what is worth a line in a log; the newest 256 are kept.
    pub fn notes(&mut self) -> Vec<String> {
        self.notes.drain(..).collect()
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("cache", &self.cache_path())
            .field("authorized_services", &self.authorized.path())
            .field("instances", &self.directory.instances().len())
            .finish_non_exhaustive()
    }
}

impl Cache {
    fn look(
        &mut self,
        now: Instant,
        accept_pss: bool,
        notes: &mut VecDeque<String>,
    ) -> Option<Content> {
        let on_event = &mut |event: scamp_proto::discovery::Event| note(notes, &event);
        let found = Found::at(&self.path);
        let mut step = self.watch.look(now, found.look(), on_event);
        while step == Step::Read {
            let mut reading = Reading::new(&self.content);
            let (before, after) = read(&self.path, &mut reading);
            let wall = UnixTime::from_micros(unix_micros());
            step = self
                .watch
                .finished(now, wall, before.look(), after.look(), on_event);
            if step == Step::Take {
                return reading.finish(&Rsa, accept_pss, on_event);
            }
        }
        None
    }
}

/// What stands where a file should be.
enum Found {
    File(Stat),
    Nothing,
    Trouble(String),
}

impl Found {
    fn at(path: &Path) -> Self {
        Self::of(Stamp::of(path))
    }

    fn of(stamp: io::Result<Stamp>) -> Self {
        match stamp {
            Ok(stamp) => Self::File(Stat {
                modified: UnixTime::from_micros(crate::clock::micros_of(stamp.modified)),
                size: stamp.len,
                inode: stamp.inode,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Nothing,
            Err(error) => Self::Trouble(error.to_string()),
        }
    }

    fn look(&self) -> Look<'_> {
        match self {
            Self::File(stat) => Look::Found(*stat),
            Self::Nothing => Look::Absent,
            Self::Trouble(why) => Look::Unreadable(why),
        }
    }
}

/// Reads the whole file; what it was before and after.
fn read(path: &Path, reading: &mut Reading<'_>) -> (Found, Found) {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return (Found::of(Err(error)), Found::Nothing),
    };
    let before = Found::of(Stamp::of_file(&file));
    loop {
        match file.read(reading.room()) {
            Ok(0) => break,
            Ok(count) => reading.filled(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (before, Found::Trouble(error.to_string())),
        }
    }
    // A file that was replaced meanwhile is another one by now.
    match Stamp::of_file(&file).map(|stamp| Stamp::of(path).is_ok_and(|now| now == stamp)) {
        Ok(false) => (before, Found::Nothing),
        Ok(true) | Err(_) => (before, Found::of(Stamp::of_file(&file))),
    }
}

fn note(notes: &mut VecDeque<String>, event: &dyn std::fmt::Display) {
    if notes.len() >= NOTES {
        notes.pop_front();
    }
    notes.push_back(event.to_string());
}

/// Notes that are kept for whoever asks.
const NOTES: usize = 256;
