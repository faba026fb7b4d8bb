//! Each key has a rate of its own.

use futures_util::future::join_all;
use inflight::layers::{KeyedRates, RateLimit, keyed_rate_limited};
use inflight::{AsyncFunction, BatchFunction, BatchResult};
use tokio::time::{Instant, advance, timeout};

use crate::service::ms;

const RATE: RateLimit = RateLimit { per_second: 10, burst: 2 };

async fn echo(id: u64) -> Result<u64, ()> {
    Ok(id)
}

fn key(id: &u64) -> u64 {
    *id % 10
}

/// After so many milliseconds each of these calls, made at once, has its answer.
async fn took(function: &impl AsyncFunction<u64>, ids: impl IntoIterator<Item = u64>) -> Vec<u128> {
    let begin = Instant::now();
    let calls = ids.into_iter().map(|id| async move {
        assert!(function.invoke(id).await.is_ok());
        begin.elapsed().as_millis()
    });
    join_all(calls.collect::<Vec<_>>()).await
}

/// Within what a timer is late by.
fn is_about(took: &[u128], expected: &[u128]) -> bool {
    took.len() == expected.len() && took.iter().zip(expected).all(|(took, expected)| took.abs_diff(*expected) <= 2)
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_waits_and_others_do_not() {
    advance(ms(10_000)).await;
    let lookup = keyed_rate_limited(echo, key, &KeyedRates::new(RATE));
    let took = took(&lookup, [7, 17, 27, 8, 37, 18]).await;
    assert!(is_about(&took, &[0, 0, 100, 0, 200, 0]), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn workers_keep_the_rate_together() {
    advance(ms(10_000)).await;
    let rates = KeyedRates::new(RATE);
    let (one, other) = (keyed_rate_limited(echo, key, &rates), keyed_rate_limited(echo, key, &rates));
    let (first, second) = tokio::join!(took(&one, [7, 7]), took(&other, [7, 7]));
    assert!(is_about(&first, &[0, 0]) && is_about(&second, &[100, 200]), "{first:?} {second:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_gives_its_turn_back() {
    advance(ms(10_000)).await;
    let lookup = keyed_rate_limited(echo, key, &KeyedRates::new(RATE));
    took(&lookup, [7, 7]).await;
    for _ in 0..1_000 {
        assert!(timeout(ms(0), lookup.invoke(7)).await.is_err());
    }
    let took = took(&lookup, [7]).await;
    assert!(is_about(&took, &[100]), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_that_may_call_again_are_forgotten() {
    let rates = KeyedRates::new(RATE);
    let lookup = keyed_rate_limited(echo, |id: &u64| *id, &rates);
    for id in 0..100_000 {
        assert!(lookup.invoke(id).await.is_ok());
        advance(ms(1)).await;
    }
    let shown = format!("{rates:?}");
    let keys: usize = shown.split_once("keys: ").unwrap().1.split_once(',').unwrap().0.parse().unwrap();
    assert!(keys <= 2_048, "{shown}");
}

struct Many;

impl BatchFunction<u64> for Many {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<u64, ()> {
        Ok(ids.into_iter().map(Ok).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_the_busiest_of_its_keys() {
    advance(ms(10_000)).await;
    let lookup = keyed_rate_limited(Many, key, &KeyedRates::new(RATE));
    let begin = Instant::now();
    assert_eq!(lookup.invoke(vec![7, 8, 17, 27]).await, Ok(vec![Ok(7), Ok(8), Ok(17), Ok(27)]));
    assert!(is_about(&[begin.elapsed().as_millis()], &[100]));
}
