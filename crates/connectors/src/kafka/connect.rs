//! The way to the brokers.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::error::{kafka_error, passes, refusal, without_timing};
use super::{KafkaConfig, KafkaTls};
use crate::{Error, ErrorKind};

/// How long brokers may take to answer what is asked before a run begins.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How soon after an outage a broker is found again, at the latest; the library's own default is ten seconds and more.
const RECONNECTS_AFTER_MS: &str = "2000";

/// How soon partitions are read that are added to a topic; the library's own default is five minutes.
const NOTICES_PARTITIONS_AFTER_MS: &str = "30000";

/// When it is first looked for reasons why they do not.
const LISTENS_AFTER: Duration = Duration::from_millis(250);

/// Bytes of messages that are read ahead, in KiB: librdkafka's own default is 64 MiB for all partitions, and 100,000
/// messages of each.
const READ_AHEAD_KIB: &str = "16384";

/// What all clients are told.
pub(super) fn settings(server: &KafkaConfig) -> Result<ClientConfig, Error> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &server.brokers).set("client.id", "inflight");
    settings.set("reconnect.backoff.max.ms", RECONNECTS_AFTER_MS);
    settings.set_log_level(RDKafkaLogLevel::Emerg);
    let protocol = match (&server.tls, &server.user) {
        (None, None) => return Ok(settings),
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    settings.set("security.protocol", protocol);
    if let Some(KafkaTls { ca, cert, key }) = &server.tls {
        let files = [
            ("ca", ca, "ssl.ca.pem", "CERTIFICATE"),
            ("cert", cert, "ssl.certificate.pem", "CERTIFICATE"),
            ("key", key, "ssl.key.pem", "PRIVATE KEY"),
        ];
        for (name, file, setting, content) in files {
            if let Some(file) = file {
                settings.set(setting, pem(name, file, content)?);
            }
        }
    }
    if let (Some(user), Some(password), Some(mechanism)) = (&server.user, &server.password, server.mechanism) {
        settings.set("sasl.mechanism", mechanism.name());
        settings.set("sasl.username", user).set("sasl.password", password.reveal());
    }
    Ok(settings)
}

/// The text of a file; `name` is what the configuration calls it.
fn pem(name: &str, file: &Path, content: &str) -> Result<String, Error> {
    let refuse = |problem: String| Error::new(ErrorKind::Config, format!("`{name}`: {problem}")).in_file(file);
    let text = std::fs::read_to_string(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    match text.contains(&format!("{content}-----")) {
        true => Ok(text),
        false => Err(refuse(format!("there is no {} (PEM) in it", content.to_lowercase()))),
    }
}

/// What a reader is told.
pub(super) fn reader(server: &KafkaConfig, group: &str) -> Result<ClientConfig, Error> {
    let mut settings = settings(server)?;
    settings
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", READ_AHEAD_KIB)
        .set("topic.metadata.refresh.interval.ms", NOTICES_PARTITIONS_AFTER_MS)
        .set("allow.auto.create.topics", "false");
    for (name, value) in &server.properties {
        settings.set(name, value.reveal());
    }
    Ok(settings)
}

/// What the library reports outside of any call: it explains why a call was not answered.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Reported>);

#[derive(Debug, Default)]
struct Reported {
    last: Option<String>,
    /// That it makes no sense to ask once more.
    refusal: Option<Error>,
}

impl Reports {
    pub(super) fn last(&self) -> Option<String> {
        self.lock().last.clone()
    }

    fn refusal(&self) -> Option<Error> {
        self.lock().refusal.clone()
    }

    /// That all brokers are down says less than why one of them is.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let mut reported = self.lock();
        reported.last = Some(without_timing(reason).to_owned());
        reported.refusal = refusal(error, reason).or_else(|| reported.refusal.take());
    }

    fn lock(&self) -> MutexGuard<'_, Reported> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ConsumerContext for Reports {}

/// The partitions of a topic, in their order. `listen` takes in what the library has to report.
pub(super) fn partitions_of<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    reports: &Reports,
    listen: impl Fn(),
) -> Result<Vec<i32>, Error> {
    let in_topic = |error: Error| error.in_file(Path::new(topic));
    let metadata = metadata(client, topic, reports, listen).map_err(in_topic)?;
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

/// Asks until there is an answer, it is clear that there will be none, or it takes too long.
fn metadata<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    reports: &Reports,
    listen: impl Fn(),
) -> Result<Metadata, Error> {
    const WHAT: &str = "the brokers cannot be asked";
    let begun = Instant::now();
    let mut patience = LISTENS_AFTER;
    loop {
        let left = ANSWERS_WITHIN.saturating_sub(begun.elapsed());
        let error = match client.fetch_metadata(Some(topic), patience.min(left)) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        listen();
        if let Some(refusal) = reports.refusal() {
            return Err(refusal);
        }
        if !passes(&error) {
            return Err(kafka_error(WHAT, error));
        }
        if patience >= left {
            let why = reports.last().unwrap_or_else(|| error.to_string());
            return Err(Error::new(ErrorKind::Unavailable, format!("{WHAT}: {why}")));
        }
        patience *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_certificates_are_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        let server = KafkaConfig {
            tls: Some(KafkaTls { ca: Some(file.clone()), ..KafkaTls::default() }),
            ..KafkaConfig::new("localhost:9093")
        };
        let refused = || settings(&server).unwrap_err().to_string();
        assert!(refused().contains("`ca`: cannot be read"), "{}", refused());
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----").unwrap();
        assert!(refused().contains("there is no certificate (PEM) in it"), "{}", refused());
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----").unwrap();
        assert_eq!(settings(&server).unwrap().get("security.protocol"), Some("ssl"));
    }
}
