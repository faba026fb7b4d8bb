//! Systems that this program was built without: their names are known, so that the message can say what to do.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};

macro_rules! not_built_in {
    ($never:ident, $name:literal, $feature:literal) => {
        #[doc = concat!("What would stand under `", $feature, "`.")]
        #[derive(Clone, Debug)]
        pub enum $never {}

        impl<'de> Deserialize<'de> for $never {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                let install = concat!("install it with: cargo install inflight-cli --features ", $feature);
                Err(D::Error::custom(format!("this program was built without {}; {install}", $name)))
            }
        }

        impl JsonSchema for $never {
            fn schema_name() -> Cow<'static, str> {
                stringify!($never).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "not": {}, "description": concat!("This program was built without ", $name, ".") })
            }
        }
    };
}

#[cfg(not(feature = "kafka"))]
not_built_in!(NoKafka, "Kafka", "kafka");
#[cfg(not(feature = "mysql"))]
not_built_in!(NoMysql, "MySQL", "mysql");
