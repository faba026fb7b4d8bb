//! What is measured during a run, and the summary of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inflight::{Concurrency, Stats};
use serde::{Deserialize, Serialize};

use super::outcomes::{Outcome, Outcomes};
use super::shared::{PolicyCounts, Shared};
use crate::pipeline::Step;
use crate::summary::{StepSummary, Summary};

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
    /// Of the runs that this one goes on from.
    before: Mutex<Counts>,
    /// What the partitions are called that this process reads.
    names: Mutex<BTreeMap<u32, String>>,
}

/// What is counted over all runs that go on from each other: kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) records_out: u64,
    pub(super) dropped: u64,
    pub(super) dead_lettered: u64,
    elapsed: Duration,
    source_wait: Duration,
    sink_wait: Duration,
    steps: BTreeMap<String, StepCounts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StepCounts {
    outcomes: [u64; 4],
    retried: u64,
    calls: u64,
    #[serde(default)]
    policies: PolicyCounts,
}

#[derive(Debug)]
struct StepTally {
    name: String,
    outcomes: [AtomicU64; 4],
    shared: Arc<Shared>,
    /// For each worker of this process.
    gauges: Vec<Mutex<Gauges>>,
    /// Of all workers.
    concurrency: Concurrency,
    /// Of one worker.
    capacity: usize,
}

/// The last look at an operator, and how long it was full.
#[derive(Debug)]
struct Gauges {
    seen: Instant,
    stats: Stats,
    capacity_full: Duration,
}

impl Tally {
    pub(super) fn new(steps: &[Step], shared: Vec<Arc<Shared>>, stages: &[Vec<usize>], workers: usize) -> Arc<Self> {
        let start = Instant::now();
        let step = |(step, shared): (&Step, Arc<Shared>)| StepTally::new(step, shared, workers, start);
        Arc::new(Self {
            start,
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            source_wait_nanos: AtomicU64::new(0),
            sink_wait_nanos: AtomicU64::new(0),
            operators: stages.iter().flatten().copied().collect(),
            steps: steps.iter().zip(shared).map(step).collect(),
            before: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// What a partition is called.
    pub(super) fn name(&self, partition: u32, name: String) {
        lock(&self.names).insert(partition, name);
    }

    /// The name of a partition, if this process reads it.
    pub(super) fn name_of(&self, partition: u32) -> Option<String> {
        lock(&self.names).get(&partition).cloned()
    }

    /// What all workers share of a step.
    pub(super) fn shared(&self, place: usize) -> &Arc<Shared> {
        &self.steps[place].shared
    }

    /// The step that an operator of the dataflow belongs to.
    pub(super) fn step_of(&self, operator: usize) -> usize {
        self.operators[operator]
    }

    /// So many records more.
    pub(super) fn read(&self, records: u64) {
        self.records_in.fetch_add(records, Ordering::Relaxed);
    }

    /// So many records in all, those of earlier runs and of other processes included.
    pub(super) fn read_in_all(&self, records: u64) {
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

    /// A look at the operator of a step on a worker: what it was at the last look, it has been until now.
    pub(super) fn sample(&self, worker: usize, place: usize, stats: &Stats) {
        self.steps[place].sample(worker, Instant::now(), stats);
    }

    /// Calls on the wire at the last looks, of all workers.
    pub(super) fn in_flight(&self) -> u64 {
        self.steps.iter().flat_map(|step| &step.gauges).map(|gauges| lock(gauges).stats.on_wire as u64).sum()
    }

    /// Goes on from what was counted before.
    pub(super) fn go_on(&self, before: Counts, records_in: u64) {
        self.records_in.store(records_in, Ordering::Relaxed);
        self.records_out.store(before.records_out, Ordering::Relaxed);
        self.dropped.store(before.dropped, Ordering::Relaxed);
        self.dead_lettered.store(before.dead_lettered, Ordering::Relaxed);
        for step in &self.steps {
            let counts = before.steps.get(&step.name).copied().unwrap_or_default();
            step.outcomes
                .iter()
                .zip(counts.outcomes)
                .for_each(|(counter, count)| counter.store(count, Ordering::Relaxed));
        }
        *lock(&self.before) = before;
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        let before = lock(&self.before).clone();
        let step = |step: &StepTally| {
            let earlier = before.steps.get(&step.name).copied().unwrap_or_default();
            (step.name.clone(), step.counts(earlier))
        };
        Counts {
            records_out: count(&self.records_out),
            dropped: count(&self.dropped),
            dead_lettered: count(&self.dead_lettered),
            elapsed: before.elapsed + self.start.elapsed(),
            source_wait: before.source_wait + Duration::from_nanos(count(&self.source_wait_nanos)),
            sink_wait: before.sink_wait + Duration::from_nanos(count(&self.sink_wait_nanos)),
            steps: self.steps.iter().map(step).collect(),
        }
    }

    /// Counts are those of all runs that go on from each other; how long calls took and how many were on the wire is of this one.
    pub(super) fn summary(&self) -> Summary {
        let (counts, elapsed) = (self.counts(), self.start.elapsed());
        let step = |step: &StepTally| step.summary(counts.steps.get(&step.name).copied().unwrap_or_default(), elapsed);
        Summary {
            replays: false,
            records_in: count(&self.records_in),
            records_out: counts.records_out,
            dropped: counts.dropped,
            dead_lettered: counts.dead_lettered,
            behind: None,
            elapsed: counts.elapsed,
            source_wait: counts.source_wait,
            sink_wait: counts.sink_wait,
            steps: self.steps.iter().map(step).collect(),
        }
    }
}

impl Counts {
    /// Records that are done.
    pub(super) const fn done(&self) -> u64 {
        self.records_out + self.dropped + self.dead_lettered
    }
}

impl StepTally {
    fn new(step: &Step, shared: Arc<Shared>, workers: usize, start: Instant) -> Self {
        let gauges = || Mutex::new(Gauges { seen: start, stats: Stats::default(), capacity_full: Duration::ZERO });
        Self {
            name: step.name.clone(),
            outcomes: Default::default(),
            shared,
            gauges: std::iter::repeat_with(gauges).take(workers).collect(),
            concurrency: step.calls(),
            capacity: step.capacity,
        }
    }

    fn sample(&self, worker: usize, now: Instant, stats: &Stats) {
        let mut gauges = lock(&self.gauges[worker]);
        let passed = now.duration_since(gauges.seen);
        if gauges.stats.held >= self.capacity {
            gauges.capacity_full += passed;
        }
        gauges.seen = now;
        gauges.stats = *stats;
    }

    fn counts(&self, before: StepCounts) -> StepCounts {
        let retried: u64 = self.gauges.iter().map(|gauges| lock(gauges).stats.retries).sum();
        StepCounts {
            // They go on from those before.
            outcomes: std::array::from_fn(|outcome| count(&self.outcomes[outcome])),
            retried: before.retried + retried,
            calls: before.calls + self.shared.calls.count(),
            policies: before.policies + self.shared.counts(),
        }
    }

    fn summary(&self, counts: StepCounts, elapsed: Duration) -> StepSummary {
        let workers = self.gauges.len();
        let part = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let sum = |of: fn(&Gauges) -> Duration| self.gauges.iter().map(|gauges| of(&lock(gauges))).sum::<Duration>();
        let outcome = |outcome: Outcome| counts.outcomes[outcome as usize];
        let system = self.shared.destination.gauge();
        let (concurrency, found_best) = match self.concurrency {
            Concurrency::Fixed(calls) => (calls, None),
            Concurrency::Auto { max, .. } => (max, Some(system.limit)),
        };
        StepSummary {
            name: self.name.clone(),
            found: outcome(Outcome::Found),
            missing: outcome(Outcome::Missing),
            failed: outcome(Outcome::Failed),
            timed_out: outcome(Outcome::TimedOut),
            retried: counts.retried,
            calls: counts.calls,
            hits: counts.policies.hits,
            joined: counts.policies.joined,
            hedges: counts.policies.hedges,
            pauses: system.pauses,
            paused: system.paused,
            latency: self.shared.calls.latency(),
            concurrency_mean: part(sum(|gauges| Duration::from_nanos(gauges.stats.wire_nanos))),
            concurrency,
            found_best,
            capacity: self.capacity * workers,
            capacity_full: part(sum(|gauges| gauges.capacity_full)) / workers as f64,
        }
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
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
    use crate::file;
    use crate::pipeline::Pipeline;
    use crate::summary::Latency;

    /// Of a step with these limits, on so many workers.
    fn tally(concurrency: usize, capacity: usize, workers: usize) -> StepTally {
        let step = format!(
            "{{ sqlite: {{ database: d, table: t }}, key: {{ id: .id }}, concurrency: {concurrency}, \
             capacity: {capacity}, batch: 1 }}"
        );
        let file = format!("source: stdin\nenrich: {{ user: {step} }}\nsink: stdout\n");
        let pipeline = Pipeline::check(file::parse("p.yaml", &file).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _context = runtime.enter();
        let shared = Shared::of(&pipeline).unwrap().remove(0);
        StepTally::new(&pipeline.steps[0], shared, workers, Instant::now())
    }

    #[test]
    fn what_an_operator_was_at_the_last_look_it_has_been_until_this_one() {
        let step = tally(2, 10, 1);
        let start = lock(&step.gauges[0]).seen;
        let look = |second: u64, on_wire: usize, held: usize| {
            step.sample(0, start + Duration::from_secs(second), &Stats { on_wire, held, ..Stats::default() });
        };
        look(1, 2, 10);
        look(3, 2, 9);
        look(4, 1, 9);
        look(10, 0, 0);
        let gauges = lock(&step.gauges[0]);
        assert_eq!(gauges.capacity_full, Duration::from_secs(2));
    }

    #[test]
    fn a_step_is_summed_up() {
        let step = tally(4, 10, 1);
        for took in [1, 2, 3, 4, 90] {
            step.shared.calls.ended(Duration::from_millis(took));
        }
        step.outcomes[Outcome::Missing as usize].store(7, Ordering::Relaxed);
        let wire_nanos = Duration::from_secs(3).as_nanos() as u64;
        let stats = Stats { retries: 5, wire_nanos, ..Stats::default() };
        step.sample(0, Instant::now(), &stats);
        let summary = step.summary(step.counts(StepCounts::default()), Duration::from_secs(2));
        assert_eq!((summary.name.as_str(), summary.found, summary.missing, summary.retried), ("user", 0, 7, 5));
        assert_eq!((summary.calls, summary.concurrency_mean), (5, 1.5));
        let millis = |duration: Duration| duration.as_millis();
        assert_eq!((millis(summary.latency.p50), millis(summary.latency.max)), (3, 90));
    }

    #[test]
    fn a_step_that_did_nothing_has_a_summary_too() {
        let summary = tally(4, 10, 1).summary(StepCounts::default(), Duration::ZERO);
        assert_eq!(summary.latency, Latency::default());
        assert_eq!(summary.concurrency_mean, 0.0);
    }

    #[test]
    fn workers_are_summed_up_and_earlier_runs_go_on() {
        let one = tally(4, 10, 2);
        for worker in [0, 1] {
            let wire_nanos = Duration::from_secs(3).as_nanos() as u64;
            one.sample(worker, Instant::now(), &Stats { retries: 5, wire_nanos, ..Stats::default() });
        }
        one.shared.calls.ended(Duration::from_millis(1));
        let policies = PolicyCounts { hits: 7, ..PolicyCounts::default() };
        let before = StepCounts { outcomes: [0; 4], retried: 100, calls: 1000, policies };
        let summary = one.summary(one.counts(before), Duration::from_secs(2));
        assert_eq!((summary.retried, summary.calls, summary.hits, summary.concurrency), (110, 1001, 7, 4));
        assert_eq!(summary.concurrency_mean, 3.0);

        let tally = Tally::new(&[], Vec::new(), &[], 1);
        tally.go_on(Counts { records_out: 7, elapsed: Duration::from_secs(60), ..Counts::default() }, 9);
        tally.wrote();
        tally.read(2);
        let (counts, summary) = (tally.counts(), tally.summary());
        assert_eq!((counts.done(), summary.records_in, summary.records_out), (8, 11, 8));
        assert!(counts.elapsed >= Duration::from_secs(60));
        let kept = serde_json::to_string(&counts).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&kept).unwrap(), counts);
    }
}
