//! Looking up strings and hashes by name.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::RedisLookupConfig;
use super::connect::{Link, Server};
use super::error::redis_error;
use super::question::Question;
use crate::lanes::{Lane, Lanes, Trouble};
use crate::renewed::Usable;
use crate::suggestion::list;
use crate::{Answer, Error, ErrorKind, Key};

/// Calls given up one after the other, nothing heard in between, after which a connection is thought to be dead.
const SILENT_CALLS_MAX: u32 = 3;

/// Looks up strings or hashes by names that are made of the key, many at once: strings with one `MGET`, hashes with as
/// many `HMGET` or `HGETALL` as there are keys, sent together. In a cluster each node gets its share.
///
/// An answer is the value of a string, or the fields of a hash as an object. What does not exist is missing; so is a hash that has none
/// of the `fields`. What is of another type, or not JSON though it should be, is an error of that key.
///
/// A connection that is lost is made again by whoever needs it next; so is one on which three calls in a row
/// were given up without an answer.
///
/// ```no_run
/// use inflight_connectors::redis::{RedisLookup, RedisLookupConfig};
/// use serde_json::json;
///
/// # async fn example() -> Result<(), inflight_connectors::Error> {
/// let config = RedisLookupConfig::get("redis://localhost", "user:{id}");
/// let users = RedisLookup::connect(&config, &["id".to_owned()]).await?;
///
/// let answers = users.lookup(&[vec![json!(7)], vec![json!(-1)]]).await?;
/// assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap()["name"], "Ada");
/// assert_eq!(*answers[1].as_ref().unwrap(), None); // asked for, and not there
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisLookup {
    lanes: Lanes<Live>,
    key_columns: Vec<String>,
}

struct Way {
    server: Server,
    question: Question,
}

/// A connection that works, as far as is known.
struct Live {
    link: Link,
    /// Calls given up since something was heard.
    silent_calls: AtomicU32,
    is_lost: AtomicBool,
}

impl RedisLookup {
    /// Makes the first connection, and asks for the name that zeros in the place of the key would give, which shows
    /// whether that is permitted. The other connections are made when they are needed.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, or the server cannot be reached ([`ErrorKind::Unavailable`],
    /// retryable) or refuses.
    pub async fn connect(config: &RedisLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        config.check()?;
        if key_columns.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the lookup has no key; name at least one key column"));
        }
        let question = Question::new(config, key_columns)?;
        let server = Server::new(config)?;
        // To a cluster the driver has one connection for each node.
        let count = if config.cluster { 1 } else { config.connections };
        let name = server.name().to_owned();
        let lanes = Lanes::new(Way { server, question }, count, &name);
        let lookup = Self { lanes, key_columns: key_columns.to_vec() };
        match lookup.lookup(&[vec![0.into(); key_columns.len()]]).await?.pop() {
            Some(Err(error)) if error.kind() != ErrorKind::Malformed => Err(error),
            _ => Ok(lookup),
        }
    }

    /// Whether look-ups will work, said in one sentence if not: connects as [`connect`](Self::connect) does, and
    /// closes the connection.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn check_connect(config: &RedisLookupConfig, key_columns: &[String]) -> Result<(), Error> {
        Self::connect(config, key_columns).await.map(drop)
    }

    /// Answers each key, in the order of `keys`, on the connection that has the fewest calls under way. A key with a null
    /// in it is missing without being asked for.
    ///
    /// A connection lost on the way is made again once.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked, which says nothing about the keys: it cannot be reached or is busy (both
    /// retryable), or does not permit it. When a key has the wrong number of values.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; then the answer is thrown away when it comes.
    pub async fn lookup(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let mut answers: Vec<Answer> = Vec::with_capacity(keys.len());
        let (mut indices, mut names) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for (index, key) in keys.iter().enumerate() {
            self.check(key)?;
            answers.push(match self.lanes.way().question.name(key) {
                Ok(None) => Ok(None),
                Ok(Some(name)) => {
                    indices.push(index);
                    names.push(name);
                    Ok(None)
                }
                Err(error) => Err(error),
            });
        }
        if !names.is_empty() {
            let found = self.lanes.ask(&names).await?;
            indices.into_iter().zip(found).for_each(|(index, found)| answers[index] = found);
        }
        Ok(answers)
    }

    fn check(&self, key: &Key) -> Result<(), Error> {
        if key.len() == self.key_columns.len() {
            return Ok(());
        }
        let columns = list(self.key_columns.iter().map(String::as_str));
        Err(Error::new(ErrorKind::Config, format!("a key has {} values for the columns {columns}", key.len())))
    }
}

impl Lane for Live {
    type Way = Way;
    type Asked = [String];

    async fn connect(way: &Way) -> Result<Self, Error> {
        let (silent_calls, is_lost) = Default::default();
        Ok(Self { link: way.server.connect().await?, silent_calls, is_lost })
    }

    async fn ask(&self, way: &Way, names: &[String]) -> Result<Vec<Answer>, Trouble> {
        let call = Call { live: self, is_answered: false };
        let result = way.question.ask(&self.link, names).await;
        call.answered();
        match result {
            Ok(answers) => answers.map_err(Trouble::Refused),
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                self.is_lost.store(true, Ordering::Release);
                Err(Trouble::Lost(redis_error("cannot look up", error)))
            }
            Err(error) => Err(Trouble::Refused(redis_error("cannot look up", error))),
        }
    }
}

impl Usable for Live {
    fn is_usable(&self) -> bool {
        !self.is_lost.load(Ordering::Acquire) && self.silent_calls.load(Ordering::Relaxed) < SILENT_CALLS_MAX
    }
}

/// A call on its way. If it is dropped before it is answered, somebody has waited in vain.
struct Call<'a> {
    live: &'a Live,
    is_answered: bool,
}

impl Call<'_> {
    fn answered(mut self) {
        self.is_answered = true;
        self.live.silent_calls.store(0, Ordering::Relaxed);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.live.silent_calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}
