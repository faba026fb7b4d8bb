//! Which layer is outside matters: each pair the right way round, and what goes wrong the other way.

use std::time::Duration;

use futures_util::future::join_all;
use inflight::AsyncFunction;
use inflight::layers::{
    BreakerOptions, BreakerState, CacheOptions, HedgeDelay, RateLimit, cached, circuit_breaker, hedged, rate_limited,
    single_flight,
};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::hedged::allows;
use crate::service::{Service, ms};

const SLOW: RateLimit = RateLimit { per_second: 1, burst: 1 };
const TRIPS_EASILY: BreakerOptions = BreakerOptions {
    window: 10,
    failure_rate: 0.1,
    min_calls: 1,
    open_for: Duration::from_secs(60),
    probes: 1,
    given_up_is_failure: true,
};

fn lookup(
    service: &Service,
) -> impl Fn(u64) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, &'static str>> + Send>> + Send + Sync + 'static {
    let service = service.clone();
    move |id| {
        let service = service.clone();
        Box::pin(async move { Ok(service.answer(ms(10), id).await) })
    }
}

fn key(id: &u64) -> u64 {
    *id
}

async fn time_of_a_hundred<F: AsyncFunction<u64>>(function: F) -> Duration {
    let begin = Instant::now();
    for _ in 0..100 {
        assert!(function.invoke(7).await.is_ok());
    }
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_cache_outside_a_rate_limit_answers_at_once() {
    let service = Service::default();
    let options = CacheOptions::new(10, Duration::from_secs(3_600));
    let right = time_of_a_hundred(cached(rate_limited(lookup(&service), SLOW), key, options)).await;
    assert!(right < ms(20), "{right:?}");
    let wrong = time_of_a_hundred(rate_limited(cached(lookup(&service), key, options), SLOW)).await;
    assert!(wrong > Duration::from_secs(98), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn a_single_flight_outside_a_rate_limit_shares_the_turn_too() {
    let service = Service::default();
    let begin = Instant::now();
    let right = single_flight(rate_limited(lookup(&service), SLOW), key);
    join_all((0..50).map(|_| right.invoke(7))).await;
    assert!(begin.elapsed() < ms(20), "{:?}", begin.elapsed());
    let begin = Instant::now();
    let wrong = rate_limited(single_flight(lookup(&service), key), SLOW);
    join_all((0..50).map(|_| wrong.invoke(7))).await;
    assert!(begin.elapsed() > Duration::from_secs(48), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_single_flight_inside_a_cache_covers_what_is_fetched_in_the_background() {
    const TTL: Duration = Duration::from_secs(1);
    let options = CacheOptions { stale_for: TTL, ..CacheOptions::new(10, TTL) };
    // One record renews the key 7; another, of a different entry but the same flight, comes meanwhile.
    let (entry, flight) = (|id: &u64| *id, |id: &u64| id % 10);
    let service = Service::default();
    let right = cached(single_flight(lookup(&service), flight), entry, options);
    right.invoke(7).await.unwrap();
    advance(TTL).await;
    right.invoke(7).await.unwrap();
    sleep(ms(1)).await;
    right.invoke(17).await.unwrap();
    assert_eq!(service.calls(), 2);

    let service = Service::default();
    let wrong = single_flight(cached(lookup(&service), entry, options), flight);
    wrong.invoke(7).await.unwrap();
    advance(TTL).await;
    wrong.invoke(7).await.unwrap();
    sleep(ms(1)).await;
    wrong.invoke(17).await.unwrap();
    assert_eq!(service.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_inside_a_rate_limit_does_not_take_the_line_for_a_failure() {
    let service = Service::default();
    let breaker = circuit_breaker(lookup(&service), TRIPS_EASILY);
    let gauge = breaker.gauge();
    let right = rate_limited(breaker, SLOW);
    join_all((0..5).map(|id| timeout(ms(100), right.invoke(id)))).await;
    assert_eq!(gauge.state(), BreakerState::Closed);

    let wrong = circuit_breaker(rate_limited(lookup(&service), SLOW), TRIPS_EASILY);
    join_all((0..5).map(|id| timeout(ms(100), wrong.invoke(id)))).await;
    assert_eq!(wrong.gauge().state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_inside_a_rate_limit_does_not_take_the_line_for_slowness() {
    let service = Service::default();
    let delay = HedgeDelay::Fixed(ms(40));
    let hedge = hedged(lookup(&service), delay, allows(100));
    let gauge = hedge.gauge();
    let right = rate_limited(hedge, SLOW);
    join_all((0..5).map(|id| right.invoke(id))).await;
    assert_eq!(gauge.counts().hedges, 0);

    let wrong = hedged(rate_limited(lookup(&service), SLOW), delay, allows(100));
    join_all((0..5).map(|id| wrong.invoke(id))).await;
    assert_eq!(wrong.gauge().counts().hedges, 4);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_outside_a_hedge_does_not_take_the_loser_for_a_failure() {
    let slow_at_first = || {
        let service = Service::default();
        move |id: u64| {
            let service = service.clone();
            async move {
                let serving = service.serve();
                sleep(if serving.call == 1 { ms(500) } else { ms(10) }).await;
                Ok::<_, &'static str>(id)
            }
        }
    };
    let delay = HedgeDelay::Fixed(ms(40));
    let right = circuit_breaker(hedged(slow_at_first(), delay, allows(100)), TRIPS_EASILY);
    assert_eq!(right.invoke(7).await, Ok(7));
    assert_eq!(right.gauge().state(), BreakerState::Closed);

    let breaker = circuit_breaker(slow_at_first(), TRIPS_EASILY);
    let gauge = breaker.gauge();
    assert_eq!(hedged(breaker, delay, allows(100)).invoke(7).await, Ok(7));
    assert_eq!(gauge.state(), BreakerState::Open);
}
