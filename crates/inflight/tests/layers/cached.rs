//! Answers are used again while they are fresh, missing ones for a time of their own, errors never.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use inflight::layers::{CacheCounts, CacheOptions, cached, single_flight};
use inflight::{AsyncFunction, AsyncStreamExt, Concurrency, Destination, DestinationOptions, Options};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::service::{Service, ms};

const TTL: Duration = Duration::from_secs(60);
const MISSING_TTL: Duration = Duration::from_secs(5);
const STALE_FOR: Duration = Duration::from_secs(30);
/// What a call takes.
const CALL: Duration = Duration::from_millis(10);
/// From here on no key has anything.
const MISSING: u64 = 1_000;

type Answer = Option<(u64, usize)>;

fn options() -> CacheOptions<Answer> {
    CacheOptions { stale_for: STALE_FOR, ..CacheOptions::with_missing(1_000, TTL, MISSING_TTL) }
}

/// The external system, which can fail or hang: calls answer with the key and the number of the call.
#[derive(Clone, Default)]
struct Lookup {
    service: Service,
    fails: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
}

impl AsyncFunction<u64> for Lookup {
    type Output = Answer;
    type Error = &'static str;

    async fn invoke(&self, id: u64) -> Result<Answer, &'static str> {
        let serving = self.service.serve();
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        sleep(CALL).await;
        if self.fails.load(Ordering::SeqCst) {
            return Err("down");
        }
        Ok((id < MISSING).then_some((id, serving.call)))
    }

    fn timeout(&self, id: u64) -> Option<Result<Answer, &'static str>> {
        Some(Ok(Some((id, 0))))
    }

    async fn close(&mut self) -> Result<(), &'static str> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn key(id: &u64) -> u64 {
    *id
}

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_needs_no_call() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
    let start = Instant::now();
    assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
    assert_eq!(users.invoke(8).await, Ok(Some((8, 2))), "another key, another answer");
    advance(TTL - ms(100)).await;
    assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
    assert_eq!(lookup.service.calls(), 2);
    assert!(start.elapsed() < TTL);
    assert_eq!(users.gauge().counts(), CacheCounts { hits: 2, stale: 0, misses: 2, refreshed: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_fetched_again() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, CacheOptions { stale_for: Duration::ZERO, ..options() });
    users.invoke(7).await.unwrap();
    advance(TTL).await;
    assert_eq!(users.invoke(7).await, Ok(Some((7, 2))));
    assert_eq!(users.gauge().counts(), CacheCounts { hits: 0, stale: 0, misses: 2, refreshed: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_answers_age_counts_from_the_start_of_its_call() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, CacheOptions { stale_for: Duration::ZERO, ..options() });
    users.invoke(7).await.unwrap();
    advance(TTL - CALL).await;
    assert_eq!(users.invoke(7).await, Ok(Some((7, 2))));
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_kept() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    lookup.fails.store(true, Ordering::SeqCst);
    assert_eq!(users.invoke(7).await, Err("down"));
    lookup.fails.store(false, Ordering::SeqCst);
    assert_eq!(users.invoke(7).await, Ok(Some((7, 2))));
}

#[tokio::test(start_paused = true)]
async fn missing_keys_have_their_own_shorter_time() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    for _ in 0..10 {
        assert_eq!(users.invoke(MISSING).await, Ok(None));
    }
    assert_eq!(lookup.service.calls(), 1);
    advance(MISSING_TTL).await;
    assert_eq!(users.invoke(MISSING).await, Ok(None));
    assert_eq!(lookup.service.calls(), 2, "never stale: a key that is new is seen");
    assert_eq!(users.gauge().counts().stale, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_comes_at_once_and_one_call_renews_it() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    users.invoke(7).await.unwrap();
    advance(TTL).await;
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(2 * CALL).await;
    assert_eq!(users.invoke(7).await, Ok(Some((7, 2))));
    assert_eq!(lookup.service.calls(), 2);
    assert_eq!(users.gauge().counts(), CacheCounts { hits: 1, stale: 100, misses: 1, refreshed: 1 });
}

#[tokio::test(start_paused = true)]
async fn while_renewal_fails_the_old_answer_stands_as_long_as_it_may() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    users.invoke(7).await.unwrap();
    lookup.fails.store(true, Ordering::SeqCst);
    advance(TTL).await;
    for refresh in 1..=3 {
        assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
        sleep(2 * CALL).await;
        assert_eq!(lookup.service.calls(), 1 + refresh, "each failure lets the next record try");
    }
    advance(STALE_FOR).await;
    assert_eq!(users.invoke(7).await, Err("down"));
    assert_eq!(users.gauge().counts().refreshed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_ends_with_the_old_answer() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    users.invoke(7).await.unwrap();
    lookup.hangs.store(true, Ordering::SeqCst);
    advance(TTL).await;
    users.invoke(7).await.unwrap();
    sleep(CALL).await;
    assert_eq!(lookup.service.serving(), 1);
    sleep(STALE_FOR).await;
    assert_eq!(lookup.service.serving(), 0);
    lookup.hangs.store(false, Ordering::SeqCst);
    assert_eq!(users.invoke(7).await, Ok(Some((7, 3))));
    advance(TTL).await;
    users.invoke(7).await.unwrap();
    sleep(2 * CALL).await;
    assert_eq!(users.gauge().counts().refreshed, 1, "the key can be renewed again");
}

#[tokio::test(start_paused = true)]
async fn no_more_renewals_at_a_time_than_allowed() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, CacheOptions { refreshes: 3, ..options() });
    join_all((0..50).map(|id| users.invoke(id))).await;
    advance(TTL).await;
    lookup.hangs.store(true, Ordering::SeqCst);
    for result in join_all((0..50).map(|id| users.invoke(id))).await {
        assert!(result.is_ok());
    }
    sleep(ms(1)).await;
    assert_eq!(lookup.service.serving(), 3);
    assert_eq!(users.gauge().counts().stale, 50);
}

#[tokio::test(start_paused = true)]
async fn renewals_end_with_the_function() {
    let lookup = Lookup::default();
    for close in [true, false] {
        lookup.hangs.store(false, Ordering::SeqCst);
        let mut users = cached(lookup.clone(), key, options());
        users.invoke(7).await.unwrap();
        lookup.hangs.store(true, Ordering::SeqCst);
        advance(TTL).await;
        users.invoke(7).await.unwrap();
        sleep(ms(1)).await;
        assert_eq!(lookup.service.serving(), 1);
        if close {
            users.close().await.unwrap();
            assert_eq!(lookup.service.serving(), 0);
            assert!(lookup.closed.load(Ordering::SeqCst), "what held it is gone");
        }
        drop(users);
        sleep(ms(1)).await;
        assert_eq!(lookup.service.serving(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_leaves_the_cache_as_it_was() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    assert!(timeout(CALL / 2, users.invoke(7)).await.is_err());
    assert_eq!(lookup.service.serving(), 0);
    assert_eq!(users.invoke(7).await, Ok(Some((7, 2))));
}

#[tokio::test(start_paused = true)]
async fn what_a_timeout_falls_back_to_is_not_kept() {
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options());
    let gauge = users.gauge();
    lookup.hangs.store(true, Ordering::SeqCst);
    let results = stream::iter([7, 7]).ordered_wait(users, Options::new().concurrency(1).timeout(ms(100)));
    let results: Vec<_> = results.collect().await;
    assert_eq!(results, [Ok(Some((7, 0))), Ok(Some((7, 0)))]);
    assert_eq!(gauge.counts().misses, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stampede_is_one_call_with_single_flight_inside() {
    let lookup = Lookup::default();
    let users = cached(single_flight(lookup.clone(), key), key, options());
    let gauge = users.gauge();
    let results = stream::iter([7; 1_000]).ordered_wait(users, Options::new().concurrency(50).capacity(100));
    let results: Vec<_> = results.map(Result::unwrap).collect().await;
    assert_eq!(results, vec![Some((7, 1)); 1_000]);
    assert_eq!(gauge.counts(), CacheCounts { hits: 950, stale: 0, misses: 50, refreshed: 0 });
}

#[tokio::test(start_paused = true)]
async fn what_is_renewed_has_a_place_on_the_wire_of_the_destination_or_waits() {
    let mut limits = DestinationOptions::new(Concurrency::Fixed(1));
    limits.budget.reserve = 2;
    let destination = Destination::new(limits).unwrap();
    let lookup = Lookup::default();
    let users = cached(lookup.clone(), key, options()).calling(destination.clone());
    users.invoke(7).await.unwrap();
    advance(TTL).await;
    // No tokens are needed, as the call saves one later.
    let on_the_wire = destination.extra().unwrap();
    assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
    sleep(2 * CALL).await;
    assert_eq!(lookup.service.calls(), 1, "there was no room");
    drop(on_the_wire);
    assert_eq!(users.invoke(7).await, Ok(Some((7, 1))));
    assert_eq!(destination.gauge().on_wire, 1);
    sleep(2 * CALL).await;
    assert_eq!(users.invoke(7).await, Ok(Some((7, 2))));
    assert_eq!(destination.gauge().on_wire, 0);
}
