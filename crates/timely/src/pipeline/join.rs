//! Where the steps of a stage meet again.

use std::collections::HashMap;

use inflight::Completed;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::epochs::Later;
use super::frontier::earliest;
use super::{Id, Join, Row, Storable, deal};
use crate::carried::Done;

/// What one step of a stage brings for a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part<R, O, E> {
    /// Which of the stage's steps.
    pub(super) place: u32,
    pub(super) done: Done<R, O, E>,
}

/// Holds the parts of a record until the last has come, whose capability is good for the whole. Beside the records: the parts that were
/// held at the end of an epoch, at that epoch, if they are to be carried.
///
/// A record that is left out keeps its epoch open: no checkpoint must say that it is done.
pub(super) fn join<'s, R: Row, O: Storable, E: Storable>(
    parts: StreamVec<'s, u64, Part<R, O, E>>,
    restored: StreamVec<'s, u64, Part<R, O, E>>,
    steps: usize,
    carry: bool,
    join: Join<R, O, E>,
) -> (StreamVec<'s, u64, R>, StreamVec<'s, u64, Part<R, O, E>>) {
    let scope = parts.scope();
    let mut builder = OperatorBuilder::new("Join".into(), scope);
    let here = scope.worker().index() as u64;
    // What is whole already stays: from one worker to the sink the records of a key keep their order, by way of several they would not.
    let route = move |part: &Part<R, O, E>| if steps == 1 { here } else { deal(part.done.input.id()) };
    let mut parts = builder.new_input(parts, Exchange::new(route));
    let mut restored = builder.new_input(restored, Exchange::new(route));
    let (output, records) = builder.new_output::<Vec<R>>();
    let (notes, held) = builder.new_output::<Vec<Part<R, O, E>>>();
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<R>>>::from(output);
    let mut notes = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(notes);
    let mut waiting = Waiting { steps, records: HashMap::new(), join, left_out: false };

    builder.build(move |mut capabilities| {
        // For notes of the epoch that is open.
        let mut open = capabilities.pop().filter(|_| carry);
        let mut later: Later<(Capability<u64>, Vec<Part<R, O, E>>)> = Later::new();
        let mut left_out: Vec<Capability<u64>> = Vec::new();
        move |frontiers| {
            let mut hold = |capability: Option<Capability<u64>>, parts: &mut Vec<_>| {
                if let Some(capability) = capability {
                    later.hold(*capability.time(), (capability, std::mem::take(parts)));
                }
            };
            restored.for_each(|capability, parts| hold(capability.retain_least(0), parts));
            parts.for_each(|capability, parts| hold(capability.retain_least(0), parts));
            let mut output = output.activate();
            let mut add_all = |waiting: &mut Waiting<R, O, E>, epoch| {
                for (capability, parts) in later.take(epoch) {
                    output.session(&capability).give_iterator(parts.into_iter().filter_map(|part| waiting.add(part)));
                    left_out.extend(std::mem::take(&mut waiting.left_out).then_some(capability));
                }
            };
            let next = earliest(frontiers);
            if let Some(capability) = &mut open {
                add_all(&mut waiting, *capability.time());
                if let Some(next) = next.filter(|next| capability.time() < next) {
                    notes.activate().session(&*capability).give_iterator(waiting.parts());
                    capability.downgrade(&next);
                }
            }
            // What is noted at the end of an epoch must be of that epoch alone; without notes nothing has to wait.
            add_all(&mut waiting, next.filter(|_| carry).unwrap_or(u64::MAX - 1));
            if next.is_none() {
                open = None;
            }
        }
    });
    (records, held)
}

/// Records of which some parts have not come.
struct Waiting<R, O, E> {
    steps: usize,
    records: HashMap<Id, Parts<R, O, E>>,
    join: Join<R, O, E>,
    /// Just now, of a record that was whole.
    left_out: bool,
}

/// By the place of the step.
struct Parts<R, O, E> {
    places: Vec<Option<Done<R, O, E>>>,
    missing: usize,
}

impl<R: Row, O: Storable, E: Storable> Waiting<R, O, E> {
    /// The whole, if this was the last part.
    fn add(&mut self, part: Part<R, O, E>) -> Option<R> {
        if self.steps == 1 {
            return self.join(vec![Completed::from(part.done)]);
        }
        let id = part.done.input.id();
        let steps = self.steps;
        let parts = self
            .records
            .entry(id)
            .or_insert_with(|| Parts { places: std::iter::repeat_with(|| None).take(steps).collect(), missing: steps });
        let place = parts.places.get_mut(part.place as usize)?;
        parts.missing -= usize::from(place.is_none());
        *place = Some(part.done);
        if parts.missing > 0 {
            return None;
        }
        let parts = self.records.remove(&id)?;
        self.join(parts.places.into_iter().flatten().map(Completed::from).collect())
    }

    fn join(&mut self, parts: Vec<Completed<R, O, E>>) -> Option<R> {
        let whole = (self.join)(parts);
        self.left_out |= whole.is_none();
        whole
    }

    /// All that wait.
    fn parts(&self) -> impl Iterator<Item = Part<R, O, E>> {
        self.records.values().flat_map(|parts| {
            let places = parts.places.iter().zip(0..);
            places.filter_map(|(done, place)| done.clone().map(|done| Part { place, done }))
        })
    }
}
