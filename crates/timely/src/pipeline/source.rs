//! The source of each worker: it reads the partitions it is given, spends a credit for each record, and turns epochs when it is told.

use std::collections::BTreeSet;
use std::task::Waker;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

use super::{Id, Partition, Position, Produced, Row, Source, StartSource};
use crate::back::To;
use crate::wake::Turns;

/// What the coordinator says to a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Word {
    /// Begin, in this epoch, with these partitions; `outstanding` of their records are on their way already, and those that are
    /// recorded are not to be sent at all.
    Start { epoch: u64, partitions: Vec<Partition>, outstanding: u64, recorded: Vec<Id> },
    /// So many records have arrived.
    Credits(u64),
    /// The next epoch begins.
    Epoch(u64),
}

/// What a source says at the end of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Position(Position),
    /// It is not to be sent, and has not been read yet.
    Recorded(Id),
}

/// Adds the source: its records, and where its partitions stood at the end of each epoch.
///
/// With `epochs`, it goes on turning them until all its records have arrived, so that there are checkpoints until the end.
pub(super) fn source<'s, R: Row>(
    scope: Scope<'s, u64>,
    words: StreamVec<'s, u64, To<Word>>,
    credits: u64,
    epochs: bool,
    start: StartSource<R>,
) -> (StreamVec<'s, u64, R>, StreamVec<'s, u64, Told>) {
    let mut builder = OperatorBuilder::new("Source".into(), scope);
    let mut words = builder.new_input_connection(words, Pipeline, []);
    let (output, records) = builder.new_output_connection::<Vec<R>, _>([]);
    let (notes, told) = builder.new_output_connection::<Vec<Told>, _>([]);
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<R>>>::from(output);
    let mut notes = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Told>>>::from(notes);
    let (turns, waker) = Turns::new(scope.worker(), builder.operator_info().address);
    let mut reading = Reading::new(credits, epochs, start, waker);

    builder.build(move |mut capabilities| {
        let notes_capability = capabilities.pop();
        let mut open = capabilities.pop().zip(notes_capability).map(|(records, notes)| Open { records, notes });
        move |_| {
            turns.take(|| {
                words.for_each(|_, words| {
                    for (_, word) in words.drain(..) {
                        if let (Word::Epoch(_), Some(open)) = (&word, &open) {
                            notes.activate().session(&open.notes).give_container(&mut reading.tell());
                        }
                        reading.hear(word, &mut open);
                    }
                });
                let Some(held) = &open else { return };
                if let Some(mut records) = reading.produce() {
                    output.activate().session(&held.records).give_container(&mut records);
                    turns.again();
                }
                if reading.is_over() {
                    notes.activate().session(&held.notes).give_container(&mut reading.tell());
                    open = None;
                }
            });
        }
    });
    (records, told)
}

/// The epoch that is open.
struct Open {
    records: Capability<u64>,
    notes: Capability<u64>,
}

struct Reading<R> {
    source: Box<dyn Source<R>>,
    /// At the beginning.
    all: i64,
    /// Below zero: more records than that were carried into this run.
    credits: i64,
    recorded: BTreeSet<Id>,
    epochs: bool,
    started: bool,
    ended: bool,
}

impl<R: Row> Reading<R> {
    fn new(credits: u64, epochs: bool, start: StartSource<R>, waker: Waker) -> Self {
        assert!(credits > 0, "a source without credits never produces anything");
        let all = i64::try_from(credits).unwrap_or(i64::MAX);
        let recorded = BTreeSet::new();
        Self { source: start(waker), all, credits: all, recorded, epochs, started: false, ended: false }
    }

    fn hear(&mut self, word: Word, open: &mut Option<Open>) {
        match word {
            Word::Credits(count) => self.credits += signed(count),
            Word::Start { epoch, partitions, outstanding, recorded } => {
                self.recorded.extend(recorded);
                self.credits -= signed(outstanding);
                partitions.into_iter().for_each(|partition| self.source.assign(partition));
                self.started = true;
                turn(open, epoch);
            }
            Word::Epoch(epoch) => turn(open, epoch),
        }
    }

    fn tell(&mut self) -> Vec<Told> {
        let positions = self.source.positions().into_iter().map(Told::Position);
        positions.chain(self.recorded.iter().copied().map(Told::Recorded)).collect()
    }

    fn produce(&mut self) -> Option<Vec<R>> {
        let most = u64::try_from(self.credits).ok().filter(|credits| *credits > 0 && self.started && !self.ended)?;
        match self.source.produce(most) {
            Produced::Records(mut records) => {
                let spent = records.len() as u64;
                assert!(spent <= most, "a source with {most} credits produced {spent} records");
                if !self.recorded.is_empty() {
                    records.retain(|record| !self.recorded.remove(&record.id()));
                }
                self.credits -= signed(records.len() as u64);
                Some(records)
            }
            Produced::Nothing => None,
            Produced::End => {
                self.ended = true;
                None
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ended && (!self.epochs || self.credits == self.all)
    }
}

fn turn(open: &mut Option<Open>, epoch: u64) {
    if let Some(open) = open {
        open.records.downgrade(&epoch);
        open.notes.downgrade(&epoch);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
