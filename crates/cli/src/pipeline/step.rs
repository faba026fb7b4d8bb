//! A step as needed: its limits, clocks, retries and batches checked, and those that were left out filled in.

use std::time::Duration;

use inflight::Concurrency;
use inflight_connectors::FieldPath;

use super::lookup::Lookup;
use super::policies::{Policies, System};
use crate::fault::Fault;
use crate::file::{Batch, CallLimit, CallRange, Document, OnError, OnMissing, Order, Retries, RetryOn, Step as Typed};
use crate::number_or::NumberOr;
use crate::units::{Count, Percent, Period, PeriodRange, RetryCount};

/// Records held by a step at least unless the file says otherwise.
pub const CAPACITY: usize = 1024;

/// Records held by a step unless the file says otherwise, for each that its calls can carry: while results wait for the oldest, the
/// calls behind it stay full. A limit that is found by trying stays far enough below its most without.
pub(super) const HELD_PER_CARRIED: usize = 2;

/// Calls on the wire of a step unless the file says otherwise: more than one, and few enough for any database.
pub const CONCURRENCY: usize = 16;

/// Calls on the wire at most of a step whose limit is found by trying, unless the file says otherwise.
pub const AUTO_MAX: usize = 400;

/// Time for one attempt unless the file says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// The deadline of a record unless the file says otherwise, in timeouts: enough for the attempts and their pauses.
pub const DEADLINE_TIMEOUTS: u32 = 5;

/// Attempts after the first unless the file says otherwise.
pub const RETRIES: u32 = 3;

/// Pauses between attempts unless the file says otherwise.
pub const BACKOFF: PeriodRange = PeriodRange { from: Duration::from_millis(50), to: Duration::from_secs(2) };

/// Records that share a call unless the file says otherwise. A batch fills while all calls are on the wire, and leaves at once when none
/// is, so nothing waits for it; and asking a local database for 100 keys at once takes a fraction of the work of 100 calls.
pub const BATCH: usize = 100;

/// How long a part-filled batch waits unless the file says otherwise.
pub const LINGER: Duration = Duration::from_millis(2);

/// Most records that one step may hold.
pub const CAPACITY_MAX: usize = 1_000_000;

/// Most calls that one step may have on the wire.
pub const CONCURRENCY_MAX: usize = 100_000;

/// Most records that may share a call.
pub const BATCH_MAX: usize = 10_000;

/// One look-up for each record.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name, and the field that its result is written to.
    pub name: String,
    /// The system that is asked.
    pub lookup: Lookup,
    /// What is asked for: columns, each with the field of the record that it must equal. At least one.
    pub key: Vec<(String, FieldPath)>,
    /// In which order records leave.
    pub order: Order,
    /// Most records held at a time; at least `concurrency`, at least `batch_size`.
    pub capacity: usize,
    /// Most calls on the wire at a time, of all workers of a process.
    pub concurrency: usize,
    /// Their limit is found by trying, between this and `concurrency`.
    pub concurrency_from: Option<usize>,
    /// Time for one attempt; at most `deadline`.
    pub timeout: Duration,
    /// Time for a record in all.
    pub deadline: Duration,
    /// Most attempts after the first; may be 0.
    pub retries: u32,
    /// Shortest and longest pause between attempts.
    pub backoff: PeriodRange,
    /// Which failures are tried again.
    pub retry_on: Vec<RetryOn>,
    /// Most records in one call.
    pub batch_size: usize,
    /// How long a part-filled call waits for more records.
    pub batch_linger: Duration,
    /// What becomes of a record for which there is no answer.
    pub on_missing: OnMissing,
    /// What becomes of a record whose look-up failed.
    pub on_error: OnError,
    /// What changes its calls.
    pub policies: Policies,
}

impl Step {
    /// Most calls on the wire at a time.
    pub fn calls(&self) -> Concurrency {
        let max = self.concurrency;
        self.concurrency_from.map_or(Concurrency::Fixed(max), |min| Concurrency::Auto { min, max })
    }
}

/// The check of one step.
pub(super) struct StepCheck<'a> {
    pub(super) document: &'a Document,
    pub(super) name: &'a str,
    pub(super) faults: &'a mut Vec<Fault>,
}

impl StepCheck<'_> {
    pub(super) fn refuse(&mut self, key: &str, message: String, label: &str) {
        let fault = self.document.fault(&["enrich", self.name, key], message).with_label(label);
        self.faults.push(fault);
    }

    pub(super) fn step(&mut self, typed: Typed) -> Option<Step> {
        let lookup = self.system(Lookup::named(&typed));
        let (batch_size, batch_linger) = self.batch(typed.batch);
        let batch_size = batch_size.or_else(|| lookup.as_ref().and_then(Lookup::batch_size));
        let (concurrency, concurrency_from) = self.concurrency(typed.concurrency, typed.capacity);
        let held_per_carried = if concurrency_from.is_some() { 1 } else { HELD_PER_CARRIED };
        let (capacity, concurrency, batch_size) =
            self.limits(typed.capacity, concurrency, batch_size, held_per_carried);
        let (timeout, deadline) = self.clocks(typed.timeout, typed.deadline);
        let (retries, backoff, retry_on, budget) = self.retries(typed.retries);
        let (rate_limit, per_key) = self.rates(typed.rate_limit);
        let system = System { name: typed.destination, rate_limit, breaker: self.breaker(typed.breaker), budget };
        // What is in memory is there before anybody could join.
        let takes_time = !matches!(lookup, Some(Lookup::Memory(_)));
        let (single_flight, cache) = (typed.single_flight.unwrap_or(takes_time), self.cache(typed.cache));
        if typed.key.0.is_empty() {
            self.refuse("key", "the key has no column".to_owned(), "such as `key: { id: .user_id }`");
        }
        let mut step = Step {
            name: self.name.to_owned(),
            lookup: lookup?,
            key: typed.key.0,
            order: typed.order,
            capacity,
            concurrency,
            concurrency_from,
            timeout,
            deadline,
            retries,
            backoff,
            retry_on,
            batch_size,
            batch_linger,
            on_missing: typed.on_missing,
            on_error: typed.on_error,
            policies: Policies { single_flight, cache, hedge: None, per_key, system },
        };
        step.policies.hedge = self.hedge(typed.hedge, &step);
        Some(step)
    }

    fn system(&mut self, mut named: Vec<Lookup>) -> Option<Lookup> {
        let (message, label) = match named.len() {
            0 => ("asks no system", "such as `sqlite: { database: users.db, table: users, columns: [name] }`"),
            1 => return named.pop(),
            2 => ("asks two systems", "make a step of each; they run at the same time"),
            _ => ("asks several systems", "make a step of each; they run at the same time"),
        };
        let fault = self.document.fault_at_key(&["enrich", self.name], format!("step `{}` {message}", self.name));
        self.faults.push(fault.with_label(label));
        None
    }

    /// Most calls, and the fewest if that is to be found out.
    fn concurrency(
        &mut self,
        typed: Option<NumberOr<CallLimit, CallRange>>,
        capacity: Option<Count>,
    ) -> (Option<usize>, Option<usize>) {
        let CallRange { min, max } = match typed {
            None => return (None, None),
            Some(NumberOr::Number(CallLimit::Calls(calls))) => {
                return (Some(self.at_most("concurrency", calls, CONCURRENCY_MAX)), None);
            }
            Some(NumberOr::Number(CallLimit::Auto)) => CallRange { min: None, max: None },
            Some(NumberOr::Group(range)) => range,
        };
        let held = capacity.map_or(AUTO_MAX, |count| usize::try_from(count.0).unwrap_or(usize::MAX));
        let min = min.map_or(1, |count| self.at_most("concurrency", count, CONCURRENCY_MAX));
        let max = max.map(|count| self.at_most("concurrency", count, CONCURRENCY_MAX));
        let max = max.unwrap_or_else(|| AUTO_MAX.min(held).max(min));
        if min > max {
            self.refuse("concurrency", format!("the range {min} to {max} runs backwards"), "`min` is at most `max`");
        }
        (Some(max), Some(min.min(max)))
    }

    /// Capacity, concurrency and batch size.
    fn limits(
        &mut self,
        capacity: Option<Count>,
        concurrency: Option<usize>,
        batch_size: Option<usize>,
        held_per_carried: usize,
    ) -> (usize, usize, usize) {
        let capacity = capacity.map(|count| self.at_most("capacity", count, CAPACITY_MAX));
        let batch_size = batch_size.unwrap_or_else(|| BATCH.min(capacity.unwrap_or(BATCH)));
        let limits = match (capacity, concurrency) {
            (Some(capacity), Some(concurrency)) => (capacity, concurrency),
            (Some(capacity), None) => (capacity, CONCURRENCY.min(capacity)),
            (None, concurrency) => {
                let concurrency = concurrency.unwrap_or(CONCURRENCY);
                let held = concurrency.saturating_mul(batch_size).saturating_mul(held_per_carried);
                (CAPACITY.max(held).min(CAPACITY_MAX), concurrency)
            }
        };
        if limits.0 < limits.1 {
            let message = format!("capacity {} is less than concurrency {}", limits.0, limits.1);
            self.refuse("capacity", message, "a call holds a record at least, so so many calls could never be made");
        }
        if limits.0 < batch_size {
            let message = format!("capacity {} is less than the batch size {batch_size}", limits.0);
            self.refuse("capacity", message, "a batch could never be full");
        }
        (limits.0, limits.1, batch_size)
    }

    fn clocks(&mut self, timeout: Option<Period>, deadline: Option<Period>) -> (Duration, Duration) {
        let (timeout, deadline) = (timeout.map(|period| period.0), deadline.map(|period| period.0));
        let attempt = timeout.unwrap_or_else(|| TIMEOUT.min(deadline.unwrap_or(TIMEOUT)));
        let whole = deadline.unwrap_or_else(|| attempt.saturating_mul(DEADLINE_TIMEOUTS));
        if attempt > whole {
            let message = format!("timeout {} is longer than deadline {}", Period(attempt), Period(whole));
            self.refuse("timeout", message, "the timeout is for one attempt, the deadline for all of them");
        }
        (attempt, whole)
    }

    fn retries(
        &mut self,
        typed: Option<NumberOr<RetryCount, Retries>>,
    ) -> (u32, PeriodRange, Vec<RetryOn>, Option<Percent>) {
        let all = vec![RetryOn::Timeout, RetryOn::Connection, RetryOn::Busy];
        match typed {
            None => (RETRIES, BACKOFF, all, None),
            Some(NumberOr::Number(max)) => (max.0, BACKOFF, all, None),
            Some(NumberOr::Group(Retries { max, backoff, on, budget })) => {
                if on.as_ref().is_some_and(Vec::is_empty) {
                    self.refuse("retries", "`on` is empty, so nothing is tried again".to_owned(), "write `retries: 0`");
                }
                (max.map_or(RETRIES, |max| max.0), backoff.unwrap_or(BACKOFF), on.unwrap_or(all), budget)
            }
        }
    }

    fn batch(&mut self, typed: Option<NumberOr<Count, Batch>>) -> (Option<usize>, Duration) {
        let (size, linger) = match typed {
            None => (None, None),
            Some(NumberOr::Number(size)) => (Some(size), None),
            Some(NumberOr::Group(Batch { size, linger })) => (size, linger),
        };
        let size = size.map(|size| self.at_most("batch", size, BATCH_MAX));
        (size, linger.map_or(LINGER, |period| period.0))
    }

    pub(super) fn at_most(&mut self, key: &str, count: Count, max: usize) -> usize {
        let count = usize::try_from(count.0).unwrap_or(usize::MAX);
        if count > max {
            self.refuse(key, format!("{key} {count} is too large"), &format!("at most {max}"));
        }
        count.min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use crate::pipeline::Pipeline;

    /// The step with these keys besides the ones that it must have.
    fn step(keys: &str) -> Step {
        let step = format!("{{ sqlite: {{ database: d.db, table: t }}, key: {{ id: .id }}{keys} }}");
        let text = format!("source: stdin\nenrich: {{ a: {step} }}\nsink: stdout\n");
        Pipeline::check(file::parse("p.yaml", &text).unwrap()).unwrap().steps.remove(0)
    }

    #[test]
    fn defaults_are_safe_and_agree_with_each_other() {
        let step = step("");
        assert_eq!((step.order, step.capacity, step.concurrency), (Order::Input, 3200, 16));
        assert_eq!((step.timeout, step.deadline), (Duration::from_secs(1), Duration::from_secs(5)));
        assert_eq!((step.retries, step.backoff), (3, BACKOFF));
        assert_eq!(step.retry_on, [RetryOn::Timeout, RetryOn::Connection, RetryOn::Busy]);
        assert_eq!((step.batch_size, step.batch_linger), (100, Duration::from_millis(2)));
        assert_eq!((step.on_missing, &step.on_error), (OnMissing::Keep, &OnError::Fail));
    }

    #[test]
    fn what_was_given_moves_the_defaults_that_depend_on_it() {
        assert_eq!((step(", capacity: 5").concurrency, step(", capacity: 5").batch_size), (5, 5));
        assert_eq!(step(", concurrency: 3k, batch: 1").capacity, 6000);
        assert_eq!((step(", batch: 1").capacity, step(", batch: 200").capacity), (1024, 6400));
        assert_eq!(step(", concurrency: 100k").capacity, CAPACITY_MAX);
        let auto = |keys: &str| step(keys).calls();
        assert_eq!(auto(", concurrency: auto"), Concurrency::Auto { min: 1, max: AUTO_MAX });
        assert_eq!(step(", concurrency: { max: 50 }").capacity, 5000);
        assert_eq!(auto(", concurrency: auto, capacity: 200"), Concurrency::Auto { min: 1, max: 200 });
        assert_eq!(auto(", concurrency: { min: 4 }"), Concurrency::Auto { min: 4, max: AUTO_MAX });
        assert_eq!(auto(", concurrency: { max: 4 }"), Concurrency::Auto { min: 1, max: 4 });
        assert_eq!(step(", batch: { linger: 5ms }").batch_size, 100);
        assert_eq!(step(", timeout: 3s").deadline, Duration::from_secs(15));
        assert_eq!(step(", deadline: 200ms").timeout, Duration::from_millis(200));
        assert_eq!(step(", retries: { on: [busy] }").retries, 3);
    }
}
