//! The look-up of a step, as a function over batches of records.

mod key;
mod sqlite;
mod system;

use std::sync::Arc;
use std::time::Instant;

use inflight::{BatchFunction, BatchResult, Cancellation};
use inflight_connectors::{FieldPath, Key};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use inflight_connectors::Error;

use self::key::key;
use self::system::{Answers, System};
use super::portable;
use super::row::Row;
use super::tally::Calls;
use crate::pipeline::Step;

/// What a step found for a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    Found(#[serde(with = "portable::value")] Value),
    /// There is none, or a field of the key is null.
    Missing,
    /// An earlier step has taken the record out.
    Skipped,
}

pub(super) struct Lookup {
    step: Arc<Step>,
    paths: Arc<[FieldPath]>,
    /// None before it is opened.
    system: Option<System>,
    calls: Arc<Calls>,
}

impl Lookup {
    pub(super) fn new(step: &Step, calls: Arc<Calls>) -> Self {
        let paths = step.key.iter().map(|(_, path)| path.clone()).collect();
        Self { step: Arc::new(step.clone()), paths, system: None, calls }
    }

    /// The number that stands for a record's key.
    pub(super) fn key_number(&self) -> impl Fn(&Row) -> u64 + Send + Sync + 'static {
        key::key_number(Arc::clone(&self.paths))
    }

    async fn ask(&self, keys: Vec<Key>) -> Result<Answers, Error> {
        // Nothing is asked before it is opened.
        let (false, Some(system)) = (keys.is_empty(), &self.system) else { return Ok(Vec::new()) };
        let start = Instant::now();
        let found = system.ask(keys).await;
        self.calls.ended(start.elapsed());
        found
    }
}

impl BatchFunction<Row> for Lookup {
    type Output = Answer;
    type Error = Error;

    async fn open(&mut self) -> Result<(), Error> {
        self.system = Some(System::open(&self.step).await?);
        Ok(())
    }

    async fn invoke(&self, rows: Vec<Row>) -> BatchResult<Answer, Error> {
        let mut keys = Vec::with_capacity(rows.len());
        let mut answers = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(record) = row.record() else {
                answers.push(Some(Answer::Skipped));
                continue;
            };
            let key = key(record, &self.paths);
            answers.push(if key.is_none() { Some(Answer::Missing) } else { None });
            keys.extend(key);
        }
        let mut found = self.ask(keys).await?.into_iter();
        let answer = |known: Option<Answer>| match known {
            Some(answer) => Ok(answer),
            None => found.next().unwrap_or(Ok(None)).map(|found| found.map_or(Answer::Missing, Answer::Found)),
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    fn cancellation(&self) -> Cancellation {
        System::cancellation(&self.step.lookup)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::file;
    use crate::pipeline::Pipeline;
    use crate::run::row::Fate;

    fn row(number: u64, value: Value) -> Row {
        Row::new(0, number, value.as_object().unwrap().clone())
    }

    fn lookup_by_a() -> Lookup {
        let file =
            "source: stdin\nenrich: { t: { sqlite: { database: none.db, table: t }, key: { a: .a } } }\nsink: stdout\n";
        let pipeline = Pipeline::check(file::parse("p.yaml", file).unwrap()).unwrap();
        Lookup::new(&pipeline.steps[0], Arc::new(Calls::new()))
    }

    #[test]
    fn without_a_key_or_a_record_nothing_is_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let rows =
            vec![row(1, json!({ "a": null })), Row { fate: Fate::Dropped, ..row(2, json!({})) }, row(3, json!({}))];
        // No database is open.
        let answers = runtime.block_on(lookup_by_a().invoke(rows)).unwrap();
        let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [Answer::Missing, Answer::Skipped, Answer::Missing]);
    }
}
