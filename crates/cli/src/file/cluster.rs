//! Several processes, as typed.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Processes that run the pipeline together. All of them get the same file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Where each process listens, as `host:port`: a list, or a file with one in each line. The first is process 0, which
    /// writes the output.
    pub hosts: Hosts,
    /// Which of them this process is, from 0. Better given as `--process`, or in the environment as `INFLIGHT_PROCESS`, so
    /// that the file is the same for all.
    pub process: Option<usize>,
    /// How long to wait for the others at the start. Default: 30s.
    pub connect_within: Option<Period>,
    /// How long a process may be silent until the others take it for dead, and stop. Default: 10s.
    pub silent_after: Option<Period>,
}

/// Where the processes listen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Hosts {
    /// Each as `host:port`.
    List(Vec<String>),
    /// A file with one in each line; what follows a `#` is a comment.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrFile;
        impl<'de> Visitor<'de> for ListOrFile {
            type Value = Hosts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list such as [a:7100, b:7100], or the path of a file with one `host:port` in each line")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<Hosts, E> {
                Ok(Hosts::File(path.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Hosts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Hosts::List)
            }
        }
        deserializer.deserialize_any(ListOrFile)
    }
}

impl JsonSchema for Hosts {
    fn schema_name() -> Cow<'static, str> {
        "Hosts".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`host:port` of each process, or a file with one in each line",
            "oneOf": [
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                { "type": "string", "minLength": 1 },
            ],
        })
    }
}
