//! Durations as people write them: `250ms`, `5s`, `2m`, `1h`.
//!
//! Used by configuration types as `#[serde(with = "inflight_connectors::duration")]`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reads a duration: a whole number and a unit, one of `ms`, `s`, `m`, `h`.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(inflight_connectors::duration::parse("250ms"), Ok(Duration::from_millis(250)));
/// assert!(inflight_connectors::duration::parse("250").is_err());
/// ```
///
/// # Errors
///
/// A sentence that says what is wrong with the text and how a duration is written.
pub fn parse(text: &str) -> Result<Duration, String> {
    let explain =
        || format!("\"{text}\" is not a duration; write a whole number and a unit, as in 250ms, 5s, 2m or 1h");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| explain())?;
    let millis = match unit.trim_start() {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(explain()),
    };
    millis.map(Duration::from_millis).ok_or_else(|| format!("\"{text}\" is too long a time"))
}

/// Writes a duration in the largest unit that divides it; anything finer than a millisecond is cut off.
pub fn format(duration: &Duration) -> String {
    let millis = duration.as_millis();
    [(3_600_000, "h"), (60_000, "m"), (1000, "s")]
        .into_iter()
        .find(|(size, _)| millis > 0 && millis.is_multiple_of(*size))
        .map_or_else(|| format!("{millis}ms"), |(size, unit)| format!("{}{unit}", millis / size))
}

/// For `#[serde(with)]`.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    format(duration).serialize(serializer)
}

/// For `#[serde(with)]`.
///
/// # Errors
///
/// When the value is not a text, or [`parse`] refuses it.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A duration that may be absent.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0ms", "1ms", "1500ms", "2s", "90s", "5m", "24h"] {
            assert_eq!(format(&parse(text).unwrap()), text, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_durations_are_refused_with_an_example() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 minutes", "5S", "99999999999999999999s"] {
            assert!(parse(text).unwrap_err().contains("250ms"), "{text}");
        }
        assert!(parse("18446744073709551615h").unwrap_err().contains("too long"));
    }
}
