//! The look-up of a step, as a function over batches of records.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Instant;

use inflight::{BatchFunction, BatchResult, Cancellation, Pool};
use inflight_connectors::postgres::{PostgresLookup, PostgresLookupConfig};
use inflight_connectors::sqlite::{SqliteLookup, SqliteLookupConfig};
use inflight_connectors::{FieldPath, Key, Record};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use inflight_connectors::Error;

use super::portable;
use super::row::Row;
use super::tally::Calls;
use crate::pipeline::{self, Step};

/// Connections of one step at most: SQLite works on our own processors, and more would only take turns.
const CONNECTIONS_MAX: usize = 64;

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
    system: System,
    columns: Vec<String>,
    paths: Arc<[FieldPath]>,
    calls: Arc<Calls>,
}

/// What is asked: nothing, before it is opened.
enum System {
    Sqlite { config: SqliteLookupConfig, connections: usize, pool: Option<Pool<Connection>> },
    Postgres { config: Box<PostgresLookupConfig>, lookup: Option<PostgresLookup> },
}

impl Lookup {
    pub(super) fn new(step: &Step, calls: Arc<Calls>) -> Self {
        let system = match &step.lookup {
            pipeline::Lookup::Sqlite(config) => System::Sqlite {
                config: config.clone(),
                connections: step.concurrency.min(CONNECTIONS_MAX),
                pool: None,
            },
            pipeline::Lookup::Postgres(config) => {
                let mut config = config.clone();
                // Nobody waits for it any longer.
                config.statement_timeout.get_or_insert(step.timeout);
                System::Postgres { config, lookup: None }
            }
        };
        let (columns, paths): (Vec<String>, Vec<FieldPath>) = step.key.iter().cloned().unzip();
        Self { system, columns, paths: paths.into(), calls }
    }

    /// The number that stands for a record's key.
    pub(super) fn key_number(&self) -> impl Fn(&Row) -> u64 + Send + Sync + 'static {
        let paths = Arc::clone(&self.paths);
        move |row| {
            let mut hasher = DefaultHasher::new();
            let key = row.record().and_then(|record| key(record, &paths));
            // A value's text tells it from all others of its kind; a record without a key is in nobody's way.
            match key {
                Some(key) => Value::Array(key).to_string().hash(&mut hasher),
                None => (row.partition, row.number).hash(&mut hasher),
            }
            hasher.finish()
        }
    }
}

impl BatchFunction<Row> for Lookup {
    type Output = Answer;
    type Error = Error;

    async fn open(&mut self) -> Result<(), Error> {
        let columns = self.columns.clone();
        match &mut self.system {
            System::Sqlite { config, connections, pool } => {
                let config = config.clone();
                let opened = Pool::new(*connections, move || Connection {
                    config: config.clone(),
                    columns: columns.clone(),
                    lookup: None,
                });
                match opened.run(|connection| connection.open().map(drop)).await {
                    Err(error) if !error.is_retryable() => return Err(error),
                    // If somebody else holds the database, each call tries again, as often as the step says.
                    _ => *pool = Some(opened),
                }
            }
            System::Postgres { config, lookup } => *lookup = Some(PostgresLookup::connect(config, &columns).await?),
        }
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
        match self.system {
            // A query that runs on a thread cannot be stopped.
            System::Sqlite { .. } => Cancellation::Wait,
            System::Postgres { .. } => Cancellation::Drop,
        }
    }
}

impl Lookup {
    async fn ask(&self, keys: Vec<Key>) -> Result<Answers, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let start = Instant::now();
        let found = match &self.system {
            System::Sqlite { pool: Some(pool), .. } => {
                pool.run(move |connection| look_up(connection.open()?, &keys)).await.map(as_values)
            }
            System::Postgres { lookup: Some(lookup), .. } => lookup.lookup(&keys).await,
            // Nothing is asked before it is opened.
            System::Sqlite { pool: None, .. } | System::Postgres { lookup: None, .. } => return Ok(Vec::new()),
        };
        self.calls.ended(start.elapsed());
        found
    }
}

/// What was found for each key.
type Answers = Vec<Result<Option<Value>, Error>>;

/// A row for each key.
type Rows = Vec<Result<Option<Record>, Error>>;

fn as_values(rows: Rows) -> Answers {
    rows.into_iter().map(|row| row.map(|row| row.map(Value::Object))).collect()
}

/// All keys at once. If that fails for good, one at a time: a key that cannot be asked for must not fail those that share its call.
fn look_up(lookup: &mut SqliteLookup, keys: &[Key]) -> Result<Rows, Error> {
    match lookup.lookup(keys) {
        Ok(rows) => Ok(rows.into_iter().map(Ok).collect()),
        Err(error) if error.is_retryable() || keys.len() == 1 => Err(error),
        Err(_) => Ok(keys.iter().map(|key| lookup.lookup(from_ref(key)).map(|mut row| row.pop().flatten())).collect()),
    }
}

/// A connection of the pool, opened when it is first needed; one that could not be is tried again with the next call.
struct Connection {
    config: SqliteLookupConfig,
    columns: Vec<String>,
    lookup: Option<SqliteLookup>,
}

impl Connection {
    fn open(&mut self) -> Result<&mut SqliteLookup, Error> {
        let lookup = match self.lookup.take() {
            Some(lookup) => lookup,
            None => SqliteLookup::open(&self.config, &self.columns)?,
        };
        Ok(self.lookup.insert(lookup))
    }
}

/// The values of the key's fields; `None` when one is absent or null.
fn key(record: &Record, paths: &[FieldPath]) -> Option<Key> {
    paths.iter().map(|path| path.find(record).filter(|value| !value.is_null()).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::row::Fate;

    fn record(value: Value) -> Record {
        value.as_object().unwrap().clone()
    }

    fn row(number: u64, value: Value) -> Row {
        Row::new(0, number, record(value))
    }

    #[test]
    fn a_key_has_all_its_fields_in_the_order_of_the_pipeline() {
        let paths: Vec<FieldPath> = [".b.c", ".a"].map(|path| path.parse().unwrap()).into();
        assert_eq!(key(&record(json!({ "a": 1, "b": { "c": "x" } })), &paths), Some(vec![json!("x"), json!(1)]));
        for absent in [json!({ "a": 1 }), json!({ "a": null, "b": { "c": "x" } }), json!({ "a": 1, "b": 2 })] {
            assert_eq!(key(&record(absent), &paths), None);
        }
    }

    fn lookup_by_a() -> Lookup {
        Lookup {
            system: System::Sqlite { config: SqliteLookupConfig::table("none.db", "t"), connections: 1, pool: None },
            columns: vec!["a".to_owned()],
            paths: [".a".parse().unwrap()].into(),
            calls: Arc::new(Calls::new()),
        }
    }

    #[test]
    fn records_of_one_key_have_one_number_and_those_without_are_in_nobodys_way() {
        let number = lookup_by_a().key_number();
        let of = |value: Value| number(&row(1, value));
        assert_eq!(of(json!({ "a": "x", "b": 1 })), of(json!({ "b": 2, "a": "x" })));
        assert_ne!(of(json!({ "a": "x" })), of(json!({ "a": "y" })));
        assert_ne!(of(json!({ "a": 1 })), of(json!({ "a": "1" })));
        assert_ne!(number(&row(1, json!({}))), number(&row(2, json!({}))));
        let dropped = |number| Row { fate: Fate::Dropped, ..row(number, json!({})) };
        assert_ne!(number(&dropped(1)), number(&dropped(2)));
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

    #[test]
    fn a_key_that_cannot_be_asked_for_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("d.db");
        let open = rusqlite::Connection::open(&database).unwrap();
        open.execute_batch("create table t (a int primary key, b text); insert into t values (1, 'x')").unwrap();
        let config = SqliteLookupConfig::table(&database, "t");
        let mut connection = Connection { config, columns: vec!["a".to_owned()], lookup: None };
        let keys = [vec![json!(1)], vec![json!([1])], vec![json!(2)]];
        let rows = look_up(connection.open().unwrap(), &keys).unwrap();
        assert_eq!(rows[0].as_ref().unwrap().as_ref().unwrap()["b"], "x");
        assert!(rows[1].as_ref().unwrap_err().to_string().contains("cannot be a key"));
        assert!(matches!(rows[2], Ok(None)));
    }

    #[test]
    fn a_connection_that_could_not_be_opened_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("d.db");
        let config = SqliteLookupConfig::table(&database, "t");
        let mut connection = Connection { config, columns: vec!["a".to_owned()], lookup: None };
        assert!(connection.open().is_err());
        rusqlite::Connection::open(&database).unwrap().execute_batch("create table t (a int primary key)").unwrap();
        assert!(connection.open().is_ok());
    }
}
