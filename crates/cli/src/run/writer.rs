//! The sink: a thread that writes, and what hands it the dataflow's batches.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use inflight_connectors::file::{FileSink, FileSinkConfig};
use inflight_connectors::{Error, Sink};
use inflight_timely::single::Consume;

use super::row::{Fate, Row};
use super::stop::Stop;
use super::tally::Tally;
use super::wake_at_end::WakeAtEnd;
use crate::progress::Gauges;

/// Records handed over at a time.
const BATCH: usize = 256;
/// Batches that wait for the thread.
const BATCHES_WAITING: usize = 4;
/// How often it is looked whether to stop while the thread writes the last records.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the thread may still write once the run has been broken off: it may hang for ever, on a pipe that nobody reads.
const GRACE: Duration = Duration::from_secs(1);

/// The sinks of a pipeline, opened.
pub(super) struct Sinks {
    records: FileSink,
    dead_letters: Option<FileSink>,
    partials: Vec<PathBuf>,
}

/// Opens the sink of a pipeline, and that for its dead letters.
pub(super) fn open(records: &FileSinkConfig, dead_letters: Option<&FileSinkConfig>) -> Result<Sinks, Error> {
    let (records_sink, dead_letters_sink) =
        (FileSink::create(records)?, dead_letters.map(FileSink::create).transpose()?);
    let partials = [Some(records), dead_letters].into_iter().flatten().filter_map(partial).collect();
    Ok(Sinks { records: records_sink, dead_letters: dead_letters_sink, partials })
}

/// Starts a thread that writes, and what hands it the dataflow's batches.
pub(super) fn start(
    sinks: Sinks,
    stop: &Arc<Stop>,
    gauges: &Arc<Gauges>,
    tally: &Arc<Tally>,
) -> (Box<dyn FnOnce(Waker) -> Consume<Row>>, Writing) {
    let Sinks { records, dead_letters, partials } = sinks;
    let outputs = Outputs {
        records: Box::new(records),
        dead_letters: dead_letters.map(|sink| Box::new(sink) as _),
        gauges: Arc::clone(gauges),
        tally: Arc::clone(tally),
    };
    let (sender, batches) = sync_channel(BATCHES_WAITING);
    let (verdict, complete) = sync_channel(1);
    let (ended_sender, ended) = sync_channel(1);
    let (stop, tally) = (Arc::clone(stop), Arc::clone(tally));
    let consume = move |waker: Waker| -> Consume<Row> {
        let thread_stop = Arc::clone(&stop);
        thread::spawn(move || {
            let end = WakeAtEnd(waker);
            drop(ended_sender.send(write(outputs, batches, &complete, &end.0, &thread_stop)));
        });
        let mut outlet = Outlet { sender, waiting_since: None, stop, tally };
        Box::new(move |rows| outlet.consume(rows))
    };
    (Box::new(consume), Writing { verdict, ended, partials })
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
    sender: SyncSender<Vec<Row>>,
    waiting_since: Option<Instant>,
    stop: Arc<Stop>,
    tally: Arc<Tally>,
}

impl Outlet {
    fn consume(&mut self, rows: &mut VecDeque<Row>) {
        while !rows.is_empty() {
            let batch = rows.drain(..rows.len().min(BATCH)).collect();
            let refused = match self.sender.try_send(batch) {
                Ok(()) => {
                    if let Some(since) = self.waiting_since.take() {
                        self.tally.waited_for_sink(since.elapsed());
                    }
                    continue;
                }
                // The thread wakes the sink when it has written a batch.
                Err(TrySendError::Full(batch)) => batch,
                Err(TrySendError::Disconnected(batch)) => {
                    // It tells why when it is asked for its end.
                    self.stop.break_off();
                    batch
                }
            };
            refused.into_iter().rev().for_each(|row| rows.push_front(row));
            self.waiting_since.get_or_insert_with(Instant::now);
            return;
        }
    }
}

/// What the thread writes to.
struct Outputs {
    records: Box<dyn Sink>,
    dead_letters: Option<Box<dyn Sink>>,
    gauges: Arc<Gauges>,
    tally: Arc<Tally>,
}

impl Outputs {
    /// Until nothing more comes.
    fn write_all(&mut self, batches: Receiver<Vec<Row>>, waker: &Waker) -> Result<(), Error> {
        let mut next = batches.recv().ok();
        while let Some(batch) = next {
            batch.iter().try_for_each(|row| self.write(row))?;
            // With nothing more to write for now, whoever reads the output sees all of it.
            next = batches.try_recv().ok();
            if next.is_none() {
                self.flush()?;
            }
            waker.wake_by_ref();
            next = next.or_else(|| batches.recv().ok());
        }
        Ok(())
    }

    fn write(&mut self, row: &Row) -> Result<(), Error> {
        self.tally.count(row.outcomes);
        match &row.fate {
            Fate::Going(record) => {
                self.records.write(record)?;
                self.gauges.records_out.fetch_add(1, Ordering::Relaxed);
                self.tally.wrote();
            }
            Fate::Dead(letter) => {
                self.dead_letters.as_mut().map_or(Ok(()), |sink| sink.write(letter))?;
                self.tally.dead_lettered();
            }
            Fate::Dropped => self.tally.dropped(),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.records.flush()?;
        self.dead_letters.as_mut().map_or(Ok(()), |sink| sink.flush())
    }

    /// The records last: their name says that all is there.
    fn finish(self) -> Result<(), Error> {
        self.dead_letters.map_or(Ok(()), Sink::finish)?;
        self.records.finish()
    }
}

/// The thread: it ends when the dataflow has, and has said whether the output is complete; or at the first error.
fn write(
    mut outputs: Outputs,
    batches: Receiver<Vec<Row>>,
    complete: &Receiver<bool>,
    waker: &Waker,
    stop: &Stop,
) -> Result<(), Error> {
    match outputs.write_all(batches, waker) {
        Ok(()) if complete.recv().unwrap_or(false) => outputs.finish(),
        Ok(()) => outputs.flush(),
        Err(error) => {
            // What was written before, as far as it can be.
            drop(outputs.flush());
            stop.fail(error.to_string());
            Ok(())
        }
    }
}

/// The thread while it writes.
pub(super) struct Writing {
    verdict: SyncSender<bool>,
    ended: Receiver<Result<(), Error>>,
    partials: Vec<PathBuf>,
}

/// How the output ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All that was handed over is written, or the thread has failed and said so.
    Written,
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
                Ok(written) => return Ok(written.map(|()| Ended::Written)?),
                Err(RecvTimeoutError::Timeout) if last => return Ok(Ended::Stuck),
                Err(RecvTimeoutError::Timeout) => {}
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
    use inflight_connectors::{Record, file::Format};
    use serde_json::json;

    use super::*;

    fn going(record: &serde_json::Value) -> Row {
        Row::new(0, 1, record.as_object().unwrap().clone())
    }

    fn outputs(records: impl Sink + 'static) -> Outputs {
        Outputs { records: Box::new(records), dead_letters: None, gauges: Arc::default(), tally: Tally::new(&[], &[]) }
    }

    #[test]
    fn rows_wait_for_room_and_a_thread_that_has_gone_breaks_off() {
        let (sender, batches) = sync_channel(1);
        let stop = Stop::new();
        let mut outlet = Outlet { sender, waiting_since: None, stop: Arc::clone(&stop), tally: Tally::new(&[], &[]) };
        let mut rows: VecDeque<Row> = (0..BATCH + 2).map(|id| going(&json!({ "id": id }))).collect();
        outlet.consume(&mut rows);
        assert_eq!((rows.len(), batches.recv().unwrap().len()), (2, BATCH));
        assert_eq!(rows[0].record().unwrap()["id"], BATCH);
        assert!(!stop.now());
        drop(batches);
        outlet.consume(&mut rows);
        assert_eq!((rows.len(), stop.now()), (2, true));
    }

    #[test]
    fn a_record_that_does_not_fit_the_format_never_completes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let config = FileSinkConfig { format: Some(Format::Csv), ..FileSinkConfig::new(&path) };
        let (sender, batches) = sync_channel(1);
        sender.send(vec![going(&json!({ "id": 1 })), going(&json!({ "id": 2, "more": 3 }))]).unwrap();
        drop(sender);
        let (verdict, complete) = sync_channel(1);
        verdict.send(true).unwrap();
        let stop = Stop::new();
        let outputs = outputs(FileSink::create(&config).unwrap());
        write(outputs, batches, &complete, Waker::noop(), &stop).unwrap();
        assert!(stop.failure().unwrap().contains("record 2"), "{:?}", stop.failure());
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(folder.path().join("out.csv.partial")).unwrap(), "id\n1\n");
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
        let (sender, batches) = sync_channel(1);
        sender.send(vec![going(&json!({}))]).unwrap();
        drop(sender);
        let (verdict, complete) = sync_channel(1);
        let (ended_sender, ended) = sync_channel(1);
        let (unstall, stalled) = sync_channel::<()>(1);
        let stop = Stop::new();
        let thread_stop = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            drop(ended_sender.send(write(outputs(Stalled(stalled)), batches, &complete, Waker::noop(), &thread_stop)));
        });
        stop.break_off();
        let writing = Writing { verdict, ended, partials: Vec::new() };
        assert_eq!(writing.end(true, &stop).unwrap(), Ended::Stuck);
        drop(unstall);
        thread.join().unwrap();
        assert_eq!(writing.end(true, &stop).unwrap(), Ended::Written);
    }
}
