//! Files that others replace, and files that we replace.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

/// What tells one state of a file from the next (D-35).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// When it was last written to.
    pub modified: SystemTime,
    /// Its length in octets.
    pub len: u64,
    /// Its inode, where the system has such a thing.
    pub inode: u64,
}

impl Stamp {
    /// That of the file at `path`.
    ///
    /// # Errors
    ///
    /// The operating system's; [`io::ErrorKind::NotFound`] is for a file that is not there.
    pub fn of(path: &Path) -> io::Result<Self> {
        Self::from_metadata(&fs::metadata(path)?)
    }

    /// That of an open file.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Self::from_metadata(&file.metadata()?)
    }

    fn from_metadata(metadata: &fs::Metadata) -> io::Result<Self> {
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(Self {
            modified: metadata.modified()?,
            len: metadata.len(),
            inode: inode(metadata),
        })
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

/// A file's content, all of one state of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    /// The octets, as many as were asked for at most.
    pub octets: Vec<u8>,
    /// Whether there are more.
    pub is_cut: bool,
    /// The state it was read in.
    pub stamp: Stamp,
}

/// Reads at most `limit` octets of a file that may be replaced or rewritten meanwhile (HD-40, HD-41).
///
/// # Errors
///
/// The operating system's, and [`io::ErrorKind::Interrupted`] if the file changed during each of
/// three attempts.
pub fn read(path: &Path, limit: u64) -> io::Result<Content> {
    for _ in 0..ATTEMPTS {
        let file = File::open(path)?;
        let before = Stamp::of_file(&file)?;
        let most = limit.saturating_add(1);
        // All at once, since growing would take a half more than there is in the end (HD-40).
        let room = usize::try_from(before.len.min(most)).unwrap_or(usize::MAX);
        let mut octets = Vec::new();
        if octets.try_reserve_exact(room.saturating_add(1)).is_err() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        (&file).take(most).read_to_end(&mut octets)?;
        reached(Step::Read);
        let after = Stamp::of_file(&file)?;
        if before == after && Stamp::of(path)? == after {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let is_cut = octets.len() > limit;
            octets.truncate(limit);
            return Ok(Content {
                octets,
                is_cut,
                stamp: after,
            });
        }
    }
    Err(io::Error::new(
        io::ErrorKind::Interrupted,
        "the file changes faster than it can be read",
    ))
}

/// Puts `octets` in the place of the file at `path`, which is always whole: old or new (D-33, F-46).
///
/// They are written to a file beside it first, `NAME.??????.new`, that is renamed. It stays behind if
/// the process is killed before that, where it does no harm; see [`remove_leftovers`].
///
/// # Errors
///
/// The operating system's; the old file is then as it was (F-45).
pub fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut new = tempfile::Builder::new()
        .prefix(&new_name(path))
        .suffix(NEW)
        .tempfile_in(directory(path))?;
    reached(Step::Made);
    new.write_all(octets)?;
    reached(Step::Written);
    #[cfg(unix)]
    {
        // Others read it: the permissions of a file made in the ordinary way, or the old one's.
        use std::os::unix::fs::PermissionsExt;
        let permissions = match fs::metadata(path) {
            Ok(old) => old.permissions(),
            Err(_) => fs::Permissions::from_mode(0o644),
        };
        new.as_file().set_permissions(permissions)?;
    }
    reached(Step::Permitted);
    new.persist(path).map_err(|error| error.error)?;
    reached(Step::Renamed);
    Ok(())
}

/// Removes what killed processes left of their attempts to [`replace`] the file at `path`, and says
/// how many files that were.
///
/// Only for who alone writes that file, since what another is writing is taken for such a leftover.
///
/// # Errors
///
/// The operating system's, if the folder cannot be read.
pub fn remove_leftovers(path: &Path) -> io::Result<usize> {
    let begin = new_name(path);
    let is_leftover = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        let middle = name.strip_prefix(begin.as_encoded_bytes());
        middle
            .and_then(|rest| rest.strip_suffix(NEW.as_bytes()))
            .is_some_and(|random| {
                random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric)
            })
    };
    let mut removed = 0;
    for entry in fs::read_dir(directory(path))? {
        let entry = entry?;
        // One that somebody else removes, or that cannot be removed, is no reason to stop.
        if is_leftover(&entry.file_name()) && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the name of a file begins that is to replace the one at `path`.
fn new_name(path: &Path) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name
}

/// How that name ends, and how many letters and digits are before.
const NEW: &str = ".new";
const RANDOM: usize = 6;

/// What was just done: the content read, and the steps of [`replace`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Read,
    Made,
    Written,
    Permitted,
    Renamed,
}

#[cfg(test)]
pub(crate) use tests::reached;

/// Where tests end the process (F-46), or change a file while it is read (HD-41).
#[cfg(not(test))]
pub(crate) fn reached(_: Step) {}

/// Says that a file is as good as new (D-34).
///
/// # Errors
///
/// The operating system's.
pub fn touch(path: &Path) -> io::Result<()> {
    File::options()
        .append(true)
        .open(path)?
        .set_modified(SystemTime::now())
}

/// How often a file that changes under the reader is read (HD-41).
const ATTEMPTS: usize = 3;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::process::{Command, ExitStatus};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    thread_local! {
        /// What is done on this thread after each reading.
        static AFTER_READING: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    }

    /// Does this after the next `times` readings on this thread.
    pub(crate) fn after_reading(mut times: u32, mut run: impl FnMut() + 'static) {
        let run = move || {
            if times > 0 {
                times -= 1;
                run();
            }
        };
        AFTER_READING.set(Some(Box::new(run)));
    }

    /// Ends the process as suddenly as a kill does, if this is where it was told to end.
    pub(crate) fn reached(step: Step) {
        if step == Step::Read {
            AFTER_READING.with_borrow_mut(|run| run.as_mut().map(|run| run()));
        }
        if std::env::var_os(DIES_AFTER).is_some_and(|told| told == *format!("{step:?}")) {
            std::process::abort();
        }
    }

    /// Runs a test in a process of its own, by way of `shell`, to replace the file at `path` there.
    #[cfg(unix)]
    fn elsewhere(test: &str, path: &Path, dies_after: &str, shell: &str) -> ExitStatus {
        // Where it leaves a core, if the system wants one.
        let folder = path.parent().unwrap();
        Command::new("sh")
            .args(["-c", &format!("ulimit -c 0; {shell}; exec \"$@\""), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([&format!("file::tests::{test}"), "--exact"])
            .env(WRITES, path)
            .env(DIES_AFTER, dies_after)
            .current_dir(folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
    }

    /// F-46, HD-68: a writer killed after each of its steps, or in the middle of writing, leaves the
    /// old file or the new one, whole; what else it leaves is in nobody's way, and is removed.
    #[test]
    #[cfg(unix)]
    fn a_killed_writer() {
        let new = vec![b'n'; 3_000_000];
        if let Some(path) = std::env::var_os(WRITES) {
            return replace(Path::new(&path), &new).unwrap();
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        let old = vec![b'o'; 2_000_000];
        let steps = [Step::Made, Step::Written, Step::Permitted, Step::Renamed];
        let mut kills: Vec<_> = steps
            .map(|step| {
                (
                    format!("{step:?}"),
                    "true".to_owned(),
                    step == Step::Renamed,
                )
            })
            .to_vec();
        // The system kills who writes more than so many blocks of 512 octets.
        for blocks in [0, 1, 7, 2000, 5000] {
            kills.push((String::new(), format!("ulimit -f {blocks}"), false));
        }
        for (number, (step, shell, is_new)) in kills.iter().enumerate() {
            for is_there in [true, false] {
                match is_there {
                    true => replace(&path, &old).unwrap(),
                    false => fs::remove_file(&path).unwrap(),
                }
                let status = elsewhere("a_killed_writer", &path, step, shell);
                assert_eq!(status.code(), None, "{step} {shell}: it was killed");
                match (is_new, is_there) {
                    (true, _) => assert!(fs::read(&path).unwrap() == new, "{step}"),
                    (false, true) => assert!(fs::read(&path).unwrap() == old, "{step} {shell}"),
                    (false, false) => assert!(!path.exists(), "{step} {shell}"),
                }
                // Whoever writes next succeeds, whatever lies about.
                replace(&path, &[number as u8]).unwrap();
                assert_eq!(read(&path, 9).unwrap().octets, [number as u8]);
            }
        }
        let status = elsewhere("a_killed_writer", &path, "", "true");
        assert!(status.success() && fs::read(&path).unwrap() == new);

        // Three kinds of death after it was made, and five in the middle; twice each.
        for other in [
            "cache",
            "cache.new",
            "cache.1.new",
            "cached.123456.new",
            "cache.12345-.new",
        ] {
            fs::write(root.path().join(other), "").unwrap();
        }
        assert_eq!(remove_leftovers(&path).unwrap(), 16);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 5);
        assert_eq!(remove_leftovers(&path).unwrap(), 0);
        assert!(remove_leftovers(Path::new("/no/such/cache")).is_err());
    }

    /// Tells a process of this test program to write a file, and after which step to die.
    const WRITES: &str = "SCAMP_TEST_WRITES";
    const DIES_AFTER: &str = "SCAMP_TEST_DIES_AFTER";

    /// D-35, HD-40: what is read, how much of it, and what is not there.
    #[test]
    fn reading() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        assert_eq!(read(&path, 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(
            read(root.path(), 9).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        replace(&path, b"123456789").unwrap();
        let whole = read(&path, 9).unwrap();
        assert_eq!(
            (&whole.octets[..], whole.is_cut),
            (&b"123456789"[..], false)
        );
        assert_eq!(whole.stamp, Stamp::of(&path).unwrap());
        let cut = read(&path, 8).unwrap();
        assert_eq!((&cut.octets[..], cut.is_cut), (&b"12345678"[..], true));
        replace(&path, b"abcdefghi").unwrap();
        assert_ne!(whole.stamp, Stamp::of(&path).unwrap());
    }

    /// D-33, F-45: a file that cannot be written leaves the old one, and nothing else, behind.
    #[test]
    fn a_failed_write_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert!(replace(&root.path().join("none/cache"), b"x").is_err());
        let directory = root.path().join("directory");
        fs::create_dir(&directory).unwrap();
        assert!(replace(&directory, b"x").is_err());
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    /// HD-41, F-44: what is changed while it is read, in place or by another file in its place, is read
    /// again, three times in all.
    #[test]
    fn torn_reads() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        fs::write(&path, "0").unwrap();
        let changes: [fn(&Path); 3] = [
            |path| {
                let mut file = File::options().append(true).open(path).unwrap();
                file.write_all(b"1").unwrap();
            },
            |path| {
                // Another length each time, whatever the time of change can tell apart.
                let len = fs::metadata(path).unwrap().len() + 1;
                fs::write(path, &b"xx"[..len as usize % 3]).unwrap();
            },
            |path| replace(path, b"another").unwrap(),
        ];
        for change in changes {
            for times in 0..=3 {
                fs::write(&path, "0").unwrap();
                let theirs = path.clone();
                after_reading(times, move || change(&theirs));
                let found = read(&path, 9);
                after_reading(0, || ());
                match times {
                    3 => assert_eq!(found.unwrap_err().kind(), io::ErrorKind::Interrupted),
                    _ => assert_eq!(found.unwrap().octets, fs::read(&path).unwrap()),
                }
            }
        }
    }

    /// HD-41, F-44, F-46: beside a writer, each reading is of one state.
    #[test]
    fn never_two_states_in_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        let of = |octet: u8| vec![octet; 300_000 + usize::from(octet)];
        replace(&path, &of(0)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for octet in 1..=200 {
                    replace(&path, &of(octet)).unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                match read(&path, 1 << 20) {
                    Ok(content) => assert_eq!(content.octets, of(content.octets[0])),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
                }
            }
        });
        assert_eq!(read(&path, 1 << 20).unwrap().octets, of(200));
    }

    /// F-45: on a disk that is full nothing is written, the old file is whole, and nothing is left.
    #[test]
    #[cfg(unix)]
    fn a_full_disk() {
        if let Some(path) = std::env::var_os(WRITES) {
            let error = replace(Path::new(&path), &vec![b'n'; 3_000_000]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        replace(&path, b"old").unwrap();
        // The nearest to a full disk that there is without one: no file may be longer than this.
        for blocks in [0, 1, 5000] {
            let shell = format!("trap '' XFSZ; ulimit -f {blocks}");
            let status = elsewhere("a_full_disk", &path, "", &shell);
            assert!(status.success(), "{blocks} blocks");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        }
    }

    /// D-34: touching makes a file young and leaves it as it was.
    #[test]
    fn touching() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache");
        replace(&path, b"x").unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(old)
            .unwrap();
        assert_eq!(Stamp::of(&path).unwrap().modified, old);
        touch(&path).unwrap();
        let now = Stamp::of(&path).unwrap();
        assert!(now.modified > old);
        assert_eq!(now.len, 1);
        assert!(touch(&root.path().join("none")).is_err());
    }
}
