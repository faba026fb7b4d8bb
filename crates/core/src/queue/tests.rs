//! One test per rule of the semantics. The numbers are those of Flink's rules; where the rule differs on purpose, the test says so.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::time::Duration;

use crate::{
    Action, Backoff, Batch, CallId, Clock, Completion, Config, Emit, EventTime, Held, Order, Outcome, Progress, Queue,
    Retry, Snapshot, Time, Timestamp,
};

const fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

const fn span(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// A queue whose records are numbers, and whose service answers a hundred times as much.
struct Story {
    queue: Queue<u32, u32>,
    now: Time,
}

impl Story {
    fn new(order: Order, capacity: usize) -> Self {
        Self::with(order, capacity, |_| {})
    }

    fn with(order: Order, capacity: usize, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(order, capacity);
        change(&mut config);
        Self { queue: Queue::new(config).expect("a sound configuration"), now: Time::ZERO }
    }

    fn record(&mut self, input: u32) -> &mut Self {
        self.arrives(input, 0, None)
    }

    fn arrives(&mut self, input: u32, key: u64, timestamp: Option<i64>) -> &mut Self {
        self.queue.handle_record(self.now, key, timestamp.map(Timestamp), input);
        self
    }

    fn watermark(&mut self, at: i64) -> &mut Self {
        self.queue.handle_watermark(Timestamp(at));
        self
    }

    /// What the queue says to do at a time, until it is idle: "call 1 2", "cancel", "forget".
    fn does(&mut self, at: Time) -> Vec<String> {
        self.acts(at).into_iter().map(|(what, _)| what).collect()
    }

    /// The calls it makes now.
    fn calls(&mut self) -> Vec<CallId> {
        self.acts(self.now).into_iter().filter(|(what, _)| what.starts_with("call")).map(|(_, call)| call).collect()
    }

    fn acts(&mut self, at: Time) -> Vec<(String, CallId)> {
        self.now = at;
        let mut acts = Vec::new();
        loop {
            match self.queue.poll(at) {
                Action::Idle { .. } => return acts,
                Action::Cancel(call) => acts.push(("cancel".into(), call)),
                Action::Forget(call) => acts.push(("forget".into(), call)),
                Action::Call(call) => {
                    let inputs: Vec<_> = self.queue.inputs(call).map(|input| format!(" {input}")).collect();
                    acts.push((format!("call{}", inputs.concat()), call));
                }
            }
        }
    }

    fn wake_at(&mut self) -> Option<Time> {
        match self.queue.poll(self.now) {
            Action::Idle { wake_at } => wake_at,
            action => panic!("{action:?} instead of nothing to do"),
        }
    }

    fn answer(&mut self, call: CallId) {
        let answers: Vec<_> = self.queue.inputs(call).map(|input| Completion::Done(input * 100)).collect();
        self.queue.handle_completion(self.now, call, answers);
    }

    /// The service answers 666, which is worth another attempt.
    fn fail(&mut self, call: CallId) {
        self.queue.handle_completion(self.now, call, [Completion::Retry { last: 666, after: None }]);
    }

    /// What leaves, in order: "1", "W5", "idle", "end"; with its outcome if that is not an answer: "1 late", "1 unanswered".
    fn leaves(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.queue.emit()).map(|emit| name(&emit)).collect()
    }

    /// What leaves, records with their outcomes.
    fn outcomes(&mut self) -> Vec<Outcome<u32>> {
        let records = core::iter::from_fn(|| self.queue.emit());
        records.filter_map(|emit| if let Emit::Record(record) = emit { Some(record.outcome) } else { None }).collect()
    }

    fn snapshot(&self) -> Snapshot<u32, Outcome<u32>> {
        let snapshot = self.queue.snapshot(self.now);
        let elements = snapshot.elements.into_iter().map(|element| match element {
            Held::Record { input, timestamp, progress } => Held::Record { input: *input, timestamp, progress },
            Held::Decided { input, timestamp, outcome, attempts, elapsed } => {
                Held::Decided { input: *input, timestamp, outcome: outcome.clone(), attempts, elapsed }
            }
            Held::Watermark(at) => Held::Watermark(at),
            Held::Idle => Held::Idle,
        });
        Snapshot { watermark: snapshot.watermark, elements: elements.collect() }
    }
}

fn name(emit: &Emit<u32, u32>) -> String {
    match emit {
        Emit::Watermark(at) => format!("W{}", at.0),
        Emit::Idle => "idle".into(),
        Emit::End => "end".into(),
        Emit::Record(record) => match record.outcome {
            Outcome::Done(_) => format!("{}", record.input),
            Outcome::TimedOut { .. } => format!("{} late", record.input),
            Outcome::Unanswered => format!("{} unanswered", record.input),
        },
    }
}

fn timed_out(clock: Clock) -> Outcome<u32> {
    Outcome::TimedOut { clock, last: None }
}

// Capacity and concurrency.

#[test]
fn s2_a_record_holds_its_place_until_it_has_left() {
    let mut story = Story::new(Order::Ordered, 2);
    story.record(1).record(2);
    assert!(!story.queue.has_room());
    let calls = story.calls();
    story.answer(calls[1]);
    assert!(!story.queue.has_room(), "2 is answered, but waits behind 1");
    story.answer(calls[0]);
    assert!(!story.queue.has_room(), "both are answered, but nobody has taken them");
    assert_eq!(story.leaves(), ["1", "2"]);
    assert!(story.queue.has_room());
}

#[test]
fn s3_a_watermark_holds_a_place_by_the_strict_rule_only() {
    for (event_time, has_room) in [(EventTime::Strict, false), (EventTime::Frontier, true)] {
        let mut story = Story::with(Order::Unordered, 2, |config| config.event_time = event_time);
        story.arrives(1, 0, Some(1)).watermark(5);
        assert_eq!(story.queue.has_room(), has_room, "{event_time:?}");
    }
}

#[test]
fn s6_a_call_that_is_given_up_counts_until_it_has_stopped() {
    let mut story = Story::with(Order::Unordered, 4, |config| {
        config.concurrency = 1;
        config.timeout = Some(span(10));
    });
    story.record(1).record(2);
    let calls = story.calls();
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.leaves(), ["1 late"]);
    story.queue.handle_cancelled(at(12), calls[0]);
    assert_eq!(story.does(at(12)), ["call 2"]);
}

#[test]
fn s6_a_call_that_does_not_stop_counts_until_its_grace_is_over() {
    let mut story = Story::with(Order::Unordered, 4, |config| {
        config.concurrency = 1;
        config.timeout = Some(span(10));
        config.grace = Some(span(5));
    });
    story.record(1).record(2);
    assert_eq!(story.does(at(0)), ["call 1"]);
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.wake_at(), Some(at(15)));
    assert_eq!(story.does(at(15)), ["forget", "call 2"]);
}

#[test]
fn concurrency_can_be_lowered_while_more_calls_run() {
    let mut story = Story::new(Order::Unordered, 4);
    story.record(1).record(2);
    let calls = story.calls();
    story.queue.set_concurrency(1);
    story.record(3);
    story.answer(calls[0]);
    assert!(story.calls().is_empty(), "one is still on the wire");
    story.answer(calls[1]);
    assert_eq!(story.does(at(0)), ["call 3"]);
}

// Order and event time.

#[test]
fn s14_ordered_leaves_as_it_came() {
    let mut story = Story::new(Order::Ordered, 9);
    story.arrives(1, 0, Some(9)).watermark(3).arrives(2, 0, Some(4));
    let calls = story.calls();
    story.answer(calls[1]);
    assert!(story.leaves().is_empty());
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "W3", "2"]);
}

#[test]
fn s15_unordered_leaves_as_it_completes_and_strictly_not_past_a_watermark() {
    let mut story = Story::with(Order::Unordered, 9, |config| config.event_time = EventTime::Strict);
    story.arrives(1, 0, Some(1)).arrives(2, 0, Some(2)).watermark(3).arrives(3, 0, Some(4));
    let calls = story.calls();
    story.answer(calls[2]);
    story.answer(calls[1]);
    assert_eq!(story.leaves(), ["2"]);
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "W3", "3"]);
}

#[test]
fn s15_by_the_frontier_rule_only_what_a_watermark_covers_holds_it_back() {
    let mut story = Story::new(Order::Unordered, 9);
    story.arrives(1, 0, Some(1)).arrives(2, 0, Some(7)).watermark(3).arrives(3, 0, Some(4));
    let calls = story.calls();
    story.answer(calls[2]);
    assert_eq!(story.leaves(), ["3"], "it is not late, and does not become it");
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "W3"], "2 is later than the watermark");
}

#[test]
fn s16_without_watermarks_unordered_leaves_as_it_completes() {
    let mut story = Story::new(Order::Unordered, 9);
    story.record(1).record(2).record(3);
    for call in story.calls().into_iter().rev() {
        story.answer(call);
    }
    assert_eq!(story.leaves(), ["3", "2", "1"]);
}

#[test]
fn s17_a_watermark_with_nothing_ahead_leaves_at_once_and_none_is_swallowed() {
    for order in Order::ALL {
        let mut story = Story::new(order, 9);
        story.watermark(3).watermark(4);
        assert_eq!(story.leaves(), ["W3", "W4"], "{order:?}");
    }
}

#[test]
fn s19_an_idle_status_overtakes_nothing() {
    for order in Order::ALL {
        let mut story = Story::new(order, 9);
        story.arrives(1, 0, Some(1));
        story.queue.handle_idle();
        let calls = story.calls();
        assert!(story.leaves().is_empty(), "{order:?}");
        story.answer(calls[0]);
        assert_eq!(story.leaves(), ["1", "idle"], "{order:?}");
    }
}

#[test]
fn s21_a_record_that_is_tried_again_keeps_its_place() {
    let mut story = Story::with(Order::Ordered, 9, |config| config.retry = Some(Retry::fixed(1, span(5))));
    story.record(1).record(2);
    let calls = story.calls();
    story.fail(calls[0]);
    story.answer(calls[1]);
    assert_eq!(story.does(at(5)), ["call 1"]);
    assert!(story.leaves().is_empty());
}

// Results.

#[test]
fn s22_the_first_completion_wins() {
    let mut story = Story::new(Order::Unordered, 2);
    story.record(1);
    let calls = story.calls();
    story.answer(calls[0]);
    story.queue.handle_completion(at(0), calls[0], [Completion::Done(7)]);
    assert_eq!(story.outcomes(), [Outcome::Done(100)]);
    assert_eq!(story.queue.stats().stragglers, 1);
}

#[test]
fn s28_a_call_that_dies_without_an_answer_frees_its_place() {
    let mut story = Story::new(Order::Unordered, 1);
    story.record(1);
    let calls = story.calls();
    story.queue.handle_completion(at(0), calls[0], []);
    assert_eq!(story.leaves(), ["1 unanswered"]);
    assert!(story.queue.has_room());
}

#[test]
fn s60_a_straggler_of_an_earlier_attempt_is_not_taken_for_the_next() {
    let mut story = Story::with(Order::Unordered, 1, |config| {
        config.timeout = Some(span(10));
        config.retry = Some(Retry::fixed(1, span(5)));
    });
    story.record(1);
    let first = story.calls();
    assert_eq!(story.does(at(10)), ["cancel"]);
    story.queue.handle_cancelled(at(10), first[0]);
    assert_eq!(story.does(at(15)), ["call 1"]);
    story.queue.handle_completion(at(16), first[0], [Completion::Done(7)]);
    assert!(story.leaves().is_empty(), "attempt 2 is still on the wire");
}

// Time.

#[test]
fn s41_the_deadline_counts_from_acceptance_and_s42_what_is_answered_has_none() {
    let mut story = Story::with(Order::Ordered, 9, |config| config.deadline = Some(span(10)));
    story.record(1).record(2);
    let calls = story.calls();
    story.answer(calls[1]);
    assert_eq!(story.wake_at(), Some(at(10)));
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.leaves(), ["1 late", "2"], "s46: 2 had waited for 1, but was answered in time");
}

#[test]
fn s41_waiting_for_a_slot_on_the_wire_counts_too() {
    let mut story = Story::with(Order::Unordered, 9, |config| {
        config.concurrency = 1;
        config.deadline = Some(span(10));
    });
    story.record(1).record(2);
    assert_eq!(story.does(at(0)), ["call 1"]);
    story.now = at(9);
    story.record(3);
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.outcomes(), vec![timed_out(Clock::Deadline); 2], "2 was never called");
    assert_eq!(story.queue.stats().calls, 1);
}

#[test]
fn s44_a_timeout_always_gives_an_outcome() {
    let mut story = Story::with(Order::Unordered, 1, |config| config.timeout = Some(span(10)));
    story.record(1);
    assert_eq!(story.does(at(0)), ["call 1"]);
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.outcomes(), [timed_out(Clock::Attempt)]);
    assert!(story.queue.has_room());
}

#[test]
fn s45_nothing_wakes_anybody_for_a_record_that_is_answered() {
    let mut story = Story::with(Order::Unordered, 1, |config| {
        config.timeout = Some(span(10));
        config.deadline = Some(span(20));
    });
    story.record(1);
    let calls = story.calls();
    story.answer(calls[0]);
    assert_eq!(story.wake_at(), None);
}

#[test]
fn s47_one_deadline_for_all_attempts_and_s48_what_it_decides_is_final() {
    let mut story = Story::with(Order::Unordered, 1, |config| {
        config.timeout = Some(span(10));
        config.deadline = Some(span(25));
        config.retry = Some(Retry::fixed(9, span(3)));
    });
    story.record(1);
    for time in [0, 13] {
        assert_eq!(story.acts(at(time)).pop().map(|(what, _)| what).as_deref(), Some("call 1"));
        let calls: Vec<_> = story.acts(at(time + 10)).into_iter().map(|(_, call)| call).collect();
        calls.into_iter().for_each(|call| story.queue.handle_cancelled(at(time + 10), call));
    }
    assert_eq!(story.outcomes(), [timed_out(Clock::Attempt)], "at 23 there is no time for another attempt");
    assert_eq!(story.wake_at(), None);
}

#[test]
fn a_time_beyond_all_times_never_comes() {
    let mut story = Story::with(Order::Unordered, 1, |config| {
        config.deadline = Some(Duration::MAX);
        config.timeout = Some(Duration::MAX);
        config.retry = Some(Retry::fixed(1, Duration::MAX));
    });
    story.now = at(u64::MAX - 5);
    story.record(1);
    let calls = story.calls();
    assert_eq!(story.wake_at(), None);
    story.fail(calls[0]);
    assert_eq!(story.outcomes(), [Outcome::Done(666)]);
}

#[test]
fn s61_an_answer_at_hand_wins_over_the_deadline() {
    let mut story = Story::with(Order::Unordered, 1, |config| config.deadline = Some(span(10)));
    story.record(1);
    let calls = story.calls();
    story.now = at(30);
    story.answer(calls[0]);
    assert!(story.does(at(30)).is_empty());
    assert_eq!(story.outcomes(), [Outcome::Done(100)]);
}

// Retries.

fn attempts(retry: Retry) -> (u64, Vec<Outcome<u32>>) {
    let mut story = Story::with(Order::Unordered, 1, |config| config.retry = Some(retry));
    story.record(1);
    while let Some(&call) = story.calls().first() {
        story.fail(call);
        story.now = story.wake_at().unwrap_or(story.now);
    }
    (story.now.as_nanos(), story.outcomes())
}

#[test]
fn s53_max_counts_retries_and_s54_the_last_result_is_given_as_it_is() {
    let mut story = Story::with(Order::Unordered, 1, |config| config.retry = Some(Retry::fixed(2, span(5))));
    story.record(1);
    for time in [0, 5, 10] {
        let (what, call) = story.acts(at(time)).remove(0);
        assert_eq!(what, "call 1");
        story.fail(call);
    }
    assert_eq!(story.outcomes(), [Outcome::Done(666)]);
    assert_eq!(story.queue.stats().retries, 2);
}

#[test]
fn s55_exponential_backoff_doubles_up_to_its_longest_wait() {
    let backoff = Backoff::Exponential { initial: span(100), multiplier: 2.0, max: span(300) };
    let retry = Retry { backoff, ..Retry::fixed(4, span(0)) };
    assert_eq!(attempts(retry), (100 + 200 + 300 + 300, vec![Outcome::Done(666)]));
}

#[test]
fn s56_records_do_not_share_their_backoff() {
    let backoff = Backoff::Exponential { initial: span(100), multiplier: 2.0, max: span(9999) };
    let mut story =
        Story::with(Order::Unordered, 2, |config| config.retry = Some(Retry { backoff, ..Retry::fixed(9, span(0)) }));
    story.record(1);
    for time in [0, 100, 300] {
        let (_, call) = story.acts(at(time)).remove(0);
        story.fail(call);
    }
    story.record(2);
    let calls = story.calls();
    story.fail(calls[0]);
    assert_eq!(story.wake_at(), Some(at(400)), "2 waits 100 after its first attempt, as 1 did");
    let (_, call) = story.acts(at(400)).remove(0);
    story.answer(call);
    assert_eq!(story.wake_at(), Some(at(700)), "1 waits 400 after its third, whatever 2 did");
}

#[test]
fn s57_a_retry_that_would_come_too_late_is_not_waited_for() {
    let mut story = Story::with(Order::Unordered, 1, |config| {
        config.deadline = Some(span(10));
        config.retry = Some(Retry::fixed(3, span(10)));
    });
    story.record(1);
    let calls = story.calls();
    story.fail(calls[0]);
    assert_eq!(story.outcomes(), [Outcome::Done(666)], "at once, and with the result there is");
}

#[test]
fn a_retry_after_is_waited_for() {
    let mut story = Story::with(Order::Unordered, 1, |config| config.retry = Some(Retry::fixed(3, span(10))));
    story.record(1);
    let calls = story.calls();
    story.queue.handle_completion(at(0), calls[0], [Completion::Retry { last: 666, after: Some(span(70)) }]);
    assert_eq!(story.wake_at(), Some(at(70)));
}

#[test]
fn s71_at_the_end_of_input_retries_keep_their_budget_and_their_wait() {
    let mut story = Story::with(Order::Unordered, 1, |config| config.retry = Some(Retry::fixed(2, span(5))));
    story.record(1);
    let calls = story.calls();
    story.fail(calls[0]);
    story.queue.handle_end();
    assert!(story.does(at(4)).is_empty(), "no extra attempt is forced");
    let (what, call) = story.acts(at(5)).remove(0);
    assert_eq!(what, "call 1");
    story.answer(call);
    assert_eq!(story.leaves(), ["1", "end"]);
}

#[test]
fn s72_the_end_waits_for_everything_held_and_on_the_wire() {
    let mut story = Story::with(Order::Unordered, 2, |config| config.timeout = Some(span(10)));
    story.arrives(1, 0, Some(1)).watermark(3);
    let calls = story.calls();
    story.queue.handle_end();
    assert!(story.leaves().is_empty());
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.leaves(), ["1 late", "W3"]);
    story.queue.handle_cancelled(at(11), calls[0]);
    assert_eq!(story.leaves(), ["end"]);
    assert!(story.leaves().is_empty());
}

#[test]
fn a_drain_decides_everything_by_its_limit() {
    let mut story = Story::with(Order::Ordered, 3, |config| config.concurrency = 1);
    story.record(1).record(2);
    let calls = story.calls();
    story.queue.handle_drain(at(0), span(20));
    assert_eq!(story.wake_at(), Some(at(20)));
    assert_eq!(story.does(at(20)), ["cancel"]);
    assert_eq!(story.outcomes(), vec![timed_out(Clock::Drain); 2]);
    story.queue.handle_cancelled(at(20), calls[0]);
    assert_eq!(story.leaves(), ["end"]);
}

// Snapshot and restore.

fn held(input: u32, attempts: u32) -> Held<u32, Outcome<u32>> {
    Held::Record { input, timestamp: None, progress: Progress { attempts, remaining: None } }
}

fn decided(input: u32, outcome: Outcome<u32>, attempts: u32, elapsed: u64) -> Held<u32, Outcome<u32>> {
    Held::Decided { input, timestamp: None, outcome, attempts, elapsed: span(elapsed) }
}

#[test]
fn s80_a_snapshot_holds_everything_that_has_not_left_in_arrival_order_s81() {
    for order in Order::ALL {
        let mut story = Story::with(order, 9, |config| config.concurrency = 3);
        story.arrives(1, 1, None).arrives(2, 2, None).arrives(3, 3, None).arrives(4, 4, None);
        story.watermark(5);
        let calls = story.calls();
        story.answer(calls[2]);
        story.answer(calls[0]);
        assert!(story.leaves().contains(&"1".into()), "{order:?}");
        let elements = story.snapshot().elements;
        let inputs: Vec<_> = elements
            .iter()
            .filter_map(|element| match element {
                Held::Record { input, .. } | Held::Decided { input, .. } => Some(*input),
                Held::Watermark(_) | Held::Idle => None,
            })
            .collect();
        let expected = if order == Order::Ordered { vec![2, 3, 4] } else { vec![2, 4] };
        assert_eq!(inputs, expected, "{order:?}");
        assert_eq!(elements.last(), Some(&Held::Watermark(Timestamp(5))), "{order:?}");
    }
}

#[test]
fn s82_a_snapshot_larger_than_the_capacity_is_restored_and_all_of_it_is_called() {
    let mut story = Story::with(Order::Ordered, 1, |config| config.concurrency = 9);
    for input in 1..=3 {
        story.queue.handle_restored(at(0), 0, None, input, Progress::default());
    }
    assert!(!story.queue.has_room());
    let calls = story.calls();
    assert_eq!(calls.len(), 3);
    calls.into_iter().for_each(|call| story.answer(call));
    assert_eq!(story.leaves(), ["1", "2", "3"]);
    assert!(story.queue.has_room());
}

#[test]
fn s83_what_was_on_the_wire_is_called_again_and_what_was_answered_is_not() {
    let mut story = Story::with(Order::Ordered, 9, |config| config.retry = Some(Retry::fixed(2, span(5))));
    story.record(1).record(2).record(3);
    let calls = story.calls();
    story.now = at(3);
    story.answer(calls[1]);
    story.fail(calls[2]);
    assert_eq!(
        story.snapshot().elements,
        [held(1, 0), decided(2, Outcome::Done(200), 1, 3), held(3, 1)],
        "only the attempt that failed is spent"
    );
}

/// Hands in what another queue held, all of key 7.
fn restore(story: &mut Story, elements: Vec<Held<u32, Outcome<u32>>>) {
    for element in elements {
        match element {
            Held::Record { input, timestamp, progress } => {
                story.queue.handle_restored(story.now, 7, timestamp, input, progress);
            }
            Held::Decided { input, timestamp, outcome, attempts, elapsed } => {
                story.queue.handle_decided(story.now, 7, timestamp, input, outcome, attempts, elapsed);
            }
            Held::Watermark(at) => story.queue.handle_watermark(at),
            Held::Idle => story.queue.handle_idle(),
        }
    }
}

#[test]
fn a_record_restored_with_its_outcome_is_not_called_and_leaves_in_turn() {
    for (order, before, after) in [
        (Order::Ordered, &[][..], &["1", "2 late", "3"][..]),
        (Order::Unordered, &["2 late"], &["1", "3"]),
        (Order::KeyOrdered, &[], &["1", "2 late", "3"]),
    ] {
        let mut story = Story::with(order, 2, |config| config.deadline = Some(span(10)));
        restore(&mut story, vec![held(1, 0), decided(2, timed_out(Clock::Deadline), 4, 9), held(3, 0)]);
        assert_eq!(story.queue.stats().decided, 1, "{order:?}");
        let calls = story.calls();
        assert_eq!(calls.len(), 2, "{order:?}: 1 and 3");
        assert_eq!(story.leaves(), before, "{order:?}");
        calls.into_iter().for_each(|call| story.answer(call));
        assert_eq!(story.leaves(), after, "{order:?}");
        assert_eq!(story.wake_at(), None, "{order:?}: no timer of it is armed");
    }
}

#[test]
fn with_key_serial_a_record_restored_with_its_outcome_holds_up_its_key_until_it_has_left() {
    let mut story = Story::new(Order::KeySerial, 9);
    restore(&mut story, vec![decided(1, Outcome::Done(5), 1, 0), held(2, 0), decided(3, Outcome::Unanswered, 1, 0)]);
    assert!(story.calls().is_empty());
    assert_eq!(story.leaves(), ["1"]);
    let calls = story.calls();
    assert_eq!(calls.len(), 1);
    assert!(story.leaves().is_empty(), "3 waits for 2");
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["2", "3 unanswered"]);
}

#[test]
fn a_record_restored_with_its_outcome_takes_up_room_and_keeps_its_side_of_a_watermark() {
    let mut story = Story::with(Order::Unordered, 2, |config| config.event_time = EventTime::Frontier);
    let late = Some(Timestamp(3));
    story.queue.handle_record(at(0), 0, Some(Timestamp(4)), 1);
    story.watermark(5);
    story.queue.handle_decided(at(0), 0, late, 2, Outcome::Done(2), 1, span(1));
    assert!(!story.queue.has_room());
    let calls = story.calls();
    assert!(story.leaves().is_empty(), "2 was late, and stays so");
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "W5", "2"]);
    assert!(story.queue.has_room());
}

#[test]
fn attempts_and_elapsed_come_out_as_they_were() {
    for now in [0, 4, 1_000] {
        let mut story = Story::new(Order::Ordered, 9);
        story.now = at(now);
        restore(&mut story, vec![decided(1, Outcome::Done(5), 3, 90)]);
        assert_eq!(story.snapshot().elements, [decided(1, Outcome::Done(5), 3, 90)], "at {now}");
        let Some(Emit::Record(record)) = story.queue.emit() else { panic!("it may leave") };
        assert_eq!((record.attempts, record.decided.since(record.admitted)), (3, span(90)), "at {now}");
    }
}

#[test]
fn an_outcome_that_the_host_changes_is_in_the_snapshot_and_leaves() {
    let mut story = Story::with(Order::Ordered, 9, |config| config.timeout = Some(span(10)));
    story.record(1).record(2).record(3);
    let calls = story.calls();
    story.answer(calls[2]);
    story.does(at(10));
    assert_eq!(story.queue.emit().map(|emit| name(&emit)).as_deref(), Some("1 late"));
    let mut seen = Vec::new();
    story.queue.map_outcomes(|input, outcome| {
        seen.push((*input, outcome));
        Outcome::Done(7)
    });
    assert_eq!(seen, [(2, timed_out(Clock::Attempt)), (3, Outcome::Done(300))], "what is held, and decided");
    let elements = [decided(2, Outcome::Done(7), 1, 10), decided(3, Outcome::Done(7), 1, 0)];
    assert_eq!(story.snapshot().elements, elements);
    assert_eq!(story.outcomes(), [Outcome::Done(7), Outcome::Done(7)]);
}

#[test]
fn s49_time_goes_on_after_a_restore_or_starts_afresh() {
    let mut story = Story::with(Order::Ordered, 9, |config| config.deadline = Some(span(10)));
    let spent = Progress { attempts: 0, remaining: Some(span(4)) };
    story.queue.handle_restored(at(0), 0, None, 1, Progress::default());
    story.queue.handle_restored(at(0), 0, None, 2, spent);
    assert_eq!(story.does(at(0)), ["call 1", "call 2"]);
    assert_eq!(story.wake_at(), Some(at(4)));
    assert_eq!(story.does(at(4)), ["cancel"]);
    assert_eq!(story.wake_at(), Some(at(10)));
}

#[test]
fn a_restored_queue_remembers_which_watermark_left_last() {
    let mut config = Config::new(Order::Unordered, 9);
    config.event_time = EventTime::Frontier;
    let queue = Queue::resume(config, Some(Timestamp(5))).expect("a sound configuration");
    let mut story = Story { queue, now: at(0) };
    story.watermark(5).arrives(1, 0, Some(3)).watermark(8);
    let calls = story.calls();
    assert!(story.leaves().is_empty(), "1 was late for 5, and must not become late for 8 as well");
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "W8"]);
}

// Keys.

#[test]
fn s91_key_serial_calls_one_record_of_a_key_at_a_time() {
    let mut story = Story::new(Order::KeySerial, 9);
    story.arrives(1, 7, None).arrives(2, 7, None).arrives(3, 8, None);
    let calls = story.calls();
    assert_eq!(calls.len(), 2, "1 and 3");
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1"]);
    assert_eq!(story.does(at(0)), ["call 2"]);
}

#[test]
fn s91_key_serial_waits_for_a_call_that_was_given_up() {
    let mut story = Story::with(Order::KeySerial, 9, |config| config.timeout = Some(span(10)));
    story.arrives(1, 7, None).arrives(2, 7, None);
    let calls = story.calls();
    assert_eq!(story.does(at(10)), ["cancel"]);
    assert_eq!(story.leaves(), ["1 late"]);
    assert!(story.does(at(11)).is_empty());
    story.queue.handle_cancelled(at(12), calls[0]);
    assert_eq!(story.does(at(12)), ["call 2"]);
}

#[test]
fn s92_key_serial_keeps_watermarks_too() {
    let mut story = Story::new(Order::KeySerial, 9);
    story.arrives(1, 7, Some(1)).watermark(5).arrives(2, 7, Some(6));
    let calls = story.calls();
    assert!(story.leaves().is_empty());
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "W5"]);
}

#[test]
fn s93_records_that_wait_for_their_key_hold_capacity_and_their_deadline_runs() {
    let mut story = Story::with(Order::KeySerial, 2, |config| {
        config.deadline = Some(span(10));
        config.timeout = Some(span(20));
    });
    story.arrives(1, 7, None).arrives(2, 7, None);
    assert!(!story.queue.has_room());
    assert_eq!(story.does(at(0)), ["call 1"]);
    assert_eq!(
        story.does(at(10)),
        ["cancel"],
        "unlike in Flink the deadline counts the wait; the attempt's timeout does not"
    );
    assert_eq!(story.leaves(), ["1 late", "2 late"]);
}

#[test]
fn key_ordered_calls_at_once_and_leaves_in_order_within_a_key() {
    let mut story = Story::new(Order::KeyOrdered, 9);
    story.arrives(1, 7, None).arrives(2, 7, None).arrives(3, 8, None);
    let calls = story.calls();
    assert_eq!(calls.len(), 3);
    story.answer(calls[1]);
    story.answer(calls[2]);
    assert_eq!(story.leaves(), ["3"]);
    story.answer(calls[0]);
    assert_eq!(story.leaves(), ["1", "2"]);
}

// Batches.

#[test]
fn the_first_record_goes_at_once_and_those_behind_it_gather() {
    let mut story = Story::with(Order::Unordered, 9, |config| {
        config.batch = Batch { size: 3, linger: span(5) };
    });
    story.record(1);
    assert_eq!(story.does(at(0)), ["call 1"]);
    story.record(2);
    assert!(story.does(at(1)).is_empty());
    assert_eq!(story.wake_at(), Some(at(5)));
    story.record(3).record(4);
    assert_eq!(story.does(at(2)), ["call 2 3 4"], "full before its time");
}

#[test]
fn each_record_of_a_batch_gets_its_own_answer_also_when_another_has_timed_out() {
    let mut story = Story::with(Order::Unordered, 9, |config| {
        config.batch.size = 3;
        config.deadline = Some(span(10));
    });
    story.record(1);
    story.now = at(3);
    story.record(2).record(3);
    let calls = story.calls();
    assert!(story.does(at(10)).is_empty(), "the call goes on for the others");
    assert_eq!(story.leaves(), ["1 late"]);
    assert_eq!(story.queue.inputs(calls[0]).collect::<Vec<_>>(), [&2, &3]);
    story.queue.handle_completion(at(11), calls[0], [1, 2].map(Completion::Done));
    assert_eq!(
        story.outcomes(),
        [Outcome::Done(2), Outcome::Unanswered],
        "1 for the first, which has left; none for the third"
    );
}
