//! Looking up by requests.

use futures_util::future::join_all;

use super::answer::Reading;
use super::body::texts;
use super::connect::Service;
use super::request::Question;
use super::{BATCH_KEYS, HttpLookupConfig, HttpMethod};
use crate::suggestion::list;
use crate::{Answer, Error, ErrorKind, Key};

/// Looks up with a request for each key, or with one for many where the service can do that.
///
/// An answer is JSON, or the part of it that `answer` names. Status 404 and whatever else `missing` lists, an empty answer and null are missing.
/// Statuses 429 and 503 mean that it is busy, with the pause that `Retry-After` asks for; they, other statuses from 500 and
/// lost connections are worth another attempt; all other statuses are errors of that key, or of the configuration. Redirections are
/// not followed.
///
/// ```no_run
/// use inflight_connectors::http::{HttpLookup, HttpLookupConfig};
/// use serde_json::json;
///
/// # async fn example() -> Result<(), inflight_connectors::Error> {
/// let config = HttpLookupConfig::new("https://api.example/v1/users/{id}");
/// let users = HttpLookup::connect(&config, &["id".to_owned()])?;
///
/// let answers = users.lookup(&[vec![json!(7)], vec![json!(-1)]]).await?;
/// assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap()["name"], "Ada");
/// assert_eq!(*answers[1].as_ref().unwrap(), None); // asked for, and not there
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HttpLookup {
    service: Service,
    question: Question,
    reading: Reading,
    key_columns: Vec<String>,
    /// Most keys in a request, where there can be many.
    batch_keys: Option<usize>,
}

impl HttpLookup {
    /// Makes the client. Nothing is sent before the first look-up.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, or a file of certificates cannot be read.
    pub fn connect(config: &HttpLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        config.check()?;
        if key_columns.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the lookup has no key; name at least one key column"));
        }
        let (question, reading) = (Question::new(config, key_columns)?, Reading::new(config, key_columns)?);
        let batch_keys = config.batch.as_ref().map(|batch| batch.keys.unwrap_or(BATCH_KEYS));
        Ok(Self { service: Service::new(config)?, question, reading, key_columns: key_columns.to_vec(), batch_keys })
    }

    /// Whether look-ups will work, said in one sentence if not: asks for a key of zeros with GET, whatever the method
    /// is, since that changes nothing. An error that may be due to that key, or to GET, is none.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); when the service cannot be reached, is not well, or refuses whoever asks.
    pub async fn check_connect(config: &HttpLookupConfig, key_columns: &[String]) -> Result<(), Error> {
        let lookup = Self::connect(&HttpLookupConfig { method: Some(HttpMethod::Get), ..config.clone() }, key_columns)?;
        let zeros = vec![0.into(); key_columns.len()];
        let is_as_meant = config.method() == HttpMethod::Get && config.body.is_none();
        let error = match lookup.lookup(&[zeros]).await.and_then(|mut answers| answers.pop().transpose()) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Malformed => Ok(()),
            ErrorKind::Config | ErrorKind::Query if !is_as_meant => Ok(()),
            _ => Err(error),
        }
    }

    /// Answers each key, in the order of `keys`, with as many requests at the same time as there may be. A key with a
    /// null in it is missing without being asked for.
    ///
    /// # Errors
    ///
    /// When a key has the wrong number of values. With an endpoint for many keys: when a request failed, which says
    /// nothing about its keys, and it was the only one; else it is an error of each of its keys.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; then the requests are given up and their connections closed.
    pub async fn lookup(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        if let Some(key) = keys.iter().find(|key| key.len() != self.key_columns.len()) {
            let columns = list(self.key_columns.iter().map(String::as_str));
            let message = format!("a key has {} values for the columns {columns}", key.len());
            return Err(Error::new(ErrorKind::Config, message));
        }
        let answers = match self.batch_keys {
            None => join_all(keys.iter().map(|key| self.one(key))).await,
            Some(most) => self.many(keys, most).await?,
        };
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| error.in_file(self.service.name()))).collect())
    }

    async fn one(&self, key: &Key) -> Answer {
        match self.question.of_one(key)? {
            None => Ok(None),
            Some(request) => self.reading.one(self.service.ask(request).await?),
        }
    }

    async fn many(&self, keys: &[Key], most: usize) -> Result<Vec<Answer>, Error> {
        let mut answers: Vec<Answer> = vec![Ok(None); keys.len()];
        let mut asked = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            match texts(key) {
                Ok(Some(texts)) => asked.push((index, texts)),
                Ok(None) => {}
                Err(error) => answers[index] = Err(error),
            }
        }
        let chunks: Vec<_> = asked.chunks(most).collect();
        let ask = async |chunk: &[(usize, Vec<String>)]| {
            let keys: Vec<&Key> = chunk.iter().map(|(index, _)| &keys[*index]).collect();
            self.reading.many(self.service.ask(self.question.of_many(&keys)?).await?)
        };
        let found = join_all(chunks.iter().map(|chunk| ask(chunk))).await;
        for (chunk, found) in chunks.iter().zip(found) {
            match found {
                Ok(found) => chunk.iter().for_each(|(index, texts)| answers[*index] = Ok(found.get(texts).cloned())),
                Err(error) if chunks.len() == 1 => return Err(error.in_file(self.service.name())),
                Err(error) => chunk.iter().for_each(|(index, _)| answers[*index] = Err(error.clone())),
            }
        }
        Ok(answers)
    }
}
