//! Keeps checkpoints while a run goes on, on the thread that writes: it knows what is in the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use inflight_timely::checkpoint::{Checkpoint, Disk as _, Folder, Journal, Mark, Store};
use inflight_timely::pipeline::{Cut, Partition};

use super::now::now;
use super::partitions::Reached;
use super::row::Row;
use super::tally::Tally;

/// The fact of a checkpoint under which counts are kept.
pub(super) const COUNTS: &str = "counts";

/// The fact of a checkpoint that says by which name a database knows the output.
pub(super) const OUTPUT: &str = "output";

/// The folder of checkpoints, and what they say besides.
pub(super) struct Keeper {
    store: Store<Folder>,
    shape: String,
    /// The partitions by index.
    names: Vec<String>,
    /// What every checkpoint says besides.
    facts: BTreeMap<String, String>,
    /// What is written behind the last checkpoint, if that is recorded.
    journal: Option<Journal<Folder>>,
    /// The last one, to be followed by one that says that the run is complete.
    last: Checkpoint,
    tally: Arc<Tally>,
}

/// What the positions of a checkpoint say about the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Records that were read.
    pub(super) records: u64,
    /// Nothing is left to read.
    pub(super) all: bool,
}

impl Keeper {
    /// `shape` is that of the pipeline.
    pub(super) fn new(
        store: Store<Folder>,
        shape: String,
        partitions: &[Partition],
        facts: BTreeMap<String, String>,
        tally: Arc<Tally>,
    ) -> Self {
        let names = partitions.iter().map(|partition| partition.name.clone()).collect();
        Self { store, shape, names, facts, journal: None, last: Checkpoint::default(), tally }
    }

    /// From now on, what is written is recorded, behind this checkpoint for now.
    pub(super) fn record_behind(&mut self, mark: Option<Mark>) -> Result<(), String> {
        let folder = Folder::open(self.store.disk().path()).map_err(|error| error.to_string())?;
        self.journal = Some(Journal::new(folder, mark, self.store.generation()));
        Ok(())
    }

    /// Records these before they are written.
    pub(super) fn record(&mut self, rows: &[Row]) -> Result<(), String> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        for row in rows {
            let entry = postcard::to_stdvec(row).map_err(|error| format!("a record cannot be recorded: {error}"))?;
            journal.append(&entry);
        }
        journal.sync().map_err(|error| error.to_string())
    }

    /// Writes the checkpoint of an epoch, when the sinks are prepared and have these states.
    pub(super) fn keep(&mut self, cut: Cut, sinks: BTreeMap<String, String>) -> Result<Read, String> {
        let mut partitions: Vec<(String, String)> =
            self.names.iter().map(|name| (name.clone(), String::new())).collect();
        for position in cut.positions {
            if let Some((_, at)) = partitions.get_mut(position.partition as usize) {
                *at = position.at;
            }
        }
        let read = read(&partitions)?;
        self.tally.read_in_all(read.records);
        let counts = serde_json::to_string(&self.tally.counts()).map_err(|error| error.to_string())?;
        self.last = Checkpoint {
            epoch: cut.epoch,
            generation: self.store.generation(),
            created: now(),
            pipeline: self.shape.clone(),
            complete: false,
            partitions,
            sinks,
            facts: self
                .facts
                .iter()
                .map(|(name, fact)| (name.clone(), fact.clone()))
                .chain([(COUNTS.to_owned(), counts)])
                .collect(),
            carried_records: usize::try_from(cut.carried).unwrap_or(usize::MAX),
            carried: (cut.encode)()?,
        };
        self.store.write(&self.last).map_err(|error| error.to_string())?;
        if self.journal.is_some() {
            self.record_behind(Some(self.last.mark()))?;
        }
        Ok(read)
    }

    /// Says that the run has ended, and its output is complete.
    pub(super) fn complete(&mut self) -> Result<(), String> {
        (self.last.epoch, self.last.complete, self.last.created) = (self.last.epoch + 1, true, now());
        self.store.write(&self.last).map_err(|error| error.to_string())
    }
}

/// What the partitions of a checkpoint say about the source.
pub(super) fn read(partitions: &[(String, String)]) -> Result<Read, String> {
    let mut read = Read { records: 0, all: true };
    for (_, at) in partitions {
        // Without a position it has not been begun.
        let reached = if at.is_empty() { Reached::default() } else { Reached::read(at)? };
        read = Read { records: read.records + reached.records(), all: read.all && reached.is_done() };
    }
    Ok(read)
}
