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
use crate::file::{Stamp, Step as Reached, reached};
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
    reached(Reached::Read);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::file::tests::after_reading;

    /// A folder with a cache file that may be there, and what looks at it once a second.
    struct World {
        folder: tempfile::TempDir,
        bus: Bus,
        seconds: u64,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cache");
            let text = format!("discovery.cache_path = {}\n", path.display());
            let (config, _) = Config::parse("test.conf", text.as_bytes());
            Self {
                folder,
                bus: Bus::from_config(&config).unwrap(),
                seconds: 0,
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("cache")
        }

        /// Looks again; what is known then, and what is told.
        fn look(&mut self) -> (usize, Vec<String>) {
            self.seconds += 1;
            self.bus
                .refresh(Instant::from_epoch(Duration::from_secs(self.seconds)));
            let told = self.bus.notes();
            // Nobody is authorized here, which is told once, too.
            let told = told
                .into_iter()
                .filter(|text| !text.starts_with("authorized"));
            (self.bus.news().directory.instances().len(), told.collect())
        }

        fn clear(&self) {
            let path = self.path();
            // One of them is right.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir(&path);
        }
    }

    fn vector(name: &str) -> Vec<u8> {
        let vectors =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/scamp/discovery");
        fs::read(vectors.join(name)).unwrap()
    }

    /// F-44, HD-41, HD-42, D-35, D-36: whatever stands where the cache file was, good records count and
    /// what cannot be read leaves what was known; each change of that is told once.
    #[test]
    fn files_of_all_kinds() {
        let four = vector("cache-manager-four.txt");
        let mut world = World::new();
        let once = |world: &mut World, known: usize, word: &str| {
            let (count, told) = world.look();
            assert_eq!((count, told.len()), (known, 1), "{told:?}");
            assert!(told[0].contains(word), "{word} is not in {told:?}");
            assert_eq!(world.look(), (known, vec![]), "{word}");
        };
        once(&mut world, 0, "does not exist");
        assert!(world.bus.news().directory.is_stale());
        fs::write(world.path(), &four).unwrap();
        assert_eq!(world.look(), (4, vec![]));
        assert!(!world.bus.news().directory.is_stale());

        world.clear();
        once(&mut world, 4, "does not exist");
        fs::create_dir(world.path()).unwrap();
        once(&mut world, 4, "directory");
        #[cfg(unix)]
        {
            // Whoever tests as root could read a file of any mode.
            world.clear();
            std::os::unix::fs::symlink(world.path(), world.path()).unwrap();
            once(&mut world, 4, "symbolic link");
        }
        world.clear();
        fs::write(world.path(), &four).unwrap();
        assert_eq!(world.look(), (4, vec![]));

        // Half of it is there: the third record is cut.
        let marks: Vec<_> = (0..four.len())
            .filter(|at| four[*at..].starts_with(b"\n%%%\n"))
            .collect();
        fs::write(world.path(), &four[..marks[3] - 300]).unwrap();
        once(&mut world, 2, "record 2");
        fs::write(world.path(), &four).unwrap();
        assert_eq!(world.look(), (4, vec![]));
        fs::write(world.path(), [&[0, 255, 7, b'\n'][..], &four].concat()).unwrap();
        once(&mut world, 4, "octets");
        fs::write(world.path(), vector("cache-one-malformed.txt")).unwrap();
        once(&mut world, 4, "record 2");
        // A file without records is no error, it says that there is nobody.
        fs::write(world.path(), b"").unwrap();
        assert_eq!(world.look(), (0, vec![]));
    }

    /// F-44, HD-41: changed in place, cut, replaced or removed while it is read, the file is read again,
    /// four times in all; a file that never keeps still leaves what was known, and that is told once.
    #[test]
    fn files_that_change_meanwhile() {
        let four = vector("cache-manager-four.txt");
        let changes: [fn(&Path, &[u8]); 4] = [
            |path, four| fs::write(path, &four[..four.len() / 2]).unwrap(),
            |path, four| fs::write(path, [four, b"\n"].concat()).unwrap(),
            |path, four| crate::file::replace(path, four).unwrap(),
            |path, _| fs::remove_file(path).unwrap(),
        ];
        for (kind, change) in changes.into_iter().enumerate() {
            let mut world = World::new();
            fs::write(world.path(), &four).unwrap();
            assert_eq!(world.look(), (4, vec![]));
            // A change that leaves it as it was is none, so each has a number.
            let later = |n: usize| [&four[..], b"\n%%%\nbad ", n.to_string().as_bytes()].concat();
            for times in [1, 3] {
                fs::write(world.path(), later(times)).unwrap();
                let (path, text) = (world.path(), later(times + 1));
                after_reading(1, move || change(&path, &text));
                let (known, told) = world.look();
                assert_eq!(told.len(), 1, "{kind}: {told:?}");
                match kind {
                    0 => assert!(known < 4),
                    _ => assert_eq!(known, 4, "{kind}"),
                }
                fs::write(world.path(), &four).unwrap();
                assert_eq!(world.look(), (4, vec![]));
            }
            // It never keeps still.
            let (path, text, mut n) = (world.path(), four.clone(), 0);
            fs::write(world.path(), later(9)).unwrap();
            after_reading(100, move || {
                n += 1;
                change(&path, &text);
                if kind < 3 {
                    fs::write(&path, [&text[..], &vec![b'\n'; n]].concat()).unwrap();
                }
            });
            let (known, told) = world.look();
            assert_eq!((known, told.len()), (4, 1), "{kind}: {told:?}");
            let word = ["changes", "does not exist"][usize::from(kind == 3)];
            assert!(told[0].contains(word), "{kind}: {told:?}");
            assert_eq!(world.look(), (4, vec![]));
            after_reading(0, || ());
            fs::write(world.path(), later(1)).unwrap();
            assert_eq!(world.look().0, 4);
        }
    }

    /// F-44, F-46: beside a writer that replaces it all the time, the file says what one of its states
    /// says, and in the end what the last one says.
    #[test]
    fn files_that_are_replaced_all_the_time() {
        let states = [
            "cache-manager-four.txt",
            "cache-no-final-newlines.txt",
            "base.txt",
        ];
        let states = states.map(vector);
        let mut world = World::new();
        let path = world.path();
        let identities = |world: &World| -> BTreeSet<String> {
            let news = world.bus.news();
            let all = news.directory.instances();
            all.iter().map(|it| it.identity().to_owned()).collect()
        };
        let whole = states.each_ref().map(|state| {
            fs::write(&path, state).unwrap();
            world.look();
            identities(&world)
        });
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..300 {
                    crate::file::replace(&path, &states[n % 3]).unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                world.look();
                let found = identities(&world);
                assert!(whole.contains(&found), "{found:?}");
            }
        });
        world.look();
        assert_eq!(identities(&world), whole[2]);
    }
}
