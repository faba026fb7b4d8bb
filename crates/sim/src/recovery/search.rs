//! Many trials: of each seed one without a crash, and then one with a crash at each of its steps, or at some of them.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Fault, Laboratory, Trial};
use crate::{Rng, Trace, Violation};

/// What many trials came to.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Tried.
    pub seeds: u64,
    /// Seeds with a trial for every step.
    pub exhausted: u64,
    /// Trials: each is at least one run, and one more for each crash.
    pub trials: u64,
    /// How often the power went.
    pub crashes: u64,
    /// Runs that went on from a checkpoint.
    pub restored: u64,
    /// Records that were carried into those.
    pub carried: u64,
    /// Records that those were told to be in the output already.
    pub recorded: u64,
    /// Checkpoints that were completed.
    pub epochs: u64,
    /// Steps of workers and operations on disks.
    pub steps: u64,
    /// How long it took.
    pub took: Duration,
    /// The first rule that was broken.
    pub failure: Option<Failure>,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In the world of this seed.
    pub seed: u64,
    /// With the first crash here.
    pub crash: Option<u64>,
    /// The rule.
    pub violation: Violation,
}

/// Tries these seeds, with at most so many crashes each, until a rule is broken.
#[must_use]
pub fn search(first: u64, seeds: u64, most: u64, fault: Option<Fault>) -> Search {
    let start = Instant::now();
    let mut laboratory = Laboratory::new();
    let mut search = Search::default();
    for seed in first..first + seeds {
        if let Err(failure) = search.seed(&mut laboratory, seed, most, fault) {
            search.failure = Some(failure);
            break;
        }
    }
    search.took = start.elapsed();
    search
}

impl Search {
    fn seed(&mut self, laboratory: &mut Laboratory, seed: u64, most: u64, fault: Option<Fault>) -> Result<(), Failure> {
        self.seeds += 1;
        let events = self.trial(laboratory, Trial { seed, crash: None, fault, trace: Trace::Off })?;
        let mut rng = Rng::new(seed);
        let all = events <= most;
        self.exhausted += u64::from(all);
        for number in 1..=events.min(most) {
            let crash = if all { number } else { rng.within(1, events) };
            self.trial(laboratory, Trial { seed, crash: Some(crash), fault, trace: Trace::Off })?;
        }
        Ok(())
    }

    fn trial(&mut self, laboratory: &mut Laboratory, trial: Trial) -> Result<u64, Failure> {
        self.trials += 1;
        let Trial { seed, crash, .. } = trial;
        let report = laboratory.run(trial).map_err(|violation| Failure { seed, crash, violation })?;
        self.crashes += report.crashes;
        self.restored += report.restored;
        self.carried += report.carried;
        self.recorded += report.recorded;
        self.epochs += report.epochs;
        self.steps += report.steps;
        Ok(report.events)
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, exhausted, trials, crashes, restored, carried, recorded, epochs, steps, took, .. } = self;
        write!(
            f,
            "{seeds} seeds, {exhausted} of them with a crash at every step: {trials} trials, {crashes} crashes, {epochs} checkpoints; \
             {restored} runs from a checkpoint, with {carried} records carried and {recorded} recorded; {steps} steps, in {took:.1?}"
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, crash, violation } = self;
        write!(f, "seed {seed}, ")?;
        match crash {
            Some(crash) => write!(f, "crash at {crash}")?,
            None => write!(f, "no crash")?,
        }
        write!(f, ": breaks the rule \"{}\": {}", violation.rule, violation.what)
    }
}
