//! A connection that is made when it is needed, and made again when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Mutex;

use crate::Error;

/// One connection of several. All who wait for it to be made share what comes of that.
pub(crate) struct Renewed<T> {
    slot: Mutex<Slot<T>>,
    /// Attempts to connect that failed.
    failures: AtomicU64,
    under_way: AtomicUsize,
}

struct Slot<T> {
    live: Option<Arc<T>>,
    /// Of the last attempt to connect.
    failure: Option<Error>,
}

/// A connection as far as [`Renewed`] is concerned.
pub(crate) trait Usable {
    /// Whether it works, as far as is known.
    fn is_usable(&self) -> bool;
}

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        let slot = Mutex::new(Slot { live: None, failure: None });
        Self { slot, failures: AtomicU64::new(0), under_way: AtomicUsize::new(0) }
    }
}

impl<T: Usable> Renewed<T> {
    /// The connection; made anew by `connect` if there is none that works.
    pub(crate) async fn live(&self, connect: impl AsyncFnOnce() -> Result<T, Error>) -> Result<Arc<T>, Error> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut slot = self.slot.lock().await;
        if let Some(live) = slot.live.as_ref().filter(|live| live.is_usable()) {
            return Ok(Arc::clone(live));
        }
        slot.live = None;
        if let Some(failure) = slot.failure.as_ref().filter(|_| self.failures.load(Ordering::Acquire) != failures) {
            return Err(failure.clone());
        }
        match connect().await {
            Ok(live) => Ok(Arc::clone(slot.live.insert(Arc::new(live)))),
            Err(error) => {
                self.failures.fetch_add(1, Ordering::AcqRel);
                slot.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Look-ups of this connection that have not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts a look-up until the guard is dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }
}

pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> std::fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}
