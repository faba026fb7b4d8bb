//! The systems that a step can ask, as needed: an arm for each.

use std::path::{Path, PathBuf};

use inflight_connectors::Error;
use inflight_connectors::http::{HttpLookup, HttpLookupConfig};
use inflight_connectors::memory::{MemoryLookup, MemoryLookupConfig};
#[cfg(feature = "mysql")]
use inflight_connectors::mysql::{MysqlLookup, MysqlLookupConfig};
use inflight_connectors::postgres::{PostgresLookup, PostgresLookupConfig};
use inflight_connectors::redis::{RedisLookup, RedisLookupConfig};
use inflight_connectors::sqlite::{SqliteLookup, SqliteLookupConfig};
use serde_json::Value;

use crate::file::Step as Typed;

/// A system that is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// A table of an SQLite database.
    Sqlite(SqliteLookupConfig),
    /// A table of a PostgreSQL database.
    Postgres(Box<PostgresLookupConfig>),
    /// A table of a MySQL or MariaDB database.
    #[cfg(feature = "mysql")]
    Mysql(Box<MysqlLookupConfig>),
    /// Strings or hashes of a Redis server or cluster.
    Redis(Box<RedisLookupConfig>),
    /// A service over HTTP.
    Http(Box<HttpLookupConfig>),
    /// Rows in memory.
    Memory(Box<MemoryLookupConfig>),
}

impl Lookup {
    /// Their keys in the pipeline file.
    pub const SYSTEMS: [&str; 6] = ["sqlite", "postgres", "mysql", "redis", "http", "memory"];

    /// Those that a step names.
    pub(super) fn named(typed: &Typed) -> Vec<Self> {
        let Typed { sqlite, postgres, redis, http, memory, .. } = typed;
        let all = [
            sqlite.clone().map(Self::Sqlite),
            postgres.clone().map(|config| Self::Postgres(Box::new(config))),
            #[cfg(feature = "mysql")]
            typed.mysql.clone().map(|config| Self::Mysql(Box::new(config))),
            redis.clone().map(|config| Self::Redis(Box::new(config))),
            http.clone().map(|config| Self::Http(Box::new(config))),
            memory.clone().map(|config| Self::Memory(Box::new(config))),
        ];
        all.into_iter().flatten().collect()
    }

    /// Its key in the pipeline file.
    pub const fn system(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
            Self::Http(_) => "http",
            Self::Memory(_) => "memory",
        }
    }

    /// Whether the configuration makes sense, as far as can be told without the system.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(config) => config.check(),
            Self::Postgres(config) => config.check(),
            #[cfg(feature = "mysql")]
            Self::Mysql(config) => config.check(),
            Self::Redis(config) => config.check(),
            Self::Http(config) => config.check(),
            Self::Memory(config) => config.check(),
        }
    }

    /// Whether it answers, said in one sentence if not. `key` are the columns of the key.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check_connect(&self, key: &[String]) -> Result<(), Error> {
        match self {
            Self::Sqlite(config) => SqliteLookup::open(config, key).map(drop),
            Self::Postgres(config) => PostgresLookup::check_connect(config, key).await,
            #[cfg(feature = "mysql")]
            Self::Mysql(config) => MysqlLookup::check_connect(config, key).await,
            Self::Redis(config) => RedisLookup::check_connect(config, key).await,
            Self::Http(config) => HttpLookup::check_connect(config, key).await,
            Self::Memory(config) => MemoryLookup::open(config, key).map(drop),
        }
    }

    /// The columns of its answers, if the configuration says which there are.
    pub(super) fn columns(&self) -> &[String] {
        let columns = match self {
            Self::Sqlite(config) => &config.columns,
            Self::Postgres(config) => &config.columns,
            #[cfg(feature = "mysql")]
            Self::Mysql(config) => &config.columns,
            Self::Redis(config) => &config.fields,
            Self::Memory(config) => &config.columns,
            Self::Http(_) => &None,
        };
        columns.as_deref().unwrap_or_default()
    }

    /// The database, if it is a file.
    pub fn database(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(config) => Some(&config.database),
            _ => None,
        }
    }

    /// Whether it is asked over a network.
    pub const fn is_remote(&self) -> bool {
        !matches!(self, Self::Sqlite(_) | Self::Memory(_))
    }

    /// How many records share a call unless the file says otherwise, if there is a reason: where each key has a request of
    /// its own, none should wait for the slowest of others.
    pub(super) fn batch_size(&self) -> Option<usize> {
        match self {
            Self::Http(config) if config.batch.is_none() => Some(1),
            Self::Http(config) => config.batch.as_ref().and_then(|batch| batch.keys),
            #[cfg(feature = "mysql")]
            Self::Mysql(config) if config.query.is_some() => Some(1),
            _ => None,
        }
    }

    /// The paths in it that start from the folder of the pipeline file.
    pub(crate) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Sqlite(config) => vec![&mut config.database],
            Self::Postgres(config) => config.server.sslrootcert.iter_mut().collect(),
            #[cfg(feature = "mysql")]
            Self::Mysql(config) => config.server.sslrootcert.iter_mut().collect(),
            Self::Redis(config) => config.ca_file.iter_mut().collect(),
            Self::Http(config) => config.ca_file.iter_mut().collect(),
            Self::Memory(config) => config.file.iter_mut().map(|file| &mut file.path).collect(),
        }
    }

    /// The configuration with its defaults filled in, secrets hidden.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which is not known to happen.
    pub(crate) fn configuration(&self) -> anyhow::Result<Value> {
        Ok(match self.clone() {
            Self::Sqlite(config) => serde_json::to_value(config)?,
            Self::Postgres(config) => serde_json::to_value(config)?,
            #[cfg(feature = "mysql")]
            Self::Mysql(config) => serde_json::to_value(config)?,
            Self::Redis(mut config) => {
                config.value = Some(config.value());
                serde_json::to_value(config)?
            }
            Self::Http(mut config) => {
                config.method = Some(config.method());
                serde_json::to_value(config)?
            }
            Self::Memory(mut config) => {
                if let Some(file) = &mut config.file {
                    (file.format, file.compression) = (Some(file.format()?), Some(file.compression()));
                }
                serde_json::to_value(config)?
            }
        })
    }
}
