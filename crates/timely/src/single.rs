//! The pipeline runner of before, on one worker: goes when the program runs on [`pipeline`](crate::pipeline).
//!
//! ```text
//!             +-> step --+            +-> step --+
//!  source ----+-> step --+--> join ---+          +--> join ---> sink
//!             +-> step --+            +-> step --+
//!                 stage                   stage
//! ```
//! The steps of a stage look up the same record at the same time; when all of them are done with it, `join` makes one record of it
//! again, and the next stage begins. If all steps keep the order of the input, so does the join.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::task::Waker;
use std::time::{Duration, Instant};

use inflight::driver::Key;
use inflight::{Completed, Function, Options, Order};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline as SameWorker;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::worker::Worker;
use tokio::runtime::Handle;

use crate::flow::{Produced, sink, source};
use crate::monitor::Monitor;
use crate::operator::{AsyncWait, Waited};

/// How often the pipeline is looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What produces records: up to as many as it is asked for.
pub type Produce<R> = Box<dyn FnMut(u64) -> Produced<R>>;
/// What takes records from the front of a queue, as many as it can now.
pub type Consume<R> = Box<dyn FnMut(&mut VecDeque<R>)>;
/// What makes one record of what the steps of a stage brought, in the order of the steps.
pub type Join<R, O, E> = Box<dyn FnMut(Vec<Completed<R, O, E>>) -> Option<R>>;

/// What is run.
pub struct Pipeline<R, F: Function<R, Shape>, Shape> {
    /// Most records between source and sink.
    pub credits: u64,
    /// Gets a waker that makes the source look again, from any thread.
    pub source: Box<dyn FnOnce(Waker) -> Produce<R>>,
    /// One after the other.
    pub stages: Vec<Stage<R, F, Shape>>,
    /// Gets a waker that makes the sink look again, from any thread.
    pub sink: Box<dyn FnOnce(Waker) -> Consume<R>>,
    /// A number that no other record on its way has.
    pub number: fn(&R) -> u64,
}

/// Steps that do not need each other's results.
pub struct Stage<R, F: Function<R, Shape>, Shape> {
    /// At least one.
    pub steps: Vec<Step<R, F, Shape>>,
    /// Makes one record of their results. `None` leaves the record out for good: its credit is gone too, so it is for stopping.
    pub join: Join<R, F::Output, F::Error>,
}

/// One look-up for each record.
pub struct Step<R, F: Function<R, Shape>, Shape> {
    /// What is called.
    pub function: F,
    /// In which order records leave the step.
    pub order: Order,
    /// The key, for the keyed orders.
    pub key: Option<Key<R>>,
    /// How it is called.
    pub options: Options<R, F::Output, F::Error>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The source ended, and the sink has taken everything.
    Complete,
    /// `watch` broke it off.
    BrokenOff,
}

/// Runs a pipeline on this thread. `watch` looks at the operators, in the order of the steps, whenever something has happened, and a few
/// times a second when nothing has; it can break the run off, and then calls on the wire are dropped where they stand.
///
/// # Panics
/// If [`Options::check`] refuses the options of a step, or a stage has no step.
pub fn run<R, F, Shape>(
    pipeline: Pipeline<R, F, Shape>,
    runtime: &Handle,
    mut watch: impl FnMut(&[Monitor<F::Error>]) -> ControlFlow<()>,
) -> Ended
where
    R: Clone + Send + 'static,
    F: Function<R, Shape>,
    Shape: 'static,
{
    let Pipeline { credits, source: start_source, stages, sink: start_sink, number } = pipeline;
    let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), Some(Instant::now()));
    let index = worker.next_dataflow_index();
    let monitors = worker.dataflow::<u64, _, _>(|scope| {
        let (mut records, returned) = source(scope, credits, start_source);
        let mut monitors = Vec::new();
        for stage in stages {
            let (joined, looks) = add_stage(records, stage, runtime, number);
            records = joined;
            monitors.extend(looks);
        }
        sink(records, returned, |_| 0, start_sink);
        monitors
    });
    while worker.has_dataflows() {
        if watch(&monitors).is_break() {
            worker.drop_dataflow(index);
            return Ended::BrokenOff;
        }
        worker.step_or_park(Some(LOOK_EVERY));
    }
    // Once more: the last counters.
    let _ = watch(&monitors);
    Ended::Complete
}

fn add_stage<'s, R, F, Shape>(
    records: StreamVec<'s, u64, R>,
    stage: Stage<R, F, Shape>,
    runtime: &Handle,
    number: fn(&R) -> u64,
) -> (StreamVec<'s, u64, R>, Vec<Monitor<F::Error>>)
where
    R: Clone + Send + 'static,
    F: Function<R, Shape>,
    Shape: 'static,
{
    assert!(!stage.steps.is_empty(), "a stage without steps");
    let steps = stage.steps.len();
    let mut parts = Vec::with_capacity(steps);
    let mut monitors = Vec::with_capacity(steps);
    for (place, step) in stage.steps.into_iter().enumerate() {
        let Waited { results, monitor } =
            records.clone().wait(runtime, step.order, step.key, step.function, step.options);
        parts.push(results.map(move |completed| (place, completed)));
        monitors.push(monitor);
    }
    let scope = records.scope();
    (join(scope.concatenate(parts), steps, number, stage.join), monitors)
}

/// Holds the parts of a record until the last has come. That one's capability is good for the whole: all parts have the same time.
fn join<'s, R: 'static, O: 'static, E: 'static>(
    parts: StreamVec<'s, u64, (usize, Completed<R, O, E>)>,
    steps: usize,
    number: fn(&R) -> u64,
    mut join: Join<R, O, E>,
) -> StreamVec<'s, u64, R> {
    parts.unary::<CapacityContainerBuilder<Vec<R>>, _, _, _>(SameWorker, "Join", move |_, _| {
        let mut waiting: HashMap<u64, Parts<R, O, E>> = HashMap::new();
        move |input, output| {
            input.for_each(|capability, batch| {
                let mut session = output.session(&capability);
                for (place, completed) in batch.drain(..) {
                    let record = number(&completed.input);
                    let parts = waiting.entry(record).or_insert_with(|| Parts::new(steps));
                    if parts.add(place, completed)
                        && let Some(parts) = waiting.remove(&record)
                        && let Some(whole) = join(parts.places.into_iter().flatten().collect())
                    {
                        session.give(whole);
                    }
                }
            });
        }
    })
}

/// What has come of a record, by the place of the step.
struct Parts<R, O, E> {
    places: Vec<Option<Completed<R, O, E>>>,
    missing: usize,
}

impl<R, O, E> Parts<R, O, E> {
    fn new(steps: usize) -> Self {
        Self { places: std::iter::repeat_with(|| None).take(steps).collect(), missing: steps }
    }

    /// Whether it was the last.
    fn add(&mut self, place: usize, completed: Completed<R, O, E>) -> bool {
        self.missing -= 1;
        self.places[place] = Some(completed);
        self.missing == 0
    }
}

impl<R, F: Function<R, Shape>, Shape> fmt::Debug for Pipeline<R, F, Shape> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("stages", &self.stages.len()).finish_non_exhaustive()
    }
}
