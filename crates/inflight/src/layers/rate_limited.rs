//! No more than so many calls per second.

use std::time::Duration;

use inflight_core::{RateLimit, TokenBucket};
use tokio::sync::Mutex;

use super::handed_on::handed_on;
use crate::clock::Clock;
use crate::function::AsyncFunction;

/// An [`AsyncFunction`] that starts calls of `function` no faster than `limit` says, in the order they were made. The others wait.
///
/// Waiting is part of the attempt: it counts towards the attempt's timeout and the record's deadline, and occupies the operator's
/// `concurrency`. With a concurrency of at most `per_second` × timeout nothing times out in line.
///
/// One waits for a timer, and the others for that one, so a long line costs nothing. It moves when the futures in it are polled; the
/// operator polls all of them. (The crate `governor` would have each waiter
/// look for itself, woken by a clock that tests cannot pause.)
///
/// ```
/// use inflight::layers::{RateLimit, rate_limited};
///
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
/// let lookup = rate_limited(lookup, RateLimit { per_second: 1_000, burst: 50 });
/// # fn is_function(_: impl inflight::AsyncFunction<u64>) {}
/// # is_function(lookup);
/// ```
///
/// # Panics
/// If `per_second` or `burst` is zero.
///
/// # Cancel safety
/// A call that is given up while it waits leaves the line and takes nothing with it; one that was let through has used its turn.
pub fn rate_limited<F>(function: F, limit: RateLimit) -> RateLimited<F> {
    assert!(limit.per_second > 0, "at a rate of zero no call would ever start");
    assert!(limit.burst > 0, "with a burst of zero no call would ever start");
    RateLimited { function, clock: Clock::start(), bucket: Mutex::new(TokenBucket::new(limit)) }
}

/// See [`rate_limited`].
#[derive(Debug)]
pub struct RateLimited<F> {
    function: F,
    clock: Clock,
    /// Tokio's mutex is fair: whoever waits for it stands in line, and whoever holds it is at the head.
    bucket: Mutex<TokenBucket>,
}

impl<F> RateLimited<F> {
    async fn turn(&self) {
        let mut bucket = self.bucket.lock().await;
        let now = self.clock.now();
        let wait = bucket.wait(now);
        if wait > Duration::ZERO {
            self.clock.sleep_until(now + wait).await;
        }
        bucket.take(self.clock.now());
    }
}

impl<I: Send, F: AsyncFunction<I>> AsyncFunction<I> for RateLimited<F> {
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        self.turn().await;
        self.function.invoke(input).await
    }

    handed_on!(I, F);
}
