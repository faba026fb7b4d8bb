//! The operator.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use inflight::driver::{Key, Setup, drive};
use inflight::{Completed, Element, Function, Options, Order};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::{Operator, OutputBuilderSession};
use timely::dataflow::operators::vec::Map;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use tokio::runtime::Handle;

use crate::monitor::Monitor;
use crate::wake::OperatorWaker;
use crate::worker_host::{Out, Port, WorkerHost};

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
    /// If [`Options::check`] refuses the options.
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
    /// If [`Options::check`] refuses the options.
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
    /// If [`Options::check`] refuses the options.
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
    /// If [`Options::check`] refuses the options.
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
    /// If [`Options::check`] refuses the options.
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
        let timed = self.map(|value| Element::Record { value, timestamp: None });
        let Waited { results, monitor } = elements(timed).wait(runtime, order, key, function, options);
        let results = results.flat_map(|element| match element {
            Element::Record { value, .. } => Some(value),
            Element::Watermark(_) | Element::Idle => None,
        });
        Waited { results, monitor }
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
    /// If [`Options::check`] refuses the options.
    pub fn wait<F: Function<I, Shape>, Shape: 'static>(
        self,
        runtime: &Handle,
        order: Order,
        key: Option<Key<I>>,
        function: F,
        options: Options<I, F::Output, F::Error>,
    ) -> Waited<'s, T, Element<Completed<I, F::Output, F::Error>>, F::Error> {
        let setup = match Setup::new(order, key, None, options) {
            Ok(setup) => setup,
            Err(error) => panic!("the options of an operator: {error}"),
        };
        let (runtime, monitor) = (runtime.clone(), Monitor::new());
        let (told, stopped) = (monitor.clone(), monitor.clone());
        let worker = self.stream.scope().worker();
        let results = self.stream.unary_frontier(Pipeline, "AsyncWait", move |_, info| {
            let activator = worker.activator_for(info.address.clone());
            let (wake, waker) = OperatorWaker::new(worker.sync_activator_for(info.address.to_vec()));
            let port = Rc::new(RefCell::new(Port::new()));
            let mut host = WorkerHost { port: Rc::clone(&port), monitor: told };
            let driver = async move { drive(function, setup, &mut host).await };
            let mut driver: Option<Driver<_>> = Some(Box::pin(driver));
            move |(input, frontier), output| {
                wake.begin();
                input.for_each(|capability, batch| {
                    // Records sent under no capability make no claim on progress, and leave under none.
                    let Some(capability) = capability.retain_least(0) else {
                        panic!("records without a time cannot wait: there is no capability to keep for them");
                    };
                    port.borrow_mut().push(capability, std::mem::take(batch));
                });
                if frontier.is_empty() {
                    port.borrow_mut().end();
                }
                if let Some(running) = &mut driver {
                    let _guard = runtime.enter();
                    if let Poll::Ready(ended) = running.as_mut().poll(&mut Context::from_waker(&waker)) {
                        driver = None;
                        if let Err(error) = ended {
                            stopped.stop(error);
                        }
                    }
                }
                emit(&mut port.borrow_mut().out, output);
                if wake.end() {
                    activator.activate();
                }
            }
        });
        Waited { results, monitor }
    }
}

/// The driver of one operator. Boxed: one dynamic call per activation.
type Driver<E> = Pin<Box<dyn Future<Output = Result<(), inflight::driver::Stopped<E>>>>>;

/// Sends what is out, one session for each run of records of the same time.
fn emit<T: Timestamp, I: 'static, O: 'static, E: 'static>(
    out: &mut Vec<Out<T, I, O, E>>,
    output: &mut OutputBuilderSession<'_, T, CapacityContainerBuilder<Vec<Element<Completed<I, O, E>>>>>,
) {
    let mut out = out.drain(..).peekable();
    while let Some((capability, element)) = out.next() {
        let mut session = output.session(&*capability);
        session.give(element);
        while let Some((_, element)) = out.next_if(|(next, _)| next.time() == capability.time()) {
            session.give(element);
        }
    }
}

fn hashed<I, K: Hash>(key: impl Fn(&I) -> K + Send + Sync + 'static) -> Key<I> {
    Box::new(move |record| {
        let mut hasher = DefaultHasher::new();
        key(record).hash(&mut hasher);
        hasher.finish()
    })
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
