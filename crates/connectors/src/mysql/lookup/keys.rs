//! Keys on their way to the server.

use mysql_async::Value as Part;
use serde_json::Value;

use crate::digits::whole;
use crate::key_text::key_text;
use crate::mysql::table::Column;
use crate::{Error, ErrorKind};

use super::moment::in_utc;

/// How the values of a key column travel, so that the server compares them as the type of the column does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum KeyType {
    Whole,
    Decimal,
    Double,
    /// A double that has gone through four bytes.
    Float,
    Text,
    Bytes,
    /// A date, with or without a time, in UTC.
    Moment,
    /// Of a parameter of a query, whose type nobody knows: as the record has it.
    AsItIs,
}

impl KeyType {
    /// For a column.
    pub(super) fn of_column(column: &Column) -> Result<Self, Error> {
        Ok(match column.base_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "bit" => Self::Whole,
            "decimal" => Self::Decimal,
            "double" => Self::Double,
            "float" => Self::Float,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "date" | "datetime" | "timestamp" => Self::Moment,
            _ if column.is_json || is_shape(&column.base_type) => {
                let (name, of) = (&column.name, &column.type_name);
                let message = format!("the column \"{name}\" cannot be a key, as it is of type {of}; write a `query`");
                return Err(Error::new(ErrorKind::Config, message));
            }
            _ => Self::Text,
        })
    }

    /// What stands for the value in a statement.
    pub(super) fn placeholder(self) -> &'static str {
        match self {
            // Else the server would compare as doubles, and look at every row.
            Self::Decimal => "cast(? as decimal(65, 30))",
            _ => "?",
        }
    }

    /// The value as it travels; none when no column of the type can have it.
    pub(super) fn part(self, value: &Value) -> Result<Option<Part>, Error> {
        if let (Self::Whole | Self::AsItIs, Value::Bool(yes)) = (self, value) {
            return Ok(Some(Part::Int((*yes).into())));
        }
        if let (Self::AsItIs, Value::Number(number)) = (self, value) {
            return Ok(Some(match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Part::Int(number),
                (_, Some(number)) => Part::UInt(number),
                _ => Part::Double(number.as_f64().unwrap_or_default()),
            }));
        }
        let Some(text) = key_text(value)? else { return Ok(None) };
        match self {
            Self::Whole => Ok(whole(&text)?.and_then(whole_part)),
            Self::Decimal => number(&text).map(|_| Some(Part::Bytes(text.trim().as_bytes().to_vec()))),
            Self::Double => number(&text).map(|number| Some(Part::Double(number))),
            Self::Float => number(&text).map(|number| Some(Part::Double(f64::from(number as f32)))),
            Self::Moment => in_utc(&text).map(|moment| Some(Part::Bytes(moment.into_bytes()))),
            Self::Bytes => bytes(&text).map(|bytes| Some(Part::Bytes(bytes))),
            Self::Text | Self::AsItIs => Ok(Some(Part::Bytes(text.into_owned().into_bytes()))),
        }
    }
}

/// Whether it is a type of points, lines and areas, which have no form that JSON could take.
fn is_shape(base_type: &str) -> bool {
    const SHAPES: [&str; 4] = ["geom", "point", "linestring", "polygon"];
    SHAPES.iter().any(|shape| base_type.contains(shape))
}

fn whole_part(number: i128) -> Option<Part> {
    i64::try_from(number).map(Part::Int).or_else(|_| u64::try_from(number).map(Part::UInt)).ok()
}

/// The number in a part that is one.
pub(super) fn whole_of(part: &Part) -> Option<i128> {
    match part {
        Part::Int(number) => Some((*number).into()),
        Part::UInt(number) => Some((*number).into()),
        _ => None,
    }
}

fn number(text: &str) -> Result<f64, Error> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .ok_or_else(|| Error::new(ErrorKind::Malformed, format!("\"{text}\" is not a number, as the column has them")))
}

/// The bytes of the text, or those that it says after `\x`.
fn bytes(text: &str) -> Result<Vec<u8>, Error> {
    let Some(digits) = text.strip_prefix("\\x") else { return Ok(text.as_bytes().to_vec()) };
    let pair = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    digits.as_bytes().chunks(2).map(pair).collect::<Option<_>>().ok_or_else(|| {
        Error::new(ErrorKind::Malformed, format!("\"{text}\" is not made of pairs of hexadecimal digits after \\x"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(base_type: &str) -> Column {
        let (name, type_name, base_type) = ("c".to_owned(), base_type.to_owned(), base_type.to_owned());
        Column { name, type_name, base_type, is_unique: false, is_json: false }
    }

    fn part(base_type: &str, value: Value) -> Result<Option<Part>, String> {
        KeyType::of_column(&column(base_type)).unwrap().part(&value).map_err(|error| error.to_string())
    }

    fn text(text: &str) -> Result<Option<Part>, String> {
        Ok(Some(Part::Bytes(text.as_bytes().to_vec())))
    }

    #[test]
    fn values_are_those_of_the_column() {
        for value in [json!(7), json!(7.0), json!("7"), json!(" 7 ")] {
            assert_eq!(part("int", value), Ok(Some(Part::Int(7))));
        }
        assert_eq!(part("bigint", json!(u64::MAX)), Ok(Some(Part::UInt(u64::MAX))));
        assert_eq!(part("bigint", json!("99999999999999999999")), Ok(None));
        assert_eq!(
            (part("tinyint", json!(true)), part("varchar", json!(true))),
            (Ok(Some(Part::Int(1))), text("true"))
        );
        assert_eq!((part("varchar", json!(7)), part("decimal", json!(1.5))), (text("7"), text("1.5")));
        assert_eq!(part("float", json!(0.1)), Ok(Some(Part::Double(f64::from(0.1_f32)))));
        assert_eq!(part("datetime", json!("2026-01-31T13:00:00+01:00")), text("2026-01-31 12:00:00"));
        assert_eq!(part("binary", json!("\\x00fF")), Ok(Some(Part::Bytes(vec![0, 255]))));
        assert_eq!(part("int", Value::Null), Ok(None));
        assert_eq!(KeyType::AsItIs.part(&json!(1.5)).unwrap(), Some(Part::Double(1.5)));
    }

    #[test]
    fn what_the_column_cannot_have_is_refused() {
        for (of, value, expected) in [
            ("int", json!("seven"), "not a number"),
            ("decimal", json!("seven"), "not a number"),
            ("double", json!("NaN"), "not a number"),
            ("date", json!("tomorrow"), "neither a date nor a time"),
            ("blob", json!("\\x0"), "pairs of hexadecimal digits"),
            ("blob", json!("\\xä"), "pairs of hexadecimal digits"),
            ("blob", json!("\\x+1"), "pairs of hexadecimal digits"),
            ("varchar", json!([7]), "cannot be a key"),
        ] {
            assert!(part(of, value).unwrap_err().contains(expected), "{of}");
        }
        for of in ["geometry", "point", "multipolygon"] {
            assert!(KeyType::of_column(&column(of)).is_err(), "{of}");
        }
    }
}
