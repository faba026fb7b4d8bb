//! The time of day.

use std::time::{Duration, SystemTime};

use inflight_timely::checkpoint::rfc3339;

/// This moment, as checkpoints have it.
pub(super) fn now() -> String {
    rfc3339(since_1970_now())
}

/// How long 1970 is ago.
pub(super) fn since_1970_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
