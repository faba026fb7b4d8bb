//! What a user writes about NATS in a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, FieldPath, Secret};

/// After how long an unacknowledged message is given to another reader, unless the configuration says otherwise: 30 s.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// How often messages are acknowledged, unless the configuration says otherwise: every second.
pub const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Messages that all readers of a consumer together may hold unacknowledged, unless the configuration says otherwise.
pub const MAX_ACK_PENDING: u32 = 20_000;

/// Messages that a sink has published and the server has not acknowledged yet, at most.
pub const PUBLISHES_AHEAD: usize = 1000;

/// Where the servers are, and as whom to ask them.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct NatsConfig {
    /// `nats://user:password@host:port` or `nats://token@host`; `tls://` insists on encryption. Several servers of one
    /// cluster have commas between them.
    pub url: Secret,
    /// The user, in place of the one in `url`.
    #[serde(default)]
    pub user: Option<String>,
    /// The password of that user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A token, for servers that ask for one.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A credentials file (`.creds`), as `nsc` makes them: the user's JWT and the seed of the key that proves it.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// The seed of a user's key (`SU...`), for servers that know users by their keys.
    #[serde(default)]
    pub nkey: Option<Secret>,
    /// A file of certificates (PEM) that the server's must be signed by. Default: those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// A stream to read: each message a JSON object.
///
/// ```
/// use inflight_connectors::nats::NatsSourceConfig;
///
/// let config = NatsSourceConfig::new("nats://localhost:4222", "ORDERS");
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSourceConfig {
    /// Where the servers are.
    #[serde(flatten)]
    pub server: NatsConfig,
    /// The stream. Default: the one that listens to `subject`.
    #[serde(default)]
    pub stream: String,
    /// Only messages of this subject; `*` stands for one word of it, `>` for all that follow. Default: all.
    #[serde(default)]
    pub subject: Option<String>,
    /// The durable consumer to share with other readers, made if it is not there. Without one, checkpoints keep what has
    /// been read.
    #[serde(default)]
    pub consumer: Option<String>,
    /// Where to begin when nothing has been read yet. Default: `earliest`.
    #[serde(default)]
    pub start: Start,
    /// Where to end. Default: never.
    #[serde(default)]
    pub until: Option<Until>,
    /// What becomes of a message that is no JSON object. Default: `fail`.
    #[serde(default)]
    pub on_malformed: OnMalformed,
    /// A field that every record gets, with the stream, subject, sequence, timestamp and headers of its message. Default: none.
    #[serde(default)]
    pub metadata: Option<String>,
    /// With a `consumer`: how often messages are acknowledged, once what came of them is written. Default: 1s.
    #[serde(default = "commit_every", with = "crate::duration")]
    #[schemars(with = "String")]
    pub commit_every: Duration,
    /// For a `consumer` that is made: after how long a message that was not acknowledged goes to another reader. Readers
    /// that live ask for more time by themselves. Default: 30s.
    #[serde(default = "ack_wait", with = "crate::duration")]
    #[schemars(with = "String")]
    pub ack_wait: Duration,
    /// For a `consumer` that is made: messages that all its readers together may hold. Default: 20000.
    #[serde(default = "max_ack_pending")]
    pub max_ack_pending: u32,
}

/// What becomes of a message that is no record.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMalformed {
    /// The run ends.
    #[default]
    Fail,
    /// It goes to the dead letters.
    DeadLetter,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the first message that is there.
    #[default]
    Earliest,
    /// With the first that comes from now on.
    Latest,
}

/// Where to end.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Behind what is there at the start.
    End,
}

/// A subject to publish to, of a stream: each record a JSON object.
///
/// ```
/// use inflight_connectors::nats::NatsSinkConfig;
///
/// let config = NatsSinkConfig::new("nats://localhost:4222", "orders.enriched");
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSinkConfig {
    /// Where the servers are.
    #[serde(flatten)]
    pub server: NatsConfig,
    /// The subject, which a stream must listen to.
    pub subject: String,
    /// What the ids of messages begin with, by which the server drops those that come again. Two outputs of one stream
    /// need different ones. Default: the name of the pipeline file and the subject.
    #[serde(default)]
    pub name: Option<String>,
    /// The field, an object of texts, that becomes the headers. Default: no headers.
    #[serde(default)]
    pub headers: Option<FieldPath>,
}

const fn commit_every() -> Duration {
    COMMIT_EVERY
}

const fn ack_wait() -> Duration {
    ACK_WAIT
}

const fn max_ack_pending() -> u32 {
    MAX_ACK_PENDING
}

impl NatsConfig {
    /// The servers at `url`.
    pub fn new(url: impl Into<Secret>) -> Self {
        Self { url: url.into(), user: None, password: None, token: None, credentials: None, nkey: None, ca: None }
    }

    /// The paths in it.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.credentials.iter_mut().chain(&mut self.ca)
    }
}

impl NatsSourceConfig {
    /// The whole stream, for one reader.
    pub fn new(url: impl Into<Secret>, stream: impl Into<String>) -> Self {
        Self {
            server: NatsConfig::new(url),
            stream: stream.into(),
            subject: None,
            consumer: None,
            start: Start::default(),
            until: None,
            on_malformed: OnMalformed::default(),
            metadata: None,
            commit_every: COMMIT_EVERY,
            ack_wait: ACK_WAIT,
            max_ack_pending: MAX_ACK_PENDING,
        }
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        match (self.stream.as_str(), &self.subject) {
            ("", None) => return refuse("name a `stream`, or a `subject` that one listens to"),
            ("", Some(_)) => {}
            (stream, _) => check_name("stream", stream)?,
        }
        self.consumer.as_ref().map_or(Ok(()), |consumer| check_name("consumer", consumer))?;
        self.subject.as_ref().map_or(Ok(()), |subject| check_subject(subject, true))?;
        if self.ack_wait < Duration::from_millis(100) {
            return refuse("`ack_wait` is too short for anybody to acknowledge; at least 100ms");
        }
        if self.max_ack_pending == 0 {
            return refuse("`max_ack_pending` is 0, so nothing could be read; at least 1");
        }
        Ok(())
    }

    /// The stream, and what is read of it.
    pub fn name(&self) -> String {
        match &self.subject {
            Some(subject) if self.stream.is_empty() => subject.clone(),
            Some(subject) => format!("{} ({subject})", self.stream),
            None => self.stream.clone(),
        }
    }
}

impl NatsSinkConfig {
    /// One subject, with what the ids of its messages begin with left to the default.
    pub fn new(url: impl Into<Secret>, subject: impl Into<String>) -> Self {
        Self { server: NatsConfig::new(url), subject: subject.into(), name: None, headers: None }
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        check_subject(&self.subject, false)?;
        match &self.name {
            Some(name) if name.is_empty() || name.chars().any(char::is_control) => {
                refuse("`name` has to be a text without line ends")
            }
            _ => Ok(()),
        }
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c)) {
        return refuse(&format!("\"{name}\" cannot be the name of a {what}: it has no dots, spaces or wildcards"));
    }
    Ok(())
}

fn check_subject(subject: &str, may_be_wild: bool) -> Result<(), Error> {
    let words = || subject.split('.');
    let is_plain = |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control());
    if !words().all(is_plain) {
        return refuse(&format!("\"{subject}\" is no subject: it is words with dots between them, as in orders.new"));
    }
    if !may_be_wild && words().any(|word| word == "*" || word == ">") {
        return refuse(&format!("\"{subject}\" has a wildcard, and a message has one subject; name that"));
    }
    Ok(())
}

fn refuse(message: &str) -> Result<(), Error> {
    Err(Error::new(ErrorKind::Config, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let source = || NatsSourceConfig::new("nats://localhost", "ORDERS");
        let refused = |config: NatsSourceConfig| config.check().unwrap_err().to_string();
        assert!(
            refused(NatsSourceConfig { stream: "a.b".into(), ..source() }).contains("cannot be the name of a stream")
        );
        assert!(
            refused(NatsSourceConfig { stream: String::new(), ..source() }).contains("name a `stream`, or a `subject`")
        );
        assert!(refused(NatsSourceConfig { consumer: Some(String::new()), ..source() }).contains("of a consumer"));
        assert!(refused(NatsSourceConfig { subject: Some("a..b".into()), ..source() }).contains("is no subject"));
        assert!(refused(NatsSourceConfig { ack_wait: Duration::ZERO, ..source() }).contains("too short"));
        assert!(refused(NatsSourceConfig { max_ack_pending: 0, ..source() }).contains("nothing could be read"));
        assert!(NatsSourceConfig { subject: Some("orders.*.>".into()), ..source() }.check().is_ok());
        let sink = NatsSinkConfig::new("nats://localhost", "orders.>");
        assert!(sink.check().unwrap_err().to_string().contains("has a wildcard"));
    }

    #[test]
    fn nothing_shows_the_url() {
        let config = NatsSourceConfig::new("nats://me:hunter2@localhost", "ORDERS");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_file_says_as_little_as_it_may() {
        let config: NatsSourceConfig =
            serde_json::from_str(r#"{"url": "nats://localhost", "stream": "ORDERS"}"#).unwrap();
        assert_eq!(config, NatsSourceConfig::new("nats://localhost", "ORDERS"));
        let full = r#"{"url": "nats://localhost", "stream": "ORDERS", "consumer": "enrich", "start": "latest",
            "until": "end", "ack_wait": "5s"}"#;
        let config: NatsSourceConfig = serde_json::from_str(full).unwrap();
        assert_eq!(
            (config.start, config.until, config.ack_wait),
            (Start::Latest, Some(Until::End), Duration::from_secs(5))
        );
        assert!(serde_json::from_str::<NatsSourceConfig>(r#"{"url": "x", "stream": "y", "topic": "z"}"#).is_err());
    }
}
