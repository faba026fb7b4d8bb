//! How long the calls of a step took.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::summary::Latency;

/// Of all workers.
#[derive(Debug)]
pub(super) struct Calls {
    nanos: Mutex<Histogram<u64>>,
}

/// Digits that a latency is kept to.
const DIGITS: u8 = 3;

impl Calls {
    pub(super) fn new() -> Self {
        // Only other than one to five digits are refused.
        let nanos = Histogram::new(DIGITS).unwrap_or_else(|error| unreachable!("{error}"));
        Self { nanos: Mutex::new(nanos) }
    }

    pub(super) fn ended(&self, took: Duration) {
        // It grows to what it is given; a call of more than 584 years may go unrecorded.
        let _ = self.nanos().record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn count(&self) -> u64 {
        self.nanos().len()
    }

    pub(super) fn latency(&self) -> Latency {
        let nanos = self.nanos();
        let at = |quantile: f64| Duration::from_nanos(nanos.value_at_quantile(quantile));
        Latency {
            min: Duration::from_nanos(if nanos.is_empty() { 0 } else { nanos.min() }),
            mean: Duration::from_nanos(nanos.mean() as u64),
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_nanos(nanos.max()),
        }
    }
    fn nanos(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.nanos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
