//! The look-up of a step, as a function over batches of records.

mod asking;
mod begun;
pub(super) mod key;
mod layers;
mod sqlite;
mod system;

use std::sync::Arc;

use inflight::layers::Boxed;
use inflight::{BatchFunction, BatchResult, Cancellation};
use inflight_connectors::FieldPath;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use inflight_connectors::Error;

use self::begun::Begun;
use self::key::{Asked, Found, key};
use super::portable;
use super::row::Row;
use super::shared::Shared;
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

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        found.map_or(Self::Missing, Self::Found)
    }
}

pub(super) struct Lookup {
    /// The name of the step.
    step: Arc<str>,
    paths: Arc<[FieldPath]>,
    layered: Boxed<Asked, Found, Error>,
    /// Whether it may know an answer without a call.
    has_cache: bool,
}

impl Lookup {
    pub(super) fn new(step: &Step, shared: Arc<Shared>) -> Self {
        let paths = step.key.iter().map(|(_, path)| path.clone()).collect();
        let has_cache = shared.cache.is_some();
        let name = step.name.as_str().into();
        Self { step: name, paths, layered: layers::layered(Arc::new(step.clone()), shared), has_cache }
    }

    /// The number that stands for a record's key.
    pub(super) fn key_number(&self) -> impl Fn(&Row) -> u64 + Send + Sync + 'static {
        key::key_number(Arc::clone(&self.paths))
    }

    /// What to ask for, or the answer of a record that has nothing to ask for.
    fn asked(&self, row: &Row) -> Result<Asked, Answer> {
        let record = row.record().ok_or(Answer::Skipped)?;
        key(record, &self.paths).map(Asked::new).ok_or(Answer::Missing)
    }

    async fn ask(&self, rows: &[Row]) -> BatchResult<Answer, Error> {
        let asked: Vec<Result<Asked, Answer>> = rows.iter().map(|row| self.asked(row)).collect();
        let keys: Vec<Asked> = asked.iter().filter_map(|asked| asked.as_ref().ok()).cloned().collect();
        let expected = keys.len();
        let found = if keys.is_empty() { Vec::new() } else { self.layered.invoke(keys).await? };
        if found.len() != expected {
            return Ok(Vec::new());
        }
        let mut found = found.into_iter();
        let answer = |asked: Result<Asked, Answer>| match asked {
            Ok(_) => Some(found.next()?.map(Answer::from)),
            Err(answer) => Some(Ok(answer)),
        };
        Ok(asked.into_iter().filter_map(answer).collect())
    }
}

impl BatchFunction<Row> for Lookup {
    type Output = Answer;
    type Error = Error;

    fn known(&self, row: &Row) -> Option<Answer> {
        match row.record() {
            Some(record) if !self.has_cache => key::is_missing(record, &self.paths).then_some(Answer::Missing),
            _ => match self.asked(row) {
                Ok(asked) => self.layered.known(&asked).map(Answer::from),
                Err(answer) => Some(answer),
            },
        }
    }

    async fn invoke(&self, rows: Vec<Row>) -> BatchResult<Answer, Error> {
        let attempt = Begun::now(&self.step, &rows);
        let answers = self.ask(&rows).await;
        attempt.ended(&answers);
        answers
    }

    async fn open(&mut self) -> Result<(), Error> {
        self.layered.open().await
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.layered.close().await
    }

    fn cancellation(&self) -> Cancellation {
        self.layered.cancellation()
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

    fn lookup_by_a(more: &str) -> Lookup {
        let step = format!("{{ sqlite: {{ database: none.db, table: t }}, key: {{ a: .a }}{more} }}");
        let file = format!("source: stdin\nenrich: {{ t: {step} }}\nsink: stdout\n");
        let pipeline = Pipeline::check(file::parse("p.yaml", &file).unwrap()).unwrap();
        Lookup::new(&pipeline.steps[0], Shared::of(&pipeline).unwrap().remove(0))
    }

    #[test]
    fn without_a_key_or_a_record_nothing_is_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _context = runtime.enter();
        for more in ["", ", cache: { ttl: 1m }"] {
            let rows =
                vec![row(1, json!({ "a": null })), Row { fate: Fate::Dropped, ..row(2, json!({})) }, row(3, json!({}))];
            let lookup = lookup_by_a(more);
            let expected = [Answer::Missing, Answer::Skipped, Answer::Missing];
            let known: Vec<Answer> = rows.iter().filter_map(|row| lookup.known(row)).collect();
            assert_eq!(known, expected, "no place is taken");
            assert_eq!(lookup.known(&row(4, json!({ "a": 1 }))), None);
            // No database is open.
            let answers = runtime.block_on(lookup.invoke(rows)).unwrap();
            let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
            assert_eq!(answers, expected);
        }
    }
}
