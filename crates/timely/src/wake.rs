//! From a waker to an activation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use timely::scheduling::SyncActivator;

/// Activates an operator when it is woken, once until it runs: an activation allocates and unparks the worker.
///
/// Wakes while the operator runs only leave a mark, which it finds when it is done.
pub(crate) struct OperatorWaker {
    activator: SyncActivator,
    woken: AtomicBool,
    running: AtomicBool,
}

impl OperatorWaker {
    pub(crate) fn new(activator: SyncActivator) -> (Arc<Self>, Waker) {
        let waker = Arc::new(Self { activator, woken: AtomicBool::new(false), running: AtomicBool::new(false) });
        (Arc::clone(&waker), Waker::from(waker))
    }

    /// The operator runs.
    pub(crate) fn begin(&self) {
        self.running.store(true, Ordering::SeqCst);
        self.woken.store(false, Ordering::SeqCst);
    }

    /// The operator is done. True: it was woken meanwhile, and has to run again.
    pub(crate) fn end(&self) -> bool {
        self.running.store(false, Ordering::SeqCst);
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for OperatorWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) && !self.running.load(Ordering::SeqCst) {
            // It fails only when the worker is gone, and with it the operator.
            let _ = self.activator.activate();
        }
    }
}
