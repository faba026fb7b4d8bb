//! PostgreSQL.
//!
//! [`PostgresSink`] inserts or upserts records, in one transaction for each epoch. [`PostgresLookup`] answers many
//! questions at once, over a few connections that each have several of them under way.

mod config;
mod connect;
mod error;
mod lookup;
mod sink;
mod table;

pub use crate::select::{MAX_CONNECTIONS, ROWS_MAX, Rows};
pub use crate::sslmode::SslMode;
pub use config::{CONNECTIONS, PostgresConfig, PostgresLookupConfig, PostgresSinkConfig};
pub use lookup::PostgresLookup;
pub use sink::{BATCH_BYTES, BATCH_RECORDS, COMMIT_RECORDS, KEPT_BYTES, PostgresSink};

/// A name as SQL has it, whatever characters are in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as SQL has them, one after the other.
fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

fn names(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}
