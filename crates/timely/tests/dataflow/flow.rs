//! Sources with credits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use inflight::{Abandoned, Completed, Options};
use inflight_timely::AsyncWait;
use inflight_timely::flow::{Produced, sink, source};
use timely::dataflow::operators::Exchange;

use crate::clients::{by_timer, scrambled};
use crate::{finish, on_a_worker, runtime};

type Done = Completed<(u64, u64), u64, Abandoned>;

/// Counts what is between a source and its sink.
#[derive(Default)]
struct Between {
    now: AtomicU64,
    most: AtomicU64,
    taken: AtomicU64,
}

impl Between {
    fn produced(&self, records: u64) {
        let now = self.now.fetch_add(records, Ordering::SeqCst) + records;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn consumed(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

/// As many of `records` numbered records as it may produce, at once.
fn fast(worker: u64, records: u64, between: Arc<Between>) -> impl FnMut(u64) -> Produced<(u64, u64)> {
    let mut next = 0;
    move |room| {
        let batch = Vec::from_iter((next..records).take(room as usize).map(|number| (worker, number)));
        next += batch.len() as u64;
        between.produced(batch.len() as u64);
        if batch.is_empty() { Produced::End } else { Produced::Records(batch) }
    }
}

async fn call((_, number): (u64, u64)) -> Result<u64, Abandoned> {
    by_timer(number).await
}

/// Takes everything.
fn take_all<D>(between: Arc<Between>) -> impl FnMut(&mut VecDeque<D>) {
    move |waiting| waiting.drain(..).for_each(|_| between.consumed())
}

#[test]
fn no_more_records_than_credits() {
    let runtime = runtime();
    for credits in [1, 7, 1_000] {
        let between = Arc::new(Between::default());
        let watched = Arc::clone(&between);
        let records = credits * 5;
        on_a_worker(|worker| {
            worker.dataflow::<u64, _, _>(|scope| {
                let produce = fast(0, records, Arc::clone(&watched));
                let (stream, returned) = source(scope, credits, |_| produce);
                let waited = stream.ordered_wait(runtime.handle(), call, Options::new().capacity(100));
                sink(waited.results, returned, |_| 0, |_| take_all(watched));
            });
            finish(worker);
        });
        assert_eq!(between.taken(), records);
        assert_eq!(between.most(), credits);
    }
}

/// The source is far ahead of the calls all the time, and yet no further than its credits.
#[test]
fn a_fast_source_waits_for_slow_calls() {
    const CREDITS: u64 = 50;
    let runtime = runtime();
    let between = Arc::new(Between::default());
    let watched = Arc::clone(&between);
    on_a_worker(|worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let (stream, returned) = source(scope, CREDITS, |_| fast(0, 500, Arc::clone(&watched)));
            let slow = |(_, number): (u64, u64)| async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok::<_, Abandoned>(number)
            };
            let waited = stream.unordered_wait(runtime.handle(), slow, Options::new().capacity(5));
            sink(waited.results, returned, |_| 0, |_| take_all(watched));
        });
        finish(worker);
    });
    assert_eq!((between.taken(), between.most()), (500, CREDITS));
}

/// Two workers, each with its own credits; records are exchanged, so they end at either sink.
#[test]
fn credits_return_to_their_workers() {
    const CREDITS: u64 = 40;
    const RECORDS: u64 = 2_000;
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let between = Arc::new(Vec::from_iter((0..2).map(|_| Arc::new(Between::default()))));
    let sinks = Arc::new(Mutex::new(Vec::<(usize, u64)>::new()));
    let (watched, taken) = (Arc::clone(&between), Arc::clone(&sinks));
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let (watched, taken, index) = (Arc::clone(&watched), Arc::clone(&taken), worker.index());
        worker.dataflow::<u64, _, _>(|scope| {
            // The second has less to do, and ends first.
            let records = RECORDS / (index as u64 + 1);
            let produce = fast(index as u64, records, Arc::clone(&watched[index]));
            let (stream, returned) = source(scope, CREDITS, |_| produce);
            let waited = stream.exchange(|(_, number)| scrambled(*number)).unordered_wait(
                &handle,
                call,
                Options::new().capacity(100),
            );
            let consume = move |waiting: &mut VecDeque<Done>| {
                for done in waiting.drain(..) {
                    watched[done.input.0 as usize].consumed();
                    taken.lock().unwrap().push((index, done.input.0));
                }
            };
            sink(waited.results, returned, |done: &Done| done.input.0, |_| consume);
        });
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    })
    .unwrap();
    for guard in guards.join() {
        guard.unwrap();
    }
    assert_eq!(between.iter().map(|each| each.taken()).collect::<Vec<_>>(), [RECORDS, RECORDS / 2]);
    assert!(between.iter().all(|each| each.most() <= CREDITS));
    let sinks = sinks.lock().unwrap();
    for (at, from) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        assert!(sinks.contains(&(at, from)), "records of {from} end at {at}, too");
    }
}

/// A reader thread with something to say now and then.
#[test]
fn a_source_sleeps_until_it_is_woken() {
    const RECORDS: u64 = 2_000;
    let runtime = runtime();
    let between = Arc::new(Between::default());
    let watched = Arc::clone(&between);
    let start = |waker: Waker| {
        let (sender, read) = mpsc::channel();
        std::thread::spawn(move || {
            for number in 0..RECORDS {
                if number % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                sender.send((0, number)).expect("the source listens");
                waker.wake_by_ref();
            }
            drop(sender);
            waker.wake();
        });
        let watched = Arc::clone(&watched);
        move |_| match read.try_recv() {
            Ok(record) => {
                watched.produced(1);
                Produced::Records(vec![record])
            }
            Err(TryRecvError::Empty) => Produced::Nothing,
            Err(TryRecvError::Disconnected) => Produced::End,
        }
    };
    on_a_worker(|worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let (stream, returned) = source(scope, 10, start);
            let waited = stream.ordered_wait(runtime.handle(), call, Options::new());
            sink(waited.results, returned, |_| 0, |_| take_all(Arc::clone(&watched)));
        });
        finish(worker);
    });
    assert_eq!(between.taken(), RECORDS);
    assert!(between.most() <= 10);
}

/// A sink that is full most of the time, and is told by another thread when it can take a few.
#[test]
fn a_sink_takes_when_it_can() {
    const RECORDS: u64 = 500;
    let runtime = runtime();
    let between = Arc::new(Between::default());
    let watched = Arc::clone(&between);
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let start = |waker: Waker| {
        let room = Arc::new(AtomicU64::new(0));
        let more = Arc::clone(&room);
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_micros(200));
                more.fetch_add(3, Ordering::SeqCst);
                waker.wake_by_ref();
            }
        });
        let watched = Arc::clone(&watched);
        move |waiting: &mut VecDeque<Done>| {
            let room = room.swap(0, Ordering::SeqCst) as usize;
            let take = room.min(waiting.len());
            waiting.drain(..take).for_each(|_| watched.consumed());
        }
    };
    on_a_worker(|worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let (stream, returned) = source(scope, 20, |_| fast(0, RECORDS, Arc::clone(&watched)));
            let waited = stream.ordered_wait(runtime.handle(), call, Options::new());
            sink(waited.results, returned, |_| 0, start);
        });
        finish(worker);
    });
    over.store(true, Ordering::SeqCst);
    assert_eq!((between.taken(), between.most()), (RECORDS, 20));
}

#[test]
fn a_source_without_records_ends_the_dataflow() {
    let runtime = runtime();
    let between = Arc::new(Between::default());
    on_a_worker(|worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let (stream, returned) = source(scope, 1, |_| fast(0, 0, Arc::clone(&between)));
            let waited = stream.ordered_wait(runtime.handle(), call, Options::new());
            sink(waited.results, returned, |_| 0, |_| take_all(Arc::clone(&between)));
        });
        finish(worker);
    });
    assert_eq!(between.taken(), 0);
}

#[test]
#[should_panic(expected = "a source with 2 credits produced 3 records")]
fn a_source_keeps_to_its_credits() {
    on_a_worker(|worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let (stream, returned) = source(scope, 2, |_| |_| Produced::Records(vec![1, 2, 3]));
            sink(stream, returned, |_| 0, |_| |waiting: &mut VecDeque<i32>| waiting.clear());
        });
        finish(worker);
    });
}
