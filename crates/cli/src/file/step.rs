//! One look-up for each record, as typed.

use inflight_connectors::FieldPath;
use inflight_connectors::http::HttpLookupConfig;
use inflight_connectors::memory::MemoryLookupConfig;
#[cfg(feature = "mysql")]
use inflight_connectors::mysql::MysqlLookupConfig;
use inflight_connectors::postgres::PostgresLookupConfig;
use inflight_connectors::redis::RedisLookupConfig;
use inflight_connectors::sqlite::SqliteLookupConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(not(feature = "mysql"))]
use super::not_built_in::NoMysql as MysqlLookupConfig;
use super::policies::{Breaker, Cache, CallLimit, CallRange, Hedge, RateLimit, Switch};
use crate::entries::Entries;
use crate::number_or::NumberOr;
use crate::units::{Count, Percent, Period, PeriodRange, Rate, RetryCount};

/// One look-up for each record. It asks one system: `sqlite`, `postgres`, `mysql`, `redis`, `http` or `memory`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Look up rows of a table in an SQLite database.
    pub sqlite: Option<SqliteLookupConfig>,
    /// Look up rows of a table in a PostgreSQL database.
    pub postgres: Option<PostgresLookupConfig>,
    /// Look up rows of a table in a MySQL or MariaDB database.
    pub mysql: Option<MysqlLookupConfig>,
    /// Look up strings or hashes in Redis by names made of the key.
    pub redis: Option<RedisLookupConfig>,
    /// Ask a service over HTTP that answers with JSON.
    pub http: Option<HttpLookupConfig>,
    /// Look up rows that are held in memory, from a file or from the pipeline itself.
    pub memory: Option<MemoryLookupConfig>,
    /// What to look up: columns of the table, each with the field of the record that it must equal, as in
    /// `{ tailnum: .tailnum }`. Of a system without tables, the columns are names for the parts of the key. A field of
    /// another step's result (`.plane.model`) makes this step run after that one. A record in which one of the fields is missing or null counts as missing, without a call.
    pub key: Entries<FieldPath>,
    /// In which order records leave. Default: `input`.
    #[serde(default)]
    pub order: Order,
    /// Most records held at a time, waiting, on the wire, or waiting for their turn to leave: what bounds memory.
    /// Default: twice as many as the calls can carry, or just as many if `concurrency` is found by trying, and 1024 at least.
    pub capacity: Option<Count>,
    /// Most calls on the wire at a time, of all workers of a process together: a number, `auto` or a range for as many as the system works
    /// best with, found by trying. Steps that ask the same system add up. Default: 16, or `capacity` if that is less.
    pub concurrency: Option<NumberOr<CallLimit, CallRange>>,
    /// How long one attempt may take. Default: 1s, or `deadline` if that is less.
    pub timeout: Option<Period>,
    /// How long a record may take in all, from its admission: attempts, pauses and waits. Default: 5 times `timeout`.
    pub deadline: Option<Period>,
    /// How often to try again: a number, or more in detail. Default: 3.
    pub retries: Option<NumberOr<RetryCount, Retries>>,
    /// Most records that share a call: a number, or more in detail. Default: 100, or `capacity` if that is less.
    /// Nothing waits for a batch to fill as long as no call is on the wire.
    pub batch: Option<NumberOr<Count, Batch>>,
    /// Whether records of one key that come while it is being asked for share the answer, and equal keys of a batch are asked for once.
    /// Default: true, except for what is in memory.
    pub single_flight: Option<bool>,
    /// Answers that are kept in memory and used again, without a call. Default: none are.
    pub cache: Option<Cache>,
    /// Whether a second call is made when the first takes long; the first answer counts. Only for systems that may be asked twice, and
    /// never while their limits are reached. Default: off.
    pub hedge: Option<NumberOr<Switch, Hedge>>,
    /// How many calls may start in a second: a rate such as 500/s, or more in detail. It is that of the system: steps that ask the same one
    /// share it. Default: as many as there are.
    pub rate_limit: Option<NumberOr<Rate, RateLimit>>,
    /// When the system is left alone because it fails: no call is made, clocks stand still and the source waits, until it is back. It is that
    /// of the system: steps that ask the same one share it. Default: on, for systems that are asked over a network.
    pub breaker: Option<NumberOr<Switch, Breaker>>,
    /// A name for the system, where it cannot be told from its address which steps ask the same one: steps with the same name share
    /// limits. Default: the address.
    pub destination: Option<String>,
    /// What becomes of a record for which the system has no answer. Default: `keep`, since having no answer is an
    /// answer, counted as missing and never as failed.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// What becomes of a record whose look-up failed, after all retries. Default: `fail`, so that nothing is lost or
    /// left incomplete unless the file says so.
    #[serde(default)]
    pub on_error: OnError,
}

/// In which order records leave a step.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they came.
    #[default]
    Input,
    /// Records of one key as they came; keys do not wait for each other.
    Key,
    /// As `key`, and calls of one key are made one after the other.
    KeySerial,
    /// As they are finished.
    None,
}

/// How often, when and why to try again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// Most attempts after the first. 0 is none. Default: 3.
    pub max: Option<RetryCount>,
    /// The pause before the first retry, doubled for each one after it, up to the second duration, and shortened at
    /// random. Default: 50ms..2s.
    pub backoff: Option<PeriodRange>,
    /// Which failures are worth another attempt. Default: [timeout, connection, busy].
    pub on: Option<Vec<RetryOn>>,
    /// How many retries there may be for 100 answers, a hedge being counted twice; a few more come each second. It is that of the system:
    /// steps that ask the same one share it. Default: 10%.
    pub budget: Option<Percent>,
}

/// A failure that may be gone a little later.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The attempt took longer than `timeout`, or the system said so itself.
    Timeout,
    /// The system could not be reached, or the connection broke.
    Connection,
    /// The system said that it is busy.
    Busy,
}

/// How records share calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Most records in one call. Default: 100, or `capacity` if that is less.
    pub size: Option<Count>,
    /// How long a part-filled call waits for more records while others are on the wire. Default: 2ms.
    pub linger: Option<Period>,
}

/// What becomes of a record for which the system has no answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It goes on, with null in the place of the result.
    #[default]
    Keep,
    /// It is dropped, and counted.
    Drop,
    /// It goes to the dead letters.
    DeadLetter,
    /// The run fails.
    Fail,
    /// It goes on, with this in the place of the result.
    Default(serde_json::Map<String, serde_json::Value>),
}

/// What becomes of a record whose look-up failed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// It goes on, with null in the place of the result.
    Keep,
    /// It goes to the dead letters.
    DeadLetter,
    /// It is dropped, and counted.
    Drop,
    /// It goes on, with this in the place of the result.
    Default(serde_json::Map<String, serde_json::Value>),
}
