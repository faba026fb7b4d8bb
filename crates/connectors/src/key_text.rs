//! The values of a key as texts.

use std::borrow::Cow;

use serde_json::Value;

use crate::{Error, ErrorKind};

/// The value of a key column as a text; none for null.
pub(crate) fn key_text(value: &Value) -> Result<Option<Cow<'_, str>>, Error> {
    match value {
        Value::String(text) => Ok(Some(Cow::Borrowed(text))),
        Value::Number(_) | Value::Bool(_) => Ok(Some(Cow::Owned(value.to_string()))),
        Value::Null => Ok(None),
        Value::Array(_) | Value::Object(_) => {
            let message = "a list or an object cannot be a key; take one of its fields";
            Err(Error::new(ErrorKind::Malformed, message))
        }
    }
}
