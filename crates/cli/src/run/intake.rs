//! The source of a worker: what takes the batches of its thread into the dataflow.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use inflight_connectors::file::FileSource;
use inflight_connectors::{Acknowledge, Event, Message, Position, Record, Source as _};
use inflight_timely::pipeline::{self, Partition, Produced};

use super::columns::Columns;
use super::letter::{self, NoLetter};
use super::now::since_1970_now;
use super::partitions::{Reached, path};
use super::reader::{BATCHES_AHEAD, PANICKED, Read, Taker, read_files, read_messages};
use super::row::{Fate, Row};
use super::source::{self, Opened, Reader};
use super::stop::Stop;
use super::tally::Tally;
use super::wake_at_end::WakeAtEnd;
use crate::pipeline::{Pipeline, Source};
use crate::progress::Gauges;

/// How long a thread that has messages may take to leave its servers.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(10);

/// What the sources of all workers of this process have in common.
pub(super) struct Reading {
    source: Source,
    folder: PathBuf,
    columns: Columns,
    /// What is read are dead letters.
    replays: bool,
    /// What was opened before the run, to see that it can be.
    opened: Mutex<Option<Reader>>,
    /// Says what may still be taken over of what was read.
    told: Option<Arc<dyn Acknowledge>>,
    /// Only worker 0 reads.
    only_first: bool,
    limit: Limit,
    /// Other processes would take it for the end if this one stopped to read.
    alone: bool,
    /// Threads that have messages.
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        opened: Opened,
        limit: Option<u64>,
        stop: &Arc<Stop>,
        gauges: &Arc<Gauges>,
        tally: &Arc<Tally>,
    ) -> Arc<Self> {
        let left = AtomicU64::new(limit.unwrap_or(u64::MAX));
        Arc::new(Self {
            source: pipeline.source.clone(),
            folder: pipeline.folder.clone(),
            columns: Columns::needed(pipeline),
            replays: pipeline.replays,
            opened: Mutex::new(opened.reader),
            told: opened.told,
            only_first: pipeline.is_remembered(),
            limit: Limit { left, interrupts: pipeline.checkpoint.is_some() },
            alone: pipeline.cluster.is_none(),
            threads: Mutex::default(),
            stop: Arc::clone(stop),
            gauges: Arc::clone(gauges),
            tally: Arc::clone(tally),
        })
    }

    /// The source of one worker, which the waker wakes.
    pub(super) fn source(self: &Arc<Self>, waker: Waker, is_first: bool) -> Intake {
        self.stop.add_waker(waker.clone());
        Intake {
            reading: Arc::clone(self),
            waker,
            wanted: Arc::new(()),
            reads: is_first || !self.only_first,
            partitions: VecDeque::new(),
            batches: None,
            batch: Batch::Records(0, Vec::new().into_iter()),
            reached: BTreeMap::new(),
            names: BTreeMap::new(),
            failure: None,
            waiting_since: None,
        }
    }

    /// The run is over: who has messages leaves its servers, so that others need not wait to notice.
    pub(super) fn leave(&self) {
        if let Some(told) = &self.told {
            told.abandon();
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        let begun = Instant::now();
        while threads.iter().any(|thread| !thread.is_finished()) && begun.elapsed() < LEAVES_WITHIN {
            thread::sleep(GLANCE);
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
        let number = position.records() + 1;
        match self.line(partition, position) {
            Some(line) => format!("{partition}, line {line}, record {number}"),
            None => format!("{partition}, record {number}"),
        }
    }

    /// Lines are only told of where a reader stands: it is read once more.
    fn line(&self, partition: &str, position: &Position) -> Option<u64> {
        match &self.source {
            Source::File(config) => {
                let config = config.partition(path(partition, &self.folder));
                let mut source = FileSource::open_at(&config, position).ok()?;
                source.read_batch(1, &mut Vec::new()).ok()?;
                source.position().at["line"].as_u64()
            }
            Source::Nats(_) => None,
            #[cfg(feature = "kafka")]
            Source::Kafka(_) => None,
        }
    }

    /// The thread of one worker.
    fn read(&self, partitions: VecDeque<Partition>, taker: &Taker) {
        match &self.source {
            Source::File(config) => {
                let open = |partition: &Partition| match self.opened(Some(partition.index)) {
                    Some(Reader::File(_, source)) => Ok(*source),
                    _ => source::file(config, &self.folder, partition),
                };
                read_files(partitions, open, &self.gauges, taker);
            }
            Source::Nats(config) => {
                let source = match self.opened(None) {
                    Some(Reader::Messages(source)) => Ok(Some(source)),
                    _ => source::stream(config, Vec::from(partitions).as_slice()),
                };
                match source {
                    Ok(Some(source)) => read_messages(source, &self.stop, &self.gauges, taker),
                    Ok(None) => drop(taker.batches.send(Read::End)),
                    Err(error) => drop(taker.batches.send(Read::Failed(error))),
                }
            }
            #[cfg(feature = "kafka")]
            Source::Kafka(config) => {
                let source = match self.opened(None) {
                    Some(Reader::Messages(source)) => Ok(source),
                    _ => source::topics(config, Vec::from(partitions).as_slice()),
                };
                match source {
                    Ok(source) => read_messages(source, &self.stop, &self.gauges, taker),
                    Err(error) => drop(taker.batches.send(Read::Failed(error))),
                }
            }
        }
    }

    /// What is open already, if it is this partition, or messages.
    fn opened(&self, partition: Option<u32>) -> Option<Reader> {
        lock(&self.opened).take_if(|opened| match opened {
            Reader::File(index, _) => Some(*index) == partition,
            Reader::Messages(_) => partition.is_none(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes batches over, numbers the records, and stops when told to.
pub(super) struct Intake {
    reading: Arc<Reading>,
    waker: Waker,
    /// As long as it is there.
    wanted: Arc<()>,
    /// Otherwise another worker does.
    reads: bool,
    /// Until the thread has them.
    partitions: VecDeque<Partition>,
    batches: Option<Receiver<Read>>,
    batch: Batch,
    reached: BTreeMap<u32, Reached>,
    /// What the partitions are called.
    names: BTreeMap<u32, String>,
    /// What is wrong with what comes next.
    failure: Option<String>,
    waiting_since: Option<Instant>,
}

/// What was taken over last.
enum Batch {
    /// Of this partition.
    Records(u32, IntoIter<Record>),
    Messages(IntoIter<Event>),
}

impl Batch {
    fn len(&self) -> usize {
        match self {
            Self::Records(_, records) => records.len(),
            Self::Messages(events) => events.len(),
        }
    }
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
            self.reading.tally.name(partition.index, partition.name.clone());
            self.partitions.push_back(partition);
        }
    }

    fn produce(&mut self, most: u64) -> Produced<Row> {
        let Reading { stop, limit, .. } = &*self.reading;
        if !self.reads || stop.is_draining() || limit.is_reached(stop) {
            self.waited();
            return Produced::End;
        }
        loop {
            if let Some(failure) = self.failure.take() {
                return self.fail(failure);
            }
            while self.batch.len() == 0 {
                if let Some(produced) = self.next_batch() {
                    return produced;
                }
            }
            self.waited();
            let rows = self.rows(most);
            // There is nothing in it for us, or something is wrong with the first.
            if rows.is_empty() && (self.batch.len() == 0 || self.failure.is_some()) {
                continue;
            }
            self.reading.gauges.records_in.fetch_add(rows.len() as u64, Ordering::Relaxed);
            self.reading.tally.read(rows.len() as u64);
            return Produced::Records(rows);
        }
    }

    fn positions(&mut self) -> Vec<pipeline::Position> {
        let position = |(&partition, reached): (&u32, &Reached)| pipeline::Position { partition, at: reached.text() };
        self.reached.iter().map(position).collect()
    }
}

impl Intake {
    /// The next ones of the batch; fewer before one with which something is wrong.
    fn rows(&mut self, most: u64) -> Vec<Row> {
        let most = self.reading.limit.take(most.min(self.batch.len() as u64));
        let read_at = u64::try_from(since_1970_now().as_millis()).unwrap_or(u64::MAX);
        let rows = match &self.batch {
            Batch::Records(partition, _) => self.rows_of_a_partition(*partition, most, read_at),
            Batch::Messages(_) => self.rows_of_messages(most, read_at),
        };
        self.reading.limit.give_back(most - rows.len() as u64);
        rows
    }

    fn rows_of_a_partition(&mut self, partition: u32, most: u64, read_at: u64) -> Vec<Row> {
        let (Batch::Records(_, records), Some(reached)) = (&mut self.batch, self.reached.get_mut(&partition)) else {
            return Vec::new();
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut rows = Vec::with_capacity(most.min(records.len()));
        for read in records.take(most) {
            match self.reading.row(partition, reached.records() + 1, read_at, read) {
                Ok(row) => rows.push(row),
                Err(unfit) => {
                    let name = self.names.get(&partition).map_or("", String::as_str);
                    self.failure = Some(format!("{}: {unfit}", self.reading.place(name, &reached.position)));
                    break;
                }
            }
            reached.position.skip += 1;
        }
        rows
    }

    fn rows_of_messages(&mut self, most: u64, read_at: u64) -> Vec<Row> {
        let (mut rows, mut begun) = (Vec::new(), 0);
        while (rows.len() as u64) < most {
            let Batch::Messages(events) = &mut self.batch else { break };
            match events.next() {
                None => break,
                Some(Event::Ended { partition }) => self.reached.entry(partition).or_default().ended = true,
                Some(Event::Message(message)) => {
                    begun += 1;
                    match self.row_of(message, read_at) {
                        Ok(row) => rows.extend(row),
                        Err(wrong) => {
                            self.failure = Some(wrong);
                            break;
                        }
                    }
                }
            }
        }
        self.reading.gauges.behind.fetch_sub(begun, Ordering::Relaxed);
        rows
    }

    /// None of a partition that has gone to another reader.
    fn row_of(&mut self, message: Message, read_at: u64) -> Result<Option<Row>, String> {
        let Message { partition, assignment, offset, after, content } = message;
        let reached = self.reached.entry(partition).or_default();
        let number = reached.records() + 1;
        let record = match content {
            Err(malformed) if !self.reading.source.buries_malformed() => return Err(malformed.error.to_string()),
            other => other,
        };
        if self.reading.told.as_ref().is_some_and(|told| !told.take(partition, assignment, number)) {
            return Ok(None);
        }
        let row = match record {
            Ok(record) => self.reading.row(partition, number, read_at, record).map_err(|unfit| {
                let name = self.names.get(&partition).map_or("", String::as_str);
                format!("{name}, record {number}: {unfit}")
            })?,
            Err(malformed) => {
                let letter = letter::malformed(number, offset, read_at, malformed);
                Row { read_at, fate: Fate::Dead(Arc::new(letter)), ..Row::new(partition, number, Record::new()) }
            }
        };
        reached.position = Position { record: number, skip: 0, at: after.into() };
        if number == 1 {
            self.tell_name(partition);
        }
        Ok(Some(Row { offset: Some(offset), ..row }))
    }

    /// What a partition is called that has come to a source by itself.
    fn tell_name(&self, partition: u32) {
        if let Some(name) = self.reading.told.as_ref().and_then(|told| told.name(partition)) {
            self.reading.tally.name(partition, name);
        }
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
                self.batch = Batch::Records(partition, records.into_iter());
                None
            }
            Ok(Read::Messages(events)) => {
                self.batch = Batch::Messages(events.into_iter());
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
        let wanted = Arc::downgrade(&self.wanted);
        let thread = thread::spawn(move || {
            let end = WakeAtEnd(waker);
            reading.read(partitions, &Taker { batches: sender, waker: end.0.clone(), wanted });
        });
        // One that reads a file may wait for ever, and nobody has to wait for it.
        if self.reading.source.has_messages() {
            lock(&self.reading.threads).push(thread);
        }
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

    /// What turned out to be no records.
    fn give_back(&self, rest: u64) {
        self.left.fetch_add(rest, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use std::sync::mpsc::SyncSender;

    use inflight_connectors::file::FileSourceConfig;
    use inflight_connectors::{Error, Progress};
    use inflight_timely::pipeline::Source as _;
    use serde_json::json;

    use super::super::reader::read;
    use super::*;

    fn intake(limit: u64, interrupts: bool) -> (SyncSender<Read>, Intake) {
        intake_told(limit, interrupts, None)
    }

    fn intake_told(limit: u64, interrupts: bool, told: Option<Arc<dyn Acknowledge>>) -> (SyncSender<Read>, Intake) {
        let (sender, batches) = sync_channel(2 * BATCHES_AHEAD);
        let reading = Reading {
            source: Source::File(FileSourceConfig::new("in.csv")),
            folder: PathBuf::new(),
            columns: Columns::of("in.csv", [("user", "id")]),
            replays: false,
            opened: Mutex::default(),
            told,
            only_first: false,
            threads: Mutex::default(),
            limit: Limit { left: AtomicU64::new(limit), interrupts },
            alone: true,
            stop: Stop::new(),
            gauges: Arc::default(),
            tally: Tally::new(&[], Vec::new(), &[], 1),
        };
        let intake = Intake { batches: Some(batches), ..Arc::new(reading).source(Waker::noop().clone(), true) };
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

    /// Two records, and then a bug.
    struct Panics(bool);

    impl inflight_connectors::Source for Panics {
        fn read_batch(&mut self, _: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
            assert!(!std::mem::replace(&mut self.0, true), "a bug");
            into.extend(std::iter::repeat_n(json!({ "id": 1 }).as_object().unwrap().clone(), 2));
            Ok(2)
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }

        fn position(&self) -> Position {
            Position::default()
        }
    }

    fn message(partition: u32, assignment: u64, after: u64) -> Event {
        let content = Ok(json!({ "id": after }).as_object().unwrap().clone());
        Event::Message(Message { partition, assignment, offset: after - 1, after, content })
    }

    #[test]
    fn messages_are_numbered_without_gaps_and_partitions_stand_behind_the_last_one_produced() {
        let (sender, mut intake) = intake(4, true);
        sender.send(Read::Messages(vec![message(1, 0, 7), message(0, 0, 3), message(1, 0, 20)])).unwrap();
        sender.send(Read::Messages(vec![Event::Ended { partition: 0 }, message(1, 0, 21), message(1, 0, 22)])).unwrap();
        assert_eq!(numbers(&mut intake, 2), Some(vec![1, 1]));
        assert_eq!(numbers(&mut intake, 9), Some(vec![2]));
        assert_eq!(numbers(&mut intake, 9), Some(vec![3]));
        assert_eq!(reached(&mut intake), [(0, 1, true), (1, 3, false)]);
        let at = |position: &pipeline::Position| Reached::read(&position.at).unwrap().position.at;
        assert_eq!(intake.positions().iter().map(at).collect::<Vec<_>>(), [3, 21]);
        assert_eq!(numbers(&mut intake, 9), None, "the limit is reached");
    }

    /// Takes over what belongs to an assignment.
    struct Assigned(u64);

    impl Acknowledge for Assigned {
        fn take(&self, _: u32, assignment: u64, _: u64) -> bool {
            assignment == self.0
        }

        fn acknowledge(&self, _: &[(u32, Position)]) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn what_was_read_of_a_partition_that_has_gone_is_dropped() {
        let (sender, mut intake) = intake_told(3, true, Some(Arc::new(Assigned(2))));
        sender.send(Read::Messages(vec![message(0, 1, 5), message(0, 1, 6)])).unwrap();
        sender.send(Read::Messages(vec![message(0, 2, 5), message(0, 2, 6), message(0, 2, 7)])).unwrap();
        assert_eq!(numbers(&mut intake, 9), Some(vec![1, 2, 3]));
        assert_eq!(numbers(&mut intake, 9), None);
    }

    #[test]
    fn a_reader_that_panics_is_no_end_of_the_input() {
        let (sender, mut intake) = intake(u64::MAX, false);
        let source = Panics(false);
        let reading = AssertUnwindSafe(|| read(source, 0, &Gauges::default(), |read| sender.send(read).is_ok()));
        assert!(catch_unwind(reading).is_err());
        drop(sender);
        assert_eq!(numbers(&mut intake, 9), Some(vec![1, 2]));
        assert_eq!(numbers(&mut intake, 9), None);
        assert_eq!(intake.reading.stop.failure().as_deref(), Some(PANICKED));
    }
}
