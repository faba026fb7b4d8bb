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
use inflight_timely::pipeline::Produce;

use super::row::{Fate, Row};
use super::stop::Stop;
use super::tally::Tally;
use crate::pipeline::Pipeline;
use crate::progress::Gauges;

/// Records read at a time.
const BATCH: usize = 256;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 4;

type Batch = Result<Vec<Record>, Error>;

/// Opens the source of a pipeline. It is read once the dataflow asks.
pub(super) fn open(
    pipeline: &Pipeline,
    limit: Option<u64>,
    stop: &Arc<Stop>,
    gauges: &Arc<Gauges>,
    tally: &Arc<Tally>,
) -> anyhow::Result<Box<dyn FnOnce(Waker) -> Produce<Row>>> {
    let source = FileSource::open(&pipeline.source)?;
    let (stop, gauges, tally) = (Arc::clone(stop), Arc::clone(gauges), Arc::clone(tally));
    Ok(Box::new(move |waker| {
        stop.set_waker(waker.clone());
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let read_gauges = Arc::clone(&gauges);
        thread::spawn(move || read(source, &sender, &waker, &read_gauges));
        let mut intake = Intake {
            batches,
            batch: Vec::new().into_iter(),
            read: 0,
            limit: limit.unwrap_or(u64::MAX),
            waiting_since: Some(Instant::now()),
            stop,
            gauges,
            tally,
        };
        Box::new(move |credits| intake.produce(credits))
    }))
}

/// The thread: it ends with the source, at its first error, or when nobody takes its batches any more.
fn read(mut source: FileSource, batches: &SyncSender<Batch>, waker: &Waker, gauges: &Gauges) {
    loop {
        let mut records = Vec::with_capacity(BATCH);
        let batch = source.read_batch(BATCH, &mut records);
        let progress = source.progress();
        gauges.bytes_read.store(progress.bytes_read, Ordering::Relaxed);
        gauges.bytes_total.store(progress.bytes_total.unwrap_or(0), Ordering::Relaxed);
        let last = match batch {
            Ok(0) => break,
            Ok(_) => batches.send(Ok(records)).is_err(),
            Err(error) => {
                // Nobody to tell: the run is over already.
                drop(batches.send(Err(error)));
                true
            }
        };
        if last {
            break;
        }
        waker.wake_by_ref();
    }
    waker.wake_by_ref();
}

/// Takes batches over, numbers the records, and stops when told to.
struct Intake {
    batches: Receiver<Batch>,
    batch: IntoIter<Record>,
    read: u64,
    limit: u64,
    waiting_since: Option<Instant>,
    stop: Arc<Stop>,
    gauges: Arc<Gauges>,
    tally: Arc<Tally>,
}

impl Intake {
    fn produce(&mut self, credits: u64) -> Produced<Row> {
        if self.stop.is_draining() || self.read >= self.limit {
            return Produced::End;
        }
        if self.batch.len() == 0 {
            match self.batches.try_recv() {
                Ok(Ok(records)) => self.batch = records.into_iter(),
                Ok(Err(error)) => {
                    self.stop.fail_after_drain(error.to_string());
                    return Produced::End;
                }
                Err(TryRecvError::Empty) => {
                    self.waiting_since.get_or_insert_with(Instant::now);
                    return Produced::Nothing;
                }
                Err(TryRecvError::Disconnected) => return Produced::End,
            }
        }
        if let Some(since) = self.waiting_since.take() {
            self.tally.waited_for_source(since.elapsed());
        }
        let most = credits.min(self.limit - self.read);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let rows: Vec<Row> = self.batch.by_ref().take(most).zip(self.read + 1..).map(row).collect();
        self.read += rows.len() as u64;
        self.gauges.records_in.store(self.read, Ordering::Relaxed);
        self.tally.read(self.read);
        Produced::Records(rows)
    }
}

fn row((record, number): (Record, u64)) -> Row {
    Row { number, fate: Fate::Going(Arc::new(record)) }
}
