//! When an operator runs: wakers of futures, on any thread, activate it.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};

use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::sync::{AtomicU8, Ordering};

/// The turns of one operator.
pub(crate) struct Turns {
    bell: Arc<Bell>,
    activator: Activator,
}

impl Turns {
    /// The operator's turns, and a waker that gives it one.
    pub(crate) fn new(worker: &Worker, address: Rc<[usize]>) -> (Self, Waker) {
        let far = worker.sync_activator_for(address.to_vec());
        let bell = Arc::new(Bell::new(move || {
            // It fails only when the worker is gone, and with it the operator.
            let _ = far.activate();
        }));
        let waker = Waker::from(Arc::clone(&bell));
        (Self { bell, activator: worker.activator_for(address) }, waker)
    }

    /// One turn. Whoever is woken in the middle of it gets another.
    pub(crate) fn take<R>(&self, turn: impl FnOnce() -> R) -> R {
        self.bell.begin();
        let result = turn();
        if self.bell.end() {
            self.again();
        }
        result
    }

    /// The operator wants another turn.
    pub(crate) fn again(&self) {
        self.activator.activate();
    }
}

/// Rings once per sleep: an activation from another thread allocates, and unparks the worker.
struct Bell {
    state: AtomicU8,
    ring: Box<dyn Fn() + Send + Sync>,
}

/// Nobody has been told to run the operator.
const ASLEEP: u8 = 0;
/// The operator runs.
const RUNNING: u8 = 1;
/// It was woken: in its sleep, and has been rung for; or while it runs, and will find out at the end.
const WOKEN: u8 = 2;

impl Bell {
    fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        // Timely gives every operator a first turn.
        Self { state: AtomicU8::new(WOKEN), ring: Box::new(ring) }
    }

    /// The operator runs. What it was woken for until now it is about to see.
    fn begin(&self) {
        self.state.swap(RUNNING, Ordering::AcqRel);
    }

    /// The operator is done. True: it was woken meanwhile, and has to run again.
    fn end(&self) -> bool {
        self.state.compare_exchange(RUNNING, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_err()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            (self.ring)();
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

/// The same with shuttle's threads: every wake is followed by a turn that sees what was done before it, and no turn is taken for nothing.
#[cfg(all(test, feature = "shuttle"))]
mod model {
    use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
    use shuttle::thread;

    use super::*;

    const ITERATIONS: usize = 20_000;

    /// A worker that parks until it is rung for, and an operator that counts what the others have left for it.
    fn all_wakes_are_answered(wakes: &'static [usize]) {
        let done = Arc::new(AtomicUsize::new(0));
        let worker = thread::current();
        let activated = Arc::new(AtomicBool::new(true));
        let rung = Arc::new(AtomicUsize::new(0));
        let bell = Arc::new(Bell::new({
            let (activated, rung) = (Arc::clone(&activated), Arc::clone(&rung));
            move || {
                rung.fetch_add(1, Ordering::SeqCst);
                activated.store(true, Ordering::SeqCst);
                worker.unpark();
            }
        }));
        let wakers: Vec<_> = wakes
            .iter()
            .map(|&wakes| {
                let (done, waker) = (Arc::clone(&done), Waker::from(Arc::clone(&bell)));
                thread::spawn(move || {
                    for _ in 0..wakes {
                        done.fetch_add(1, Ordering::Relaxed);
                        waker.wake_by_ref();
                    }
                })
            })
            .collect();

        let all = wakes.iter().sum();
        let (mut seen, mut turns) = (0, 0);
        while seen < all {
            while !activated.swap(false, Ordering::SeqCst) {
                thread::park();
            }
            turns += 1;
            bell.begin();
            seen = done.load(Ordering::Relaxed);
            if bell.end() {
                activated.store(true, Ordering::SeqCst);
            }
        }
        for waker in wakers {
            waker.join().expect("the waker ends");
        }
        assert!(turns <= 1 + all, "a turn for each wake at most, and the first");
        assert!(rung.load(Ordering::SeqCst) <= all);
    }

    #[test]
    fn one_thread_wakes() {
        shuttle::check_random(|| all_wakes_are_answered(&[3]), ITERATIONS);
    }

    #[test]
    fn several_threads_wake() {
        shuttle::check_random(|| all_wakes_are_answered(&[2, 1, 2]), ITERATIONS);
        shuttle::check_pct(|| all_wakes_are_answered(&[2, 2]), ITERATIONS, 3);
    }

    #[test]
    fn the_bell_rings_once_per_sleep() {
        shuttle::check_random(
            || {
                let rung = Arc::new(AtomicUsize::new(0));
                let counter = Arc::clone(&rung);
                let bell = Arc::new(Bell::new(move || {
                    counter.fetch_add(1, Ordering::SeqCst);
                }));
                bell.begin();
                assert!(!bell.end());
                let wakers: Vec<_> = (0..3)
                    .map(|_| {
                        let waker = Waker::from(Arc::clone(&bell));
                        thread::spawn(move || waker.wake())
                    })
                    .collect();
                for waker in wakers {
                    waker.join().unwrap();
                }
                assert_eq!(rung.load(Ordering::SeqCst), 1);
            },
            ITERATIONS,
        );
    }
}
