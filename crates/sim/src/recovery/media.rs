//! The simulated disk, on the same power as everything else: each operation on it may be the last.

use std::io;
use std::path::Path;

use inflight_timely::checkpoint::{Disk, Lock};

use super::fault::Fault;
use super::world::Shared;
use crate::{Event, SimulatedDisk};

/// A handle of the disk.
#[derive(Clone)]
pub(super) struct Media {
    pub(super) disk: SimulatedDisk,
    pub(super) world: Shared,
    pub(super) fault: Option<Fault>,
}

impl Media {
    /// What changes something.
    fn change<T>(&mut self, change: impl FnOnce(&mut SimulatedDisk) -> io::Result<T>) -> io::Result<T> {
        let (was_on, is_on) = {
            let mut world = self.world.lock();
            (world.is_on(), world.event())
        };
        if !was_on {
            return Err(io::Error::other("there is no power"));
        }
        if !is_on {
            self.disk.plan(0, Event::Crash);
        }
        change(&mut self.disk)
    }
}

impl Disk for Media {
    fn lock(&mut self, holder: &str) -> io::Result<Lock> {
        self.disk.lock(holder)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.change(|disk| disk.create(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| disk.write(name, bytes))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| disk.append(name, bytes))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let skipped = self.fault == Some(Fault::CheckpointNotSynced) && name.starts_with("checkpoint");
        if skipped { Ok(()) } else { self.change(|disk| disk.sync(name)) }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.change(|disk| disk.rename(from, to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change(|disk| disk.remove(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let skipped = self.fault == Some(Fault::FolderNotSynced);
        if skipped { Ok(()) } else { self.change(Disk::sync_folder) }
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
}
