//! Records as rows of a table.

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use serde_json::Value;

use super::{SqliteSinkConfig, quoted, quoted_list};
use crate::suggestion::{did_you_mean, list};
use crate::{Error, ErrorKind, FieldPath, Record};

/// Which field of a record goes to which column of a table.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    /// The columns of which no two rows have the same values; none when every record becomes a row.
    key: Vec<String>,
    /// The columns and their fields; none when each field goes to the column of its name.
    columns: Vec<(String, FieldPath)>,
}

/// The columns of a row with their values.
pub(super) type Row<'a> = Vec<(&'a str, &'a Value)>;

/// The statement that writes rows of certain columns.
#[derive(Debug, Default)]
pub(super) struct Insert {
    columns: Vec<String>,
    pub(super) sql: String,
}

impl Table {
    pub(super) fn new(config: &SqliteSinkConfig) -> Self {
        let columns = config.columns.iter().map(|(column, field)| (column.clone(), field.clone())).collect();
        Self { name: config.table.clone(), key: config.key.clone(), columns }
    }

    /// The row of a record. A field that is absent is null in its column, or left out when columns are fields.
    pub(super) fn row<'a>(&'a self, record: &'a Record) -> Result<Row<'a>, Error> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Malformed, message));
        let row: Row<'_> = if self.columns.is_empty() {
            record.iter().map(|(name, value)| (name.as_str(), value)).collect()
        } else {
            let value = |field: &FieldPath| field.find(record).unwrap_or(&Value::Null);
            self.columns.iter().map(|(column, field)| (column.as_str(), value(field))).collect()
        };
        if row.is_empty() {
            return refuse("the record has no fields, so there is no row to write".to_owned());
        }
        let value_of =
            |key: &str| row.iter().find(|(column, _)| column.eq_ignore_ascii_case(key)).map(|(_, value)| *value);
        match self.key.iter().find(|key| value_of(key).is_none_or(Value::is_null)) {
            None => Ok(row),
            Some(key) => refuse(format!("the key column \"{key}\" gets no value, so the row could not be found again")),
        }
    }

    /// The statement that makes the table. Its columns have no types, so that they keep every value as it is.
    pub(super) fn create(&self, row: &Row<'_>) -> String {
        let columns = quoted_list(row.iter().map(|(column, _)| *column));
        let key = quoted_list(self.key.iter().map(String::as_str));
        let primary_key = if key.is_empty() { key } else { format!(", primary key ({key})") };
        format!("create table {} ({columns}{primary_key})", quoted(&self.name))
    }

    /// The columns that the configuration names.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.key.iter().chain(self.columns.iter().map(|(column, _)| column)).map(String::as_str)
    }

    pub(super) fn check_column(&self, column: &str, there: &[String]) -> Result<(), Error> {
        if there.iter().any(|name| name.eq_ignore_ascii_case(column)) {
            return Ok(());
        }
        let there = || there.iter().map(String::as_str);
        let message = format!(
            "the table \"{}\" has no column \"{column}\"{}; there are {}; add it, or choose the `columns` to write",
            self.name,
            did_you_mean(column, there()),
            list(there())
        );
        Err(Error::new(ErrorKind::Config, message))
    }
}

impl Insert {
    /// The statement for rows of `columns`, all of which exist.
    pub(super) fn new(table: &Table, columns: Vec<String>) -> Self {
        let names = || columns.iter().map(String::as_str);
        let parameters = vec!["?"; columns.len()].join(", ");
        let mut sql = format!("insert into {} ({}) values ({parameters})", quoted(&table.name), quoted_list(names()));
        if !table.key.is_empty() {
            let is_key = |name: &&str| table.key.iter().any(|key| key.eq_ignore_ascii_case(name));
            let updates: Vec<_> =
                names().filter(|name| !is_key(name)).map(|name| format!("{0} = excluded.{0}", quoted(name))).collect();
            let action =
                if updates.is_empty() { "nothing".to_owned() } else { format!("update set {}", updates.join(", ")) };
            sql += &format!(" on conflict ({}) do {action}", quoted_list(table.key.iter().map(String::as_str)));
        }
        Self { columns, sql }
    }

    pub(super) fn fits(&self, row: &Row<'_>) -> bool {
        self.columns.len() == row.len() && self.columns.iter().zip(row).all(|(name, (column, _))| name == column)
    }
}

/// Lists and objects are written as JSON.
pub(super) fn sql_value(value: &Value) -> Result<ToSqlOutput<'_>, Error> {
    Ok(match value {
        Value::Null => ToSqlOutput::Owned(SqlValue::Null),
        Value::Bool(truth) => ToSqlOutput::Owned(SqlValue::Integer((*truth).into())),
        Value::Number(number) => ToSqlOutput::Owned(match (number.as_i64(), number.is_f64(), number.as_f64()) {
            (Some(integer), ..) => SqlValue::Integer(integer),
            (None, true, Some(real)) => SqlValue::Real(real),
            _ => {
                let message = format!("{number} is more than SQLite's greatest integer; send it as a text");
                return Err(Error::new(ErrorKind::Malformed, message));
            }
        }),
        Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Array(_) | Value::Object(_) => ToSqlOutput::Owned(SqlValue::Text(value.to_string())),
    })
}
