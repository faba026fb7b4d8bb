//! What a user writes about SQLite in a pipeline.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::file::{ColumnType, FileSourceConfig, Format};
use crate::{Error, ErrorKind, FieldPath};

/// How long a lookup waits for a locked database unless the configuration says otherwise: one second.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest `busy_timeout` that is accepted: one hour.
pub const MAX_BUSY_TIMEOUT: Duration = Duration::from_secs(3600);

/// The table that a sink keeps the epochs of pipelines in.
pub(super) const EPOCHS_TABLE: &str = "inflight_epochs";

/// A table to look up by its key columns, or a query with named parameters in its place.
///
/// ```
/// use inflight_connectors::sqlite::SqliteLookupConfig;
///
/// let config = SqliteLookupConfig {
///     columns: Some(vec!["model".to_owned(), "seats".to_owned()]),
///     ..SqliteLookupConfig::table("flights.db", "planes")
/// };
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteLookupConfig {
    /// The database file. It is opened for reading only.
    pub database: PathBuf,
    /// The table or view to look up. Either this or `query`.
    #[serde(default)]
    pub table: Option<String>,
    /// The columns that make the answer. Default: all of the table.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// A statement in place of `table` and `columns`, naming each key column as a parameter:
    /// `select name from airlines where carrier = $carrier`.
    #[serde(default)]
    pub query: Option<String>,
    /// How long to wait for a database that somebody else has locked; `0ms` does not wait. Default: `1s`; at most `1h`.
    #[serde(default = "busy_timeout", with = "crate::duration")]
    #[schemars(with = "String")]
    pub busy_timeout: Duration,
}

/// A table to write to.
///
/// ```
/// use inflight_connectors::sqlite::SqliteSinkConfig;
///
/// let config = SqliteSinkConfig { key: vec!["id".to_owned()], ..SqliteSinkConfig::new("users.db", "users") };
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteSinkConfig {
    /// The database file.
    pub database: PathBuf,
    /// The table.
    pub table: String,
    /// The columns that tell rows apart, which must have a unique index: a record whose key is there replaces the
    /// values of that row. Default: every record becomes a row.
    #[serde(default)]
    pub key: Vec<String>,
    /// The columns to write, and the field for each: `name: .user.name`; null when a record does not have it. Default:
    /// each field goes to the column of its name.
    #[serde(default)]
    pub columns: BTreeMap<String, FieldPath>,
    /// Whether to create database and table if they do not exist, with the columns of the first record. Default: no.
    #[serde(default)]
    pub create: bool,
    /// How long to wait for a database that somebody else has locked; `0ms` does not wait. Default: `1s`; at most `1h`.
    #[serde(default = "busy_timeout", with = "crate::duration")]
    #[schemars(with = "String")]
    pub busy_timeout: Duration,
}

/// Tables to build from CSV files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteLoadConfig {
    /// The tables by name.
    pub tables: BTreeMap<String, SqliteTableConfig>,
}

/// A table to build from one CSV file, with the columns of its header.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteTableConfig {
    /// The file; unpacked when its name ends in `.gz`.
    pub csv: PathBuf,
    /// The columns the table is looked up by; they get an index.
    pub key: Vec<String>,
    /// Texts that stand for no value, such as `NA`, in any column. Default: none.
    #[serde(default)]
    pub null: Vec<String>,
    /// Types of columns; those not named here are text. SQLite has no bool: it keeps 0 or 1.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnType>,
    /// What separates fields. Default: a comma, or a tab for `.tsv`.
    #[serde(default)]
    pub delimiter: Option<char>,
}

impl SqliteLookupConfig {
    /// All columns of a table.
    pub fn table(database: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self { table: Some(table.into()), ..Self::new(database.into()) }
    }

    /// The first row of a query.
    pub fn query(database: impl Into<PathBuf>, query: impl Into<String>) -> Self {
        Self { query: Some(query.into()), ..Self::new(database.into()) }
    }

    fn new(database: PathBuf) -> Self {
        Self { database, table: None, columns: None, query: None, busy_timeout: BUSY_TIMEOUT }
    }

    /// Whether the configuration makes sense, as far as can be told without the database.
    ///
    /// # Errors
    ///
    /// When not exactly one of `table` and `query` is given, or `columns` is empty, names a column twice, or comes
    /// with a query, or `busy_timeout` is above [`MAX_BUSY_TIMEOUT`].
    pub fn check(&self) -> Result<(), Error> {
        let problem = match (&self.table, &self.query, &self.columns) {
            (None, None, _) => "name the `table` to look up, or write a `query`",
            (Some(_), Some(_), _) => "`table` and `query` exclude each other; remove one of them",
            (None, Some(_), Some(_)) => "`columns` belongs to `table`; with `query` the statement names its columns",
            (_, _, Some(columns)) if columns.is_empty() => "`columns` is empty; remove it to get all columns",
            (_, _, Some(columns)) if has_duplicates(columns) => "`columns` names a column twice",
            _ if self.busy_timeout > MAX_BUSY_TIMEOUT => "`busy_timeout` is more than an hour; make it shorter",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem).in_file(&self.database))
    }
}

impl SqliteSinkConfig {
    /// A table with everything else left to the defaults.
    pub fn new(database: impl Into<PathBuf>, table: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            table: table.into(),
            key: Vec::new(),
            columns: BTreeMap::new(),
            create: false,
            busy_timeout: BUSY_TIMEOUT,
        }
    }

    /// Whether the configuration makes sense, as far as can be told without the database.
    ///
    /// # Errors
    ///
    /// When `table` is empty or the one that epochs are kept in, `key` names a column twice or one that `columns` does
    /// not write, or `busy_timeout` is above [`MAX_BUSY_TIMEOUT`].
    pub fn check(&self) -> Result<(), Error> {
        let unwritten = |key: &&String| !self.columns.is_empty() && !self.columns.contains_key(*key);
        let problem = match self {
            _ if self.table.is_empty() => "name the `table` to write to",
            _ if self.table.eq_ignore_ascii_case(EPOCHS_TABLE) => "this table keeps the epochs; choose another",
            _ if has_duplicates(&self.key) => "`key` names a column twice",
            _ if self.key.iter().any(|key| unwritten(&key)) => "`key` names a column that `columns` does not write",
            _ if self.busy_timeout > MAX_BUSY_TIMEOUT => "`busy_timeout` is more than an hour; make it shorter",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem).in_file(&self.database))
    }
}

impl SqliteLoadConfig {
    /// Whether the configuration makes sense, as far as can be told without the files.
    ///
    /// # Errors
    ///
    /// When there are no tables, or a table has no key, a key column named twice, or an impossible delimiter.
    pub fn check(&self) -> Result<(), Error> {
        if self.tables.is_empty() {
            return Err(Error::new(ErrorKind::Config, "`tables` is empty; name a table and its CSV file"));
        }
        self.tables.iter().try_for_each(|(name, table)| table.check(name))
    }
}

impl SqliteTableConfig {
    /// A table of texts, everything else left to the defaults.
    pub fn new<K: Into<String>>(csv: impl Into<PathBuf>, key: impl IntoIterator<Item = K>) -> Self {
        let key = key.into_iter().map(Into::into).collect();
        Self { csv: csv.into(), key, null: Vec::new(), columns: BTreeMap::new(), delimiter: None }
    }

    fn check(&self, name: &str) -> Result<(), Error> {
        let refuse = |problem: &str| Err(Error::new(ErrorKind::Config, format!("table \"{name}\": {problem}")));
        if self.csv == Path::new("-") {
            return refuse("a table cannot be read from stdin; name a file");
        }
        if self.key.is_empty() {
            return refuse("`key` is empty; name the columns it is looked up by");
        }
        if has_duplicates(&self.key) {
            return refuse("`key` names a column twice");
        }
        self.file().check()
    }

    /// The CSV file as a source of records.
    pub(super) fn file(&self) -> FileSourceConfig {
        FileSourceConfig {
            format: Some(Format::Csv),
            delimiter: self.delimiter,
            null: self.null.clone(),
            columns: self.columns.clone(),
            ..FileSourceConfig::new(&self.csv)
        }
    }
}

fn busy_timeout() -> Duration {
    BUSY_TIMEOUT
}

fn has_duplicates(names: &[String]) -> bool {
    let mut seen = HashSet::new();
    !names.iter().all(|name| seen.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lookup_is_configured_by_data() {
        let config: SqliteLookupConfig = serde_json::from_value(json!({
            "database": "a.db", "table": "planes", "columns": ["model"], "busy_timeout": "250ms",
        }))
        .unwrap();
        assert_eq!(config.busy_timeout, Duration::from_millis(250));
        assert_eq!(serde_json::to_value(&config).unwrap()["busy_timeout"], "250ms");
        assert_eq!(SqliteLookupConfig::table("a.db", "planes").busy_timeout, BUSY_TIMEOUT);
        let error = serde_json::from_value::<SqliteLookupConfig>(json!({"database": "a", "tabel": "x"})).unwrap_err();
        assert!(error.to_string().contains("unknown field `tabel`"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let table = SqliteLookupConfig::table("a.db", "t");
        let query = SqliteLookupConfig::query("a.db", "select 1");
        let columns = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        for (config, expected) in [
            (SqliteLookupConfig { table: None, ..table.clone() }, "name the `table`"),
            (SqliteLookupConfig { query: query.query.clone(), ..table.clone() }, "exclude each other"),
            (SqliteLookupConfig { columns: columns(&["a"]), ..query }, "belongs to `table`"),
            (SqliteLookupConfig { columns: columns(&[]), ..table.clone() }, "is empty"),
            (SqliteLookupConfig { columns: columns(&["a", "a"]), ..table.clone() }, "twice"),
            (SqliteLookupConfig { busy_timeout: Duration::MAX, ..table }, "more than an hour"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_sink_is_configured_by_data_and_what_makes_no_sense_is_refused() {
        let config: SqliteSinkConfig = serde_json::from_value(json!({
            "database": "a.db", "table": "t", "key": ["id"], "columns": { "id": ".id" }, "create": true,
        }))
        .unwrap();
        config.check().unwrap();
        let key = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (config, expected) in [
            (SqliteSinkConfig::new("a.db", ""), "name the `table`"),
            (SqliteSinkConfig::new("a.db", "INFLIGHT_epochs"), "keeps the epochs"),
            (SqliteSinkConfig { key: key(&["id", "id"]), ..config.clone() }, "twice"),
            (SqliteSinkConfig { key: key(&["name"]), ..config.clone() }, "does not write"),
            (SqliteSinkConfig { busy_timeout: Duration::MAX, ..config }, "more than an hour"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn tables_need_files_and_keys() {
        let load = |table| SqliteLoadConfig { tables: [("t".to_owned(), table)].into() };
        load(SqliteTableConfig::new("a.csv", ["id"])).check().unwrap();
        for (config, expected) in [
            (SqliteLoadConfig::default(), "`tables` is empty"),
            (load(SqliteTableConfig::new("a.csv", [""; 0])), "`key` is empty"),
            (load(SqliteTableConfig::new("a.csv", ["a", "a"])), "twice"),
            (load(SqliteTableConfig::new("-", ["a"])), "stdin"),
            (load(SqliteTableConfig { delimiter: Some('é'), ..SqliteTableConfig::new("a", ["a"]) }), "delimiter"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
