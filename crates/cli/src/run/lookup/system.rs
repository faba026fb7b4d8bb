//! The systems that can be asked: an arm for each.

use inflight::Cancellation;
use inflight_connectors::http::HttpLookup;
use inflight_connectors::memory::MemoryLookup;
#[cfg(feature = "mysql")]
use inflight_connectors::mysql::MysqlLookup;
use inflight_connectors::postgres::PostgresLookup;
use inflight_connectors::redis::RedisLookup;
use inflight_connectors::{Answer, Error, Key};

use super::sqlite::Sqlite;
use crate::pipeline::{Lookup, Step};

/// A system, opened.
pub(super) enum System {
    Sqlite(Sqlite),
    Postgres(PostgresLookup),
    #[cfg(feature = "mysql")]
    Mysql(MysqlLookup),
    Redis(RedisLookup),
    Http(Box<HttpLookup>),
    Memory(MemoryLookup),
}

impl System {
    pub(super) async fn open(step: &Step) -> Result<Self, Error> {
        let columns: Vec<String> = step.key.iter().map(|(column, _)| column.clone()).collect();
        match &step.lookup {
            Lookup::Sqlite(config) => Sqlite::open(config, &columns, step.concurrency).await.map(Self::Sqlite),
            Lookup::Postgres(config) => {
                let mut config = config.clone();
                // Nobody waits for it any longer.
                config.statement_timeout.get_or_insert(step.timeout);
                PostgresLookup::connect(&config, &columns).await.map(Self::Postgres)
            }
            #[cfg(feature = "mysql")]
            Lookup::Mysql(config) => {
                let mut config = config.clone();
                config.statement_timeout.get_or_insert(step.timeout);
                MysqlLookup::connect(&config, &columns).await.map(Self::Mysql)
            }
            Lookup::Redis(config) => RedisLookup::connect(config, &columns).await.map(Self::Redis),
            Lookup::Http(config) => HttpLookup::connect(config, &columns).map(|http| Self::Http(Box::new(http))),
            Lookup::Memory(config) => MemoryLookup::open(config, &columns).map(Self::Memory),
        }
    }

    pub(super) async fn ask(&self, keys: Vec<Key>) -> Result<Vec<Answer>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.ask(keys).await,
            Self::Postgres(postgres) => postgres.lookup(&keys).await,
            #[cfg(feature = "mysql")]
            Self::Mysql(mysql) => mysql.lookup(&keys).await,
            Self::Redis(redis) => redis.lookup(&keys).await,
            Self::Http(http) => http.lookup(&keys).await,
            Self::Memory(memory) => memory.lookup(&keys),
        }
    }

    /// What becomes of a call to it that is given up.
    pub(super) const fn cancellation(lookup: &Lookup) -> Cancellation {
        match lookup {
            // A query that runs on a thread cannot be stopped.
            Lookup::Sqlite(_) => Cancellation::Wait,
            #[cfg(feature = "mysql")]
            Lookup::Mysql(_) => Cancellation::Drop,
            Lookup::Postgres(_) | Lookup::Redis(_) | Lookup::Http(_) | Lookup::Memory(_) => Cancellation::Drop,
        }
    }
}
