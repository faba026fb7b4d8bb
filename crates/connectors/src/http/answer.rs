//! What a service answers, as JSON, and which key it belongs to.

use std::collections::HashMap;

use serde_json::Value;

use super::connect::Response;
use super::error::refused;
use super::{HttpBatch, HttpLookupConfig};
use crate::key_text::key_text;
use crate::{Answer, Error, ErrorKind, FieldPath};

/// How answers are read.
#[derive(Debug)]
pub(super) struct Reading {
    missing: Vec<u16>,
    answer: Option<FieldPath>,
    batch: Option<HttpBatch>,
    columns: Vec<String>,
}

/// What was found, by the texts of the key.
pub(super) type Found = HashMap<Vec<String>, Value>;

impl Reading {
    pub(super) fn new(config: &HttpLookupConfig, columns: &[String]) -> Result<Self, Error> {
        let stranger = config.batch.iter().flat_map(|batch| batch.key.keys()).find(|name| !columns.contains(name));
        if let Some(name) = stranger {
            let message = format!("`batch.key`: \"{name}\" is no column of the key; remove it, or correct its name");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let HttpLookupConfig { missing, answer, batch, .. } = config.clone();
        Ok(Self { missing, answer, batch, columns: columns.to_vec() })
    }

    /// Of a request for one key.
    pub(super) fn one(&self, response: Response) -> Answer {
        Ok(self.body(response)?.and_then(|body| at(self.answer.as_ref(), body)))
    }

    /// Of a request for many keys: those that are not in it are missing.
    pub(super) fn many(&self, response: Response) -> Result<Found, Error> {
        let batch = self.batch.as_ref();
        let found = self.body(response)?.and_then(|body| at(batch.and_then(|batch| batch.answers.as_ref()), body));
        match found {
            None => Ok(Found::new()),
            Some(Value::Array(list)) => {
                // Of several answers for one key the first counts.
                let mut found = Found::with_capacity(list.len());
                for item in list.into_iter().filter(|item| !item.is_null()) {
                    let key = self.key_of(&item)?;
                    if let Some(answer) = at(self.answer.as_ref(), item) {
                        found.entry(key).or_insert(answer);
                    }
                }
                Ok(found)
            }
            Some(Value::Object(members)) if self.columns.len() == 1 => {
                let answer = |(name, item)| Some((vec![name], at(self.answer.as_ref(), item)?));
                Ok(members.into_iter().filter_map(answer).collect())
            }
            Some(_) => {
                let message = "the answers are no list of objects; check `batch.answers`";
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    fn key_of(&self, item: &Value) -> Result<Vec<String>, Error> {
        let value = |column: &String| {
            let record = item.as_object()?;
            let path = self.batch.as_ref().and_then(|batch| batch.key.get(column));
            let value = path.map_or_else(|| record.get(column), |path| path.find(record))?;
            key_text(value).ok().flatten().map(|text| text.into_owned())
        };
        let key = |column| {
            value(column).ok_or_else(|| {
                let message = format!("an answer does not say its \"{column}\"; say in `batch.key` where it stands");
                Error::new(ErrorKind::Config, message)
            })
        };
        self.columns.iter().map(key).collect()
    }

    /// The JSON that was answered; none when the service says that there is none.
    fn body(&self, response: Response) -> Result<Option<Value>, Error> {
        if self.missing.contains(&response.status.as_u16()) {
            return Ok(None);
        }
        if let Some(error) = refused(response.status, &response.headers) {
            return Err(error);
        }
        if response.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(&response.body).map(Some).map_err(|error| {
            let message = format!("the answer is not JSON ({error}); check `url` and the `accept` header");
            Error::new(ErrorKind::Malformed, message).caused_by(error)
        })
    }
}

/// The value at the path, without a path all of it; null is none.
fn at(path: Option<&FieldPath>, value: Value) -> Option<Value> {
    let value = match path {
        None => value,
        Some(path) => path.find(value.as_object()?)?.clone(),
    };
    (!value.is_null()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reading(batch: Option<Value>, answer: Option<&str>, columns: &[&str]) -> Result<Reading, Error> {
        let config = HttpLookupConfig {
            batch: batch.map(|batch| serde_json::from_value(batch).unwrap()),
            answer: answer.map(|path| path.parse().unwrap()),
            ..HttpLookupConfig::new("http://h/")
        };
        Reading::new(&config, &columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn response(status: u16, body: &str) -> Response {
        let status = reqwest::StatusCode::from_u16(status).unwrap();
        Response { status, headers: Default::default(), body: body.into() }
    }

    #[test]
    fn an_answer_is_found_missing_or_refused() {
        let reading = reading(None, Some(".data.user"), &["id"]).unwrap();
        let one = |status, body| reading.one(response(status, body)).map_err(|error| error.kind());
        assert_eq!(one(200, r#"{"data":{"user":[1]}}"#), Ok(Some(json!([1]))));
        for body in [r#"{"data":{}}"#, r#"{"data":{"user":null}}"#, "[]", "", " \n", "null"] {
            assert_eq!(one(200, body), Ok(None), "{body}");
        }
        assert_eq!((one(404, "not JSON"), one(204, "")), (Ok(None), Ok(None)));
        assert_eq!(one(200, "<html>"), Err(ErrorKind::Malformed));
        assert_eq!(one(410, ""), Err(ErrorKind::Malformed));
    }

    #[test]
    fn answers_of_many_keys_find_theirs() {
        let by_field = reading(Some(json!({"answers": ".users", "key": {"id": ".user.id"}})), Some(".user"), &["id"]);
        let body = r#"{"users": [{"user": {"id": 7}}, null, {"user": {"id": "8"}}, {"user": {"id": 7, "b": 1}}]}"#;
        let found = by_field.unwrap().many(response(200, body)).unwrap();
        assert_eq!(found[&vec!["7".to_owned()]], json!({"id": 7}));
        assert_eq!((found[&vec!["8".to_owned()]].clone(), found.len()), (json!({"id": "8"}), 2));

        let by_name = reading(Some(json!({})), None, &["id"]).unwrap();
        let found = by_name.many(response(200, r#"{"7": {"a": 1}, "8": null}"#)).unwrap();
        assert_eq!(found, Found::from([(vec!["7".to_owned()], json!({"a": 1}))]));
        assert!(by_name.many(response(404, "")).unwrap().is_empty());
        for body in ["[{\"a\": 1}]", "[7]", "7"] {
            assert_eq!(by_name.many(response(200, body)).unwrap_err().kind(), ErrorKind::Config, "{body}");
        }
        assert!(reading(Some(json!({"key": {"idd": ".id"}})), None, &["id"]).is_err());
    }
}
