//! What a message has besides its text: where it comes from, and its headers.

use std::str::FromStr;

use async_nats::jetstream::Message;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::{Error, ErrorKind, Record};

/// Headers whose names begin so are between the client and the server.
const RESERVED: &str = "nats-";

/// Stream, subject, sequence, timestamp (milliseconds since 1970) and headers of a message.
pub(super) fn about(stream: &str, message: &Message) -> Record {
    let info = message.info().ok();
    let headers = message.headers.as_ref().map(headers).unwrap_or_default();
    let fields = [
        ("stream", json!(stream)),
        ("subject", json!(message.subject.as_str())),
        ("sequence", json!(info.as_ref().map(|info| info.stream_sequence))),
        (
            "timestamp",
            json!(info.and_then(|info| i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).ok())),
        ),
        ("headers", Value::Object(headers)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// By name, without those of the server. Of several with one name the last counts.
fn headers(headers: &HeaderMap) -> Record {
    let mut found: Vec<(&str, Value)> = headers
        .iter()
        .filter_map(|(name, values)| Some((name.as_ref(), values.last()?.as_str().into())))
        .filter(|(name, _)| !is_reserved(name))
        .collect();
    found.sort_unstable_by_key(|(name, _)| *name);
    found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The headers that a record names; none if it has no such field.
///
/// # Errors
///
/// When they cannot be headers.
pub(super) fn named(headers: Option<&Value>) -> Result<Option<HeaderMap>, Error> {
    let fields = match headers {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            return malformed(format!("the headers of a record must be an object of texts, and are {other}"));
        }
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        if is_reserved(name) {
            return malformed(format!("the header \"{name}\" is one of the server's own; give it another name"));
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(&text)) else {
            return malformed(format!(
                "\"{name}: {text}\" is no header: its name has other letters, or it has several lines"
            ));
        };
        map.insert(name, value);
    }
    Ok(Some(map))
}

fn is_reserved(name: &str) -> bool {
    name.get(..RESERVED.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(RESERVED))
}

fn malformed<T>(message: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Malformed, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_out_as_they_came_in() {
        let record = json!({ "trace": "a-1", "Tenant": "ü", "n": 7, "none": null });
        let map = named(Some(&record)).unwrap().unwrap();
        let mut back = headers(&map);
        assert_eq!(Value::Object(back.clone()), json!({ "Tenant": "ü", "n": "7", "trace": "a-1" }));
        back.insert("Nats-Msg-Id".to_owned(), "x".into());
        assert!(named(Some(&Value::Object(back))).unwrap_err().to_string().contains("one of the server's own"));
        assert!(named(None).unwrap().is_none() && named(Some(&Value::Null)).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_headers_is_said() {
        let refused = |headers: Value| named(Some(&headers)).unwrap_err().to_string();
        assert!(refused(json!("a")).contains("must be an object of texts"));
        assert!(refused(json!({ "a": "1\r\nb: 2" })).contains("is no header"));
        assert!(refused(json!({ "a b:": "1" })).contains("is no header"));
    }
}
