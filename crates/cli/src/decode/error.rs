//! Errors of decoding, which find their place in the file on their way up.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Expected, Unexpected};

use crate::fault::{Fault, listed, suggestion};
use crate::yaml::{Node, Value};

/// Words of the format that are planned. They are refused as such, so that nobody hunts for a typing error.
const PLANNED: [&str; 10] =
    ["grpc", "jetstream", "metrics", "mysql", "nats", "parquet", "s3", "tests", "time", "watermark"];

/// A key or word that is not known here: planned for later, or probably meant to be another one.
pub(super) fn unknown_word(what: &str, word: &str, known: &[&str], at: Range<usize>) -> Fault {
    if PLANNED.contains(&word) {
        return Fault::new(at, format!("`{word}` is not supported yet"))
            .with_label("known here: ".to_owned() + &listed(known));
    }
    Fault::new(at, format!("unknown {what} `{word}`")).with_label(suggestion(word, known))
}

/// Where an error belongs, when it does not know its place itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The value that was being decoded.
    Value,
    /// The key that names it.
    Key,
}

/// What stops a value from being decoded.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// Not placed yet: the innermost value that sees it gives it its place.
    Loose { about: About, message: String, label: String },
    /// Placed.
    Placed(Vec<Fault>),
}

impl DecodeError {
    pub(super) fn faults(self, node: &Node, key_at: &Range<usize>) -> Vec<Fault> {
        match self {
            Self::Placed(faults) => faults,
            Self::Loose { about, message, label } => {
                let at = match about {
                    About::Value if node.at.is_empty() => key_at,
                    About::Value => &node.at,
                    About::Key => key_at,
                };
                vec![Fault::new(at.clone(), hide(node, message)).with_label(hide(node, label))]
            }
        }
    }

    pub(super) fn placed(self, node: &Node, key_at: &Range<usize>) -> Self {
        Self::Placed(self.faults(node, key_at))
    }
}

/// The text as typed in the place of the secret that it stands for.
fn hide(node: &Node, text: String) -> String {
    match (&node.typed, &node.value) {
        (Some(typed), Value::Text(secret)) if !secret.is_empty() => text.replace(secret.as_str(), typed),
        _ => text,
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loose { message, .. } => f.write_str(message),
            Self::Placed(faults) => faults.iter().try_for_each(|fault| writeln!(f, "{}", fault.message)),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    /// The first line says what is wrong; a second one, if any, what to do about it.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let (message, label) = text.split_once('\n').unwrap_or((&text, ""));
        Self::Loose { about: About::Value, message: message.to_owned(), label: label.to_owned() }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(value) => format!("`{value}`"),
            Unexpected::Unsigned(value) => format!("the number {value}"),
            Unexpected::Signed(value) => format!("the number {value}"),
            Unexpected::Float(value) => format!("the number {value}"),
            Unexpected::Str(text) => format!("the text `{text}`"),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a group of keys".to_owned(),
            other => other.to_string(),
        };
        let expected = match expected.to_string().as_str() {
            "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, not so far from 0".to_owned(),
            "u8" | "u16" | "u32" | "u64" | "usize" => match unexpected {
                Unexpected::Signed(_) => "a whole number, not below 0".to_owned(),
                _ => "a smaller whole number".to_owned(),
            },
            words => words.to_owned(),
        };
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        let message = format!("key `{field}` is missing here");
        Self::Loose { about: About::Key, message, label: String::new() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let fault = unknown_word("key", field, expected, 0..0);
        Self::Loose { about: About::Key, message: fault.message, label: fault.label }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let fault = unknown_word("word", variant, expected, 0..0);
        Self::Loose { about: About::Value, message: fault.message, label: fault.label }
    }
}
