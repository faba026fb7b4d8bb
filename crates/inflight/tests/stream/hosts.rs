//! What a host of one's own may rely on: when a snapshot is taken, and that results in it are final.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use inflight::driver::{Setup, Stopped, drive};
use inflight::host::{Holdings, Host, Incoming, Outgoing, Request, Tagged};
use inflight::{AsyncFunction, Cause, Clock, Function, Options, Order, Progress, Single, Stats, Timestamp};
use inflight_core::Held;

use crate::service::ms;

type Answer = Result<u64, Cause<&'static str>>;
type Element = Incoming<u64, char, u64, &'static str>;

/// What the driver did with its host.
#[derive(Clone, Debug, PartialEq)]
enum Did {
    Restored,
    TookIn,
    Emitted(u64, char, Answer, u32, Duration),
    EmittedWatermark(i64),
    TookSnapshot(Vec<Held<(u64, char), Answer>>),
}

#[derive(Default)]
struct Desk {
    restored: VecDeque<Element>,
    input: VecDeque<Element>,
    request: Option<Request>,
    did: Vec<Did>,
}

/// A host that the test reaches between polls.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Desk>>);

impl Host<u64, u64, &'static str> for Shared {
    type Tag = char;

    fn restored(&mut self) -> Option<Element> {
        let mut desk = self.0.borrow_mut();
        let element = desk.restored.pop_front()?;
        desk.did.push(Did::Restored);
        Some(element)
    }

    fn poll_input(&mut self, _: &mut Context<'_>) -> Poll<Element> {
        let mut desk = self.0.borrow_mut();
        let Some(element) = desk.input.pop_front() else { return Poll::Pending };
        desk.did.push(Did::TookIn);
        Poll::Ready(element)
    }

    fn request(&mut self) -> Option<Request> {
        self.0.borrow_mut().request.take()
    }

    fn room(&mut self) -> usize {
        100
    }

    fn emit(&mut self, outgoing: Outgoing<u64, char, u64, &'static str>) {
        self.0.borrow_mut().did.push(match outgoing {
            Outgoing::Record { tag, completed } => {
                Did::Emitted(completed.input, tag, completed.result, completed.attempts, completed.elapsed)
            }
            Outgoing::Watermark(at) => Did::EmittedWatermark(at.0),
            Outgoing::Idle => panic!("nobody was idle"),
        });
    }

    fn flush(&mut self, _: Stats) {}

    fn sleep(&mut self, _: &Waker) -> bool {
        true
    }

    fn snapshot(&mut self, holdings: Holdings<'_, u64, char, u64, &'static str>) {
        let own = |input: &Tagged<u64, char>| (input.value, input.tag);
        let elements = holdings.elements.into_iter().map(|element| match element {
            Held::Record { input, timestamp, progress } => Held::Record { input: own(input), timestamp, progress },
            Held::Decided { input, timestamp, outcome, attempts, elapsed } => {
                Held::Decided { input: own(input), timestamp, outcome: outcome.clone(), attempts, elapsed }
            }
            Held::Watermark(at) => Held::Watermark(at),
            Held::Idle => Held::Idle,
        });
        let elements = elements.collect();
        self.0.borrow_mut().did.push(Did::TookSnapshot(elements));
    }
}

impl Shared {
    fn restores(&self, elements: impl IntoIterator<Item = Element>) {
        self.0.borrow_mut().restored.extend(elements);
    }

    fn arrives(&self, elements: impl IntoIterator<Item = Element>) {
        self.0.borrow_mut().input.extend(elements);
    }

    fn wants_snapshot(&self) {
        self.0.borrow_mut().request = Some(Request::Snapshot);
    }

    /// Polls the driver once; what it did.
    async fn poll(&self, driver: &mut Driver) -> Vec<Did> {
        poll_fn(|cx| {
            assert!(driver.as_mut().poll(cx).is_pending(), "its input is open");
            Poll::Ready(std::mem::take(&mut self.0.borrow_mut().did))
        })
        .await
    }
}

type Driver = Pin<Box<dyn Future<Output = Result<(), Stopped<&'static str>>>>>;

fn driver<F>(order: Order, function: F, options: Options<u64, u64, &'static str>, host: &Shared) -> Driver
where
    F: Function<u64, Single, Output = u64, Error = &'static str>,
{
    let setup = Setup::new(order, None, None, options).expect("sound options");
    let mut host = host.clone();
    Box::pin(tokio::task::unconstrained(async move { drive(function, setup, &mut host).await }))
}

/// A record whose tag is its letter.
fn record(input: u64, progress: Option<Progress>) -> Element {
    Incoming::Record { input: tagged(input), timestamp: None, progress }
}

fn tagged(value: u64) -> Tagged<u64, char> {
    Tagged { value, tag: char::from(b'a' + value as u8) }
}

async fn after_millis(n: u64) -> Result<u64, &'static str> {
    tokio::time::sleep(ms(n)).await;
    Ok(n * 100)
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_taken_before_anything_else_of_that_poll() {
    let host = Shared::default();
    host.restores([record(3, None)]);
    host.arrives([record(1, None), Incoming::Watermark(Timestamp(5))]);
    host.wants_snapshot();
    let mut driver = driver(Order::Ordered, after_millis, Options::new(), &host);
    let opens = [Did::TookSnapshot(vec![]), Did::Restored, Did::TookIn, Did::TookIn];
    assert_eq!(host.poll(&mut driver).await, opens, "the restored one was still the host's");

    // 3 and 1 have been answered, 2 waits at the door.
    tokio::time::advance(ms(4)).await;
    host.arrives([record(2, None)]);
    host.wants_snapshot();
    let did = host.poll(&mut driver).await;
    let Did::TookSnapshot(held) = &did[0] else { panic!("{did:?}") };
    let inputs = held.iter().map(|held| if let Held::Decided { input, .. } = held { Some(*input) } else { None });
    assert_eq!(inputs.collect::<Vec<_>>(), [Some((3, 'd')), Some((1, 'b')), None], "{held:?}");
    assert_eq!(held[2], Held::Watermark(Timestamp(5)));
    let rest = did[1..].iter().map(|did| match did {
        Did::Emitted(input, ..) => format!("{input}"),
        other => format!("{other:?}"),
    });
    assert_eq!(rest.collect::<Vec<_>>(), ["TookIn", "3", "1", "EmittedWatermark(5)"]);
}

/// Answers 1, fails 2, panics at 3, and is too slow for the others; it has something to fall back upon for 4.
#[derive(Default)]
struct Moody {
    fallbacks: AtomicUsize,
}

impl AsyncFunction<u64> for Moody {
    type Output = u64;
    type Error = &'static str;

    async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
        match n {
            1 => Ok(100),
            2 => Err("two"),
            3 => panic!("three"),
            _ => after_millis(100).await,
        }
    }

    fn timeout(&self, n: u64) -> Option<Result<u64, &'static str>> {
        let earlier = self.fallbacks.fetch_add(1, Ordering::SeqCst) as u64;
        (n == 4).then_some(Ok(earlier + 4_000))
    }
}

fn carried(held: Held<(u64, char), Answer>) -> Element {
    match held {
        Held::Record { input: (value, tag), timestamp, progress } => {
            Incoming::Record { input: Tagged { value, tag }, timestamp, progress: Some(progress) }
        }
        Held::Decided { input: (value, tag), timestamp, outcome: result, attempts, elapsed } => {
            Incoming::Decided { input: Tagged { value, tag }, timestamp, result, attempts, elapsed }
        }
        Held::Watermark(at) => Incoming::Watermark(at),
        Held::Idle => Incoming::Idle,
    }
}

fn emitted(did: Vec<Did>) -> Vec<(u64, char, Answer, u32, Duration)> {
    let record = |did| {
        if let Did::Emitted(input, tag, result, attempts, elapsed) = did {
            Some((input, tag, result, attempts, elapsed))
        } else {
            None
        }
    };
    did.into_iter().filter_map(record).collect()
}

#[tokio::test(start_paused = true)]
async fn results_in_a_snapshot_are_those_that_go_out_here_and_after_a_restore() {
    let host = Shared::default();
    // 0 keeps the others from leaving.
    host.arrives([record(0, Some(Progress { attempts: 0, remaining: Some(ms(1_000)) }))]);
    host.arrives((1..=5).map(|input| record(input, None)));
    let options = || Options::new().deadline(ms(10)).capacity(6);
    let mut first = driver(Order::Ordered, Moody::default(), options(), &host);
    host.poll(&mut first).await;
    tokio::time::advance(ms(20)).await;
    // Clocks are looked at when the reactor has had its say.
    for _ in 0..4 {
        assert_eq!(emitted(host.poll(&mut first).await), []);
        tokio::task::yield_now().await;
    }
    host.wants_snapshot();
    let mut did = host.poll(&mut first).await;
    let Did::TookSnapshot(held) = did.remove(0) else { panic!("{did:?}") };
    let decided: Vec<_> = held
        .iter()
        .filter_map(|held| {
            if let Held::Decided { input, outcome, .. } = held { Some((input.0, outcome.clone())) } else { None }
        })
        .collect();
    let late = Err(Cause::TimedOut { clock: Clock::Deadline, last: None });
    let results = [
        (1, Ok(100)),
        (2, Err(Cause::Error("two"))),
        (3, Err(Cause::Panicked("three".into()))),
        (4, Ok(4_000)),
        (5, late),
    ];
    assert_eq!(decided, results);

    // The first goes on as if nothing had happened.
    tokio::time::advance(ms(200)).await;
    let there = emitted(host.poll(&mut first).await);
    assert_eq!(there[0].2, Ok(10_000));
    assert!(there[1..].iter().map(|record| (record.0, record.2.clone())).eq(results.clone()), "made once: {there:?}");

    // The other makes no call for what is decided, though there is room for one record only.
    let other = Shared::default();
    other.restores(held.into_iter().map(carried));
    let makes_no_difference = |n: u64| async move { if n == 0 { Ok(10_000) } else { panic!("{n} is called again") } };
    let mut second = driver(Order::Ordered, makes_no_difference, Options::new().deadline(ms(10)).capacity(1), &other);
    let here = emitted(other.poll(&mut second).await);
    assert_eq!(here[1..], there[1..], "attempts and times too");
    assert_eq!((here[0].0, &here[0].2), (0, &Ok(10_000)));
}

#[tokio::test(start_paused = true)]
async fn a_decided_record_among_the_input_leaves_in_turn() {
    let host = Shared::default();
    let carried = Incoming::Decided {
        input: tagged(2),
        timestamp: None,
        result: Err(Cause::Unanswered),
        attempts: 3,
        elapsed: ms(7),
    };
    host.arrives([record(1, None), carried, record(0, None)]);
    let mut driver = driver(Order::Ordered, after_millis, Options::new(), &host);
    host.poll(&mut driver).await;
    tokio::time::advance(ms(2)).await;
    let left = emitted(host.poll(&mut driver).await);
    assert_eq!(left.iter().map(|record| record.0).collect::<Vec<_>>(), [1, 2, 0]);
    assert_eq!(left[1], (2, 'c', Err(Cause::Unanswered), 3, ms(7)));
}
