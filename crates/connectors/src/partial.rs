//! A file that appears under its name only when it is complete.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind};

/// A file being written as `<name>.partial`. [`commit`](Self::commit) makes it durable and gives it its name, so that
/// after a crash there is either the old file, or the whole new one, never half of it.
///
/// Dropped without a commit it stays behind as `.partial`, for people to look at; the next attempt overwrites it.
/// While it is open it is locked, so that two processes cannot write the same file.
pub(crate) struct PartialFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
}

impl PartialFile {
    pub(crate) fn create(target: &Path) -> Result<Self, Error> {
        // A symbolic link is kept; what it points to is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let mut partial = target.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let what = format!("cannot create {}", partial.display());
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false) // another process may be writing it; emptied once it is ours
            .open(&partial)
            .map_err(|error| Error::io(&what, error))?;
        let taken = || {
            let message = "another process is writing this file; wait for it to end, or choose another path";
            Error::new(ErrorKind::Busy, message)
        };
        match file.try_lock() {
            Ok(()) if is_still(&file, &partial) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(taken()),
            // Some network file systems have no locks; then the protection is missing, the rest works.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(Error::io("cannot lock the file", error)),
        }
        file.set_len(0).map_err(|error| Error::io(&what, error))?;
        Ok(Self { file, partial, target })
    }

    /// Where the content lies for now.
    #[cfg(feature = "sqlite")]
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    pub(crate) fn commit(self) -> Result<(), Error> {
        self.file.sync_all().map_err(|error| Error::io("cannot write the file to disk", error))?;
        fs::rename(&self.partial, &self.target).map_err(|error| Error::io("cannot rename the .partial file", error))?;
        sync_folder(&self.target).map_err(|error| Error::io("cannot write the folder to disk", error))
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.partial); // the error that led here matters more
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether `path` still names `file`: the process that held the lock may just have renamed it.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => identity(ours) == identity(named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still(_file: &File, _path: &Path) -> bool {
    true
}

/// A rename survives a power cut only when the folder is written too.
#[cfg(unix)]
fn sync_folder(of: &Path) -> io::Result<()> {
    match of.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(not(unix))]
fn sync_folder(_of: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_appears_with_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.txt");
        let mut file = PartialFile::create(&target).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!target.exists());
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert!(!folder.path().join("out.txt.partial").exists());
    }

    #[test]
    fn what_a_crash_left_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.txt");
        fs::write(folder.path().join("out.txt.partial"), b"left by a crash").unwrap();
        let mut file = PartialFile::create(&target).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn a_second_writer_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.txt");
        let mut first = PartialFile::create(&target).unwrap();
        first.write_all(b"first").unwrap();
        let refused = PartialFile::create(&target).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Busy);
        first.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first");
        PartialFile::create(&target).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut file = PartialFile::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }
}
