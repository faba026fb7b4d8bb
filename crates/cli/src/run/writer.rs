//! The sink: a thread that writes, and what hands it the dataflow's batches.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use inflight_connectors::file::FileSink;
use inflight_connectors::{Error, Sink};
use inflight_timely::pipeline::Consume;

use super::row::{Fate, Row};
use super::stop::Stop;
use super::tally::Tally;
use crate::file::STANDARD;
use crate::pipeline::Pipeline;
use crate::progress::Gauges;

/// Records handed over at a time.
const BATCH: usize = 256;
/// Batches that wait for the thread.
const BATCHES_WAITING: usize = 4;

/// What the thread makes: something to wake when it has written a batch.
type Batches = (Receiver<Vec<Row>>, Receiver<Waker>);

/// The thread while it writes.
pub(super) struct Writing {
    thread: JoinHandle<Outputs>,
}

/// Opens the sink of a pipeline, and that for its dead letters.
#[expect(clippy::type_complexity, reason = "what starts the sink, and what ends it")]
pub(super) fn open(
    pipeline: &Pipeline,
    stop: &Arc<Stop>,
    gauges: &Arc<Gauges>,
    tally: &Arc<Tally>,
) -> anyhow::Result<(Box<dyn FnOnce(Waker) -> Consume<Row>>, Writing)> {
    let outputs = Outputs {
        records: FileSink::create(&pipeline.sink)?,
        dead_letters: pipeline.dead_letter.as_ref().map(FileSink::create).transpose()?,
        partial: (pipeline.sink.path != Path::new(STANDARD)).then(|| pipeline.sink.path.display().to_string()),
        broken: false,
    };
    let (sender, batches) = sync_channel(BATCHES_WAITING);
    let (waker_sender, waker) = sync_channel(1);
    let theirs = (Arc::clone(stop), Arc::clone(gauges), Arc::clone(tally));
    let thread = thread::spawn(move || write(outputs, (batches, waker), &theirs.0, &theirs.1, &theirs.2));
    let tally = Arc::clone(tally);
    let consume = move |waker: Waker| -> Consume<Row> {
        // The channel has room for the one waker there is.
        drop(waker_sender.send(waker));
        let mut outlet = Outlet { sender, waiting_since: None, tally };
        Box::new(move |rows| outlet.consume(rows))
    };
    Ok((Box::new(consume), Writing { thread }))
}

/// Hands rows to the thread, as many as it has room for.
struct Outlet {
    sender: SyncSender<Vec<Row>>,
    waiting_since: Option<Instant>,
    tally: Arc<Tally>,
}

impl Outlet {
    fn consume(&mut self, rows: &mut VecDeque<Row>) {
        while !rows.is_empty() {
            let batch = rows.drain(..rows.len().min(BATCH)).collect();
            if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = self.sender.try_send(batch) {
                // The thread wakes the sink when it has written a batch; if it has ended, it has told why.
                batch.into_iter().rev().for_each(|row| rows.push_front(row));
                self.waiting_since.get_or_insert_with(Instant::now);
                return;
            }
            if let Some(since) = self.waiting_since.take() {
                self.tally.waited_for_sink(since.elapsed());
            }
        }
    }
}

struct Outputs {
    records: FileSink,
    dead_letters: Option<FileSink>,
    /// Where the records will be, if that is a file.
    partial: Option<String>,
    broken: bool,
}

impl Outputs {
    fn write(&mut self, row: &Row, gauges: &Gauges, tally: &Tally) -> Result<(), Error> {
        match &row.fate {
            Fate::Going(record) => {
                self.records.write(record)?;
                gauges.records_out.fetch_add(1, Ordering::Relaxed);
                tally.wrote();
            }
            Fate::Dead(letter) => {
                self.dead_letters.as_mut().map_or(Ok(()), |sink| sink.write(letter))?;
                tally.dead_lettered();
            }
            Fate::Dropped => tally.dropped(),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.records.flush()?;
        self.dead_letters.as_mut().map_or(Ok(()), Sink::flush)
    }
}

/// The thread: it ends when the dataflow does, or at the first error.
fn write(mut outputs: Outputs, (batches, waker): Batches, stop: &Stop, gauges: &Gauges, tally: &Tally) -> Outputs {
    let waker = waker.recv().ok();
    let mut next = batches.recv().ok();
    while let Some(batch) = next {
        let written = batch.iter().try_for_each(|row| outputs.write(row, gauges, tally));
        // With nothing more to write for now, whoever reads the output sees all of it.
        next = batches.try_recv().ok();
        let flushed = if next.is_none() { written.and_then(|()| outputs.flush()) } else { written };
        if let Err(error) = flushed {
            outputs.broken = true;
            stop.fail(error.to_string());
            return outputs;
        }
        if let Some(waker) = &waker {
            waker.wake_by_ref();
        }
        next = next.or_else(|| batches.recv().ok());
    }
    outputs
}

impl Writing {
    /// Ends the output: a complete one gets its name, another is left as it is, beside it.
    pub(super) fn end(self, complete: bool) -> anyhow::Result<()> {
        let mut outputs = match self.thread.join() {
            Ok(outputs) => outputs,
            Err(_) => anyhow::bail!("the thread that writes has panicked: this is a bug, please report it"),
        };
        if complete {
            Box::new(outputs.records).finish()?;
            return Ok(outputs.dead_letters.map_or(Ok(()), |sink| Box::new(sink).finish())?);
        }
        if !outputs.broken {
            outputs.flush()?;
        }
        if let Some(path) = outputs.partial {
            eprintln!("the output is not complete, and was left as {path}.partial");
        }
        Ok(())
    }
}
