//! Clients of external systems: one that takes its time by tokio's timers, one with threads and callbacks, one that the test answers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use inflight::{Abandoned, ResultFuture};

/// Differs for every number, and jumps about.
pub(crate) fn scrambled(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Three out of four take between 1 and 4 ms, the rest are ready at once.
pub(crate) async fn by_timer(number: u64) -> Result<u64, Abandoned> {
    let millis = scrambled(number) % 16;
    if millis < 12 {
        tokio::time::sleep(Duration::from_millis(1 + millis / 4)).await;
    }
    Ok(number * 2)
}

/// A client whose answers come from threads of its own, by callback, the latest question first.
#[derive(Clone)]
pub(crate) struct Callbacks {
    threads: Vec<Sender<(u64, ResultFuture<u64>)>>,
}

impl Callbacks {
    pub(crate) fn new(threads: usize) -> Self {
        let start = |_| {
            let (sender, questions) = mpsc::channel::<(u64, ResultFuture<u64>)>();
            std::thread::spawn(move || {
                while let Ok(first) = questions.recv() {
                    let mut waiting = vec![first];
                    waiting.extend(questions.try_iter());
                    for (number, result) in waiting.into_iter().rev() {
                        result.complete(number * 2);
                    }
                }
            });
            sender
        };
        Self { threads: (0..threads).map(start).collect() }
    }

    pub(crate) async fn double(&self, number: u64) -> Result<u64, Abandoned> {
        let (result, completed) = ResultFuture::new();
        let thread = scrambled(number) as usize % self.threads.len();
        self.threads[thread].send((number, result)).expect("the thread runs as long as the client");
        completed.await
    }
}

/// Calls that the test answers, one by one.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    open: Arc<Mutex<VecDeque<(u64, ResultFuture<u64>)>>>,
}

impl Desk {
    pub(crate) async fn ask(&self, number: u64) -> Result<u64, Abandoned> {
        let (result, completed) = ResultFuture::new();
        self.open().push_back((number, result));
        completed.await
    }

    /// Answers the call for `number`. Panics if there is none.
    pub(crate) fn answer(&self, number: u64) {
        let mut open = self.open();
        let place = open.iter().position(|(asked, _)| *asked == number).expect("a call for this number");
        let (number, result) = open.remove(place).expect("a place in the queue");
        assert!(result.complete(number * 2));
    }

    fn open(&self) -> MutexGuard<'_, VecDeque<(u64, ResultFuture<u64>)>> {
        self.open.lock().expect("no test panics while it holds the lock")
    }

    pub(crate) fn asked(&self) -> usize {
        self.open().len()
    }
}

/// How many are in a place at a time, and were at most.
#[derive(Default)]
pub(crate) struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    pub(crate) fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}
