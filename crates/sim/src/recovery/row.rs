//! The records of this world, with what was found for them.

use inflight::{Cause, Completed};
use inflight_core::Clock;
use inflight_timely::pipeline::{Id, Row};
use serde::{Deserialize, Serialize};

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: Id,
    /// By step.
    pub(super) found: Vec<Found>,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) result: Result<Answer, Why>,
    pub(super) attempts: u32,
    pub(super) micros: u64,
}

/// Which call answered.
pub(super) type Answer = u64;

/// Why there is no answer, and which call failed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    Failed(u64),
    TimedOut(Option<u64>),
    Late(Option<u64>),
    Strange(String),
}

impl Row for Record {
    fn id(&self) -> Id {
        self.id
    }
}

impl Record {
    pub(super) const fn new(id: Id) -> Self {
        Self { id, found: Vec::new() }
    }

    /// A line that cannot be read.
    pub(super) const fn torn() -> Self {
        Self::new(Id { partition: u32::MAX, number: 0 })
    }

    /// One of so many keys.
    pub(super) fn key(&self, keys: u64) -> u64 {
        (self.id.number * 7 + u64::from(self.id.partition)) % keys
    }

    /// What the steps of a stage made of it.
    pub(super) fn joined(parts: Vec<Completed<Self, Answer, u64>>) -> Option<Self> {
        let mut record = parts.first()?.input.clone();
        record.found.extend(parts.into_iter().map(Found::from));
        Some(record)
    }

    /// A line of the output.
    pub(super) fn line(&self) -> String {
        let found =
            self.found.iter().map(|found| format!("{};{};{}", found.attempts, found.micros, result(&found.result)));
        format!("{} {} {}\n", self.id.partition, self.id.number, found.collect::<Vec<_>>().join(" "))
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let id = Id { partition: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
        let found: Option<_> = words.map(Found::parse).collect();
        Some(Self { id, found: found? })
    }
}

impl Found {
    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.splitn(4, ';');
        let (attempts, micros) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (kind, rest) = (parts.next()?, parts.next()?);
        let call = || rest.parse().ok();
        let result = match kind {
            "found" => Ok(call()?),
            "failed" => Err(Why::Failed(call()?)),
            "timed-out" => Err(Why::TimedOut(call())),
            "late" => Err(Why::Late(call())),
            _ => Err(Why::Strange(rest.to_owned())),
        };
        Some(Self { result, attempts, micros })
    }
}

fn result(result: &Result<Answer, Why>) -> String {
    let call = |call: &Option<u64>| call.map_or_else(String::new, |call| call.to_string());
    match result {
        Ok(answer) => format!("found;{answer}"),
        Err(Why::Failed(last)) => format!("failed;{last}"),
        Err(Why::TimedOut(last)) => format!("timed-out;{}", call(last)),
        Err(Why::Late(last)) => format!("late;{}", call(last)),
        Err(Why::Strange(what)) => format!("strange;{}", what.replace([' ', '\n'], "_")),
    }
}

impl From<Completed<Record, Answer, u64>> for Found {
    fn from(completed: Completed<Record, Answer, u64>) -> Self {
        let Completed { result, attempts, elapsed, .. } = completed;
        let result = result.map_err(|cause| match cause {
            Cause::Error(call) => Why::Failed(call),
            Cause::TimedOut { clock: Clock::Attempt, last } => Why::TimedOut(last),
            Cause::TimedOut { clock: Clock::Deadline, last } => Why::Late(last),
            other => Why::Strange(format!("{other:?}")),
        });
        Self { result, attempts, micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        let results = [
            Ok(7),
            Err(Why::Failed(3)),
            Err(Why::TimedOut(None)),
            Err(Why::Late(Some(2))),
            Err(Why::Strange("a".into())),
        ];
        let found = results.into_iter().map(|result| Found { result, attempts: 2, micros: 10 }).collect();
        let record = Record { id: Id { partition: 1, number: 9 }, found };
        assert_eq!(Record::parse(record.line().trim_end()), Some(record));
    }
}
