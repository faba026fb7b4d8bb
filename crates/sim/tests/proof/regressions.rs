//! Every bug that was found in the queue, by its story. Each stood here, failing, before it was mended.

use core::time::Duration;

use inflight_core::{Action, Completion, Config, Emit, Open, Order, Outcome, Queue, Time};

const fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

fn queue(change: impl FnOnce(&mut Config)) -> Queue<u64, u64> {
    let mut config = Config::new(Order::Unordered, 4);
    config.timeout = Some(Duration::from_nanos(10));
    change(&mut config);
    Queue::new(config).expect("a sound configuration")
}

/// Seed 76: several calls that never answered lost their grace in the same poll. The first was let go of, all had stopped counting,
/// the consumer took `End`, and then came the others.
#[test]
fn the_end_waits_for_what_is_still_to_be_let_go_of() {
    let mut queue = queue(|config| config.grace = Some(Duration::from_nanos(5)));
    queue.handle_record(at(0), 0, None, 1);
    queue.handle_record(at(0), 0, None, 2);
    queue.handle_end();
    let calls = [queue.poll(at(0)), queue.poll(at(0))];
    let [Action::Call(first), Action::Call(second)] = calls else { panic!("{calls:?}") };
    assert_eq!([queue.poll(at(10)), queue.poll(at(10))], [Action::Cancel(first), Action::Cancel(second)]);
    assert!(matches!([queue.emit(), queue.emit()], [Some(Emit::Record(_)), Some(Emit::Record(_))]));
    assert_eq!(queue.poll(at(15)), Action::Forget(first));
    assert_eq!(queue.emit(), None, "there is something left to do");
    assert_eq!(queue.poll(at(15)), Action::Forget(second));
    assert_eq!(queue.emit(), Some(Emit::End));
}

/// Two calls were given up in the same poll. While the host was busy with the first, the second answered: it had ended, and the
/// host was told to stop it all the same, perhaps when its number stood for another call, or after `End`.
#[test]
fn a_call_that_ended_before_its_cancellation_is_not_cancelled() {
    let mut queue = queue(|_| {});
    queue.handle_record(at(0), 0, None, 1);
    queue.handle_record(at(0), 0, None, 2);
    queue.handle_end();
    let calls = [queue.poll(at(0)), queue.poll(at(0))];
    let [Action::Call(first), Action::Call(second)] = calls else { panic!("{calls:?}") };
    assert_eq!(queue.poll(at(10)), Action::Cancel(first));
    queue.handle_completion(at(10), second, [Completion::Done(2)]);
    queue.handle_cancelled(at(10), first);
    assert_eq!(queue.poll(at(10)), Action::Idle { wake_at: None });
    let outcomes: Vec<_> =
        core::iter::from_fn(|| if let Some(Emit::Record(record)) = queue.emit() { Some(record.outcome) } else { None })
            .collect();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::TimedOut { .. })), "{outcomes:?}");
}

/// Seed 8 with a host that hears late: a retry came due before what the host had heard of, its deadline after; by the host's own
/// clock both were past. It was called all the same.
#[test]
fn a_busy_host_makes_no_call_that_comes_too_late() {
    let mut queue = queue(|config| {
        config.concurrency = 1;
        config.deadline = Some(Duration::from_nanos(8));
    });
    queue.handle_record(at(0), 0, None, 1);
    queue.handle_record(at(0), 0, None, 2);
    let Action::Call(first) = queue.poll(at(0)) else { panic!("no call") };
    queue.handle_completion(at(7), first, [Completion::Done(1)]);
    assert_eq!(queue.poll_heard(at(9), at(7), &mut Open), Action::Idle { wake_at: None });
    let second = [queue.emit(), queue.emit()].into_iter().flatten().nth(1);
    let Some(Emit::Record(second)) = second else { panic!("{second:?}") };
    assert_eq!((second.input, second.attempts, second.decided), (2, 0, at(9)));
    assert!(matches!(second.outcome, Outcome::TimedOut { .. }));
}

/// Seed 34 with a host that hears late: the drain's limit had passed, but the host had not heard so far. Calls were started that
/// had to be cancelled in the next moment.
#[test]
fn a_busy_host_makes_no_call_after_the_drain() {
    let mut queue = queue(|_| {});
    queue.handle_record(at(0), 0, None, 1);
    queue.handle_drain(at(0), Duration::from_nanos(5));
    assert_eq!(queue.poll_heard(at(6), at(4), &mut Open), Action::Idle { wake_at: Some(at(5)) });
    assert_eq!(queue.poll(at(6)), Action::Idle { wake_at: None });
    assert!(matches!(queue.emit(), Some(Emit::Record(record)) if record.attempts == 0));
    assert_eq!(queue.emit(), Some(Emit::End));
}
