//! Numbers as JSON has them, and as their digits.

use serde_json::{Number, Value};

use crate::{Error, ErrorKind};

/// A number where every reader of JSON gets the very same: an integer of 64 bits, or no more digits than a double is
/// sure to keep.
pub(crate) fn number_or_text(text: String) -> Value {
    if let Ok(integer) = text.parse::<i64>() {
        return integer.into();
    }
    let is_kept = |number: f64| match significant_digits(&text) {
        0 => number == 0.0,
        digits => digits <= DIGITS_OF_A_DOUBLE && number.is_normal(),
    };
    match text.parse::<f64>() {
        Ok(number) if text.contains('.') && is_kept(number) => double(number),
        _ => text.into(),
    }
}

const DIGITS_OF_A_DOUBLE: usize = 15;

fn significant_digits(text: &str) -> usize {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len()
}

/// A number, or the name of what JSON has no number for.
pub(crate) fn double(number: f64) -> Value {
    let text = match number {
        number if number.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        number => return Number::from_f64(number).map_or(Value::Null, Value::Number),
    };
    text.into()
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole number of a key. One that has a fraction, or is too large for anybody to know which was meant, is in no column.
pub(crate) fn whole(text: &str) -> Result<Option<i128>, Error> {
    let text = text.trim();
    match (text.parse::<i128>(), text.parse::<f64>()) {
        (Ok(number), _) => Ok(Some(number)),
        (_, Ok(number)) if number.is_finite() => {
            // Doubles are whole numbers up to here, and beyond nobody knows which was meant.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            let is_whole = number.fract() == 0.0 && number.abs() <= EXACT;
            Ok(if is_whole { format!("{number:.0}").parse().ok() } else { None })
        }
        _ => Err(Error::new(ErrorKind::Malformed, format!("\"{text}\" is not a number, as the column has them"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_only_when_nothing_is_lost() {
        for (text, is_number) in [
            ("0", true),
            ("-7", true),
            ("12.50", true),
            ("0.1", true),
            ("9223372036854775807", true),
            ("9223372036854775808", false),
            ("0.12345678901234567890", false),
            ("12345678901234567.5", false),
            ("693447735395859.3", false), // some print the same double with a 2 at the end
            ("100000000000000.10", false),
            ("10000000000000.10", true),
            ("0.00", true),
            ("0.0000000001", true),
            ("NaN", false),
        ] {
            let value = number_or_text(text.to_owned());
            assert_eq!(value.is_number(), is_number, "{text} became {value}");
            assert!(is_number || value == text, "{text} became {value}");
        }
    }
}
