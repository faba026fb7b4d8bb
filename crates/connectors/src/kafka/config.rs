//! What a user writes about Kafka in a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, FieldPath, Secret};

/// From one commit of a group's offsets to the next unless the configuration says otherwise.
pub const COMMIT_EVERY: Duration = Duration::from_secs(1);

const COMMIT_EVERY_MAX: Duration = Duration::from_secs(3600);

/// Settings of the client library that would break what is promised here, and what to write in their place.
const OURS: [(&str, &str); 12] = [
    ("bootstrap.servers", "`brokers`"),
    ("metadata.broker.list", "`brokers`"),
    ("group.id", "`group`"),
    ("group.instance.id", "nothing: replicas of one file would take each other's place"),
    ("auto.offset.reset", "`start`"),
    ("enable.auto.commit", "nothing: offsets are committed when what was read is written"),
    ("enable.auto.offset.store", "nothing: offsets are committed when what was read is written"),
    ("enable.partition.eof", "`until`"),
    ("isolation.level", "nothing: what was aborted is never read"),
    ("enable.idempotence", "nothing: it is always on"),
    ("acks", "nothing: all replicas always acknowledge"),
    ("transactional.id", "`exactly_once`"),
];

/// The same, of what `tls`, `user`, `password` and `mechanism` say, if one of them is there.
const SECURITY: [(&str, &str); 8] = [
    ("security.protocol", "`tls`, `user`, or both"),
    ("sasl.mechanism", "`mechanism`"),
    ("sasl.mechanisms", "`mechanism`"),
    ("sasl.username", "`user`"),
    ("sasl.password", "`password`"),
    ("ssl.ca.location", "`tls: { ca: FILE }`"),
    ("ssl.certificate.location", "`tls: { cert: FILE, key: FILE }`"),
    ("ssl.key.location", "`tls: { cert: FILE, key: FILE }`"),
];

/// Which brokers, and how to talk to them.
///
/// ```
/// use inflight_connectors::kafka::{KafkaConfig, KafkaSourceConfig, KafkaTls, Mechanism};
///
/// let server = KafkaConfig {
///     tls: Some(KafkaTls::default()),
///     user: Some("reader".to_owned()),
///     password: Some("secret".into()),
///     mechanism: Some(Mechanism::ScramSha512),
///     ..KafkaConfig::new("kafka.example:9094")
/// };
/// KafkaSourceConfig { server, ..KafkaSourceConfig::new("", "orders") }.check().unwrap();
/// ```
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct KafkaConfig {
    /// Some of the brokers, with commas between them: `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// Encryption: `tls: {}` trusts whom the system trusts. Default: none.
    #[serde(default)]
    pub tls: Option<KafkaTls>,
    /// The user, for brokers that ask for one (SASL); with `password` and `mechanism`. Default: nobody.
    #[serde(default)]
    pub user: Option<String>,
    /// The password of that user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How the password is shown to the brokers.
    #[serde(default)]
    pub mechanism: Option<Mechanism>,
    /// Settings of librdkafka, the client library, by its own names: `{ fetch.max.bytes: "1000000" }`; their values are
    /// never shown. Default: none.
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
}

/// Encryption of the connections to brokers, who have to prove that they are who they are called.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTls {
    /// A file of certificates (PEM) that the brokers' must be signed by. Default: those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A file with the certificate (PEM) that this client shows, for brokers that ask for one. Default: none.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// The file with the key (PEM) of that certificate.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// How a password is shown to brokers (SASL).
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Mechanism {
    /// As it is, so only with `tls`.
    #[serde(rename = "plain")]
    Plain,
    /// So that nobody who listens learns it.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same, with a longer hash.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Mechanism {
    /// As brokers call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Topics to read. Each message has to be a JSON object.
///
/// ```
/// use inflight_connectors::kafka::KafkaSourceConfig;
///
/// KafkaSourceConfig::new("localhost:9092", "orders").check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSourceConfig {
    /// Where the brokers are.
    #[serde(flatten)]
    pub server: KafkaConfig,
    /// The topic.
    #[serde(default)]
    pub topic: String,
    /// Several topics, in place of `topic`.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The consumer group. Without a `checkpoint`, it shares the topics among all processes that run the pipeline, and
    /// its committed offsets say how far they have come. With one, offsets are committed to it for tools that show lag.
    #[serde(default)]
    pub group: Option<String>,
    /// Where to begin in partitions that nobody has read before. Default: `earliest`.
    #[serde(default)]
    pub start: Start,
    /// Where to stop. Default: never.
    #[serde(default)]
    pub until: Option<Until>,
    /// What to do with a message that is no JSON object. Default: `fail`.
    #[serde(default)]
    pub on_malformed: OnMalformed,
    /// A field that every record gets, with the topic, partition, offset, timestamp, key and headers of its message.
    /// Default: none.
    #[serde(default)]
    pub metadata: Option<String>,
    /// Of a group: how often what was read and written is committed. Default: `1s`.
    #[serde(default = "commit_every", with = "crate::duration")]
    #[schemars(with = "String")]
    pub commit_every: Duration,
}

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest message that is still there.
    #[default]
    Earliest,
    /// With the first message that comes.
    Latest,
}

/// Where to stop reading.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// At the end of each partition, as it was when the run began.
    End,
}

/// What to do with a message that is no record.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMalformed {
    /// End the run.
    #[default]
    Fail,
    /// Write it to the dead letters.
    DeadLetter,
}

/// A topic to write to, each record as a JSON object.
///
/// ```
/// use inflight_connectors::kafka::KafkaSinkConfig;
///
/// KafkaSinkConfig::new("localhost:9092", "orders-enriched").check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinkConfig {
    /// Where the brokers are.
    #[serde(flatten)]
    pub server: KafkaConfig,
    /// The topic. It has to be there.
    pub topic: String,
    /// The field that becomes the key: messages of one key go to one partition. Default: no key.
    #[serde(default)]
    pub key: Option<FieldPath>,
    /// The field, an object of texts, that becomes the headers. Default: no headers.
    #[serde(default)]
    pub headers: Option<FieldPath>,
    /// Whether each epoch is one transaction, so that consumers with `isolation.level=read_committed` see every record
    /// once; they see it when the epoch ends. It needs a `checkpoint`, or a source with a `group` of the same brokers.
    /// Default: `false`.
    #[serde(default)]
    pub exactly_once: bool,
}

impl KafkaConfig {
    /// These brokers, neither encrypted nor with a user.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), ..Self::default() }
    }

    /// The files that it names, to be found from somewhere else.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.tls.iter_mut().flat_map(|KafkaTls { ca, cert, key }| [ca, cert, key]).flatten()
    }

    fn check(&self) -> Result<(), Error> {
        if self.brokers.split(',').any(|broker| broker.trim().is_empty()) {
            let message = "`brokers` names no broker, or has a comma too many; write host:port, or several with commas";
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.check_security()?;
        let is_secured = self.tls.is_some() || self.user.is_some();
        let security = if is_secured { &SECURITY[..] } else { &[] };
        let ours = OURS.iter().chain(security).find(|(name, _)| self.properties.contains_key(*name));
        ours.map_or(Ok(()), |(name, remedy)| {
            Err(Error::new(ErrorKind::Config, format!("`{name}` is not for `properties`; write {remedy}")))
        })
    }

    fn check_security(&self) -> Result<(), Error> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message));
        if self.tls.as_ref().is_some_and(|tls| tls.cert.is_some() != tls.key.is_some()) {
            return wrong("`cert` and `key` belong together: the certificate that is shown, and its key");
        }
        match (&self.user, &self.password, self.mechanism) {
            (None, None, None) => Ok(()),
            (Some(_), Some(_), Some(Mechanism::Plain)) if self.tls.is_none() => wrong(
                "`mechanism: plain` would send the password for everybody to read; add `tls: {}`, or take a scram \
                 mechanism",
            ),
            (Some(_), Some(_), Some(_)) => Ok(()),
            _ => wrong(
                "`user`, `password` and `mechanism` belong together; the brokers say which mechanism they want: plain, \
                 scram-sha-256 or scram-sha-512",
            ),
        }
    }
}

impl KafkaSourceConfig {
    /// A topic, with everything else left to the defaults.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            server: KafkaConfig::new(brokers),
            topic: topic.into(),
            topics: Vec::new(),
            group: None,
            start: Start::default(),
            until: None,
            on_malformed: OnMalformed::default(),
            metadata: None,
            commit_every: COMMIT_EVERY,
        }
    }

    /// The topics, whichever way they were named.
    pub fn topics(&self) -> Vec<&str> {
        let one = [self.topic.as_str()];
        let topics = one.into_iter().filter(|topic| !topic.is_empty());
        topics.chain(self.topics.iter().map(String::as_str)).collect()
    }

    /// Whether it makes sense, as far as can be told without the brokers.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        self.server.check()?;
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message));
        if self.topic.is_empty() == self.topics.is_empty() {
            return wrong("name either a `topic` or several `topics`");
        }
        let mut topics = self.topics();
        topics.sort_unstable();
        topics.dedup();
        if topics.len() < self.topics().len() || topics.contains(&"") {
            return wrong("a topic has no name, or is named twice");
        }
        if self.group.as_deref().is_some_and(str::is_empty) {
            return wrong("the `group` has no name");
        }
        if self.until.is_some() && topics.len() > 1 {
            return wrong("`until: end` is for one topic; run each topic by itself");
        }
        if self.commit_every.is_zero() || self.commit_every > COMMIT_EVERY_MAX {
            return wrong("`commit_every` must be more than nothing, and at most 1h");
        }
        Ok(())
    }
}

impl KafkaSinkConfig {
    /// A topic, with everything else left to the defaults.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        let server = KafkaConfig::new(brokers);
        Self { server, topic: topic.into(), key: None, headers: None, exactly_once: false }
    }

    /// Whether it makes sense, as far as can be told without the brokers.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        self.server.check()?;
        if self.topic.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the `topic` has no name"));
        }
        Ok(())
    }
}

fn commit_every() -> Duration {
    COMMIT_EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_the_remedy() {
        let refused = |change: fn(&mut KafkaSourceConfig)| {
            let mut config = KafkaSourceConfig::new("localhost:9092", "a");
            change(&mut config);
            config.check().map_err(|error| error.to_string())
        };
        let set = |config: &mut KafkaSourceConfig, name: &str| {
            drop(config.server.properties.insert(name.to_owned(), "x".into()));
        };
        assert_eq!(refused(|_| {}), Ok(()));
        assert!(refused(|config| config.server.brokers = "a:1,".to_owned()).unwrap_err().contains("a comma too many"));
        assert!(refused(|config| config.topic.clear()).unwrap_err().contains("either a `topic`"));
        assert!(refused(|config| config.topics = vec!["b".to_owned()]).unwrap_err().contains("either a `topic`"));
        let twice = |config: &mut KafkaSourceConfig| {
            config.topic.clear();
            config.topics = vec!["b".to_owned(), "b".to_owned()];
        };
        assert!(refused(twice).unwrap_err().contains("named twice"));
        assert!(refused(|config| config.group = Some(String::new())).unwrap_err().contains("`group` has no name"));
        assert!(refused(|config| config.commit_every = Duration::ZERO).unwrap_err().contains("`commit_every`"));
        let mut config = KafkaSourceConfig::new("localhost:9092", "a");
        set(&mut config, "group.id");
        assert!(config.check().unwrap_err().to_string().contains("write `group`"));
        let mut config = KafkaSourceConfig::new("localhost:9092", "a");
        set(&mut config, "security.protocol");
        assert!(config.check().is_ok());
        config.server.tls = Some(KafkaTls::default());
        assert!(config.check().unwrap_err().to_string().contains("write `tls`, `user`, or both"));
        let sink = KafkaSinkConfig::new("localhost:9092", "");
        assert!(sink.check().unwrap_err().to_string().contains("no name"));
    }

    #[test]
    fn who_asks_is_said_in_full() {
        let refused = |server: serde_json::Value| {
            let mut config = serde_json::json!({ "brokers": "localhost:9092", "topic": "a" });
            config.as_object_mut().unwrap().extend(server.as_object().unwrap().clone());
            serde_json::from_value::<KafkaSourceConfig>(config).unwrap().check().map_err(|error| error.to_string())
        };
        let user = || serde_json::json!({ "user": "u", "password": "hunter2", "mechanism": "scram-sha-256" });
        assert_eq!(refused(user()), Ok(()));
        let with = |name: &str, value: serde_json::Value| {
            let mut server = user();
            server[name] = value;
            server
        };
        assert!(refused(with("password", serde_json::Value::Null)).unwrap_err().contains("belong together"));
        assert!(refused(with("mechanism", serde_json::Value::Null)).unwrap_err().contains("scram-sha-256"));
        assert!(refused(with("mechanism", "plain".into())).unwrap_err().contains("add `tls: {}`"));
        let mut plain = with("mechanism", "plain".into());
        plain["tls"] = serde_json::json!({});
        assert_eq!(refused(plain), Ok(()));
        assert!(refused(serde_json::json!({ "tls": { "cert": "a.pem" } })).unwrap_err().contains("`cert` and `key`"));
    }
}
