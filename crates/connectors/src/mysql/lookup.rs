//! Looking up rows by key.

use tokio::sync::Semaphore;

use self::lane::{Live, Way};
use super::MysqlLookupConfig;
use super::connect::Server;
use crate::lanes::Lanes;
use crate::{Answer, Error, ErrorKind, Key};

mod keys;
mod lane;
mod moment;
mod question;
mod quotes;
mod value;

/// Looks up rows by key, many keys in one statement, and one statement at a time on each of several connections.
///
/// An answer is a row as an object, with [`Rows::All`](super::Rows::All) a list of rows. An error of one key says that it
/// cannot be one of that column, or has too many rows.
///
/// A key is what the database takes for equal to the column: under a collation that does not look at upper and lower case, `"ada"` finds
/// `Ada`. Who answers which key is told by the database itself. A key's value may be a text for a column of numbers and the other way
/// round, `"7"` finds 7; for a column of bytes it is the text's, or those that hexadecimal digits after `\x` say. Times are in UTC
/// unless they say otherwise. In a query, a number is a number and a text a text, whatever they are compared with.
///
/// The values of an answer, by the type of their column: decimal is a number where that loses nothing (64 bits, or 15
/// digits), else a text with all digits; timestamp is RFC 3339 in UTC (`2026-01-31T12:00:00Z`), datetime the same without the
/// zone, date `2026-01-31`, time `12:00:00`; what has bytes is hexadecimal after `\x`; `tinyint(1)`, which is MySQL's bool, and `bit(1)`
/// are true or false (other numbers in them are numbers), longer bits a number; json is what it says, though with a query MariaDB
/// shows it as a text.
///
/// A connection that is lost is made again by whoever needs it next. A statement nobody waits for any more is ended on the server.
///
/// ```no_run
/// use inflight_connectors::mysql::{MysqlLookup, MysqlLookupConfig};
/// use serde_json::json;
///
/// # async fn example() -> Result<(), inflight_connectors::Error> {
/// let config = MysqlLookupConfig::table("mysql://reader@localhost/shop", "users");
/// let users = MysqlLookup::connect(&config, &["id".to_owned()]).await?;
///
/// let answers = users.lookup(&[vec![json!(7)], vec![json!(-1)]]).await?;
/// assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap()["name"], "Ada");
/// assert_eq!(*answers[1].as_ref().unwrap(), None); // asked for, and not there
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MysqlLookup {
    lanes: Lanes<Live>,
    /// As many as there are connections: who has one finds a connection that does nothing else.
    turns: Semaphore,
    columns: Vec<String>,
}

impl MysqlLookup {
    /// Makes the first connection, and checks the table and its columns or the query, and whether they may be read. The other
    /// connections are made when they are needed.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense or does not fit the database, or the server cannot be reached
    /// ([`ErrorKind::Unavailable`], retryable) or refuses.
    pub async fn connect(config: &MysqlLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        config.check()?;
        if key_columns.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the lookup has no key; name at least one key column"));
        }
        let server = Server::new(config)?;
        let name = server.name().to_owned();
        let way = Way { server, config: config.clone(), key_columns: key_columns.to_vec() };
        let lanes = Lanes::<Live>::new(way, config.connections, &name);
        let columns = lanes.live().await?.question.columns();
        Ok(Self { lanes, turns: Semaphore::new(config.connections), columns })
    }

    /// Whether look-ups will work, said in one sentence if not: connects as [`connect`](Self::connect) does, and
    /// closes the connection.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn check_connect(config: &MysqlLookupConfig, key_columns: &[String]) -> Result<(), Error> {
        Self::connect(config, key_columns).await.map(drop)
    }

    /// The names of the fields of an answer.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Answers each key, in the order of `keys`, on a connection that does nothing else; waits for one if all are in use. A key with a
    /// null in it is missing without being asked for.
    ///
    /// A table is asked for 100 keys at a time, a query for each by itself. A connection lost on the way is made again once.
    /// Look-ups are read-only transactions.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked, which says nothing about the keys: it cannot be reached, or took too long
    /// (both retryable), or the table has changed. When a key has the wrong number of values.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; then the server is asked to end the statement.
    pub async fn lookup(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let _turn = self.turns.acquire().await;
        self.lanes.ask(keys).await
    }
}
