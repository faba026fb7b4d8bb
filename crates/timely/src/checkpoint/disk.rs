//! The folder that checkpoints are kept in, at the level where crashes matter.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::names::LOCK;

/// A folder of files. What was written survives a crash for sure only after [`sync`](Self::sync), and what became of names only after
/// [`sync_folder`](Self::sync_folder); before, all of it, some or nothing may.
///
/// Names are plain: no separators.
pub trait Disk: Send {
    /// Makes this handle the only one that has the folder, until it is dropped or its process dies. `holder` is for whoever is refused.
    ///
    /// # Errors
    ///
    /// What the operating system says. A lock that somebody else has is not an error, but [`Lock::Held`].
    fn lock(&mut self, holder: &str) -> io::Result<Lock>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// What is in a file.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes an empty file.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if there is one of that name, whoever made it and however short ago.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Makes a file with these bytes, in place of one that is there.
    ///
    /// # Errors
    ///
    /// What the operating system says; some of the bytes may then be written.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Adds bytes at the end of a file that is there.
    ///
    /// # Errors
    ///
    /// What the operating system says; some of the bytes may then be written.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what is in a file.
    ///
    /// # Errors
    ///
    /// What the operating system says; what was written last may then be lost, even if a second try succeeds.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes durable which names there are.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// Where it is, for messages.
    fn path(&self) -> &Path;
}

/// What came of [`Disk::lock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is ours.
    Ours,
    /// Somebody else has it: who, as far as known.
    Held(String),
    /// Here are no locks, as on some network filesystems.
    Unsupported,
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Option<File>,
    /// The file written last, so that it is synced by the handle that wrote it: only that one is sure to hear of all errors.
    written: Option<(String, File)>,
}

impl Folder {
    /// A folder that is there.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not a folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, super::Error> {
        let path = path.into();
        let found = fs::metadata(&path).and_then(|metadata| {
            if metadata.is_dir() { Ok(()) } else { Err(io::Error::from(ErrorKind::NotADirectory)) }
        });
        found.map_err(super::Error::io("open the folder of checkpoints", &path))?;
        Ok(Self { path, lock: None, written: None })
    }

    /// A folder that is made, with those above it, if it is not there.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, super::Error> {
        let path = path.into();
        let is_new = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
        let new: Vec<_> = path.ancestors().take_while(is_new).collect();
        let made = fs::create_dir_all(&path).and_then(|()| new.into_iter().try_for_each(sync_above));
        made.map_err(super::Error::io("make the folder of checkpoints", &path))?;
        Self::open(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn add(&mut self, name: &str, bytes: &[u8], how: &OpenOptions) -> io::Result<()> {
        self.written = None;
        let mut file = how.open(self.at(name))?;
        let added = file.write_all(bytes);
        self.written = Some((name.to_owned(), file));
        added
    }
}

impl Drop for Folder {
    /// To close the file would not do: a process that another thread starts just now has it too, until it runs its own program.
    fn drop(&mut self) {
        if let Some(file) = self.lock.take() {
            // If it cannot be given up, it goes with the last who has it.
            let _ = file.unlock();
        }
    }
}

impl Disk for Folder {
    fn lock(&mut self, holder: &str) -> io::Result<Lock> {
        let path = self.at(LOCK);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all(format!("process {} on {}, {holder}\n", std::process::id(), host()).as_bytes())?;
                self.lock = Some(file);
                Ok(Lock::Ours)
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let told = file.rewind().and_then(|()| file.read_to_string(&mut holder)).is_ok();
                let unknown = !told || holder.trim().is_empty(); // it may just be writing its name
                Ok(Lock::Held(if unknown { "another process".to_owned() } else { holder.trim().to_owned() }))
            }
            Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(Lock::Unsupported),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is not text is none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && !entry.file_type()?.is_dir()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.at(name))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.add(name, &[], OpenOptions::new().write(true).create_new(true))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.add(name, bytes, OpenOptions::new().write(true).create(true).truncate(true))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match &mut self.written {
            // Whatever wrote it, a handle that appends is the only one to go on with.
            Some((written, file)) if written == name => {
                file.seek(io::SeekFrom::End(0))?;
                file.write_all(bytes)
            }
            _ => self.add(name, bytes, OpenOptions::new().append(true)),
        }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        match &self.written {
            Some((written, file)) if written == name => file.sync_all(),
            _ => OpenOptions::new().append(true).open(self.at(name))?.sync_all(),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.written = None;
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.written = None;
        fs::remove_file(self.at(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        sync_names(&self.path)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the filesystem has no locks at all.
fn has_no_locks(error: &io::Error) -> bool {
    const NO_LOCKS_AVAILABLE: i32 = 37; // what Linux says on network filesystems without a lock service
    error.kind() == ErrorKind::Unsupported
        || (cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_LOCKS_AVAILABLE))
}

fn host() -> String {
    let told = fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    told.map_or_else(|| "this or another host".to_owned(), |name| name.trim().to_owned())
}

/// A folder that was just made has a name for good only when the folder above is written too.
fn sync_above(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    path.parent().map_or(Ok(()), sync_names)
}

#[cfg(unix)]
fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_names(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_what_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Folder::create(folder.path().join("a/b")).unwrap();
        disk.write("x", b"long old text").unwrap();
        disk.write("x", b"one").unwrap();
        disk.sync("x").unwrap();
        disk.append("x", b" two").unwrap();
        disk.create("y").unwrap();
        disk.append("x", b" three").unwrap();
        disk.sync("y").unwrap();
        assert_eq!(disk.read("x").unwrap(), b"one two three");
        assert_eq!(disk.create("y").unwrap_err().kind(), ErrorKind::AlreadyExists);
        disk.rename("x", "y").unwrap();
        disk.sync_folder().unwrap();
        fs::create_dir(disk.at("folder")).unwrap();
        assert_eq!(disk.names().unwrap(), ["y"]);
        disk.remove("y").unwrap();
        assert_eq!(disk.append("y", b"").unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn the_lock_is_one_run_s_and_says_whose() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Folder::open(folder.path()).unwrap();
        let mut second = Folder::open(folder.path()).unwrap();
        assert_eq!(first.lock("since noon").unwrap(), Lock::Ours);
        let Lock::Held(holder) = second.lock("since one").unwrap() else { panic!("two have it") };
        assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
        assert!(holder.ends_with(", since noon"), "{holder}");
        // As a process has that is being started.
        let inherited = first.lock.as_ref().unwrap().try_clone().unwrap();
        drop(first);
        assert_eq!(second.lock("since one").unwrap(), Lock::Ours);
        drop(inherited);
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [&file, &folder.path().join("missing")] {
            let error = Folder::open(path).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && error.contains("cannot open the folder"), "{error}");
        }
    }
}
