//! The source of a worker: a thread that reads its files one after the other, and what takes its batches into the dataflow.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Instant;
use std::vec::IntoIter;

use inflight_connectors::file::{FileSource, FileSourceConfig};
use inflight_connectors::{Position, Record, Source as _};
use inflight_timely::pipeline::{self, Partition, Produced};

use super::columns::Columns;
use super::keeper::since_1970_now;
use super::letter::{self, NoLetter};
use super::partitions::{Reached, path};
use super::row::Row;
use super::stop::Stop;
use super::tally::Tally;
use super::wake_at_end::WakeAtEnd;
use crate::pipeline::{Pipeline, Source};
use crate::progress::Gauges;

/// Records read at a time.
const BATCH: usize = 256;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 4;

/// What the sources of all workers of this process have in common.
pub(super) struct Reading {
    config: FileSourceConfig,
    folder: PathBuf,
    columns: Columns,
    /// What is read are dead letters.
    replays: bool,
    /// A partition that was opened before the run, to see that it can be.
    opened: Mutex<Option<(u32, FileSource)>>,
    limit: Limit,
    /// Other processes would take it for the end if this one stopped to read.
    alone: bool,
    stop: Arc<Stop>,
    gauges: Arc<Gauges>,
    tally: Arc<Tally>,
}

/// How many records this run still reads, and whether it is only interrupted then.
struct Limit {
    left: AtomicU64,
    interrupts: bool,
}

impl Reading {
    pub(super) fn new(
        pipeline: &Pipeline,
        opened: Option<(u32, FileSource)>,
        limit: Option<u64>,
        stop: &Arc<Stop>,
        gauges: &Arc<Gauges>,
        tally: &Arc<Tally>,
    ) -> Arc<Self> {
        let left = AtomicU64::new(limit.unwrap_or(u64::MAX));
        let Source::File(config) = pipeline.source.clone();
        Arc::new(Self {
            config,
            folder: pipeline.folder.clone(),
            columns: Columns::needed(pipeline),
            replays: pipeline.replays,
            opened: Mutex::new(opened),
            limit: Limit { left, interrupts: pipeline.checkpoint.is_some() },
            alone: pipeline.cluster.is_none(),
            stop: Arc::clone(stop),
            gauges: Arc::clone(gauges),
            tally: Arc::clone(tally),
        })
    }

    /// The source of one worker, which the waker wakes.
    pub(super) fn source(self: &Arc<Self>, waker: Waker) -> Intake {
        self.stop.add_waker(waker.clone());
        Intake {
            reading: Arc::clone(self),
            waker,
            partitions: VecDeque::new(),
            batches: None,
            batch: Vec::new().into_iter(),
            current: 0,
            reached: BTreeMap::new(),
            names: BTreeMap::new(),
            failure: None,
            waiting_since: None,
        }
    }

    /// What was read, on its way: of a dead letter the record in it.
    fn row(&self, partition: u32, number: u64, read_at: u64, read: Record) -> Result<Row, NoLetter> {
        if !self.replays {
            return Ok(Row { read_at, ..Row::new(partition, number, read) });
        }
        let (record, past) = letter::open(read)?;
        Ok(Row { read_at, past: Some(Box::new(past)), ..Row::new(partition, number, record) })
    }

    /// Where the record of a partition lies that comes next, for people.
    fn place(&self, partition: &str, position: &Position) -> String {
        let config = self.config.partition(path(partition, &self.folder));
        let number = position.record + position.skip + 1;
        // Lines are only told of where a reader stands: it is read once more.
        let line = FileSource::open_at(&config, position).and_then(|mut source| {
            source.read_batch(1, &mut Vec::new())?;
            Ok(source.position().at["line"].as_u64())
        });
        match line {
            Ok(Some(line)) => format!("{partition}, line {line}, record {number}"),
            _ => format!("{partition}, record {number}"),
        }
    }

    /// A partition at the place where it is to be read on.
    fn open(&self, partition: &Partition) -> Result<FileSource, String> {
        let opened =
            self.opened.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(index, _)| *index == partition.index);
        if let Some((_, source)) = opened {
            return Ok(source);
        }
        open(&self.config, &self.folder, partition)
    }
}

/// Opens a partition of a source at the place where it is to be read on.
///
/// # Errors
/// When it cannot be, or its position says nothing.
pub(super) fn open(
    config: &FileSourceConfig,
    folder: &std::path::Path,
    partition: &Partition,
) -> Result<FileSource, String> {
    let config = config.partition(path(&partition.name, folder));
    let source = match &partition.position {
        None => FileSource::open(&config),
        Some(text) => FileSource::open_at(&config, &Reached::read(text)?.position),
    };
    source.map_err(|error| error.to_string())
}

/// What the thread hands over. When it hands over nothing more and has not said why, it has panicked.
enum Read {
    /// These, of the partition with this index, which stood there before.
    Records {
        partition: u32,
        before: Position,
        records: Vec<Record>,
        first: bool,
    },
    /// The partition has ended.
    Ended {
        partition: u32,
        at: Position,
    },
    Failed(String),
    /// All have.
    End,
}

const PANICKED: &str = "the thread that reads has panicked: this is a bug, please report it";

/// The thread: it ends with the last partition, at its first error, or when nobody takes its batches any more.
fn read_all(reading: &Reading, partitions: VecDeque<Partition>, batches: SyncSender<Read>, waker: &Waker) {
    let hand_over = |read: Read| {
        let sent = batches.send(read).is_ok();
        waker.wake_by_ref();
        sent
    };
    for partition in partitions {
        let goes_on = match reading.open(&partition) {
            Ok(source) => read(source, partition.index, &reading.gauges, hand_over),
            Err(error) => {
                hand_over(Read::Failed(error));
                false
            }
        };
        if !goes_on {
            return;
        }
    }
    hand_over(Read::End);
}

/// One partition; whether the next one may follow.
fn read(
    mut source: impl inflight_connectors::Source,
    partition: u32,
    gauges: &Gauges,
    mut hand_over: impl FnMut(Read) -> bool,
) -> bool {
    let mut seen = source.progress().bytes_read;
    gauges.bytes_read.fetch_add(seen, Ordering::Relaxed);
    gauges.bytes_total.fetch_add(source.progress().bytes_total.unwrap_or(0), Ordering::Relaxed);
    let mut first = true;
    loop {
        let before = source.position();
        let mut records = Vec::with_capacity(BATCH);
        let read = source.read_batch(BATCH, &mut records);
        let now = source.progress().bytes_read;
        gauges.bytes_read.fetch_add(now.saturating_sub(seen), Ordering::Relaxed);
        seen = now.max(seen);
        let (read, goes_on) = match read {
            Ok(0) => return hand_over(Read::Ended { partition, at: source.position() }),
            Ok(_) => (Read::Records { partition, before, records, first }, true),
            Err(error) => (Read::Failed(error.to_string()), false),
        };
        // When nobody takes it, the run is over already.
        if !hand_over(read) || !goes_on {
            return false;
        }
        first = false;
    }
}

/// Takes batches over, numbers the records, and stops when told to.
pub(super) struct Intake {
    reading: Arc<Reading>,
    waker: Waker,
    /// Until the thread has them.
    partitions: VecDeque<Partition>,
    batches: Option<Receiver<Read>>,
    batch: IntoIter<Record>,
    /// Whose batch it is.
    current: u32,
    reached: BTreeMap<u32, Reached>,
    /// What the partitions are called.
    names: BTreeMap<u32, String>,
    /// What is wrong with what comes next.
    failure: Option<String>,
    waiting_since: Option<Instant>,
}

impl pipeline::Source<Row> for Intake {
    fn assign(&mut self, partition: Partition) {
        let reached = partition.position.as_deref().map_or_else(|| Ok(Reached::default()), Reached::read);
        let reached = match reached {
            Ok(reached) => reached,
            Err(error) => return self.reading.stop.fail(error),
        };
        let is_done = reached.is_done();
        // One that has not begun has no position yet.
        if partition.position.is_some() {
            self.reached.insert(partition.index, reached);
        }
        if !is_done {
            self.names.insert(partition.index, partition.name.clone());
            self.partitions.push_back(partition);
        }
    }

    fn produce(&mut self, most: u64) -> Produced<Row> {
        if self.reading.stop.is_draining() || self.reading.limit.is_reached(&self.reading.stop) {
            self.waited();
            return Produced::End;
        }
        if let Some(failure) = self.failure.take() {
            return self.fail(failure);
        }
        while self.batch.len() == 0 {
            if let Some(produced) = self.next_batch() {
                return produced;
            }
        }
        self.waited();
        let most = self.reading.limit.take(most.min(self.batch.len() as u64));
        let rows = self.rows(most);
        if rows.is_empty()
            && let Some(failure) = self.failure.take()
        {
            return self.fail(failure);
        }
        self.reading.gauges.records_in.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.reading.tally.read(rows.len() as u64);
        Produced::Records(rows)
    }

    fn positions(&mut self) -> Vec<pipeline::Position> {
        let position = |(&partition, reached): (&u32, &Reached)| pipeline::Position { partition, at: reached.text() };
        self.reached.iter().map(position).collect()
    }
}

impl Intake {
    /// The next `most` of the batch; fewer before one that is no dead letter and should be.
    fn rows(&mut self, most: u64) -> Vec<Row> {
        let Some(reached) = self.reached.get_mut(&self.current) else { return Vec::new() };
        let read_at = u64::try_from(since_1970_now().as_millis()).unwrap_or(u64::MAX);
        let mut rows = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        for read in self.batch.by_ref().take(usize::try_from(most).unwrap_or(usize::MAX)) {
            let number = reached.records() + 1;
            match self.reading.row(self.current, number, read_at, read) {
                Ok(row) => rows.push(row),
                Err(unfit) => {
                    self.failure = Some(format!(
                        "{}: {unfit}",
                        self.reading.place(self.names.get(&self.current).map_or("", String::as_str), &reached.position)
                    ));
                    break;
                }
            }
            reached.position.skip += 1;
        }
        rows
    }

    /// Takes over what the thread has; what there is to say if it is no batch.
    fn next_batch(&mut self) -> Option<Produced<Row>> {
        let batches = match &self.batches {
            Some(batches) => batches,
            None => self.start(),
        };
        match batches.try_recv() {
            Ok(Read::Records { partition, before, records, first }) => {
                if let (true, Some(record)) = (first, records.first())
                    && let Err(missing) = self.reading.columns.check(record)
                {
                    return Some(self.fail(missing));
                }
                self.reached.insert(partition, Reached { position: before, ..Reached::default() });
                (self.current, self.batch) = (partition, records.into_iter());
                None
            }
            Ok(Read::Ended { partition, at }) => {
                self.reached.insert(partition, Reached { position: at, ended: true, given_up: false });
                None
            }
            Ok(Read::End) => {
                self.waited();
                Some(Produced::End)
            }
            Ok(Read::Failed(error)) => Some(self.fail(error)),
            Err(TryRecvError::Disconnected) => Some(self.fail(PANICKED.to_owned())),
            Err(TryRecvError::Empty) => {
                self.waiting_since.get_or_insert_with(Instant::now);
                Some(Produced::Nothing)
            }
        }
    }

    fn start(&mut self) -> &Receiver<Read> {
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let (reading, waker) = (Arc::clone(&self.reading), self.waker.clone());
        let partitions = std::mem::take(&mut self.partitions);
        thread::spawn(move || {
            let end = WakeAtEnd(waker);
            read_all(&reading, partitions, sender, &end.0);
        });
        self.batches.insert(batches)
    }

    fn waited(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.reading.tally.waited_for_source(since.elapsed());
        }
    }

    /// What was read before is finished first.
    fn fail(&mut self, failure: String) -> Produced<Row> {
        self.waited();
        let Reading { stop, alone, .. } = &*self.reading;
        if *alone {
            stop.fail_after_drain(failure)
        } else {
            stop.fail(failure)
        }
        Produced::End
    }
}

impl Limit {
    /// With checkpoints, the run is to go on behind the limit later: it stops as at a signal.
    fn is_reached(&self, stop: &Stop) -> bool {
        let reached = self.left.load(Ordering::Relaxed) == 0;
        if reached && self.interrupts {
            stop.drain();
        }
        reached
    }

    /// As many of these as are left; another worker may have taken some just now.
    fn take(&self, most: u64) -> u64 {
        let take = |left: u64| Some(left.saturating_sub(most));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        left.unwrap_or_else(|left| left).min(most)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use inflight_connectors::{Error, Progress};
    use inflight_timely::pipeline::Source as _;
    use serde_json::json;

    use super::*;

    fn intake(limit: u64, interrupts: bool) -> (SyncSender<Read>, Intake) {
        let (sender, batches) = sync_channel(2 * BATCHES_AHEAD);
        let reading = Reading {
            config: FileSourceConfig::new("in.csv"),
            folder: PathBuf::new(),
            columns: Columns::of("in.csv", [("user", "id")]),
            replays: false,
            opened: Mutex::default(),
            limit: Limit { left: AtomicU64::new(limit), interrupts },
            alone: true,
            stop: Stop::new(),
            gauges: Arc::default(),
            tally: Tally::new(&[], Vec::new(), &[], 1),
        };
        let intake = Intake { batches: Some(batches), ..Arc::new(reading).source(Waker::noop().clone()) };
        (sender, intake)
    }

    /// Records of a partition of which so many were read before.
    fn records(partition: u32, before: u64, count: u64) -> Read {
        let record = |id: u64| json!({ "id": id }).as_object().unwrap().clone();
        let before = Position { record: before, ..Position::default() };
        let records = (0..count).map(record).collect();
        Read::Records { partition, before, records, first: true }
    }

    /// The numbers of what is produced; `None` at the end.
    fn numbers(intake: &mut Intake, credits: u64) -> Option<Vec<u64>> {
        match intake.produce(credits) {
            Produced::Records(rows) => Some(rows.iter().map(|row| row.number).collect()),
            Produced::Nothing => Some(Vec::new()),
            Produced::End => None,
        }
    }

    /// Records read of each partition, and whether it has ended.
    fn reached(intake: &mut Intake) -> Vec<(u32, u64, bool)> {
        let told = |at: pipeline::Position| (at.partition, Reached::read(&at.at).unwrap());
        intake.positions().into_iter().map(told).map(|(index, at)| (index, at.records(), at.ended)).collect()
    }

    #[test]
    fn records_are_numbered_over_batches_as_credits_allow() {
        let (sender, mut intake) = intake(u64::MAX, true);
        assert_eq!(numbers(&mut intake, 10), Some(vec![]));
        sender.send(records(0, 0, 3)).unwrap();
        sender.send(records(0, 3, 1)).unwrap();
        assert_eq!(numbers(&mut intake, 2), Some(vec![1, 2]));
        assert_eq!(reached(&mut intake), [(0, 2, false)]);
        assert_eq!(numbers(&mut intake, 2), Some(vec![3]));
        assert_eq!(numbers(&mut intake, 2), Some(vec![4]));
        sender.send(Read::Ended { partition: 0, at: Position { record: 4, ..Position::default() } }).unwrap();
        sender.send(records(3, 100, 2)).unwrap();
        assert_eq!(numbers(&mut intake, 9), Some(vec![101, 102]));
        assert_eq!(reached(&mut intake), [(0, 4, true), (3, 102, false)]);
        sender.send(Read::End).unwrap();
        assert_eq!(numbers(&mut intake, 2), None);
        assert_eq!(intake.reading.stop.failure(), None);
    }

    #[test]
    fn the_limit_ends_the_source_in_the_middle_of_a_batch() {
        for interrupts in [false, true] {
            let (sender, mut intake) = intake(3, interrupts);
            sender.send(records(0, 0, 2)).unwrap();
            sender.send(records(0, 2, 5)).unwrap();
            assert_eq!(numbers(&mut intake, 10), Some(vec![1, 2]));
            assert_eq!(numbers(&mut intake, 10), Some(vec![3]));
            assert_eq!(numbers(&mut intake, 10), None);
            assert_eq!(reached(&mut intake), [(0, 3, false)]);
            assert_eq!(intake.reading.stop.is_draining(), interrupts);
        }
    }

    #[test]
    fn a_stop_ends_the_source_though_more_was_read_ahead() {
        let (sender, mut intake) = intake(u64::MAX, true);
        sender.send(records(0, 0, 2)).unwrap();
        assert_eq!(numbers(&mut intake, 1), Some(vec![1]));
        intake.reading.stop.drain();
        assert_eq!(numbers(&mut intake, 1), None);
        assert_eq!(reached(&mut intake), [(0, 1, false)]);
    }

    #[test]
    fn a_column_that_is_not_there_is_told_at_the_first_record() {
        let (sender, mut intake) = intake(u64::MAX, false);
        let other = json!({ "user": 1 }).as_object().unwrap().clone();
        let before = Position::default();
        sender.send(Read::Records { partition: 0, before, records: vec![other], first: true }).unwrap();
        assert_eq!(numbers(&mut intake, 9), None);
        assert!(intake.reading.stop.failure().unwrap().contains("no column `id`"));
    }

    #[test]
    fn a_partition_that_has_ended_is_not_opened_again() {
        let (_, mut intake) = intake(u64::MAX, true);
        intake.batches = None;
        let at = Reached { position: Position { record: 9, ..Position::default() }, ended: true, ..Reached::default() }
            .text();
        intake.assign(Partition { index: 2, name: "none.csv".to_owned(), position: Some(at) });
        while numbers(&mut intake, 1).is_some() {
            thread::yield_now();
        }
        assert_eq!(intake.reading.stop.failure(), None);
        assert_eq!(reached(&mut intake), [(2, 9, true)]);
    }

    /// A source whose every reading is given.
    struct Readings(Vec<fn() -> usize>);

    impl inflight_connectors::Source for Readings {
        fn read_batch(&mut self, _: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
            let count = self.0.remove(0)();
            into.extend(std::iter::repeat_n(json!({ "id": 1 }).as_object().unwrap().clone(), count));
            Ok(count)
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }

        fn position(&self) -> Position {
            Position::default()
        }
    }

    #[test]
    fn a_reader_that_panics_is_no_end_of_the_input() {
        let (sender, mut intake) = intake(u64::MAX, false);
        let source = Readings(vec![|| 2, || panic!("a bug")]);
        let reading = AssertUnwindSafe(|| read(source, 0, &Gauges::default(), |read| sender.send(read).is_ok()));
        assert!(catch_unwind(reading).is_err());
        drop(sender);
        assert_eq!(numbers(&mut intake, 9), Some(vec![1, 2]));
        assert_eq!(numbers(&mut intake, 9), None);
        assert_eq!(intake.reading.stop.failure().as_deref(), Some(PANICKED));
    }

    #[test]
    fn a_reader_ends_when_nobody_takes_its_batches() {
        // The second reading would panic.
        assert!(!read(Readings(vec![|| 2]), 0, &Gauges::default(), |_| false));
    }
}
