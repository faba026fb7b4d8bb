//! When to try again: attempts, backoff, jitter. (What keeps retries from becoming a storm is the budget of a
//! [`Destination`](crate::Destination).)
//!
//! Which error or result is worth a retry is decided by whoever reports it ([`Completion::Retry`](crate::Completion::Retry)); this file decides
//! whether and when there is one. The delay follows from the attempt number alone (Flink keeps "the last delay" in one
//! object that all records share, so that they spoil each other's: S56).

use core::time::Duration;

/// How often and how soon a call is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Retries after the first attempt, at least 1: `3` means up to four calls (Flink's counting, S53).
    pub max_retries: u32,
    /// The wait before each retry.
    pub backoff: Backoff,
    /// How the wait is spread, so that records that failed together do not come back together.
    pub jitter: Jitter,
    /// Whether an attempt that timed out is tried again, as long as the record's deadline allows. Default `true`.
    pub timeouts: bool,
}

impl Retry {
    /// `max_retries` retries, each after `delay`; no jitter (Flink's `FixedDelayRetryStrategy`).
    #[must_use]
    pub const fn fixed(max_retries: u32, delay: Duration) -> Self {
        Self { max_retries, backoff: Backoff::Fixed(delay), jitter: Jitter::None, timeouts: true }
    }

    /// `max_retries` retries, the wait doubling from `initial` up to `max`, fully jittered.
    #[must_use]
    pub const fn exponential(max_retries: u32, initial: Duration, max: Duration) -> Self {
        let backoff = Backoff::Exponential { initial, multiplier: 2.0, max };
        Self { max_retries, backoff, jitter: Jitter::Full, timeouts: true }
    }

    /// The wait after attempt number `attempt` (the first is 1) failed; `salt` makes the jitter, and equal salts equal jitter.
    pub(crate) fn delay(&self, attempt: u32, salt: u64) -> Duration {
        let full = self.backoff.delay(attempt);
        match self.jitter {
            Jitter::None => full,
            Jitter::Full => {
                let nanos = u64::try_from(full.as_nanos()).unwrap_or(u64::MAX);
                let spread = (u128::from(mix(salt)) * (u128::from(nanos) + 1)) >> 64;
                Duration::from_nanos(u64::try_from(spread).unwrap_or(nanos))
            }
        }
    }
}

/// The wait before a retry, before jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backoff {
    /// Always the same.
    Fixed(Duration),
    /// `initial` after the first attempt, then each time `multiplier` as long, never longer than `max` (`initial` included, unlike Flink: S55).
    Exponential {
        /// After the first attempt.
        initial: Duration,
        /// Growth from one retry to the next; at least 1.
        multiplier: f64,
        /// The longest wait.
        max: Duration,
    },
}

impl Backoff {
    /// The wait after attempt number `attempt` failed. The first attempt is 1.
    ///
    /// ```
    /// use core::time::Duration;
    /// use inflight_core::Backoff;
    ///
    /// let ms = Duration::from_millis;
    /// let backoff = Backoff::Exponential { initial: ms(100), multiplier: 2.0, max: ms(2000) };
    /// let waits: Vec<_> = (1..=6).map(|attempt| backoff.delay(attempt)).collect();
    /// assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1600), ms(2000)]);
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        match *self {
            Self::Fixed(delay) => delay,
            Self::Exponential { initial, multiplier, max } => {
                let limit = max.as_nanos() as f64;
                let mut nanos = initial.as_nanos() as f64;
                for _ in 1..attempt {
                    if nanos >= limit || multiplier <= 1.0 {
                        break;
                    }
                    nanos *= multiplier;
                }
                // Not a lossy surprise: a float cast saturates.
                if nanos >= limit { max } else { Duration::from_nanos(nanos as u64) }
            }
        }
    }
}

/// How a wait is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// The wait as computed.
    None,
    /// Anywhere between nothing and the wait as computed, drawn from the queue's seed ("full jitter").
    Full,
}

/// A number that looks random, from one that does not (the finalizer of splitmix64).
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_delay_depends_on_the_attempt_alone() {
        let retry = Retry { jitter: Jitter::None, ..Retry::exponential(9, ms(100), ms(2000)) };
        // Flink's mutable strategy answers 200 for attempt 4 after another record was at attempt 1.
        assert_eq!(retry.delay(1, 0), ms(100));
        assert_eq!(retry.delay(4, 0), ms(800));
        assert_eq!(retry.delay(2, 0), ms(200));
        assert_eq!(retry.delay(u32::MAX, 0), ms(2000));
    }

    #[test]
    fn a_first_wait_longer_than_the_longest_is_cut() {
        let backoff = Backoff::Exponential { initial: ms(500), multiplier: 2.0, max: ms(300) };
        assert_eq!(backoff.delay(1), ms(300));
    }

    #[test]
    fn full_jitter_stays_within_the_wait_and_uses_all_of_it() {
        let retry = Retry::exponential(1, ms(100), ms(100));
        let delays: alloc::vec::Vec<_> = (0..1000).map(|salt| retry.delay(1, salt)).collect();
        assert!(delays.iter().all(|&delay| delay <= ms(100)));
        assert!(delays.iter().any(|&delay| delay < ms(5)) && delays.iter().any(|&delay| delay > ms(95)));
        assert_eq!(retry.delay(1, 7), retry.delay(1, 7));
    }
}
