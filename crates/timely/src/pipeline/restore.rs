//! What was carried into this run goes where it belongs now: worker 0 has it all, and the edges route it as they route records.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::source;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::{Scope, StreamVec};

use super::join::Part;
use super::state::Carried;
use super::{Row, Storable};
use crate::carried::Held;

/// What was carried, in the first epoch of this run.
pub(super) struct Restored<'s, R, O, E> {
    carried: StreamVec<'s, u64, Carried<R, O, E>>,
}

pub(super) fn restore<'s, R: Row, O: Storable, E: Storable>(
    scope: Scope<'s, u64>,
    epoch: u64,
    mut carried: Vec<Carried<R, O, E>>,
) -> Restored<'s, R, O, E> {
    let carried =
        source::<_, CapacityContainerBuilder<Vec<Carried<R, O, E>>>, _, _>(scope, "Restore", |mut capability, _| {
            capability.downgrade(&epoch);
            let mut capability = Some(capability);
            move |output| {
                if let Some(capability) = capability.take() {
                    output.session(&capability).give_iterator(carried.drain(..));
                }
            }
        });
    Restored { carried }
}

impl<'s, R: Row, O: Storable, E: Storable> Restored<'s, R, O, E> {
    /// What belongs in this step.
    pub(super) fn step(&self, number: u32) -> StreamVec<'s, u64, Held<R, O, E>> {
        self.carried.clone().flat_map(move |carried| match carried {
            Carried::Step(step, held) if step == number => Some(held),
            _ => None,
        })
    }

    /// What belongs in the join of this stage.
    pub(super) fn join(&self, number: u32) -> StreamVec<'s, u64, Part<R, O, E>> {
        self.carried.clone().flat_map(move |carried| match carried {
            Carried::Part(stage, part) if stage == number => Some(part),
            _ => None,
        })
    }
}
