//! Values of the server as JSON.

use redis::Value;
use serde_json::Value as Json;

use super::RedisValue;
use super::error::refusal;
use crate::{Answer, Error, ErrorKind, Record};

/// Of a string. Nil is missing.
pub(super) fn string(found: Value, name: &str, as_what: RedisValue) -> Answer {
    match found {
        Value::ServerError(error) => Err(refusal(&format!("cannot get \"{name}\""), &error)),
        found => text(found)?.map(|bytes| value(bytes, name, as_what)).transpose(),
    }
}

/// Of fields of a hash. One that is not there is null; a hash that has none of them is missing, since it cannot be told
/// from one that does not exist.
pub(super) fn fields(found: Value, fields: &[String], name: &str, as_what: RedisValue) -> Answer {
    let values = match found {
        Value::ServerError(error) => return Err(refusal(&format!("cannot get the hash \"{name}\""), &error)),
        Value::Array(values) if values.len() == fields.len() => values,
        other => return Err(unexpected(other)),
    };
    if values.iter().all(|value| *value == Value::Nil) {
        return Ok(None);
    }
    let field = |(field, found): (&String, Value)| Ok((field.clone(), field_value(found, name, field, as_what)?));
    let record: Record = fields.iter().zip(values).map(field).collect::<Result<_, Error>>()?;
    Ok(Some(Json::Object(record)))
}

/// Of a hash with all its fields. One without any does not exist.
pub(super) fn hash(found: Value, name: &str, as_what: RedisValue) -> Answer {
    let pairs: Vec<(Value, Value)> = match found {
        Value::ServerError(error) => return Err(refusal(&format!("cannot get the hash \"{name}\""), &error)),
        Value::Map(pairs) => pairs,
        Value::Array(flat) if flat.len().is_multiple_of(2) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        other => return Err(unexpected(other)),
    };
    if pairs.is_empty() {
        return Ok(None);
    }
    let pair = |(field, found): (Value, Value)| {
        let field = text(field)?.map(|bytes| utf8(bytes, name)).transpose()?.unwrap_or_default();
        let value = field_value(found, name, &field, as_what)?;
        Ok((field, value))
    };
    Ok(Some(Json::Object(pairs.into_iter().map(pair).collect::<Result<_, Error>>()?)))
}

/// An answer that no server of this protocol gives.
pub(super) fn unexpected(found: Value) -> Error {
    match found {
        Value::ServerError(error) => refusal("cannot look up", &error),
        _ => {
            let message = "the server answers something that does not fit the question; check that it is Redis";
            Error::new(ErrorKind::Malformed, message)
        }
    }
}

fn field_value(found: Value, name: &str, field: &str, as_what: RedisValue) -> Result<Json, Error> {
    let read = |bytes| value(bytes, name, as_what).map_err(|error| error.in_field(field));
    text(found)?.map_or(Ok(Json::Null), read)
}

fn text(found: Value) -> Result<Option<Vec<u8>>, Error> {
    match found {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(Some(text.into_bytes())),
        Value::Int(number) => Ok(Some(number.to_string().into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        other => Err(unexpected(other)),
    }
}

fn value(bytes: Vec<u8>, name: &str, as_what: RedisValue) -> Result<Json, Error> {
    match as_what {
        RedisValue::Text => utf8(bytes, name).map(Json::String),
        RedisValue::Json => serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the value of \"{name}\" is not JSON ({error}); for texts, write `value: text`");
            Error::new(ErrorKind::Malformed, message).caused_by(error)
        }),
    }
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("the value of \"{name}\" is not UTF-8, which all texts here are");
        Error::new(ErrorKind::Malformed, message).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_hash_is_an_object_in_both_versions_of_the_protocol() {
        let expected = Some(json!({"a": "1", "b": "x"}));
        let flat = Value::Array(vec![bulk("a"), bulk("1"), bulk("b"), bulk("x")]);
        assert_eq!(hash(flat, "h", RedisValue::Text).unwrap(), expected);
        let map = Value::Map(vec![(bulk("a"), Value::Int(1)), (bulk("b"), bulk("x"))]);
        assert_eq!(hash(map, "h", RedisValue::Text).unwrap(), expected);
    }

    #[test]
    fn answers_that_fit_no_question_are_errors() {
        for found in [Value::Int(1), Value::Array(vec![bulk("a")]), Value::Nil] {
            assert!(hash(found.clone(), "h", RedisValue::Text).is_err());
            assert!(fields(found, &["a".to_owned(), "b".to_owned()], "h", RedisValue::Text).is_err());
        }
        assert!(string(Value::Array(vec![]), "s", RedisValue::Text).is_err());
        assert!(string(Value::BulkString(vec![0xff]), "s", RedisValue::Text).is_err());
    }
}
