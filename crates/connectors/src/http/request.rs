//! Requests, made of keys.

use std::borrow::Cow;

use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use serde_json::Value;

use super::body::Body;
use super::config::header;
use super::{HttpLookupConfig, HttpMethod};
use crate::key_text::key_text;
use crate::template::{Template, all_used};
use crate::{Error, ErrorKind, Key};

/// What is sent, but for the key.
#[derive(Debug)]
pub(super) struct Question {
    method: Method,
    url: Template,
    headers: HeaderMap,
    body: Option<Body>,
    columns: Vec<String>,
}

/// What is sent.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Value>,
}

impl Question {
    pub(super) fn new(config: &HttpLookupConfig, columns: &[String]) -> Result<Self, Error> {
        let for_many = config.batch.is_some();
        let url = Template::parse("url", config.url.reveal(), columns)?;
        let body = config.body.as_ref().map(|body| Body::parse(body, columns, for_many)).transpose()?;
        let is_used = |index| url.has(index) || body.as_ref().is_some_and(|body| body.has(index));
        all_used(columns, is_used, "`url` or `body`")?;
        let method = match config.method() {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        };
        let headers = config.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        let question = Self { method, url, headers, body, columns: columns.to_vec() };
        let [first, second] = ["0", "1"].map(|value| question.filled_url(&vec![value.into(); columns.len()]));
        let (first, second) = (first?, second?);
        if (first.host(), first.port(), first.username()) != (second.host(), second.port(), second.username()) {
            let message = "`url`: a column of the key cannot be a part of the host; put it into the path or the query";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(question)
    }

    /// For one key; none when a value in it is null.
    pub(super) fn of_one(&self, key: &Key) -> Result<Option<Request>, Error> {
        for value in key {
            if key_text(value)?.is_none() {
                return Ok(None);
            }
        }
        let encoded = key.iter().map(encoded).collect::<Result<Key, Error>>()?;
        let body = self.body.as_ref().map(|body| body.of_one(key)).transpose()?;
        self.request(&encoded, body).map(Some)
    }

    /// For many keys, in which there are no nulls.
    pub(super) fn of_many(&self, keys: &[&Key]) -> Result<Request, Error> {
        let joined = |index: usize| {
            let values =
                keys.iter().filter_map(|key| key.get(index)).map(encoded).collect::<Result<Vec<_>, Error>>()?;
            let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            Ok(Value::String(texts.join(",")))
        };
        let encoded = (0..self.columns.len()).map(joined).collect::<Result<Key, Error>>()?;
        let body = self.body.as_ref().map(|body| body.of_many(keys, &self.columns)).transpose()?;
        self.request(&encoded, body)
    }

    fn request(&self, encoded: &Key, body: Option<Value>) -> Result<Request, Error> {
        let url = self.filled_url(encoded)?;
        let is_empty = |index: usize| self.url.has(index) && encoded.get(index).is_some_and(|value| *value == "");
        if (0..encoded.len()).any(is_empty) {
            let message = "an empty text cannot be a key in a URL: it would be that of something else";
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        Ok(Request { method: self.method.clone(), url, headers: self.headers.clone(), body })
    }

    fn filled_url(&self, encoded: &Key) -> Result<Url, Error> {
        let filled = self.url.fill(encoded, |text| Cow::Borrowed(text))?.unwrap_or_default();
        let path = filled.split(['?', '#']).next().unwrap_or_default();
        if path.split('/').any(|part| part == "." || part == "..") {
            let message = "\".\" and \"..\" cannot be keys in a URL: it would be that of something else";
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        Url::parse(&filled).map_err(|error| {
            let message = format!("`url` with a key in it is no URL ({error}); check where its columns stand");
            Error::new(ErrorKind::Config, message)
        })
    }
}

/// The value as it may stand anywhere in a URL: all but letters, digits and `-_.~` is encoded.
fn encoded(value: &Value) -> Result<Value, Error> {
    let text = key_text(value)?.unwrap_or_default();
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    Ok(Value::String(encoded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn question(url: &str) -> Result<Question, String> {
        let columns = ["id".to_owned()];
        Question::new(&HttpLookupConfig::new(url), &columns).map_err(|error| error.to_string())
    }

    fn url(template: &str, value: Value) -> Result<Option<String>, String> {
        let request = question(template).unwrap().of_one(&vec![value]).map_err(|error| error.to_string())?;
        Ok(request.map(|request| request.url.to_string()))
    }

    #[test]
    fn values_cannot_leave_their_place_in_the_url() {
        let path = "https://h/users/{id}/name";
        assert_eq!(url(path, json!("a b/ö?#&%")).unwrap().unwrap(), "https://h/users/a%20b%2F%C3%B6%3F%23%26%25/name");
        assert_eq!(url("https://h/q?id={id}&x=1", json!(7)).unwrap().unwrap(), "https://h/q?id=7&x=1");
        assert_eq!(url(path, json!("a.b")).unwrap().unwrap(), "https://h/users/a.b/name");
        assert_eq!(url(path, json!(null)).unwrap(), None);
        for value in ["", ".", ".."] {
            assert!(url(path, json!(value)).unwrap_err().contains("in a URL"), "{value}");
            assert!(url("https://h/{id}", json!(value)).unwrap_err().contains("in a URL"), "{value}");
        }
        assert!(url("https://h/.{id}/x", json!(".")).is_err());
        assert!(url(path, json!([1])).unwrap_err().contains("cannot be a key"));
    }

    #[test]
    fn a_key_is_no_part_of_the_host_and_is_somewhere() {
        for template in ["https://{id}.example/", "https://h:80{id}/", "https://user{id}@h/"] {
            assert!(question(template).unwrap_err().contains("`url`"), "{template}");
        }
        assert!(question("https://h/").unwrap_err().contains("\"id\" is not used; put {id} into `url` or `body`"));
    }

    #[test]
    fn many_keys_stand_with_commas_between_them() {
        let config =
            HttpLookupConfig { batch: Some(Default::default()), ..HttpLookupConfig::new("https://h/?ids={id}") };
        let question = Question::new(&config, &["id".to_owned()]).unwrap();
        let keys = [vec![json!(1)], vec![json!("a,b")]];
        let request = question.of_many(&keys.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(request.url.as_str(), "https://h/?ids=1,a%2Cb");
    }
}
