//! Where records go, as needed.

use std::fmt;
use std::path::{Path, PathBuf};

use inflight_connectors::Error;
use inflight_connectors::file::FileSinkConfig;
use inflight_connectors::postgres::{PostgresSink, PostgresSinkConfig};
use inflight_connectors::sqlite::{SqliteSink, SqliteSinkConfig};

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
        }
    }

    /// The key of the pipeline file that it stands under.
    pub const fn system(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The file that it writes, or the database that lies in one; the path `-` is standard output.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(config) => Some(&config.path),
            Self::Sqlite(config) => Some(&config.database),
            Self::Postgres(_) => None,
        }
    }

    /// The paths in it that start from the folder of the pipeline file.
    pub(super) fn paths_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::File(config) => Some(&mut config.path),
            Self::Sqlite(config) => Some(&mut config.database),
            Self::Postgres(config) => config.server.sslrootcert.as_mut(),
        }
    }

    /// Whether both write to the same file or table.
    pub fn has_place_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Postgres(own), Self::Postgres(other)) => own.server == other.server && own.table == other.table,
            _ => self.path().is_some() && self.path() == other.path() && self.table() == other.table(),
        }
    }

    /// Whether its own transaction decides which epoch counts.
    pub const fn decides(&self) -> bool {
        matches!(self, Self::Sqlite(_) | Self::Postgres(_))
    }

    /// Whether both are tables of one database, so that one transaction can hold what is written to both.
    pub fn shares_transactions_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(own), Self::Sqlite(other)) => own.database == other.database,
            (Self::Postgres(own), Self::Postgres(other)) => own.server == other.server,
            _ => false,
        }
    }

    /// The table, if it is one.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Sqlite(config) => Some(&config.table),
            Self::Postgres(config) => Some(&config.table),
        }
    }

    /// What it holds after crashes of a run with checkpoints, and why. It looks whether there is a device or a pipe.
    pub fn guarantee(&self) -> Guarantee {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => Guarantee::Database,
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
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "exactly once: after a crash, what no checkpoint covers is cut off before the run goes on",
            Self::Database => "exactly once: the rows of an epoch and its number are one transaction",
            Self::Standard => {
                "at least once: what was written cannot be taken back, so after a crash some of it comes again"
            }
            Self::Stream => {
                "at least once: it is no file, so what was written cannot be taken back, and comes again after a crash"
            }
        })
    }
}
