//! A second call when the first is slow.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use inflight_core::Time;
use tokio::time::timeout;

use super::handed_on::handed_on;
use super::latencies::Latencies;
use crate::batch::{BatchFunction, BatchResult};
use crate::clock::Clock;
use crate::destination::Destination;
use crate::function::AsyncFunction;

/// When a [`hedged`] function makes a second call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeDelay {
    /// When the first takes longer than nearly all of the latest 512 calls did: their 98th percentile, but no longer than eight times
    /// their median, since a high percentile may itself be a stall. It is at least their 95th percentile, so that at most one call
    /// in 20 is made twice, and at least twice the median, because a call that takes a little longer than most is not stuck. The
    /// first 100 calls are only watched.
    Adaptive,
    /// When the first takes longer than this.
    Fixed(Duration),
}

/// An [`AsyncFunction`] or [`BatchFunction`] that calls `function` again when the answer takes long; the first good answer wins, and the
/// other call is dropped.
///
/// **Only for calls that may be made twice.** Reading is; "add one" is not. The two overlap, under any order: what must not happen at
/// the same time for one key must not be hedged.
///
/// The second call is an [`Extra`](crate::Extra) of the `destination`: it takes a token of the budget that retries live from, and there is
/// none while the destination's limit is reached or shrinking, its rate is used up, or its breaker is not closed. So where the service is
/// overloaded, which a second call would make worse, none is made.
///
/// An error before the delay is the answer: to try again is what retries are for. After it the other call still has its chance, and if
/// both fail the later error counts. A loser that cannot be stopped ([`Cancellation::Wait`](crate::Cancellation::Wait)) counts as on the wire no more.
///
/// ```
/// use inflight::layers::{HedgeDelay, hedged};
/// use inflight::{Concurrency, Destination, DestinationOptions, Options};
///
/// let users = Destination::new(DestinationOptions::new(Concurrency::Fixed(100)))?;
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
/// let lookup = hedged(lookup, HedgeDelay::Adaptive, users.clone());
/// let options = Options::<u64, String, std::io::Error>::new().destination(users);
/// let gauge = lookup.gauge();                     // can be read while the stream runs
/// assert_eq!(gauge.counts().hedges, 0);
/// # drop(options);
/// # Ok::<(), inflight::ConfigError>(())
/// ```
///
/// # Cancel safety
/// A call that is given up drops both calls.
pub fn hedged<F>(function: F, delay: HedgeDelay, destination: Destination) -> Hedged<F> {
    let (clock, gauge) = (Clock::start(), HedgeGauge { counters: Arc::default() });
    Hedged { function, delay, destination, clock, latencies: Mutex::default(), gauge }
}

/// See [`hedged`].
#[derive(Debug)]
pub struct Hedged<F> {
    function: F,
    delay: HedgeDelay,
    destination: Destination,
    clock: Clock,
    latencies: Mutex<Latencies>,
    gauge: HedgeGauge,
}

impl<F> Hedged<F> {
    /// Where the counts can be read while the function works.
    #[must_use]
    pub fn gauge(&self) -> HedgeGauge {
        self.gauge.clone()
    }

    async fn race<O, E, Call: Future<Output = Result<O, E>>>(&self, call: impl Fn() -> Call) -> Result<O, E> {
        let counters = &*self.gauge.counters;
        counters.calls.fetch_add(1, Ordering::Relaxed);
        let _watch = Watch { latencies: &self.latencies, clock: &self.clock, since: self.clock.now() };
        let mut first = pin!(call());
        let delay = match self.delay {
            HedgeDelay::Fixed(delay) => Some(delay),
            HedgeDelay::Adaptive => lock(&self.latencies).delay(),
        };
        let Some(delay) = delay else { return first.await };
        if let Ok(result) = timeout(delay, first.as_mut()).await {
            return result;
        }
        let Some(_extra) = self.destination.extra() else { return first.await };
        counters.hedges.fetch_add(1, Ordering::Relaxed);
        let second = pin!(call());
        let (winner, result) = first_good([first, second]).await;
        counters.won.fetch_add(winner as u64, Ordering::Relaxed);
        result
    }
}

/// Notes how long a call took when it is dropped: where another has won or it was given up, it took that long at least.
struct Watch<'a> {
    latencies: &'a Mutex<Latencies>,
    clock: &'a Clock,
    since: Time,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        lock(self.latencies).note(self.clock.now().since(self.since));
    }
}

fn lock(latencies: &Mutex<Latencies>) -> std::sync::MutexGuard<'_, Latencies> {
    latencies.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I, F> AsyncFunction<I> for Hedged<F>
where
    I: Clone + Send + Sync,
    F: AsyncFunction<I>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        self.race(|| self.function.invoke(input.clone())).await
    }

    handed_on!(I, F);
}

impl<I, F> BatchFunction<I> for Hedged<F>
where
    I: Clone + Send + Sync,
    F: BatchFunction<I>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, inputs: Vec<I>) -> BatchResult<F::Output, F::Error> {
        self.race(|| self.function.invoke(inputs.clone())).await
    }

    handed_on!(I, F);
}

/// The first good result, or the last error; and whose it is.
async fn first_good<O, E>(calls: [Pin<&mut impl Future<Output = Result<O, E>>>; 2]) -> (usize, Result<O, E>) {
    let mut running = calls.map(Some);
    poll_fn(|cx| {
        for index in 0..running.len() {
            let Some(call) = &mut running[index] else { continue };
            if let Poll::Ready(result) = call.as_mut().poll(cx) {
                running[index] = None;
                if result.is_ok() || running.iter().all(Option::is_none) {
                    return Poll::Ready((index, result));
                }
            }
        }
        Poll::Pending
    })
    .await
}

/// Tells how a [`hedged`] function is doing.
#[derive(Clone, Debug)]
pub struct HedgeGauge {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    hedges: AtomicU64,
    won: AtomicU64,
}

/// What became of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HedgeCounts {
    /// Calls asked for.
    pub calls: u64,
    /// Second calls made.
    pub hedges: u64,
    /// Second calls that gave the result.
    pub won: u64,
}

impl HedgeGauge {
    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> HedgeCounts {
        let Counters { calls, hedges, won, .. } = &*self.counters;
        let [calls, hedges, won] = [calls, hedges, won].map(|counter| counter.load(Ordering::Relaxed));
        HedgeCounts { calls, hedges, won }
    }
}
