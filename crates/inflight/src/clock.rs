//! The one place where this crate asks for the time: tokio's clock, which tests can pause.

use inflight_core::Time;
use tokio::time::{Instant, Sleep};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.origin + at.since(Time::ZERO)
    }

    pub(crate) fn sleep_until(&self, at: Time) -> Sleep {
        tokio::time::sleep_until(self.instant(at))
    }
}
