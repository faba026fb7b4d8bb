//! How an operator is set up.

use std::fmt;
use std::time::Duration;

use inflight_core::{Batch, Config, ConfigError, EventTime, Order, Retry, Verdict};

use crate::destination::Destination;
use crate::snapshot::{Clocks, Snapshot};

/// Everything about an operator but its function and its order. Every number has a default; zero never means "no limit".
///
/// ```
/// use std::time::Duration;
/// use inflight::{Options, Retry};
///
/// let options = Options::<u32, String, std::io::Error>::new()
///     .capacity(65_536)
///     .concurrency(1_000)
///     .timeout(Duration::from_millis(250))
///     .deadline(Duration::from_secs(1))
///     .retry(Retry::exponential(3, Duration::from_millis(20), Duration::from_millis(200)))
///     .retry_if(|result| matches!(result, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset));
/// assert_eq!(options.check(), Ok(()));
/// ```
#[must_use = "options do nothing by themselves"]
pub struct Options<I, O, E> {
    capacity: usize,
    concurrency: Option<usize>,
    event_time: EventTime,
    batch: Batch,
    timeout: Option<Duration>,
    deadline: Option<Duration>,
    grace: Option<Duration>,
    retry: Option<Retry>,
    seed: u64,
    pub(crate) destination: Option<Destination>,
    pub(crate) judge: Judge<O, E>,
    pub(crate) resume: Option<(Snapshot<I>, Clocks)>,
}

/// Which results are worth another attempt.
pub(crate) struct Judge<O, E> {
    pub(crate) retry_if: Option<Predicate<O, E>>,
    pub(crate) retry_after: Option<RetryAfter<E>>,
    pub(crate) failure_of: Option<FailureOf<O, E>>,
}

type Predicate<O, E> = Box<dyn Fn(&Result<O, E>) -> bool + Send + Sync>;
type FailureOf<O, E> = Box<dyn Fn(&Result<O, E>) -> Verdict + Send + Sync>;
type RetryAfter<E> = Box<dyn Fn(&E) -> Option<Duration> + Send + Sync>;

/// Records held at most, unless said otherwise: Flink's default (S1).
pub const DEFAULT_CAPACITY: usize = 100;

impl<I, O, E> Options<I, O, E> {
    /// Capacity [`DEFAULT_CAPACITY`], as many calls on the wire, one record each; no clocks, no retries.
    pub const fn new() -> Self {
        Self {
            capacity: DEFAULT_CAPACITY,
            concurrency: None,
            event_time: EventTime::Frontier,
            batch: Batch { size: 1, linger: Duration::ZERO },
            timeout: None,
            deadline: None,
            grace: None,
            retry: None,
            seed: 0,
            destination: None,
            judge: Judge { retry_if: None, retry_after: None, failure_of: None },
            resume: None,
        }
    }

    /// Records held at most, from acceptance until their result leaves. It bounds memory and brakes the source. Default 100.
    pub const fn capacity(mut self, records: usize) -> Self {
        self.capacity = records;
        self
    }

    /// Calls on the wire at most. Default: as many as the capacity. With an order to keep, a capacity well above the concurrency lets a
    /// slow record wait for its answer without emptying the wire.
    pub const fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = Some(calls);
        self
    }

    /// Flink's event-time rule: nothing passes a watermark in either direction, and each holds a unit of capacity. Default: the frontier rule
    /// ([`EventTime`]).
    pub const fn strict(mut self) -> Self {
        self.event_time = EventTime::Strict;
        self
    }

    /// Up to `size` records share a call of a [`BatchFunction`](crate::BatchFunction). While other calls are on the wire, a part-filled
    /// batch waits up to `linger` for more; with nothing on the wire it goes at once. Default: size 1.
    pub const fn batch(mut self, size: usize, linger: Duration) -> Self {
        self.batch = Batch { size, linger };
        self
    }

    /// How long one attempt may take. Default: as long as the deadline allows.
    pub const fn timeout(mut self, attempt: Duration) -> Self {
        self.timeout = Some(attempt);
        self
    }

    /// How long a record may take from acceptance to the decision, over all attempts and waits. This is what Flink calls the timeout.
    /// Default: for ever.
    pub const fn deadline(mut self, record: Duration) -> Self {
        self.deadline = Some(record);
        self
    }

    /// How long a call that was given up and cannot be stopped still counts as on the wire. Default: until it ends.
    pub const fn grace(mut self, given_up: Duration) -> Self {
        self.grace = Some(given_up);
        self
    }

    /// Tries again what fails: any error, unless [`retry_if`](Self::retry_if) says otherwise, and attempts that time out. Default: never.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Which results (errors, or good results such as an empty one) are worth another attempt. A panic in it fails the record.
    ///
    /// The compiler usually wants the parameter's type: `|result: &Result<User, Error>| ...`.
    pub fn retry_if(mut self, predicate: impl Fn(&Result<O, E>) -> bool + Send + Sync + 'static) -> Self {
        self.judge.retry_if = Some(Box::new(predicate));
        self
    }

    /// How long the service asks to be left alone, if an error says so: the next attempt waits at least as long.
    pub fn retry_after(mut self, wish: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.judge.retry_after = Some(Box::new(wish));
        self
    }

    /// What is called, as all operators that call it see it together: its limit, rate, breaker and retry budget hold for all of them.
    /// Default: none, and this operator's [`concurrency`](Self::concurrency) is the only limit.
    pub fn destination(mut self, destination: Destination) -> Self {
        self.destination = Some(destination);
        self
    }

    /// What a result says about the [destination](Self::destination). Default: what is worth another attempt says that it has
    /// failed, anything else that it is well. (An attempt that times out says that it is overloaded.)
    pub fn failure_of(mut self, verdict: impl Fn(&Result<O, E>) -> Verdict + Send + Sync + 'static) -> Self {
        self.judge.failure_of = Some(Box::new(verdict));
        self
    }

    /// Where the jitter of backoffs comes from; equal seeds give equal runs. Default 0.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Starts with what another operator held. Calls that were in flight are made again.
    pub fn resume(mut self, snapshot: Snapshot<I>, clocks: Clocks) -> Self {
        self.resume = Some((snapshot, clocks));
        self
    }

    /// Whether there is something to [resume](Self::resume): for hosts that cannot.
    #[must_use]
    pub const fn resumes(&self) -> bool {
        self.resume.is_some()
    }

    /// Whether an operator can be set up so: for options that come from a user's configuration.
    ///
    /// # Errors
    /// Names the first value that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.config(Order::Ordered).check()?;
        if self.judge.failure_of.is_some() && self.destination.is_none() {
            return Err(ConfigError::new("failure_of says how a destination is, but there is none: set one".into()));
        }
        Ok(())
    }

    pub(crate) fn config(&self, order: Order) -> Config {
        let mut config = Config::new(order, self.capacity);
        config.concurrency = self.concurrency.unwrap_or(self.capacity);
        config.event_time = self.event_time;
        config.batch = self.batch;
        config.timeout = self.timeout;
        config.deadline = self.deadline;
        config.grace = self.grace;
        config.retry.clone_from(&self.retry);
        config.seed = self.seed;
        config
    }
}

impl<I, O, E> Default for Options<I, O, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, O, E> fmt::Debug for Options<I, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config(Order::Ordered).fmt(f)
    }
}
