//! The source: a thread that reads, and what takes its batches into the dataflow.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::task::Waker;
use std::thread;
use std::time::Instant;
use std::vec::IntoIter;

use inflight_connectors::file::FileSource;
use inflight_connectors::{Error, Record, Source};
use inflight_timely::flow::Produced;
use inflight_timely::single::Produce;

use super::columns::Columns;
use super::row::Row;
use super::stop::Stop;
use super::tally::Tally;
use super::wake_at_end::WakeAtEnd;
use crate::pipeline::Pipeline;
use crate::progress::Gauges;

/// Records read at a time.
const BATCH: usize = 256;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 4;

/// What the thread hands over. When it hands over nothing more and has not said why, it has panicked.
enum Read {
    Records(Vec<Record>),
    Failed(Error),
    End,
}

/// Starts a thread that reads the source, and what takes it into the dataflow.
pub(super) fn start(
    source: FileSource,
    pipeline: &Pipeline,
    limit: Option<u64>,
    stop: &Arc<Stop>,
    gauges: &Arc<Gauges>,
    tally: &Arc<Tally>,
) -> Box<dyn FnOnce(Waker) -> Produce<Row>> {
    let (sender, batches) = sync_channel(BATCHES_AHEAD);
    let mut intake = Intake {
        batches,
        batch: Vec::new().into_iter(),
        read: 0,
        limit: limit.unwrap_or(u64::MAX),
        columns: Columns::needed(pipeline),
        waiting_since: None,
        stop: Arc::clone(stop),
        gauges: Arc::clone(gauges),
        tally: Arc::clone(tally),
    };
    let gauges = Arc::clone(gauges);
    Box::new(move |waker| {
        intake.stop.set_waker(waker.clone());
        intake.waiting_since = Some(Instant::now());
        thread::spawn(move || {
            let end = WakeAtEnd(waker);
            read(source, sender, &end.0, &gauges);
        });
        Box::new(move |credits| intake.produce(credits))
    })
}

const PANICKED: &str = "the thread that reads has panicked: this is a bug, please report it";

/// The thread: it ends with the source, at its first error, or when nobody takes its batches any more.
fn read(mut source: impl Source, batches: SyncSender<Read>, waker: &Waker, gauges: &Gauges) {
    loop {
        let mut records = Vec::with_capacity(BATCH);
        let read = source.read_batch(BATCH, &mut records);
        let progress = source.progress();
        gauges.bytes_read.store(progress.bytes_read, Ordering::Relaxed);
        gauges.bytes_total.store(progress.bytes_total.unwrap_or(0), Ordering::Relaxed);
        let (read, last) = match read {
            Ok(0) => (Read::End, true),
            Ok(_) => (Read::Records(records), false),
            Err(error) => (Read::Failed(error), true),
        };
        // When nobody takes it, the run is over already.
        if batches.send(read).is_err() || last {
            return;
        }
        waker.wake_by_ref();
    }
}

/// Takes batches over, numbers the records, and stops when told to.
struct Intake {
    batches: Receiver<Read>,
    batch: IntoIter<Record>,
    read: u64,
    limit: u64,
    columns: Columns,
    waiting_since: Option<Instant>,
    stop: Arc<Stop>,
    gauges: Arc<Gauges>,
    tally: Arc<Tally>,
}

impl Intake {
    fn produce(&mut self, credits: u64) -> Produced<Row> {
        if self.stop.is_draining() || self.read >= self.limit {
            self.waited();
            return Produced::End;
        }
        if self.batch.len() == 0 {
            match self.batches.try_recv() {
                Ok(Read::Records(records)) => self.batch = records.into_iter(),
                Ok(Read::End) => {
                    self.waited();
                    return Produced::End;
                }
                Ok(Read::Failed(error)) => return self.fail(error.to_string()),
                Err(TryRecvError::Disconnected) => return self.fail(PANICKED.to_owned()),
                Err(TryRecvError::Empty) => {
                    self.waiting_since.get_or_insert_with(Instant::now);
                    return Produced::Nothing;
                }
            }
        }
        self.waited();
        if self.read == 0
            && let Some(first) = self.batch.as_slice().first()
            && let Err(missing) = self.columns.check(first)
        {
            return self.fail(missing);
        }
        let most = credits.min(self.limit - self.read);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let rows: Vec<Row> = self.batch.by_ref().take(most).zip(self.read + 1..).map(row).collect();
        self.read += rows.len() as u64;
        self.gauges.records_in.store(self.read, Ordering::Relaxed);
        self.tally.read(self.read);
        Produced::Records(rows)
    }

    fn waited(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.tally.waited_for_source(since.elapsed());
        }
    }

    /// What was read before is finished first.
    fn fail(&mut self, failure: String) -> Produced<Row> {
        self.waited();
        self.stop.fail_after_drain(failure);
        Produced::End
    }
}

fn row((record, number): (Record, u64)) -> Row {
    Row::new(0, number, record)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use inflight_connectors::{Position, Progress};
    use serde_json::json;

    use super::*;

    fn intake(limit: u64) -> (SyncSender<Read>, Intake) {
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let intake = Intake {
            batches,
            batch: Vec::new().into_iter(),
            read: 0,
            limit,
            columns: Columns::default(),
            waiting_since: None,
            stop: Stop::new(),
            gauges: Arc::default(),
            tally: Tally::new(&[], &[]),
        };
        (sender, intake)
    }

    fn records(ids: impl IntoIterator<Item = u64>) -> Read {
        Read::Records(ids.into_iter().map(|id| json!({ "id": id }).as_object().unwrap().clone()).collect())
    }

    /// The numbers of what is produced; `None` at the end.
    fn numbers(intake: &mut Intake, credits: u64) -> Option<Vec<u64>> {
        match intake.produce(credits) {
            Produced::Records(rows) => Some(rows.iter().map(Row::number).collect()),
            Produced::Nothing => Some(Vec::new()),
            Produced::End => None,
        }
    }

    #[test]
    fn records_are_numbered_over_batches_as_credits_allow() {
        let (sender, mut intake) = intake(u64::MAX);
        assert_eq!(numbers(&mut intake, 10), Some(vec![]));
        sender.send(records([7, 8, 9])).unwrap();
        sender.send(records([10])).unwrap();
        sender.send(Read::End).unwrap();
        assert_eq!(numbers(&mut intake, 2), Some(vec![1, 2]));
        assert_eq!(numbers(&mut intake, 2), Some(vec![3]));
        assert_eq!(numbers(&mut intake, 2), Some(vec![4]));
        assert_eq!(numbers(&mut intake, 2), None);
        assert_eq!(intake.stop.failure(), None);
    }

    #[test]
    fn the_limit_ends_the_source_in_the_middle_of_a_batch() {
        let (sender, mut intake) = intake(3);
        sender.send(records(0..2)).unwrap();
        sender.send(records(0..5)).unwrap();
        assert_eq!(numbers(&mut intake, 10), Some(vec![1, 2]));
        assert_eq!(numbers(&mut intake, 10), Some(vec![3]));
        assert_eq!(numbers(&mut intake, 10), None);
    }

    #[test]
    fn a_stop_ends_the_source_though_more_was_read_ahead() {
        let (sender, mut intake) = intake(u64::MAX);
        sender.send(records(0..2)).unwrap();
        assert_eq!(numbers(&mut intake, 1), Some(vec![1]));
        intake.stop.drain();
        assert_eq!(numbers(&mut intake, 1), None);
    }

    #[test]
    fn a_column_that_is_not_there_is_told_at_the_first_record() {
        let (sender, mut intake) = intake(u64::MAX);
        intake.columns = Columns::of("in.csv", [("user", "user_id")]);
        sender.send(records(0..2)).unwrap();
        assert_eq!(numbers(&mut intake, 9), None);
        assert!(intake.stop.failure().unwrap().contains("no column `user_id`"));
    }

    /// A source whose every reading is given.
    struct Readings(Vec<fn() -> usize>);

    impl Source for Readings {
        fn read_batch(&mut self, _: usize, into: &mut Vec<Record>) -> Result<usize, Error> {
            let count = self.0.remove(0)();
            into.extend(std::iter::repeat_n(Record::new(), count));
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
        let (sender, mut intake) = intake(u64::MAX);
        let source = Readings(vec![|| 2, || panic!("a bug")]);
        let reading = AssertUnwindSafe(|| read(source, sender, Waker::noop(), &Gauges::default()));
        assert!(catch_unwind(reading).is_err());
        assert_eq!(numbers(&mut intake, 9), Some(vec![1, 2]));
        assert_eq!(numbers(&mut intake, 9), None);
        assert_eq!(intake.stop.failure().as_deref(), Some(PANICKED));
    }

    #[test]
    fn a_reader_ends_when_nobody_takes_its_batches() {
        let (sender, intake) = intake(u64::MAX);
        drop(intake);
        // The second reading would panic.
        read(Readings(vec![|| 2]), sender, Waker::noop(), &Gauges::default());
    }
}
