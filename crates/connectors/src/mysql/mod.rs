//! MySQL and MariaDB.
//!
//! [`MysqlLookup`] answers many questions with one statement, over several connections: the protocol has room for one statement at a
//! time on each.

mod config;
mod connect;
mod error;
mod lookup;
mod table;

pub use crate::select::{MAX_CONNECTIONS, ROWS_MAX, Rows};
pub use crate::sslmode::SslMode;
pub use config::{CONNECTIONS, MysqlConfig, MysqlLookupConfig};
pub use lookup::MysqlLookup;

/// A name as SQL has it, whatever characters are in it.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
