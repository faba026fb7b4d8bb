//! When the next call may start, so that no more than so many start per second.

use core::time::Duration;

use crate::config::ConfigError;
use crate::time::Time;

/// Timers wake up this late at worst, and what is late by no more is not lost: at 2,000 calls a second two of them share a tick.
const TICK: Duration = Duration::from_millis(1);
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How many calls may start.
///
/// Timers tick in milliseconds, and what they are late by is caught up with: in any span of time no more than
/// `burst + per_second × (span + 1 ms)` calls start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls per second in the long run, at least 1.
    pub per_second: u32,
    /// Calls that may start at once after a quiet time, at least 1.
    pub burst: u32,
}

impl RateLimit {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.per_second == 0 || self.burst == 0 {
            return Err(ConfigError::new(
                "a rate limit must let at least 1 call start in a second, and at once".into(),
            ));
        }
        Ok(())
    }
}

/// A token bucket without tokens: it knows when it will be full, and takes the tokens from there ("generic cell rate algorithm").
#[derive(Debug)]
pub struct TokenBucket {
    /// From one call to the next, rounded up.
    interval: Duration,
    /// The refilling of all tokens but one.
    slack: Duration,
    full_at: Time,
}

impl TokenBucket {
    /// Starts full.
    ///
    /// # Panics
    /// If a number of the limit is zero.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let interval = Duration::from_nanos(NANOS_PER_SECOND.div_ceil(u64::from(limit.per_second)));
        Self { interval, slack: interval.saturating_mul(limit.burst - 1), full_at: Time::ZERO }
    }

    /// How long it takes until a token is there.
    #[must_use]
    pub fn wait(&self, now: Time) -> Duration {
        self.full_at.since(now).saturating_sub(self.slack)
    }

    /// Takes a token. Call it when [`wait`](Self::wait) is over.
    pub fn take(&mut self, now: Time) {
        let full = Time::ZERO + now.since(Time::ZERO + TICK);
        self.full_at = self.full_at.max(full) + self.interval;
    }

    /// Gives back a token that was taken and not used. Who has been told to wait longer because of it waits as long.
    pub fn give_back(&mut self) {
        self.full_at = Time::ZERO + self.full_at.since(Time::ZERO + self.interval);
    }

    /// Whether nothing is missing: it is as good as a new one.
    #[must_use]
    pub fn is_full(&self, now: Time) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    /// When each of `calls` calls may start, if all of them wait from the beginning and timers are late by `lateness`.
    fn starts(limit: RateLimit, calls: usize, lateness: impl Fn(usize) -> Duration) -> Vec<Time> {
        let mut bucket = TokenBucket::new(limit);
        let mut now = Time::ZERO + Duration::from_secs(5);
        let one = |call| {
            let wait = bucket.wait(now);
            if wait > Duration::ZERO {
                now = now + wait + lateness(call);
            }
            bucket.take(now);
            now
        };
        (0..calls).map(one).collect()
    }

    #[test]
    fn after_the_burst_calls_are_evenly_spaced() {
        let starts = starts(RateLimit { per_second: 4, burst: 3 }, 5, |_| Duration::ZERO);
        let since: Vec<u128> = starts.iter().map(|start| start.since(starts[0]).as_millis()).collect();
        assert_eq!(since, [0, 0, 0, 249, 499]);
    }

    #[test]
    fn no_window_has_more_than_the_burst_and_the_rate_allow() {
        for (per_second, burst) in [(1, 1), (3, 2), (100, 1), (997, 10), (5_000, 1), (100_000, 500)] {
            let lateness = |call| Duration::from_nanos((call as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % 3_000_000);
            let starts = starts(RateLimit { per_second, burst }, 2_000, lateness);
            for (first, start) in starts.iter().enumerate().step_by(37) {
                for (last, end) in starts.iter().enumerate().skip(first) {
                    let span = (end.since(*start) + TICK).as_secs_f64();
                    let most = f64::from(burst) + span * f64::from(per_second);
                    assert!((last - first + 1) as f64 <= most + 1e-6, "{per_second} {burst}: {first}..={last}");
                }
            }
        }
    }

    #[test]
    fn late_timers_cost_no_throughput() {
        for (per_second, burst) in [(100, 1), (900, 1), (20_000, 1)] {
            let starts = starts(RateLimit { per_second, burst }, 10_000, |_| Duration::from_micros(900));
            let seconds = starts[9_999].since(starts[0]).as_secs_f64();
            assert!(10_000.0 / seconds > 0.999 * f64::from(per_second), "{per_second}: {seconds} s");
        }
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 1, burst: 1 });
        let now = at(3_600 * NANOS_PER_SECOND);
        bucket.take(now);
        assert!(bucket.wait(now) > Duration::ZERO && !bucket.is_full(now));
        bucket.give_back();
        assert!(bucket.wait(now) == Duration::ZERO && bucket.is_full(now));
        TokenBucket::new(RateLimit { per_second: 1, burst: 1 }).give_back();
    }

    #[test]
    fn what_nobody_takes_is_saved_up_to_the_burst_only() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 1, burst: 2 });
        let now = at(3_600 * NANOS_PER_SECOND);
        for _ in 0..2 {
            assert_eq!(bucket.wait(now), Duration::ZERO);
            bucket.take(now);
        }
        assert_eq!(bucket.wait(now), Duration::from_millis(999));
    }
}
