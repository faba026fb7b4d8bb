//! Snapshots: at any moment, what `next()` has returned and what the snapshot holds are together what was accepted.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{
    AsyncFunction, AsyncStreamExt, Cause, Clock, Clocks, Element, Failure, Held, Options, Order, Retry, Snapshot,
    Timestamp, elements,
};

use crate::service::{all_ok, ms, scatter, settle, wait};

fn records(snapshot: &Snapshot<u64>) -> Vec<u64> {
    let record = |held: &Held<u64>| match held {
        Held::Record { input, .. } => Some(*input),
        _ => None,
    };
    snapshot.elements.iter().filter_map(record).collect()
}

async fn lookup(n: u64) -> Result<u64, ()> {
    if !n.is_multiple_of(3) {
        tokio::time::sleep(ms(1 + scatter(n) % 30)).await;
    }
    Ok(n)
}

/// After `seen` results, and `wait` ms more, takes a snapshot; then resumes another operator from it.
async fn stop_and_go(order: Order, seen: usize, pause: u64) {
    let options = || Options::new().capacity(40).concurrency(15).deadline(ms(10_000));
    let mut results = wait(order, stream::iter(0..600), lookup, options());
    let mut emitted = Vec::new();
    for _ in 0..seen {
        emitted.push(results.next().await.unwrap().unwrap());
    }
    tokio::time::sleep(ms(pause)).await;
    let snapshot = results.snapshot().await.expect("it lives");
    let mut known = [emitted.clone(), records(&snapshot)].concat();
    known.sort_unstable();
    assert!(known.into_iter().eq(0..snapshot.taken), "{order:?} after {seen}: each accepted record once");

    let rest = stream::iter(snapshot.taken..600);
    let resumed = wait(order, rest, lookup, options().resume(snapshot, Clocks::Keep));
    emitted.extend(all_ok(resumed).await);
    if order == Order::Ordered {
        assert!(emitted.is_sorted(), "the order goes on where it was");
    }
    emitted.sort_unstable();
    assert!(emitted.into_iter().eq(0..600), "{order:?} after {seen}: each record once");
}

// B8, B9, B25, B26: at any moment, in all orders, nothing twice and nothing lost.
#[tokio::test(start_paused = true)]
async fn a_snapshot_and_what_was_emitted_are_together_what_was_accepted() {
    for order in Order::ALL {
        for seen in [0, 1, 2, 17, 100, 399, 599, 600] {
            for pause in [0, 1, 13, 1_000] {
                stop_and_go(order, seen, pause).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_changes_nothing() {
    for order in Order::ALL {
        let mut results = wait(order, stream::iter(0..300), lookup, Options::new().capacity(20));
        let mut emitted = Vec::new();
        loop {
            let snapshot = results.snapshot().await.expect("it lives");
            let again = results.snapshot().await.expect("it lives");
            assert!(records(&snapshot).len() <= records(&again).len());
            let Some(result) = results.next().await else { break };
            emitted.push(result.unwrap());
        }
        emitted.sort_unstable();
        assert!(emitted.into_iter().eq(0..300), "{order:?}");
        let snapshot = results.snapshot().await.expect("it ended well");
        assert_eq!((snapshot.elements, snapshot.taken), (vec![], 300));
    }
}

// B29, S7: a snapshot waits neither for a slot nor for a call.
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_there_at_once_while_everything_hangs() {
    for order in Order::ALL {
        let hang = |_: u64| std::future::pending::<Result<u64, ()>>();
        let mut results = wait(order, stream::iter(0..), hang, Options::new().capacity(10).concurrency(3));
        let start = tokio::time::Instant::now();
        tokio::time::timeout(ms(5), results.next()).await.expect_err("it hangs");
        let snapshot = results.snapshot().await.expect("it lives");
        assert!(start.elapsed() <= ms(6), "no time passed");
        assert_eq!(records(&snapshot), (0..10).collect::<Vec<_>>(), "{order:?}: in arrival order");
    }
}

struct StuckDoors;

impl AsyncFunction<u64> for StuckDoors {
    type Output = u64;
    type Error = ();

    async fn open(&mut self) -> Result<(), ()> {
        tokio::time::sleep(ms(1_000)).await;
        Ok(())
    }

    async fn invoke(&self, n: u64) -> Result<u64, ()> {
        Ok(n)
    }

    async fn close(&mut self) -> Result<(), ()> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_there_at_once_while_the_function_opens_or_closes() {
    let start = tokio::time::Instant::now();
    let held = Snapshot { watermark: None, elements: vec![record(7)], taken: 1 };
    let mut results = stream::iter([8]).ordered_wait(StuckDoors, Options::new().resume(held, Clocks::Keep));
    let snapshot = results.snapshot().await.expect("it lives");
    assert!(start.elapsed() <= ms(1));
    assert_eq!((records(&snapshot), snapshot.taken), (vec![7], 0));
    assert_eq!(results.next().await, Some(Ok(7)));
    assert_eq!(results.next().await, Some(Ok(8)));
    tokio::time::timeout(ms(5), results.next()).await.expect_err("it closes for ever");
    let snapshot = results.snapshot().await.expect("it lives");
    assert_eq!((records(&snapshot), snapshot.taken), (vec![], 1));
}

const fn record(input: u64) -> Held<u64> {
    Held::Record { input, timestamp: None, progress: inflight::Progress { attempts: 0, remaining: None } }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_was_asked_for_while_the_function_opens_is_kept() {
    let held = Snapshot { watermark: None, elements: vec![record(7), record(9)], taken: 0 };
    let options = Options::new().capacity(1).resume(held, Clocks::Keep);
    let mut results = stream::iter(0..).ordered_wait(StuckDoors, options);
    results.drain(ms(5_000));
    results.snapshot().await.expect("it lives");
    assert_eq!(results.next().await, Some(Ok(7)));
    assert_eq!(results.next().await, Some(Ok(9)), "what was held before is held");
    tokio::time::timeout(ms(5), results.next()).await.expect_err("it closes for ever");
}

// B4, S82: a snapshot may hold more than the capacity is now; it is all taken in, and the rest of the input waits.
#[tokio::test(start_paused = true)]
async fn a_snapshot_larger_than_the_capacity_is_resumed() {
    for order in Order::ALL {
        let held = Snapshot { watermark: None, elements: (0..50).map(record).collect(), taken: 50 };
        let options = Options::new().capacity(3).resume(held, Clocks::Keep);
        let mut results = all_ok(wait(order, stream::iter(50..100), lookup, options)).await;
        if order == Order::Ordered {
            assert!(results.is_sorted());
        }
        results.sort_unstable();
        assert!(results.into_iter().eq(0..100), "{order:?}");
    }
}

// B32, S81: the order of arrival survives, inside an unordered segment too.
#[tokio::test(start_paused = true)]
async fn records_are_called_in_the_order_of_their_arrival_after_a_restore() {
    let hang = |_: u64| std::future::pending::<Result<u64, ()>>();
    let mut results = stream::iter(0..).unordered_wait(hang, Options::new().capacity(20));
    tokio::time::timeout(ms(5), results.next()).await.expect_err("it hangs");
    let snapshot = results.snapshot().await.expect("it lives");
    let called = AtomicU32::new(0);
    let in_turn = move |n: u64| {
        assert_eq!(u64::from(called.fetch_add(1, Ordering::SeqCst)), n);
        std::future::ready(Ok::<_, ()>(n))
    };
    let resumed = stream::empty().unordered_wait(in_turn, Options::new().resume(snapshot, Clocks::Keep));
    assert_eq!(all_ok(resumed).await.len(), 20);
}

/// Holds a record that has failed once, 400 of its 1000 ms ago.
async fn half_way() -> Snapshot<u64> {
    let calls = AtomicU32::new(0);
    let fails_then_hangs = move |_: u64| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move { if call == 0 { Err("busy") } else { std::future::pending().await } }
    };
    let options = Options::<_, u64, _>::new().deadline(ms(1_000)).retry(Retry::fixed(1, ms(100)));
    let mut results = stream::iter([7]).chain(stream::pending()).ordered_wait(fails_then_hangs, options);
    tokio::time::timeout(ms(400), results.next()).await.expect_err("it hangs");
    results.snapshot().await.expect("it lives")
}

// S49, S63: time and attempts go on or start afresh, by choice.
#[tokio::test(start_paused = true)]
async fn clocks_go_on_or_start_afresh() {
    for (clocks, attempts, elapsed) in [(Clocks::Keep, 2, 600), (Clocks::Reset, 1, 1_000)] {
        let hang = |_: u64| std::future::pending::<Result<u64, &'static str>>();
        let options =
            Options::new().deadline(ms(1_000)).retry(Retry::fixed(1, ms(100))).resume(half_way().await, clocks);
        let mut results = stream::empty().ordered_wait(hang, options);
        let Some(Err(Failure::Record(letter))) = results.next().await else { panic!("it hangs") };
        assert_eq!(letter.cause, Cause::TimedOut { clock: Clock::Deadline, last: None });
        assert_eq!(letter.attempts, attempts, "{clocks:?}");
        assert!(
            letter.elapsed >= ms(elapsed - 2) && letter.elapsed <= ms(elapsed + 2),
            "{clocks:?}: {:?}",
            letter.elapsed
        );
    }
}

#[tokio::test(start_paused = true)]
async fn with_kept_clocks_a_record_has_no_more_retries_than_it_had_left() {
    for (clocks, expected) in [(Clocks::Keep, 1), (Clocks::Reset, 2)] {
        let calls = std::sync::Arc::new(AtomicU32::new(0));
        let theirs = std::sync::Arc::clone(&calls);
        let fails = move |_: u64| {
            theirs.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Err::<u64, _>("busy"))
        };
        let options =
            Options::new().deadline(ms(1_000)).retry(Retry::fixed(1, ms(100))).resume(half_way().await, clocks);
        assert_eq!(stream::empty().ordered_wait(fails, options).count().await, 1);
        assert_eq!(calls.load(Ordering::SeqCst), expected, "{clocks:?}");
    }
}

// A watermark that was handed out is not handed out again, and what was late before it is late after it.
#[tokio::test(start_paused = true)]
async fn watermarks_and_idle_statuses_are_kept() {
    let input = [
        Element::Watermark(Timestamp(1)),
        Element::at(2, 100),
        Element::Watermark(Timestamp(2)),
        Element::Idle,
        Element::at(3, 100),
    ];
    let slow = |n: u64| async move {
        tokio::time::sleep(ms(n)).await;
        Ok::<_, ()>(n)
    };
    for order in Order::ALL {
        let mut results = wait(order, elements(stream::iter(input).chain(stream::pending())), slow, Options::new());
        assert_eq!(results.next().await, Some(Element::Watermark(Timestamp(1))));
        tokio::time::timeout(ms(5), results.next()).await.expect_err("calls run");
        let snapshot = results.snapshot().await.expect("it lives");
        assert_eq!((snapshot.watermark, snapshot.taken), (Some(Timestamp(1)), 5));
        let resumed = wait(order, elements(stream::empty()), slow, Options::new().resume(snapshot, Clocks::Keep));
        let output: Vec<_> = resumed.collect().await;
        let expected =
            [Element::at(2, Ok(100)), Element::Watermark(Timestamp(2)), Element::Idle, Element::at(3, Ok(100))];
        assert_eq!(output, expected, "{order:?}");
    }
}

// A dead operator has lost what it held: it must not be taken for one that held nothing.
#[tokio::test(start_paused = true)]
async fn an_operator_that_died_has_no_snapshot() {
    let input = stream::iter(0..).map(|n: u64| if n == 5 { panic!("broken source") } else { n });
    let hang = |_: u64| std::future::pending::<Result<u64, ()>>();
    let mut results = input.ordered_wait(hang, Options::new());
    assert!(matches!(results.next().await, Some(Err(Failure::Died(_)))));
    assert_eq!(results.snapshot().await, None);

    let input = stream::iter(0..).map(|n: u64| if n == 5 { panic!("broken source") } else { n });
    let mut unread = input.ordered_wait(hang, Options::new());
    assert!(unread.next().now_or_never().is_none());
    settle().await;
    assert_eq!(unread.snapshot().await, None, "also when nobody has read yet that it died");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_right_while_the_operator_runs_on_another_thread() {
    for order in Order::ALL {
        let busy = |n: u64| async move {
            for _ in 0..scatter(n) % 4 {
                tokio::task::yield_now().await;
            }
            Ok::<_, ()>(n)
        };
        let mut results = wait(order, stream::iter(0..20_000), busy, Options::new().capacity(300));
        let mut emitted = Vec::new();
        while let Some(result) = results.next().await {
            emitted.push(result.unwrap());
            if emitted.len().is_multiple_of(997) {
                let snapshot = results.snapshot().await.expect("it lives");
                let mut known = [emitted.clone(), records(&snapshot)].concat();
                known.sort_unstable();
                assert!(known.into_iter().eq(0..snapshot.taken), "{order:?} after {}", emitted.len());
            }
        }
        assert_eq!(emitted.len(), 20_000);
    }
}

// S85: order, capacity and clocks may change between one run and the next.
#[tokio::test(start_paused = true)]
async fn another_order_may_go_on_from_a_snapshot() {
    for before in Order::ALL {
        for after in Order::ALL {
            let mut results = wait(before, stream::iter(0..200), lookup, Options::new().capacity(30));
            let mut emitted = Vec::new();
            for _ in 0..50 {
                emitted.push(results.next().await.unwrap().unwrap());
            }
            let snapshot = results.snapshot().await.expect("it lives");
            let rest = stream::iter(snapshot.taken..200);
            let options = Options::new().capacity(7).deadline(ms(10_000)).resume(snapshot, Clocks::Keep);
            emitted.extend(all_ok(wait(after, rest, lookup, options)).await);
            emitted.sort_unstable();
            assert!(emitted.into_iter().eq(0..200), "{before:?}, then {after:?}");
        }
    }
}
