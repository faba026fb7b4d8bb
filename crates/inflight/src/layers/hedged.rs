//! A second call when the first is slow.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::function::{AsyncFunction, Cancellation};

/// Hedges that may be saved up while calls are fast.
const RESERVE: u64 = 10;
/// What a hedge costs; a call earns `per_mille` of them.
const PRICE: u64 = 1_000;

/// When a [`hedged`] function makes a second call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeOptions {
    /// How long the first call may take before. Take it from the body of the distribution, such as four times the median but no more
    /// than the 95th percentile: a high percentile is itself a stall.
    pub delay: Duration,
    /// Hedges earned by 1,000 calls: `20` is two percent more calls at most. Up to 10 are saved up. Zero: none.
    pub per_mille: u32,
}

/// An [`AsyncFunction`] that calls `function` again when the answer takes longer than the delay; the first good answer wins, and the
/// other call is dropped.
///
/// **Only for calls that may be made twice.** Reading is; "add one" is not. The two overlap, under any order: what must not happen at
/// the same time for one key must not be hedged.
///
/// An error before the delay is the answer: to try again is what retries are for. After it the other call still has its chance, and if
/// both fail the later error counts. The second call helps where the first had bad luck (a lost packet, a slow replica), not where the
/// service is overloaded; the budget bounds the harm. Hedges come on top of the operator's `concurrency`, and so does a loser that
/// cannot be stopped ([`Cancellation::Wait`]).
///
/// ```
/// use std::time::Duration;
/// use inflight::layers::{HedgeOptions, hedged};
///
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
/// let lookup = hedged(lookup, HedgeOptions { delay: Duration::from_millis(40), per_mille: 20 });
/// let gauge = lookup.gauge();                     // can be read while the stream runs
/// assert_eq!(gauge.counts().hedges, 0);
/// ```
///
/// # Cancel safety
/// A call that is given up drops both calls.
pub fn hedged<F>(function: F, options: HedgeOptions) -> Hedged<F> {
    Hedged { function, options, gauge: HedgeGauge { counters: Arc::default() } }
}

/// See [`hedged`].
#[derive(Debug)]
pub struct Hedged<F> {
    function: F,
    options: HedgeOptions,
    gauge: HedgeGauge,
}

impl<F> Hedged<F> {
    /// Where the counts can be read while the function works.
    #[must_use]
    pub fn gauge(&self) -> HedgeGauge {
        self.gauge.clone()
    }
}

impl<I, F> AsyncFunction<I> for Hedged<F>
where
    I: Clone + Send,
    F: AsyncFunction<I>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        let counters = &*self.gauge.counters;
        counters.earn(self.options.per_mille);
        let call = |input| self.function.invoke(input);
        let mut first = pin!(call(input.clone()));
        if let Ok(result) = timeout(self.options.delay, first.as_mut()).await {
            return result;
        }
        if !counters.spend() {
            return first.await;
        }
        let second = pin!(call(input));
        let (winner, result) = first_good([first, second]).await;
        counters.won.fetch_add(winner as u64, Ordering::Relaxed);
        result
    }

    async fn open(&mut self) -> Result<(), F::Error> {
        self.function.open().await
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        self.function.timeout(input)
    }

    async fn close(&mut self) -> Result<(), F::Error> {
        self.function.close().await
    }

    fn cancellation(&self) -> Cancellation {
        self.function.cancellation()
    }
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
    /// In thousandths of a hedge.
    budget: AtomicU64,
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

impl Counters {
    fn earn(&self, per_mille: u32) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let more = |budget: u64| Some((budget + u64::from(per_mille)).min(RESERVE * PRICE));
        // It always succeeds.
        let _ = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn spend(&self) -> bool {
        let less = |budget: u64| budget.checked_sub(PRICE);
        let enough = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        self.hedges.fetch_add(u64::from(enough), Ordering::Relaxed);
        enough
    }
}
