//! The rules that can be checked when all is over: what is in the output.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inflight::Order;
use inflight_timely::pipeline::{Id, Row};

use super::history::{End, History};
use super::row::{Found, Record, Why};
use super::scenario::{Scenario, Step};
use crate::{Violation, ensure};

/// Timers are exact to a millisecond, and rounded up.
const ROUNDING: Duration = Duration::from_millis(2);

/// Checks the whole output.
pub(super) fn check(scenario: &Scenario, history: &History, output: &[Record]) -> Result<(), Violation> {
    once_each(scenario, output)?;
    for record in output {
        let steps = scenario.steps().count();
        ensure!(record.found.len() == steps, "each step has looked at each record", "{record:?}, {steps} steps");
        for ((step, plan), found) in (0..).zip(scenario.steps()).zip(&record.found) {
            result(history, record.id, step, plan, found)?;
        }
    }
    if scenario.ordered {
        in_order(output, |record| u64::from(record.id.partition), "partitions keep their order")?;
    }
    if let ([steps], true) = (&scenario.stages[..], history.runs.iter().all(|run| run.workers == 1))
        && let [step] = &steps[..]
    {
        match (step.order, step.keys) {
            (Order::Ordered, _) => {
                in_order(output, |record| u64::from(record.id.partition), "one worker keeps the order")?
            }
            (Order::KeyOrdered | Order::KeySerial, Some(keys)) => {
                let line = |record: &Record| record.key(keys) << 32 | u64::from(record.id.partition);
                in_order(output, line, "one worker keeps the order of each key")?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn once_each(scenario: &Scenario, output: &[Record]) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for record in output {
        ensure!(seen.insert(record.id()), "no record comes twice", "{:?}", record.id);
    }
    for (partition, count) in (0..).zip(&scenario.partitions) {
        for number in 1..=*count {
            let id = Id { partition, number };
            ensure!(seen.remove(&id), "no record is lost", "{id:?}");
        }
    }
    ensure!(seen.is_empty(), "no record comes from nowhere", "{seen:?}");
    Ok(())
}

/// The result is that of the last call, whichever run that was in: calls are made again only for what nobody knows the result of.
fn result(history: &History, id: Id, step: u32, plan: &Step, found: &Found) -> Result<(), Violation> {
    let Found { result, attempts, micros } = found;
    let last = history.calls_of(id, step).next_back();
    let what = || format!("{id:?} in step {step}: {found:?}; the last call was {last:?}");
    let is_last = |call: u64, ended: End| {
        last.is_some_and(|(number, last)| number as u64 == call && last.ended.is_some_and(|(_, end)| end == ended))
    };
    // A record that waits for its next attempt may run out of time.
    let spent = *attempts == plan.attempts() || plan.deadline.is_some();
    ensure!(*attempts <= plan.attempts(), "no more attempts than the retries allow", "{}", what());
    match result {
        Ok(call) => {
            ensure!(is_last(*call, End::Answered) && *attempts > 0, "the answer is that of the last call", "{}", what())
        }
        Err(Why::Failed(call)) => {
            ensure!(is_last(*call, End::Failed) && spent, "a failure is that of the last call", "{}", what());
        }
        Err(Why::TimedOut(_)) => {
            ensure!(plan.timeout.is_some() && spent && *attempts > 0, "who times out has a timeout", "{}", what());
        }
        Err(Why::Late(_)) => ensure!(plan.deadline.is_some(), "who is late has a deadline", "{}", what()),
        Err(Why::Strange(_)) => ensure!(false, "nothing strange happens to records", "{}", what()),
    }
    if let Some(deadline) = plan.deadline {
        let elapsed = Duration::from_micros(*micros);
        ensure!(elapsed <= deadline + ROUNDING, "nothing takes longer than its deadline", "{}", what());
    }
    Ok(())
}

fn in_order(output: &[Record], line: impl Fn(&Record) -> u64, rule: &'static str) -> Result<(), Violation> {
    let mut last = BTreeMap::new();
    for record in output {
        let before = last.insert(line(record), record.id.number);
        ensure!(before < Some(record.id.number), rule, "{:?} after number {before:?}", record.id);
    }
    Ok(())
}
