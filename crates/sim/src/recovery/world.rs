//! What is outside of the pipeline and sees it: the power, the services that are called, who counts records. What can be checked at once is
//! checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight::Order;
use inflight_timely::pipeline::Id;

use super::history::{End, History};
use super::scenario::{Scenario, Step};
use crate::Violation;
use crate::trace::Tracer;

/// Timers are exact to a millisecond, and rounded up.
const ROUNDING: Duration = Duration::from_millis(2);

/// The world, shared by the threads of which one moves at a time.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

pub(super) struct World {
    pub(super) scenario: Arc<Scenario>,
    pub(super) history: History,
    pub(super) now: Duration,
    pub(super) tracer: Tracer,
    pub(super) violation: Option<Violation>,
    /// How many were completed.
    pub(super) epochs: u64,
    /// How many records were carried into runs, and how many they were told to be in the output.
    pub(super) carried: u64,
    pub(super) all_recorded: u64,
    power: Power,
    /// How many records of each partition have been read and have not arrived, but for those that are recorded.
    outstanding: BTreeMap<u32, i64>,
    /// What the sink has already got, as this run was told.
    recorded: BTreeSet<Id>,
    /// The last record of a key that a call was made for in this run, by step, key and partition.
    called: BTreeMap<(u32, u64, u32), u64>,
    /// How many calls of a key are on the wire, by step and key.
    on_the_wire: BTreeMap<(u32, u64), u32>,
}

#[derive(Clone, Copy, Debug)]
struct Power {
    events: u64,
    /// At this event, it goes.
    fails_at: Option<u64>,
    on: bool,
}

impl Shared {
    pub(super) fn new(scenario: Arc<Scenario>, tracer: Tracer) -> Self {
        Self(Arc::new(Mutex::new(World {
            scenario,
            history: History::default(),
            now: Duration::ZERO,
            tracer,
            violation: None,
            epochs: 0,
            carried: 0,
            all_recorded: 0,
            power: Power { events: 0, fails_at: None, on: true },
            outstanding: BTreeMap::new(),
            recorded: BTreeSet::new(),
            called: BTreeMap::new(),
            on_the_wire: BTreeMap::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// A run begins, and loses its power at this event.
    pub(super) fn begin_run(&mut self, from: Option<(usize, u64)>, workers: usize) {
        let told = self.history.told();
        self.check(told <= from.map(|(_, epoch)| epoch), "a checkpoint that was complete stays", || {
            format!("epoch {told:?} was complete, and this run goes on from {from:?}")
        });
        self.history.begin_run(from, workers);
        self.now = Duration::ZERO;
        self.called.clear();
        self.on_the_wire.clear();
        self.note(format_args!("a run with {workers} workers, from {from:?}"));
    }

    pub(super) fn power_up(&mut self, fails_at: Option<u64>) {
        self.power = Power { events: 0, fails_at, on: true };
    }

    /// Something has happened that a crash may come after. False: it does.
    pub(super) fn event(&mut self) -> bool {
        if self.power.on {
            self.power.events += 1;
            self.power.on = self.power.fails_at != Some(self.power.events);
        }
        self.power.on
    }

    pub(super) const fn is_on(&self) -> bool {
        self.power.on
    }

    /// In this run.
    pub(super) const fn events(&self) -> u64 {
        self.power.events
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.tracer.note(what);
    }

    /// The first rule that is broken is the one.
    pub(super) fn check(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation { rule, what: what() });
        }
    }

    /// What is known when a run begins: of each partition how far it was read, which records the output has, and what is recorded besides.
    pub(super) fn place(
        &mut self,
        read: &BTreeMap<u32, u64>,
        output: impl Iterator<Item = Id>,
        recorded: BTreeSet<Id>,
    ) {
        self.recorded = recorded;
        self.outstanding = read.iter().map(|(partition, read)| (*partition, *read as i64)).collect();
        let known = self.recorded.iter().filter(|id| Some(&id.number) <= read.get(&id.partition));
        for id in known.copied().chain(output) {
            *self.outstanding.entry(id.partition).or_default() -= 1;
        }
        self.carried += self.outstanding.values().sum::<i64>().max(0) as u64;
        self.all_recorded += self.recorded.len() as u64;
    }

    /// A source is asked for records.
    pub(super) fn asked(&mut self, partitions: impl Iterator<Item = u32>, most: u64) {
        let outstanding: i64 = partitions.filter_map(|partition| self.outstanding.get(&partition)).sum();
        let credits = self.scenario.credits;
        self.check(outstanding + most as i64 <= credits as i64, "no more records on their way than credits", || {
            format!("{outstanding} are, and up to {most} more are asked for; {credits} credits")
        });
    }

    pub(super) fn has_read(&mut self, id: Id) {
        if !self.recorded.contains(&id) {
            *self.outstanding.entry(id.partition).or_default() += 1;
        }
    }

    pub(super) fn has_arrived(&mut self, id: Id) {
        if !self.recorded.contains(&id) {
            *self.outstanding.entry(id.partition).or_default() -= 1;
        }
        self.note(format_args!("{} {} arrives", id.partition, id.number));
    }

    /// A source was asked where it stands, at the end of this epoch.
    pub(super) fn cut(&mut self, epoch: u64) {
        let now = self.now;
        let moment = self.history.moment(now);
        if let Some(run) = self.history.run() {
            run.cuts.entry(epoch).or_insert(moment);
            run.asked.insert(epoch, now);
        }
    }

    /// The pipeline is told that a checkpoint is complete.
    pub(super) fn told(&mut self, epoch: u64) {
        let now = self.now;
        let Some(run) = self.history.run() else { return };
        run.told = run.told.max(Some(epoch));
        let asked = run.asked.get(&epoch).copied();
        self.epochs += 1;
        self.note(format_args!("epoch {epoch} is complete"));
        self.check(asked == Some(now), "an epoch waits for no call", || {
            format!(
                "epoch {epoch}: the sources were asked for their positions at {asked:?}, it was complete at {now:?}"
            )
        });
    }

    /// A call begins. None: there is no power, and nobody hears of it.
    pub(super) fn call(&mut self, id: Id, step: u32, key: Option<u64>) -> Option<usize> {
        if !self.power.on {
            return None;
        }
        let now = self.now;
        self.note(format_args!("{now:?} step {step} calls for {} {}", id.partition, id.number));
        let is_new = !self.recorded.contains(&id);
        self.check(is_new, "what the sink has got is not called for", || format!("{id:?} in step {step}"));
        let scenario = Arc::clone(&self.scenario);
        let call = self.history.begin_call(id, step, self.now);
        if let Some(plan) = scenario.steps().nth(step as usize) {
            self.check_attempts(id, step, plan);
            if let Some(key) = key.filter(|_| plan.order == Order::KeySerial) {
                self.check_key(id, step, key);
            }
        }
        Some(call)
    }

    fn check_attempts(&mut self, id: Id, step: u32, plan: &Step) {
        let run = self.history.runs.len() - 1;
        let ways = self.history.ways();
        let known = |at: usize| {
            let way = ways.iter().find(|(run, _)| *run == at);
            way.map(|(_, cut)| *cut)
        };
        let mut spent = 0;
        let mut decided = None;
        for (number, call) in self.history.calls_of(id, step) {
            let ended = call
                .ended
                .filter(|(moment, _)| call.run == run || known(call.run).is_some_and(|cut| moment.stamp < cut.stamp));
            // A call that was cut short does not count, one of this run does from the beginning.
            spent += u32::from(ended.is_some() || call.run == run);
            if ended.is_some_and(|(_, end)| end == End::Answered) {
                decided = Some(number);
            }
        }
        self.check(decided.is_none(), "what a checkpoint knows the answer of is not called again", || {
            format!("{id:?} in step {step}, answered in call {decided:?}")
        });
        let most = plan.attempts();
        self.check(spent <= most, "no more attempts than the retries allow, over crashes", || {
            format!("{id:?} in step {step}: attempt {spent} of {most}")
        });
    }

    fn check_key(&mut self, id: Id, step: u32, key: u64) {
        let wire = self.on_the_wire.entry((step, key)).or_default();
        *wire += 1;
        let wire = *wire;
        self.check(wire == 1, "one call of a key at a time", || format!("{id:?} in step {step}, key {key}"));
        let place = (step, key, id.partition);
        let last = self.called.insert(place, id.number);
        let first_stage = self.scenario.stages.first().map_or(0, Vec::len) as u32;
        self.check(
            step >= first_stage || last.is_none_or(|last| last <= id.number),
            "calls of a key in their order",
            || format!("{id:?} in step {step} after number {last:?}, key {key}"),
        );
    }

    /// A call has ended.
    pub(super) fn end(&mut self, call: usize, key: Option<u64>, end: End) {
        if !self.power.on {
            return;
        }
        let now = self.now;
        self.note(format_args!("{now:?} call {call}: {end:?}"));
        self.history.end_call(call, end, self.now);
        let (id, step) = (self.history.calls[call].id, self.history.calls[call].step);
        let scenario = Arc::clone(&self.scenario);
        let Some(plan) = scenario.steps().nth(step as usize) else { return };
        if let Some(key) = key.filter(|_| plan.order == Order::KeySerial) {
            self.on_the_wire.entry((step, key)).and_modify(|wire| *wire = wire.saturating_sub(1));
        }
        // In a batch, a call goes on for the others.
        if let Some(deadline) = plan.deadline.filter(|_| plan.batch == 1) {
            let spent = self.spent(id, step);
            self.check(
                spent <= deadline + ROUNDING * self.history.runs.len() as u32,
                "a deadline outlives crashes",
                || format!("{id:?} in step {step}: {spent:?} of {deadline:?}"),
            );
        }
    }

    /// How long a record has been called for, up to now: at least so long has it been in the step.
    fn spent(&self, id: Id, step: u32) -> Duration {
        let first =
            |run: usize| self.history.calls_of(id, step).find(|(_, call)| call.run == run).map(|(_, call)| call.begun);
        let ways = self.history.ways();
        let before = ways.iter().filter_map(|(run, cut)| {
            first(*run).filter(|begun| begun.stamp < cut.stamp).map(|begun| cut.at.saturating_sub(begun.at))
        });
        let last = self.history.runs.len() - 1;
        before.sum::<Duration>() + first(last).map_or(Duration::ZERO, |begun| self.now.saturating_sub(begun.at))
    }
}
