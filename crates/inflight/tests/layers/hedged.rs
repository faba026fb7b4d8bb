//! A second call when the first is slow, within a budget.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use inflight::layers::{HedgeCounts, HedgeDelay, hedged};
use inflight::{AsyncFunction, BatchFunction, BatchResult, Concurrency, Destination, DestinationOptions, RetryBudget};
use tokio::time::{Instant, sleep, timeout};

use crate::service::{Dice, Service, ms};

const DELAY: HedgeDelay = HedgeDelay::Fixed(Duration::from_millis(40));

/// A destination with so many hedges.
pub(crate) fn allows(hedges: u32) -> Destination {
    let mut options = DestinationOptions::new(Concurrency::Fixed(100));
    options.budget = RetryBudget { per_mille: 1, reserve: 2 * hedges, per_second: 1 };
    Destination::new(options).unwrap()
}

type Outcome = (u64, Result<&'static str, &'static str>);

/// Answers what the script says, one line per call: after how many milliseconds, and what.
#[derive(Clone, Default)]
struct Lookup {
    service: Service,
    script: Arc<Mutex<Vec<Outcome>>>,
}

impl Lookup {
    fn says(outcomes: &[Outcome]) -> Self {
        let script = outcomes.iter().rev().copied().collect();
        Self { service: Service::default(), script: Arc::new(Mutex::new(script)) }
    }
}

impl AsyncFunction<u64> for Lookup {
    type Output = &'static str;
    type Error = &'static str;

    async fn invoke(&self, _: u64) -> Result<&'static str, &'static str> {
        let (millis, result) = self.script.lock().unwrap().pop().unwrap_or((1_000, Ok("slow")));
        self.service.answer(ms(millis), result).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_answer_needs_no_second_call() {
    let lookup = Lookup::says(&[(30, Ok("first")), (30, Err("first fails"))]);
    let users = hedged(lookup.clone(), DELAY, allows(10));
    assert_eq!(users.invoke(7).await, Ok("first"));
    assert_eq!(users.invoke(7).await, Err("first fails"), "an error is an answer: retries are made elsewhere");
    assert_eq!(lookup.service.calls(), 2);
    assert_eq!(users.gauge().counts(), HedgeCounts { calls: 2, hedges: 0, won: 0 });
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_wins_and_the_other_call_is_dropped() {
    for (script, winner, took, won) in [
        ([(500, Ok("first")), (10, Ok("second"))], "second", 50, 1),
        ([(60, Ok("first")), (500, Ok("second"))], "first", 60, 0),
        ([(60, Err("first fails")), (50, Ok("second"))], "second", 90, 1),
        ([(90, Ok("first")), (10, Err("second fails"))], "first", 90, 0),
    ] {
        let lookup = Lookup::says(&script);
        let users = hedged(lookup.clone(), DELAY, allows(10));
        let begin = Instant::now();
        assert_eq!(users.invoke(7).await, Ok(winner));
        assert!(begin.elapsed() >= ms(took) && begin.elapsed() <= ms(took + 3), "{winner}: {:?}", begin.elapsed());
        assert_eq!((lookup.service.calls(), lookup.service.serving()), (2, 0));
        assert_eq!(users.gauge().counts(), HedgeCounts { calls: 1, hedges: 1, won });
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_later_error_counts() {
    let lookup = Lookup::says(&[(60, Err("first fails")), (50, Err("second fails"))]);
    let users = hedged(lookup.clone(), DELAY, allows(10));
    assert_eq!(users.invoke(7).await, Err("second fails"));
    assert_eq!(lookup.service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_drops_both_calls() {
    let lookup = Lookup::default();
    let users = hedged(lookup.clone(), DELAY, allows(10));
    assert!(timeout(ms(100), users.invoke(7)).await.is_err());
    assert_eq!((lookup.service.calls(), lookup.service.serving()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_slow_for_all_sees_no_more_extra_calls_than_its_budget_has() {
    let lookup = Lookup::default();
    let users = hedged(lookup.clone(), DELAY, allows(10));
    let calls = join_all((0..1_000).map(|id| users.invoke(id))).await;
    assert!(calls.iter().all(|call| *call == Ok("slow")));
    // Ten, and what comes in a second.
    assert_eq!(users.gauge().counts(), HedgeCounts { calls: 1_000, hedges: 10, won: 0 });
    assert_eq!(lookup.service.calls(), 1_010);
}

#[tokio::test(start_paused = true)]
async fn where_the_limit_is_reached_nothing_is_called_twice() {
    let lookup = Lookup::default();
    let mut options = DestinationOptions::new(Concurrency::Fixed(1));
    options.budget.reserve = 100;
    let busy = Destination::new(options).unwrap();
    let on_the_wire = busy.extra().unwrap();
    let users = hedged(lookup.clone(), DELAY, busy);
    assert_eq!(users.invoke(7).await, Ok("slow"));
    assert_eq!(lookup.service.calls(), 1);
    drop(on_the_wire);
    assert_eq!(users.invoke(7).await, Ok("slow"));
    assert_eq!(lookup.service.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_second_call_counts_as_on_the_wire_while_it_is() {
    let destination = allows(10);
    let users = hedged(Lookup::default(), DELAY, destination.clone());
    let mut call = Box::pin(users.invoke(7));
    assert!(timeout(ms(100), call.as_mut()).await.is_err());
    assert_eq!((destination.gauge().on_wire, destination.gauge().extras), (1, 1));
    drop(call);
    assert_eq!(destination.gauge().on_wire, 0);
}

/// Whole batches.
struct Many(Lookup);

impl BatchFunction<u64> for Many {
    type Output = &'static str;
    type Error = &'static str;

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<&'static str, &'static str> {
        let answer = AsyncFunction::invoke(&self.0, ids[0]).await?;
        Ok(vec![Ok(answer); ids.len()])
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_called_twice_as_a_whole() {
    let lookup = Lookup::says(&[(500, Ok("first")), (10, Ok("second"))]);
    let users = hedged(Many(lookup.clone()), DELAY, allows(10));
    assert_eq!(users.invoke(vec![1, 2, 3]).await, Ok(vec![Ok("second"); 3]));
    assert_eq!((lookup.service.calls(), lookup.service.serving()), (2, 0));
}

/// Log-normal latencies with a median of 5 ms and σ = 1, one call in a thousand stalls for a second: the hedge takes the 99.9th
/// percentile from there to what two ordinary calls take, wherever the delay comes from.
#[tokio::test(start_paused = true)]
async fn the_tail_is_cut_for_few_extra_calls() {
    for (delay, seed) in [(DELAY, 1), (HedgeDelay::Adaptive, 1), (HedgeDelay::Adaptive, 2), (HedgeDelay::Adaptive, 3)] {
        let dice = Arc::new(Mutex::new(Dice(seed)));
        let latency = move || {
            let mut dice = dice.lock().unwrap();
            if dice.roll(1_000) == 0 {
                return Duration::from_secs(1);
            }
            // The sum of twelve uniform numbers, less six, is nearly normal.
            let normal = (0..12).map(|_| dice.roll(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0;
            ms(5).mul_f64(normal.exp())
        };
        let lookup = move |_: u64| {
            let latency = latency();
            async move {
                sleep(latency).await;
                Ok::<_, ()>(())
            }
        };
        let users = hedged(lookup, delay, allows(100_000));
        let mut took = Vec::new();
        for id in 0..20_000 {
            let begin = Instant::now();
            users.invoke(id).await.unwrap();
            took.push(begin.elapsed());
        }
        took.sort();
        let counts = users.gauge().counts();
        assert!(took[19_980] <= ms(80), "{delay:?}, seed {seed}: p99.9 {:?}, {counts:?}", took[19_980]);
        assert!(counts.hedges <= 500 && counts.won > 0, "{delay:?}, seed {seed}: {counts:?}");
    }
}
