//! Files that others replace, and files that we replace.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use tempfile::NamedTempFile;

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
        let mut octets = Vec::new();
        let most = limit.saturating_add(1);
        (&file).take(most).read_to_end(&mut octets)?;
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
/// # Errors
///
/// The operating system's; the old file is then as it was (F-45).
pub fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut new = NamedTempFile::new_in(directory)?;
    new.write_all(octets)?;
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
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

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
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

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
