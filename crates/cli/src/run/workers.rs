//! The workers of this process: one dataflow with those of all others.

use std::collections::{VecDeque, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use inflight::driver::Stopped;
use inflight_timely::Monitor;
use inflight_timely::cluster::{Layout, execute};
use inflight_timely::pipeline::{self, Cut, Ended, Partition, Readers, Recovery, Restored, Sink, install};
use tokio::runtime::Handle;

use super::intake::Reading;
use super::lookup::Error;
use super::row::Row;
use super::steps::{are_ordered, credits, stages};
use super::stop::Stop;
use super::tally::Tally;
use crate::compatible::Shape;
use crate::pipeline::Pipeline;
use crate::progress::Gauges;
use crate::summary::short;
use crate::tell::tell;

/// What worker 0 has besides.
pub(super) struct First {
    pub(super) sink: Box<dyn FnOnce(Waker) -> Box<dyn Sink<Row>> + Send>,
    pub(super) partitions: Vec<Partition>,
    pub(super) restored: Option<Restored<Row>>,
    /// What the run goes on from, to be told.
    pub(super) told: Option<String>,
}

impl First {
    /// That of a run that has nothing to write.
    pub(super) fn nothing(partitions: Vec<Partition>) -> Self {
        Self { sink: Box::new(|_| Box::new(Nothing { completed: None })), partitions, restored: None, told: None }
    }
}

/// A sink that writes nothing.
struct Nothing {
    completed: Option<u64>,
}

impl Sink<Row> for Nothing {
    fn take(&mut self, records: &mut VecDeque<Row>) {
        records.clear();
    }

    fn checkpoint(&mut self, cut: Cut) {
        self.completed = Some(cut.epoch);
    }

    fn completed(&mut self) -> Option<u64> {
        self.completed
    }
}

/// What all workers of this process share.
pub(super) struct Workers<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) reading: Arc<Reading>,
    pub(super) stop: &'a Arc<Stop>,
    pub(super) gauges: &'a Gauges,
    pub(super) tally: &'a Arc<Tally>,
    pub(super) runtime: &'a Handle,
    pub(super) quiet: bool,
    pub(super) began: Instant,
}

impl Workers<'_> {
    /// Runs the dataflow to its end; whether that came by itself. If not, [`Stop`] knows why.
    pub(super) fn run(&self, first: First) -> bool {
        let layout = self.layout();
        let (alone, local) = (layout.processes() == 1, layout.process * layout.workers);
        let first = Mutex::new(Some(first));
        let stop = Arc::clone(self.stop);
        // What is lost after everybody was told to stop is no news.
        let lost = move |how: &str| {
            if !stop.now() {
                stop.fail(how.to_owned())
            }
        };
        let ran = execute(&layout, &self.greeting(), Arc::new(lost), |worker| {
            let own =
                (worker.index() == 0).then(|| first.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten();
            let told = own.as_ref().and_then(|first| first.told.clone());
            let installed = install(worker, self.pipeline_of_a_worker(own), self.runtime)?;
            if let Some(told) = told.filter(|_| !self.quiet) {
                tell(&format!("{}; took {}\n", self.pipeline.secrets.hide(&told), short(self.began.elapsed())));
            }
            let index = worker.index() - local;
            match installed.run(worker, |monitors| self.look(index, monitors)) {
                // The others must not wait for this process.
                Ended::BrokenOff if !alone => Err(self.stop.failure().unwrap_or_else(|| "it was stopped".to_owned())),
                ended => Ok(ended),
            }
        });
        match ran {
            Ok(ended) => ended.iter().all(|ended| *ended == Ended::Complete),
            Err(error) => {
                if !self.stop.now() {
                    self.stop.fail(error.to_string());
                }
                false
            }
        }
    }

    fn layout(&self) -> Layout {
        let workers = self.pipeline.workers;
        let Some(cluster) = &self.pipeline.cluster else { return Layout { workers, ..Layout::default() } };
        Layout {
            workers,
            process: cluster.process.unwrap_or_default(),
            hosts: cluster.hosts().unwrap_or_default(),
            connect_within: cluster.connect_within,
            silent_after: cluster.silent_after,
        }
    }

    /// What all processes must agree on.
    fn greeting(&self) -> String {
        let mut hasher = DefaultHasher::new();
        let shape = Shape::of(self.pipeline).map(|shape| shape.to_string());
        shape.unwrap_or_default().hash(&mut hasher);
        let checkpoints = if self.pipeline.checkpoint.is_some() { "with" } else { "without" };
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "inflight {version}, {checkpoints} checkpoints, a pipeline with the fingerprint {:016x}",
            hasher.finish()
        )
    }

    fn pipeline_of_a_worker(
        &self,
        first: Option<First>,
    ) -> pipeline::Pipeline<Row, super::lookup::Lookup, inflight::Batched> {
        let is_first = first.is_some();
        let First { sink, partitions, restored, .. } = first.unwrap_or_else(|| First::nothing(Vec::new()));
        let reading = Arc::clone(&self.reading);
        pipeline::Pipeline {
            credits: credits(&self.pipeline.steps),
            source: Box::new(move |waker| Box::new(reading.source(waker, is_first))),
            stages: stages(self.pipeline, self.stop, self.tally),
            sink,
            ordered: are_ordered(&self.pipeline.steps),
            partitions,
            readers: if self.pipeline.is_remembered() { Readers::First } else { Readers::All },
            recovery: self.recovery(restored),
        }
    }

    /// With checkpoints, what is held is kept in them. A source that remembers by itself knows positions and nothing else.
    fn recovery(&self, restored: Option<Restored<Row>>) -> Option<Recovery<Row>> {
        let checkpoint = self.pipeline.checkpoint.as_ref().map(|settings| (settings.every, true));
        let remembered = self.pipeline.source.remembers().map(|every| (every, false));
        let (every, carry) = checkpoint.or(remembered)?;
        Some(Recovery { every, carry, restored })
    }

    fn look(&self, worker: usize, monitors: &[Monitor<Error>]) -> ControlFlow<()> {
        for (operator, monitor) in monitors.iter().enumerate() {
            let place = self.tally.step_of(operator);
            self.tally.sample(worker, place, &monitor.stats());
            if let Some(Stopped::Open(error) | Stopped::Close(error)) = monitor.stopped() {
                self.stop.fail(format!("look-up `{}`: {error}", self.pipeline.steps[place].name));
            }
        }
        if worker == 0 {
            (0..self.pipeline.steps.len()).for_each(|place| self.tally.shared(place).tell_of_outage());
        }
        self.gauges.in_flight.store(self.tally.in_flight(), Ordering::Relaxed);
        if self.stop.now() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
