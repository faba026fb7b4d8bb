//! Values of the server as JSON.

use mysql_async::Value as Raw;
use mysql_async::consts::{ColumnFlags, ColumnType};
use serde_json::Value;

use crate::digits::{double, hex, number_or_text};
use crate::mysql::table;

/// How the values of one column of the answers are read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) name: String,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Bool,
    Bits,
    Decimal,
    Json,
    Bytes,
    Date,
    /// A date and a time, with this behind it.
    Moment(&'static str),
    /// What says by itself what it is: numbers, texts, times of the day.
    Plain,
}

impl Read {
    /// As the server describes a column of the answers; none if it has no form that JSON could take. What the table says of it in
    /// addition is in `known`.
    pub(super) fn new(column: &mysql_async::Column, known: Option<&table::Column>) -> Option<Self> {
        /// The character set of what is no text.
        const BINARY: u16 = 63;
        let is_bool = |of: &table::Column| of.type_name == "tinyint(1)" || of.type_name == "bit(1)";
        let of = match column.column_type() {
            ColumnType::MYSQL_TYPE_GEOMETRY => return None,
            _ if known.is_some_and(is_bool) => Of::Bool,
            _ if known.is_some_and(|known| known.is_json) => Of::Json,
            ColumnType::MYSQL_TYPE_JSON => Of::Json,
            ColumnType::MYSQL_TYPE_TINY | ColumnType::MYSQL_TYPE_BIT if column.column_length() == 1 => Of::Bool,
            ColumnType::MYSQL_TYPE_BIT => Of::Bits,
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Of::Decimal,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Of::Date,
            ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => Of::Moment(""),
            ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => Of::Moment("Z"),
            _ if column.character_set() == BINARY && column.flags().contains(ColumnFlags::BINARY_FLAG) => Of::Bytes,
            _ => Of::Plain,
        };
        Some(Self { name: column.name_str().into_owned(), of })
    }

    pub(super) fn value(&self, raw: Raw) -> Result<Value, String> {
        Ok(match (self.of, raw) {
            (_, Raw::NULL) => Value::Null,
            (Of::Bool, Raw::Int(number @ 0..=1)) => Value::Bool(number == 1),
            (Of::Bool | Of::Bits, Raw::Bytes(bits)) => match (self.of, number(&bits)?) {
                (Of::Bool, number @ 0..=1) => Value::Bool(number == 1),
                (_, number) => number.into(),
            },
            (_, Raw::Int(number)) => number.into(),
            (_, Raw::UInt(number)) => number.into(),
            // By its own digits: 0.1 is 0.1 and not 0.10000000149011612.
            (_, Raw::Float(number)) => {
                double(number.to_string().parse().map_err(|_| "a number that is none".to_owned())?)
            }
            (_, Raw::Double(number)) => double(number),
            (Of::Json, Raw::Bytes(bytes)) => serde_json::from_slice(&bytes).map_err(|error| error.to_string())?,
            (Of::Bytes, Raw::Bytes(bytes)) => format!("\\x{}", hex(&bytes)).into(),
            (Of::Decimal, Raw::Bytes(bytes)) => number_or_text(text(bytes)?),
            (_, Raw::Bytes(bytes)) => text(bytes)?.into(),
            (Of::Date, Raw::Date(year, month, day, ..)) => format!("{year:04}-{month:02}-{day:02}").into(),
            (of, Raw::Date(year, month, day, hour, minute, second, micros)) => {
                let zone = if let Of::Moment(zone) = of { zone } else { "" };
                let time = format!("{hour:02}:{minute:02}:{second:02}{}", fraction(micros));
                format!("{year:04}-{month:02}-{day:02}T{time}{zone}").into()
            }
            (_, Raw::Time(is_negative, days, hours, minutes, seconds, micros)) => {
                let sign = if is_negative { "-" } else { "" };
                let hours = u64::from(days) * 24 + u64::from(hours);
                format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(micros)).into()
            }
        })
    }
}

/// Bits, of which the first byte has the highest.
fn number(bits: &[u8]) -> Result<u64, String> {
    match bits.len() {
        0..=8 => Ok(bits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
        length => Err(format!("bits of {length} bytes")),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn fraction(micros: u32) -> String {
    match micros {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_become_json() {
        for (of, raw, expected) in [
            (Of::Plain, Raw::UInt(u64::MAX), json!(u64::MAX)),
            (Of::Plain, Raw::Float(0.1), json!(0.1)),
            (Of::Bool, Raw::Int(1), json!(true)),
            (Of::Bool, Raw::Int(2), json!(2)),
            (Of::Bool, Raw::Bytes(vec![0]), json!(false)),
            (Of::Bits, Raw::Bytes(vec![1, 2]), json!(258)),
            (Of::Decimal, Raw::Bytes(b"12.50".to_vec()), json!(12.5)),
            (Of::Bytes, Raw::Bytes(vec![0, 255]), json!("\\x00ff")),
            (Of::Date, Raw::Date(2026, 1, 31, 0, 0, 0, 0), json!("2026-01-31")),
            (Of::Moment("Z"), Raw::Date(2026, 1, 31, 12, 0, 0, 250_000), json!("2026-01-31T12:00:00.25Z")),
            (Of::Moment(""), Raw::Date(2026, 1, 31, 0, 0, 0, 0), json!("2026-01-31T00:00:00")),
            (Of::Plain, Raw::Time(true, 1, 2, 30, 0, 500_000), json!("-26:30:00.5")),
            (Of::Json, Raw::Bytes(b"[1, null]".to_vec()), json!([1, null])),
            (Of::Json, Raw::NULL, Value::Null),
        ] {
            let read = Read { name: "a".to_owned(), of };
            assert_eq!(read.value(raw), Ok(expected));
        }
    }

    #[test]
    fn damaged_values_are_refused() {
        for (of, bytes) in [(Of::Plain, &[0xff][..]), (Of::Json, b"{"), (Of::Bits, &[0; 9])] {
            assert!(Read { name: "a".to_owned(), of }.value(Raw::Bytes(bytes.to_vec())).is_err());
        }
    }
}
