//! Futures are polled when they are woken, from wherever, and only then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{AsyncStreamExt, Options, Order};

use crate::service::{all_ok, ms, settle, wait};

const MANY: u64 = 10_000;

/// Ready at the second poll.
async fn yield_once(n: u64) -> Result<u64, ()> {
    tokio::task::yield_now().await;
    Ok(n)
}

async fn all_of_many(order: Order) {
    let options = || Options::new().capacity(MANY as usize).deadline(ms(60_000));
    let ready = |n: u64| std::future::ready(Ok::<_, ()>(n));
    for mut results in [
        all_ok(wait(order, stream::iter(0..MANY), ready, options())).await,
        all_ok(wait(order, stream::iter(0..MANY), yield_once, options())).await,
        all_ok(wait(order, stream::iter(0..MANY), all_at_once(), options())).await,
    ] {
        results.sort_unstable();
        assert!(results.into_iter().eq(0..MANY), "{order:?}");
    }
}

/// Calls that all become ready in the same moment, when the last of them has been made.
fn all_at_once() -> impl Fn(u64) -> Pin<Box<dyn Future<Output = Result<u64, ()>> + Send>> + Send + Sync {
    let (open, gate) = tokio::sync::watch::channel(false);
    let made = Arc::new(AtomicUsize::new(0));
    move |n| {
        if made.fetch_add(1, Ordering::SeqCst) + 1 == MANY as usize {
            open.send_replace(true);
        }
        let mut gate = gate.clone();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.ok();
            Ok(n)
        })
    }
}

#[tokio::test(flavor = "current_thread")]
async fn ten_thousand_at_once_on_one_thread() {
    for order in [Order::Ordered, Order::Unordered, Order::KeyOrdered] {
        all_of_many(order).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_on_two_threads() {
    for order in [Order::Ordered, Order::Unordered, Order::KeyOrdered] {
        all_of_many(order).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_may_wake_itself_many_times() {
    let restless = |n: u64| {
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            let again = cx.waker().clone();
            again.wake();
            if polls == 10_000 { Poll::Ready(Ok::<_, ()>(n)) } else { Poll::Pending }
        })
    };
    assert!(all_ok(stream::iter(0..10).ordered_wait(restless, Options::new())).await.into_iter().eq(0..10));
}

#[tokio::test(start_paused = true)]
async fn a_restless_future_does_not_starve_other_tasks() {
    let restless = |_: u64| {
        poll_fn(|cx: &mut Context<'_>| {
            cx.waker().wake_by_ref();
            Poll::<Result<u64, ()>>::Pending
        })
    };
    let mut results = stream::iter(0..1).ordered_wait(restless, Options::new());
    assert!(results.next().now_or_never().is_none());
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_future_is_polled_only_when_it_was_woken() {
    let polls = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&polls);
    let lookup = move |n: u64| {
        let polls = Arc::clone(&theirs);
        let mut sleep = Box::pin(tokio::time::sleep(ms(1 + n)));
        poll_fn(move |cx| {
            polls.fetch_add(1, Ordering::SeqCst);
            sleep.as_mut().poll(cx).map(|()| Ok::<_, ()>(n))
        })
    };
    all_ok(stream::iter(0..100).unordered_wait(lookup, Options::new())).await;
    assert_eq!(polls.load(Ordering::SeqCst), 200, "once inline, once when its timer fired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wakes_from_many_threads_are_all_heard() {
    for order in Order::ALL {
        let lookup = |n: u64| {
            let done = Arc::new(Mutex::new((false, None::<Waker>)));
            let theirs = Arc::clone(&done);
            thread::spawn(move || {
                let waker = {
                    let mut done = theirs.lock().unwrap();
                    done.0 = true;
                    done.1.take()
                };
                waker.into_iter().for_each(Waker::wake);
            });
            poll_fn(move |cx| {
                let mut done = done.lock().unwrap();
                if done.0 {
                    return Poll::Ready(Ok::<_, ()>(n));
                }
                done.1 = Some(cx.waker().clone());
                Poll::Pending
            })
        };
        assert_eq!(all_ok(wait(order, stream::iter(0..500), lookup, Options::new())).await.len(), 500);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wake_after_completion_is_harmless() {
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let kept = Arc::clone(&wakers);
    let lookup = move |n: u64| {
        let kept = Arc::clone(&kept);
        let mut sleep = Box::pin(tokio::time::sleep(ms(5)));
        poll_fn(move |cx| {
            kept.lock().unwrap().push(cx.waker().clone());
            sleep.as_mut().poll(cx).map(|()| Ok::<_, ()>(n))
        })
    };
    // Two at a time: the slots, and so the wakers, are used again by later calls.
    let mut results = stream::iter(0..50).ordered_wait(lookup, Options::new().concurrency(2));
    let mut count = 0;
    while let Some(result) = results.next().await {
        result.unwrap();
        count += 1;
        wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    }
    assert_eq!(count, 50);
    wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    drop(results);
    settle().await;
}

// One wake-up per park: a thousand completions while the driver waits do not mean a thousand turns.
#[tokio::test(start_paused = true)]
async fn an_idle_operator_sleeps() {
    let input_polls = Arc::new(AtomicUsize::new(0));
    let polls = Arc::clone(&input_polls);
    let input = stream::poll_fn(move |_| {
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::<Option<u64>>::Pending
    });
    let mut results = input.ordered_wait(yield_once, Options::new().deadline(ms(100)));
    assert!(results.next().now_or_never().is_none());
    tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
    assert!(input_polls.load(Ordering::SeqCst) <= 2, "{}", input_polls.load(Ordering::SeqCst));
}
