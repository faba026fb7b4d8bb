//! Where records come from and where they go, as typed.

use std::collections::BTreeMap;

use inflight_connectors::file::{ColumnType, Compression, FileSinkConfig, FileSourceConfig, Format, MAX_LINE_BYTES};
#[cfg(feature = "kafka")]
use inflight_connectors::kafka::{KafkaSinkConfig, KafkaSourceConfig};
use inflight_connectors::nats::{NatsSinkConfig, NatsSourceConfig};
use inflight_connectors::postgres::PostgresSinkConfig;
use inflight_connectors::sqlite::SqliteSinkConfig;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

#[cfg(not(feature = "kafka"))]
use super::not_built_in::{NoKafka as KafkaSinkConfig, NoKafka as KafkaSourceConfig};
use crate::pipeline;

/// Where records come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = |schema: &mut Schema| word_alone(schema, "stdin"))]
pub enum Source {
    /// A file: JSON lines or CSV, plain or gzip.
    File(FileSourceConfig),
    /// Standard input.
    Stdin(Stdin),
    /// Topics of Kafka.
    Kafka(KafkaSourceConfig),
    /// A stream of NATS JetStream.
    Nats(NatsSourceConfig),
}

/// Where records go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = |schema: &mut Schema| word_alone(schema, "stdout"))]
pub enum Sink {
    /// A file: JSON lines or CSV, plain or gzip. It gets its name when it is complete.
    File(FileSinkConfig),
    /// Standard output.
    Stdout(Stdout),
    /// A table of an SQLite database.
    Sqlite(SqliteSinkConfig),
    /// A table of a PostgreSQL database.
    Postgres(PostgresSinkConfig),
    /// A topic of Kafka.
    Kafka(KafkaSinkConfig),
    /// A subject of NATS JetStream.
    Nats(NatsSinkConfig),
}

/// Records from standard input.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdin {
    /// Default: JSON lines.
    pub format: Option<Format>,
    /// Default: none.
    pub compression: Option<Compression>,
    /// CSV only: what separates fields. Default: a comma.
    pub delimiter: Option<char>,
    /// CSV only: texts that stand for no value, such as `NA`, in any column. Default: none.
    #[serde(default)]
    pub null: Vec<String>,
    /// CSV only: types of columns. Columns not named here are text.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnType>,
    /// Longest line, or longest CSV record, in bytes. Default: 16 MiB.
    pub max_line_bytes: Option<usize>,
}

/// Records to standard output.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdout {
    /// Default: JSON lines.
    pub format: Option<Format>,
    /// Default: none.
    pub compression: Option<Compression>,
    /// CSV only: what separates fields. Default: a comma.
    pub delimiter: Option<char>,
    /// CSV only: the text written for no value. Default: an empty field.
    pub null: Option<String>,
}

/// `stdin` is the same as `stdin: {}`.
fn word_alone(schema: &mut Schema, word: &str) {
    if let Some(choices) = schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut) {
        choices.push(json!({ "const": word }));
    }
}

/// The path that stands for standard input and output.
pub const STANDARD: &str = "-";

impl Source {
    /// The same as needed: a connector calls standard input `-`.
    pub fn into_config(self) -> pipeline::Source {
        match self {
            Self::File(config) => pipeline::Source::File(config),
            Self::Nats(config) => pipeline::Source::Nats(config),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => pipeline::Source::Kafka(config),
            #[cfg(not(feature = "kafka"))]
            Self::Kafka(never) => match never {},
            Self::Stdin(stdin) => pipeline::Source::File(FileSourceConfig {
                path: STANDARD.into(),
                paths: Vec::new(),
                format: stdin.format,
                compression: stdin.compression,
                delimiter: stdin.delimiter,
                null: stdin.null,
                columns: stdin.columns,
                max_line_bytes: stdin.max_line_bytes.unwrap_or(MAX_LINE_BYTES),
            }),
        }
    }
}

impl Sink {
    /// The same as needed: a connector calls standard output `-`.
    pub fn into_config(self) -> pipeline::Sink {
        match self {
            Self::File(config) => pipeline::Sink::File(config),
            Self::Nats(config) => pipeline::Sink::Nats(config),
            Self::Sqlite(config) => pipeline::Sink::Sqlite(config),
            Self::Postgres(config) => pipeline::Sink::Postgres(config),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => pipeline::Sink::Kafka(config),
            #[cfg(not(feature = "kafka"))]
            Self::Kafka(never) => match never {},
            Self::Stdout(stdout) => pipeline::Sink::File(FileSinkConfig {
                path: STANDARD.into(),
                format: stdout.format,
                compression: stdout.compression,
                delimiter: stdout.delimiter,
                null: stdout.null,
            }),
        }
    }
}
