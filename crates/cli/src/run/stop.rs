//! What ends a run before its source does: a failure, a signal.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::exit::Exit;
use crate::tell::tell;
use crate::units::Period;

/// How long a run that is broken off may take to notice.
const LOOKS_WITHIN: Duration = Duration::from_secs(5);

/// Shared by everybody who can stop the run or has to look whether to.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// Read nothing more.
    source: AtomicBool,
    /// Do not wait for what is in flight.
    now: AtomicBool,
    /// The first failure.
    failure: Mutex<Option<String>>,
    /// Make the workers look up.
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Whoever stopped the run before there was a waker need not wake it: it looks before it waits.
    pub(super) fn add_waker(&self, waker: Waker) {
        lock(&self.wakers).push(waker);
    }

    /// Reads nothing more; what is in flight is finished.
    pub(super) fn drain(&self) {
        self.source.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.source.load(Ordering::Relaxed)
    }

    /// Ends the run as soon as it looks.
    pub(super) fn break_off(&self) {
        self.now.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn now(&self) -> bool {
        self.now.load(Ordering::Relaxed)
    }

    /// The run has failed, and ends as soon as it looks. The first failure is the one that is told.
    pub(super) fn fail(&self, failure: String) {
        self.fail_after_drain(failure);
        self.break_off();
    }

    /// The run has failed, but what is in flight is finished first: the source broke.
    pub(super) fn fail_after_drain(&self, failure: String) {
        lock(&self.failure).get_or_insert(failure);
        self.drain();
    }

    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    fn wake(&self) {
        lock(&self.wakers).iter().for_each(Waker::wake_by_ref);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first SIGINT or SIGTERM stops the source and lets the rest finish, for `limit` at most; the second ends the run at once.
pub(super) async fn obey(mut signals: Signals, stop: Arc<Stop>, limit: Duration, quiet: bool) {
    signals.next().await;
    if !quiet {
        let limit = Period(limit);
        tell(&format!("stopping: nothing more is read; up to {limit} for what is in flight (again to stop at once)\n"));
    }
    stop.drain();
    tokio::select! {
        () = signals.next() => {}
        () = tokio::time::sleep(limit) => {}
    }
    stop.break_off();
    // Whoever waits for something else than the run, such as for other processes to appear, does not look.
    tokio::time::sleep(LOOKS_WITHIN).await;
    tell("stopped before everything was done, and without looking back\n");
    std::process::exit(Exit::NotDrained.code().into());
}

/// The signals that ask the program to end. From now on they no longer kill it.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// In the context of a runtime.
    pub(super) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The signals that ask the program to end. From now on they no longer kill it.
#[cfg(windows)]
pub(super) struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    /// In the context of a runtime.
    pub(super) fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_failure_is_told_and_ends_the_run() {
        let stop = Stop::new();
        stop.fail_after_drain("the source".to_owned());
        assert!(stop.is_draining() && !stop.now());
        stop.fail("a look-up".to_owned());
        assert!(stop.now());
        assert_eq!(stop.failure().as_deref(), Some("the source"));
    }

    #[test]
    fn who_stops_the_run_wakes_it_as_soon_as_it_can_sleep() {
        let (stop, counter) = (Stop::new(), Arc::new(Counter::default()));
        stop.drain();
        stop.add_waker(Waker::from(Arc::clone(&counter)));
        assert!(stop.is_draining());
        stop.drain();
        stop.break_off();
        assert_eq!(counter.0.load(Ordering::Relaxed), 2);
    }
}
