//! What is bounded: records held by the capacity, calls on the wire by the concurrency.

use std::sync::atomic::Ordering;

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{AsyncDataStream, AsyncStreamExt, Options, Order, Retry};

use crate::service::{Service, all_ok, counted, ms, scatter, settle, wait};

#[tokio::test(start_paused = true)]
async fn no_more_records_are_taken_than_there_is_capacity_for() {
    for order in Order::ALL {
        let (input, taken) = counted(1_000);
        let service = Service::default();
        let theirs = service.clone();
        let hang = move |_: u64| {
            let service = theirs.clone();
            async move { service.hang::<Result<u64, ()>>().await }
        };
        let mut results = wait(order, input, hang, Options::new().capacity(10).concurrency(3));
        assert!(results.next().now_or_never().is_none());
        settle().await;
        assert_eq!(taken.load(Ordering::SeqCst), 10, "{order:?}");
        assert_eq!(service.calls(), 3, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrency_and_capacity_are_never_exceeded() {
    for order in Order::ALL {
        let service = Service::default();
        let theirs = service.clone();
        let flaky = move |n: u64| {
            let service = theirs.clone();
            async move {
                let attempt = service.calls() as u64;
                service.answer(ms(1 + scatter(n) % 20), ()).await;
                if scatter(n ^ attempt).is_multiple_of(5) { Err("flaky") } else { Ok(n) }
            }
        };
        let options = Options::new().capacity(16).concurrency(5).timeout(ms(18)).retry(Retry::fixed(3, ms(7)));
        let mut results = wait(order, stream::iter(0..500), flaky, options);
        let mut count = 0;
        while let Some(_either) = results.next().await {
            count += 1;
            let stats = results.stats();
            assert!(stats.held <= 16 && stats.on_wire <= 5, "{order:?}: {stats:?}");
        }
        assert_eq!(count, 500, "{order:?}");
        assert_eq!(service.most(), 5, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_backs_off_holds_no_call() {
    let service = Service::default();
    let theirs = service.clone();
    let first_fails = move |n: u64| {
        let service = theirs.clone();
        async move {
            service.answer(ms(1), ()).await;
            if n == 0 && service.calls() == 1 { Err("busy") } else { Ok(n) }
        }
    };
    let options = Options::new().capacity(2).concurrency(1).retry(Retry::fixed(1, ms(1_000)));
    let results = all_ok(stream::iter(0..3).unordered_wait(first_fails, options)).await;
    assert_eq!(results, [1, 2, 0]);
    assert_eq!(service.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_does_not_empty_the_wire_when_capacity_exceeds_concurrency() {
    let service = Service::default();
    let theirs = service.clone();
    let slow_head = move |n: u64| {
        let service = theirs.clone();
        async move { Ok::<_, ()>(service.answer(ms(if n == 0 { 1_000 } else { 10 }), n).await) }
    };
    let mut results = stream::iter(0..).ordered_wait(slow_head, Options::new().capacity(1_000).concurrency(11));
    assert!(results.next().now_or_never().is_none());
    tokio::time::sleep(ms(505)).await;
    assert_eq!(service.calls(), 1 + 10 * 51, "ten at a time, 10 ms each, while the first still runs");
}

#[tokio::test(start_paused = true)]
async fn many_results_per_record_count_as_one() {
    let words =
        |line: &'static str| async move { Ok::<Vec<_>, ()>(line.split(' ').filter(|word| !word.is_empty()).collect()) };
    let lines = stream::iter(["to be or", "", "not to be"]);
    let results = all_ok(lines.ordered_wait(words, Options::new().capacity(1))).await;
    assert_eq!(results.concat(), ["to", "be", "or", "not", "to", "be"]);
}

#[tokio::test]
#[should_panic(expected = "capacity must be between 1 and 16777216, not 0")]
async fn zero_capacity_is_refused() {
    let echo = |n: u64| async move { Ok::<_, ()>(n) };
    drop(AsyncDataStream::ordered_wait(stream::iter(0..1), echo, ms(1), 0));
}

// S40: Flink truncates to milliseconds, and zero then disables the timeout.
#[tokio::test]
#[should_panic(expected = "deadline must be longer than zero")]
async fn a_timeout_of_zero_is_refused() {
    let echo = |n: u64| async move { Ok::<_, ()>(n) };
    drop(AsyncDataStream::unordered_wait(stream::iter(0..1), echo, ms(0), 1));
}
