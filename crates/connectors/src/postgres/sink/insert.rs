//! The statement that writes a batch.

use serde_json::Value;
use tokio_postgres::{Client, Statement};

use crate::postgres::error::postgres_error;
use crate::postgres::table::{Column, Table};
use crate::postgres::{PostgresSinkConfig, names, quoted, quoted_list};
use crate::suggestion::did_you_mean;
use crate::{Error, ErrorKind, Record};

/// What is written into which columns of which table.
pub(super) struct Insert {
    table: Table,
    columns: Vec<Written>,
    key: Vec<String>,
    /// Other fields of a record are left out; else they are an error.
    leaves_out: bool,
}

struct Written {
    name: String,
    type_name: String,
    /// The name as JSON text.
    field: String,
}

impl Written {
    fn new(column: &Column) -> Self {
        let field = Value::from(column.name.as_str()).to_string();
        Self { name: column.name.clone(), type_name: column.type_name.clone(), field }
    }
}

impl Insert {
    pub(super) fn new(config: &PostgresSinkConfig, table: &Table) -> Result<Self, Error> {
        let key = config.key.clone().unwrap_or_default();
        for name in &key {
            table.column(name, " to be its key")?;
        }
        let columns = match &config.columns {
            Some(columns) => {
                columns.iter().map(|name| table.column(name, "").map(Written::new)).collect::<Result<_, _>>()?
            }
            None => {
                let is_written = |column: &&Column| !column.fills_itself || key.contains(&column.name);
                table.columns.iter().filter(is_written).map(Written::new).collect()
            }
        };
        Ok(Self { table: table.clone(), columns, key, leaves_out: config.columns.is_some() })
    }

    /// A row that comes again takes the place of the one that is there.
    pub(super) const fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    pub(super) fn table(&self) -> &str {
        &self.table.name
    }

    /// Prepares it. Explaining it first finds out what preparing does not: permissions, and a key without an index.
    pub(super) async fn prepare(&self, client: &Client) -> Result<Statement, Error> {
        let failed = |error| postgres_error(&format!("cannot write to \"{}\"", self.table.name), error);
        client.batch_execute(&format!("explain {}", self.sql("null"))).await.map_err(failed)?;
        client.prepare(&self.sql("$1::text")).await.map_err(failed)
    }

    /// The server takes the JSON apart, and converts each value to the type of its column.
    fn sql(&self, json: &str) -> String {
        let columns = quoted_list(self.names());
        let types = types(&self.columns);
        // What comes last counts, as it would one record at a time.
        let (distinct, order) = match self.key.is_empty() {
            true => (String::new(), String::new()),
            false => {
                let key = quoted_list(names(&self.key));
                (format!("distinct on ({key}) "), format!(" order by {key}, inflight_row desc"))
            }
        };
        format!(
            "insert into {} ({columns}) select {distinct}{columns} from rows from (json_to_recordset(({json})::json) \
             as ({types})) with ordinality as inflight_rows ({columns}, inflight_row){order}{}",
            self.table.sql_name(),
            self.on_conflict()
        )
    }

    fn on_conflict(&self) -> String {
        if self.key.is_empty() {
            return String::new();
        }
        let key = quoted_list(names(&self.key));
        let others = self.names().filter(|name| !self.key.iter().any(|key| key == name)).map(quoted);
        let updates: Vec<_> = others.map(|name| format!("{name} = excluded.{name}")).collect();
        match updates.as_slice() {
            [] => format!(" on conflict ({key}) do nothing"),
            updates => format!(" on conflict ({key}) do update set {}", updates.join(", ")),
        }
    }

    /// For each column, its name and a statement that only converts its value.
    pub(super) fn conversions(&self) -> impl Iterator<Item = (&str, String)> {
        self.columns.iter().map(|column| {
            let types = types(std::slice::from_ref(column));
            (column.name.as_str(), format!("select * from json_to_recordset($1::text::json) as r ({types})"))
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Whether each field has a column, and the key is complete.
    pub(super) fn check(&self, record: &Record) -> Result<(), Error> {
        let is_null = |name: &&String| record.get(name.as_str()).is_none_or(Value::is_null);
        if let Some(name) = self.key.iter().find(is_null) {
            let message = "the record has no value for this column of the key, so it cannot be told from others";
            return Err(Error::new(ErrorKind::Malformed, message).in_field(name));
        }
        let is_known = |name: &str| self.names().any(|column| column == name);
        match record.keys().find(|name| !self.leaves_out && !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(self.not_written(name)),
        }
    }

    fn not_written(&self, name: &str) -> Error {
        let table = &self.table.name;
        let problem = match self.table.columns.iter().any(|column| column.name == name) {
            true => format!("this column of \"{table}\" has a default, so it is not written unless `columns` names it"),
            false => {
                let hint = did_you_mean(name, self.names());
                format!("\"{table}\" has no such column{hint}; add it, or name those to be written in `columns`")
            }
        };
        Error::new(ErrorKind::Malformed, problem).in_field(name)
    }

    /// The fields to be written, by name as JSON text; what the record does not have becomes null.
    pub(super) fn fields<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.columns.iter().filter_map(|column| Some((column.field.as_str(), record.get(&column.name)?)))
    }
}

fn types(columns: &[Written]) -> String {
    let definition = |column: &Written| format!("{} {}", quoted(&column.name), column.type_name);
    columns.iter().map(definition).collect::<Vec<_>>().join(", ")
}
