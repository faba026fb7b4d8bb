//! What is measured during a run, and the summary of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use inflight::Stats;

use super::outcomes::{Outcome, Outcomes};
use crate::pipeline::Step;
use crate::summary::{Latency, StepSummary, Summary};

/// Shared by the threads of a run.
#[derive(Debug)]
pub(super) struct Tally {
    start: Instant,
    records_in: AtomicU64,
    records_out: AtomicU64,
    dropped: AtomicU64,
    dead_lettered: AtomicU64,
    source_wait_nanos: AtomicU64,
    sink_wait_nanos: AtomicU64,
    /// In the order of the stages: that of the operators.
    operators: Vec<usize>,
    steps: Vec<StepTally>,
}

#[derive(Debug)]
struct StepTally {
    outcomes: [AtomicU64; 4],
    calls: Arc<Calls>,
    gauges: Mutex<Gauges>,
    concurrency: usize,
    capacity: usize,
}

/// The last look at an operator, and how long it was full.
#[derive(Debug)]
struct Gauges {
    seen: Instant,
    stats: Stats,
    concurrency_full: Duration,
    capacity_full: Duration,
}

/// How long calls took.
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
        let _ = lock(&self.nanos).record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn latency(&self) -> (u64, Latency) {
        let nanos = lock(&self.nanos);
        let at = |quantile: f64| Duration::from_nanos(nanos.value_at_quantile(quantile));
        let latency = Latency {
            min: Duration::from_nanos(if nanos.is_empty() { 0 } else { nanos.min() }),
            mean: Duration::from_nanos(nanos.mean() as u64),
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_nanos(nanos.max()),
        };
        (nanos.len(), latency)
    }
}

impl Tally {
    pub(super) fn new(steps: &[Step], stages: &[Vec<usize>]) -> Arc<Self> {
        let start = Instant::now();
        let step = |step: &Step| StepTally {
            outcomes: Default::default(),
            calls: Arc::new(Calls::new()),
            gauges: Mutex::new(Gauges {
                seen: start,
                stats: Stats::default(),
                concurrency_full: Duration::ZERO,
                capacity_full: Duration::ZERO,
            }),
            concurrency: step.concurrency,
            capacity: step.capacity,
        };
        Arc::new(Self {
            start,
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            source_wait_nanos: AtomicU64::new(0),
            sink_wait_nanos: AtomicU64::new(0),
            operators: stages.iter().flatten().copied().collect(),
            steps: steps.iter().map(step).collect(),
        })
    }

    pub(super) fn calls(&self, place: usize) -> Arc<Calls> {
        Arc::clone(&self.steps[place].calls)
    }

    /// The step that an operator of the dataflow belongs to.
    pub(super) fn step_of(&self, operator: usize) -> usize {
        self.operators[operator]
    }

    pub(super) fn read(&self, records: u64) {
        self.records_in.store(records, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        self.records_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dead_lettered(&self) {
        self.dead_lettered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waited_for_source(&self, time: Duration) {
        add(&self.source_wait_nanos, time);
    }

    pub(super) fn waited_for_sink(&self, time: Duration) {
        add(&self.sink_wait_nanos, time);
    }

    /// What came of the look-ups of a record that is done.
    pub(super) fn count(&self, outcomes: Outcomes) {
        for (place, outcome) in outcomes.iter() {
            self.steps[place].outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A look at the operator of a step: what it was at the last look, it has been until now.
    pub(super) fn sample(&self, place: usize, stats: &Stats) {
        self.steps[place].sample(Instant::now(), stats);
    }

    pub(super) fn summary(&self, steps: &[Step]) -> Summary {
        let elapsed = self.start.elapsed();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            records_in: count(&self.records_in),
            records_out: count(&self.records_out),
            dropped: count(&self.dropped),
            dead_lettered: count(&self.dead_lettered),
            elapsed,
            source_wait: Duration::from_nanos(count(&self.source_wait_nanos)),
            sink_wait: Duration::from_nanos(count(&self.sink_wait_nanos)),
            steps: steps.iter().zip(&self.steps).map(|(step, tally)| tally.summary(&step.name, elapsed)).collect(),
        }
    }
}

impl StepTally {
    fn sample(&self, now: Instant, stats: &Stats) {
        let mut gauges = lock(&self.gauges);
        let passed = now.duration_since(gauges.seen);
        if gauges.stats.on_wire >= self.concurrency {
            gauges.concurrency_full += passed;
        }
        if gauges.stats.held >= self.capacity {
            gauges.capacity_full += passed;
        }
        gauges.seen = now;
        gauges.stats = *stats;
    }

    fn summary(&self, name: &str, elapsed: Duration) -> StepSummary {
        let (calls, latency) = self.calls.latency();
        let gauges = lock(&self.gauges);
        let part = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let outcome = |outcome: Outcome| self.outcomes[outcome as usize].load(Ordering::Relaxed);
        StepSummary {
            name: name.to_owned(),
            found: outcome(Outcome::Found),
            missing: outcome(Outcome::Missing),
            failed: outcome(Outcome::Failed),
            timed_out: outcome(Outcome::TimedOut),
            retried: gauges.stats.retries,
            calls,
            latency,
            concurrency_mean: part(Duration::from_nanos(gauges.stats.wire_nanos)),
            concurrency: self.concurrency,
            capacity: self.capacity,
            concurrency_full: part(gauges.concurrency_full),
            capacity_full: part(gauges.capacity_full),
        }
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(concurrency: usize, capacity: usize) -> StepTally {
        StepTally {
            outcomes: Default::default(),
            calls: Arc::new(Calls::new()),
            gauges: Mutex::new(Gauges {
                seen: Instant::now(),
                stats: Stats::default(),
                concurrency_full: Duration::ZERO,
                capacity_full: Duration::ZERO,
            }),
            concurrency,
            capacity,
        }
    }

    #[test]
    fn what_an_operator_was_at_the_last_look_it_has_been_until_this_one() {
        let step = tally(2, 10);
        let start = lock(&step.gauges).seen;
        let look = |second: u64, on_wire: usize, held: usize| {
            step.sample(start + Duration::from_secs(second), &Stats { on_wire, held, ..Stats::default() });
        };
        look(1, 2, 10);
        look(3, 2, 9);
        look(4, 1, 9);
        look(10, 0, 0);
        let gauges = lock(&step.gauges);
        assert_eq!(gauges.concurrency_full, Duration::from_secs(3));
        assert_eq!(gauges.capacity_full, Duration::from_secs(2));
    }

    #[test]
    fn a_step_is_summed_up() {
        let step = tally(4, 10);
        for took in [1, 2, 3, 4, 90] {
            step.calls.ended(Duration::from_millis(took));
        }
        step.outcomes[Outcome::Missing as usize].store(7, Ordering::Relaxed);
        let wire_nanos = Duration::from_secs(3).as_nanos() as u64;
        let stats = Stats { retries: 5, wire_nanos, ..Stats::default() };
        step.sample(Instant::now(), &stats);
        let summary = step.summary("user", Duration::from_secs(2));
        assert_eq!((summary.name.as_str(), summary.found, summary.missing, summary.retried), ("user", 0, 7, 5));
        assert_eq!((summary.calls, summary.concurrency_mean), (5, 1.5));
        let millis = |duration: Duration| duration.as_millis();
        assert_eq!((millis(summary.latency.p50), millis(summary.latency.max)), (3, 90));
    }

    #[test]
    fn a_step_that_did_nothing_has_a_summary_too() {
        let summary = tally(4, 10).summary("user", Duration::ZERO);
        assert_eq!(summary.latency, Latency::default());
        assert_eq!(summary.concurrency_mean, 0.0);
    }
}
