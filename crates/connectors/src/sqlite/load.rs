//! Building a database from CSV files.

use std::fs;
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value as SqlValue;
use serde_json::Value;

use super::error::sqlite_error;
use super::{SqliteLoadConfig, SqliteTableConfig, quoted, quoted_list};
use crate::file::{ColumnType, Csv, Input, csv_options};
use crate::partial::PartialFile;
use crate::suggestion::{did_you_mean, list};
use crate::{Error, ErrorKind, Record};

/// What [`load`] or [`load_if_missing`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Whether the database was built; false when it was there already.
    pub built: bool,
    /// The tables built, by name.
    pub tables: Vec<TableReport>,
}

/// One table that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Rows whose key an earlier row has, so that a lookup never finds them. Keys with a null do not count.
    pub duplicate_keys: u64,
}

/// Builds `database` as [`load`] does, unless the file exists. An existing file is taken as it is, whatever is in it.
///
/// ```
/// use inflight_connectors::sqlite::{SqliteLoadConfig, SqliteTableConfig, load_if_missing};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let (csv, database) = (folder.path().join("airlines.csv"), folder.path().join("flights.db"));
/// std::fs::write(&csv, "carrier,name\nUA,United Air Lines Inc.\n")?;
/// let airlines = SqliteTableConfig::new(&csv, ["carrier"]);
/// let config = SqliteLoadConfig { tables: [("airlines".to_owned(), airlines)].into() };
/// assert_eq!(load_if_missing(&database, &config)?.tables[0].rows, 1);
/// assert!(!load_if_missing(&database, &config)?.built); // it is there now
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`load`].
pub fn load_if_missing(database: &Path, config: &SqliteLoadConfig) -> Result<LoadReport, Error> {
    config.check()?;
    if database.exists() { Ok(LoadReport::default()) } else { load(database, config) }
}

/// Builds `database` from CSV files, replacing what is there: one table for each, with an index on its key.
///
/// It is built as `<database>.partial` and renamed at the end, so that a crash leaves no half database.
///
/// # Errors
///
/// When the configuration does not make sense or does not fit a file, a file cannot be read or has a malformed record,
/// the disk is full, or another process is building the same database ([`ErrorKind::Busy`], retryable). Then the
/// database is as it was before.
pub fn load(database: &Path, config: &SqliteLoadConfig) -> Result<LoadReport, Error> {
    config.check()?;
    let file = PartialFile::create(database).map_err(|error| error.in_file(database))?;
    match build(file.path(), config) {
        Ok(tables) => {
            remove_journals(database).and_then(|()| file.commit()).map_err(|error| error.in_file(database))?;
            Ok(LoadReport { built: true, tables })
        }
        Err(error) => {
            file.discard();
            Err(error.in_file(database))
        }
    }
}

fn build(path: &Path, config: &SqliteLoadConfig) -> Result<Vec<TableReport>, Error> {
    let open = || {
        let connection = Connection::open(path)?;
        // Half a database is thrown away and a whole one is synced before it is renamed, so neither is needed.
        connection.execute_batch("pragma journal_mode = off; pragma synchronous = off")?;
        Ok(connection)
    };
    let mut connection = open().map_err(|error| sqlite_error("cannot create the database", error))?;
    let tables = config.tables.iter().map(|(name, table)| load_table(&mut connection, name, table)).collect();
    connection.close().map_err(|(_, error)| sqlite_error("cannot close the database", error))?;
    tables
}

fn load_table(connection: &mut Connection, name: &str, table: &SqliteTableConfig) -> Result<TableReport, Error> {
    let file = table.file();
    let input = Input::open(&table.csv, file.compression())?;
    let in_csv = |error: Error| error.in_file(&table.csv);
    let rows = Csv::new(input.reader, &csv_options(&file)).map_err(in_csv)?;
    let header: Vec<String> = rows.header().map(str::to_owned).collect();
    check_key(&table.key, &header).map_err(in_csv)?;

    let failed = |error| sqlite_error(&format!("cannot build the table \"{name}\""), error);
    let transaction = connection.transaction().map_err(failed)?;
    transaction.execute(&create_table(name, table, &header), []).map_err(failed)?;
    let rows = insert(&transaction, name, rows).map_err(|error| match error {
        Failed::Reading(error) => in_csv(error),
        Failed::Writing(error) => failed(error),
    })?;
    transaction.execute(&create_index(name, table), []).map_err(failed)?;
    let duplicate_keys = transaction.query_row(&count_duplicates(name, table), [], |row| row.get::<_, i64>(0));
    let duplicate_keys = duplicate_keys.map_err(failed)?.unsigned_abs();
    transaction.commit().map_err(failed)?;
    Ok(TableReport { name: name.to_owned(), rows, duplicate_keys })
}

enum Failed {
    Reading(Error),
    Writing(rusqlite::Error),
}

fn insert<R: Read>(connection: &Connection, table: &str, rows: Csv<R>) -> Result<u64, Failed> {
    let parameters = vec!["?"; rows.header().count()].join(", ");
    let sql = format!("insert into {} values ({parameters})", quoted(table));
    let mut statement = connection.prepare(&sql).map_err(Failed::Writing)?;
    let mut count = 0;
    for record in rows {
        let record = record.map_err(Failed::Reading)?;
        statement.execute(rusqlite::params_from_iter(sql_values(record))).map_err(Failed::Writing)?;
        count += 1;
    }
    Ok(count)
}

/// The values of a CSV record, which has no lists or objects.
fn sql_values(record: Record) -> impl Iterator<Item = SqlValue> {
    record.into_iter().map(|(_, value)| match value {
        Value::Null | Value::Array(_) | Value::Object(_) => SqlValue::Null,
        Value::Bool(truth) => SqlValue::Integer(truth.into()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => SqlValue::Integer(integer),
            None => number.as_f64().map_or(SqlValue::Null, SqlValue::Real),
        },
        Value::String(text) => SqlValue::Text(text),
    })
}

fn check_key(key: &[String], header: &[String]) -> Result<(), Error> {
    let names = || header.iter().map(String::as_str);
    match key.iter().find(|name| !header.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let hint = did_you_mean(name, names());
            let message = format!("the key column \"{name}\" is not in the header{hint}; there are {}", list(names()));
            Err(Error::new(ErrorKind::Config, message).at_line(1))
        }
    }
}

fn create_table(name: &str, table: &SqliteTableConfig, header: &[String]) -> String {
    let column = |column: &String| {
        let sql_type = match table.columns.get(column).copied().unwrap_or_default() {
            ColumnType::Text => "text",
            ColumnType::Int | ColumnType::Bool => "integer",
            ColumnType::Float => "real",
        };
        format!("{} {sql_type}", quoted(column))
    };
    let columns: Vec<_> = header.iter().map(column).collect();
    format!("create table {} ({})", quoted(name), columns.join(", "))
}

fn create_index(name: &str, table: &SqliteTableConfig) -> String {
    let index = format!("{name} by {}", table.key.join(", "));
    format!("create index {} on {} ({})", quoted(&index), quoted(name), key_list(table))
}

fn count_duplicates(name: &str, table: &SqliteTableConfig) -> String {
    let not_null: Vec<_> = table.key.iter().map(|column| format!("{} is not null", quoted(column))).collect();
    format!(
        "select coalesce(sum(n - 1), 0) from (select count(*) as n from {} where {} group by {})",
        quoted(name),
        not_null.join(" and "),
        key_list(table)
    )
}

fn key_list(table: &SqliteTableConfig) -> String {
    quoted_list(table.key.iter().map(String::as_str))
}

/// A journal belongs to the database that is being replaced; SQLite would apply it to the new one and so ruin it.
fn remove_journals(database: &Path) -> Result<(), Error> {
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    for suffix in ["-journal", "-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("cannot remove the journal of the old database", error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
