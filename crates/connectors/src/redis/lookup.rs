//! Looking up strings and hashes by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::RedisLookupConfig;
use super::connect::{Link, Server};
use super::error::redis_error;
use super::question::Question;
use crate::renewed::{Renewed, Usable, choose};
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
    server: Arc<Server>,
    question: Question,
    key_columns: Vec<String>,
    connections: Vec<Renewed<Live>>,
}

/// A connection that works, as far as is known.
struct Live {
    link: Link,
    /// Calls given up since something was heard.
    silent_calls: AtomicU32,
    is_lost: AtomicBool,
}

/// Why nothing came of it.
enum Trouble {
    /// The connection is to blame; another may do.
    Lost(Error),
    Refused(Error),
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
        let server = Arc::new(Server::new(config)?);
        // To a cluster the driver has one connection for each node.
        let count = if config.cluster { 1 } else { config.connections };
        let connections = std::iter::repeat_with(Renewed::default).take(count).collect();
        let lookup = Self { server, question, key_columns: key_columns.to_vec(), connections };
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
            answers.push(match self.question.name(key) {
                Ok(None) => Ok(None),
                Ok(Some(name)) => {
                    indices.push(index);
                    names.push(name);
                    Ok(None)
                }
                Err(error) => Err(error),
            });
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.ask(&names).await.map_err(|error| error.in_file(self.server.name()))?;
        for (index, found) in indices.into_iter().zip(found) {
            answers[index] = found.map_err(|error| error.in_file(self.server.name()));
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

    async fn ask(&self, names: &[&str]) -> Result<Vec<Answer>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let connect = || {
            let server = Arc::clone(&self.server);
            async move { Live::connect(&server).await }
        };
        let connection = || choose(&self.connections, |connection| connection, |_| connect());
        let chosen = connection()?;
        let answers = self.ask_on(chosen, connect, names).await;
        match answers {
            // There is no room for this connection; another may be there.
            Err(_) if chosen.is_down() && !connection()?.is_down() => self.ask_on(connection()?, connect, names).await,
            answers => answers,
        }
    }

    async fn ask_on<C>(
        &self,
        connection: &Renewed<Live>,
        connect: impl Fn() -> C,
        names: &[&str],
    ) -> Result<Vec<Answer>, Error>
    where
        C: Future<Output = Result<Live, Error>> + Send + 'static,
    {
        let _under_way = connection.begin();
        let live = || connection.live(&connect);
        let lost = match live().await?.ask(&self.question, names).await {
            Ok(answers) => return Ok(answers),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Lost(error)) => error,
        };
        // The connection may have been dead for long, and this the first to notice: once more, and no more.
        match live().await.map_err(|_| lost)?.ask(&self.question, names).await {
            Ok(answers) => Ok(answers),
            Err(Trouble::Refused(error) | Trouble::Lost(error)) => Err(error),
        }
    }
}

impl Live {
    async fn connect(server: &Server) -> Result<Self, Error> {
        let (silent_calls, is_lost) = Default::default();
        Ok(Self { link: server.connect().await?, silent_calls, is_lost })
    }

    async fn ask(&self, question: &Question, names: &[&str]) -> Result<Vec<Answer>, Trouble> {
        let call = Call { live: self, is_answered: false };
        let result = question.ask(&self.link, names).await;
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

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("silent_calls", &self.silent_calls).finish_non_exhaustive()
    }
}
