//! Tables, as the server describes them.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::error::mysql_error;
use super::quoted;
use crate::Error;
use crate::suggestion::unknown;

/// A table or view, and what it consists of.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// As the user wrote it.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// As SQL writes it: `decimal(10,2)`, `tinyint(1)`.
    pub(super) type_name: String,
    /// The type without what limits it: `decimal`.
    pub(super) base_type: String,
    /// It has no nulls, and no two rows have the same value.
    pub(super) is_unique: bool,
    /// Its texts are JSON. What MariaDB calls so is a text with a constraint.
    pub(super) is_json: bool,
}

impl Table {
    /// Asks the server about the table. `name` may have a database before a dot.
    pub(super) async fn describe(conn: &mut Conn, name: &str) -> Result<Self, Error> {
        const COLUMNS: &str = "select column_name, column_type, data_type, column_key from information_schema.columns
            where table_schema = coalesce(?, database()) and table_name = ? order by ordinal_position";
        let failed = |error| mysql_error(&format!("cannot read what \"{name}\" consists of"), error);
        let (database, table) = match name.split_once('.') {
            Some((database, table)) => (Some(database), table),
            None => (None, name),
        };
        let rows: Vec<(String, String, String, String)> =
            conn.exec(COLUMNS, (database, table)).await.map_err(failed)?;
        if rows.is_empty() {
            let there = tables(conn, database).await.map_err(failed)?;
            return Err(unknown("table that may be read,", name, &there));
        }
        let json = json_columns(conn, database, table).await;
        let in_primary_key = rows.iter().filter(|(.., key)| key == "PRI").count();
        let columns = rows.into_iter().map(|(name, type_name, base_type, key)| Column {
            is_unique: key == "UNI" || (key == "PRI" && in_primary_key == 1),
            is_json: base_type == "json" || json.contains(&name),
            name,
            type_name,
            base_type,
        });
        Ok(Self { name: name.to_owned(), columns: columns.collect() })
    }

    pub(super) fn sql_name(&self) -> String {
        match self.name.split_once('.') {
            Some((database, table)) => format!("{}.{}", quoted(database), quoted(table)),
            None => quoted(&self.name),
        }
    }

    /// The column of that name, to be used as `what`.
    pub(super) fn column(&self, name: &str, what: &str) -> Result<&Column, Error> {
        let there = || self.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| unknown(&format!("column of \"{}\"{what}", self.name), name, &there()))
    }
}

/// Those that MariaDB keeps texts in that it has checked to be JSON. Other servers have no such description of a constraint.
async fn json_columns(conn: &mut Conn, database: Option<&str>, table: &str) -> Vec<String> {
    const CHECKED: &str = "select constraint_name from information_schema.check_constraints
        where constraint_schema = coalesce(?, database()) and table_name = ?
        and check_clause = concat('json_valid(`', replace(constraint_name, '`', '``'), '`)')";
    conn.exec(CHECKED, (database, table)).await.unwrap_or_default()
}

/// What there is in the database, and this user may see.
async fn tables(conn: &mut Conn, database: Option<&str>) -> Result<Vec<String>, mysql_async::Error> {
    const TABLES: &str = "select table_name from information_schema.tables
        where table_schema = coalesce(?, database()) order by table_name";
    conn.exec(TABLES, (database,)).await
}
