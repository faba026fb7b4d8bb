//! A step's operator: records come from all workers, and what is held at the end of an epoch is noted and carried into the next.

use inflight::driver::Setup;
use inflight::{Element, Function};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use tokio::runtime::Handle;

use super::Storable;
use super::frontier::earliest;
use crate::carried::{Done, Held};
use crate::carry::Carry;
use crate::monitor::Monitor;
use crate::running::Running;
use crate::wake::Turns;

/// What the operator gives.
pub(super) struct Waited<'s, I, O, E> {
    pub(super) results: StreamVec<'s, u64, Done<I, O, E>>,
    /// What was held at the end of an epoch, at that epoch.
    pub(super) held: StreamVec<'s, u64, Held<I, O, E>>,
    pub(super) monitor: Monitor<E>,
}

/// Adds the operator. Records, and what was carried into this run, go to the worker that `route` says. With `carry`, epochs do not wait
/// for records; without, they end when their last record has left.
pub(super) fn wait<'s, I, F, Shape, Route>(
    records: StreamVec<'s, u64, I>,
    restored: StreamVec<'s, u64, Held<I, F::Output, F::Error>>,
    route: Route,
    carry: bool,
    runtime: &Handle,
    function: F,
    setup: Setup<I, F::Output, F::Error>,
) -> Waited<'s, I, F::Output, F::Error>
where
    I: Storable,
    F: Function<I, Shape, Output: Storable, Error: Storable>,
    Shape: 'static,
    Route: Fn(&I) -> u64 + Clone + 'static,
{
    let scope = records.scope();
    let mut builder = OperatorBuilder::new("Step".into(), scope);
    let held_route = route.clone();
    let held_route = move |held: &Held<I, F::Output, F::Error>| held.input().map_or(0, &held_route);
    let mut input = builder.new_input(records, Exchange::new(route));
    let mut restored = builder.new_input(restored, Exchange::new(held_route));
    let (output, results) = builder.new_output::<Vec<Done<I, F::Output, F::Error>>>();
    let (notes, held) = builder.new_output::<Vec<Held<I, F::Output, F::Error>>>();
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(output);
    let mut notes = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(notes);

    let (turns, waker) = Turns::new(scope.worker(), builder.operator_info().address);
    let give = |element| match element {
        Element::Record { value, .. } => Some(Done::from(value)),
        Element::Watermark(_) | Element::Idle => None,
    };
    let take = |value| Element::Record { value, timestamp: None };
    let mut running = Running::start(runtime, waker, function, setup, carry.then(Carry::new), take, give);
    let monitor = running.monitor.clone();

    builder.build_reschedule(move |mut capabilities| {
        // For notes of the epoch that is open.
        let mut open = capabilities.pop().filter(|_| carry);
        move |frontiers| {
            turns.take(|| {
                input.for_each(|capability, batch| running.accept(capability.retain_least(0), batch));
                let next = earliest(frontiers);
                if let Some(carry) = &mut running.port().carry {
                    restored.for_each(|capability, held| {
                        if let Some(capability) = capability.retain_least(0) {
                            carry.restore(capability, held.drain(..));
                        }
                    });
                    carry.restoring = !frontiers[1].is_empty();
                    // The last epoch ends with its records.
                    carry.to = next.filter(|next| open.as_ref().is_some_and(|open| open.time() < next));
                }
                if next.is_none() {
                    running.port().end();
                }
                let incomplete = running.poll();
                running.send(&mut output);
                if let (Some(carry), Some(capability)) = (&mut running.port().carry, &mut open) {
                    // As long as it is wanted, it has not been done.
                    if carry.to.is_none() {
                        if !carry.notes.is_empty() {
                            notes.activate().session(&*capability).give_container(&mut carry.notes);
                        }
                        next.iter().for_each(|next| capability.downgrade(next));
                    }
                }
                // Not when the driver has failed: what is held then must not seem to be dealt with.
                if next.is_none() {
                    open = None;
                }
                incomplete
            })
        }
    });
    Waited { results, held, monitor }
}
