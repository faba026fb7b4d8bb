//! What a user writes about an HTTP service in a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ErrorKind, FieldPath, Secret};

/// Requests at the same time unless the configuration says otherwise.
pub const CONNECTIONS: usize = 100;

/// The most requests at the same time that are accepted.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Bytes of one answer, unpacked, unless the configuration says otherwise: 8 MiB.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Keys in one request to an endpoint for many, unless the configuration says otherwise.
pub const BATCH_KEYS: usize = 100;

/// A service to ask with a request for each key, or for many keys.
///
/// ```
/// use inflight_connectors::http::HttpLookupConfig;
///
/// HttpLookupConfig::new("https://api.example/v1/users/{id}").check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLookupConfig {
    /// The URL, with the columns of the key in its path or query: `https://api.example/v1/users/{id}`. Values are encoded;
    /// braces that are meant as such are doubled.
    pub url: Secret,
    /// Default: `get`, or `post` if there is a `body`. Requests are repeated after failures, so they should only ask.
    #[serde(default)]
    pub method: Option<HttpMethod>,
    /// Headers of the request, such as `authorization`. Never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// The body of the request, sent as JSON. A text that is just `"{column}"` becomes the value with its type; within
    /// longer texts the value is put as it is. Default: none.
    #[serde(default)]
    pub body: Option<Value>,
    /// The way to the result in the JSON that is answered, such as `.data.user`; if nothing is there, or null, it is
    /// missing. Default: all of it.
    #[serde(default)]
    pub answer: Option<FieldPath>,
    /// The statuses that mean that there is no answer. Default: `[404]`.
    #[serde(default = "missing")]
    pub missing: Vec<u16>,
    /// An endpoint for many keys. Default: a request for each key.
    #[serde(default)]
    pub batch: Option<HttpBatch>,
    /// Most requests at the same time, at most 10000; connections are kept and used again. Default: 100.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Most bytes of an answer, unpacked. Default: 8 MiB.
    #[serde(default = "answer_bytes")]
    pub max_answer_bytes: usize,
    /// A file of certificates (PEM) that the server's must be signed by. Default: those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpMethod {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
}

/// An endpoint that answers for many keys. In its `url`, `{column}` becomes the values of all keys, with commas between
/// them; in its `body` the text `"{column}"` becomes the list of them, and `"{*}"` the list of all keys as objects.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpBatch {
    /// Most keys in a request. Default: 100.
    #[serde(default)]
    pub keys: Option<usize>,
    /// The way to the answers: a list of objects that have their key in them, or an object with a member for each key.
    /// Default: all of what is answered.
    #[serde(default)]
    pub answers: Option<FieldPath>,
    /// Where each of the answers in a list has the columns of its key. Default: in fields of their names.
    #[serde(default)]
    pub key: BTreeMap<String, FieldPath>,
}

impl HttpLookupConfig {
    /// A service that is asked with GET, everything else left to the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::from(url),
            method: None,
            headers: BTreeMap::new(),
            body: None,
            answer: None,
            missing: missing(),
            batch: None,
            connections: CONNECTIONS,
            max_answer_bytes: ANSWER_BYTES_MAX,
            ca_file: None,
        }
    }

    /// How it is asked.
    pub fn method(&self) -> HttpMethod {
        let default = if self.body.is_some() { HttpMethod::Post } else { HttpMethod::Get };
        self.method.unwrap_or(default)
    }

    /// Whether the configuration makes sense, as far as can be told without the service.
    ///
    /// # Errors
    ///
    /// When `url` is none of `http` or `https`, a header cannot be sent, `missing` has something that is no status,
    /// `connections`, `max_answer_bytes` or `batch.keys` is out of bounds, or `ca_file` comes without encryption.
    pub fn check(&self) -> Result<(), Error> {
        let url = Url::parse(self.url.reveal()).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let headers = self.headers.iter().map(|(name, value)| header(name, value).map(drop));
        headers.collect::<Result<(), Error>>()?;
        let batch_keys = self.batch.as_ref().and_then(|batch| batch.keys);
        let problem = match url {
            // Without its words: there may be a password in it.
            None => "`url` is not the URL of a service; write https://host/path/{column}",
            Some(url) if url.scheme() == "http" && self.ca_file.is_some() => {
                "`ca_file` is only looked at with encryption; write `url` with https://, or remove it"
            }
            _ if self.missing.iter().any(|status| !(300..600).contains(status)) => {
                "`missing` lists statuses of failed requests, 300 to 599, such as [404]"
            }
            _ if !(1..=MAX_CONNECTIONS).contains(&self.connections) => "`connections` must be 1 to 10000",
            _ if self.max_answer_bytes == 0 => "`max_answer_bytes` must be 1 at least",
            _ if batch_keys.is_some_and(|keys| !(1..=10_000).contains(&keys)) => "`batch.keys` must be 1 to 10000",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }
}

/// A header as it is sent. What is wrong with its value is not told: it may be a secret.
pub(super) fn header(
    name: &str,
    value: &Secret,
) -> Result<(reqwest::header::HeaderName, reqwest::header::HeaderValue), Error> {
    let refuse = |problem: &str| Error::new(ErrorKind::Config, format!("`headers`: \"{name}\" {problem}"));
    let header = name.parse().map_err(|_| refuse("cannot be the name of a header"))?;
    let mut value: reqwest::header::HeaderValue =
        value.reveal().parse().map_err(|_| refuse("has a value that cannot be sent, such as one with a line end"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

fn missing() -> Vec<u16> {
    vec![404]
}

fn connections() -> usize {
    CONNECTIONS
}

fn answer_bytes() -> usize {
    ANSWER_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lookup(fields: Value) -> Result<HttpLookupConfig, String> {
        let config: HttpLookupConfig = serde_json::from_value(fields).map_err(|error| error.to_string())?;
        config.check().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_lookup_is_configured_by_data() {
        let config = lookup(json!({"url": "https://h/{id}", "answer": ".data", "batch": {"keys": 5}})).unwrap();
        assert_eq!((config.method(), config.missing, config.connections), (HttpMethod::Get, vec![404], 100));
        let config = lookup(json!({"url": "http://h", "body": {"id": "{id}"}})).unwrap();
        assert_eq!(config.method(), HttpMethod::Post);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let url = "http://me:hunter2@h/{id}";
        for (fields, expected) in [
            (json!({}), "missing field `url`"),
            (json!({"url": "hunter2"}), "not the URL"),
            (json!({"url": "ftp://me:hunter2@h"}), "not the URL"),
            (json!({"url": url, "ca_file": "a.pem"}), "only looked at with encryption"),
            (json!({"url": url, "missing": [200]}), "300 to 599"),
            (json!({"url": url, "connections": 0}), "1 to 10000"),
            (json!({"url": url, "max_answer_bytes": 0}), "1 at least"),
            (json!({"url": url, "batch": {"keys": 0}}), "1 to 10000"),
            (json!({"url": url, "method": "delete"}), "unknown variant `delete`"),
            (json!({"url": url, "headers": {"a b": "x"}}), "cannot be the name of a header"),
            (json!({"url": url, "headers": {"a": "hunter2\n"}}), "cannot be sent"),
            (json!({"url": url, "answer": "data"}), "did you mean \".data\"?"),
        ] {
            let error = lookup(fields).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let headers = json!({"authorization": "Bearer hunter3"});
        let config = lookup(json!({"url": "http://me:hunter2@h/{id}", "headers": headers})).unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
