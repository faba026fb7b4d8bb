//! SQLite: connections on threads of their own.

use inflight::Pool;
use inflight_connectors::sqlite::{SqliteLookup, SqliteLookupConfig};
use inflight_connectors::{Answer, Error, Key, Record};
use serde_json::Value;

/// Connections of one step at most: SQLite works on our own processors, and more would only take turns.
const CONNECTIONS_MAX: usize = 64;

/// The connections of one step to one database.
pub(super) struct Sqlite(Pool<Connection>);

impl Sqlite {
    /// # Errors
    /// What would be so at the next attempt, too. If somebody else holds the database, each call tries again, as often as the step says.
    pub(super) async fn open(
        config: &SqliteLookupConfig,
        columns: &[String],
        concurrency: usize,
    ) -> Result<Self, Error> {
        let (config, columns) = (config.clone(), columns.to_vec());
        let opened = Pool::new(concurrency.min(CONNECTIONS_MAX), move || Connection {
            config: config.clone(),
            columns: columns.clone(),
            lookup: None,
        });
        match opened.run(|connection| connection.open().map(drop)).await {
            Err(error) if !error.is_retryable() => Err(error),
            _ => Ok(Self(opened)),
        }
    }

    pub(super) async fn ask(&self, keys: Vec<Key>) -> Result<Vec<Answer>, Error> {
        let rows: Vec<Option<Record>> = self.0.run(move |connection| connection.open()?.lookup(&keys)).await?;
        Ok(rows.into_iter().map(|row| Ok(row.map(Value::Object))).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

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
