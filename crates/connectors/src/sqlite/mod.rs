//! SQLite, the embedded database: no server, one file.
//!
//! [`SqliteLookup`] answers by key from a table or from a query. [`SqliteSink`] writes to a table, each record once. [`load_if_missing`] and [`load()`] build a database from
//! CSV files, so that an example, a test or a small pipeline needs nothing but its files.

mod config;
mod error;
mod load;
mod lookup;
mod sink;
mod table;

pub use config::{
    BUSY_TIMEOUT, MAX_BUSY_TIMEOUT, SqliteLoadConfig, SqliteLookupConfig, SqliteSinkConfig, SqliteTableConfig,
};
pub use load::{LoadReport, TableReport, load, load_if_missing};
pub use lookup::SqliteLookup;
pub use sink::{ROWS_PER_TRANSACTION, SqliteSink};

/// A name as SQL has it, whatever characters are in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as SQL has them, one after the other.
fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}
