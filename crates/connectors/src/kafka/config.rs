//! What a user writes about Kafka in a pipeline.

use std::collections::BTreeMap;
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

/// Which brokers, and how to talk to them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct KafkaConfig {
    /// Some of the brokers, with commas between them: `kafka-1:9092,kafka-2:9092`.
    pub brokers: String,
    /// Settings of librdkafka, the client library, by its own names: `{ security.protocol: sasl_plaintext, ... }`; their
    /// values are never shown.
    /// Default: none.
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
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
    fn check(&self) -> Result<(), Error> {
        if self.brokers.split(',').any(|broker| broker.trim().is_empty()) {
            let message = "`brokers` names no broker, or has a comma too many; write host:port, or several with commas";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let ours = OURS.iter().find(|(name, _)| self.properties.contains_key(*name));
        ours.map_or(Ok(()), |(name, remedy)| {
            Err(Error::new(ErrorKind::Config, format!("`{name}` is not for `properties`; write {remedy}")))
        })
    }
}

impl KafkaSourceConfig {
    /// A topic, with everything else left to the defaults.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            server: KafkaConfig { brokers: brokers.into(), properties: BTreeMap::new() },
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
        let server = KafkaConfig { brokers: brokers.into(), properties: BTreeMap::new() };
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
        let sink = KafkaSinkConfig::new("localhost:9092", "");
        assert!(sink.check().unwrap_err().to_string().contains("no name"));
    }
}
