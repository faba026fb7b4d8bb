//! A second call when the first is slow, within a budget.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::AsyncFunction;
use inflight::layers::{HedgeCounts, HedgeOptions, hedged};
use tokio::time::{Instant, sleep, timeout};

use crate::service::{Dice, Service, ms};

const DELAY: Duration = Duration::from_millis(40);
/// So that each call earns its hedge.
const GENEROUS: HedgeOptions = HedgeOptions { delay: DELAY, per_mille: 1_000 };

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
    let users = hedged(lookup.clone(), GENEROUS);
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
        let users = hedged(lookup.clone(), GENEROUS);
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
    let users = hedged(lookup.clone(), GENEROUS);
    assert_eq!(users.invoke(7).await, Err("second fails"));
    assert_eq!(lookup.service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_drops_both_calls() {
    let lookup = Lookup::default();
    let users = hedged(lookup.clone(), GENEROUS);
    assert!(timeout(ms(100), users.invoke(7)).await.is_err());
    assert_eq!((lookup.service.calls(), lookup.service.serving()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_slow_for_all_sees_no_more_extra_calls_than_the_budget_has() {
    for (per_mille, hedges) in [(0, 0), (1, 1), (20, 20), (1_000, 1_000)] {
        let lookup = Lookup::default();
        let users = hedged(lookup.clone(), HedgeOptions { delay: DELAY, per_mille });
        for id in 0..1_000 {
            assert_eq!(users.invoke(id).await, Ok("slow"));
        }
        assert_eq!(users.gauge().counts(), HedgeCounts { calls: 1_000, hedges, won: 0 }, "{per_mille} ‰");
        assert_eq!(lookup.service.calls(), 1_000 + hedges as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_good_time_saves_up_ten_hedges_and_no_more() {
    let lookup = Lookup::says(&[(1, Ok("fast")); 10_000]);
    let users = hedged(lookup.clone(), HedgeOptions { delay: DELAY, per_mille: 20 });
    for id in 0..10_000 {
        assert_eq!(users.invoke(id).await, Ok("fast"));
    }
    for id in 0..30 {
        assert_eq!(users.invoke(id).await, Ok("slow"));
    }
    assert_eq!(users.gauge().counts().hedges, 10);
}

/// Log-normal latencies with a median of 5 ms and σ = 1, one call in a thousand stalls for a second: the hedge takes the 99.9th
/// percentile from there to what two ordinary calls take.
#[tokio::test(start_paused = true)]
async fn the_tail_is_cut_for_few_extra_calls() {
    let dice = Arc::new(Mutex::new(Dice(1)));
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
    let users = hedged(lookup, HedgeOptions { delay: DELAY, per_mille: 25 });
    let mut took = Vec::new();
    for id in 0..20_000 {
        let begin = Instant::now();
        users.invoke(id).await.unwrap();
        took.push(begin.elapsed());
    }
    took.sort();
    let counts = users.gauge().counts();
    assert!(took[19_980] <= ms(80), "p99.9: {:?}, {counts:?}", took[19_980]);
    assert!(counts.hedges <= 500 && counts.won > 0, "{counts:?}");
}
