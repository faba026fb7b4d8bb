//! The far end, on worker 0: hands records to the sink, and conducts the epochs.
//!
//! ```text
//!            all is there              all are taken               it is durable, `every` has passed
//!   Running ---------------> Closing ----------------> Completing ------------------------------------> Running
//!      the frontier has passed       Sink::checkpoint                 Sink::completed; Epoch to all sources
//! ```
//! There is never more than one checkpoint in the making. When the sources have ended, the last epoch closes by itself.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use super::epochs::Later;
use super::frontier::earliest;
use super::resequence::Resequencer;
use super::source::{Told, Word};
use super::state::{Carried, State};
use super::{Cut, Id, Partition, Position, Row, Sink, StartSink, Storable, origin};
use crate::back::{Back, To};
use crate::flow::grants;
use crate::wake::Turns;

/// What is told at the end of an epoch, and is to be stored.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Note<R, O, E> {
    Position(Position),
    Recorded(Id),
    Carried(Carried<R, O, E>),
}

impl<R, O, E> From<Told> for Note<R, O, E> {
    fn from(told: Told) -> Self {
        match told {
            Told::Position(position) => Self::Position(position),
            Told::Recorded(id) => Self::Recorded(id),
        }
    }
}

/// How the far end begins.
pub(super) struct Beginning<R, O, E> {
    pub(super) epoch: u64,
    pub(super) partitions: Vec<Partition>,
    pub(super) state: State<R, O, E>,
    /// For the sink, before everything else.
    pub(super) recorded: Vec<R>,
}

/// Adds the far end. `conductor` is there on worker 0, and nowhere else.
pub(super) fn deliver<'s, R: Row, O: Storable, E: Storable>(
    records: StreamVec<'s, u64, R>,
    notes: StreamVec<'s, u64, Note<R, O, E>>,
    back: Back<'s, u64, Word>,
    runtime: &Handle,
    conductor: Option<Conductor<R, O, E>>,
) {
    let scope = records.scope();
    let mut builder = OperatorBuilder::new("Deliver".into(), scope);
    let mut records = builder.new_input(records, Exchange::new(|_: &R| 0));
    let mut notes = builder.new_input(notes, Exchange::new(|_: &Note<R, O, E>| 0));
    let (output, words) = builder.new_output_connection::<Vec<To<Word>>, _>([]);
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<To<Word>>>>::from(output);
    let (turns, waker) = Turns::new(scope.worker(), builder.operator_info().address);
    let mut conductor = conductor.map(|conductor| conductor.start(waker.clone()));
    let runtime = runtime.clone();

    builder.build(move |mut capabilities| {
        // Keeps the dataflow going while anything waits here, and the way back open.
        let mut capability = capabilities.pop();
        let nothing = CapabilitySet::<u64>::new();
        move |frontiers| {
            turns.take(|| {
                let next = earliest(frontiers);
                let Some(conducting) = &mut conductor else {
                    capability = capability.take().filter(|_| next.is_some());
                    return;
                };
                records.for_each(|capability, batch| {
                    if let Some(epoch) = capability.least() {
                        conducting.records.hold(*epoch, std::mem::take(batch));
                    }
                });
                notes.for_each(|capability, batch| {
                    if let Some(epoch) = capability.least() {
                        conducting.notes.hold(*epoch, std::mem::take(batch));
                    }
                });
                let _context = runtime.enter();
                conducting.turn(next, &mut Context::from_waker(&waker));
                if !conducting.words.is_empty() {
                    output.activate().session(&nothing).give_iterator(conducting.words.drain(..));
                }
                if conducting.is_over() {
                    capability = None;
                }
            });
        }
    });
    back.close(words);
}

/// What worker 0 has to begin with.
pub(super) struct Conductor<R, O, E> {
    pub(super) peers: u64,
    /// Workers that read, from the first on.
    pub(super) readers: u64,
    pub(super) sink: StartSink<R>,
    pub(super) ordered: bool,
    /// Between the beginnings of two epochs, at least; `None` makes no checkpoints.
    pub(super) every: Option<Duration>,
    pub(super) beginning: Beginning<R, O, E>,
}

impl<R: Row, O: Storable, E: Storable> Conductor<R, O, E> {
    fn start(self, waker: Waker) -> Conducting<R, O, E> {
        let Self { peers, readers, sink, ordered, every, beginning } = self;
        let words = (0..peers).map(|worker| (worker, beginning.start(worker, readers))).collect();
        let Beginning { epoch, partitions, state, recorded } = beginning;
        let mut conducting = Conducting {
            peers,
            readers,
            sink: sink(waker),
            every,
            epoch,
            phase: Phase::Running,
            opens: None,
            records: Later::new(),
            notes: Later::new(),
            positions: partitions.into_iter().filter_map(|at| Some((at.index, at.position?))).collect(),
            line: ordered.then(|| Resequencer::new(state.next)),
            ready: VecDeque::new(),
            origins: VecDeque::new(),
            words,
        };
        let whole = state.carried.into_iter().filter_map(|carried| match carried {
            Carried::Whole(record) => Some(record),
            _ => None,
        });
        // They cost no credits in this run.
        conducting.arrive(recorded.into_iter(), |_| None);
        conducting.arrive(whole, |record| Some(origin(record.id().partition, readers)));
        conducting
    }
}

impl<R: Row, O, E> Beginning<R, O, E> {
    /// What the source of a worker is told at the start.
    fn start(&self, worker: u64, readers: u64) -> Word {
        let its_own = |partition: u32| origin(partition, readers) == worker;
        let outstanding = self.state.outstanding().into_iter().filter(|(partition, _)| its_own(*partition));
        let recorded = self.state.recorded.iter().copied().filter(|id| its_own(id.partition));
        Word::Start {
            epoch: self.epoch,
            partitions: self.partitions.iter().filter(|partition| its_own(partition.index)).cloned().collect(),
            outstanding: outstanding.map(|(_, count)| count).sum(),
            recorded: recorded.collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The epoch is open.
    Running,
    /// A checkpoint of the epoch before is being made.
    Completing(u64),
    /// The next epoch has been called for.
    Called,
    Over,
}

struct Conducting<R, O, E> {
    peers: u64,
    readers: u64,
    sink: Box<dyn Sink<R>>,
    every: Option<Duration>,
    /// The one that is open.
    epoch: u64,
    phase: Phase,
    /// When the next may be called for.
    opens: Option<Pin<Box<Sleep>>>,
    records: Later<Vec<R>>,
    notes: Later<Vec<Note<R, O, E>>>,
    positions: BTreeMap<u32, String>,
    line: Option<Resequencer<R>>,
    /// For the sink, and which worker each has a credit of.
    ready: VecDeque<R>,
    origins: VecDeque<Option<u64>>,
    /// For the sources.
    words: Vec<To<Word>>,
}

impl<R: Row, O: Storable, E: Storable> Conducting<R, O, E> {
    fn turn(&mut self, frontier: Option<u64>, cx: &mut Context<'_>) {
        loop {
            // What has come of an epoch to be opened belongs to the run, even if nothing more can come: a source may have turned and
            // ended at once.
            let next =
                [frontier, self.records.after(self.epoch), self.notes.after(self.epoch)].into_iter().flatten().min();
            let batches: Vec<Vec<R>> = self.records.take(self.epoch).collect();
            let readers = self.readers;
            self.arrive(batches.into_iter().flatten(), |record| Some(origin(record.id().partition, readers)));
            self.hand_over();
            let closed = next.is_none_or(|next| next > self.epoch);
            let phase = self.phase;
            match phase {
                Phase::Completing(epoch) if self.sink.completed() >= Some(epoch) => self.phase = Phase::Running,
                // The call is answered, or the sources have ended.
                Phase::Running | Phase::Called if closed && self.ready.is_empty() => self.close(next),
                Phase::Running if !closed && self.is_time(cx) => self.call_next(),
                _ => return,
            }
        }
    }

    /// Records of the epoch that is open.
    fn arrive(&mut self, records: impl Iterator<Item = R>, origin: impl Fn(&R) -> Option<u64>) {
        let before = self.ready.len();
        match &mut self.line {
            Some(line) => records.for_each(|record| line.push(record, &mut self.ready)),
            None => self.ready.extend(records),
        }
        self.origins.extend(self.ready.range(before..).map(origin));
    }

    fn hand_over(&mut self) {
        self.sink.take(&mut self.ready);
        let done = self.origins.len() - self.ready.len();
        let grants = grants(self.origins.drain(..done).flatten());
        self.words.extend(grants.into_iter().map(|(worker, count)| (worker, Word::Credits(count))));
    }

    /// The epoch has closed, and the sink has all of it.
    fn close(&mut self, next: Option<u64>) {
        let mut state: State<R, O, E> = State::empty();
        let notes: Vec<Vec<Note<R, O, E>>> = self.notes.take(self.epoch).collect();
        for note in notes.into_iter().flatten() {
            match note {
                Note::Position(Position { partition, at }) => drop(self.positions.insert(partition, at)),
                Note::Recorded(id) => state.recorded.push(id),
                Note::Carried(carried) => state.carried.push(carried),
            }
        }
        if self.every.is_none() {
            self.phase = if next.is_none() { Phase::Over } else { Phase::Running };
            self.epoch = next.unwrap_or(self.epoch);
            return;
        }
        if let Some(line) = &self.line {
            state.next = line.next();
            state.carried.extend(line.waiting().cloned().map(Carried::Whole));
        }
        let positions = self.positions.iter().map(|(&partition, at)| Position { partition, at: at.clone() });
        self.sink.checkpoint(Cut {
            epoch: self.epoch,
            positions: positions.collect(),
            carried: state.ids().len() as u64,
            encode: Box::new(move || state.encode()),
            last: next.is_none(),
        });
        self.phase = next.map_or(Phase::Over, |_| Phase::Completing(self.epoch));
        self.epoch = next.unwrap_or(self.epoch);
    }

    fn is_time(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(every) = self.every else { return false };
        let opens = self.opens.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        opens.as_mut().poll(cx).is_ready()
    }

    fn call_next(&mut self) {
        let (next, every) = (self.epoch + 1, self.every.unwrap_or_default());
        self.words.extend((0..self.peers).map(|worker| (worker, Word::Epoch(next))));
        self.opens.iter_mut().for_each(|opens| opens.as_mut().reset(Instant::now() + every));
        self.phase = Phase::Called;
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.words.is_empty()
    }
}
