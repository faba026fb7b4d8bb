//! Where records go, as needed.

use std::fmt;
use std::path::{Path, PathBuf};

use inflight_connectors::Error;
use inflight_connectors::file::FileSinkConfig;
#[cfg(feature = "kafka")]
use inflight_connectors::kafka::{KafkaSink, KafkaSinkConfig};
use inflight_connectors::nats::{NatsSink, NatsSinkConfig};
use inflight_connectors::postgres::{PostgresSink, PostgresSinkConfig};
use inflight_connectors::sqlite::{SqliteSink, SqliteSinkConfig};

use super::Pipeline;
use crate::file::STANDARD;

/// Where records go.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sink {
    /// A file; the path `-` is standard output.
    File(FileSinkConfig),
    /// A table of an SQLite database.
    Sqlite(SqliteSinkConfig),
    /// A table of a PostgreSQL database.
    Postgres(PostgresSinkConfig),
    /// A topic of Kafka.
    #[cfg(feature = "kafka")]
    Kafka(KafkaSinkConfig),
    /// A subject of NATS JetStream.
    Nats(NatsSinkConfig),
}

impl Sink {
    /// Whether the configuration makes sense, as far as can be told without what it names.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::File(config) => config.check(),
            Self::Sqlite(config) => config.check(),
            Self::Postgres(config) => config.check(),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.check(),
            Self::Nats(config) => config.check(),
        }
    }

    /// Whether it can be written, said in one sentence if not. Writes nothing.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_connect(&self) -> Result<(), Error> {
        match self {
            Self::File(config) => config.check_connect(),
            Self::Sqlite(config) => SqliteSink::check_connect(config),
            Self::Postgres(config) => PostgresSink::check_connect(config),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => KafkaSink::check_connect(config),
            Self::Nats(config) => NatsSink::open(config).map(drop),
        }
    }

    /// The key of the pipeline file that it stands under.
    pub const fn system(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => "kafka",
            Self::Nats(_) => "nats",
        }
    }

    /// The file that it writes, or the database that lies in one; the path `-` is standard output.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(config) => Some(&config.path),
            Self::Sqlite(config) => Some(&config.database),
            Self::Postgres(_) => None,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => None,
            Self::Nats(_) => None,
        }
    }

    /// The paths in it that start from the folder of the pipeline file.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::File(config) => vec![&mut config.path],
            Self::Sqlite(config) => vec![&mut config.database],
            Self::Postgres(config) => config.server.sslrootcert.iter_mut().collect(),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.server.paths_mut().collect(),
            Self::Nats(config) => config.server.paths_mut().collect(),
        }
    }

    /// With a name that tells its messages from those of other outputs, if it needs one: that of the pipeline file.
    #[must_use]
    pub(super) fn named(mut self, file: &str, section: &str) -> Self {
        if let Self::Nats(config) = &mut self {
            let file = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
            config.name.get_or_insert_with(|| format!("{file}/{section}"));
        }
        self
    }

    /// What it is told instead of a state when the run with this number begins anew: what comes is not what was there,
    /// though it comes from the same places.
    pub fn anew(&self, generation: u64) -> Option<String> {
        match self {
            Self::Nats(NatsSinkConfig { name: Some(name), .. }) => Some(format!("{name}@{generation}")),
            _ => None,
        }
    }

    /// Whether both write to the same file, table or topic.
    pub fn has_place_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Postgres(own), Self::Postgres(other)) => own.server == other.server && own.table == other.table,
            #[cfg(feature = "kafka")]
            (Self::Kafka(own), Self::Kafka(other)) => {
                own.server.brokers == other.server.brokers && own.topic == other.topic
            }
            (Self::Nats(own), Self::Nats(other)) => own.server == other.server && own.subject == other.subject,
            _ => self.path().is_some() && self.path() == other.path() && self.table() == other.table(),
        }
    }

    /// Whether its own transaction decides which epoch counts.
    pub const fn decides(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Sqlite(_) | Self::Postgres(_) => true,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => config.exactly_once,
            Self::Nats(_) => false,
        }
    }

    /// Whether both are tables of one database, or topics of the same brokers, so that one transaction can hold what is written to both.
    pub fn shares_transactions_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(own), Self::Sqlite(other)) => own.database == other.database,
            (Self::Postgres(own), Self::Postgres(other)) => own.server == other.server,
            #[cfg(feature = "kafka")]
            (Self::Kafka(own), Self::Kafka(other)) => {
                own.exactly_once && other.exactly_once && own.server == other.server
            }
            _ => false,
        }
    }

    /// The table or the topic, if it is one.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Sqlite(config) => Some(&config.table),
            Self::Postgres(config) => Some(&config.table),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => Some(&config.topic),
            Self::Nats(config) => Some(&config.subject),
        }
    }

    /// What it holds after crashes of a run with checkpoints, and why. It looks whether there is a device or a pipe.
    pub fn guarantee(&self) -> Guarantee {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => Guarantee::Database,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) if config.exactly_once => Guarantee::Transaction,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => Guarantee::Messages,
            Self::Nats(_) => Guarantee::Window,
            Self::File(config) => match std::fs::metadata(&config.path) {
                _ if config.path == Path::new(STANDARD) => Guarantee::Standard,
                Ok(there) if !there.is_file() && !there.is_dir() => Guarantee::Stream,
                _ => Guarantee::File,
            },
        }
    }
}

/// What a sink holds after crashes. `Display` tells it with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Exactly once.
    File,
    /// Exactly once.
    Database,
    /// At least once.
    Standard,
    /// At least once.
    Stream,
    /// Exactly once.
    Transaction,
    /// At least once.
    Messages,
    /// Exactly once.
    Offsets,
    /// At least once.
    Remembered,
    /// Exactly once for a while, then at least once.
    Window,
}

impl Pipeline {
    /// What one of its sinks holds after crashes, and why; none when nothing remembers how far the pipeline had come.
    pub fn guarantee(&self, sink: &Sink) -> Option<Guarantee> {
        match sink {
            #[cfg(feature = "kafka")]
            Sink::Kafka(config) if self.is_remembered() && config.exactly_once => Some(Guarantee::Offsets),
            _ if self.is_remembered() => Some(Guarantee::Remembered),
            _ => self.checkpoint.is_some().then(|| sink.guarantee()),
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "exactly once: after a crash, what no checkpoint covers is cut off before the run goes on",
            Self::Database => "exactly once: the rows of an epoch and its number are one transaction",
            Self::Standard => {
                "at least once: what was written cannot be taken back, so after a crash some of it comes again"
            }
            Self::Transaction => {
                "exactly once, for those who read what is committed: the records of an epoch and its number are one \
                 transaction"
            }
            Self::Messages => {
                "at least once: what was sent cannot be taken back, so after a crash some of it comes again \
                 (`exactly_once: true` makes each epoch a transaction)"
            }
            Self::Offsets => {
                "exactly once, for those who read what is committed: the records of an epoch and the offsets of the \
                 group are one transaction"
            }
            Self::Remembered => {
                "at least once: the source is told what was read when it is written, so after a crash some of it comes \
                 again"
            }
            Self::Window => {
                "exactly once if the run goes on within the duplicate window of the stream, two minutes unless it says \
                 otherwise: what comes again has the id it had, and the server drops it; later at least once"
            }
            Self::Stream => {
                "at least once: it is no file, so what was written cannot be taken back, and comes again after a crash"
            }
        })
    }
}
