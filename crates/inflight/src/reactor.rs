//! Knowing that the reactor has had its say.
//!
//! Before a clock may run out, the driver wants to have heard of everything that was ready by then: on a runtime of one thread that a
//! consumer blocks, answers lie in sockets and timers that nobody has looked at. `yield_now` alone does not tell: whoever wakes the
//! driver's task ends that, and the task may run again before the reactor does. So the yield gets a waker of its own, which tokio calls
//! only after a turn of the reactor.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{Mutex, lock};

/// Waits for turns of the reactor, one at a time.
pub(crate) struct Reactor {
    turn: Arc<Turn>,
    waker: Waker,
}

struct Turn {
    over: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Ordering::Release);
        let driver = lock(&self.driver).take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Reactor {
    pub(crate) fn new() -> Self {
        let turn = Arc::new(Turn { over: AtomicBool::new(false), driver: Mutex::new(None) });
        Self { waker: Waker::from(Arc::clone(&turn)), turn }
    }

    /// Lets other tasks run, and returns when the reactor has been looked at since.
    pub(crate) async fn turn(&self) {
        self.turn.over.store(false, Ordering::Release);
        let mut asked = false;
        poll_fn(|cx| {
            *lock(&self.turn.driver) = Some(cx.waker().clone());
            if !asked {
                asked = true;
                // Registers our waker, and has then done its part.
                let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&self.waker));
            }
            if self.turn.over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
