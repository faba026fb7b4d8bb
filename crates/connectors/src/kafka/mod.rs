//! Apache Kafka: topics as sources and sinks.
//!
//! [`KafkaSource`] reads in one of two ways. [Assigned](KafkaSource::assign) its partitions, it goes on where the host
//! says. As a member of a [`Group`] it shares the topics with other readers, and the offsets that the group has
//! committed say how far everything was read; when partitions move to another reader, it first waits until what it
//! handed over counts.
//!
//! [`KafkaSink`] writes each epoch in one transaction: with the number of the epoch, so that it can
//! [decide](crate::Sink::decided) which one counts, or with the offsets of the group that the records were read by.

mod config;
mod connect;
mod content;
mod error;
mod group;
mod lag;
mod sink;
mod source;
mod transaction;

pub use config::{
    COMMIT_EVERY, KafkaConfig, KafkaSinkConfig, KafkaSourceConfig, KafkaTls, Mechanism, OnMalformed, Start, Until,
};
pub use group::{Group, REVOKED_WITHIN};
pub use sink::KafkaSink;
pub use source::{KafkaSource, partitions};
