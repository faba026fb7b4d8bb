//! What is measured during a run, and the summary of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use inflight::Stats;

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

/// What came of a record's look-up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Found,
    Missing,
    Failed,
    TimedOut,
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
    fn new() -> Self {
        // Only other than one to five digits are refused.
        let nanos = Histogram::new(DIGITS).unwrap_or_else(|error| unreachable!("{error}"));
        Self { nanos: Mutex::new(nanos) }
    }

    pub(super) fn ended(&self, took: Duration) {
        // It grows to what it is given; a call of more than 584 years may go unrecorded.
        drop(lock(&self.nanos).record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)));
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

    pub(super) fn count(&self, place: usize, found: Option<Found>) {
        if let Some(found) = found {
            self.steps[place].outcomes[found as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A look at the operator of a step: what it was at the last look, it has been until now.
    pub(super) fn sample(&self, place: usize, stats: &Stats) {
        let step = &self.steps[place];
        let mut gauges = lock(&step.gauges);
        let now = Instant::now();
        let passed = now.duration_since(gauges.seen);
        if gauges.stats.on_wire >= step.concurrency {
            gauges.concurrency_full += passed;
        }
        if gauges.stats.held >= step.capacity {
            gauges.capacity_full += passed;
        }
        gauges.seen = now;
        gauges.stats = *stats;
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
    fn summary(&self, name: &str, elapsed: Duration) -> StepSummary {
        let (calls, latency) = self.calls.latency();
        let gauges = lock(&self.gauges);
        let part = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let outcome = |found: Found| self.outcomes[found as usize].load(Ordering::Relaxed);
        StepSummary {
            name: name.to_owned(),
            found: outcome(Found::Found),
            missing: outcome(Found::Missing),
            failed: outcome(Found::Failed),
            timed_out: outcome(Found::TimedOut),
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
