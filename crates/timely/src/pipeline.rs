//! A whole enrichment pipeline over any number of workers: sources, stages of look-ups, a sink; and checkpoints, so that a run that was
//! killed goes on where the last one left it.
//!
//! ```text
//!             +-------------------- credits; "the next epoch begins" --------------------+
//!             v                                                                          |
//!  worker 0   source --+     +-> step --+            +-> step --+                        |
//!                      |-----+-> step --+--> join ---+          +--> join ---+---> sink (worker 0)
//!  worker 1   source --+     +-> step --+            +-> step --+            |
//!                             on each worker           on each worker
//! ```
//! The steps of a stage look up the same record at the same time; when all of them are done with it, `join` makes one record of it
//! again, and the next stage begins. Records are dealt to all workers; steps with a key have each key on one worker.
//!
//! # Order
//!
//! If [`Pipeline::ordered`], the sink gets the records of each partition in the order they were read, whatever worker they were on.
//! Otherwise it gets them as they come: in the order of each key, if the last stage has one step, and that has a keyed order. Behind a stage
//! of several steps the records of a key may have been on several workers, and then have no order among them.
//!
//! # Epochs
//!
//! Timely's time is the epoch. Worker 0 calls for the next one, at most one in [`Recovery::every`], and not before the checkpoint of the
//! one before is complete. All sources then tell where they stand, and stamp what they read from there on with the new epoch. When
//! nothing more of the old one can come in, each operator notes what it still holds of it and carries that into the new one: an epoch
//! waits for no call and no slot. When the sink has all records of the epoch, [`Sink::checkpoint`] gets what is to be stored.
//!
//! A run that begins with [`Restored`] sends what was noted to whichever worker it belongs to now. Calls that were on the wire are made
//! again; results that only waited for their turn are kept; attempts and what was left of a deadline are kept too.
//!
//! Without [`Recovery::carry`] nothing is noted: each record keeps its epoch open until the sink has it, and records of the next epoch
//! are looked up meanwhile, but held back behind it. So the positions of an epoch are those of a prefix that is complete, which is all
//! that a source can be told which remembers positions and nothing else, such as a consumer group. The price: what hangs holds up all
//! positions, until its deadline.
//!
//! # Exactly once
//!
//! Records the sink got before a checkpoint lie before it, all others are delivered again after a restart. So the effect of each is
//! there exactly once, if the sink makes what it got durable with the checkpoint, and forgets what came after it when it starts again.

mod deliver;
mod epochs;
mod frontier;
mod join;
mod resequence;
mod restore;
mod source;
mod state;
mod wait;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use inflight::driver::{Key, Setup};
use inflight::{Completed, Function, Options, Order};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::vec::Map;
use timely::worker::Worker;
use tokio::runtime::Handle;

use self::deliver::{Beginning, Conductor, Note, deliver};
use self::join::{Part, join};
use self::restore::{Restored as RestoredStreams, restore};
use self::source::source;
use self::state::{Carried, State};
use self::wait::wait;
use crate::back::back;
pub use crate::flow::Produced;
use crate::monitor::Monitor;

/// How often the pipeline is looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Records of one partition that go to the same worker in a row: enough to share calls.
const DEALT_TOGETHER: u64 = 64;

/// What may go over to another process, and into a checkpoint.
pub trait Storable: ExchangeData + Clone + Serialize + DeserializeOwned {}
impl<T: ExchangeData + Clone + Serialize + DeserializeOwned> Storable for T {}

/// A record of a pipeline.
pub trait Row: Storable {
    /// Which record it is, whatever becomes of it.
    fn id(&self) -> Id;
}

/// Which record: no other has the same, in this run or in one that goes on from its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// The [index](Partition::index) of the partition it was read from.
    pub partition: u32,
    /// Its place there, from 1 on without a gap.
    pub number: u64,
}

/// A part of the source that one worker reads from front to back: a file, say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its place among the partitions. It must be the same in a run that goes on from a checkpoint.
    pub index: u32,
    /// What the source knows it by.
    pub name: String,
    /// Where to go on; `None` from the start. The text is the [source's own](Source::positions).
    pub position: Option<String>,
}

/// Where a partition stood at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The index of the partition.
    pub partition: u32,
    /// The text of the source's own.
    pub at: String,
}

/// What a worker reads from.
pub trait Source<R> {
    /// It reads this partition too, from its position.
    fn assign(&mut self, partition: Partition);

    /// Up to so many records; asked only with at least one credit, and again at once if records came. Partitions are assigned before.
    fn produce(&mut self, most: u64) -> Produced<R>;

    /// Where its partitions stand: exactly after the last record produced.
    fn positions(&mut self) -> Vec<Position>;
}

/// Where records go, on worker 0.
pub trait Sink<R> {
    /// Takes records from the front, as many as it can now.
    fn take(&mut self, records: &mut VecDeque<R>);

    /// All records of an epoch have been taken, and none of a later one: makes a checkpoint, here or in a thread of its own. It is asked
    /// for one only when the one before is [complete](Self::completed).
    fn checkpoint(&mut self, cut: Cut);

    /// The last epoch whose checkpoint is complete; wake the waker when it changes.
    fn completed(&mut self) -> Option<u64>;
}

/// What a checkpoint has to hold, so that a run can go on from the end of an epoch.
pub struct Cut {
    /// The epoch that has ended.
    pub epoch: u64,
    /// Where the partitions stood, by index.
    pub positions: Vec<Position>,
    /// How many records were on their way.
    pub carried: u64,
    /// They, as bytes for [`Restored::carried`]. It takes its time when there are many, so do it where that does not matter.
    pub encode: Box<dyn FnOnce() -> Result<Vec<u8>, String> + Send>,
    /// The sources have ended, and this is all.
    pub last: bool,
}

/// Makes the source of a worker. It gets a waker that makes the worker look again, from any thread.
pub type StartSource<R> = Box<dyn FnOnce(Waker) -> Box<dyn Source<R>>>;
/// Makes the sink. It gets a waker that makes the worker look again, from any thread.
pub type StartSink<R> = Box<dyn FnOnce(Waker) -> Box<dyn Sink<R>>>;
/// What makes one record of what the steps of a stage brought, in the order of the steps.
pub type Join<R, O, E> = Box<dyn FnMut(Vec<Completed<R, O, E>>) -> Option<R>>;

/// What one worker runs. All workers have the same stages.
pub struct Pipeline<R, F: Function<R, Shape>, Shape> {
    /// Most records of this worker's source on their way.
    pub credits: u64,
    /// On each worker.
    pub source: StartSource<R>,
    /// One after the other.
    pub stages: Vec<Stage<R, F, Shape>>,
    /// Called on worker 0 only.
    pub sink: StartSink<R>,
    /// Whether the sink gets the records of a partition in their order.
    pub ordered: bool,
    /// Of the whole source, with their positions; counts on worker 0 only. A source may produce records of others besides.
    pub partitions: Vec<Partition>,
    /// Who reads them; the same on all workers.
    pub readers: Readers,
    /// How it makes checkpoints; `None`: not at all. The same on all workers but for `restored`, which counts on worker 0 only.
    pub recovery: Option<Recovery<R>>,
}

/// On which workers the source is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readers {
    /// On all, each with its share of the partitions.
    #[default]
    All,
    /// On worker 0, whatever partition it produces records of. The sources of the others have to end at once.
    First,
}

/// How a pipeline makes checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery<R> {
    /// Between the beginnings of two epochs, at least.
    pub every: Duration,
    /// Whether what is held at the end of an epoch is noted and moved into the next one. Otherwise an epoch ends when the sink has all of
    /// its records, and [`Cut::carried`] is 0: its positions alone say what is done.
    pub carry: bool,
    /// What a checkpoint held, to go on from there.
    pub restored: Option<Restored<R>>,
}

/// What a checkpoint held, besides the positions of the partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored<R> {
    /// [`Cut::epoch`].
    pub epoch: u64,
    /// What [`Cut::encode`] gave. Empty: nothing was on its way, as before the first epoch, which is 0.
    pub carried: Vec<u8>,
    /// The stages have changed: records that were on their way begin with the first stage again, in the form they had.
    pub from_the_first_stage: bool,
    /// What to ask for again in each step, counted through all stages: what has ended the run before must not end it again. Those
    /// records have all of their time, too.
    pub again: BTreeMap<u32, Again>,
    /// What the sink got after the checkpoint, as far as somebody has recorded it: it gets that first and again as it was, and no look-up
    /// is made for it. Otherwise empty.
    pub recorded: Vec<R>,
}

/// Which results are not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Failures.
    Failed,
    /// All: some answers, too, are reasons to end a run.
    All,
}

/// Steps that do not need each other's results.
pub struct Stage<R, F: Function<R, Shape>, Shape> {
    /// At least one.
    pub steps: Vec<Step<R, F, Shape>>,
    /// Makes one record of their results. `None` leaves the record out for good, and its epoch open: it is for stopping.
    pub join: Join<R, F::Output, F::Error>,
}

/// One look-up for each record.
pub struct Step<R, F: Function<R, Shape>, Shape> {
    /// What is called.
    pub function: F,
    /// In which order records leave the step.
    pub order: Order,
    /// The key, for the keyed orders, and for functions that want a key on one worker. It must be the same on all workers.
    pub key: Option<Key<R>>,
    /// How it is called.
    pub options: Options<R, F::Output, F::Error>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sources ended, and the sink has taken everything.
    Complete,
    /// `watch` broke it off.
    BrokenOff,
}

/// A pipeline in a worker.
#[derive(Debug)]
pub struct Installed<E> {
    dataflow: usize,
    /// A look at each step's operator on this worker.
    pub monitors: Vec<Monitor<E>>,
}

/// Adds a pipeline to a worker. All workers must do it, in the same order as other dataflows.
///
/// # Errors
/// When what was carried cannot be read: it was stored by other types.
///
/// # Panics
/// If [`Options::check`] refuses the options of a step, or a stage has no step.
pub fn install<R, F, Shape>(
    worker: &mut Worker,
    pipeline: Pipeline<R, F, Shape>,
    runtime: &Handle,
) -> Result<Installed<F::Error>, String>
where
    R: Row,
    F: Function<R, Shape, Output: Storable, Error: Storable>,
    Shape: 'static,
{
    let Pipeline { credits, source: start_source, stages, sink, ordered, partitions, readers, recovery } = pipeline;
    let (index, peers) = (worker.index(), worker.peers() as u64);
    let (epochs, carry) = (recovery.is_some(), recovery.as_ref().is_some_and(|recovery| recovery.carry));
    let every = recovery.as_ref().map(|recovery| recovery.every);
    let restored = recovery.and_then(|recovery| recovery.restored).filter(|_| index == 0);
    let mut beginning = Beginning { epoch: u64::from(epochs), partitions, state: State::empty(), recorded: Vec::new() };
    if let Some(restored) = restored {
        beginning.epoch = restored.epoch + 1;
        beginning.state = State::decode(&restored.carried)?;
        beginning.state.forget(&restored.recorded);
        beginning.recorded = restored.recorded;
        let firsts: Vec<u32> = stages
            .iter()
            .scan(0, |next, stage| Some(std::mem::replace(next, *next + stage.steps.len() as u32)))
            .collect();
        beginning.state.ask_again(&restored.again, &firsts);
        if restored.from_the_first_stage {
            let steps = stages.first().map_or(0, |stage| stage.steps.len());
            beginning.state.begin_again(steps as u32);
        }
    }
    if !carry && !beginning.state.carried.is_empty() {
        return Err(
            "records were in flight at the checkpoint, and without `carry` they have no place to go on".to_owned()
        );
    }
    let carried = beginning.state.carried.iter().filter(|carried| carried.is_in_stages()).cloned().collect();

    let dataflow = worker.next_dataflow_index();
    let monitors = worker.dataflow::<u64, _, _>(|scope| {
        let (back, words) = back("Control", scope);
        let restored = restore(scope, beginning.epoch, carried);
        let (records, told) = source(scope, words, credits, epochs, start_source);
        let mut growing = Growing {
            records,
            notes: vec![told.map(Note::from)],
            monitors: Vec::new(),
            restored,
            carry,
            runtime: runtime.clone(),
        };
        for (number, stage) in (0..).zip(stages) {
            growing.add(number, stage);
        }
        let notes = scope.concatenate(growing.notes);
        let conductor =
            (index == 0).then(|| Conductor { peers, readers: readers.count(peers), sink, ordered, every, beginning });
        deliver(growing.records, notes, back, runtime, conductor);
        growing.monitors
    });
    Ok(Installed { dataflow, monitors })
}

impl<E> Installed<E> {
    /// Runs the pipeline to its end. `watch` looks at the operators whenever something has happened, and a few times a second when
    /// nothing has; it can break the run off, and then calls on the wire are dropped where they stand. Other workers are not told.
    pub fn run(self, worker: &mut Worker, mut watch: impl FnMut(&[Monitor<E>]) -> ControlFlow<()>) -> Ended {
        while worker.installed_dataflows().contains(&self.dataflow) {
            if watch(&self.monitors).is_break() {
                worker.drop_dataflow(self.dataflow);
                return Ended::BrokenOff;
            }
            worker.step_or_park(Some(LOOK_EVERY));
        }
        // Once more: the last counters.
        let _ = watch(&self.monitors);
        Ended::Complete
    }
}

impl Readers {
    fn count(self, peers: u64) -> u64 {
        match self {
            Self::All => peers,
            Self::First => 1,
        }
    }
}

/// The worker whose source reads a partition.
fn origin(partition: u32, readers: u64) -> u64 {
    u64::from(partition) % readers
}

/// Where a record is looked up that has no key.
fn deal(id: Id) -> u64 {
    u64::from(id.partition) + id.number / DEALT_TOGETHER
}

/// A dataflow that gets one stage after the other.
struct Growing<'s, R: Row, O: Storable, E: Storable> {
    records: StreamVec<'s, u64, R>,
    notes: Vec<StreamVec<'s, u64, Note<R, O, E>>>,
    /// Of the steps so far.
    monitors: Vec<Monitor<E>>,
    restored: RestoredStreams<'s, R, O, E>,
    carry: bool,
    runtime: Handle,
}

impl<'s, R: Row, O: Storable, E: Storable> Growing<'s, R, O, E> {
    fn add<F, Shape>(&mut self, number: u32, stage: Stage<R, F, Shape>)
    where
        F: Function<R, Shape, Output = O, Error = E>,
        Shape: 'static,
    {
        assert!(!stage.steps.is_empty(), "a stage without steps");
        let steps = stage.steps.len();
        let parts: Vec<_> = (0..).zip(stage.steps).map(|(place, step)| self.step(place, step)).collect();
        let parts = self.records.scope().concatenate(parts);
        let (records, held) = join(parts, self.restored.join(number), steps, self.carry, stage.join);
        self.records = records;
        self.notes.push(held.map(move |part| Note::Carried(Carried::Part(number, part))));
    }

    fn step<F, Shape>(&mut self, place: u32, step: Step<R, F, Shape>) -> StreamVec<'s, u64, Part<R, O, E>>
    where
        F: Function<R, Shape, Output = O, Error = E>,
        Shape: 'static,
    {
        let Step { function, order, key, options } = step;
        let number = self.monitors.len() as u32;
        let key = key.map(Arc::from);
        let setup = match Setup::new(order, key.clone().map(boxed), None, options) {
            Ok(setup) => setup,
            Err(error) => panic!("the options of a step: {error}"),
        };
        let route = move |record: &R| key.as_ref().map_or_else(|| deal(record.id()), |key| key(record));
        let (records, restored) = (self.records.clone(), self.restored.step(number));
        let waited = wait(records, restored, route, self.carry, &self.runtime, function, setup);
        self.monitors.push(waited.monitor);
        self.notes.push(waited.held.map(move |held| Note::Carried(Carried::Step(number, held))));
        waited.results.map(move |done| Part { place, done })
    }
}

fn boxed<R: 'static>(key: Arc<dyn Fn(&R) -> u64 + Send + Sync>) -> Key<R> {
    Box::new(move |record| key(record))
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, positions, carried, last, .. } = self;
        f.debug_struct("Cut")
            .field("epoch", epoch)
            .field("positions", positions)
            .field("carried", carried)
            .field("last", last)
            .finish_non_exhaustive()
    }
}

impl<R, F: Function<R, Shape>, Shape> fmt::Debug for Pipeline<R, F, Shape> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("stages", &self.stages.len()).finish_non_exhaustive()
    }
}
