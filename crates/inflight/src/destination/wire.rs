//! What the driver tells and asks about its calls: a destination, or nobody.

use std::task::Waker;
use std::time::Duration;

use inflight_core::{CallId, Gate, Open, Time, Verdict};

use crate::clock::Clock;

/// All of it is nothing for a driver without a destination, which is compiled without it.
pub(crate) trait Wire: Gate {
    /// Whether anybody wants to know how calls end.
    const LISTENS: bool;

    /// The clock of the times it says and is told.
    fn clock(&self) -> Option<Clock>;

    /// A round of the driver begins. How long the records' clock has stood still and whether it does, if that has changed.
    fn begin(&mut self, now: Time) -> Option<(Duration, bool)>;

    /// The call that was let through is this one.
    fn started(&mut self, call: CallId);

    /// A call has ended; `answered`: the records that got an answer by it.
    fn ended(&mut self, now: Time, call: CallId, verdict: Verdict, answered: usize);

    /// Nobody waits for a call any more, and it has not ended. How long it took decides whether it was too slow.
    fn given_up(&mut self, now: Time, call: CallId, too_slow: impl FnOnce(Duration) -> bool);

    /// The queue has nothing more to do.
    fn end(&mut self, now: Time);

    /// When to ask again, if nothing happens until then.
    fn wake_at(&self) -> Option<Time>;

    /// The driver goes to sleep. False: something has changed, and it has to look again first.
    fn sleep(&mut self, now: Time, waker: &Waker) -> bool;
}

impl Wire for Open {
    const LISTENS: bool = false;

    fn clock(&self) -> Option<Clock> {
        None
    }

    #[inline(always)]
    fn begin(&mut self, _: Time) -> Option<(Duration, bool)> {
        None
    }

    #[inline(always)]
    fn started(&mut self, _: CallId) {}

    #[inline(always)]
    fn ended(&mut self, _: Time, _: CallId, _: Verdict, _: usize) {}

    #[inline(always)]
    fn given_up(&mut self, _: Time, _: CallId, _: impl FnOnce(Duration) -> bool) {}

    #[inline(always)]
    fn end(&mut self, _: Time) {}

    #[inline(always)]
    fn wake_at(&self) -> Option<Time> {
        None
    }

    #[inline(always)]
    fn sleep(&mut self, _: Time, _: &Waker) -> bool {
        true
    }
}
