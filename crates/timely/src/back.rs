//! An edge that leads back: from an operator to one before it, on any worker.
//!
//! It makes no cycle for progress tracking: its ends are connected to no other port, and what it brings travels under no capability.

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Timestamp;

/// A message, and the worker it goes to.
pub(crate) type To<M> = (u64, M);

/// The edge, until it is [closed](Back::close). Timely does not build a dataflow in which it is left open.
pub(crate) struct Back<'s, T: Timestamp, M> {
    builder: OperatorBuilder<'s, T>,
    output: Output<T, Vec<To<M>>>,
}

/// The edge, and what comes out of its near end. Connect that to an operator's input that is connected to no output.
pub(crate) fn back<'s, T: Timestamp, M: 'static>(
    name: &str,
    scope: Scope<'s, T>,
) -> (Back<'s, T, M>, StreamVec<'s, T, To<M>>) {
    let mut builder = OperatorBuilder::new(name.into(), scope);
    let (output, returned) = builder.new_output::<Vec<To<M>>>();
    (Back { builder, output }, returned)
}

impl<'s, T: Timestamp, M: ExchangeData> Back<'s, T, M> {
    /// Joins the far end: an output that is connected to no input, sent to without a capability. The edge ends when nobody holds one
    /// for that output any more.
    pub(crate) fn close(self, sent: StreamVec<'s, T, To<M>>) {
        let Self { mut builder, output } = self;
        let mut input = builder.new_input_connection(sent, Exchange::new(|(to, _): &To<M>| *to), []);
        let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<To<M>>>>::from(output);
        builder.build(move |mut capabilities| {
            // Without a capability timely would shut the edge down at once.
            let mut capability = capabilities.pop();
            let nothing = CapabilitySet::<T>::new();
            move |frontiers| {
                let mut output = output.activate();
                input.for_each(|_, messages| output.session(&nothing).give_container(messages));
                if frontiers[0].is_empty() {
                    capability = None;
                }
                let _held = &capability;
            }
        });
    }
}
