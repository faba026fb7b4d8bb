//! Operators that share a destination, under many interleavings: nobody who waits is forgotten, the limit holds, and who is gone
//! leaves nothing behind.
//!
//! A lost wake-up is a deadlock here, which the model checker reports.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use inflight_core::{BreakerOptions, CallId, Concurrency, DestinationOptions, Gate, Queue, Time, Verdict};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{check_pct, check_random, future, thread};

use super::{Destination, Wire};

const SCHEDULES: usize = 5_000;
/// Depth of the bugs that the priority schedules look for.
const DEPTH: usize = 3;
const OPERATORS: usize = 3;
const CALLS_EACH: usize = 3;

fn destination(limit: usize, breaker: Option<BreakerOptions>) -> Destination {
    let mut options = DestinationOptions::new(Concurrency::Fixed(limit));
    options.breaker = breaker;
    Destination::new(options).expect("sound options")
}

/// Names of calls, as a queue gives them.
fn names(count: usize) -> Vec<CallId> {
    let mut queue: Queue<(), ()> =
        Queue::new(inflight_core::Config::new(inflight_core::Order::Unordered, count)).expect("a sound configuration");
    for _ in 0..count {
        queue.handle_record(Time::ZERO, 0, None, ());
    }
    let call = |_| match queue.poll(Time::ZERO) {
        inflight_core::Action::Call(call) => call,
        action => panic!("{action:?}"),
    };
    (0..count).map(call).collect()
}

/// What the operators do with each other's calls.
struct World {
    destination: Destination,
    on_wire: AtomicUsize,
    limit: usize,
}

/// An operator with calls to make, `at_once` at a time; each ends in the turn after it has started. It is dropped after `turns`, with
/// what it has on the wire.
fn operate(world: &World, calls: usize, at_once: usize, turns: usize) {
    let mut member = world.destination.member();
    let names = names(at_once);
    let now = Time::ZERO;
    let (mut left, mut running, mut turn) = (calls, Vec::new(), 0);
    future::block_on(poll_fn(|cx| {
        loop {
            turn += 1;
            member.begin(now);
            for name in running.drain(..) {
                world.on_wire.fetch_sub(1, Ordering::SeqCst);
                member.ended(now, name, Verdict::Good, 1);
            }
            if turn > turns {
                return Poll::Ready(());
            }
            while left > 0 && running.len() < at_once && member.call(now) {
                let before = world.on_wire.fetch_add(1, Ordering::SeqCst);
                assert!(before < world.limit, "no more than the limit");
                member.started(names[running.len()]);
                running.push(names[running.len()]);
                left -= 1;
            }
            member.end(now);
            if left == 0 && running.is_empty() {
                return Poll::Ready(());
            }
            if running.is_empty() && member.sleep(now, cx.waker()) {
                return Poll::Pending;
            }
            thread::yield_now();
        }
    }));
    world.on_wire.fetch_sub(running.len(), Ordering::SeqCst);
    drop(member);
}

fn everybody_gets_a_call(limit: usize, at_once: usize, quits: bool) {
    let world = Arc::new(World { destination: destination(limit, None), on_wire: AtomicUsize::new(0), limit });
    let operators: Vec<_> = (0..OPERATORS)
        .map(|operator| {
            let world = Arc::clone(&world);
            let turns = if quits && operator == 0 { 2 } else { usize::MAX };
            thread::spawn(move || operate(&world, CALLS_EACH, at_once, turns))
        })
        .collect();
    for operator in operators {
        operator.join().expect("it ends");
    }
    assert_eq!(world.destination.gauge().on_wire, 0);
}

#[test]
fn operators_take_turns_under_random_schedules() {
    check_random(|| everybody_gets_a_call(1, 1, false), SCHEDULES);
    check_random(|| everybody_gets_a_call(2, 2, false), SCHEDULES);
    check_random(|| everybody_gets_a_call(1, 2, true), SCHEDULES);
}

#[test]
fn operators_take_turns_under_priority_schedules() {
    check_pct(|| everybody_gets_a_call(1, 1, false), SCHEDULES, DEPTH);
    check_pct(|| everybody_gets_a_call(2, 2, true), SCHEDULES, DEPTH);
}

/// Extras come and go while operators wait.
#[test]
fn an_extra_that_ends_lets_the_next_go_on() {
    let story = || {
        let world = Arc::new(World { destination: destination(1, None), on_wire: AtomicUsize::new(0), limit: 1 });
        let extra = world.destination.extra().expect("nothing is on the wire");
        let theirs = Arc::clone(&world);
        let operator = thread::spawn(move || operate(&theirs, CALLS_EACH, 1, usize::MAX));
        drop(extra);
        operator.join().expect("it ends");
    };
    check_random(story, SCHEDULES);
    check_pct(story, SCHEDULES, DEPTH);
}

/// One operator has nothing to call, and sleeps while the breaker is not closed: it hears of its closing.
#[test]
fn who_waits_for_the_breaker_hears_that_it_has_closed() {
    let story = || {
        let options = BreakerOptions { window: 1, min_calls: 1, probes: 1, ..BreakerOptions::default() };
        let destination = destination(1, Some(options));
        let name = names(1)[0];
        let mut prober = destination.member();
        let call = |prober: &mut super::Member, now, verdict| {
            prober.begin(now);
            assert!(prober.call(now), "the breaker lets a probe through");
            prober.started(name);
            prober.ended(now, name, verdict, 0);
            prober.end(now);
        };
        call(&mut prober, Time::ZERO, Verdict::Failed);
        let theirs = destination.clone();
        let sleeper = thread::spawn(move || {
            let mut member = theirs.member();
            future::block_on(poll_fn(|cx| {
                loop {
                    let still = member.begin(Time::ZERO).is_some_and(|(_, still)| still);
                    member.end(Time::ZERO);
                    if !still {
                        return Poll::Ready(());
                    }
                    if member.sleep(Time::ZERO, cx.waker()) {
                        return Poll::Pending;
                    }
                }
            }));
        });
        call(&mut prober, Time::ZERO + options.open_for, Verdict::Good);
        sleeper.join().expect("it ends");
    };
    check_random(story, SCHEDULES);
    check_pct(story, SCHEDULES, DEPTH);
}
