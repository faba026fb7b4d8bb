//! A second call where the first takes long: the real operator and the real layer, in virtual time, and a service of which one call in a
//! thousand is stuck for a second.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt, stream};
use inflight::layers::{HedgeDelay, hedged};
use inflight::{
    AsyncStreamExt, Concurrency, Destination, DestinationOptions, DestinationStats, Options, Order, Retry, RetryBudget,
};
use inflight_sim::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::in_virtual_time;

/// Records in a millisecond, and how long they come.
const RATE: u64 = 10;
const SECONDS: u64 = 10;
/// Five calls in a hundred besides: what retries and hedges have together.
const BUDGET: RetryBudget = RetryBudget { per_mille: 50, reserve: 50, per_second: 10 };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn uniform(rng: &mut Rng) -> f64 {
    (rng.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Lognormal with a median of 5 ms and σ = 1; one call in a thousand takes a second; of a thousand, so many fail.
fn service(seed: u64, fails: u64) -> impl Fn(Instant) -> Answer + Clone + Send + Sync + 'static {
    let rng = Arc::new(Mutex::new(Rng::new(seed)));
    move |came| {
        let mut rng = rng.lock().expect("no call panics");
        let radius = (-2.0 * (1.0 - uniform(&mut rng)).ln()).sqrt();
        let normal = radius * (core::f64::consts::TAU * uniform(&mut rng)).cos();
        let takes = if rng.one_in(1_000) { ms(1_000) } else { ms(5).mul_f64(normal.exp()) };
        let fails = rng.below(1_000) < fails;
        Box::pin(async move {
            sleep(takes).await;
            if fails { Err(()) } else { Ok(came) }
        })
    }
}

type Answer = core::pin::Pin<Box<dyn Future<Output = Result<Instant, ()>> + Send>>;

/// Ten records in each millisecond, whatever becomes of them. A record is the time it came.
fn arrivals() -> impl Stream<Item = Instant> + Send + Unpin + 'static {
    let began = Instant::now();
    Box::pin(stream::iter(0..SECONDS * 1_000 * RATE).then(move |n| async move {
        let at = began + ms(n / RATE);
        sleep_until(at).await;
        at
    }))
}

#[derive(Clone, Copy)]
struct Case {
    order: Order,
    seed: u64,
    limit: usize,
    hedges: bool,
    fails: u64,
}

struct Seen {
    /// From when a record came to when it left, sorted; the first second is for learning.
    took: Vec<Duration>,
    stats: DestinationStats,
}

impl Case {
    const fn new(order: Order, seed: u64) -> Self {
        Self { order, seed, limit: 5_000, hedges: true, fails: 0 }
    }

    fn run(self) -> Seen {
        in_virtual_time(self.live())
    }

    async fn live(self) -> Seen {
        let mut options = DestinationOptions::new(Concurrency::Fixed(self.limit));
        options.budget = BUDGET;
        options.breaker = None;
        let destination = Destination::new(options).expect("sound options");
        let lookup = service(self.seed, self.fails);
        // A delay that no call exceeds: never.
        let delay = if self.hedges { HedgeDelay::Adaptive } else { HedgeDelay::Fixed(ms(60_000)) };
        let lookup = hedged(lookup, delay, destination.clone());
        let options = Options::new()
            .capacity(60_000)
            .concurrency(5_000)
            .deadline(ms(2_000))
            .retry(Retry::fixed(2, ms(10)))
            .destination(destination.clone());
        let results = match self.order {
            Order::Ordered => arrivals().ordered_wait(lookup, options),
            _ => arrivals().unordered_wait(lookup, options),
        };
        let warm = Instant::now() + ms(1_000);
        let took = results.filter_map(move |result| async move {
            let came = result.ok().filter(|came| *came >= warm)?;
            Some(came.elapsed())
        });
        let mut took: Vec<_> = took.collect().await;
        took.sort();
        Seen { took, stats: destination.gauge() }
    }
}

impl Seen {
    fn percentile(&self, percent: f64) -> Duration {
        self.took[((self.took.len() as f64 * percent / 100.0) as usize).min(self.took.len() - 1)]
    }

    /// Of a hundred calls, so many were extras.
    fn extras(&self) -> f64 {
        100.0 * self.stats.extras as f64 / self.stats.calls as f64
    }
}

#[test]
fn a_few_extra_calls_cut_the_tail() {
    for seed in 1..4 {
        let seen = Case::new(Order::Unordered, seed).run();
        println!(
            "unordered: p50 {:?}, p99.9 {:?}, {:.2} %",
            seen.percentile(50.0),
            seen.percentile(99.9),
            seen.extras()
        );
        assert!(seen.percentile(99.9) <= ms(80), "seed {seed}: p99.9 {:?}", seen.percentile(99.9));
        assert!(seen.extras() <= 2.5, "seed {seed}: {:.2} %", seen.extras());
    }
    let without = Case { hedges: false, ..Case::new(Order::Unordered, 1) }.run();
    assert!(without.percentile(99.95) >= ms(900), "{:?}", without.percentile(99.95));
}

/// Where one that is stuck holds up all that came after it, half of the records wait for it.
#[test]
fn in_order_they_cut_the_median() {
    for seed in 1..4 {
        let seen = Case::new(Order::Ordered, seed).run();
        println!("ordered: p50 {:?}, p99 {:?}, {:.2} %", seen.percentile(50.0), seen.percentile(99.0), seen.extras());
        assert!(seen.percentile(50.0) <= ms(50), "seed {seed}: p50 {:?}", seen.percentile(50.0));
        assert!(seen.extras() <= 2.5, "seed {seed}: {:.2} %", seen.extras());
    }
    let without = Case { hedges: false, ..Case::new(Order::Ordered, 1) }.run();
    assert!(without.percentile(50.0) >= ms(800), "{:?}", without.percentile(50.0));
}

/// 60 at a time are fewer than it takes: whoever is slow waits like the others.
#[test]
fn where_the_limit_is_reached_there_are_none() {
    let seen = Case { limit: 60, ..Case::new(Order::Unordered, 1) }.run();
    // Only in the beginning, when not all of them are in use yet.
    assert!(seen.stats.calls >= 90_000 && seen.stats.extras <= 20, "{:?}", seen.stats);
}

#[test]
fn they_share_one_budget_with_retries() {
    let seen = Case { fails: 30, ..Case::new(Order::Unordered, 1) }.run();
    let DestinationStats { calls, extras, retries, .. } = seen.stats;
    let answered = calls - extras;
    let most = u64::from(BUDGET.reserve)
        + answered * u64::from(BUDGET.per_mille) / 1_000
        + (SECONDS + 5) * u64::from(BUDGET.per_second);
    assert!(extras > 100 && retries > 1_000, "both take tokens: {:?}", seen.stats);
    let spent = 2 * extras + retries;
    assert!(spent <= most, "2 x {extras} + {retries} of {most}");
    // Three in a hundred would be tried again and more than two called twice: together they want more than there is.
    assert!(spent >= most * 9 / 10, "2 x {extras} + {retries} of {most}");
}
