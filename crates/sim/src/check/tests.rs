//! Each rule can be broken, and is then found broken: a checker that never objects proves nothing.

use core::time::Duration;

use inflight_core::{
    Action, CallId, Clock, Completion, Config, Emit, Emitted, EventTime, Held, Order, Outcome, Progress, Queue, Retry,
    Snapshot, Stats, Time, Timestamp,
};

use super::Checker;
use crate::{Input, Output, Violation};

const fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

const fn span(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// Names for calls, as a queue gives them.
fn ids<const N: usize>() -> [CallId; N] {
    let mut queue: Queue<usize, ()> = Queue::new(Config::new(Order::Unordered, N)).expect("a sound configuration");
    core::array::from_fn(|input| {
        queue.handle_record(at(0), 0, None, input);
        match queue.poll(at(0)) {
            Action::Call(call) => call,
            action => panic!("{action:?}"),
        }
    })
}

fn checker(order: Order, change: impl FnOnce(&mut Config)) -> Checker {
    let mut config = Config::new(order, 4);
    change(&mut config);
    Checker::new(config)
}

/// With records 0, 1, 2 .. of these timestamps, all of key 7.
fn with_records(order: Order, timestamps: &[i64], change: impl FnOnce(&mut Config)) -> Checker {
    let mut checker = checker(order, change);
    for (input, timestamp) in (0..).zip(timestamps) {
        checker.record(at(0), 7, Some(Timestamp(*timestamp)), input, None);
    }
    checker
}

fn done(input: Input) -> Completion<Output> {
    Completion::Done(Output { input, call: 0 })
}

fn failed(input: Input) -> Completion<Output> {
    Completion::Retry { last: Output { input, call: 0 }, after: None }
}

fn leaving(checker: &Checker, input: Input) -> Emit<Input, Output> {
    let timestamp = checker.records().find(|record| record.input == input).and_then(|record| record.timestamp);
    Emit::Record(Emitted {
        sequence: input,
        input,
        timestamp,
        outcome: Outcome::Done(Output { input, call: 0 }),
        attempts: 1,
        admitted: at(0),
        decided: at(0),
    })
}

/// Calls each record alone, and has it answered.
fn answer(checker: &mut Checker, inputs: &[Input]) {
    for (id, input) in ids::<4>().into_iter().zip(inputs) {
        checker.call(at(0), id, &[*input]).expect("a call");
        checker.completion(at(0), id, &[done(*input)]);
    }
}

#[track_caller]
fn broken(result: Result<(), Violation>, rule: &str) {
    assert_eq!(result.expect_err("the rule is broken").rule, rule);
}

#[test]
fn a_record_that_leaves_twice() {
    let mut checker = with_records(Order::Unordered, &[1], |_| {});
    answer(&mut checker, &[0]);
    let emit = leaving(&checker, 0);
    checker.emitted(Some(&emit)).expect("once");
    broken(checker.emitted(Some(&emit)), "each record leaves once");
}

#[test]
fn a_record_that_leaves_with_the_outcome_of_another() {
    let mut checker = with_records(Order::Unordered, &[1, 2], |_| {});
    answer(&mut checker, &[0, 1]);
    let Emit::Record(record) = leaving(&checker, 1) else { return };
    let wrong = Emit::Record(Emitted { outcome: Outcome::Done(Output { input: 0, call: 0 }), ..record.clone() });
    broken(checker.clone().emitted(Some(&wrong)), "answers go to their own records");
    let wrong = Emit::Record(Emitted { outcome: Outcome::TimedOut { clock: Clock::Deadline, last: None }, ..record });
    broken(checker.emitted(Some(&wrong)), "the outcome is the first that happened");
}

#[test]
fn arrival_order() {
    for (order, rule) in [(Order::Ordered, "arrival order"), (Order::KeyOrdered, "arrival order within a key")] {
        let mut checker = with_records(order, &[1, 2], |_| {});
        answer(&mut checker, &[0, 1]);
        let emit = leaving(&checker, 1);
        broken(checker.emitted(Some(&emit)), rule);
    }
}

#[test]
fn too_many_calls() {
    let mut checker = with_records(Order::Unordered, &[1, 2], |config| config.concurrency = 1);
    let [first, second] = ids();
    checker.call(at(0), first, &[0]).expect("room for one");
    broken(checker.call(at(0), second, &[1]), "on the wire <= concurrency");
}

#[test]
fn too_large_a_batch() {
    let mut checker = with_records(Order::Unordered, &[1, 2], |config| config.batch.size = 1);
    broken(checker.call(at(0), ids::<1>()[0], &[0, 1]), "batch size");
}

#[test]
fn two_calls_of_a_key() {
    let mut checker = with_records(Order::KeySerial, &[1, 2], |_| {});
    let [first, second] = ids();
    broken(checker.clone().call(at(0), first, &[1]), "one call of a key at a time");
    checker.call(at(0), first, &[0]).expect("the first of its key");
    broken(checker.call(at(0), second, &[1]), "one call of a key at a time");
}

#[test]
fn a_call_for_what_is_not_held_or_decided_or_too_late() {
    let mut checker = with_records(Order::Unordered, &[1, 2], |config| config.deadline = Some(span(10)));
    let [first, second] = ids();
    broken(checker.clone().call(at(0), first, &[9]), "only what is held is called");
    broken(checker.clone().call(at(10), first, &[0]), "no attempt at or after the deadline");
    checker.call(at(0), first, &[0]).expect("in time");
    broken(checker.clone().call(at(0), second, &[0]), "no attempt once decided, or while one runs");
    checker.completion(at(0), first, &[done(0)]);
    broken(checker.call(at(0), second, &[0]), "no attempt once decided, or while one runs");
}

#[test]
fn a_retry_too_soon_or_too_many() {
    let mut checker = with_records(Order::Unordered, &[1], |config| config.retry = Some(Retry::fixed(1, span(5))));
    let [first, second, third] = ids();
    checker.call(at(0), first, &[0]).expect("the first attempt");
    checker.completion(at(0), first, &[failed(0)]);
    broken(checker.clone().call(at(4), second, &[0]), "backoff is kept");
    checker.call(at(5), second, &[0]).expect("the second");
    checker.completion(at(5), second, &[failed(0)]);
    broken(checker.call(at(10), third, &[0]), "no attempt once decided, or while one runs");
}

#[test]
fn a_watermark_that_leaves_too_early_or_twice_or_out_of_order() {
    let mut checker = with_records(Order::Unordered, &[3], |_| {});
    checker.watermark(Timestamp(5));
    checker.watermark(Timestamp(8));
    broken(checker.clone().emitted(Some(&Emit::Watermark(Timestamp(5)))), "a watermark waits for what it covers");
    broken(checker.clone().emitted(Some(&Emit::Watermark(Timestamp(8)))), "watermarks leave in order");
    answer(&mut checker, &[0]);
    let emit = leaving(&checker, 0);
    checker.emitted(Some(&emit)).expect("in time");
    checker.emitted(Some(&Emit::Watermark(Timestamp(5)))).expect("nothing is left behind");
    broken(checker.emitted(Some(&Emit::Watermark(Timestamp(5)))), "watermarks leave in order");
}

#[test]
fn a_watermark_that_is_held_for_nothing() {
    let mut checker = with_records(Order::Unordered, &[9], |_| {});
    checker.watermark(Timestamp(5));
    broken(checker.emitted(None), "what may leave leaves");
    let mut strict = with_records(Order::Unordered, &[9], |config| config.event_time = EventTime::Strict);
    strict.watermark(Timestamp(5));
    strict.emitted(None).expect("strictly it waits for everything before it");
}

#[test]
fn a_record_that_passes_a_watermark_or_an_idle_status() {
    let story = |event_time, timestamp: i64, idle: bool| {
        let mut checker = checker(Order::Unordered, |config| config.event_time = event_time);
        checker.record(at(0), 1, Some(Timestamp(1)), 0, None);
        checker.watermark(Timestamp(5));
        if idle {
            checker.idle();
        }
        checker.record(at(0), 2, Some(Timestamp(timestamp)), 1, None);
        answer(&mut checker, &[1]);
        let emit = leaving(&checker, 1);
        checker.emitted(Some(&emit))
    };
    story(EventTime::Frontier, 6, false).expect("by the frontier rule it may");
    broken(story(EventTime::Frontier, 5, false), "a late record stays exactly as late");
    broken(story(EventTime::Strict, 6, false), "nothing passes a watermark");
    broken(story(EventTime::Frontier, 6, true), "nothing passes an idle status");
}

#[test]
fn a_decided_record_that_does_not_leave_and_one_that_does_not_start() {
    let mut checker = with_records(Order::Unordered, &[1], |_| {});
    broken(checker.idle_until(at(0), at(0), None), "what may start starts");
    answer(&mut checker, &[0]);
    broken(checker.emitted(None), "what may leave leaves");
}

#[test]
fn waking_up_too_late_or_at_once() {
    let mut checker = with_records(Order::Unordered, &[1], |config| {
        config.timeout = Some(span(10));
        config.deadline = Some(span(20));
    });
    checker.call(at(0), ids::<1>()[0], &[0]).expect("a call");
    checker.idle_until(at(0), at(0), Some(at(10))).expect("for the attempt");
    broken(checker.clone().idle_until(at(0), at(0), Some(at(20))), "it wakes up in time");
    broken(checker.clone().idle_until(at(0), at(0), None), "it wakes up in time");
    broken(checker.idle_until(at(3), at(3), Some(at(3))), "it wakes up later");
}

#[test]
fn a_call_that_is_cancelled_for_nothing_or_twice_or_forgotten_too_soon() {
    let mut checker = with_records(Order::Unordered, &[1], |config| {
        config.timeout = Some(span(10));
        config.grace = Some(span(5));
    });
    let [call, other] = ids();
    checker.call(at(0), call, &[0]).expect("a call");
    broken(checker.clone().cancel(call), "what is wanted is not cancelled");
    broken(checker.clone().cancel(other), "only what is on the wire is cancelled");
    checker.polled(at(10), at(10));
    broken(checker.clone().idle_until(at(10), at(10), Some(at(15))), "what is given up is cancelled");
    checker.cancel(call).expect("it ran out of time");
    broken(checker.clone().cancel(call), "a call is cancelled once");
    broken(checker.clone().forget(at(14), call), "a call is forgotten after its grace");
    checker.polled(at(15), at(15));
    broken(checker.clone().idle_until(at(15), at(15), None), "a call is forgotten after its grace");
    checker.forget(at(15), call).expect("its grace is over");
}

#[test]
fn an_end_that_comes_too_early_or_not_at_all_and_what_comes_after_it() {
    let mut checker = with_records(Order::Unordered, &[1], |_| {});
    let end = Some(&Emit::End);
    broken(checker.clone().emitted(end), "no end before the end of input");
    checker.end();
    broken(checker.clone().emitted(end), "the end is last");
    answer(&mut checker, &[0]);
    let emit = leaving(&checker, 0);
    checker.emitted(Some(&emit)).expect("a record");
    broken(checker.clone().emitted(None), "the end leaves at the end");
    checker.emitted(end).expect("the end");
    broken(checker.clone().emitted(end), "nothing runs after the end");
    broken(checker.clone().call(at(0), ids::<1>()[0], &[0]), "nothing runs after the end");
    broken(checker.idle_until(at(0), at(0), Some(at(9))), "nothing runs after the end");
}

#[test]
fn an_end_while_a_call_is_on_the_wire() {
    let mut checker = with_records(Order::Unordered, &[1], |config| config.timeout = Some(span(10)));
    checker.call(at(0), ids::<1>()[0], &[0]).expect("a call");
    checker.end();
    checker.polled(at(10), at(10));
    let Emit::Record(record) = leaving(&checker, 0) else { return };
    let outcome = Outcome::TimedOut { clock: Clock::Attempt, last: None };
    checker.emitted(Some(&Emit::Record(Emitted { outcome, decided: at(10), ..record }))).expect("it ran out of time");
    broken(checker.emitted(Some(&Emit::End)), "nothing is on the wire at the end");
}

#[test]
fn counts_that_are_wrong_and_too_much_held() {
    let checker = with_records(Order::Unordered, &[1, 2], |_| {});
    let stats = Stats { held: 2, accepted: 2, ..Stats::default() };
    checker.stats(&stats, true).expect("right");
    broken(checker.stats(&Stats { held: 1, ..stats }, true), "stats are what was observed");
    broken(checker.stats(&stats, false), "room while held < capacity");
    broken(checker.stats(&Stats { timers: 9999, ..stats }, true), "timers are bounded");
    let full = with_records(Order::Unordered, &[1, 2, 3, 4, 5], |_| {});
    broken(full.stats(&stats, false), "held <= capacity");
}

#[test]
fn a_snapshot_that_lacks_a_record_or_has_it_elsewhere() {
    let checker = with_records(Order::Unordered, &[1, 2], |_| {});
    let record = |input: Input, timestamp| Held::Record {
        input,
        timestamp: Some(Timestamp(timestamp)),
        progress: Progress::default(),
    };
    let snapshot = |elements| Snapshot { watermark: None, elements };
    checker.snapshot(&snapshot(vec![record(0, 1), record(1, 2)])).expect("right");
    let rule = "snapshot + emitted = accepted";
    broken(checker.snapshot(&snapshot(vec![record(0, 1)])), rule);
    broken(checker.snapshot(&snapshot(vec![record(1, 2), record(0, 1)])), rule);
    let late = Snapshot { watermark: Some(Timestamp(0)), elements: Vec::new() };
    broken(checker.snapshot(&late), "a snapshot knows the last watermark");
}

#[test]
fn a_snapshot_with_an_outcome_that_is_not_so_or_without_one() {
    let mut checker = with_records(Order::Ordered, &[1, 2], |_| {});
    answer(&mut checker, &[1]);
    let timestamp = |input: Input| Some(Timestamp(input as i64 + 1));
    let record = |input| Held::Record { input, timestamp: timestamp(input), progress: Progress::default() };
    let decided = |input, outcome, attempts| {
        let elapsed = Duration::ZERO;
        Held::Decided { input, timestamp: timestamp(input), outcome, attempts, elapsed }
    };
    let done = |call| Outcome::Done(Output { input: 1, call });
    let snapshot = |elements| Snapshot { watermark: None, elements };
    checker.snapshot(&snapshot(vec![record(0), decided(1, done(0), 1)])).expect("right");
    let rule = "a snapshot has the outcomes";
    broken(checker.snapshot(&snapshot(vec![record(0), record(1)])), rule);
    broken(checker.snapshot(&snapshot(vec![record(0), decided(1, done(7), 1)])), rule);
    broken(checker.snapshot(&snapshot(vec![record(0), decided(1, done(0), 2)])), rule);
    broken(checker.snapshot(&snapshot(vec![decided(0, Outcome::Unanswered, 0), decided(1, done(0), 1)])), rule);
}

#[test]
fn a_record_restored_with_its_outcome_that_is_called_again_or_gets_another() {
    let mut checker = checker(Order::Unordered, |_| {});
    let outcome = Outcome::Done(Output { input: 0, call: 0 });
    checker.record_decided((at(9), span(4)), 7, None, 0, outcome.clone(), 2);
    broken(checker.clone().call(at(9), ids::<1>()[0], &[0]), "no attempt once decided, or while one runs");
    broken(checker.emitted(None), "what may leave leaves");
    let leaves = |outcome, attempts, admitted| {
        let decided = at(9);
        Emit::Record(Emitted { sequence: 0, input: 0, timestamp: None, outcome, attempts, admitted, decided })
    };
    let other = Outcome::Done(Output { input: 0, call: 1 });
    broken(checker.clone().emitted(Some(&leaves(other, 2, at(5)))), "the outcome is the first that happened");
    let rule = "a record leaves with what it came with";
    broken(checker.clone().emitted(Some(&leaves(outcome.clone(), 1, at(5)))), rule);
    broken(checker.clone().emitted(Some(&leaves(outcome.clone(), 2, at(9)))), rule);
    checker.emitted(Some(&leaves(outcome, 2, at(5)))).expect("right");
}
