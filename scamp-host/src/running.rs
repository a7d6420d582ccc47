//! The running-service file (V-7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that says by its name that a service runs; it goes when this value does.
#[derive(Debug)]
pub struct RunningFile {
    path: PathBuf,
}

impl RunningFile {
    /// Makes the empty file for the service with this identity, and its directory if there is none.
    ///
    /// # Errors
    ///
    /// The operating system's; a service runs all the same (V-7).
    pub fn create(directory: &Path, identity: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(identity.replace('/', "_"));
        fs::File::create(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        // It is gone already, or nobody is left to tell of the failure.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// V-7: a name with a slash, a directory that is made, a file that goes.
    #[test]
    fn while_it_runs() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let file = RunningFile::create(&directory, "main:x/y+z").unwrap();
        assert_eq!(file.path(), directory.join("main:x_y+z"));
        assert_eq!(fs::metadata(file.path()).unwrap().len(), 0);
        file.remove().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        drop(RunningFile::create(&directory, "again").unwrap());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}
