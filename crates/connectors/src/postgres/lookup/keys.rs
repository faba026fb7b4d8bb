//! Keys on their way to the server: an array for each key column.

use std::borrow::Cow;

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use crate::Error;
use crate::digits::whole;
use crate::key_text::key_text;
use crate::postgres::quoted;

/// How the values of a key column travel.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum KeyType {
    /// As int8, which compares with all integers, and of which the server makes this type.
    Integer {
        to: &'static str,
    },
    Text,
    /// As text, which the server converts to this type.
    Converted(String),
}

pub(super) type Column<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// The value of one key in one column.
#[derive(Debug, Eq, Hash, PartialEq)]
pub(super) enum Part<'a> {
    Integer(i64),
    Text(Cow<'a, str>),
}

impl KeyType {
    /// For a column of this type.
    pub(super) fn of_column(type_name: &str) -> Self {
        match type_name {
            "smallint" | "integer" | "bigint" => Self::Integer { to: "int8" },
            "text" | "character varying" => Self::Text,
            other => Self::Converted(other.to_owned()),
        }
    }

    /// For a parameter of this type.
    pub(super) fn of_parameter(of: &Type) -> Self {
        match *of {
            Type::INT2 => Self::Integer { to: "int2" },
            Type::INT4 => Self::Integer { to: "int4" },
            Type::INT8 => Self::Integer { to: "int8" },
            Type::TEXT => Self::Text,
            _ => Self::Converted(format!("{}.{}", quoted(of.schema()), quoted(of.name()))),
        }
    }

    /// The parameter with this number, as an array of the type.
    pub(super) fn array(&self, number: usize) -> String {
        match self {
            Self::Integer { to } => format!("${number}::int8[]::{to}[]"),
            Self::Text => format!("${number}::text[]"),
            Self::Converted(to) => format!("${number}::text[]::{to}[]"),
        }
    }

    /// The value as it travels; none when no integer column can have it.
    pub(super) fn part<'a>(&self, value: &'a Value) -> Result<Option<Part<'a>>, Error> {
        if let (Self::Integer { .. }, Some(number)) = (self, value.as_i64()) {
            return Ok(Some(Part::Integer(number)));
        }
        let Some(text) = key_text(value)? else { return Ok(None) };
        match self {
            Self::Integer { .. } => {
                let number = whole(&text)?.and_then(|number| i64::try_from(number).ok());
                Ok(number.map(Part::Integer))
            }
            _ => Ok(Some(Part::Text(text))),
        }
    }

    /// The parts of all keys in one column, in the form the driver takes.
    pub(super) fn column<'a>(&self, parts: impl Iterator<Item = &'a Part<'a>>) -> Column<'a> {
        match self {
            Self::Integer { .. } => {
                let number = |part: &Part<'_>| if let Part::Integer(number) = part { *number } else { 0 };
                Box::new(parts.map(number).collect::<Vec<i64>>())
            }
            _ => {
                let text = |part: &'a Part<'a>| if let Part::Text(text) = part { text.as_ref() } else { "" };
                Box::new(parts.map(text).collect::<Vec<&str>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_are_found_in_numbers_and_texts() {
        let integer = KeyType::of_column("integer");
        let part = |value: &Value| match integer.part(value) {
            Ok(Some(Part::Integer(number))) => Ok(Some(number)),
            Ok(_) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        for value in [json!(7), json!(7.0), json!("7"), json!(" 7 ")] {
            assert_eq!(part(&value), Ok(Some(7)));
        }
        for value in [json!(7.5), json!(u64::MAX), json!(1e300), json!("99999999999999999999")] {
            assert_eq!(part(&value), Ok(None));
        }
        assert!(part(&json!("seven")).unwrap_err().contains("\"seven\" is not a number"));
        assert!(part(&json!([7])).unwrap_err().contains("cannot be a key"));
        assert!(part(&json!(true)).is_err());
    }

    #[test]
    fn other_types_travel_as_text() {
        let numeric = KeyType::of_column("numeric");
        assert_eq!(numeric.array(2), "$2::text[]::numeric[]");
        assert_eq!(KeyType::of_parameter(&Type::NUMERIC).array(1), "$1::text[]::\"pg_catalog\".\"numeric\"[]");
        assert_eq!(numeric.part(&json!(1.5)).unwrap(), Some(Part::Text("1.5".into())));
        assert_eq!(KeyType::of_column("boolean").part(&json!(true)).unwrap(), Some(Part::Text("true".into())));
    }
}
