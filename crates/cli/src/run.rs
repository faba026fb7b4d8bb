//! Runs a pipeline.
//!
//! ```text
//!  reader thread --batches--> [ source -> stages of look-ups -> sink ] --batches--> writer thread
//!                                one dataflow worker, this thread
//! ```
//! Files are read and written by threads of their own, so that neither stops the look-ups; both channels are short, and the dataflow
//! holds credits, so memory stays bounded.

mod columns;
mod join;
mod lookup;
mod opening;
mod outcomes;
mod portable;
mod reader;
mod row;
mod stop;
mod tally;
mod wake_at_end;
mod writer;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inflight::driver::{Key, Stopped};
use inflight::{Backoff, Batched, Jitter, Options, Retry};
use inflight_connectors::file::FileSource;
use inflight_timely::Monitor;
use inflight_timely::single::{self as pipeline, Ended, Stage};

use self::lookup::{Answer, Lookup};
use self::row::Row;
use self::stop::{Signals, Stop};
use self::tally::Tally;
use self::writer::Sinks;
use crate::advice::advise;
use crate::args::Accept;
use crate::exit::Exit;
use crate::file::{Order, RetryOn};
use crate::pipeline::{Pipeline, Step};
use crate::progress::{Gauges, Progress};
use crate::summary::Summary;
use crate::tell::tell;

/// What the command line says about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Stop after this many records of the source.
    pub limit: Option<u64>,
    /// Show neither progress nor summary.
    pub quiet: bool,
    /// End with [`Exit::DeadLettered`] when there were dead letters.
    pub strict: bool,
    /// After a signal, how long to wait for what is in flight.
    pub drain_limit: Duration,
    /// Begin anew, whatever checkpoints are there.
    pub from_scratch: bool,
    /// Parts of the pipeline that may differ from what the checkpoint was written with.
    pub accept: Vec<Accept>,
}

/// Records between source and sink besides those that the steps hold: enough to keep them busy.
const CREDITS_BESIDES: u64 = 1024;

/// Runs a pipeline until its source ends or a signal stops it.
///
/// # Errors
/// When the run fails: the source, the sink, or a look-up whose step says `fail`.
pub fn run(pipeline: Pipeline, options: RunOptions) -> anyhow::Result<ExitCode> {
    let asks_more = pipeline.checkpoint.is_some() || pipeline.cluster.is_some() || pipeline.workers > 1;
    anyhow::ensure!(!asks_more, "checkpoints, several workers and several processes do not run yet");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stop = Stop::new();
    let gauges = Arc::new(Gauges::default());
    let tally = Tally::new(&pipeline.steps, &pipeline.stages);
    let signals = {
        let _context = runtime.enter();
        Signals::new()?
    };
    runtime.spawn(stop::obey(signals, Arc::clone(&stop), options.drain_limit, options.quiet));

    let Some((source, sinks)) = open(&pipeline, &stop)? else { return Ok(Exit::Done.into()) };
    let reader = reader::start(source, &pipeline, options.limit, &stop, &gauges, &tally);
    let (writer, writing) = writer::start(sinks, &stop, &gauges, &tally);
    let progress = Progress::start(Arc::clone(&gauges), options.quiet);
    let ended = pipeline::run(
        pipeline::Pipeline {
            credits: credits(&pipeline.steps),
            source: reader,
            stages: stages(&pipeline, &stop, &tally),
            sink: writer,
            number: Row::number,
        },
        runtime.handle(),
        |monitors| look(monitors, &pipeline.steps, &stop, &gauges, &tally),
    );
    let whole = ended == Ended::Complete && stop.failure().is_none();
    let written = writing.end(whole, &stop);
    drop(progress);
    // A reader that waits for input, or a call that hangs, must not hold up the end.
    runtime.shutdown_background();

    let summary = tally.summary(&pipeline.steps);
    if !options.quiet {
        tell(&format!("{summary}\n{}\n", advise(&summary).sentence));
    }
    let whole = whole && matches!(written, Ok(writer::Ended::Written)) && stop.failure().is_none();
    if !whole {
        let left = |partial: &PathBuf| format!("incomplete, and left as {}\n", partial.display());
        writing.partials().iter().for_each(|partial| tell(&pipeline.secrets.hide(&left(partial))));
    }
    if let Some(failure) = stop.failure() {
        anyhow::bail!("{failure}{}", written.err().map_or_else(String::new, |error| format!("; {error}")));
    }
    written?;
    Ok(exit(whole, &summary, options.strict)?.into())
}

/// Opens both ends, the source first: without it, no output is begun. `None` when the run was stopped meanwhile.
fn open(pipeline: &Pipeline, stop: &Stop) -> anyhow::Result<Option<(FileSource, Sinks)>> {
    let config = pipeline.source.clone();
    let Some(source) = opening::open(stop, move || FileSource::open(&config))? else { return Ok(None) };
    let (records, dead_letters) = (pipeline.sink.clone(), pipeline.dead_letter.clone());
    let sinks = opening::open(stop, move || writer::open(&records, dead_letters.as_ref()))?;
    Ok(sinks.map(|sinks| (source, sinks)))
}

/// How a run ended that did not fail.
fn exit(whole: bool, summary: &Summary, strict: bool) -> anyhow::Result<Exit> {
    let done = summary.records_out + summary.dropped + summary.dead_lettered;
    let left = summary.records_in.saturating_sub(done);
    if !whole {
        tell(&format!("stopped before everything was done: {left} records were read and not written\n"));
        return Ok(Exit::NotDrained);
    }
    anyhow::ensure!(left == 0, "{left} records were read and not accounted for: this is a bug, please report it");
    Ok(if strict && summary.dead_lettered > 0 { Exit::DeadLettered } else { Exit::Done })
}

/// As many records as all steps together can hold, and some.
fn credits(steps: &[Step]) -> u64 {
    steps.iter().map(|step| step.capacity as u64).sum::<u64>() + CREDITS_BESIDES
}

fn look(
    monitors: &[Monitor<lookup::Error>],
    steps: &[Step],
    stop: &Stop,
    gauges: &Gauges,
    tally: &Tally,
) -> ControlFlow<()> {
    let mut in_flight = 0;
    for (operator, monitor) in monitors.iter().enumerate() {
        let place = tally.step_of(operator);
        let stats = monitor.stats();
        in_flight += stats.on_wire as u64;
        tally.sample(place, &stats);
        if let Some(Stopped::Open(error) | Stopped::Close(error)) = monitor.stopped() {
            stop.fail(format!("look-up `{}`: {error}", steps[place].name));
        }
    }
    gauges.in_flight.store(in_flight, Ordering::Relaxed);
    if stop.now() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn stages(pipeline: &Pipeline, stop: &Arc<Stop>, tally: &Arc<Tally>) -> Vec<Stage<Row, Lookup, Batched>> {
    let stages = pipeline.stages.iter().map(|places| Stage {
        steps: places.iter().map(|&place| step(&pipeline.steps[place], tally.calls(place))).collect(),
        join: join::join(pipeline, places, Arc::clone(stop), Arc::clone(tally)),
    });
    stages.collect()
}

fn step(step: &Step, calls: Arc<tally::Calls>) -> pipeline::Step<Row, Lookup, Batched> {
    let mut options = Options::new()
        .capacity(step.capacity)
        .concurrency(step.concurrency)
        .batch(step.batch_size, step.batch_linger)
        .timeout(step.timeout)
        .deadline(step.deadline);
    if step.retries > 0 {
        let busy = step.retry_on.contains(&RetryOn::Busy);
        options = options
            .retry(Retry {
                max_retries: step.retries,
                backoff: Backoff::Exponential { initial: step.backoff.from, multiplier: 2.0, max: step.backoff.to },
                jitter: Jitter::Full,
                timeouts: step.retry_on.contains(&RetryOn::Timeout),
                budget: None,
            })
            .retry_if(move |result: &Result<Answer, lookup::Error>| {
                matches!(result, Err(error) if busy && error.is_retryable())
            });
    }
    let order = match step.order {
        Order::Input => inflight::Order::Ordered,
        Order::Key => inflight::Order::KeyOrdered,
        Order::KeySerial => inflight::Order::KeySerial,
        Order::None => inflight::Order::Unordered,
    };
    let function = Lookup::new(step, calls);
    let key = order.is_keyed().then(|| -> Key<Row> { Box::new(function.key_number()) });
    pipeline::Step { function, order, key, options }
}
