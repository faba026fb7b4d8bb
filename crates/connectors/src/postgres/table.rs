//! Tables, as the server describes them.

use tokio_postgres::Client;

use super::error::postgres_error;
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
    /// As SQL writes it: `numeric(10,2)`, `text[]`.
    pub(super) type_name: String,
    /// It has a default, counts by itself, or is computed.
    pub(super) fills_itself: bool,
    /// The type without what limits it: `numeric`, not `numeric(10,2)`.
    pub(super) base_type: String,
    /// No two rows have the same value, and only what has the same bytes is the same.
    pub(super) is_unique: bool,
}

impl Table {
    /// Asks the server about the table. `name` may have a schema before a dot.
    pub(super) async fn describe(client: &Client, name: &str) -> Result<Self, Error> {
        const COLUMNS: &str = "select a.attname::text, format_type(a.atttypid, a.atttypmod),
                a.atthasdef or a.attidentity <> '' or a.attgenerated <> '', format_type(a.atttypid, -1),
                exists (select from pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indisvalid
                    and i.indpred is null and i.indnkeyatts = 1 and i.indkey[0] = a.attnum)
                and not exists (select from pg_collation c where c.oid = a.attcollation and not c.collisdeterministic)
            from pg_attribute a where a.attrelid = to_regclass($1)::oid and a.attnum > 0 and not a.attisdropped
            order by a.attnum";
        let failed = |error| postgres_error(&format!("cannot read what \"{name}\" consists of"), error);
        let rows = client.query(COLUMNS, &[&quoted_path(name)]).await.map_err(failed)?;
        let columns: Vec<Column> = rows
            .iter()
            .map(|row| Column {
                name: row.get(0),
                type_name: row.get(1),
                fills_itself: row.get(2),
                base_type: row.get(3),
                is_unique: row.get(4),
            })
            .collect();
        if columns.is_empty() {
            return Err(unknown("table", name, &tables(client).await.map_err(failed)?));
        }
        Ok(Self { name: name.to_owned(), columns })
    }

    pub(super) fn sql_name(&self) -> String {
        quoted_path(&self.name)
    }

    /// The column of that name, to be used as `what`.
    pub(super) fn column(&self, name: &str, what: &str) -> Result<&Column, Error> {
        let there = || self.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| unknown(&format!("column of \"{}\"{what}", self.name), name, &there()))
    }
}

/// What can be named without a schema.
async fn tables(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    const TABLES: &str = "select relname::text from pg_class where relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_table_is_visible(oid) and relnamespace <> 'pg_catalog'::regnamespace order by 1";
    Ok(client.query(TABLES, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// `sales.orders` as `"sales"."orders"`.
fn quoted_path(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}
