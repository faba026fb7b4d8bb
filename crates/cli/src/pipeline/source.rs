//! Where records come from, as needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use inflight_connectors::Error;
use inflight_connectors::file::{FileSourceConfig, Format};
#[cfg(feature = "kafka")]
use inflight_connectors::kafka::{KafkaSourceConfig, OnMalformed};

use inflight_connectors::nats::{self, NatsSource, NatsSourceConfig};

use super::Pipeline;
use crate::file::STANDARD;

/// Where records come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Files; the path `-` is standard input.
    File(FileSourceConfig),
    /// Topics of Kafka.
    #[cfg(feature = "kafka")]
    Kafka(KafkaSourceConfig),
    /// A stream of NATS JetStream.
    Nats(NatsSourceConfig),
}

impl Source {
    /// Whether the configuration makes sense, as far as can be told without what it names.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::File(config) => config.check(),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.check(),
            Self::Nats(config) => config.check(),
        }
    }

    /// Whether it can be read, said in one sentence if not. Reads no record.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_connect(&self) -> Result<(), Error> {
        match self {
            Self::File(config) => config.check_connect(),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => inflight_connectors::kafka::partitions(config).map(drop),
            Self::Nats(config) => NatsSource::open(config).map(drop),
        }
    }

    /// The key of the pipeline file that it stands under.
    pub const fn system(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => "kafka",
            Self::Nats(_) => "nats",
        }
    }

    /// What it is called in messages: the path of a file, a topic.
    pub fn name(&self) -> String {
        match self {
            Self::File(config) => config.path.display().to_string(),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.topics().join(", "),
            Self::Nats(config) => config.name(),
        }
    }

    /// Standard input, which cannot be read again.
    pub fn is_standard(&self) -> bool {
        match self {
            Self::File(config) => config.path == Path::new(STANDARD),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => false,
            Self::Nats(_) => false,
        }
    }

    /// Every record has the same fields, which stand in a header.
    pub fn has_header(&self) -> bool {
        match self {
            Self::File(config) => matches!(config.format(), Ok(Format::Csv)),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => false,
            Self::Nats(_) => false,
        }
    }

    /// Messages come, of several partitions at a time.
    pub const fn has_messages(&self) -> bool {
        match self {
            Self::File(_) => false,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => true,
            Self::Nats(_) => true,
        }
    }

    /// What is no record goes to the dead letters, instead of ending the run.
    pub fn buries_malformed(&self) -> bool {
        match self {
            Self::File(_) => false,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.on_malformed == OnMalformed::DeadLetter,
            Self::Nats(config) => config.on_malformed == nats::OnMalformed::DeadLetter,
        }
    }

    /// It ends although more may come.
    pub const fn is_bounded(&self) -> bool {
        match self {
            Self::File(_) => false,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.until.is_some(),
            Self::Nats(config) => config.until.is_some(),
        }
    }

    /// How often a source is told what counts that can remember it by itself.
    pub const fn remembers(&self) -> Option<Duration> {
        match self {
            Self::File(_) => None,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) if config.group.is_some() => Some(config.commit_every),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => None,
            Self::Nats(config) if config.consumer.is_some() => Some(config.commit_every),
            Self::Nats(_) => None,
        }
    }

    /// The files that it reads, as typed: with wildcards, and `-` for standard input.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::File(config) => config.paths.iter().chain([&config.path]).map(PathBuf::as_path).collect(),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => Vec::new(),
            Self::Nats(_) => Vec::new(),
        }
    }

    /// The paths in it that start from the folder of the pipeline file.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            // Of the two only one is there.
            Self::File(config) => match config.paths.is_empty() {
                true => vec![&mut config.path],
                false => config.paths.iter_mut().collect(),
            },
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.server.paths_mut().collect(),
            Self::Nats(config) => config.server.paths_mut().collect(),
        }
    }
}

impl Pipeline {
    /// Whether the source itself remembers how far it was read: it can, and there are no checkpoints.
    pub fn is_remembered(&self) -> bool {
        self.checkpoint.is_none() && self.source.remembers().is_some()
    }
}
