//! One external system, shared by all operators that call it.

use std::fmt;
use std::sync::Arc;

use inflight_core::{ConfigError, DestinationOptions, DestinationStats, Permit};

use crate::clock::Clock;
use crate::sync::{Mutex, lock};

/// One external system, as all operators that call it see it together. A clone is the same destination: give one to the
/// [`Options`](crate::Options::destination) of every operator that calls it, whatever thread it runs on.
#[derive(Clone)]
pub struct Destination {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<inflight_core::Destination>,
}

impl Destination {
    /// A destination that is believed to be well.
    ///
    /// # Errors
    /// If [`DestinationOptions::check`] refuses `options`.
    pub fn new(options: DestinationOptions) -> Result<Self, ConfigError> {
        let state = Mutex::new(inflight_core::Destination::new(options)?);
        Ok(Self { shared: Arc::new(Shared { clock: Clock::start(), state }) })
    }

    /// Permission for one call besides those that records need (a hedge, a half of a batch that failed), if there is a token for it, the
    /// limit is not reached and the breaker is closed. The call counts as on the wire until the permission is dropped.
    #[must_use]
    pub fn extra(&self) -> Option<Extra> {
        let permit = lock(&self.shared.state).extra(self.shared.clock.now())?;
        Some(Extra { shared: Arc::clone(&self.shared), permit: Some(permit) })
    }

    /// What it is doing and has done.
    #[must_use]
    pub fn gauge(&self) -> DestinationStats {
        lock(&self.shared.state).stats(self.shared.clock.now())
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Destination").field(&self.gauge()).finish()
    }
}

/// See [`Destination::extra`].
#[must_use = "dropping it says that the call is over"]
pub struct Extra {
    shared: Arc<Shared>,
    permit: Option<Permit>,
}

impl Drop for Extra {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let now = self.shared.clock.now();
            lock(&self.shared.state).release(now, permit);
        }
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extra").finish_non_exhaustive()
    }
}
