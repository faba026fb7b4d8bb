//! Wakes from other threads, at every moment of an operator's life. What is lost here hangs the test.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use inflight::{Abandoned, Options};
use inflight_timely::AsyncWait;
use timely::dataflow::operators::{Input, ToStream};

use crate::clients::{Callbacks, scrambled};
use crate::{on_a_worker, outcomes, runtime, settle};

/// A pause that hits all phases of a turn.
fn pause(seed: u64) {
    for _ in 0..scrambled(seed) % 3_000 {
        std::hint::spin_loop();
    }
}

/// One call at a time, each woken from another thread a moment after it was polled: while the operator still runs, before it parks,
/// or when it has.
#[test]
fn around_the_end_of_a_turn() {
    const CALLS: u64 = 20_000;
    let runtime = runtime();
    let (sender, questions) = mpsc::channel::<(Arc<AtomicBool>, Waker)>();
    let other = std::thread::spawn(move || {
        for (call, (done, waker)) in (0..).zip(questions) {
            pause(call);
            done.store(true, Ordering::Release);
            waker.wake();
        }
    });
    let call = move |number: u64| {
        let (done, sender, mut asked) = (Arc::new(AtomicBool::new(false)), sender.clone(), false);
        poll_fn(move |cx| {
            if done.load(Ordering::Acquire) {
                return Poll::Ready(Ok::<_, Abandoned>(number));
            }
            if !asked {
                asked = true;
                sender.send((Arc::clone(&done), cx.waker().clone())).expect("the thread runs as long as the calls");
            }
            Poll::Pending
        })
    };
    let out = outcomes(vec![(0..CALLS).collect()], |records| {
        records.ordered_wait(runtime.handle(), call, Options::new().capacity(1))
    });
    assert_eq!(out.len() as u64, CALLS);
    other.join().unwrap();
}

#[test]
fn from_many_threads_at_once() {
    let runtime = runtime();
    for _ in 0..20 {
        let client = Callbacks::new(4);
        let call = move |number| {
            let client = client.clone();
            async move { client.double(number).await }
        };
        let out = outcomes(vec![(0..2_000u64).collect()], |records| {
            records.unordered_wait(runtime.handle(), call, Options::new().capacity(64))
        });
        assert_eq!(out.len(), 2_000);
    }
}

/// Futures that wake themselves, and wakes for nothing.
#[test]
fn by_the_call_itself() {
    let runtime = runtime();
    let call = |number: u64| {
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            if polls <= number % 5 { Poll::Pending } else { Poll::Ready(Ok::<_, Abandoned>(number)) }
        })
    };
    for capacity in [1, 10, 1_000] {
        let out = outcomes(vec![(0..5_000u64).collect()], |records| {
            records.ordered_wait(runtime.handle(), call, Options::new().capacity(capacity))
        });
        assert_eq!(out.len(), 5_000);
    }
}

#[test]
fn after_the_end() {
    let runtime = runtime();
    for _ in 0..200 {
        let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let kept = Arc::clone(&wakers);
        let call = move |number: u64| {
            let kept = Arc::clone(&kept);
            poll_fn(move |cx| {
                kept.lock().unwrap().push(cx.waker().clone());
                Poll::Ready(Ok::<_, Abandoned>(number))
            })
        };
        let latecomers = Arc::clone(&wakers);
        let late = std::thread::spawn(move || {
            for _ in 0..50 {
                latecomers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
                std::thread::yield_now();
            }
        });
        let out = outcomes(vec![(0..20u64).collect()], |records| {
            records.ordered_wait(runtime.handle(), call, Options::new().capacity(3))
        });
        assert_eq!(out.len(), 20);
        wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
        late.join().unwrap();
    }
}

/// A dataflow that is dropped with calls on the wire, whose answers then come.
#[test]
fn after_the_dataflow_was_given_up() {
    let runtime = runtime();
    for _ in 0..200 {
        let client = Callbacks::new(2);
        let call = move |number| {
            let client = client.clone();
            async move { client.double(number).await }
        };
        on_a_worker(|worker| {
            let index = worker.next_dataflow_index();
            let mut input = worker.dataflow::<u64, _, _>(|scope| {
                let (input, records) = scope.new_input::<Vec<u64>>();
                let _waited = records.ordered_wait(runtime.handle(), call, Options::new());
                input
            });
            input.send_batch(&mut (0..100).collect());
            worker.step();
            worker.drop_dataflow(index);
            settle(worker);
        });
    }
}

/// While calls are on the wire and nothing else happens, the worker parks.
#[test]
fn a_worker_that_waits_does_not_run() {
    let runtime = runtime();
    let steps = on_a_worker(move |worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let slow = |number: u64| async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok::<_, Abandoned>(number)
            };
            let numbers = (0..1_000u64).to_stream(scope).container::<Vec<_>>();
            let options = Options::new().capacity(100).deadline(Duration::from_secs(60));
            let _waited = numbers.ordered_wait(runtime.handle(), slow, options.capacity(1_000));
        });
        let mut steps = 0;
        while worker.has_dataflows() {
            worker.step_or_park(None);
            steps += 1;
        }
        steps
    });
    assert!(steps < 1_000, "{steps} steps for a thousand calls that end at the same time");
}
