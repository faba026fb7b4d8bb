//! A disk that crashes, gets full, and lets another run in between, all as it is told or as a seed decides.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inflight_timely::checkpoint::{Disk, Lock};

use crate::Rng;

/// A folder in memory. Handles that are cloned see the same files; [`reboot`](Self::reboot) loses what was not made durable.
pub struct SimulatedDisk {
    shared: Arc<Mutex<Shared>>,
    /// Which handle this is, for the lock.
    handle: u64,
    /// How many crashes it has seen; it is dead when there was another.
    life: u64,
}

/// What happens at an operation, counted from 0 over all handles since the last [`SimulatedDisk::plan`].
pub enum Event {
    /// The power goes, before the operation or after it.
    Crash,
    /// The disk is full from here on, until the next plan: half of what this operation writes still fits.
    Full,
    /// Before the operation, somebody else does this.
    Meanwhile(Box<dyn FnOnce(SimulatedDisk) + Send>),
}

struct Shared {
    rng: Rng,
    files: Vec<Content>,
    /// The names as everybody sees them.
    names: BTreeMap<String, usize>,
    /// The names as they would be if the power went now and nothing since the last sync of the folder was kept.
    durable_names: BTreeMap<String, usize>,
    /// What happened to names since.
    changes: Vec<Change>,
    plan: Option<(u64, Event)>,
    full: bool,
    operations: u64,
    life: u64,
    handles: u64,
    has_locks: bool,
    locked: Option<(u64, String)>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

enum Change {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

impl SimulatedDisk {
    /// An empty folder. What a crash keeps and loses follows from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            rng: Rng::new(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            plan: None,
            full: false,
            operations: 0,
            life: 0,
            handles: 1,
            has_locks: true,
            locked: None,
        };
        Self { shared: Arc::new(Mutex::new(shared)), handle: 0, life: 0 }
    }

    /// The same on a filesystem that has no locks.
    #[must_use]
    pub fn without_locks(seed: u64) -> Self {
        let disk = Self::new(seed);
        disk.shared().has_locks = false;
        disk
    }

    /// Begins to count operations anew, and says what happens at one of them.
    pub fn plan(&self, at: u64, event: Event) {
        let mut shared = self.shared();
        (shared.operations, shared.full, shared.plan) = (0, false, Some((at, event)));
    }

    /// Nothing more is to happen. How many operations there were since the last plan.
    pub fn calm(&self) -> u64 {
        let mut shared = self.shared();
        (shared.full, shared.plan) = (false, None);
        shared.operations
    }

    /// The power goes, unless it is gone already, and comes back: all handles there were are dead.
    #[must_use]
    pub fn reboot(&self) -> Self {
        let mut shared = self.shared();
        if shared.life == self.life {
            shared.crash();
        }
        (shared.full, shared.plan) = (false, None);
        drop(shared);
        self.clone()
    }

    /// Changes a byte of a file, durably and unnoticed.
    pub fn rot(&self, name: &str) {
        let mut shared = self.shared();
        let Some(file) = shared.names.get(name).copied() else { return };
        let length = shared.files[file].now.len() as u64;
        let place = shared.rng.below(length) as usize;
        let change = shared.rng.within(1, 255) as u8;
        shared.files[file].now[place] ^= change;
        shared.files[file].durable = shared.files[file].now.clone();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation: what was planned for it happens.
    fn operate<T>(&self, mut how: impl FnMut(&mut Shared, bool) -> io::Result<T>) -> io::Result<T> {
        let mut shared = self.shared();
        if shared.life != self.life {
            return Err(io::Error::other("the power is gone"));
        }
        let now = shared.operations;
        shared.operations += 1;
        match shared.plan.take_if(|(at, _)| *at == now) {
            Some((_, Event::Crash)) => {
                if shared.rng.one_in(2) {
                    drop(how(&mut shared, false));
                }
                shared.crash();
                return Err(io::Error::other("the power is gone"));
            }
            Some((_, Event::Full)) => shared.full = true,
            Some((_, Event::Meanwhile(what))) => {
                drop(shared);
                what(self.clone());
                shared = self.shared();
            }
            None => {}
        }
        let full = shared.full;
        how(&mut shared, full)
    }
}

impl Shared {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn make(&mut self, name: &str) -> usize {
        let file = self.files.len();
        self.files.push(Content::default());
        self.names.insert(name.to_owned(), file);
        self.changes.push(Change::Link(name.to_owned(), file));
        file
    }

    fn crash(&mut self) {
        self.life += 1;
        self.locked = None;
        self.names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.changes) {
            if self.rng.one_in(2) {
                continue; // lost, whatever became of the others
            }
            match change {
                Change::Link(name, file) => drop(self.names.insert(name, file)),
                Change::Unlink(name) => drop(self.names.remove(&name)),
                Change::Rename(from, to, file) => {
                    self.names.remove(&from);
                    self.names.insert(to, file);
                }
            }
        }
        self.durable_names = self.names.clone();
        for file in &mut self.files {
            file.tear(&mut self.rng);
        }
    }
}

impl Content {
    /// What the disk has of it after a crash: the old, the new, or the new in parts.
    fn tear(&mut self, rng: &mut Rng) {
        if self.now != self.durable {
            let kept = if self.now.starts_with(&self.durable) { self.durable.len() } else { 0 };
            let written = self.now.len();
            let reached = rng.within(kept as u64, written as u64) as usize;
            match rng.below(5) {
                0 => self.now = self.durable.clone(),
                1 => {}
                2 => self.now.truncate(reached),
                3 => self.now[reached..].fill(0), // the length reached the disk, the bytes did not
                _ => self.now[reached..].iter_mut().for_each(|byte| *byte = rng.next() as u8),
            }
        }
        self.durable = self.now.clone();
    }
}

impl Disk for SimulatedDisk {
    fn lock(&mut self, holder: &str) -> io::Result<Lock> {
        let handle = self.handle;
        self.operate(|shared, _| match &shared.locked {
            _ if !shared.has_locks => Ok(Lock::Unsupported),
            Some((other, holder)) if *other != handle => Ok(Lock::Held(holder.clone())),
            _ => {
                shared.locked = Some((handle, holder.to_owned()));
                Ok(Lock::Ours)
            }
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.operate(|shared, _| Ok(shared.names.keys().cloned().collect()))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.operate(|shared, _| Ok(shared.files[shared.file(name)?].now.clone()))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.operate(|shared, full| match shared.file(name) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) if full => Err(ErrorKind::StorageFull.into()),
            Err(_) => {
                shared.make(name);
                Ok(())
            }
        })
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate(|shared, full| {
            let file = shared.file(name).unwrap_or_else(|_| shared.make(name));
            shared.files[file].now = bytes[..if full { bytes.len() / 2 } else { bytes.len() }].to_vec();
            if full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate(|shared, full| {
            let file = shared.file(name)?;
            shared.files[file].now.extend(&bytes[..if full { bytes.len() / 2 } else { bytes.len() }]);
            if full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.operate(|shared, full| {
            let file = shared.file(name)?;
            if full {
                return Err(ErrorKind::StorageFull.into()); // where room is only looked for now
            }
            shared.files[file].durable = shared.files[file].now.clone();
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operate(|shared, _| {
            let file = shared.file(from)?;
            shared.names.remove(from);
            shared.names.insert(to.to_owned(), file);
            shared.changes.push(Change::Rename(from.to_owned(), to.to_owned(), file));
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.operate(|shared, _| {
            shared.file(name)?;
            shared.names.remove(name);
            shared.changes.push(Change::Unlink(name.to_owned()));
            Ok(())
        })
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.operate(|shared, _| {
            shared.durable_names = shared.names.clone();
            shared.changes.clear();
            Ok(())
        })
    }

    fn path(&self) -> &Path {
        Path::new("simulated")
    }
}

impl Clone for SimulatedDisk {
    /// Another handle of the same folder, alive even if this one is dead.
    fn clone(&self) -> Self {
        let mut shared = self.shared();
        shared.handles += 1;
        Self { handle: shared.handles, life: shared.life, shared: Arc::clone(&self.shared) }
    }
}

impl Drop for SimulatedDisk {
    fn drop(&mut self) {
        let handle = self.handle;
        self.shared().locked.take_if(|(holder, _)| *holder == handle);
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("handle", &self.handle).field("life", &self.life).finish_non_exhaustive()
    }
}
