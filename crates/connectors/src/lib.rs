//! The outside world of an inflight pipeline: where records come from, where they go, and what is looked up for them.
//!
//! ```text
//!   file, stdin                                             file, stdout
//!  JSON lines, CSV, gzip                                JSON lines, CSV, gzip
//!        |                                                       ^
//!        v                                                       |
//!   Source::read_batch --> Record --> (the pipeline) --> Record --> Sink::write
//!                                          |   ^
//!                                     Key  v   |  Option<Record>: found or missing
//!                                      SqliteLookup::lookup
//! ```
//!
//! Everything here but the look-ups over a network is synchronous and knows no engine: a host gives each source, sink and lookup a
//! thread of its own.
//! All of them move one kind of thing, the [`Record`], and fail with one kind of thing, the [`Error`], which says what
//! is wrong, where (file, line, column, record number), whether asking again makes sense, and what to do about it.
//!
//! A connector is made of the same files in each folder: `config.rs` is what a user writes in a pipeline file,
//! `source.rs` reads, `sink.rs` writes, `lookup.rs` answers questions by key.
//!
//! | system | read | write | look up | feature |
//! |---|---|---|---|---|
//! | files, stdin, stdout: JSON lines and CSV, plain or gzip | [`file::FileSource`] | [`file::FileSink`] | | always on |
//! | HTTP services that answer with JSON | | | `http::HttpLookup` | `http` |
//! | rows in memory, from a file or a pipeline | | | [`memory::MemoryLookup`] | always on |
//! | Kafka | `kafka::KafkaSource` | `kafka::KafkaSink` | | `kafka` |
//! | MySQL, MariaDB | | | `mysql::MysqlLookup` | `mysql` |
//! | PostgreSQL | | `postgres::PostgresSink` | `postgres::PostgresLookup` | `postgres` |
//! | Redis, single or cluster | | | `redis::RedisLookup` | `redis` |
//! | SQLite | | `sqlite::SqliteSink`; `sqlite::load`, from CSV files | `sqlite::SqliteLookup` | `sqlite`, on by default |
//!
//! # Example
//!
//! ```
//! use inflight_connectors::file::{FileSink, FileSinkConfig, FileSource, FileSourceConfig};
//! use inflight_connectors::{Sink, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (orders, copy) = (folder.path().join("orders.csv"), folder.path().join("orders.jsonl.gz"));
//! std::fs::write(&orders, "id,total\n1,9.5\n2,20\n")?;
//!
//! let mut source = FileSource::open(&FileSourceConfig::new(&orders))?;
//! let mut sink: Box<dyn Sink> = Box::new(FileSink::create(&FileSinkConfig::new(&copy))?);
//! let mut batch = Vec::new();
//! while source.read_batch(1000, &mut batch)? > 0 {
//!     for record in batch.drain(..) {
//!         sink.write(&record)?;
//!     }
//! }
//! sink.finish()?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod blank;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod digits;
pub mod duration;
mod error;
pub mod file;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod halves;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "http", feature = "mysql", feature = "postgres", feature = "redis"))]
mod key_text;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod lanes;
pub mod memory;
mod message;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod parameters;
mod partial;
mod path;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod renewed;
mod secret;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod select;
mod sink;
mod source;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod sslmode;
mod suggestion;
#[cfg(any(feature = "http", feature = "redis"))]
mod template;
#[cfg(any(feature = "http", feature = "mysql", feature = "redis"))]
mod tls;

pub use error::{Error, ErrorKind, Place};
pub use message::{Event, Malformed, Message, Messages};
pub use path::{FieldPath, FieldPathError};
pub use secret::Secret;
pub use sink::{Epochs, Guarantee, Origin, Sink};
pub use source::{Acknowledge, Position, Progress, Source};

/// One record: the fields of a JSON object, or of a row, in the order in which they were read.
pub type Record = serde_json::Map<String, serde_json::Value>;

/// What a lookup is asked for: one value per key column, in the order of the key columns.
pub type Key = Vec<serde_json::Value>;

/// What a look-up found for a key: a value, most often an object; `None` when there is none (*missing*). An error concerns
/// this key alone, not those that were asked for with it.
pub type Answer = Result<Option<serde_json::Value>, Error>;
