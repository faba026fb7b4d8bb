//! Clients that report by callback.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{Abandoned, AsyncStreamExt, Cause, Failure, Options, Order, ResultFuture, Retry};

use crate::service::{all_ok, ms, scatter, settle, wait};

// B21: completions come from other threads, real ones, in any order, and from inside the call.
#[tokio::test]
async fn results_may_be_completed_from_any_thread() {
    for order in Order::ALL {
        let lookup = |n: u64| {
            let (result, completed) = ResultFuture::<u64>::new();
            if n.is_multiple_of(3) {
                result.complete(n);
            } else {
                thread::spawn(move || {
                    thread::sleep(Duration::from_micros(scatter(n) % 500));
                    result.complete(n);
                });
            }
            completed
        };
        let mut results = all_ok(wait(order, stream::iter(0..300), lookup, Options::new().capacity(20))).await;
        results.sort_unstable();
        assert!(results.into_iter().eq(0..300), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_completion_wins() {
    let lookup = |n: u64| {
        let (result, completed) = ResultFuture::<u64>::new();
        assert!(result.complete(n));
        assert!(!result.complete(n + 1_000));
        assert!(!result.complete_exceptionally(Abandoned));
        completed
    };
    assert_eq!(all_ok(stream::iter(0..3).ordered_wait(lookup, Options::new())).await, [0, 1, 2]);
}

// S28, D2: a lost callback is an error at once, and its slot is free again.
#[tokio::test(start_paused = true)]
async fn a_promise_that_is_dropped_fails_its_record_and_frees_its_slot() {
    let lookup = |n: u64| {
        let (result, completed) = ResultFuture::<u64>::new();
        if n != 1 {
            result.complete(n);
        }
        completed
    };
    let results: Vec<_> = stream::iter(0..4).ordered_wait(lookup, Options::new().capacity(1)).collect().await;
    let Err(Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!((letter.input, &letter.cause), (1, &Cause::Error(Abandoned)));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_promise_completed_after_the_timeout_is_ignored_and_can_tell() {
    let kept: Arc<Mutex<Vec<ResultFuture<u64>>>> = Arc::default();
    let promises = Arc::clone(&kept);
    let lookup = move |_: u64| {
        let (result, completed) = ResultFuture::new();
        promises.lock().unwrap().push(result);
        completed
    };
    let input = stream::iter([7]).chain(stream::pending());
    let mut results = input.unordered_wait(lookup, Options::new().timeout(ms(10)));
    assert!(matches!(results.next().await, Some(Err(Failure::Record(_)))));
    let promise = kept.lock().unwrap().pop().unwrap();
    assert!(promise.is_given_up());
    assert!(!promise.complete(7));
}

// S60: attempts have identities. A straggler of attempt 1 is not taken for the answer of attempt 2.
#[tokio::test(start_paused = true)]
async fn a_straggler_of_one_attempt_is_not_the_answer_of_the_next() {
    let kept: Arc<Mutex<Vec<ResultFuture<u64>>>> = Arc::default();
    let promises = Arc::clone(&kept);
    let lookup = move |_: u64| {
        let (result, completed) = ResultFuture::new();
        promises.lock().unwrap().push(result);
        completed
    };
    let mut results =
        stream::iter([7]).unordered_wait(lookup, Options::new().timeout(ms(10)).retry(Retry::fixed(1, ms(1))));
    tokio::time::timeout(ms(15), results.next()).await.expect_err("the second attempt runs");
    let (first, second) = {
        let kept = kept.lock().unwrap();
        (kept[0].clone(), kept[1].clone())
    };
    assert!(!first.complete(1));
    assert!(second.complete(2));
    assert_eq!(results.next().await, Some(Ok(2)));
}

// B14: completing after shutdown is harmless, from any thread.
#[tokio::test]
async fn a_completion_after_the_stream_was_dropped_is_harmless() {
    let kept: Arc<Mutex<Vec<ResultFuture<u64>>>> = Arc::default();
    let promises = Arc::clone(&kept);
    let lookup = move |_: u64| {
        let (result, completed) = ResultFuture::new();
        promises.lock().unwrap().push(result);
        completed
    };
    let mut results = stream::iter(0..10).unordered_wait(lookup, Options::new());
    assert!(results.next().now_or_never().is_none());
    while kept.lock().unwrap().len() < 10 {
        tokio::task::yield_now().await;
    }
    drop(results);
    let promises = std::mem::take(&mut *kept.lock().unwrap());
    // The first two are completed while the operator's task has yet to learn of the drop, the others after its end.
    promises[..2].iter().for_each(|promise| assert!(promise.complete(1)));
    settle().await;
    thread::spawn(move || promises.iter().for_each(|promise| assert!(!promise.complete(1)))).join().unwrap();
}
