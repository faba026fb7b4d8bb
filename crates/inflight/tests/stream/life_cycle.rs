//! Open first, close last, and what happens when the stream is dropped in between.

use std::sync::{Arc, Mutex};

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{AsyncFunction, AsyncStreamExt, Cause, Clock, Failure, Options, Order, Retry};

use crate::service::{Service, all_ok, ms, settle, wait};

/// Notes what happens to it.
#[derive(Clone, Default)]
struct Diary {
    entries: Arc<Mutex<Vec<String>>>,
    fails_to_open: bool,
    fails_to_close: bool,
    latency: u64,
}

impl Diary {
    fn note(&self, entry: impl Into<String>) {
        self.entries.lock().unwrap().push(entry.into());
    }

    fn entries(&self) -> Vec<String> {
        self.entries.lock().unwrap().clone()
    }
}

impl AsyncFunction<u64> for Diary {
    type Output = u64;
    type Error = &'static str;

    async fn open(&mut self) -> Result<(), &'static str> {
        tokio::time::sleep(ms(100)).await;
        self.note("open");
        if self.fails_to_open { Err("no such host") } else { Ok(()) }
    }

    async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
        self.note(format!("call {n}"));
        tokio::time::sleep(ms(self.latency)).await;
        self.note(format!("end {n}"));
        Ok(n)
    }

    async fn close(&mut self) -> Result<(), &'static str> {
        self.note("close");
        tokio::time::sleep(ms(100)).await;
        if self.fails_to_close { Err("broken pipe") } else { Ok(()) }
    }
}

// S70, B7: open, then calls, then close, and nothing is left when it closes.
#[tokio::test(start_paused = true)]
async fn a_function_is_opened_before_the_first_call_and_closed_after_the_last_result() {
    for order in Order::ALL {
        let diary = Diary { latency: 10, ..Diary::default() };
        let results = all_ok(wait(order, stream::iter([3]), diary.clone(), Options::new())).await;
        assert_eq!(results, [3]);
        assert_eq!(diary.entries(), ["open", "call 3", "end 3", "close"], "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn results_do_not_wait_for_close() {
    let diary = Diary { latency: 10, ..Diary::default() };
    let mut results = stream::iter([3]).ordered_wait(diary.clone(), Options::new());
    assert_eq!(results.next().await, Some(Ok(3)));
    assert!(results.next().now_or_never().is_none(), "the end waits for it");
    assert!(results.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_be_opened_ends_the_stream_before_a_record_is_taken() {
    let diary = Diary { fails_to_open: true, ..Diary::default() };
    let results: Vec<_> = stream::iter(0..3).ordered_wait(diary.clone(), Options::new()).collect().await;
    assert_eq!(results, [Err(Failure::Open("no such host"))]);
    assert_eq!(diary.entries(), ["open"], "neither called nor closed");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_be_closed_says_so_after_all_results() {
    let diary = Diary { fails_to_close: true, ..Diary::default() };
    let results: Vec<_> = stream::iter(0..3).ordered_wait(diary, Options::new()).collect().await;
    assert_eq!(results, [Ok(0), Ok(1), Ok(2), Err(Failure::Close("broken pipe"))]);
}

// S73: a stream that is dropped stops, at once and without closing: calls on the wire are dropped where they stand.
#[tokio::test(start_paused = true)]
async fn dropping_the_stream_drops_the_calls_and_does_not_close() {
    let service = Service::default();
    let diary = Diary { latency: 1_000_000, ..Diary::default() };
    let (theirs, inner) = (service.clone(), diary.clone());
    struct Both(Service, Diary);
    impl AsyncFunction<u64> for Both {
        type Output = u64;
        type Error = &'static str;
        async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
            let _serving = self.0.serve();
            self.1.invoke(n).await
        }
        async fn close(&mut self) -> Result<(), &'static str> {
            self.1.close().await
        }
    }
    let mut results = stream::iter(0..5).ordered_wait(Both(theirs, inner), Options::new());
    assert!(results.next().now_or_never().is_none());
    settle().await;
    assert_eq!(service.serving(), 5);
    drop(results);
    settle().await;
    assert_eq!(service.serving(), 0);
    assert!(!diary.entries().contains(&"close".to_string()));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stream_that_was_never_polled_touches_nothing() {
    let diary = Diary::default();
    drop(stream::iter(0..5).ordered_wait(diary.clone(), Options::new()));
    settle().await;
    assert!(diary.entries().is_empty());
}

// B9: the end of input loses nothing that is in flight.
#[tokio::test(start_paused = true)]
async fn the_end_of_input_waits_for_all_that_is_in_flight() {
    for order in Order::ALL {
        let diary = Diary { latency: 5_000, ..Diary::default() };
        assert_eq!(all_ok(wait(order, stream::iter(0..50), diary, Options::new())).await.len(), 50, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_input_ends() {
    for order in Order::ALL {
        assert!(all_ok(wait(order, stream::empty(), Diary::default(), Options::new())).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_there_is_nothing_more() {
    let mut results = stream::iter([1]).ordered_wait(Diary::default(), Options::new());
    assert_eq!(results.next().await, Some(Ok(1)));
    for _ in 0..3 {
        assert_eq!(results.next().await, None);
    }
}

// B1: operators can be chained; neither waits for the other's lock, whatever they fail with, and both end.
#[tokio::test(start_paused = true)]
async fn operators_can_be_chained() {
    for first in Order::ALL {
        for second in Order::ALL {
            let one = Diary { latency: 3, ..Diary::default() };
            let two = Diary { latency: 5, ..Diary::default() };
            let chained = wait(first, stream::iter(0..300), one, Options::new().capacity(3)).map(Result::unwrap);
            let mut results = all_ok(wait(second, chained, two, Options::new().capacity(2))).await;
            results.sort_unstable();
            assert!(results.into_iter().eq(0..300), "{first:?}, {second:?}");
        }
    }
}

// S25, D1: a record that fails is a dead letter with the record and the reason, and the stream goes on.
#[tokio::test(start_paused = true)]
async fn a_failure_carries_its_record_and_its_reason() {
    let shaky = |n: u64| async move { if n == 1 { Err("no such user") } else { Ok(n) } };
    let options = Options::new().retry(Retry::fixed(1, ms(10)));
    let results: Vec<_> = stream::iter(0..3).ordered_wait(shaky, options).collect().await;
    assert_eq!((&results[0], &results[2]), (&Ok(0), &Ok(2)));
    let Err(failure @ Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!((letter.input, letter.attempts, &letter.cause), (1, 2, &Cause::Error("no such user")));
    assert!(failure.to_string().starts_with("a record failed after 2 attempts in "), "{failure}");
    assert!(failure.to_string().ends_with(": no such user"), "{failure}");
}

#[test]
fn failures_are_told_in_words() {
    let timed_out = Cause::TimedOut { clock: Clock::Deadline, last: Some("busy") };
    assert_eq!(timed_out.to_string(), "the record's deadline passed (the attempt before failed: busy)");
    assert_eq!(Failure::<u64, _>::Open("no such host").to_string(), "the function could not be opened: no such host");
}

#[tokio::test(start_paused = true)]
async fn statistics_add_up() {
    let shaky = |n: u64| async move {
        tokio::time::sleep(ms(10)).await;
        if n.is_multiple_of(10) { std::future::pending().await } else { Ok::<_, ()>(n) }
    };
    let mut results = stream::iter(0..100).unordered_wait(shaky, Options::new().timeout(ms(50)));
    while results.next().await.is_some() {}
    let stats = results.stats();
    assert_eq!((stats.accepted, stats.emitted, stats.timed_out, stats.calls), (100, 100, 10, 100));
    assert_eq!((stats.held, stats.on_wire, stats.decided), (0, 0, 0));
}
