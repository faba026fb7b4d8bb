//! Many seeds, on all cores.

use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Coverage, Options, Scenario, Violation, run};

/// What a search went through.
#[derive(Debug, Default)]
pub struct Search {
    /// Seeds tried.
    pub seeds: u64,
    /// Records that left.
    pub emitted: u64,
    /// Turns of the host.
    pub turns: u64,
    /// Crashes.
    pub crashes: u64,
    /// Faults met.
    pub coverage: Coverage,
    /// How long it took.
    pub elapsed: Duration,
    /// The failing seed nearest to the first.
    pub failure: Option<Failure>,
}

/// A seed that breaks a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// How; a panic breaks the rule "no panic".
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, violation } = self;
        writeln!(f, "seed {seed} breaks the rule \"{}\": {}", violation.rule, violation.what)?;
        writeln!(f, "{}", Scenario::new(*seed))?;
        write!(f, "replay it, step by step:\n  cargo run --release -p inflight-sim -- --seed {seed} --trace")
    }
}

/// Tries `count` seeds from `first` on, on `threads` threads, until one fails.
pub fn search(first: u64, count: u64, threads: usize, options: &Options) -> Search {
    let start = Instant::now();
    let (offset, sum) = (AtomicU64::new(0), Mutex::new(Search::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mine = some_seeds(first, count, &offset, options);
                sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(mine);
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Search { elapsed: start.elapsed(), ..sum }
}

/// Tries seeds as long as there are any; those below a failing one are finished by whoever has them.
fn some_seeds(first: u64, count: u64, offset: &AtomicU64, options: &Options) -> Search {
    let mut mine = Search::default();
    loop {
        let next = offset.fetch_add(1, Ordering::Relaxed);
        if next >= count {
            return mine;
        }
        mine.seeds += 1;
        let seed = first.wrapping_add(next);
        let result = catch_unwind(AssertUnwindSafe(|| run(seed, options)));
        match result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(report) => {
                mine.emitted += report.emitted;
                mine.turns += report.turns;
                mine.crashes += report.crashes;
                mine.coverage.add(&report.coverage);
            }
            Err(violation) => {
                offset.store(count, Ordering::Relaxed);
                mine.failure = Some(Failure { seed, violation });
                return mine;
            }
        }
    }
}

fn panicked(panic: &(dyn core::any::Any + Send)) -> Violation {
    let text =
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
    Violation { rule: "no panic", what: text.unwrap_or_default() }
}

impl Search {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.emitted += other.emitted;
        self.turns += other.turns;
        self.crashes += other.crashes;
        self.coverage.add(&other.coverage);
        let earlier = |one: &Failure| self.failure.as_ref().is_none_or(|other| one.seed < other.seed);
        if other.failure.as_ref().is_some_and(earlier) {
            self.failure = other.failure;
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, emitted, turns, crashes, elapsed, .. } = self;
        let rate = *seeds as f64 / elapsed.as_secs_f64();
        write!(
            f,
            "{seeds} seeds in {elapsed:.1?}: {rate:.0} seeds/s; {emitted} records, {turns} turns, {crashes} crashes"
        )
    }
}
