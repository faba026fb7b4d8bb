//! Records in formats that do not describe themselves, as those of checkpoints and of connections between processes: each value says what
//! it is. Numbers come out bit by bit as they went in, and fields in their order.

use std::borrow::Borrow;
use std::fmt;

use inflight_connectors::Record;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// For `#[serde(with)]`: a record, also a shared one.
pub(super) fn serialize<S: Serializer>(record: &impl Borrow<Record>, serializer: S) -> Result<S::Ok, S::Error> {
    Fields(record.borrow()).serialize(serializer)
}

pub(super) fn deserialize<'de, T: From<Record>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Record;
    impl<'de> Visitor<'de> for Record {
        type Value = Map<String, Value>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the fields of a record")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
            let mut record = Map::new();
            while let Some((name, field)) = fields.next_entry::<String, Field>()? {
                record.insert(name, field.into());
            }
            Ok(record)
        }
    }
    deserializer.deserialize_map(Record).map(T::from)
}

struct Fields<'a>(&'a Record);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, FieldRef::of(value))))
    }
}

/// A value that is written; [`Field`] is the same, read.
#[derive(serde::Serialize)]
enum FieldRef<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    List(Vec<Self>),
    Group(Fields<'a>),
}

#[derive(serde::Deserialize)]
enum Field {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Group(#[serde(with = "self")] Record),
}

impl<'a> FieldRef<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Self::Unsigned(number),
                (None, Some(number)) => Self::Signed(number),
                // Every number is one of three.
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(text),
            Value::Array(list) => Self::List(list.iter().map(Self::of).collect()),
            Value::Object(group) => Self::Group(Fields(group)),
        }
    }
}

impl From<Field> for Value {
    fn from(field: Field) -> Self {
        match field {
            Field::Null => Self::Null,
            Field::Bool(value) => Self::Bool(value),
            Field::Unsigned(number) => number.into(),
            Field::Signed(number) => number.into(),
            Field::Float(number) => Number::from_f64(number).map_or(Self::Null, Self::Number),
            Field::Text(text) => Self::String(text),
            Field::List(list) => list.into_iter().map(Self::from).collect(),
            Field::Group(group) => Self::Object(group),
        }
    }
}

/// For `#[serde(with)]`: any value.
pub(super) mod value {
    use super::{Deserialize, Deserializer, Field, FieldRef, Serialize, Serializer, Value};

    pub(in super::super) fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        FieldRef::of(value).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Field::deserialize(deserializer).map(Value::from)
    }
}
