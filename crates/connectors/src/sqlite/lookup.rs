//! Looking up rows by key.

use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OpenFlags, Row, Statement};
use serde_json::{Number, Value};

use super::error::sqlite_error;
use super::{SqliteLookupConfig, quoted, quoted_list};
use crate::blank::blank;
use crate::suggestion::{did_you_mean, list};
use crate::{Error, ErrorKind, Key, Record};

/// Looks up rows by key in an SQLite database.
///
/// One lookup is one connection and does one request at a time; for more at once, open more of them.
///
/// ```
/// use inflight_connectors::sqlite::{SqliteLookup, SqliteLookupConfig};
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let database = folder.path().join("fleet.db");
/// # rusqlite::Connection::open(&database)?.execute_batch(
/// #     "create table planes (tailnum text primary key, seats int); insert into planes values ('N14228', 149);")?;
/// let config = SqliteLookupConfig::table(&database, "planes");
/// let mut planes = SqliteLookup::open(&config, &["tailnum".to_owned()])?;
///
/// let answers = planes.lookup(&[vec![json!("N14228")], vec![json!("N00000")]])?;
/// assert_eq!(answers[0].as_ref().unwrap()["seats"], 149);
/// assert_eq!(answers[1], None); // asked for, and not there
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SqliteLookup {
    connection: Connection,
    database: PathBuf,
    sql: String,
    /// For each parameter of the statement, the key column it takes.
    parameters: Vec<usize>,
    key_columns: Vec<String>,
    columns: Vec<String>,
    blank: Record,
}

impl SqliteLookup {
    /// Opens the database for reading, checks that the table and all columns exist, and prepares the statement.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or does not fit the database, or the database does not exist, is
    /// locked ([`ErrorKind::Busy`], retryable) or is no database.
    pub fn open(config: &SqliteLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        config.check()?;
        Self::connect(config, key_columns).map_err(|error| error.in_file(&config.database))
    }

    fn connect(config: &SqliteLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        if key_columns.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the lookup has no key; name at least one key column"));
        }
        let connection = open_database(&config.database)?;
        connection.busy_timeout(config.busy_timeout).map_err(|error| sqlite_error("cannot open", error))?;
        let sql = match (&config.table, &config.query) {
            (Some(table), _) => table_statement(&connection, table, config.columns.as_deref(), key_columns)?,
            (None, query) => query.clone().unwrap_or_default(),
        };
        let (columns, parameters) = {
            let statement = connection.prepare(&sql).map_err(|error| sqlite_error("cannot prepare", error))?;
            (answer_columns(&statement)?, parameters(&statement, key_columns)?)
        };
        let database = config.database.clone();
        let (blank, key_columns) = (blank(names(&columns)), key_columns.to_vec());
        Ok(Self { connection, database, sql, parameters, key_columns, columns, blank })
    }

    /// The names of the fields of an answer.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether each lookup reads a whole table because no index serves the key: right, but slow. Worth a warning.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn reads_whole_table(&self) -> Result<bool, Error> {
        let plan = || {
            let mut statement = self.connection.prepare(&format!("explain query plan {}", self.sql))?;
            let steps =
                statement.raw_query().mapped(|row| row.get::<_, String>("detail")).collect::<Result<Vec<_>, _>>()?;
            Ok(steps.iter().any(|step| step.starts_with("SCAN") && !step.starts_with("SCAN CONSTANT")))
        };
        plan().map_err(|error| sqlite_error("cannot explain the statement", error).in_file(&self.database))
    }

    /// Answers each key, in the order of `keys`: the row, or `None` when there is none (*missing*). All keys of a call
    /// see the same state of the database.
    ///
    /// A key with a null in it is missing without being asked for. Of several matching rows, the first by rowid is the
    /// answer (the first of the query, for a query).
    ///
    /// # Errors
    ///
    /// When the database cannot be asked, which says nothing about the keys: locked ([`ErrorKind::Busy`], retryable),
    /// damaged, or its tables changed. When a key has the wrong number of values or one that is a list or an object,
    /// or a row holds a blob, which JSON does not have. An error concerns the whole call.
    pub fn lookup(&mut self, keys: &[Key]) -> Result<Vec<Option<Record>>, Error> {
        self.answer_all(keys).map_err(|error| error.in_file(&self.database))
    }

    fn answer_all(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, Error> {
        let failed = |error| sqlite_error("cannot look up", error);
        // One transaction for many keys: one state of the database, and one lock instead of one for each key.
        let transaction =
            (keys.len() > 1).then(|| self.connection.unchecked_transaction()).transpose().map_err(failed)?;
        let mut statement = self.connection.prepare_cached(&self.sql).map_err(failed)?;
        let answers = keys.iter().map(|key| self.answer(&mut statement, key)).collect();
        drop(statement);
        drop(transaction); // it has only read
        answers
    }

    fn answer(&self, statement: &mut Statement<'_>, key: &Key) -> Result<Option<Record>, Error> {
        if key.len() != self.key_columns.len() {
            let message = format!("a key has {} values for the columns {}", key.len(), list(names(&self.key_columns)));
            return Err(Error::new(ErrorKind::Config, message));
        }
        if key.iter().any(Value::is_null) {
            return Ok(None);
        }
        let failed = |error| sqlite_error("cannot look up", error);
        for (index, column) in self.parameters.iter().enumerate() {
            let value = sql_value(&key[*column]).map_err(|error| error.in_field(&self.key_columns[*column]))?;
            statement.raw_bind_parameter(index + 1, value).map_err(failed)?;
        }
        let mut rows = statement.raw_query();
        rows.next().map_err(failed)?.map(|row| self.record(row)).transpose()
    }

    fn record(&self, row: &Row<'_>) -> Result<Record, Error> {
        let mut record = self.blank.clone();
        for (index, (name, field)) in record.iter_mut().enumerate() {
            let value = row.get_ref(index).map_err(|error| sqlite_error("cannot look up", error))?;
            *field = json_value(value).map_err(|error| error.in_field(name))?;
        }
        Ok(record)
    }
}

fn open_database(path: &Path) -> Result<Connection, Error> {
    if !path.exists() {
        let message = "the database does not exist; check the path, or build it first";
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| sqlite_error("cannot open", error))
}

/// The statement that looks up one key in a table, all names checked.
fn table_statement(
    connection: &Connection,
    table: &str,
    columns: Option<&[String]>,
    key_columns: &[String],
) -> Result<String, Error> {
    let tables = table_names(connection).map_err(|error| sqlite_error("cannot read the list of tables", error))?;
    if !tables.iter().any(|name| name == table) {
        return Err(unknown("table", table, &tables));
    }
    let all = {
        let statement = connection.prepare(&format!("select * from {} limit 0", quoted(table)));
        answer_columns(&statement.map_err(|error| sqlite_error("cannot read the table", error))?)?
    };
    if let Some(name) = columns.unwrap_or_default().iter().find(|name| !all.contains(name)) {
        return Err(unknown(&format!("column of \"{table}\""), name, &all));
    }
    if let Some(name) = key_columns.iter().find(|name| !all.contains(name)) {
        return Err(unknown(&format!("column of \"{table}\" to be its key"), name, &all));
    }
    let matches: Vec<_> =
        key_columns.iter().enumerate().map(|(at, name)| format!("{} = ?{}", quoted(name), at + 1)).collect();
    let answer = quoted_list(names(columns.unwrap_or(&all)));
    let select = format!("select {answer} from {} where {}", quoted(table), matches.join(" and "));
    // Views and tables without rowid cannot be ordered by it.
    let ordered = format!("{select} order by rowid limit 1");
    Ok(if connection.prepare(&ordered).is_ok() { ordered } else { format!("{select} limit 1") })
}

fn table_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare("select name from sqlite_schema where type in ('table', 'view') order by 1")?;
    statement.raw_query().mapped(|row| row.get(0)).collect()
}

/// For each parameter of the statement, the position of the key column that it names. Those of a statement made here
/// are numbered in the order of the key.
fn parameters(statement: &Statement<'_>, key_columns: &[String]) -> Result<Vec<usize>, Error> {
    let position = |index| {
        let name = statement.parameter_name(index).unwrap_or("?");
        match name.split_at(1) {
            ("?", number) => match number.parse::<usize>() {
                Ok(number) if (1..=key_columns.len()).contains(&number) => Ok(number - 1),
                _ => {
                    let message =
                        format!("the parameter \"{name}\" names no key column; write it as ${}", key_columns[0]);
                    Err(Error::new(ErrorKind::Config, message))
                }
            },
            (_, name) => key_columns
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| unknown("key column for the parameter", name, key_columns)),
        }
    };
    let positions: Vec<usize> = (1..=statement.parameter_count()).map(position).collect::<Result<_, _>>()?;
    match (0..key_columns.len()).find(|column| !positions.contains(column)) {
        None => Ok(positions),
        Some(unused) => {
            let name = &key_columns[unused];
            let message = format!("the query does not use the key column \"{name}\"; put ${name} in its `where`");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

/// The names of the columns a statement answers with.
fn answer_columns(statement: &Statement<'_>) -> Result<Vec<String>, Error> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    if columns.is_empty() || !statement.readonly() {
        return Err(Error::new(ErrorKind::Config, "the query gives no rows back; a lookup needs a `select`"));
    }
    match columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
        None => Ok(columns),
        Some((_, twice)) => {
            let message = format!("the query answers with two columns \"{twice}\"; rename one with `as`");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

fn unknown(what: &str, name: &str, there: &[String]) -> Error {
    let hint = did_you_mean(name, names(there));
    Error::new(ErrorKind::Config, format!("there is no {what} \"{name}\"{hint}; there are {}", list(names(there))))
}

fn names(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}

/// SQLite compares a text with a numeric column as a number and the other way round, so `"7"` finds 7.
fn sql_value(value: &Value) -> Result<ToSqlOutput<'_>, Error> {
    Ok(match value {
        Value::Null => ToSqlOutput::Owned(SqlValue::Null),
        Value::Bool(truth) => ToSqlOutput::Owned(SqlValue::Integer((*truth).into())),
        Value::Number(number) => ToSqlOutput::Owned(match number.as_i64() {
            Some(integer) => SqlValue::Integer(integer),
            None => SqlValue::Real(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Array(_) | Value::Object(_) => {
            let message = "a list or an object cannot be a key; take one of its fields";
            return Err(Error::new(ErrorKind::Malformed, message));
        }
    })
}

fn json_value(value: ValueRef<'_>) -> Result<Value, Error> {
    let refuse = |message: &str| Err(Error::new(ErrorKind::Malformed, message));
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(integer) => Ok(Value::from(integer)),
        ValueRef::Real(real) => match Number::from_f64(real) {
            Some(number) => Ok(Value::Number(number)),
            None => refuse("the number is infinite, which JSON does not have; leave the column out or convert it"),
        },
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => refuse("the text is not valid UTF-8; correct it in the database"),
        },
        ValueRef::Blob(_) => {
            refuse("a blob, which JSON does not have; leave the column out, or use a query with hex()")
        }
    }
}

#[cfg(test)]
mod tests;
