//! The operator.

use std::fmt;
use std::hash::Hash;

use inflight::driver::{Key, Setup, hashed};
use inflight::{Completed, Element, Function, Options, Order};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use tokio::runtime::Handle;

use crate::monitor::Monitor;
use crate::running::Running;
use crate::wake::Turns;

/// What an operator gives: its results, and a look at it.
#[must_use = "a dataflow without a consumer does its work for nobody"]
pub struct Waited<'s, T: Timestamp, D, E> {
    /// The results.
    pub results: StreamVec<'s, T, D>,
    /// Counters, and whether it has stopped.
    pub monitor: Monitor<E>,
}

/// The four orders as methods of a timely stream of records. For streams that know event time see [`elements`].
///
/// `runtime` is the tokio runtime whose reactor and timers wake the calls; it needs a thread of its own, since the worker parks.
pub trait AsyncWait<'s, T: Timestamp + TotalOrder, I: Clone + Send + 'static>: Sized {
    /// Results in any of the four orders; `key` matters to the keyed ones.
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options, or they resume a snapshot: a dataflow cannot yet.
    fn wait<F: Function<I, Shape>, Shape: 'static>(
        self,
        runtime: &Handle,
        order: Order,
        key: Option<Key<I>>,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Completed<I, F::Output, F::Error>, F::Error>;

    /// Results in the order of the records (Flink: `orderedWait`).
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options, or they resume a snapshot: a dataflow cannot yet.
    fn ordered_wait<F: Function<I, Shape>, Shape: 'static>(
        self,
        runtime: &Handle,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Completed<I, F::Output, F::Error>, F::Error> {
        self.wait(runtime, Order::Ordered, None, function, options)
    }

    /// Results as they come (Flink: `unorderedWait`).
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options, or they resume a snapshot: a dataflow cannot yet.
    fn unordered_wait<F: Function<I, Shape>, Shape: 'static>(
        self,
        runtime: &Handle,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Completed<I, F::Output, F::Error>, F::Error> {
        self.wait(runtime, Order::Unordered, None, function, options)
    }

    /// Results in order for each key; calls of one key run at the same time. Within a worker: exchange by the key first.
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options, or they resume a snapshot: a dataflow cannot yet.
    fn key_ordered_wait<F: Function<I, Shape>, Shape: 'static, K: Hash>(
        self,
        runtime: &Handle,
        key: impl Fn(&I) -> K + Send + Sync + 'static,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Completed<I, F::Output, F::Error>, F::Error> {
        self.wait(runtime, Order::KeyOrdered, Some(hashed(key)), function, options)
    }

    /// Results in order for each key, one call of a key at a time. Within a worker: exchange by the key first.
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options, or they resume a snapshot: a dataflow cannot yet.
    fn key_serial_wait<F: Function<I, Shape>, Shape: 'static, K: Hash>(
        self,
        runtime: &Handle,
        key: impl Fn(&I) -> K + Send + Sync + 'static,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Completed<I, F::Output, F::Error>, F::Error> {
        self.wait(runtime, Order::KeySerial, Some(hashed(key)), function, options)
    }
}

impl<'s, T: Timestamp + TotalOrder, I: Clone + Send + 'static> AsyncWait<'s, T, I> for StreamVec<'s, T, I> {
    fn wait<F: Function<I, Shape>, Shape: 'static>(
        self,
        runtime: &Handle,
        order: Order,
        key: Option<Key<I>>,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Completed<I, F::Output, F::Error>, F::Error> {
        let record = |value| Element::Record { value, timestamp: None };
        let result = |element| match element {
            Element::Record { value, .. } => Some(value),
            Element::Watermark(_) | Element::Idle => None,
        };
        add_operator(self, runtime, function, checked(order, key, options), record, result)
    }
}

/// A stream that knows event time: records with timestamps, watermarks and idle statuses travel in band.
pub const fn elements<T: Timestamp, I>(stream: StreamVec<'_, T, Element<I>>) -> Elements<'_, T, I> {
    Elements { stream }
}

/// See [`elements`].
pub struct Elements<'s, T: Timestamp, I> {
    stream: StreamVec<'s, T, Element<I>>,
}

impl<'s, T: Timestamp + TotalOrder, I: Clone + Send + 'static> Elements<'s, T, I> {
    /// Results in any of the four orders; `key` matters to the keyed ones.
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options, or they resume a snapshot: a dataflow cannot yet.
    pub fn wait<F: Function<I, Shape>, Shape: 'static>(
        self,
        runtime: &Handle,
        order: Order,
        key: Option<Key<I>>,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Element<Completed<I, F::Output, F::Error>>, F::Error> {
        add_operator(self.stream, runtime, function, checked(order, key, options), |element| element, Some)
    }
}

fn checked<I, O, E>(order: Order, key: Option<Key<I>>, options: Options<I, O, E>) -> Setup<I, O, E> {
    assert!(!options.resumes(), "the options of an operator: a dataflow cannot resume a snapshot yet");
    match Setup::new(order, key, None, options) {
        Ok(setup) => setup,
        Err(error) => panic!("the options of an operator: {error}"),
    }
}

/// Adds the operator to the dataflow; `take` and `give` are [`WorkerHost`]'s.
fn add_operator<'s, T, D, R, I, F, Shape>(
    stream: StreamVec<'s, T, D>,
    runtime: &Handle,
    function: F,
    setup: Setup<I, F::Output, F::Error>,
    take: impl Fn(D) -> Element<I> + 'static,
    give: impl Fn(Element<Completed<I, F::Output, F::Error>>) -> Option<R> + 'static,
) -> Waited<'s, T, R, F::Error>
where
    T: Timestamp + TotalOrder,
    D: Clone + 'static,
    R: 'static,
    I: Clone + Send + 'static,
    F: Function<I, Shape>,
    Shape: 'static,
{
    let scope = stream.scope();
    let mut builder = OperatorBuilder::new("AsyncWait".into(), scope);
    let mut input = builder.new_input(stream, Pipeline);
    let (output, results) = builder.new_output::<Vec<R>>();
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<R>>>::from(output);
    let (turns, waker) = Turns::new(scope.worker(), builder.operator_info().address);
    let mut running = Running::start(runtime, waker, function, setup, None, take, give);
    let monitor = running.monitor.clone();

    // As long as the driver runs, the operator is incomplete: timely must not end it in the middle of `open` or `close`.
    builder.build_reschedule(move |_| {
        move |frontiers| {
            turns.take(|| {
                input.for_each(|capability, batch| running.accept(capability.retain_least(0), batch));
                if frontiers[0].is_empty() {
                    running.port().end();
                }
                let incomplete = running.poll();
                running.send(&mut output);
                incomplete
            })
        }
    });
    Waited { results, monitor }
}

impl<T: Timestamp, D, E> fmt::Debug for Waited<'_, T, D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waited").finish_non_exhaustive()
    }
}

impl<T: Timestamp, I> fmt::Debug for Elements<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").finish_non_exhaustive()
    }
}
