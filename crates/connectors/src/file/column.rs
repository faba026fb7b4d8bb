//! The type of a CSV column.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// How the texts of a CSV column become values. CSV has no types of its own, so every column is text unless it is
/// said to be something else.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// The text as it is.
    #[default]
    Text,
    /// A whole number of 64 bits.
    Int,
    /// A number, as in `1.5`, `-2` or `1e3`; neither infinite nor NaN.
    Float,
    /// `true` or `false` in any case, or `1` or `0`.
    Bool,
}

impl ColumnType {
    /// The value of a text, or why it has none.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Text => Some(Value::from(text)),
            Self::Int => text.parse::<i64>().ok().map(Value::from),
            Self::Float => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Self::Bool => truth(text).map(Value::Bool),
        }
        .ok_or_else(|| self.refusal(text))
    }

    fn refusal(self, text: &str) -> String {
        /// Enough to recognise a value; a longer one would bury the message.
        const SHOWN: usize = 80;
        let shown: String = text.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        let wanted = match self {
            Self::Text => "a text",
            Self::Int => "an int",
            Self::Float => "a float",
            Self::Bool => "a bool (true, false, 1 or 0)",
        };
        format!("{shown:?}{more} is not {wanted}; if it stands for no value, list it under `null`")
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_become_values_of_the_type() {
        assert_eq!(ColumnType::Text.parse("007"), Ok(json!("007")));
        assert_eq!(ColumnType::Int.parse("-42"), Ok(json!(-42)));
        assert_eq!(ColumnType::Float.parse("1e3"), Ok(json!(1000.0)));
        assert_eq!(ColumnType::Float.parse("3"), Ok(json!(3.0)));
        assert_eq!(ColumnType::Bool.parse("TRUE"), Ok(json!(true)));
        assert_eq!(ColumnType::Bool.parse("0"), Ok(json!(false)));
    }

    #[test]
    fn other_texts_are_refused_with_the_text_and_the_remedy() {
        for (column, text) in [
            (ColumnType::Int, "abc"),
            (ColumnType::Int, ""),
            (ColumnType::Int, "1.5"),
            (ColumnType::Int, "9223372036854775808"),
            (ColumnType::Float, "NaN"),
            (ColumnType::Float, "inf"),
            (ColumnType::Float, "1e999"),
            (ColumnType::Bool, "yes"),
        ] {
            let error = column.parse(text).unwrap_err();
            assert!(error.starts_with(&format!("{text:?} is not ")) && error.contains("`null`"), "{error}");
        }
        assert!(ColumnType::Int.parse(&"x".repeat(100_000)).unwrap_err().len() < 300);
    }
}
