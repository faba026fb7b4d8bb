//! How a step treats the system that it asks, as typed: what is kept, shared, asked twice and held back.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::units::{Count, Percent, Period, Rate};

/// Most calls at a time: a number, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallLimit {
    /// As many as the system works best with, found by trying.
    Auto,
    /// So many.
    Calls(Count),
}

/// Most calls at a time, found by trying.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallRange {
    /// Never fewer. Default: 1.
    pub min: Option<Count>,
    /// Never more. Default: 400, or `capacity` if that is less.
    pub max: Option<Count>,
}

/// Answers that are kept in memory and used again. One cache serves all workers of a process.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Answers that are kept, about; those that are used often stay. Default: 100k.
    pub entries: Option<Count>,
    /// How long an answer is used: so old it may be.
    pub ttl: Period,
    /// How long it is used that there is no answer. Default: 30s, or `ttl` if that is less.
    pub missing_ttl: Option<Period>,
    /// How long after its `ttl` an answer is still used while a newer one is fetched in the background. Default: not at all.
    pub stale_for: Option<Period>,
}

/// How many calls may start in a second.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// In all: such as 500/s.
    pub rate: Option<Rate>,
    /// How many may start at once after a quiet time. Default: a tenth of what may start in a second.
    pub burst: Option<Count>,
    /// For each key: such as 5/s.
    pub per_key: Option<Rate>,
}

/// When the system is left alone because it fails, and when it is tried again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// The share of the latest calls that must have failed. Default: 50%.
    pub failures: Option<Percent>,
    /// The latest calls that are looked at. Default: 20.
    pub window: Option<Count>,
    /// Calls that must have ended before anything is said about them. Default: 5, or `window` if that is less.
    pub min_calls: Option<Count>,
    /// How long the system is left alone. Default: 1s.
    pub open_for: Option<Period>,
    /// Calls that then try whether it is back. Default: 3.
    pub probes: Option<Count>,
}

/// When a second call is made because the first takes long.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// When the first has taken so long. Default: longer than nearly all calls of late.
    pub delay: Option<Period>,
}

/// A policy as it is by default, or none.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// As it is by default.
    On,
    /// Not at all.
    Off,
}

impl<'de> Deserialize<'de> for CallLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limit;
        impl Visitor<'_> for Limit {
            type Value = CallLimit;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number such as 500 or 10k, or the word auto")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CallLimit, E> {
                Count::deserialize(de::value::U64Deserializer::new(number)).map(CallLimit::Calls)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<CallLimit, E> {
                if text == "auto" {
                    Ok(CallLimit::Auto)
                } else {
                    Count::parse(text).map(CallLimit::Calls).map_err(E::custom)
                }
            }
        }
        deserializer.deserialize_any(Limit)
    }
}

impl JsonSchema for CallLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CallLimit".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "const": "auto" }, generator.subschema_for::<Count>()] })
    }
}
