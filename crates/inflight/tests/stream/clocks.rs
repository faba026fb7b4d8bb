//! Three clocks: one attempt, a record over all its attempts, the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{StreamExt, stream};
use inflight::{
    AsyncFunction, AsyncStreamExt, Cancellation, Cause, Clock, Completed, DeadLetter, Failure, Options, Order, Retry,
};
use tokio::time::Instant;

use crate::service::{Failed, Service, all_ok, ms, settle, wait};

fn dead_letter(result: Option<Result<u64, Failed>>) -> DeadLetter<u64, &'static str> {
    match result {
        Some(Err(Failure::Record(letter))) => letter,
        other => panic!("not a dead letter: {other:?}"),
    }
}

async fn hang(_: u64) -> Result<u64, &'static str> {
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_times_out() {
    for order in Order::ALL {
        let mut results = wait(order, stream::iter([7]), hang, Options::new().timeout(ms(250)));
        let start = Instant::now();
        let letter = dead_letter(results.next().await);
        let cause = Cause::TimedOut { clock: Clock::Attempt, last: None };
        assert_eq!(letter, DeadLetter { input: 7, timestamp: None, cause, attempts: 1, elapsed: letter.elapsed });
        assert!(letter.elapsed >= ms(250) && letter.elapsed <= ms(252), "{:?}", letter.elapsed);
        assert!(start.elapsed() <= ms(252));
        assert!(results.next().await.is_none(), "{order:?}: and the stream ends");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_spans_all_attempts() {
    let calls = AtomicU32::new(0);
    let fails_then_hangs = move |_: u64| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move { if call == 0 { Err("busy") } else { std::future::pending().await } }
    };
    let options = Options::new().deadline(ms(500)).retry(Retry::fixed(5, ms(100)));
    let letter = dead_letter(stream::iter([7]).ordered_wait(fails_then_hangs, options).next().await);
    assert_eq!(letter.cause, Cause::TimedOut { clock: Clock::Deadline, last: Some("busy") });
    assert_eq!(letter.attempts, 2);
    assert!(letter.elapsed >= ms(500) && letter.elapsed <= ms(502), "{:?}", letter.elapsed);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_call_counts_towards_the_deadline() {
    let options = Options::new().concurrency(1).deadline(ms(100));
    let mut results = stream::iter([0, 1]).ordered_wait(hang, options);
    assert_eq!(dead_letter(results.next().await).attempts, 1);
    let second = dead_letter(results.next().await);
    assert_eq!((second.attempts, second.cause), (0, Cause::TimedOut { clock: Clock::Deadline, last: None }));
}

// S4: waiting for capacity does not count, as the record is not accepted yet.
#[tokio::test(start_paused = true)]
async fn waiting_for_capacity_does_not_count_towards_the_deadline() {
    let slow = |n: u64| async move {
        tokio::time::sleep(ms(80)).await;
        Ok::<_, ()>(n)
    };
    let results = stream::iter(0..10).ordered_wait(slow, Options::new().capacity(1).deadline(ms(100)));
    assert_eq!(all_ok(results).await.len(), 10);
}

// S46: what completed in time has completed, however long it waits for its turn.
#[tokio::test(start_paused = true)]
async fn waiting_for_ones_turn_to_leave_does_not_count() {
    let slow_head = |n: u64| async move {
        tokio::time::sleep(ms(if n == 0 { 90 } else { 5 })).await;
        Ok::<_, &str>(n)
    };
    let options = Options::new().timeout(ms(100)).deadline(ms(100));
    let mut results = stream::iter(0..3).ordered_wait(slow_head, options);
    tokio::time::sleep(ms(1)).await;
    assert_eq!(results.next().await, Some(Ok(0)));
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(all_ok(results).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_ready_when_its_deadline_is_looked_at_wins() {
    let just_in_time = |n: u64| async move {
        tokio::time::sleep(ms(100)).await;
        Ok::<_, ()>(n)
    };
    for order in Order::ALL {
        let options = Options::new().capacity(1_000).deadline(ms(100)).timeout(ms(100));
        assert_eq!(all_ok(wait(order, stream::iter(0..KEYS), just_in_time, options)).await.len(), KEYS as usize);
    }
    const KEYS: u64 = crate::service::KEYS;
}

// S42, B12: the clock of a record that has completed does nothing.
#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_completed_record_is_never_called() {
    let calls = Arc::new(AtomicU32::new(0));
    let lookup = Fallback { what: |_| None, latency: 5, timeouts: Arc::clone(&calls) };
    let input = stream::iter(0..100).chain(stream::once(async {
        tokio::time::sleep(ms(1_000)).await;
        100
    }));
    all_ok(Box::pin(input).unordered_wait(lookup, Options::new().deadline(ms(10)))).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

struct Fallback {
    what: fn(u64) -> Option<Result<u64, &'static str>>,
    latency: u64,
    timeouts: Arc<AtomicU32>,
}

impl AsyncFunction<u64> for Fallback {
    type Output = u64;
    type Error = &'static str;

    async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
        tokio::time::sleep(ms(self.latency)).await;
        Ok(n)
    }

    fn timeout(&self, n: u64) -> Option<Result<u64, &'static str>> {
        self.timeouts.fetch_add(1, Ordering::SeqCst);
        (self.what)(n)
    }
}

async fn fallen_back(what: fn(u64) -> Option<Result<u64, &'static str>>) -> Result<u64, Cause<&'static str>> {
    let lookup = Fallback { what, latency: 1_000, timeouts: Arc::default() };
    let mut results = stream::iter([7]).ordered_wait(lookup, Options::new().deadline(ms(10)));
    let result = results.next().await;
    assert!(results.next().await.is_none());
    match result {
        Some(Ok(value)) => Ok(value),
        letter => Err(dead_letter(letter).cause),
    }
}

// B5, B13, S43, S44: `timeout` cannot leave the record undecided, and nothing it does fails more than the record.
#[tokio::test(start_paused = true)]
async fn a_timeout_gives_a_value_an_error_nothing_or_a_panic() {
    assert_eq!(fallen_back(|n| Some(Ok(n * 10))).await, Ok(70));
    assert_eq!(fallen_back(|_| Some(Err("too late"))).await, Err(Cause::Error("too late")));
    assert_eq!(fallen_back(|_| None).await, Err(Cause::TimedOut { clock: Clock::Deadline, last: None }));
    assert_eq!(fallen_back(|_| panic!("a bug")).await, Err(Cause::Panicked("a bug".into())));
}

// B22, B24, S48, S61: what `timeout` gives is final: no predicate sees it, and no failure that comes with it takes its place.
#[tokio::test(start_paused = true)]
async fn a_fallback_is_final() {
    let timeouts = Arc::new(AtomicU32::new(0));
    let lookup = Fallback { what: |_| Some(Ok(0)), latency: 100, timeouts: Arc::clone(&timeouts) };
    let options = Options::new().deadline(ms(50)).retry(Retry::fixed(9, ms(1))).retry_if(|_| true);
    let results = all_ok(stream::iter([1, 2, 3]).ordered_wait(lookup, options)).await;
    assert_eq!(results, [0, 0, 0]);
    assert_eq!(timeouts.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn the_call_of_a_timed_out_record_is_dropped() {
    let service = Service::default();
    let theirs = service.clone();
    let hang = move |_: u64| {
        let service = theirs.clone();
        async move { service.hang::<Result<u64, &str>>().await }
    };
    let input = stream::iter(0..5).chain(stream::pending());
    let mut results = input.unordered_wait(hang, Options::new().timeout(ms(10)));
    for _ in 0..5 {
        dead_letter(results.next().await);
    }
    assert_eq!(service.serving(), 0);
}

struct Stubborn {
    service: Service,
    latency: u64,
}

impl AsyncFunction<u64> for Stubborn {
    type Output = u64;
    type Error = &'static str;

    async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
        Ok(self.service.answer(ms(self.latency), n).await)
    }

    fn cancellation(&self) -> Cancellation {
        Cancellation::Wait
    }
}

// S22, S51: late answers are dropped, and their calls count until they end.
#[tokio::test(start_paused = true)]
async fn a_late_completion_is_ignored_and_counted() {
    let service = Service::default();
    let lookup = Stubborn { service: service.clone(), latency: 100 };
    let input = stream::iter(0..2).chain(stream::pending());
    let mut results = input.unordered_wait(lookup, Options::new().timeout(ms(10)).concurrency(1));
    assert_eq!(dead_letter(results.next().await).input, 0);
    tokio::time::sleep(ms(50)).await;
    assert_eq!((service.calls(), results.stats().given_up), (1, 1), "the second waits for the first to end");
    assert_eq!(dead_letter(results.next().await).input, 1);
    tokio::time::sleep(ms(200)).await;
    assert_eq!((results.stats().stragglers, results.stats().on_wire), (2, 0));
    assert_eq!(service.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_stop_counts_until_its_grace_has_passed() {
    let service = Service::default();
    let lookup = Stubborn { service: service.clone(), latency: 10_000 };
    let options = Options::new().timeout(ms(10)).grace(ms(100)).concurrency(1);
    let start = Instant::now();
    let mut results = stream::iter(0..2).chain(stream::pending()).unordered_wait(lookup, options);
    dead_letter(results.next().await);
    dead_letter(results.next().await);
    assert!(
        start.elapsed() >= ms(120) && start.elapsed() < ms(130),
        "the second waits for the grace: {:?}",
        start.elapsed()
    );
    tokio::time::sleep(ms(150)).await;
    assert_eq!((service.serving(), results.stats().on_wire), (0, 0), "their futures are dropped in the end");
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_nothing_more_and_finishes_what_is_held() {
    for order in Order::ALL {
        let slow = |n: u64| async move {
            tokio::time::sleep(ms(100)).await;
            Ok::<_, ()>(n)
        };
        let mut results = wait(order, stream::iter(0..), slow, Options::new().capacity(14).concurrency(7));
        tokio::time::timeout(ms(1), results.next()).await.expect_err("nothing is ready yet");
        results.drain(ms(1_000));
        let mut drained = all_ok(results).await;
        drained.sort_unstable();
        assert!(drained.into_iter().eq(0..14), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_does_not_finish_times_out_by_its_clock() {
    for order in Order::ALL {
        let input = stream::iter(0..3).chain(stream::pending());
        let mut results = wait(order, input, hang, Options::new().concurrency(2));
        tokio::time::timeout(ms(1), results.next()).await.expect_err("nothing is ready yet");
        results.drain(ms(500));
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(dead_letter(results.next().await).cause, Cause::TimedOut { clock: Clock::Drain, last: None });
        }
        assert!(results.next().await.is_none(), "{order:?}");
        assert!(start.elapsed() >= ms(500) && start.elapsed() <= ms(502));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_drained_before_it_was_polled_ends() {
    let mut results = stream::iter(0..).ordered_wait(hang, Options::new());
    results.drain(ms(10));
    assert!(results.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_does_not_make_a_drain_forgotten() {
    let mut results = stream::iter(0..).ordered_wait(hang, Options::new().capacity(3));
    tokio::time::timeout(ms(1), results.next()).await.expect_err("nothing is ready yet");
    results.drain(ms(10));
    results.snapshot().await;
    assert_eq!(results.count().await, 3);
}

// B17: no attempt starts after the deadline.
#[tokio::test(start_paused = true)]
async fn no_attempt_starts_after_the_deadline() {
    let service = Service::default();
    let theirs = service.clone();
    let fails = move |_: u64| {
        let service = theirs.clone();
        async move { service.answer(ms(10), Err::<u64, _>("busy")).await }
    };
    let input = stream::iter([7]).chain(stream::pending());
    let mut results = input.ordered_wait(fails, Options::new().deadline(ms(100)).retry(Retry::fixed(99, ms(30))));
    let letter = dead_letter(results.next().await);
    let calls = service.calls();
    tokio::time::sleep(ms(10_000)).await;
    settle().await;
    assert_eq!(service.calls(), calls);
    assert_eq!((letter.attempts, letter.cause), (3, Cause::Error("busy")), "at 0, 40 and 80 ms; 120 ms is too late");
}

#[test]
fn a_completed_record_becomes_a_result_or_a_dead_letter() {
    let completed = Completed::<_, u64, _> {
        input: 7,
        timestamp: None,
        result: Err(Cause::Error("no")),
        attempts: 2,
        elapsed: ms(3),
    };
    let letter = completed.into_result().unwrap_err();
    assert_eq!((letter.input, letter.cause, letter.attempts, letter.elapsed), (7, Cause::Error("no"), 2, ms(3)));
}

// B2: the clocks of records that have left keep nothing alive.
#[tokio::test(start_paused = true)]
async fn clocks_of_completed_records_do_not_pile_up() {
    for order in Order::ALL {
        let lookup = |n: u64| async move {
            tokio::time::sleep(ms(1 + n % 3)).await;
            Ok::<_, ()>(n)
        };
        let options = Options::new().capacity(50).timeout(ms(3_600_000)).deadline(ms(7_200_000));
        let mut results = wait(order, stream::iter(0..5_000), lookup, options);
        let mut most = 0;
        while let Some(result) = results.next().await {
            result.unwrap();
            most = most.max(results.stats().timers);
        }
        assert!(most < 500, "{order:?}: {most} timers for 50 records");
    }
}
