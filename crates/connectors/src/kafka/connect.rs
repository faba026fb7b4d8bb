//! The way to the brokers.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaConfig;
use super::error::kafka_error;
use crate::{Error, ErrorKind};

/// How long brokers may take to answer what is asked before a run begins.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of messages that are read ahead, in KiB: librdkafka's own default is 64 MiB for all partitions, and 100,000
/// messages of each.
const READ_AHEAD_KIB: &str = "16384";

/// What all clients are told.
pub(super) fn settings(server: &KafkaConfig) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &server.brokers).set("client.id", "inflight");
    settings.set_log_level(RDKafkaLogLevel::Emerg);
    settings
}

/// What a reader is told.
pub(super) fn reader(server: &KafkaConfig, group: &str) -> ClientConfig {
    let mut settings = settings(server);
    settings
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", READ_AHEAD_KIB)
        .set("allow.auto.create.topics", "false");
    for (name, value) in &server.properties {
        settings.set(name, value.reveal());
    }
    settings
}

/// What the library reports outside of any call: the last of it explains why a call was not answered.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Option<String>>);

impl Reports {
    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That all brokers are down says less than why one of them is.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ConsumerContext for Reports {}

/// The partitions of a topic, in their order.
pub(super) fn partitions_of<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    last_report: impl FnOnce() -> Option<String>,
) -> Result<Vec<i32>, Error> {
    let in_topic = |error: Error| error.in_file(Path::new(topic));
    let metadata = client.fetch_metadata(Some(topic), ANSWERS_WITHIN).map_err(|error| {
        let report = last_report().map(|report| format!(" ({report})")).unwrap_or_default();
        in_topic(kafka_error(&format!("the brokers cannot be asked{report}"), error))
    })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    if let Some(code) = found.and_then(|found| found.error()) {
        let error = KafkaError::MetadataFetch(code.into());
        return Err(in_topic(kafka_error("the topic cannot be used", error)));
    }
    let mut partitions: Vec<i32> =
        found.map(|found| found.partitions().iter().map(|partition| partition.id()).collect()).unwrap_or_default();
    partitions.sort_unstable();
    if partitions.is_empty() {
        let message = "the topic has no partitions; create it, or name another";
        return Err(in_topic(Error::new(ErrorKind::NotFound, message)));
    }
    Ok(partitions)
}
