//! Values of the server as JSON.

use std::error::Error;

use serde_json::Value;
use tokio_postgres::types::{FromSql, Kind, Type};

use crate::digits::{double, hex, number_or_text};

/// A value in the server's binary form, read as JSON.
pub(super) struct Json(pub(super) Value);

impl<'a> FromSql<'a> for Json {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        value(of, raw).map(Self)
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(of: &Type) -> bool {
        is_read(of)
    }
}

/// Whether the binary form of the type is read here. All others the server must write as JSON.
pub(super) fn is_read(of: &Type) -> bool {
    match of.kind() {
        Kind::Array(element) => is_read(element) && !matches!(element.kind(), Kind::Array(_)),
        Kind::Enum(_) => true,
        _ => matches!(
            *of,
            Type::BOOL
                | Type::INT2
                | Type::INT4
                | Type::INT8
                | Type::FLOAT4
                | Type::FLOAT8
                | Type::NUMERIC
                | Type::TEXT
                | Type::VARCHAR
                | Type::BPCHAR
                | Type::NAME
                | Type::UUID
                | Type::JSON
                | Type::JSONB
                | Type::DATE
                | Type::TIMESTAMP
                | Type::TIMESTAMPTZ
                | Type::BYTEA
        ),
    }
}

type Read<T> = Result<T, Box<dyn Error + Sync + Send>>;

fn value(of: &Type, raw: &[u8]) -> Read<Value> {
    if let Kind::Array(element) = of.kind() {
        return array(element, raw);
    }
    Ok(match *of {
        Type::BOOL => Value::Bool(fixed::<1>(raw)? != [0]),
        Type::INT2 => i16::from_be_bytes(fixed(raw)?).into(),
        Type::INT4 => i32::from_be_bytes(fixed(raw)?).into(),
        Type::INT8 => i64::from_be_bytes(fixed(raw)?).into(),
        // By its own digits: 0.1 is 0.1 and not 0.10000000149011612.
        Type::FLOAT4 => double(f32::from_be_bytes(fixed(raw)?).to_string().parse()?),
        Type::FLOAT8 => double(f64::from_be_bytes(fixed(raw)?)),
        Type::NUMERIC => number_or_text(numeric(raw)?),
        Type::UUID => uuid(&fixed(raw)?).into(),
        Type::JSON => serde_json::from_slice(raw)?,
        // Before it stands the version of the form.
        Type::JSONB => serde_json::from_slice(raw.get(1..).unwrap_or_default())?,
        Type::DATE => date(i32::from_be_bytes(fixed(raw)?)).into(),
        Type::TIMESTAMP => timestamp(i64::from_be_bytes(fixed(raw)?), "").into(),
        Type::TIMESTAMPTZ => timestamp(i64::from_be_bytes(fixed(raw)?), "Z").into(),
        Type::BYTEA => format!("\\x{}", hex(raw)).into(),
        _ => std::str::from_utf8(raw)?.into(),
    })
}

fn fixed<const N: usize>(raw: &[u8]) -> Read<[u8; N]> {
    Ok(raw.try_into()?)
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex = hex(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Takes integers off the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length).ok_or("a value ends too early")?;
        self.0 = rest;
        Ok(front)
    }

    fn i16(&mut self) -> Read<i16> {
        Ok(i16::from_be_bytes(fixed(self.take(2)?)?))
    }

    fn i32(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(fixed(self.take(4)?)?))
    }
}

/// Dimensions, whether there are nulls, the type; length and first index of each dimension; the elements.
fn array(element: &Type, raw: &[u8]) -> Read<Value> {
    let mut bytes = Bytes(raw);
    let dimensions = bytes.i32()?;
    bytes.take(8)?;
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(bytes.i32()?);
        bytes.take(4)?;
    }
    match lengths.as_slice() {
        [] => Ok(Value::Array(Vec::new())),
        lengths => nested(element, lengths, &mut bytes),
    }
}

fn nested(element: &Type, lengths: &[i32], bytes: &mut Bytes<'_>) -> Read<Value> {
    let Some((length, inner)) = lengths.split_first() else {
        return match usize::try_from(bytes.i32()?) {
            Ok(length) => value(element, bytes.take(length)?),
            Err(_) => Ok(Value::Null),
        };
    };
    (0..*length).map(|_| nested(element, inner, bytes)).collect::<Read<Vec<_>>>().map(Value::Array)
}

/// Digits to the base of 10000, the exponent of the first, the sign, and how many decimals are shown.
fn numeric(raw: &[u8]) -> Read<String> {
    let mut bytes = Bytes(raw);
    let (count, weight, sign, decimals) = (bytes.i16()?, bytes.i16()?, bytes.i16()? as u16, bytes.i16()?);
    match sign {
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => {}
    }
    let digits = (0..count).map(|_| bytes.i16()).collect::<Read<Vec<_>>>()?;
    let digit = |exponent: i32| {
        let index = usize::try_from(i32::from(weight) - exponent).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let whole: String =
        (0..=i32::from(weight).max(0)).rev().map(|exponent| format!("{:04}", digit(exponent))).collect();
    let whole = whole.trim_start_matches('0');
    let mut text = if sign == 0x4000 { "-".to_owned() } else { String::new() };
    text += if whole.is_empty() { "0" } else { whole };
    let decimals = usize::try_from(decimals)?;
    if decimals > 0 {
        let groups = i32::try_from(decimals.div_ceil(4))?;
        let fraction: String = (1..=groups).map(|group| format!("{:04}", digit(-group))).collect();
        text = format!("{text}.{}", &fraction[..decimals]);
    }
    Ok(text)
}

/// Days since 2000-01-01.
fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (date, era) = civil(days.into());
            date + era
        }
    }
}

/// Microseconds since 2000-01-01.
fn timestamp(micros: i64, zone: &str) -> String {
    const DAY: i64 = 86_400_000_000;
    match micros {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let (date, era) = civil(micros.div_euclid(DAY));
    let time = micros.rem_euclid(DAY);
    let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
    let mut text = format!("{date}T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        text += format!(".{fraction:06}").trim_end_matches('0');
    }
    text + zone + era
}

/// Year, month and day, and what stands behind for years before the first. By Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (String, &'static str) {
    const TO_2000: i64 = 730_425; // days from 0000-03-01
    let days = days + TO_2000;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        1.. => (format!("{year:04}-{month:02}-{day:02}"), ""),
        _ => (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (-1, "1999-12-31"),
            (-10_957, "1970-01-01"),
            (36_584, "2100-03-01"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (i32::MAX, "infinity"),
        ] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(timestamp(-1, "Z"), "1999-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(1_500_000, ""), "2000-01-01T00:00:01.5");
    }

    #[test]
    fn damaged_values_are_refused() {
        assert!(value(&Type::INT4, &[1, 2]).is_err());
        assert!(value(&Type::NUMERIC, &[0, 5, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(value(&Type::INT4_ARRAY, &[0, 0, 0, 1, 0, 0, 0, 0]).is_err());
        assert!(value(&Type::TEXT, &[0xff]).is_err());
    }
}
