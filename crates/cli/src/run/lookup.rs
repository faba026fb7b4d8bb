//! The look-up of a step, as a function over batches of records.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use inflight::{BatchFunction, BatchResult, Cancellation, Pool};
use inflight_connectors::sqlite::{SqliteLookup, SqliteLookupConfig};
use inflight_connectors::{FieldPath, Key, Record};
use serde_json::Value;

pub(super) use inflight_connectors::Error;

use super::row::Row;
use super::tally::Calls;
use crate::pipeline::{self, Step};

/// Connections of one step at most: SQLite works on our own processors, and more would only take turns.
const CONNECTIONS_MAX: usize = 64;

/// What a step found for a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Found(Record),
    /// There is none, or a field of the key is null.
    Missing,
    /// An earlier step has taken the record out.
    Skipped,
}

pub(super) struct Lookup {
    config: SqliteLookupConfig,
    columns: Vec<String>,
    paths: Arc<[FieldPath]>,
    connections: usize,
    pool: Option<Pool<Result<SqliteLookup, Error>>>,
    calls: Arc<Calls>,
}

impl Lookup {
    pub(super) fn new(step: &Step, calls: Arc<Calls>) -> Self {
        let pipeline::Lookup::Sqlite(config) = &step.lookup;
        let (columns, paths): (Vec<String>, Vec<FieldPath>) = step.key.iter().cloned().unzip();
        Self {
            config: config.clone(),
            columns,
            paths: paths.into(),
            connections: step.concurrency.min(CONNECTIONS_MAX),
            pool: None,
            calls,
        }
    }

    /// The number that stands for a record's key.
    pub(super) fn key_number(&self) -> impl Fn(&Row) -> u64 + Send + Sync + 'static {
        let paths = Arc::clone(&self.paths);
        move |row| {
            let mut hasher = DefaultHasher::new();
            let key = row.record().and_then(|record| key(record, &paths));
            // A value's text tells it from all others of its kind; a record without a key is in nobody's way.
            key.map_or_else(|| row.number.to_string(), |key| Value::Array(key).to_string()).hash(&mut hasher);
            hasher.finish()
        }
    }
}

impl BatchFunction<Row> for Lookup {
    type Output = Answer;
    type Error = Error;

    async fn open(&mut self) -> Result<(), Error> {
        let (config, columns) = (self.config.clone(), self.columns.clone());
        let pool = Pool::new(self.connections, move || SqliteLookup::open(&config, &columns));
        pool.run(|connection| connection.as_ref().map(drop).map_err(Clone::clone)).await?;
        self.pool = Some(pool);
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
            Some(answer) => answer,
            None => found.next().flatten().map_or(Answer::Missing, Answer::Found),
        };
        Ok(answers.into_iter().map(answer).map(Ok).collect())
    }

    /// A query that runs on a thread cannot be stopped.
    fn cancellation(&self) -> Cancellation {
        Cancellation::Wait
    }
}

impl Lookup {
    async fn ask(&self, keys: Vec<Key>) -> Result<Vec<Option<Record>>, Error> {
        let Some(pool) = self.pool.as_ref().filter(|_| !keys.is_empty()) else { return Ok(Vec::new()) };
        let start = Instant::now();
        let found = pool
            .run(move |connection| match connection {
                Ok(connection) => connection.lookup(&keys),
                Err(error) => Err(error.clone()),
            })
            .await;
        self.calls.ended(start.elapsed());
        found
    }
}

/// The values of the key's fields; `None` when one is absent or null.
fn key(record: &Record, paths: &[FieldPath]) -> Option<Key> {
    paths.iter().map(|path| path.find(record).filter(|value| !value.is_null()).cloned()).collect()
}
