//! What a queue is told once, when it is made.

use core::fmt;
use core::time::Duration;

use crate::retry::{Backoff, Retry};

/// The most records a queue can hold, and the most that can share a call: 2²⁴.
pub const MAX_CAPACITY: usize = 1 << 24;

/// In which order results leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Exactly as the records came; watermarks keep their places (Flink: `orderedWait`).
    Ordered,
    /// As they complete, as far as watermarks allow (Flink: `unorderedWait`).
    Unordered,
    /// Calls of one key run at the same time, but their results leave in the order the records came; keys do not wait for each other.
    KeyOrdered,
    /// One call per key at a time, in the order the records came (Flink: FLIP-519); keys do not wait for each other.
    KeySerial,
}

impl Order {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Ordered, Self::Unordered, Self::KeyOrdered, Self::KeySerial];

    /// Whether records of one key wait for each other.
    #[must_use]
    pub const fn is_keyed(self) -> bool {
        matches!(self, Self::KeyOrdered | Self::KeySerial)
    }
}

/// How watermarks and records may pass each other, where the order lets them ([`Order::Ordered`] never does).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventTime {
    /// A watermark waits only for the records it covers, and later records may overtake it; no on-time record becomes late by it.
    #[default]
    Frontier,
    /// A watermark is a fence that nothing passes in either direction, and holds a unit of capacity (Flink: S3, S15).
    Strict,
}

/// How many records share a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// At most this many, at least 1. Default 1.
    pub size: usize,
    /// How long a part-filled batch may wait for more while other calls are on the wire. With nothing on the wire it goes at once.
    /// Default zero: it never waits.
    pub linger: Duration,
}

/// Everything a [`Queue`](crate::Queue) is told once.
///
/// ```
/// use core::time::Duration;
/// use inflight_core::{Config, Order};
///
/// let mut config = Config::new(Order::Unordered, 100);
/// config.deadline = Some(Duration::from_secs(1));
/// assert_eq!(config.check(), Ok(()));
///
/// config.capacity = 0;
/// assert_eq!(config.check().unwrap_err().to_string(), "capacity must be between 1 and 16777216, not 0");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// In which order results leave.
    pub order: Order,
    /// How watermarks and records may pass each other. Default [`EventTime::Frontier`].
    pub event_time: EventTime,
    /// Records held at most, from acceptance until their result has left: memory, and the source's brake.
    pub capacity: usize,
    /// Calls on the wire at most. Default: as many as `capacity`, as in Flink.
    pub concurrency: usize,
    /// How many records share a call. Default: each has its own.
    pub batch: Batch,
    /// How long one attempt may take. Default `None`: as long as the record's deadline allows.
    pub timeout: Option<Duration>,
    /// How long a record may take from acceptance until its outcome is decided, all attempts and waits included. Default `None`: for ever.
    pub deadline: Option<Duration>,
    /// How long a call that was given up and does not stop still counts as on the wire. Default `None`: until it ends.
    pub grace: Option<Duration>,
    /// Whether and when failed calls are tried again. Default `None`: never.
    pub retry: Option<Retry>,
    /// Where jitter comes from. Default 0. Equal seeds give equal runs.
    pub seed: u64,
    /// The bug this queue has, in test builds.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::Mutant>,
}

impl Config {
    /// A queue that holds up to `capacity` records, with a call each; no clocks, no retries.
    #[must_use]
    pub const fn new(order: Order, capacity: usize) -> Self {
        Self {
            order,
            event_time: EventTime::Frontier,
            capacity,
            concurrency: capacity,
            batch: Batch { size: 1, linger: Duration::ZERO },
            timeout: None,
            deadline: None,
            grace: None,
            retry: None,
            seed: 0,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Whether a queue can be made of this.
    ///
    /// # Errors
    /// Names the first value that is out of its range. Zero never means "no limit".
    pub fn check(&self) -> Result<(), ConfigError> {
        count("capacity", self.capacity)?;
        count("concurrency", self.concurrency)?;
        count("batch size", self.batch.size)?;
        nonzero("timeout", self.timeout)?;
        nonzero("deadline", self.deadline)?;
        nonzero("grace", self.grace)?;
        self.retry.as_ref().map_or(Ok(()), check_retry)
    }
}

fn check_retry(retry: &Retry) -> Result<(), ConfigError> {
    if retry.max_retries == 0 {
        return Err(ConfigError("max_retries must be at least 1; leave retry out for none".into()));
    }
    if let Backoff::Exponential { multiplier, .. } = retry.backoff
        && !(multiplier.is_finite() && multiplier >= 1.0)
    {
        return Err(ConfigError(alloc::format!("the backoff's multiplier must be at least 1, not {multiplier}")));
    }
    Ok(())
}

pub(crate) fn count(name: &str, value: usize) -> Result<(), ConfigError> {
    if (1..=MAX_CAPACITY).contains(&value) {
        return Ok(());
    }
    Err(ConfigError(alloc::format!("{name} must be between 1 and {MAX_CAPACITY}, not {value}")))
}

fn nonzero(name: &str, value: Option<Duration>) -> Result<(), ConfigError> {
    if value == Some(Duration::ZERO) {
        return Err(ConfigError(alloc::format!("{name} must be longer than zero; leave it out for none")));
    }
    Ok(())
}

/// A value of a [`Config`] is out of its range. The text says which, and the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(alloc::string::String);

impl ConfigError {
    /// An error that says this.
    #[must_use]
    pub const fn new(text: alloc::string::String) -> Self {
        Self(text)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ConfigError {}
