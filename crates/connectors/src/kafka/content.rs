//! What is in a message: a record, or what is told of one that is none.

use std::path::PathBuf;

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message as _, Timestamp};
use serde_json::{Value, json};

use crate::{Error, ErrorKind, Malformed, Record};

/// The record in a message. With `metadata`, that field of it tells of the message.
pub(super) fn content(message: &BorrowedMessage<'_>, metadata: Option<&str>) -> Result<Record, Malformed> {
    let malformed = |why: String| {
        let place = PathBuf::from(format!("{}/{}", message.topic(), message.partition()));
        let error = Error::new(ErrorKind::Malformed, format!("the message at offset {}: {why}", message.offset()));
        let mut original = about(message);
        original.insert("value".to_owned(), message.payload().map_or(Value::Null, text));
        Malformed { error: error.in_file(&place), original }
    };
    let Some(payload) = message.payload() else {
        return Err(malformed("it has no value, as one that deletes a key (a tombstone)".to_owned()));
    };
    let value = serde_json::from_slice(payload).map_err(|error| malformed(format!("its value is no JSON: {error}")))?;
    let Value::Object(mut record) = value else {
        return Err(malformed("its value is JSON, but no object".to_owned()));
    };
    if let Some(field) = metadata {
        record.insert(field.to_owned(), Value::Object(about(message)));
    }
    Ok(record)
}

/// Topic, partition, offset, timestamp (milliseconds since 1970), key and headers.
fn about(message: &BorrowedMessage<'_>) -> Record {
    let timestamp = match message.timestamp() {
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => json!(millis),
        Timestamp::NotAvailable => Value::Null,
    };
    let fields = [
        ("topic", json!(message.topic())),
        ("partition", json!(message.partition())),
        ("offset", json!(message.offset())),
        ("timestamp", timestamp),
        ("key", message.key().map_or(Value::Null, text)),
        ("headers", Value::Object(message.headers().map(headers).unwrap_or_default())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Of several with one name the last counts.
fn headers(headers: &BorrowedHeaders) -> Record {
    headers.iter().map(|header| (header.key.to_owned(), header.value.map_or(Value::Null, text))).collect()
}

/// Bytes that are no text are written as `\x` and hexadecimal digits.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_by_their_digits() {
        assert_eq!((text(b"key"), text(b"\xFF\x00")), (json!("key"), json!("\\xff00")));
    }
}
