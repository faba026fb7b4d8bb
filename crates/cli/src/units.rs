//! Durations, counts and ranges, written in plain words: `2ms`, `10k`, `50ms..2s`.
//!
//! Zero is refused everywhere: it never means "no limit" here, and nobody should have to guess.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// Longest duration that is accepted: one day. A longer one is a typing error.
pub const PERIOD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest count that is accepted.
pub const COUNT_MAX: u64 = 1_000_000_000;

/// A duration such as `2ms`, `1s`, `1.5s`, `5m` or `1h`; more than zero, at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A whole number such as `100`, `10k` (10,000) or `2M`; more than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A number of calls in a second, such as `500/s`, or in a minute or an hour where that is one a second at least: `6000/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u32);

/// A share such as `10%` or `0.5%`, in thousandths; more than zero, at most all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// How often to try again: a whole number from 0, which is never, to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryCount(pub u32);

/// Most retries that are accepted.
pub const RETRIES_MAX: u32 = 100;

/// A range of durations such as `50ms..2s`; the first is not longer than the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodRange {
    /// Where it starts.
    pub from: Duration,
    /// Where it ends, included.
    pub to: Duration,
}

impl Period {
    /// Reads `2ms`, `1s`, `1.5s`, `5m`, `1h`.
    ///
    /// # Errors
    /// What is wrong in the first line, what to write in the second.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write a number with a unit: us, ms, s, m or h, such as 250ms";
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" if !number.is_empty() => return Err(format!("the duration `{text}` has no unit\n{WRITE}")),
            _ => return Err(format!("`{text}` is not a duration\n{WRITE}")),
        };
        let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a duration\n{WRITE}"))?;
        let seconds = number * seconds;
        if seconds > PERIOD_MAX.as_secs_f64() {
            return Err(format!("the duration `{text}` is too long\nat most {}", Self(PERIOD_MAX)));
        }
        // Rounded, because 0.3 * 1e-3 is not 300 us to the last bit.
        let nanos = (seconds * 1e9).round();
        match Duration::from_nanos(nanos as u64) {
            Duration::ZERO => Err(format!("the duration `{text}` is zero\nzero never means \"no limit\"; {WRITE}")),
            period => Ok(Self(period)),
        }
    }
}

impl Count {
    /// Reads `100`, `10k`, `2M`.
    ///
    /// # Errors
    /// What is wrong in the first line, what to write in the second.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write a whole number, such as 500 or 10k (10,000) or 2M";
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let factor = match &text[digits..] {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            _ => return Err(format!("`{text}` is not a count\n{WRITE}")),
        };
        let number: u64 = text[..digits].parse().map_err(|_| format!("`{text}` is not a count\n{WRITE}"))?;
        Self::checked(number.saturating_mul(factor))
    }

    fn checked(count: u64) -> Result<Self, String> {
        match count {
            0 => Err("`0` is refused here\nzero never means \"no limit\"; write 1 or more".to_owned()),
            1..=COUNT_MAX => Ok(Self(count)),
            _ => Err(format!("the count {count} is too large\nat most {COUNT_MAX}")),
        }
    }
}

impl PeriodRange {
    /// Reads `50ms..2s`, or `50ms` for a range of one duration.
    ///
    /// # Errors
    /// What is wrong in the first line, what to write in the second.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (from, to) = (Period::parse(from.trim())?.0, Period::parse(to.trim())?.0);
        if from > to {
            return Err(format!("the range `{text}` runs backwards\nwrite the shorter duration first"));
        }
        Ok(Self { from, to })
    }
}

impl Rate {
    /// Reads `500/s`, `10k/s`, `6000/m`.
    ///
    /// # Errors
    /// What is wrong in the first line, what to write in the second.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write a whole number of calls with a time, such as 500/s, 6000/m or 10k/s";
        let (number, unit) = text.split_once('/').ok_or_else(|| format!("`{text}` is not a rate\n{WRITE}"))?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(format!("`{text}` is not a rate\n{WRITE}")),
        };
        let per_second = Count::parse(number.trim())?.0 / seconds;
        match u32::try_from(per_second) {
            Ok(0) => Err(format!("the rate `{text}` is less than one call in a second\nwrite 1/s or more")),
            Ok(per_second) => Ok(Self(per_second)),
            Err(_) => Err(format!("the rate `{text}` is too large\nat most {}/s", u32::MAX)),
        }
    }
}

impl Percent {
    /// Reads `10%`, `0.5%`.
    ///
    /// # Errors
    /// What is wrong in the first line, what to write in the second.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write a number with a percent sign, such as 10% or 0.5%";
        let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
        let number = number.ok_or_else(|| format!("`{text}` is not a share\n{WRITE}"))?;
        let per_mille = (number * 10.0).round();
        if !(1.0..=1_000.0).contains(&per_mille) {
            return Err(format!("the share `{text}` is out of range\nfrom 0.1% to 100%"));
        }
        Ok(Self(per_mille as u32))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10.0)
    }
}

impl fmt::Display for Period {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms")];
        match units.iter().find(|(unit, _)| nanos >= *unit && nanos.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", nanos / unit),
            None => write!(f, "{}us", nanos as f64 / 1e3),
        }
    }
}

impl fmt::Display for PeriodRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", Period(self.from), Period(self.to))
    }
}

macro_rules! written_as_text {
    ($type:ident, $expecting:literal, $pattern:literal, $examples:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::parse(text).map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        $type::parse(&number.to_string()).map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $expecting,
                    "type": "string",
                    "pattern": $pattern,
                    "examples": $examples,
                })
            }
        }
    };
}

written_as_text!(Period, "a duration such as 250ms, 1s, 5m", r"^[0-9.]+ *(us|ms|s|m|h)$|\$\{", ["250ms", "1s", "5m"]);
written_as_text!(
    PeriodRange,
    "a range of durations such as 50ms..2s",
    r"^[0-9.]+ *(us|ms|s|m|h)( *\.\. *[0-9.]+ *(us|ms|s|m|h))?$|\$\{",
    ["50ms..2s"]
);

written_as_text!(Rate, "a rate such as 500/s", r"^[0-9]+[kM]? */ *[smh]$|\$\{", ["500/s"]);
written_as_text!(Percent, "a share such as 10%", r"^[0-9.]+ *%$|\$\{", ["10%"]);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number such as 500 or 10k")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                Count::checked(number).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                Count::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a whole number such as 500 or 10k",
            "oneOf": [
                { "type": "integer", "minimum": 1, "maximum": COUNT_MAX },
                { "type": "string", "pattern": r"^[0-9]+[kM]?$|\$\{", "examples": ["10k"] },
            ],
        })
    }
}

impl RetryCount {
    fn parse(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write a whole number from 0 (never try again) to 100";
        match text.parse() {
            Ok(count @ 0..=RETRIES_MAX) => Ok(Self(count)),
            _ => Err(format!("`{text}` is not a number of retries\n{WRITE}")),
        }
    }
}

impl<'de> Deserialize<'de> for RetryCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = RetryCount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RetryCount, E> {
                RetryCount::parse(&number.to_string()).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RetryCount, E> {
                RetryCount::parse(&number.to_string()).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RetryCount, E> {
                RetryCount::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl JsonSchema for RetryCount {
    fn schema_name() -> Cow<'static, str> {
        "RetryCount".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a whole number; 0 is never",
            "oneOf": [
                { "type": "integer", "minimum": 0, "maximum": RETRIES_MAX },
                { "type": "string", "pattern": r"^[0-9]+$|\$\{" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(result: Result<impl fmt::Debug, String>) -> String {
        result.unwrap_err().lines().next().unwrap().to_owned()
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, micros, canonical) in [
            ("2ms", 2_000, "2ms"),
            ("1s", 1_000_000, "1s"),
            ("1.5s", 1_500_000, "1500ms"),
            ("0.3ms", 300, "300us"),
            ("60s", 60_000_000, "1m"),
            ("90m", 5_400_000_000, "90m"),
            ("24 h", 86_400_000_000, "24h"),
        ] {
            let period = Period::parse(text).unwrap();
            assert_eq!(period.0, Duration::from_micros(micros), "{text}");
            assert_eq!(period.to_string(), canonical);
            assert_eq!(Period::parse(canonical), Ok(period));
        }
    }

    #[test]
    fn bad_durations_say_what_is_wrong() {
        assert_eq!(first_line(Period::parse("5")), "the duration `5` has no unit");
        assert_eq!(first_line(Period::parse("5 parsecs")), "`5 parsecs` is not a duration");
        assert_eq!(first_line(Period::parse("")), "`` is not a duration");
        assert_eq!(first_line(Period::parse("1.2.3s")), "`1.2.3s` is not a duration");
        assert_eq!(first_line(Period::parse("-1s")), "`-1s` is not a duration");
        assert_eq!(first_line(Period::parse("0s")), "the duration `0s` is zero");
        assert_eq!(first_line(Period::parse("0.0001us")), "the duration `0.0001us` is zero");
        assert_eq!(first_line(Period::parse("25h")), "the duration `25h` is too long");
        assert_eq!(
            first_line(Period::parse(&format!("{}h", "9".repeat(400)))).len(),
            "the duration `` is too long".len() + 401
        );
    }

    #[test]
    fn counts_are_read() {
        assert_eq!(Count::parse("500"), Ok(Count(500)));
        assert_eq!(Count::parse("10k"), Ok(Count(10_000)));
        assert_eq!(Count::parse("2M"), Ok(Count(2_000_000)));
        assert_eq!(first_line(Count::parse("0")), "`0` is refused here");
        assert_eq!(first_line(Count::parse("10 k")), "`10 k` is not a count");
        assert_eq!(first_line(Count::parse("10K")), "`10K` is not a count");
        assert_eq!(first_line(Count::parse("-1")), "`-1` is not a count");
        assert_eq!(first_line(Count::parse("9000M")), "the count 9000000000 is too large");
        assert_eq!(first_line(Count::parse(&"9".repeat(99))), format!("`{}` is not a count", "9".repeat(99)));
    }

    #[test]
    fn ranges_are_read() {
        let (from, to) = (Duration::from_millis(50), Duration::from_secs(2));
        assert_eq!(PeriodRange::parse("50ms..2s"), Ok(PeriodRange { from, to }));
        assert_eq!(PeriodRange::parse("50ms"), Ok(PeriodRange { from, to: from }));
        assert_eq!(PeriodRange { from, to }.to_string(), "50ms..2s");
        assert_eq!(first_line(PeriodRange::parse("2s..1s")), "the range `2s..1s` runs backwards");
        assert_eq!(first_line(PeriodRange::parse("..")), "`` is not a duration");
    }

    #[test]
    fn rates_and_shares() {
        let rate = |text: &str| {
            Rate::parse(text).map(|rate| (rate.0, rate.to_string())).map_err(|error| error.replace('\n', ": "))
        };
        assert_eq!(rate("500/s"), Ok((500, "500/s".to_owned())));
        assert_eq!(
            (rate("10k / s"), rate("6000/m")),
            (Ok((10_000, "10000/s".to_owned())), Ok((100, "100/s".to_owned())))
        );
        assert_eq!(rate("5/m").unwrap_err(), "the rate `5/m` is less than one call in a second: write 1/s or more");
        for wrong in ["500", "500/d", "/s", "1.5/s", "0/s", "-1/s", "9999999999/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        let share = |text: &str| Percent::parse(text).map(|share| (share.0, share.to_string()));
        assert_eq!((share("10%"), share("0.5 %")), (Ok((100, "10%".to_owned())), Ok((5, "0.5%".to_owned()))));
        for wrong in ["10", "0%", "101%", "NaN%", "inf%", "-5%", "%", "0.01%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
