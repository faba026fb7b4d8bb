//! The external system of these tests: it answers after a while, and counts the calls it is serving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use inflight::{AsyncStream, AsyncStreamExt, Failure, Function, Input, Options, Order};

/// Failures of records that are numbers, looked up in a service whose errors are texts.
pub(crate) type Failed = Failure<u64, &'static str>;

/// Keys that numbers are spread over, where an order has keys.
pub(crate) const KEYS: u64 = 7;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A number that looks random: the same for the same `n`.
pub(crate) const fn scatter(n: u64) -> u64 {
    let mixed = (n ^ (n >> 30)).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
}

#[derive(Clone, Default)]
pub(crate) struct Service {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    serving: AtomicUsize,
    most: AtomicUsize,
}

impl Service {
    /// Serves a call until the guard is dropped.
    pub(crate) fn serve(&self) -> Serving {
        self.counts.calls.fetch_add(1, Ordering::SeqCst);
        let serving = self.counts.serving.fetch_add(1, Ordering::SeqCst) + 1;
        self.counts.most.fetch_max(serving, Ordering::SeqCst);
        Serving { counts: Arc::clone(&self.counts) }
    }

    pub(crate) async fn answer<T>(&self, after: Duration, answer: T) -> T {
        let _serving = self.serve();
        tokio::time::sleep(after).await;
        answer
    }

    pub(crate) async fn hang<T>(&self) -> T {
        let _serving = self.serve();
        std::future::pending().await
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> usize {
        self.counts.calls.load(Ordering::SeqCst)
    }

    /// Calls being served now.
    pub(crate) fn serving(&self) -> usize {
        self.counts.serving.load(Ordering::SeqCst)
    }

    /// The most calls served at the same time.
    pub(crate) fn most(&self) -> usize {
        self.counts.most.load(Ordering::SeqCst)
    }
}

pub(crate) struct Serving {
    counts: Arc<Counts>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.counts.serving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The operator in the order asked for; the key of a number is its rest by [`KEYS`].
pub(crate) fn wait<S, F, Shape>(
    order: Order,
    input: S,
    function: F,
    options: Options<u64, F::Output, F::Error>,
) -> AsyncStream<u64, F::Output, F::Error, S::View>
where
    S: Input<Record = u64>,
    F: Function<u64, Shape>,
    Shape: 'static,
{
    match order {
        Order::Ordered => input.ordered_wait(function, options),
        Order::Unordered => input.unordered_wait(function, options),
        Order::KeyOrdered => input.key_ordered_wait(|n| n % KEYS, function, options),
        Order::KeySerial => input.key_serial_wait(|n| n % KEYS, function, options),
    }
}

/// `0..count`, and the number of them that have been taken.
pub(crate) fn counted(count: u64) -> (impl Stream<Item = u64> + Send + 'static, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let counted = stream::iter(0..count).inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    (counted, taken)
}

/// Results without their failures: for tests in which nothing fails.
pub(crate) async fn all_ok<O, I, E>(stream: impl Stream<Item = Result<O, Failure<I, E>>>) -> Vec<O>
where
    Failure<I, E>: std::fmt::Debug,
{
    stream.map(|result| result.expect("nothing fails here")).collect().await
}

/// Waits until the operator's task has nothing left to do now.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
