//! What operators share when they call the same system: limit, rate, breaker, budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use inflight::{
    AsyncStreamExt, BreakerOptions, BreakerState, Cause, Clock, Concurrency, Destination, DestinationOptions, Failure,
    Options, RateLimit, Retry, RetryBudget, Verdict,
};
use tokio::time::{Instant, sleep};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn fixed(limit: usize) -> DestinationOptions {
    DestinationOptions::new(Concurrency::Fixed(limit))
}

/// A service that counts, and fails or hangs when it is told to.
#[derive(Clone, Default)]
struct Service {
    on_wire: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    fn lookup(
        &self,
    ) -> impl Fn(u64) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, &'static str>> + Send>> + use<> {
        let service = self.clone();
        move |id| {
            let service = service.clone();
            Box::pin(async move {
                service.calls.fetch_add(1, Ordering::SeqCst);
                let now = service.on_wire.fetch_add(1, Ordering::SeqCst) + 1;
                service.most.fetch_max(now, Ordering::SeqCst);
                let _leaves = Leaves(Arc::clone(&service.on_wire));
                if service.hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                sleep(ms(10)).await;
                if service.down.load(Ordering::SeqCst) { Err("down") } else { Ok(id) }
            })
        }
    }

    fn is(&self, mood: &AtomicBool, on: bool) -> &Self {
        mood.store(on, Ordering::SeqCst);
        self
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_over_all_operators_and_is_used_up() {
    let (service, destination) = (Service::default(), Destination::new(fixed(6)).unwrap());
    let began = Instant::now();
    let streams = (0..4).map(|_| {
        let options = Options::new().capacity(50).destination(destination.clone());
        stream::iter(0..150)
            .unordered_wait(service.lookup(), options)
            .filter(|result| std::future::ready(result.is_ok()))
            .count()
    });
    assert_eq!(join_all(streams).await, [150; 4]);
    assert_eq!(service.most.load(Ordering::SeqCst), 6);
    let stats = destination.gauge();
    assert_eq!((stats.calls, stats.on_wire, stats.limit), (600, 0, 6));
    // A hundred rounds of 10 ms, and timers that tick in milliseconds.
    assert!(began.elapsed() < ms(1_250), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_a_share() {
    let (service, destination) = (Service::default(), Destination::new(fixed(1)).unwrap());
    let taken: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let streams = taken.iter().map(|taken| {
        let (taken, options) = (Arc::clone(taken), Options::new().capacity(50).destination(destination.clone()));
        let results = stream::iter(0..).unordered_wait(service.lookup(), options);
        results.take_until(sleep(ms(3_000))).for_each(move |_| {
            taken.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        })
    });
    join_all(streams).await;
    let taken: Vec<_> = taken.iter().map(|taken| taken.load(Ordering::SeqCst)).collect();
    assert!(taken.iter().max().unwrap() - taken.iter().min().unwrap() <= 2, "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_dropped_leaves_its_calls_to_the_others() {
    let (service, destination) = (Service::default(), Destination::new(fixed(2)).unwrap());
    service.is(&service.hangs, true);
    let options = || Options::new().destination(destination.clone());
    let mut hanging = stream::iter(0..10).unordered_wait(service.lookup(), options());
    assert!(tokio::time::timeout(ms(50), hanging.next()).await.is_err());
    let mut waiting = stream::iter(0..10).unordered_wait(service.lookup(), options());
    assert!(tokio::time::timeout(ms(50), waiting.next()).await.is_err());
    assert_eq!(destination.gauge().on_wire, 2);
    service.is(&service.hangs, false);
    drop(hanging);
    assert_eq!(waiting.count().await, 10);
    assert_eq!(destination.gauge().on_wire, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_panic_and_calls_that_time_out_are_given_back() {
    let destination = Destination::new(fixed(1)).unwrap();
    let lookup = |id: u64| async move {
        match id % 3 {
            0 => panic!("a number divisible by three"),
            1 => std::future::pending().await,
            _ => Ok::<_, ()>(id),
        }
    };
    let options = Options::new().timeout(ms(5)).destination(destination.clone());
    let results: Vec<_> = stream::iter(0..9).unordered_wait(lookup, options).collect().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(destination.gauge().on_wire, 0);
}

#[tokio::test(start_paused = true)]
async fn the_rate_holds_over_all_operators() {
    let mut options = fixed(100);
    options.rate_limit = Some(RateLimit { per_second: 50, burst: 5 });
    let (service, destination) = (Service::default(), Destination::new(options).unwrap());
    let began = Instant::now();
    let streams = (0..3).map(|_| {
        let options = Options::new().capacity(50).destination(destination.clone());
        stream::iter(0..50).unordered_wait(service.lookup(), options).count()
    });
    join_all(streams).await;
    let took = began.elapsed();
    assert!(took > ms(2_850) && took < ms(3_000), "145 of the 150 wait for 20 ms each: {took:?}");
    assert!(destination.gauge().rate_waits > 100, "{destination:?}");
}

const BREAKER: BreakerOptions = BreakerOptions {
    window: 20,
    failure_rate: 0.5,
    min_calls: 5,
    open_for: Duration::from_millis(500),
    probes: 2,
    given_up_is_failure: true,
};

fn with_breaker(limit: usize) -> Destination {
    let mut options = fixed(limit);
    options.breaker = Some(BREAKER);
    Destination::new(options).unwrap()
}

/// Failing, and hanging: both for ten times as long as all attempts of a record could take.
#[tokio::test(start_paused = true)]
async fn an_outage_fails_no_record() {
    for hangs in [false, true] {
        let (service, destination) = (Service::default(), with_breaker(8));
        let mood = if hangs { &service.hangs } else { &service.down };
        let options = || {
            Options::new()
                .capacity(40)
                .timeout(ms(100))
                .deadline(ms(1_000))
                .retry(Retry::exponential(3, ms(20), ms(100)))
                .destination(destination.clone())
        };
        let streams =
            (0..2).map(|_| stream::iter(0..1_000).ordered_wait(service.lookup(), options()).collect::<Vec<_>>());
        let outage = async {
            sleep(ms(200)).await;
            service.is(mood, true);
            sleep(ms(10_000)).await;
            let before = service.calls();
            sleep(ms(3_000)).await;
            let probes = service.calls() - before;
            assert!((4..=16).contains(&probes), "two each half second, if the first does not fail: {probes}");
            assert_ne!(destination.gauge().breaker, BreakerState::Closed);
            service.is(mood, false);
        };
        let (results, ()) = futures_util::future::join(join_all(streams), outage).await;
        let failed: Vec<_> = results.iter().flatten().filter(|result| result.is_err()).collect();
        assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed[0]);
        let stats = destination.gauge();
        assert_eq!((stats.breaker, stats.on_wire, stats.pauses), (BreakerState::Closed, 0, 1));
        assert!(stats.paused > ms(12_500) && stats.paused < ms(14_000), "{stats:?}");
    }
}

/// Too few calls for a breaker to notice anything: as long as nobody is answered, a record goes on until its deadline.
#[tokio::test(start_paused = true)]
async fn a_lone_record_outlasts_an_outage_that_is_shorter_than_its_deadline() {
    let lone = async |breaker: bool, outage: u64| {
        let service = Service::default();
        let mut options = fixed(8);
        options.breaker = breaker.then_some(BreakerOptions { window: 1_000, min_calls: 1_000, ..BREAKER });
        let destination = Destination::new(options).unwrap();
        let options = Options::new().deadline(ms(3_000)).retry(Retry::fixed(2, ms(200))).destination(destination);
        service.is(&service.down, true);
        let results = stream::iter([7]).ordered_wait(service.lookup(), options).collect::<Vec<_>>();
        let ends = async {
            sleep(ms(outage)).await;
            service.is(&service.down, false);
        };
        let (results, ()) = futures_util::future::join(results, ends).await;
        (results[0].is_ok(), service.calls())
    };
    assert!(lone(true, 2_000).await.0);
    let (answered, calls) = lone(true, 4_000).await;
    assert!(!answered && (10..=15).contains(&calls), "it ends at its deadline: {calls} calls");
    assert_eq!(lone(false, 2_000).await, (false, 3), "without a breaker its retries are all there is");
}

/// The drain's limit is no deadline of a record: it runs on.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_while_the_breaker_is_open() {
    let (service, destination) = (Service::default(), with_breaker(8));
    service.is(&service.down, true);
    let options = Options::new().deadline(ms(60_000)).retry(Retry::fixed(3, ms(20))).destination(destination.clone());
    let mut results = stream::iter(0..).ordered_wait(service.lookup(), options);
    assert!(tokio::time::timeout(ms(1_000), results.next()).await.is_err());
    let began = Instant::now();
    results.drain(ms(2_000));
    let results: Vec<_> = results.collect().await;
    assert!(began.elapsed() < ms(2_200), "{:?}", began.elapsed());
    assert!(!results.is_empty() && results.iter().all(|result| matches!(
        result,
        Err(Failure::Record(letter)) if matches!(letter.cause, Cause::TimedOut { clock: Clock::Drain, .. } | Cause::Error(_))
    )));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_taken_while_the_breaker_is_open() {
    let (service, destination) = (Service::default(), with_breaker(8));
    service.is(&service.down, true);
    let options = Options::new().deadline(ms(5_000)).retry(Retry::fixed(1, ms(20))).destination(destination.clone());
    let mut results = stream::iter(0..).ordered_wait(service.lookup(), options);
    for _ in 0..20 {
        assert!(tokio::time::timeout(ms(1_000), results.next()).await.is_err(), "nothing fails for twenty seconds");
    }
    let snapshot = results.snapshot().await.unwrap();
    assert_eq!(snapshot.elements.len(), 100, "{snapshot:?}");
}

/// A record that makes calls fail does not keep the others from getting through for long.
#[tokio::test(start_paused = true)]
async fn a_record_that_always_fails_is_not_forgiven_for_ever() {
    let destination = with_breaker(4);
    let poisonous = |id: u64| async move {
        sleep(ms(10)).await;
        if id < 6 { Err("no") } else { Ok(id) }
    };
    let options = Options::new().retry(Retry::fixed(2, ms(20))).destination(destination.clone());
    let mut st = stream::iter(0..200).ordered_wait(poisonous, options);
    let mut results = Vec::new();
    for _ in 0..40 {
        if let Ok(Some(r)) = tokio::time::timeout(ms(300), st.next()).await {
            results.push(r);
        }
    }
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 6);
    assert!(destination.gauge().pauses > 0);
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_share_of_what_is_answered() {
    let mut options = fixed(10);
    options.breaker = None;
    options.budget = RetryBudget { per_mille: 100, reserve: 5, per_second: 1 };
    let destination = Destination::new(options).unwrap();
    let half = |id: u64| async move {
        sleep(ms(10)).await;
        if id.is_multiple_of(2) { Err("no") } else { Ok(id) }
    };
    let options = Options::new()
        .capacity(1_000)
        .deadline(ms(5_000))
        .retry(Retry::fixed(3, ms(1)))
        .destination(destination.clone());
    let mut results = stream::iter(0..1_000).unordered_wait(half, options);
    let mut failed = 0;
    while let Some(result) = results.next().await {
        failed += usize::from(result.is_err());
    }
    assert_eq!(failed, 500);
    let stats = results.stats();
    assert!((50..=5 + 50 + 7).contains(&stats.retries), "{stats:?}");
    assert!(stats.retries_without_token > 0);
}

#[tokio::test(start_paused = true)]
async fn an_extra_needs_two_tokens_and_room() {
    let mut options = fixed(2);
    options.budget = RetryBudget { per_mille: 100, reserve: 6, per_second: 1 };
    let destination = Destination::new(options).unwrap();
    let (one, two) = (destination.extra().unwrap(), destination.extra().unwrap());
    assert!(destination.extra().is_none(), "the limit is reached");
    drop(one);
    drop(destination.extra().unwrap());
    assert!(destination.extra().is_none(), "no token is left");
    drop(two);
    assert_eq!((destination.gauge().extras, destination.gauge().on_wire), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_result_says_about_the_destination_can_be_said() {
    for (verdict, state) in [(Verdict::Failed, BreakerState::Open), (Verdict::Unjudged, BreakerState::Closed)] {
        let destination = with_breaker(4);
        let missing = |_: u64| std::future::ready(Ok::<_, ()>(None::<u64>));
        let options = Options::new().destination(destination.clone()).failure_of(move |_| verdict);
        let mut results = stream::iter(0..5).unordered_wait(missing, options);
        for _ in 0..5 {
            assert!(results.next().await.unwrap().is_ok());
        }
        assert_eq!(destination.gauge().breaker, state);
    }
}

#[test]
fn contradictions_are_refused_by_name() {
    let options = Options::<u64, u64, ()>::new().failure_of(|_| Verdict::Good);
    assert!(options.check().unwrap_err().to_string().contains("failure_of"));
    for (concurrency, name) in [
        (Concurrency::Fixed(0), "concurrency"),
        (Concurrency::Auto { min: 5, max: 4 }, "least concurrency of 5"),
        (Concurrency::Auto { min: 0, max: 4 }, "least concurrency"),
    ] {
        let error = Destination::new(DestinationOptions::new(concurrency)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let mut options = fixed(1);
    options.rate_limit = Some(RateLimit { per_second: 0, burst: 1 });
    assert!(Destination::new(options.clone()).unwrap_err().to_string().contains("rate limit"));
    options.rate_limit = None;
    options.breaker = Some(BreakerOptions { failure_rate: 1.5, ..BREAKER });
    assert!(Destination::new(options.clone()).unwrap_err().to_string().contains("1.5"));
    options.breaker = None;
    options.budget.reserve = 0;
    assert!(Destination::new(options).unwrap_err().to_string().contains("retry budget"));
}
