//! Panics that are news of a lost connection, or come of one that is known: neither belongs on the screen.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use super::alarm::{Alarm, Stands};
use super::error::{ClusterError, Peer};

/// How long a broken connection waits for a better explanation: the other process may say on its heartbeat what happened to it.
const HEAR_THE_PEER: Duration = Duration::from_millis(500);

/// How long a broken connection waits for the workers to return after the alarm. A worker that uses a poisoned queue panics, and what
/// it was sending is flushed as it unwinds, into the same queue: a second panic, which aborts the process before it can say anything.
const WORKERS_RETURN: Duration = Duration::from_secs(2);

/// What timely's panics begin with when a connection breaks.
const TIMELY_SAYS: &str = "timely communication error: ";

/// What a thread is for.
pub(super) enum Place {
    /// Runs a worker, or waits for them. After the alarm, its panics come of what was lost.
    Work(Arc<Alarm>),
    /// Timely's own: sends to this process, or receives from it. It ends with a panic when the connection breaks.
    Connection(Arc<Alarm>, Peer),
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Says what this thread is for, until it ends.
pub(super) fn settle(place: Place) {
    PLACE.set(Some(place));
}

/// Does something and catches its panic. This thread is a place of work meanwhile.
pub(super) fn caught<R>(alarm: &Arc<Alarm>, act: impl FnOnce() -> R) -> Result<R, String> {
    let before = PLACE.replace(Some(Place::Work(Arc::clone(alarm))));
    let result = catch_unwind(AssertUnwindSafe(act));
    PLACE.set(before);
    result.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("for no known reason").to_owned()
}

/// Puts a hook before the one that is there, once for the program.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !is_expected(panic) {
                before(panic);
            }
        }));
    });
}

fn is_expected(panic: &PanicHookInfo<'_>) -> bool {
    let seen = PLACE.try_with(|place| match place.try_borrow().as_deref() {
        Ok(Some(Place::Work(alarm))) => alarm.lost().is_some(),
        Ok(Some(Place::Connection(alarm, peer))) => {
            // The queues to the workers are poisoned only after this, so the alarm comes before their panics.
            if !matches!(alarm.wait_for_loss(HEAR_THE_PEER), Stands::Lost(_)) {
                alarm.raise(ClusterError::lost(peer, format!("its data connection broke: {}", said(panic))));
            }
            alarm.wait_for_workers(WORKERS_RETURN);
            true
        }
        _ => false,
    });
    seen.unwrap_or(false)
}

fn said<'p>(panic: &'p PanicHookInfo<'_>) -> &'p str {
    let text = panic.payload_as_str().unwrap_or("for no known reason");
    text.strip_prefix(TIMELY_SAYS).unwrap_or(text)
}
