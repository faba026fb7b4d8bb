//! A file that appears under its name only when it is complete.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// How much of the end of what is kept is compared: 4 KiB.
const TAIL_BYTES: u64 = 4096;

/// A file being written as `<name>.partial`. [`commit`](Self::commit) makes it durable and gives it its name, so that
/// after a crash there is either the old file, or the whole new one, never half of it.
///
/// Dropped without a commit it stays behind as `.partial`, for people to look at; the next attempt overwrites it.
/// While it is open it is locked, so that two processes cannot write the same file.
pub(crate) struct PartialFile {
    file: File,
    bytes: u64,
    partial: PathBuf,
    target: PathBuf,
    /// Whether the name of the partial file is known to survive a power cut.
    named: bool,
}

/// How much of a file is durable, and how that ends, so that another file in its place is noticed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Kept {
    bytes: u64,
    tail_crc: u32,
}

/// What a crash left of a file.
pub(crate) enum Left {
    /// The partial file, cut back to what was kept.
    Partial(PartialFile),
    /// The file with its name and just what was kept: the crash came after the commit.
    Whole(WholeFile),
}

/// A file that got its name before the crash.
pub(crate) struct WholeFile {
    file: File,
    target: PathBuf,
}

impl PartialFile {
    pub(crate) fn create(target: &Path) -> Result<Self, Error> {
        let (partial, target) = names(target);
        let what = format!("cannot create {}", partial.display());
        // Another process may be writing it: emptied once it is ours.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
        let file = file.map_err(|error| Error::io(&what, error))?;
        lock(&file, &partial)?;
        file.set_len(0).map_err(|error| Error::io(&what, error))?;
        Ok(Self { file, bytes: 0, partial, target, named: false })
    }

    /// Takes up what a crash left of a file of which `kept` was durable, and cuts off what came after.
    pub(crate) fn resume(target: &Path, kept: Kept) -> Result<Left, Error> {
        let (partial, target) = names(target);
        let mut file = match OpenOptions::new().read(true).write(true).open(&partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return whole(target, &partial, kept),
            opened => opened.map_err(|error| Error::io(&format!("cannot open {}", partial.display()), error))?,
        };
        lock(&file, &partial)?;
        let cut_back = |file: &mut File| {
            let length = file.metadata()?.len();
            let known = length >= kept.bytes && tail_crc(file, kept.bytes)? == kept.tail_crc;
            if known {
                file.set_len(kept.bytes)?;
            }
            Ok((length, known))
        };
        match cut_back(&mut file).map_err(|error| Error::io(&format!("cannot read {}", partial.display()), error))? {
            (_, true) => Ok(Left::Partial(Self { file, bytes: kept.bytes, partial, target, named: false })),
            (length, false) => Err(lost(&partial, kept, &format!("has {length} bytes, or others"))),
        }
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> io::Result<Kept> {
        self.file.sync_data()?;
        if !self.named {
            sync_folder(&self.partial)?;
            self.named = true;
        }
        Ok(Kept { bytes: self.bytes, tail_crc: tail_crc(&mut self.file, self.bytes)? })
    }

    /// Where the content lies for now.
    #[cfg(feature = "sqlite")]
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    pub(crate) fn commit(self) -> Result<(), Error> {
        self.file.sync_all().map_err(not_durable)?;
        fs::rename(&self.partial, &self.target).map_err(|error| Error::io("cannot rename the .partial file", error))?;
        sync_folder(&self.target).map_err(not_durable)
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.partial); // the error that led here matters more
    }
}

impl Kept {
    pub(crate) fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

impl WholeFile {
    /// Once more: the crash may have come before the name was durable.
    pub(crate) fn commit(self) -> Result<(), Error> {
        self.file.sync_all().and_then(|()| sync_folder(&self.target)).map_err(not_durable)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The names of the partial file and of the whole one.
fn names(target: &Path) -> (PathBuf, PathBuf) {
    // A symbolic link is kept; what it points to is replaced.
    let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let mut partial = target.clone().into_os_string();
    partial.push(".partial");
    (PathBuf::from(partial), target)
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) if is_still(file, path) => Ok(()),
        Ok(()) | Err(TryLockError::WouldBlock) => {
            let message = "another process is writing this file; wait for it to end, or choose another path";
            Err(Error::new(ErrorKind::Busy, message))
        }
        // Some network file systems have no locks; then the protection is missing, the rest works.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(Error::io("cannot lock the file", error)),
    }
}

/// The file under its name, if it is just what was kept.
fn whole(target: PathBuf, partial: &Path, kept: Kept) -> Result<Left, Error> {
    let open = || {
        let mut file = File::open(&target)?;
        let same = file.metadata()?.len() == kept.bytes && tail_crc(&mut file, kept.bytes)? == kept.tail_crc;
        io::Result::Ok((file, same))
    };
    match open() {
        Ok((file, true)) => Ok(Left::Whole(WholeFile { file, target })),
        Ok((_, false)) => Err(lost(partial, kept, "is not there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(lost(partial, kept, "is not there")),
        Err(error) => Err(Error::io("cannot read the file", error)),
    }
}

fn lost(partial: &Path, kept: Kept, found: &str) -> Error {
    let message = format!(
        "the checkpoint continues {}, whose first {} bytes it knows, but that file {found}; bring it back, or start \
         anew without the checkpoint",
        partial.display(),
        kept.bytes
    );
    Error::new(ErrorKind::Changed, message)
}

/// The checksum of the end of the first `bytes`; the file then stands behind them.
fn tail_crc(file: &mut File, bytes: u64) -> io::Result<u32> {
    let length = bytes.min(TAIL_BYTES);
    file.seek(SeekFrom::Start(bytes - length))?;
    let mut tail = Vec::new();
    file.take(length).read_to_end(&mut tail)?;
    let mut crc = Crc::new();
    crc.update(&tail);
    Ok(crc.sum())
}

fn not_durable(error: io::Error) -> Error {
    Error::io("cannot write the file and its name to disk", error)
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
