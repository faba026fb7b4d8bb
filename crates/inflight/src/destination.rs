//! One external system, shared by all operators that call it.

mod line;
mod member;
#[cfg(all(test, feature = "shuttle"))]
mod model;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use inflight_core::{ConfigError, DestinationOptions, DestinationStats, Permit, Time};

use self::line::Line;
pub(crate) use self::member::Member;
pub(crate) use self::wire::Wire;
use crate::clock::Clock;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// One external system, as all operators that call it see it together. A clone is the same destination: give one to the
/// [`Options`](crate::Options::destination) of every operator that calls it, on whatever thread that runs.
///
/// - **Limit**: so many calls are on the wire at most, over all operators, [fixed](crate::Concurrency::Fixed) or
///   [found by trying](crate::Concurrency::Auto). Operators that wait for it are served in turn.
/// - **Rate**: so many calls start per second.
/// - **Breaker**: while too many calls fail, none is made and the records wait. Their deadlines stand still, the source is held back by
///   the capacity, and failures cost a record none of its [retries](crate::Options::retry): an outage delays records, it does not fail
///   them. (Without retries, the calls that show that there is an outage fail their records.)
/// - **Budget**: retries and [extras](Self::extra) together are a small share of the calls that succeed. A record that wants to be
///   tried again waits until there is a token for it, at most until its deadline.
///
/// ```
/// use std::time::Duration;
/// use futures_util::{StreamExt, stream};
/// use inflight::{AsyncStreamExt, Concurrency, Destination, DestinationOptions, Options, RateLimit, Retry};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let mut options = DestinationOptions::new(Concurrency::Auto { min: 4, max: 400 });
/// options.rate_limit = Some(RateLimit { per_second: 5_000, burst: 100 });
/// let users = Destination::new(options)?;
///
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
/// let options = || {
///     Options::new()
///         .destination(users.clone())
///         .timeout(Duration::from_secs(1))
///         .retry(Retry::exponential(3, Duration::from_millis(50), Duration::from_secs(1)))
/// };
/// let buyers = stream::iter(0..50).ordered_wait(lookup, options());
/// let sellers = stream::iter(50..100).unordered_wait(lookup, options());
/// assert_eq!(buyers.count().await + sellers.count().await, 100);
///
/// let now = users.gauge();                                           // can be read at any time
/// assert_eq!((now.calls, now.on_wire, now.pauses), (100, 0, 0));
/// # Ok::<(), inflight::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Destination {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    clock: Clock,
    line: Mutex<Line>,
    /// How often the breaker has opened or closed: odd while it is not closed. Read without the lock.
    turns: AtomicU64,
}

impl Destination {
    /// A destination that is believed to be well.
    ///
    /// # Errors
    /// If [`DestinationOptions::check`] refuses `options`.
    pub fn new(options: DestinationOptions) -> Result<Self, ConfigError> {
        let line = Mutex::new(Line::new(inflight_core::Destination::new(options)?));
        Ok(Self { shared: Arc::new(Shared { clock: Clock::start(), line, turns: AtomicU64::new(0) }) })
    }

    /// Permission for one call besides those that records need (a hedge), if there is a token for it, no
    /// operator waits, the limit is neither reached nor being lowered, and the breaker is closed. The call counts as on the wire
    /// until the permission is dropped.
    #[must_use]
    pub fn extra(&self) -> Option<Extra> {
        let permit = lock(&self.shared.line).extra(self.shared.clock.now())?;
        Some(Extra { shared: Arc::clone(&self.shared), permit: Some(permit) })
    }

    /// Permission for one call that no record waits for and that saves one later (an answer of a cache that is fetched anew): as
    /// [`extra`](Self::extra), but it takes no token.
    #[must_use]
    pub fn spare(&self) -> Option<Extra> {
        let permit = lock(&self.shared.line).spare(self.shared.clock.now())?;
        Some(Extra { shared: Arc::clone(&self.shared), permit: Some(permit) })
    }

    /// What it is doing and has done.
    #[must_use]
    pub fn gauge(&self) -> DestinationStats {
        lock(&self.shared.line).destination().stats(self.shared.clock.now())
    }

    pub(crate) fn member(&self) -> Member {
        Member::new(Arc::clone(&self.shared))
    }
}

impl Shared {
    /// Does something with the line, and then wakes whoever is to be woken for it.
    fn visit<R>(&self, now: Time, visit: impl FnOnce(&mut Line) -> R) -> R {
        let (result, head, all) = {
            let mut line = lock(&self.line);
            let result = visit(&mut line);
            let turns = self.turns.load(Ordering::Relaxed);
            let turned = line.destination().is_failing() == turns.is_multiple_of(2);
            if turned {
                self.turns.store(turns + 1, Ordering::Release);
            }
            (result, line.head_to_wake(now), if turned { line.when_closed() } else { Vec::new() })
        };
        all.into_iter().map(|(_, waker)| waker).chain(head).for_each(Waker::wake);
        result
    }

    /// See [`Destination::stood_still`](inflight_core::Destination::stood_still).
    fn standing(&self, now: Time) -> (Duration, bool) {
        let line = lock(&self.line);
        (line.destination().stood_still(now), line.destination().is_failing())
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
            self.shared.visit(now, |line| line.destination_mut().release(now, permit));
        }
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extra").finish_non_exhaustive()
    }
}
