//! The sink: a thread that writes and keeps checkpoints, and what hands it the dataflow's batches.
//!
//! An epoch ends in four steps: the sinks are prepared, the checkpoint is written, the sinks commit, and only then the dataflow may begin
//! the next one.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use inflight_connectors::file::{FileSink, FileSinkConfig};
#[cfg(feature = "kafka")]
use inflight_connectors::kafka::{Group, KafkaSink};
use inflight_connectors::nats::NatsSink;
use inflight_connectors::postgres::PostgresSink;
use inflight_connectors::sqlite::SqliteSink;
use inflight_connectors::{Acknowledge, Epochs, Error, Origin, Position, Sink};
use inflight_timely::pipeline::{self, Cut};

use super::keeper::Keeper;
use super::letter::addressed;
use super::lost::{insist, write_to};
use super::outage::Outage;
use super::partitions::Reached;
use super::row::{Fate, Row};
use super::stop::Stop;
use super::tally::Tally;
use super::wake_at_end::WakeAtEnd;
use crate::pipeline as config;
use crate::progress::Gauges;

/// Records handed over at a time.
const BATCH: usize = 256;
/// Batches that wait for the thread.
const BATCHES_WAITING: usize = 4;
/// How often it is looked whether to stop while the thread writes the last records.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the thread may still write once the run has been broken off: it may hang for ever, on a pipe that nobody reads.
const GRACE: Duration = Duration::from_secs(1);

/// What a checkpoint knows of the sinks, by the keys of the pipeline file.
pub(super) type States = BTreeMap<String, String>;
pub(super) const RECORDS: &str = "sink";
pub(super) const DEAD_LETTERS: &str = "dead_letter";

/// The sinks of a pipeline, opened.
pub(super) struct Sinks {
    records: Box<dyn Sink>,
    dead_letters: Option<Box<dyn Sink>>,
    /// What the partitions of the source are called, for the dead letters.
    sources: Vec<String>,
    records_first: bool,
    partials: Vec<PathBuf>,
}

/// A sink that was opened before the others, with its key in the pipeline file.
pub(super) type OpenedSink = (&'static str, Box<dyn Sink>);

/// Opens the sink of a pipeline, and that for its dead letters. Those with a state go on there, the others begin anew. In a
/// replay of `letters` files begin behind what is in them, but for those letters: what fails again takes their place.
pub(super) fn open(
    records: &config::Sink,
    dead_letters: Option<&config::Sink>,
    states: &States,
    sources: Vec<String>,
    mut opened: Vec<OpenedSink>,
    letters: Option<&Path>,
) -> Result<Sinks, Error> {
    if let (true, Some(dead_letters)) = (opened.is_empty(), dead_letters) {
        opened = open_together(records, dead_letters, None)?;
    }
    let mut open = |config: &config::Sink, name: &str| match opened.iter().position(|(opened, _)| *opened == name) {
        Some(at) => Ok(opened.swap_remove(at).1),
        None => match (config, states.get(name).map(String::as_str), letters) {
            (config::Sink::File(config), None, Some(letters)) if !is_same(&config.path, letters) => {
                FileSink::append(config).map(|sink| Box::new(sink) as Box<dyn Sink>)
            }
            (config, state, _) => open_sink(config, state, None),
        },
    };
    let records_sink = open(records, RECORDS)?;
    let dead_letters_sink = dead_letters.map(|config| open(config, DEAD_LETTERS)).transpose()?;
    let files = [Some(records), dead_letters].into_iter().flatten().filter_map(|sink| match sink {
        config::Sink::File(config) => partial(config),
        _ => None,
    });
    Ok(Sinks {
        records: records_sink,
        dead_letters: dead_letters_sink,
        sources,
        records_first: letters.is_some(),
        partials: files.collect(),
    })
}

/// Whether both are one file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Opens one sink, to go on from a state or to begin; `epochs` is for those that decide which of them count.
pub(super) fn open_sink(
    config: &config::Sink,
    state: Option<&str>,
    epochs: Option<Epochs>,
) -> Result<Box<dyn Sink>, Error> {
    Ok(match (config, state, epochs) {
        (config::Sink::File(config), None, _) => Box::new(FileSink::create(config)?),
        (config::Sink::File(config), Some(state), _) => Box::new(FileSink::resume(config, state)?),
        (config::Sink::Sqlite(config), _, None) => Box::new(SqliteSink::open(config)?),
        (config::Sink::Sqlite(config), _, Some(epochs)) => Box::new(SqliteSink::open_with_epochs(config, epochs)?),
        (config::Sink::Postgres(config), _, None) => Box::new(PostgresSink::open(config)?),
        (config::Sink::Postgres(config), _, Some(epochs)) => Box::new(PostgresSink::open_with_epochs(config, epochs)?),
        (config::Sink::Nats(config), None, _) => Box::new(NatsSink::open(config)?),
        (config::Sink::Nats(config), Some(state), _) => Box::new(NatsSink::resume(config, state)?),
        #[cfg(feature = "kafka")]
        (config::Sink::Kafka(config), _, None) => Box::new(KafkaSink::open(config)?),
        #[cfg(feature = "kafka")]
        (config::Sink::Kafka(config), _, Some(epochs)) => Box::new(KafkaSink::open_with_epochs(config, epochs)?),
    })
}

/// Opens the sinks of the records and of the dead letters, if one transaction can hold what is written to both; else
/// nothing. The first of them decides which epoch counts.
pub(super) fn open_together(
    records: &config::Sink,
    dead_letters: &config::Sink,
    epochs: Option<Epochs>,
) -> Result<Vec<OpenedSink>, Error> {
    if !records.shares_transactions_with(dead_letters) {
        return Ok(Vec::new());
    }
    let both: [Box<dyn Sink>; 2] = match (records, dead_letters, epochs) {
        (config::Sink::Sqlite(records), config::Sink::Sqlite(dead_letters), epochs) => {
            let records = match epochs {
                Some(epochs) => SqliteSink::open_with_epochs(records, epochs)?,
                None => SqliteSink::open(records)?,
            };
            let dead_letters = records.beside(dead_letters)?;
            [Box::new(records), Box::new(dead_letters)]
        }
        (config::Sink::Postgres(records), config::Sink::Postgres(dead_letters), Some(epochs)) => {
            let records = PostgresSink::open_with_epochs(records, epochs)?;
            let dead_letters = records.beside(dead_letters)?;
            [Box::new(records), Box::new(dead_letters)]
        }
        #[cfg(feature = "kafka")]
        (config::Sink::Kafka(records), config::Sink::Kafka(dead_letters), Some(epochs)) => {
            let records = KafkaSink::open_with_epochs(records, epochs)?;
            let dead_letters = records.beside(dead_letters)?;
            [Box::new(records), Box::new(dead_letters)]
        }
        // Without epochs each may have a connection of its own.
        _ => return Ok(Vec::new()),
    };
    Ok([RECORDS, DEAD_LETTERS].into_iter().zip(both).collect())
}

/// Opens the sinks whose transactions hold the offsets of a group; nothing if there are none.
#[cfg(feature = "kafka")]
pub(super) fn open_with_group(
    records: &config::Sink,
    dead_letters: Option<&config::Sink>,
    group: &Arc<Group>,
) -> Result<Vec<OpenedSink>, Error> {
    let config::Sink::Kafka(config) = records else { return Ok(Vec::new()) };
    if !config.exactly_once {
        return Ok(Vec::new());
    }
    let sink = KafkaSink::open_with_group(config, Arc::clone(group))?;
    let beside = match dead_letters {
        Some(dead_letters @ config::Sink::Kafka(config)) if dead_letters.shares_transactions_with(records) => {
            Some(sink.beside(config)?)
        }
        _ => None,
    };
    let boxed = |sink| Box::new(sink) as Box<dyn Sink>;
    let beside = beside.map(|beside| (DEAD_LETTERS, boxed(beside)));
    Ok([(RECORDS, boxed(sink))].into_iter().chain(beside).collect())
}

/// Starts a thread that writes, once the sink is started, and what hands it the dataflow's batches.
pub(super) fn start(
    sinks: Sinks,
    outage: Outage,
    keeper: Option<Keeper>,
    told: Option<Arc<dyn Acknowledge>>,
    stop: &Arc<Stop>,
    gauges: &Arc<Gauges>,
    tally: &Arc<Tally>,
) -> (impl FnOnce(Waker) -> Box<dyn pipeline::Sink<Row>> + Send + 'static, Writing) {
    let Sinks { records, dead_letters, sources, records_first, partials } = sinks;
    let (sender, work) = channel();
    let (verdict, complete) = sync_channel(1);
    let (ended_sender, ended) = sync_channel(1);
    let (stop, gauges, tally) = (Arc::clone(stop), Arc::clone(gauges), Arc::clone(tally));
    let start = move |waker: Waker| -> Box<dyn pipeline::Sink<Row>> {
        let shared =
            Arc::new(Shared { waiting: AtomicUsize::new(0), completed: AtomicU64::new(0), waker: waker.clone() });
        let (thread_tally, thread_shared) = (Arc::clone(&tally), Arc::clone(&shared));
        let outputs = Outputs {
            records,
            dead_letters,
            sources,
            records_first,
            outage,
            keeper,
            told,
            gauges,
            tally: thread_tally,
            shared: thread_shared,
        };
        let thread_stop = Arc::clone(&stop);
        thread::spawn(move || {
            let _end = WakeAtEnd(waker);
            drop(ended_sender.send(write(outputs, work, &complete, &thread_stop)));
        });
        Box::new(Outlet { sender, shared, waiting_since: None, stop, tally })
    };
    (start, Writing { verdict, ended, partials })
}

/// What the thread is to do.
enum Work {
    Write(Vec<Row>),
    /// All records of an epoch have been handed over.
    Keep(Cut),
}

/// What both sides look at.
struct Shared {
    /// Batches that the thread has not written yet.
    waiting: AtomicUsize,
    /// The last epoch whose checkpoint is complete; 0 is none.
    completed: AtomicU64,
    waker: Waker,
}

/// Where a file is written until it is complete: there is none for devices, pipes and standard output.
fn partial(config: &FileSinkConfig) -> Option<PathBuf> {
    let target = fs::canonicalize(&config.path).unwrap_or_else(|_| config.path.clone());
    let mut partial = target.into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    partial.exists().then_some(partial)
}

/// Hands rows to the thread, as many as it has room for.
struct Outlet {
    sender: Sender<Work>,
    shared: Arc<Shared>,
    waiting_since: Option<Instant>,
    stop: Arc<Stop>,
    tally: Arc<Tally>,
}

impl Outlet {
    fn hand_over(&self, work: Work) {
        if self.sender.send(work).is_err() {
            // The thread has ended; it tells why when it is asked for its end.
            self.stop.break_off();
        }
    }
}

impl pipeline::Sink<Row> for Outlet {
    fn take(&mut self, rows: &mut VecDeque<Row>) {
        while !rows.is_empty() {
            // The thread wakes the dataflow when it has written a batch.
            if self.shared.waiting.load(Ordering::Acquire) >= BATCHES_WAITING {
                self.waiting_since.get_or_insert_with(Instant::now);
                return;
            }
            if let Some(since) = self.waiting_since.take() {
                self.tally.waited_for_sink(since.elapsed());
            }
            self.shared.waiting.fetch_add(1, Ordering::AcqRel);
            self.hand_over(Work::Write(rows.drain(..rows.len().min(BATCH)).collect()));
        }
    }

    fn checkpoint(&mut self, cut: Cut) {
        self.hand_over(Work::Keep(cut));
    }

    fn completed(&mut self) -> Option<u64> {
        Some(self.shared.completed.load(Ordering::Acquire)).filter(|epoch| *epoch > 0)
    }
}

/// What the thread writes to.
struct Outputs {
    records: Box<dyn Sink>,
    dead_letters: Option<Box<dyn Sink>>,
    /// What the partitions of the source are called.
    sources: Vec<String>,
    /// The letters that are replayed go last, when what came of them is safe.
    records_first: bool,
    /// When one of them is lost.
    outage: Outage,
    keeper: Option<Keeper>,
    /// The source, if it wants to know what counts.
    told: Option<Arc<dyn Acknowledge>>,
    gauges: Arc<Gauges>,
    tally: Arc<Tally>,
    shared: Arc<Shared>,
}

impl Outputs {
    /// Until nothing more comes; whether the last checkpoint, if there are any, says that all is there.
    fn write_all(&mut self, work: &Receiver<Work>) -> Result<bool, String> {
        let mut whole = false;
        let mut next = work.recv().ok();
        while let Some(now) = next {
            match now {
                Work::Write(batch) => self.write_batch(&batch)?,
                Work::Keep(cut) => whole = self.keep(cut)?,
            }
            // With nothing more to write for now, whoever reads the output sees all of it.
            next = work.try_recv().ok();
            if next.is_none() {
                self.flush()?;
            }
            self.shared.waker.wake_by_ref();
            next = next.or_else(|| work.recv().ok());
        }
        Ok(whole)
    }

    fn write_batch(&mut self, batch: &[Row]) -> Result<(), String> {
        if let Some(keeper) = &mut self.keeper {
            keeper.record(batch)?;
        }
        batch.iter().try_for_each(|row| self.write(row)).map_err(|error| error.to_string())?;
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    fn write(&mut self, row: &Row) -> Result<(), Error> {
        self.tally.count(row.outcomes);
        match &row.fate {
            Fate::Going(going) => {
                let origin = origin(self.keeper.is_some(), &self.sources, row);
                write_to(&mut *self.records, &self.outage, origin, &going.record)?;
                self.gauges.records_out.fetch_add(1, Ordering::Relaxed);
                self.tally.wrote();
            }
            Fate::Dead(letter) => {
                let known = self.told.as_ref().and_then(|told| told.name(row.partition));
                let source = known.as_ref().or_else(|| self.sources.get(row.partition as usize));
                let letter = addressed(letter, source.map(String::as_str));
                let origin = origin(self.keeper.is_some(), &self.sources, row);
                if let Some(sink) = &mut self.dead_letters {
                    write_to(&mut **sink, &self.outage, origin, &letter)?;
                }
                self.tally.dead_lettered();
            }
            Fate::Dropped => self.tally.dropped(),
        }
        Ok(())
    }

    /// Ends an epoch; whether it was the last, and nothing is left to read.
    fn keep(&mut self, cut: Cut) -> Result<bool, String> {
        let (epoch, last) = (cut.epoch, cut.last);
        let read = positions(&cut)?;
        let mut states = States::new();
        let outage = &self.outage;
        let mut sinks = vec![(RECORDS, &mut self.records)];
        sinks.extend(self.dead_letters.as_mut().map(|sink| (DEAD_LETTERS, sink)));
        for (name, sink) in &mut sinks {
            let prepared = insist(&mut ***sink, outage, |sink| sink.prepare(epoch));
            states.insert((*name).to_owned(), prepared.map_err(|error| error.to_string())?);
        }
        let all_read = match &mut self.keeper {
            Some(keeper) => keeper.keep(cut, states)?.all,
            None => false,
        };
        if let Some(told) = &self.told {
            told.prepare(&read).map_err(|error| error.to_string())?;
        }
        for (_, sink) in &mut sinks {
            insist(&mut ***sink, outage, |sink| sink.commit(epoch)).map_err(|error| error.to_string())?;
        }
        if let Some(told) = &self.told {
            told.acknowledge(&read).map_err(|error| error.to_string())?;
        }
        self.shared.completed.store(epoch, Ordering::Release);
        Ok(last && all_read)
    }

    fn flush(&mut self) -> Result<(), String> {
        let mut sinks = [Some(&mut self.records), self.dead_letters.as_mut()].into_iter().flatten();
        let flushed = sinks.try_for_each(|sink| insist(&mut **sink, &self.outage, |sink| sink.flush()));
        flushed.map_err(|error| error.to_string())
    }

    /// The records last: their name says that all is there. Then the checkpoint says so too.
    fn finish(mut self) -> Result<(), String> {
        // What is lost now is renewed; later it cannot be.
        self.flush()?;
        let mut sinks: Vec<Box<dyn Sink>> = self.dead_letters.into_iter().chain([self.records]).collect();
        if self.records_first {
            sinks.reverse();
        }
        let finished = sinks.into_iter().try_for_each(Sink::finish);
        finished.map_err(|error| error.to_string())?;
        self.keeper.map_or(Ok(()), |mut keeper| keeper.complete())
    }
}

/// The place that a row would come from again; without checkpoints it may come from another.
fn origin<'a>(has_checkpoints: bool, sources: &'a [String], row: &Row) -> Option<Origin<'a>> {
    let partition = sources.get(row.partition as usize).filter(|_| has_checkpoints)?;
    Some(Origin { partition, number: row.number })
}

/// Where the partitions stood at the end of an epoch, by index.
fn positions(cut: &Cut) -> Result<Vec<(u32, Position)>, String> {
    let position = |at: &pipeline::Position| Ok((at.partition, Reached::read(&at.at)?.position));
    cut.positions.iter().map(position).collect()
}

/// The thread: it ends when the dataflow has, and it is known whether the output is complete; or at the first error.
fn write(mut outputs: Outputs, work: Receiver<Work>, complete: &Receiver<bool>, stop: &Stop) -> Result<Ended, String> {
    let has_keeper = outputs.keeper.is_some();
    match outputs.write_all(&work) {
        Ok(whole) => {
            let complete = complete.recv().unwrap_or(false) && (whole || !has_keeper);
            if complete {
                outputs.finish().map(|()| Ended::Complete)
            } else {
                outputs.flush().map(|()| Ended::Incomplete)
            }
        }
        Err(error) => {
            // What was written before, as far as it can be.
            drop(outputs.flush());
            stop.fail(error);
            Ok(Ended::Incomplete)
        }
    }
}

/// The thread while it writes.
pub(super) struct Writing {
    verdict: SyncSender<bool>,
    ended: Receiver<Result<Ended, String>>,
    partials: Vec<PathBuf>,
}

/// How the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything is written, and has its name.
    Complete,
    /// All that was handed over is written, and it is not everything; or the thread has failed and said so.
    Incomplete,
    /// The run was broken off while the thread waited for somebody to take what it writes.
    Stuck,
}

impl Writing {
    /// Ends the output, when the dataflow has ended: a complete one gets its name, another is left as it is, beside it.
    pub(super) fn end(&self, complete: bool, stop: &Stop) -> anyhow::Result<Ended> {
        // It has ended already if it failed.
        let _ = self.verdict.send(complete);
        loop {
            let last = stop.now();
            match self.ended.recv_timeout(if last { GRACE } else { LOOK_EVERY }) {
                Ok(written) => return written.map_err(anyhow::Error::msg),
                Err(RecvTimeoutError::Timeout) if last => return Ok(Ended::Stuck),
                Err(RecvTimeoutError::Timeout) => {}
                // It never began: the workers did not come together.
                Err(RecvTimeoutError::Disconnected) if stop.failure().is_some() => return Ok(Ended::Incomplete),
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the thread that writes has panicked: this is a bug, please report it")
                }
            }
        }
    }

    /// Where what was written has been left; none for devices, pipes and standard output.
    pub(super) fn partials(&self) -> &[PathBuf] {
        &self.partials
    }
}

#[cfg(test)]
mod tests {
    use inflight_connectors::Record;
    use inflight_connectors::file::Format;
    use serde_json::json;

    use super::*;
    use crate::variables::Secrets;

    fn going(record: &serde_json::Value) -> Row {
        Row::new(0, 1, record.as_object().unwrap().clone())
    }

    fn shared() -> Arc<Shared> {
        let waker = Waker::noop().clone();
        Arc::new(Shared { waiting: AtomicUsize::new(0), completed: AtomicU64::new(0), waker })
    }

    fn outputs(records: impl Sink + 'static) -> Outputs {
        let (gauges, tally) = (Arc::default(), Tally::new(&[], Vec::new(), &[], 1));
        Outputs {
            records: Box::new(records),
            dead_letters: None,
            sources: Vec::new(),
            records_first: false,
            outage: Outage::new("the sink".to_owned(), &Secrets::default()),
            keeper: None,
            told: None,
            gauges,
            tally,
            shared: shared(),
        }
    }

    #[test]
    fn rows_wait_for_room_and_a_thread_that_has_gone_breaks_off() {
        let (sender, work) = channel();
        let (stop, shared, tally) = (Stop::new(), shared(), Tally::new(&[], Vec::new(), &[], 1));
        let mut outlet =
            Outlet { sender, shared: Arc::clone(&shared), waiting_since: None, stop: Arc::clone(&stop), tally };
        let room = BATCHES_WAITING * BATCH;
        let mut rows: VecDeque<Row> = (0..room + 2).map(|id| going(&json!({ "id": id }))).collect();
        pipeline::Sink::take(&mut outlet, &mut rows);
        assert_eq!((rows.len(), work.try_iter().count()), (2, BATCHES_WAITING));
        assert_eq!(rows[0].record().unwrap()["id"], room);
        assert!(!stop.now());
        drop(work);
        shared.waiting.store(0, Ordering::Release);
        pipeline::Sink::take(&mut outlet, &mut rows);
        assert!(stop.now());
    }

    #[test]
    fn a_record_that_does_not_fit_the_format_never_completes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let config = FileSinkConfig { format: Some(Format::Csv), ..FileSinkConfig::new(&path) };
        let (sender, work) = channel();
        sender.send(Work::Write(vec![going(&json!({ "id": 1 })), going(&json!({ "id": 2, "more": 3 }))])).unwrap();
        drop(sender);
        let (verdict, complete) = sync_channel(1);
        verdict.send(true).unwrap();
        let stop = Stop::new();
        let outputs = outputs(FileSink::create(&config).unwrap());
        assert_eq!(write(outputs, work, &complete, &stop), Ok(Ended::Incomplete));
        assert!(stop.failure().unwrap().contains("record 2"), "{:?}", stop.failure());
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(folder.path().join("out.csv.partial")).unwrap(), "id\n1\n");
    }

    #[test]
    fn a_thread_that_never_began_has_not_panicked() {
        let (verdict, _complete) = sync_channel(1);
        let (_, ended) = sync_channel(1);
        let (stop, writing) = (Stop::new(), Writing { verdict, ended, partials: Vec::new() });
        stop.fail("lost process 1".to_owned());
        assert_eq!(writing.end(false, &stop).unwrap(), Ended::Incomplete);
    }

    /// A pipe that nobody reads, for as long as its sender lives.
    struct Stalled(Receiver<()>);

    impl Sink for Stalled {
        fn write(&mut self, _: &Record) -> Result<(), Error> {
            let _ = self.0.recv();
            Ok(())
        }

        fn flush(&mut self) -> Result<(), Error> {
            Ok(())
        }

        fn finish(self: Box<Self>) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_hangs_does_not_hold_up_a_run_that_is_broken_off() {
        let (sender, work) = channel();
        sender.send(Work::Write(vec![going(&json!({}))])).unwrap();
        drop(sender);
        let (verdict, complete) = sync_channel(1);
        let (ended_sender, ended) = sync_channel(1);
        let (unstall, stalled) = sync_channel::<()>(1);
        let stop = Stop::new();
        let thread_stop = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            drop(ended_sender.send(write(outputs(Stalled(stalled)), work, &complete, &thread_stop)));
        });
        stop.break_off();
        let writing = Writing { verdict, ended, partials: Vec::new() };
        assert_eq!(writing.end(true, &stop).unwrap(), Ended::Stuck);
        drop(unstall);
        thread.join().unwrap();
        assert_eq!(writing.end(true, &stop).unwrap(), Ended::Complete);
    }
}
