//! Runs a pipeline.
//!
//! ```text
//!  reader thread --batches--> [ source -> stages of look-ups -> sink ] --batches--> writer thread --> sinks, checkpoints
//!  one for each worker          a dataflow over all workers of all processes          in process 0 only
//! ```
//! Files are read and written by threads of their own, so that neither stops the look-ups; both channels are short, and the dataflow
//! holds credits, so memory stays bounded.

mod attempts;
mod calls;
mod columns;
mod intake;
mod join;
mod keeper;
mod letter;
mod lookup;
mod lost;
mod now;
mod opening;
mod outage;
mod outcomes;
mod partitions;
mod past;
mod portable;
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "nothing that is built in has messages"))]
mod reader;
mod resume;
mod row;
mod shared;
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "nothing that is built in has messages"))]
mod source;
mod steps;
mod stop;
mod tally;
mod wake_at_end;
mod workers;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::intake::Reading;
use self::outage::Outage;
use self::resume::{Beginning, Incompatible, Start};
use self::shared::Shared;
use self::source::Opened;
use self::stop::{Signals, Stop};
use self::tally::Tally;
use self::workers::{First, Workers};
use self::writer::{Ended, Writing};
use crate::advice::advise;
use crate::args::Accept;
use crate::exit::Exit;
use crate::pipeline::Pipeline;
use crate::progress::{Gauges, Progress};
use crate::summary::{Summary, grouped, short};
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

/// Runs a pipeline until its source ends or a signal stops it.
///
/// # Errors
/// When the run fails: the source, the sink, another process, or a look-up whose step says `fail`.
pub fn run(pipeline: Pipeline, options: RunOptions) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stop = Stop::new();
    let gauges = Arc::new(Gauges::default());
    let shared = {
        let _context = runtime.enter();
        Shared::of(&pipeline)?
    };
    let tally = Tally::new(&pipeline.steps, shared, &pipeline.stages, pipeline.workers);
    let signals = {
        let _context = runtime.enter();
        Signals::new()?
    };
    runtime.spawn(stop::obey(signals, Arc::clone(&stop), options.drain_limit, options.quiet));

    let ready = match ready(&pipeline, &options, &stop, &gauges, &tally) {
        Ok(Some(ready)) => ready,
        Ok(None) => return Ok(Exit::Done.into()),
        Err(error) if error.is::<Incompatible>() => {
            tell(&pipeline.secrets.hide(&format!("error: {error}\n")));
            return Ok(Exit::BadPipeline.into());
        }
        Err(error) => return Err(error),
    };
    let Ready { first, writing, opened } = ready;
    let reading = Reading::new(&pipeline, opened, options.limit, &stop, &gauges, &tally);
    let progress = Progress::start(Arc::clone(&gauges), options.quiet || writing.is_none());
    let workers = Workers {
        pipeline: &pipeline,
        reading: Arc::clone(&reading),
        stop: &stop,
        gauges: &gauges,
        tally: &tally,
        runtime: runtime.handle(),
        quiet: options.quiet,
        began,
    };
    // A replay that was interrupted has not come to its letters' end: they have to stay.
    let broken = || pipeline.replays && pipeline.checkpoint.is_none() && stop.is_draining();
    let whole = workers.run(first) && stop.failure().is_none() && !broken();
    let written = writing.as_ref().map(|writing| writing.end(whole, &stop));
    reading.leave();
    drop(progress);
    // A reader that waits for input, or a call that hangs, must not hold up the end.
    runtime.shutdown_background();

    let whole = whole && stop.failure().is_none();
    let ending = Ending { pipeline: &pipeline, options: &options, stop: &stop, tally: &tally, gauges: &gauges };
    match (&writing, written) {
        (Some(writing), Some(written)) => ending.of_the_writer(writing, written, whole),
        _ => ending.of_a_helper(whole),
    }
}

/// What a process begins with.
struct Ready {
    first: First,
    /// In process 0, if there is anything to write.
    writing: Option<Writing>,
    /// What is open of the source already.
    opened: Opened,
}

/// Opens what this process needs; `None` when there is nothing to do, or the run was stopped meanwhile.
fn ready(
    pipeline: &Pipeline,
    options: &RunOptions,
    stop: &Arc<Stop>,
    gauges: &Arc<Gauges>,
    tally: &Arc<Tally>,
) -> anyhow::Result<Option<Ready>> {
    let is_first = pipeline.cluster.as_ref().is_none_or(|cluster| cluster.process == Some(0));
    if !is_first {
        return Ok(Some(Ready { first: First::nothing(Vec::new()), writing: None, opened: Opened::default() }));
    }
    let begin = || resume::begin(pipeline, options, stop, tally);
    Ok(match begin()? {
        Start::Now(beginning) => {
            let Beginning { partitions, opened, sinks, keeper, restored, told } = *beginning;
            let (sink, writing) = {
                let outage = Outage::new("the sink".to_owned(), &pipeline.secrets);
                writer::start(sinks, outage, keeper, opened.told.clone(), stop, gauges, tally)
            };
            let first = First { sink: Box::new(sink), partitions, restored, told };
            Some(Ready { first, writing: Some(writing), opened })
        }
        Start::Ended { partitions, told } => {
            tell(&pipeline.secrets.hide(&told));
            // The other processes wait for this one, to hear that there is nothing to do.
            let ready = || Ready { first: First::nothing(partitions), writing: None, opened: Opened::default() };
            pipeline.cluster.as_ref().map(|_| ready())
        }
        Start::Stopped => None,
    })
}

/// What is told at the end, and the exit code.
struct Ending<'a> {
    pipeline: &'a Pipeline,
    options: &'a RunOptions,
    stop: &'a Stop,
    tally: &'a Tally,
    gauges: &'a Gauges,
}

impl Ending<'_> {
    /// Of the process that writes.
    fn of_the_writer(
        &self,
        writing: &Writing,
        written: anyhow::Result<Ended>,
        whole: bool,
    ) -> anyhow::Result<ExitCode> {
        let summary = self.summary(whole);
        if !self.options.quiet {
            tell(&format!("{summary}\n{}\n", advise(&summary).sentence));
        }
        // With checkpoints, a run that was stopped in good order goes on another time.
        let paused = whole && self.pipeline.checkpoint.is_some() && matches!(written, Ok(Ended::Incomplete));
        let complete = whole && matches!(written, Ok(Ended::Complete));
        if !complete {
            let left = |partial: &PathBuf| match paused {
                true => format!("to be gone on with by the next run: {}\n", partial.display()),
                false => format!("incomplete, and left as {}\n", partial.display()),
            };
            writing.partials().iter().for_each(|partial| tell(&self.pipeline.secrets.hide(&left(partial))));
        }
        if let Some(failure) = self.stop.failure() {
            anyhow::bail!("{failure}{}", written.err().map_or_else(String::new, |error| format!("; {error}")));
        }
        written?;
        Ok(self.exit(complete || paused, &summary)?.into())
    }

    /// Of a process that only looks up.
    fn of_a_helper(&self, whole: bool) -> anyhow::Result<ExitCode> {
        if let Some(failure) = self.stop.failure() {
            anyhow::bail!("{failure}");
        }
        let summary = self.tally.summary();
        if !self.options.quiet {
            let calls: u64 = summary.steps.iter().map(|step| step.calls).sum();
            let (read, calls, elapsed) = (grouped(summary.records_in), grouped(calls), short(summary.elapsed));
            tell(&format!(
                "this process read {read} records and made {calls} calls in {elapsed}; process 0 has the summary\n"
            ));
        }
        Ok(if whole { Exit::Done } else { Exit::NotDrained }.into())
    }

    fn summary(&self, whole: bool) -> Summary {
        if whole && self.pipeline.cluster.is_some() && self.pipeline.checkpoint.is_none() {
            // Others have read too, and nobody has told what; but all that was read is done.
            self.tally.read_in_all(self.tally.counts().done());
        }
        Summary { replays: self.pipeline.replays, behind: self.gauges.behind(), ..self.tally.summary() }
    }

    /// How a run ended that did not fail.
    fn exit(&self, drained: bool, summary: &Summary) -> anyhow::Result<Exit> {
        let done = summary.records_out + summary.dropped + summary.dead_lettered;
        let left = summary.records_in.saturating_sub(done);
        if !drained {
            let then =
                if self.pipeline.checkpoint.is_some() { "; the next run goes on from the last checkpoint" } else { "" };
            tell(&format!("stopped before everything was done: {left} records were read and not written{then}\n"));
            return Ok(Exit::NotDrained);
        }
        anyhow::ensure!(left == 0, "{left} records were read and not accounted for: this is a bug, please report it");
        Ok(if self.options.strict && summary.dead_lettered > 0 { Exit::DeadLettered } else { Exit::Done })
    }
}
