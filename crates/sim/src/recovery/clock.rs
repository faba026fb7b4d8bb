//! Time that passes only when it is told to, from one timer to the next.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;

/// Nothing in this world lasts longer, from its beginning.
const END: Duration = Duration::from_secs(30 * 24 * 3600);

/// A runtime whose clock stands still.
pub(super) struct Clock {
    runtime: Runtime,
    waiting: Arc<Mutex<Option<Waiting>>>,
    start: Instant,
}

/// Whoever waits for time to pass.
struct Waiting {
    since: Instant,
    waker: Waker,
}

impl Clock {
    pub(super) fn new() -> Self {
        let waiting = Arc::new(Mutex::new(None::<Waiting>));
        let told = Arc::clone(&waiting);
        // Without a wake the runtime goes round again; and a wake before time has passed would keep it from passing.
        let wake = move || {
            let waiting =
                told.lock().unwrap_or_else(PoisonError::into_inner).take_if(|waiting| waiting.since < Instant::now());
            if let Some(waiting) = waiting {
                waiting.waker.wake();
            }
        };
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).on_thread_unpark(wake).build();
        let runtime = runtime.expect("a runtime of timers alone asks the machine for nothing");
        let start = {
            let _context = runtime.enter();
            Instant::now()
        };
        Self { runtime, waiting, start }
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Since the beginning.
    pub(super) fn now(&self) -> Duration {
        let _context = self.runtime.enter();
        self.start.elapsed()
    }

    /// Goes to the next timer, or some way towards it. False: there is none.
    ///
    /// A runtime whose clock stands still and that has nothing else to do jumps to its next timer.
    pub(super) fn advance(&self) -> bool {
        self.runtime.block_on(async {
            let since = Instant::now();
            // The end stays where it is: one that moved on with each step towards it would never come.
            let mut last = pin!(tokio::time::sleep_until(self.start + END));
            poll_fn(|cx| {
                if since < Instant::now() {
                    return Poll::Ready(last.as_mut().poll(cx).is_pending());
                }
                // Its own waker is of no use here: it is there so that there is a timer.
                let _ = last.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Waiting { since, waker: cx.waker().clone() });
                Poll::Pending
            })
            .await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_stops_at_each_timer() {
        let clock = Clock::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut sleeps: Vec<_> = {
            let _context = clock.handle().enter();
            [7, 300, 300, 70_000].map(|millis| Box::pin(tokio::time::sleep(Duration::from_millis(millis)))).into()
        };
        for sleep in &mut sleeps {
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let mut seen = Vec::new();
        while clock.advance() {
            seen.push((clock.now().as_millis(), count.0.load(Ordering::Relaxed)));
        }
        seen.dedup_by_key(|(_, woken)| *woken);
        let woken: Vec<u32> = seen.iter().map(|(_, woken)| *woken).collect();
        assert!(woken.ends_with(&[1, 3, 4]), "{seen:?}");
        assert!(seen.iter().all(|(at, woken)| [7, 300, 70_000].contains(at) || *woken == 0), "{seen:?}");
    }
}
