//! Settings that are a number, or a word in its place, to most people and a group of keys to some: `retries: 3`,
//! `retries: { max: 3, on: [busy] }`; `breaker: off`, `breaker: { open_for: 5s }`.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, Visitor};

/// One value, or the same with details.
#[derive(Clone, Debug, JsonSchema, PartialEq)]
#[schemars(untagged)]
pub enum NumberOr<N, G> {
    /// Just the number, or the word.
    Number(N),
    /// A group of keys.
    Group(G),
}

impl<'de, N: Deserialize<'de>, G: Deserialize<'de>> Deserialize<'de> for NumberOr<N, G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrVisitor(PhantomData))
    }
}

struct NumberOrVisitor<N, G>(PhantomData<(N, G)>);

impl<'de, N: Deserialize<'de>, G: Deserialize<'de>> Visitor<'de> for NumberOrVisitor<N, G> {
    type Value = NumberOr<N, G>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value or a group of keys")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        N::deserialize(number.into_deserializer()).map(NumberOr::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        N::deserialize(text.into_deserializer()).map(NumberOr::Number)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        G::deserialize(MapAccessDeserializer::new(map)).map(NumberOr::Group)
    }
}
