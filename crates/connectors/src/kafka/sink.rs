//! Records into a topic.

use std::path::Path;
use std::sync::Arc;

use rdkafka::message::{Header, OwnedHeaders};
use serde_json::Value;

use super::transaction::Producer;
use super::{Group, KafkaSinkConfig};
use crate::{Epochs, Error, ErrorKind, Guarantee, Record, Sink};

/// Writes records to a topic, each as a JSON object.
///
/// [Opened](Self::open) plainly, a record counts when all replicas have it: at least once. With [`Epochs`], or with the
/// [`Group`] that its records are read by, each epoch is one transaction: exactly once, for consumers that read what is
/// committed (`isolation.level=read_committed`).
///
/// It blocks, so give it a thread of its own.
///
/// ```no_run
/// use inflight_connectors::Sink;
/// use inflight_connectors::kafka::{KafkaSink, KafkaSinkConfig};
/// use serde_json::json;
///
/// # fn main() -> Result<(), inflight_connectors::Error> {
/// let config = KafkaSinkConfig { key: Some(".id".parse().unwrap()), ..KafkaSinkConfig::new("localhost:9092", "orders") };
/// let mut sink = Box::new(KafkaSink::open(&config)?);
/// sink.write(json!({ "id": 7, "total": 19.99 }).as_object().unwrap())?;
/// sink.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct KafkaSink {
    producer: Arc<Producer>,
    config: KafkaSinkConfig,
    /// Records since the last commit.
    uncommitted: u64,
    /// Why every call fails from now on.
    failure: Option<Error>,
}

impl KafkaSink {
    /// Connects, and checks that the topic is there.
    ///
    /// # Errors
    ///
    /// When the configuration does not make sense, the brokers do not answer, or the topic is not there.
    pub fn open(config: &KafkaSinkConfig) -> Result<Self, Error> {
        Ok(Self::new(Producer::new(config)?, config))
    }

    /// As [`open`](Self::open), for a host that commits by epochs. From now on no earlier run of the pipeline, one with
    /// a lower generation, can commit any more. Which epoch was the last is kept by the brokers, as an offset of the
    /// group `inflight-epochs-` and the name of the pipeline; like all offsets they forget it when nothing was committed
    /// for `offsets.retention.minutes`, a week unless it is set.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); when a run with a higher generation is known.
    pub fn open_with_epochs(config: &KafkaSinkConfig, epochs: Epochs) -> Result<Self, Error> {
        Ok(Self::new(Producer::with_epochs(config, epochs)?, config))
    }

    /// As [`open`](Self::open), for records that a group has read from the same brokers: its offsets are committed
    /// with them.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_group(config: &KafkaSinkConfig, group: Arc<Group>) -> Result<Self, Error> {
        Ok(Self::new(Producer::with_offsets(config, group)?, config))
    }

    /// A sink for another topic of the same brokers, whose records are in the same transactions.
    ///
    /// # Errors
    ///
    /// When the topic is not there.
    pub fn beside(&self, config: &KafkaSinkConfig) -> Result<Self, Error> {
        config.check()?;
        self.producer.check_topic(&config.topic)?;
        Ok(Self { producer: Arc::clone(&self.producer), config: config.clone(), uncommitted: 0, failure: None })
    }

    /// Whether the brokers answer, and the topic is there. Nothing is written.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn check_connect(config: &KafkaSinkConfig) -> Result<(), Error> {
        Producer::new(config).map(drop)
    }

    fn new(producer: Producer, config: &KafkaSinkConfig) -> Self {
        Self { producer: Arc::new(producer), config: config.clone(), uncommitted: 0, failure: None }
    }

    /// Does it unless something has failed before; remembers if it fails.
    fn unless_failed(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        act(self).inspect_err(|error| self.failure = Some(error.clone()))
    }

    fn send(&mut self, record: &Record) -> Result<(), Error> {
        let KafkaSinkConfig { topic, key, headers, .. } = &self.config;
        let value = serde_json::to_vec(record).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("a record cannot be written as JSON: {error}"))
        })?;
        let key = key.as_ref().and_then(|key| key.find(record)).and_then(bytes);
        let headers = match headers.as_ref().and_then(|headers| headers.find(record)) {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(owned(fields)),
            Some(other) => {
                let message = format!("the headers of a record must be an object of texts, and are {other}");
                return Err(Error::new(ErrorKind::Malformed, message).in_file(Path::new(topic)));
            }
        };
        self.producer.send(topic, key.as_deref(), headers, &value)?;
        self.uncommitted += 1;
        Ok(())
    }
}

/// A text as it is, nothing for null, everything else as JSON.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_bytes().to_vec()),
        other => Some(other.to_string().into_bytes()),
    }
}

fn owned(fields: &Record) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(fields.len());
    fields.iter().fold(headers, |headers, (key, value)| {
        let value = bytes(value);
        headers.insert(Header { key, value: value.as_ref() })
    })
}

impl Sink for KafkaSink {
    fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.unless_failed(|sink| sink.send(record))
    }

    /// The client sends what it has within milliseconds, by itself. To wait for that each time nothing more is at hand would leave it
    /// with little to send together.
    fn flush(&mut self) -> Result<(), Error> {
        self.unless_failed(|_| Ok(()))
    }

    /// Everything has arrived when it returns; with transactions, nobody sees it yet.
    fn prepare(&mut self, _epoch: u64) -> Result<String, Error> {
        self.unless_failed(|sink| sink.producer.arrived())?;
        Ok(String::new())
    }

    fn commit(&mut self, epoch: u64) -> Result<(), Error> {
        self.unless_failed(|sink| {
            sink.producer.commit(epoch)?;
            sink.uncommitted = 0;
            Ok(())
        })
    }

    fn guarantee(&self) -> Guarantee {
        if self.producer.has_transactions() { Guarantee::ExactlyOnce } else { Guarantee::AtLeastOnce }
    }

    fn decided(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.producer.decided())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.unless_failed(|sink| match sink.uncommitted {
            rest if rest > 0 && sink.producer.has_transactions() => {
                let message =
                    format!("{rest} records were written after the last epoch was committed; they do not count");
                Err(Error::new(ErrorKind::Io, message))
            }
            _ => sink.producer.arrived(),
        })
    }
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink").field("topic", &self.config.topic).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_headers_are_texts_or_json() {
        assert_eq!(bytes(&json!("a b")).unwrap(), b"a b");
        assert_eq!(bytes(&json!({ "a": 1 })).unwrap(), br#"{"a":1}"#);
        assert_eq!(bytes(&json!(null)), None);
        let headers = owned(json!({ "trace": "x", "n": 7, "gone": null }).as_object().unwrap());
        let shown: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
        assert_eq!(shown, [("trace", Some(&b"x"[..])), ("n", Some(b"7")), ("gone", None)]);
    }
}
