//! The writer: appends records to the output, and makes checkpoints, one operation at a time. It stands for the program's thread.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use inflight_timely::checkpoint::{Checkpoint, Disk, Error, Store};
use inflight_timely::pipeline::{Cut, Restored};

use super::fault::Fault;
use super::media::Media;
use super::row::Record;
use super::world::Shared;

/// The file that records go to.
const OUTPUT: &str = "output";
/// The disk has no way to cut a file off: what counts of it becomes a new one.
const NEW_OUTPUT: &str = "output.new";
/// The name under which a checkpoint has the length of the output.
const LENGTH: &str = "output";
/// The name under which a checkpoint has the run that made it.
const RUN: &str = "run";

pub(super) struct Writer {
    media: Media,
    store: Store<Media>,
    world: Shared,
    run: usize,
    jobs: VecDeque<Job>,
    /// Of the output.
    length: u64,
    journal: bool,
    completed: Option<u64>,
    /// Of the worker with the sink.
    pub(super) waker: Option<Waker>,
    /// The pipeline has ended, and its last checkpoint is there.
    pub(super) complete: bool,
}

enum Job {
    Rows(Vec<Record>),
    /// Makes the output durable.
    Sync(Cut),
    /// Writes the checkpoint.
    Write(Cut),
    Tell(u64, bool),
}

/// What there is to go on from.
pub(super) struct Found {
    /// The run and the epoch; none from the beginning.
    pub(super) from: Option<(usize, u64)>,
    pub(super) restored: Option<Restored<Record>>,
    /// By partition.
    pub(super) positions: BTreeMap<u32, String>,
    /// What is in the output.
    pub(super) output: Vec<Record>,
    pub(super) complete: bool,
}

impl Writer {
    /// Opens the folder after a crash: the output is cut back to what the checkpoint knows of it.
    ///
    /// # Errors
    /// The power is gone again, or what is found is no good.
    pub(super) fn open(media: Media, run: usize) -> Result<(Self, Found), Error> {
        let mut media = media;
        let mut store = Store::open(media.clone(), "now")?;
        let found = store.latest()?.checkpoint;
        store.start(found.as_ref().map(Checkpoint::mark))?;
        let length = found.as_ref().and_then(|found| found.sinks.get(LENGTH)?.parse().ok()).unwrap_or(0);
        let journal = media.world.lock().scenario.journal;
        let recorded = if journal { recorded(&media, length) } else { Vec::new() };
        let output = cut_back(&mut media, length).map_err(|source| Error::Io {
            doing: "cut back",
            place: OUTPUT.into(),
            source,
        })?;
        let world = media.world.clone();
        let epoch = found.as_ref().map(|found| found.epoch);
        let complete = found.as_ref().is_some_and(|found| found.complete);
        let length = output.len() as u64;
        let writer = Self {
            store,
            world,
            run,
            jobs: VecDeque::new(),
            length,
            completed: epoch,
            waker: None,
            complete,
            journal,
            media,
        };
        Ok((writer, Found::new(found, &output, recorded)))
    }

    /// How many records wait to be written.
    pub(super) fn backlog(&self) -> usize {
        let rows = self.jobs.iter().map(|job| if let Job::Rows(rows) = job { rows.len() } else { 0 });
        rows.sum()
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(super) const fn completed(&self) -> Option<u64> {
        self.completed
    }

    pub(super) fn rows(&mut self, rows: Vec<Record>) {
        self.jobs.push_back(Job::Rows(rows));
    }

    pub(super) fn checkpoint(&mut self, cut: Cut) {
        if self.media.fault == Some(Fault::ToldTooEarly) {
            self.jobs.push_back(Job::Tell(cut.epoch, false));
        }
        self.jobs.push_back(Job::Sync(cut));
    }

    /// The next thing it has to do.
    ///
    /// # Errors
    /// The power is gone.
    pub(super) fn work(&mut self) -> Result<(), Error> {
        let Some(job) = self.jobs.pop_front() else { return Ok(()) };
        let io = |source| Error::Io { doing: "write", place: OUTPUT.into(), source };
        match job {
            Job::Rows(rows) => {
                let text: String = rows.iter().map(Record::line).collect();
                self.media.append(OUTPUT, text.as_bytes()).map_err(io)?;
                if self.journal {
                    self.media.sync(OUTPUT).map_err(io)?;
                }
                self.length += text.len() as u64;
            }
            Job::Sync(cut) => {
                if self.media.fault != Some(Fault::OutputNotSynced) {
                    self.media.sync(OUTPUT).map_err(io)?;
                }
                self.jobs.push_front(Job::Write(cut));
            }
            Job::Write(cut) => {
                let (epoch, last) = (cut.epoch, cut.last);
                let checkpoint = self.checkpoint_of(cut);
                self.store.write(&checkpoint)?;
                self.jobs.push_front(Job::Tell(epoch, last));
            }
            Job::Tell(epoch, last) => {
                self.completed = Some(epoch);
                self.complete |= last;
                self.world.lock().told(epoch);
            }
        }
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(())
    }

    fn checkpoint_of(&self, cut: Cut) -> Checkpoint {
        let Cut { epoch, positions, carried, encode, last } = cut;
        let bytes = encode().unwrap_or_default();
        let lost = self.media.fault == Some(Fault::CarriedLost);
        Checkpoint {
            epoch,
            generation: self.store.generation(),
            complete: last,
            partitions: positions.into_iter().map(|position| (position.partition.to_string(), position.at)).collect(),
            sinks: [(LENGTH.to_owned(), self.length.to_string())].into(),
            facts: [(RUN.to_owned(), self.run.to_string())].into(),
            carried_records: carried as usize,
            carried: if lost { Vec::new() } else { bytes },
            ..Checkpoint::default()
        }
    }
}

impl Found {
    fn new(checkpoint: Option<Checkpoint>, output: &[u8], recorded: Vec<Record>) -> Self {
        let text = String::from_utf8_lossy(output);
        let output = text.lines().map(|line| Record::parse(line).unwrap_or_else(Record::torn)).collect();
        let Some(Checkpoint { epoch, partitions, facts, carried, complete, .. }) = checkpoint else {
            // There is no checkpoint to go on from, but what is recorded.
            let restored = Restored {
                epoch: 0,
                carried: Vec::new(),
                from_the_first_stage: false,
                again: BTreeMap::new(),
                recorded,
            };
            let restored = Some(restored).filter(|restored| !restored.recorded.is_empty());
            return Self { from: None, restored, positions: BTreeMap::new(), output, complete: false };
        };
        let run = facts.get(RUN).and_then(|run| run.parse().ok()).unwrap_or_default();
        let restored = Restored { epoch, carried, from_the_first_stage: false, again: BTreeMap::new(), recorded };
        let positions = partitions.into_iter().filter_map(|(name, at)| Some((name.parse().ok()?, at)));
        Self { from: Some((run, epoch)), restored: Some(restored), positions: positions.collect(), output, complete }
    }
}

/// What reached the output after the checkpoint: whole lines, up to the first that is none.
fn recorded(media: &Media, length: u64) -> Vec<Record> {
    let output = media.read(OUTPUT).unwrap_or_default();
    let later = String::from_utf8_lossy(output.get(length as usize..).unwrap_or_default()).into_owned();
    let lines = later.split_inclusive('\n').map_while(|line| Record::parse(line.strip_suffix('\n')?));
    lines.collect()
}

/// The output as the checkpoint knows it, durably so.
fn cut_back(media: &mut Media, length: u64) -> std::io::Result<Vec<u8>> {
    let exists = media.names()?.iter().any(|name| name == OUTPUT);
    let there = if exists { media.read(OUTPUT)? } else { Vec::new() };
    let length = length as usize;
    let counts = if media.fault == Some(Fault::OutputNotTruncated) { there.len().max(length) } else { length };
    let mut kept = there.clone();
    // Bytes that are missing were promised to be durable.
    kept.resize(counts, b'?');
    if !exists || kept != there {
        media.write(NEW_OUTPUT, &kept)?;
        media.sync(NEW_OUTPUT)?;
        media.rename(NEW_OUTPUT, OUTPUT)?;
        media.sync_folder()?;
    }
    Ok(kept)
}
