//! What is compared: inflight's orders, and what Rust offers without it.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use inflight::{AsyncStream, AsyncStreamExt, Options, Order};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::calls::Answer;
use crate::measure::{Sample, Window};

/// The time limit wherever there is one: long enough never to fall due.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// inflight over an endless stream of numbers.
pub(crate) fn operator<F, Fut>(
    order: Order,
    options: Options<u64, u64, std::convert::Infallible>,
    function: F,
) -> AsyncStream<u64, u64, std::convert::Infallible>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let input = stream::iter(0..);
    let key = |record: &u64| record % 1000;
    match order {
        Order::Ordered => input.ordered_wait(function, options),
        Order::Unordered => input.unordered_wait(function, options),
        Order::KeyOrdered => input.key_ordered_wait(key, function, options),
        Order::KeySerial => input.key_serial_wait(key, function, options),
    }
}

/// A capacity, and the time limit if wanted.
pub(crate) fn options<I, O, E>(capacity: usize, limited: bool) -> Options<I, O, E> {
    let options = Options::new().capacity(capacity);
    if limited { options.deadline(LIMIT) } else { options }
}

type Results = Pin<Box<dyn Stream<Item = u64> + Send>>;

/// What can be had without inflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Futures {
    Plain,
    Timeout,
    Spawned,
}

/// `buffered` or `buffer_unordered` over the same stream.
pub(crate) fn futures<F, Fut>(ordered: bool, how: Futures, capacity: usize, function: F) -> Results
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let input = stream::iter(0u64..);
    match how {
        Futures::Plain => buffer(ordered, capacity, input.map(function)),
        Futures::Timeout => buffer(ordered, capacity, input.map(move |record| timeout(LIMIT, function(record)))),
        Futures::Spawned => buffer(ordered, capacity, input.map(move |record| tokio::spawn(function(record)))),
    }
}

fn buffer<S, Fut>(ordered: bool, capacity: usize, calls: S) -> Results
where
    S: Stream<Item = Fut> + Send + 'static,
    Fut: Future<Output: Send> + Send + 'static,
{
    let count = |answer| {
        black_box(answer);
        1
    };
    if ordered {
        Box::pin(calls.buffered(capacity).map(count))
    } else {
        Box::pin(calls.buffer_unordered(capacity).map(count))
    }
}

/// Where streams are consumed.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) runtime: Rc<Runtime>,
    threads: usize,
}

impl Place {
    pub(crate) fn new(threads: usize) -> Self {
        let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        let runtime = builder.worker_threads(threads).enable_time().build().expect("a runtime can be built");
        Self { runtime: Rc::new(runtime), threads }
    }

    pub(crate) fn name(&self) -> String {
        if self.threads == 1 { "current-thread runtime".into() } else { format!("{} worker threads", self.threads) }
    }

    /// What `records` cost, after as many as `warm_up` have come out.
    pub(crate) fn count<S>(&self, make: impl FnOnce() -> S + Send + 'static, warm_up: u64, records: u64) -> Sample
    where
        S: Stream + Send + 'static,
    {
        self.run(async move {
            let mut results = pin!(make());
            for _ in 0..warm_up {
                black_box(results.next().await);
            }
            let window = Window::open();
            for _ in 0..records {
                black_box(results.next().await);
            }
            window.close(records)
        })
    }

    /// What comes out, and what it costs, in a window of `length` that opens after `warm_up`.
    pub(crate) fn watch<S>(
        &self,
        make: impl FnOnce() -> S + Send + 'static,
        warm_up: Duration,
        length: Duration,
    ) -> Sample
    where
        S: Stream + Send + 'static,
    {
        self.run(watch(make, warm_up, length))
    }

    /// As [`watch`](Self::watch), without tokio's cooperative budget.
    pub(crate) fn watch_unconstrained<S>(
        &self,
        make: impl FnOnce() -> S + Send + 'static,
        warm_up: Duration,
        length: Duration,
    ) -> Sample
    where
        S: Stream + Send + 'static,
    {
        self.run(tokio::task::unconstrained(watch(make, warm_up, length)))
    }

    pub(crate) fn run(&self, consume: impl Future<Output = Sample> + Send + 'static) -> Sample {
        if self.threads == 1 {
            return self.runtime.block_on(consume);
        }
        let task = self.runtime.spawn(consume);
        self.runtime.block_on(task).expect("the consumer does not panic")
    }
}

async fn watch<S: Stream>(make: impl FnOnce() -> S, warm_up: Duration, length: Duration) -> Sample {
    let mut results = pin!(make());
    let before = Window::open();
    while !before.is_over(warm_up) {
        black_box(results.next().await);
    }
    let window = Window::open();
    let mut records = 0;
    while !window.is_over(length) {
        black_box(results.next().await);
        records += 1;
    }
    window.close(records)
}

/// Runs a cell until it knows how many records fill `work`, and from then on with so many.
pub(crate) fn sized(work: Duration, mut run: impl FnMut(u64) -> Sample) -> impl FnMut() -> Sample {
    let mut records = None;
    move || {
        let records = *records.get_or_insert_with(|| {
            let trial = run(10_000);
            ((work.as_nanos() as f64 / trial.nanos) as u64).clamp(2_000, 5_000_000)
        });
        run(records)
    }
}
