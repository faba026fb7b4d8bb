//! Looking up rows by key.

use std::sync::Arc;

use self::lane::Lane;
use super::PostgresLookupConfig;
use super::connect::Server;
use crate::renewed::choose;
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
    server: Arc<Server>,
    lanes: Vec<Lane>,
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
        let lane = || Lane::new(Arc::clone(&server), config.clone(), key_columns.to_vec());
        let lanes: Vec<Lane> = std::iter::repeat_with(lane).take(config.connections).collect();
        let columns = match lanes.first() {
            Some(lane) => lane.live().await.map_err(|error| error.in_file(server.name()))?.question.columns.clone(),
            None => Vec::new(),
        };
        Ok(Self { server, lanes, columns })
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
        let lane = || choose(&self.lanes, |lane| &lane.connection, Lane::connect);
        let chosen = lane()?;
        let answers = match chosen.answer(keys).await {
            // There is no room for this connection; another may be there.
            Err(_) if chosen.connection.is_down() && !lane()?.connection.is_down() => lane()?.answer(keys).await,
            answers => answers,
        };
        let mut answers = answers.map_err(|error| error.in_file(self.server.name()))?;
        for answer in &mut answers {
            if let Err(error) = answer {
                *error = error.clone().in_file(self.server.name());
            }
        }
        Ok(answers)
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
