//! Systems that this program was built without: their names are known, so that the message can say what to do.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};

/// What would stand under `kafka`.
#[derive(Clone, Debug)]
pub enum NoKafka {}

impl<'de> Deserialize<'de> for NoKafka {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "this program was built without Kafka; install it with: cargo install inflight-cli --features kafka",
        ))
    }
}

impl JsonSchema for NoKafka {
    fn schema_name() -> Cow<'static, str> {
        "NoKafka".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "not": {}, "description": "This program was built without Kafka." })
    }
}
