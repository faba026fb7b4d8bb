//! Sources and sinks that keep a dataflow's memory bounded: credits.
//!
//! ```text
//!             +--------------------------- credits ---------------------------+
//!             v                                                               |
//!   source (holds credits, stops without) --> async operators, exchanges --> sink
//! ```
//! A source starts with a number of credits, spends one per record, and stops when it has none; the sink gives one back for each
//! record it has dealt with, to the worker the record came from. So at most that many records are anywhere in between, whatever
//! timely's queues could hold. What lies in between may change and exchange records, but must let each reach the sink exactly once: a
//! record that is filtered out keeps its credit for ever.
use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Timestamp;

use crate::back::{Back, To, back};
use crate::wake::Turns;

/// Credits for one worker: who, and how many.
type Grant = To<u64>;

/// The way back of credits, from a [`sink`] to its [`source`]. Timely does not build a dataflow without it: it has to reach the sink.
#[must_use = "credits have to come back: give it to the sink"]
pub struct Credits<'s, T: Timestamp> {
    back: Back<'s, T, u64>,
}

/// What a source has to give.
#[derive(Debug)]
pub enum Produced<D> {
    /// Records, at most as many as were asked for. The source is asked again at once, if it has credits left.
    Records(Vec<D>),
    /// Nothing now; the waker will be called when there is.
    Nothing,
    /// Nothing any more.
    End,
}

/// A source that never has more than `credits` records of this worker on their way to the sink. All have the least time there is.
///
/// `start` gets a waker that makes the source look again, from any thread, and returns what produces up to so many records.
///
/// # Panics
/// If `credits` is zero, or more records are produced than were asked for.
pub fn source<'s, T, D, Produce>(
    scope: Scope<'s, T>,
    credits: u64,
    start: impl FnOnce(Waker) -> Produce,
) -> (StreamVec<'s, T, D>, Credits<'s, T>)
where
    T: Timestamp,
    D: 'static,
    Produce: FnMut(u64) -> Produced<D> + 'static,
{
    assert!(credits > 0, "a source without credits never produces anything");
    let (back, returned) = back("Credits", scope);
    let mut builder = OperatorBuilder::new("Source".into(), scope);
    let mut returned = builder.new_input_connection(returned, Pipeline, []);
    let (output, records) = builder.new_output_connection::<Vec<D>, _>([]);
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<D>>>::from(output);
    let (turns, waker) = Turns::new(scope.worker(), builder.operator_info().address);
    let mut produce = start(waker);

    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        let mut credits = credits;
        move |_| {
            turns.take(|| {
                returned.for_each(|_, grants| credits += grants.drain(..).map(|(_, count)| count).sum::<u64>());
                let Some(held) = capability.as_ref().filter(|_| credits > 0) else { return };
                match produce(credits) {
                    Produced::Records(mut records) => {
                        let spent = records.len() as u64;
                        assert!(spent <= credits, "a source with {credits} credits produced {spent} records");
                        credits -= spent;
                        output.activate().session(held).give_container(&mut records);
                        turns.again();
                    }
                    Produced::Nothing => {}
                    Produced::End => capability = None,
                }
            });
        }
    });
    (records, Credits { back })
}

/// The other end: takes records, and gives their credits back when `consume` has dealt with them.
///
/// `start` gets a waker that makes the sink look again, from any thread, and returns what takes records from the front of the queue, as
/// many as it can now. `origin` tells which worker's source a record came from.
pub fn sink<'s, T, D, Consume>(
    records: StreamVec<'s, T, D>,
    credits: Credits<'s, T>,
    origin: impl Fn(&D) -> u64 + 'static,
    start: impl FnOnce(Waker) -> Consume,
) where
    T: Timestamp,
    D: 'static,
    Consume: FnMut(&mut VecDeque<D>) + 'static,
{
    let scope = records.scope();
    let mut builder = OperatorBuilder::new("Sink".into(), scope);
    let mut input = builder.new_input(records, Pipeline);
    let (output, returned) = builder.new_output_connection::<Vec<Grant>, _>([]);
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<Grant>>>::from(output);
    let (turns, waker) = Turns::new(scope.worker(), builder.operator_info().address);
    let mut consume = start(waker);

    builder.build(move |mut capabilities| {
        // Keeps the dataflow going while records wait here, and the way back open.
        let mut capability = capabilities.pop();
        let nothing = CapabilitySet::<T>::new();
        let mut waiting: VecDeque<D> = VecDeque::new();
        let mut origins: VecDeque<u64> = VecDeque::new();
        move |frontiers| {
            turns.take(|| {
                input.for_each(|_, batch| {
                    origins.extend(batch.iter().map(&origin));
                    waiting.extend(batch.drain(..));
                });
                consume(&mut waiting);
                let done = origins.len() - waiting.len();
                if done > 0 {
                    output.activate().session(&nothing).give_iterator(grants(origins.drain(..done)).into_iter());
                }
                if waiting.is_empty() && frontiers[0].is_empty() {
                    capability = None;
                }
            });
        }
    });
    credits.back.close(returned);
}

/// One grant for each run of records from the same worker.
pub(crate) fn grants(origins: impl Iterator<Item = u64>) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    for origin in origins {
        match grants.last_mut() {
            Some((worker, count)) if *worker == origin => *count += 1,
            _ => grants.push((origin, 1)),
        }
    }
    grants
}

impl<T: Timestamp> fmt::Debug for Credits<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credits").finish_non_exhaustive()
    }
}
