//! Looking up rows by key.

use std::sync::Arc;

use self::lane::{Live, Way};
use super::PostgresLookupConfig;
use super::connect::Server;
use crate::lanes::Lanes;
use crate::{Answer, Error, ErrorKind, Key};

mod keys;
mod lane;
mod question;
mod quotes;
mod value;

/// Looks up rows by key, many keys in one query and many queries under way on each connection.
///
/// An answer is a row as an object, with [`Rows::All`](super::Rows::All) a list of rows. An error of one key says that it
/// cannot be one of that column, or has too many rows.
///
/// The values of an answer, by the type of their column: numeric is a number where that loses nothing (64 bits, or 15
/// digits), else a text with all digits; timestamptz is RFC 3339 in UTC (`2026-01-31T12:00:00Z`), timestamp the same without the
/// zone, date `2026-01-31`; bytea is hexadecimal after `\x`, as PostgreSQL writes it; json and arrays are what they say;
/// NaN and infinities are texts; anything else is what PostgreSQL's `to_json` makes of it.
///
/// A key's value may be a text for a column of numbers and the other way round: `"7"` finds 7.
///
/// A connection that is lost is made again by whoever needs it next. A query nobody waits for any more is cancelled if
/// it is the next its connection works on; else the server's `statement_timeout` ends it.
///
/// ```no_run
/// use inflight_connectors::postgres::{PostgresLookup, PostgresLookupConfig};
/// use serde_json::json;
///
/// # async fn example() -> Result<(), inflight_connectors::Error> {
/// let config = PostgresLookupConfig::table("postgres://reader@localhost/shop", "users");
/// let users = PostgresLookup::connect(&config, &["id".to_owned()]).await?;
///
/// let answers = users.lookup(&[vec![json!(7)], vec![json!(-1)]]).await?;
/// assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap()["name"], "Ada");
/// assert_eq!(*answers[1].as_ref().unwrap(), None); // asked for, and not there
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PostgresLookup {
    lanes: Lanes<Live>,
    columns: Vec<String>,
}

impl PostgresLookup {
    /// Makes the first connection, checks the table and its columns or the query, and asks it for nothing, which shows
    /// whether that is permitted. The other connections are made when they are needed.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or does not fit the database, or the server cannot be reached
    /// ([`ErrorKind::Unavailable`], retryable) or refuses.
    pub async fn connect(config: &PostgresLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        config.check()?;
        if key_columns.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the lookup has no key; name at least one key column"));
        }
        let server = Arc::new(Server::new(&config.server, &session(config))?);
        let name = server.name().to_owned();
        let way = Way { server, config: config.clone(), key_columns: key_columns.to_vec() };
        let lanes = Lanes::<Live>::new(way, config.connections, &name);
        let columns = lanes.live().await?.question.columns.clone();
        Ok(Self { lanes, columns })
    }

    /// Whether look-ups will work, said in one sentence if not: connects as [`connect`](Self::connect) does, and
    /// closes the connection.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn check_connect(config: &PostgresLookupConfig, key_columns: &[String]) -> Result<(), Error> {
        Self::connect(config, key_columns).await.map(drop)
    }

    /// The names of the fields of an answer.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Answers each key, in the order of `keys`, with one query on the connection that has the fewest under way, of those
    /// that could be made. A key with a null in it is missing without being asked for.
    ///
    /// All keys of a call see the same state of the database, with one exception: where the server cannot convert a key
    /// to the type of its column, the keys are asked for in halves until that one is alone. A connection lost on the way
    /// is made again once. Look-ups are read-only transactions.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked, which says nothing about the keys: it cannot be reached, or took too long
    /// (both retryable), or the table has changed. When a key has the wrong number of values.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; then the server is asked to cancel the query.
    pub async fn lookup(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.lanes.ask(keys).await
    }
}

/// Plans are made once and kept; nothing is ever written.
fn session(config: &PostgresLookupConfig) -> String {
    let timeout = config.statement_timeout.map(|time| format!("set statement_timeout = {};", time.as_millis()));
    format!(
        "set default_transaction_read_only = on; set plan_cache_mode = force_generic_plan; {}",
        timeout.unwrap_or_default()
    )
}
