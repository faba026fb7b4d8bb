//! What ends a run before its source does: a failure, a signal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Shared by everybody who can stop the run or has to look whether to.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// Read nothing more.
    source: AtomicBool,
    /// Do not wait for what is in flight.
    now: AtomicBool,
    /// The first failure.
    failure: Mutex<Option<String>>,
    /// Makes the run look up.
    waker: OnceLock<Waker>,
}

impl Stop {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn set_waker(&self, waker: Waker) {
        // There is one source, and so one waker.
        drop(self.waker.set(waker));
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
        self.lock().get_or_insert(failure);
        self.drain();
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// The first SIGINT or SIGTERM stops the source and lets the rest finish, for `limit` at most; the second ends the run at once.
pub(super) async fn watch_signals(stop: Arc<Stop>, limit: Duration, quiet: bool) {
    if signal().await.is_err() {
        return;
    }
    if !quiet {
        eprintln!("stopping: nothing more is read; up to {limit:?} for what is in flight (again to stop at once)");
    }
    stop.drain();
    tokio::select! {
        _ = signal() => {}
        () = tokio::time::sleep(limit) => {}
    }
    stop.break_off();
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
