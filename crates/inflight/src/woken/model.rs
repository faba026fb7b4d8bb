//! The ready list under many interleavings: no wake-up is lost, none is needless, and no slot is listed twice.
//!
//! A lost wake-up is a deadlock here, which the model checker reports.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{check_pct, check_random, future, thread};

use super::{SlotWaker, Woken};

const SLOTS: usize = 3;
const WAKES_EACH: usize = 2;
const SCHEDULES: usize = 20_000;
/// Depth of the bugs that the priority schedules look for.
const DEPTH: usize = 3;

#[test]
fn every_wake_is_heard_under_random_schedules() {
    check_random(every_wake_is_heard, SCHEDULES);
}

#[test]
fn every_wake_is_heard_under_priority_schedules() {
    check_pct(every_wake_is_heard, SCHEDULES, DEPTH);
}

/// What a future would see: how often what it waits for has happened.
type Happened = Arc<Vec<AtomicUsize>>;

/// Each slot is woken by a thread of its own, and all of them by one more. The driver has seen everything in the end.
fn every_wake_is_heard() {
    let woken = Arc::new(Woken::default());
    let happened: Happened = Arc::new((0..SLOTS).map(|_| AtomicUsize::new(0)).collect());
    let flags: Vec<_> = (0..SLOTS).map(|slot| Arc::new(SlotWaker::new(slot as u32, Arc::clone(&woken)))).collect();
    let wakers: Vec<_> = flags.iter().map(|flag| Waker::from(Arc::clone(flag))).collect();

    for slot in 0..SLOTS {
        let (happened, waker) = (Arc::clone(&happened), wakers[slot].clone());
        thread::spawn(move || {
            for _ in 0..WAKES_EACH {
                happened[slot].fetch_add(1, Ordering::SeqCst);
                waker.wake_by_ref();
            }
        });
    }
    let everyone = Arc::clone(&happened);
    thread::spawn(move || {
        for (slot, waker) in wakers.into_iter().enumerate() {
            everyone[slot].fetch_add(1, Ordering::SeqCst);
            waker.wake();
        }
    });
    drive(&woken, &flags, &happened);
}

/// Sleeps and wakes as the driver does, until it has seen all that happens.
fn drive(woken: &Woken, flags: &[Arc<SlotWaker>], happened: &Happened) {
    let mut seen = [0; SLOTS];
    let mut list = Vec::new();
    let wakes = Arc::new(AtomicUsize::new(0));
    let mut sleeps = 0;
    future::block_on(poll_fn(|cx| {
        loop {
            woken.take(&mut list);
            assert!(list.iter().enumerate().all(|(at, slot)| !list[..at].contains(slot)), "listed twice: {list:?}");
            for slot in list.drain(..) {
                let slot = slot as usize;
                flags[slot].taken();
                seen[slot] = happened[slot].load(Ordering::SeqCst);
            }
            assert!(wakes.load(Ordering::SeqCst) <= sleeps, "one wake-up for each sleep at most");
            if seen == [WAKES_EACH + 1; SLOTS] {
                return Poll::Ready(());
            }
            let counted = Waker::from(Arc::new(Counted { wakes: Arc::clone(&wakes), waker: cx.waker().clone() }));
            if woken.sleep(&counted) {
                sleeps += 1;
                return Poll::Pending;
            }
        }
    }));
}

struct Counted {
    wakes: Arc<AtomicUsize>,
    waker: Waker,
}

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.waker.wake_by_ref();
    }
}
