//! What a queue asks before it calls: whatever stands between it and the system it calls, and is shared with others.

use crate::time::Time;

/// Asked by [`Queue::poll_heard`](crate::Queue::poll_heard), in the middle of its work: answers come at once.
pub trait Gate {
    /// Whether a call may start now. If so it does: true is said once for each call.
    fn call(&mut self, now: Time) -> bool;

    /// Whether a record whose backoff is over may be tried again now. If so it is: true is said once for each retry. If not, the
    /// record waits, and it is asked for again in each poll.
    fn retry(&mut self, now: Time) -> bool;

    /// Whether what is called fails altogether: failures then cost a record none of its retries, unless it is itself to blame.
    fn is_failing(&self) -> bool;

    /// Whether a call was good that started at this time or later: a record that failed then, and fails again, is to blame.
    fn was_well_after(&self, failure: Time) -> bool;
}

/// Nothing stands in between.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    #[inline(always)]
    fn call(&mut self, _: Time) -> bool {
        true
    }

    #[inline(always)]
    fn retry(&mut self, _: Time) -> bool {
        true
    }

    #[inline(always)]
    fn is_failing(&self) -> bool {
        false
    }

    #[inline(always)]
    fn was_well_after(&self, _: Time) -> bool {
        true
    }
}
