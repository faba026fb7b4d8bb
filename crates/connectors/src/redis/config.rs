//! What a user writes about Redis in a pipeline.

use std::collections::HashSet;
use std::path::PathBuf;

use redis::IntoConnectionInfo;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Secret};

/// Connections of a look-up unless the configuration says otherwise.
pub const CONNECTIONS: usize = 2;

/// The most connections of a look-up that are accepted.
pub const MAX_CONNECTIONS: usize = 64;

/// Strings or hashes to look up by their names, which are made of the key.
///
/// ```
/// use inflight_connectors::redis::RedisLookupConfig;
///
/// RedisLookupConfig::get("redis://cache.example:6379", "user:{id}").check().unwrap();
/// RedisLookupConfig::hash("rediss://reader@cache.example/2", "user:{id}").check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedisLookupConfig {
    /// `redis://user:password@host:port/db`; `rediss://` encrypts. Of a cluster, any of its nodes.
    pub url: Secret,
    /// The user, of a server that has users; also in addition to a `url` that names none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; also in addition to a `url` that has none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file of certificates (PEM) that the server's must be signed by. Default: those that the system trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether it is a cluster. Default: no.
    #[serde(default)]
    pub cluster: bool,
    /// Of a cluster, more nodes to begin with if that of `url` is down, each as `host:port`. Default: none; all nodes are
    /// found through any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The name of the string to get, with the columns of the key in it: `user:{id}`. Either this or `hash`.
    #[serde(default)]
    pub get: Option<String>,
    /// The name of the hash to get, with the columns of the key in it: `user:{id}`. Either this or `get`.
    #[serde(default)]
    pub hash: Option<String>,
    /// The fields of the hash that make the answer. Default: all.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// What strings, or the values of a hash, are. Default: `json` with `get`, `text` with `hash`.
    #[serde(default)]
    pub value: Option<RedisValue>,
    /// Connections, each with many commands under way; at most 64. Default: 2. A cluster has one to each node.
    #[serde(default = "connections")]
    pub connections: usize,
}

/// How a value is read.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisValue {
    /// As JSON.
    Json,
    /// As a text, whatever is in it, in UTF-8.
    Text,
}

impl RedisLookupConfig {
    /// Strings with JSON in them, by their name, everything else left to the defaults.
    pub fn get(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { get: Some(name.into()), ..Self::server(url) }
    }

    /// Hashes with all their fields as texts, by their name, everything else left to the defaults.
    pub fn hash(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { hash: Some(name.into()), ..Self::server(url) }
    }

    fn server(url: impl Into<String>) -> Self {
        Self {
            url: Secret::from(url),
            user: None,
            password: None,
            ca_file: None,
            cluster: false,
            nodes: Vec::new(),
            get: None,
            hash: None,
            fields: None,
            value: None,
            connections: CONNECTIONS,
        }
    }

    /// How values are read.
    pub fn value(&self) -> RedisValue {
        let default = if self.get.is_some() { RedisValue::Json } else { RedisValue::Text };
        self.value.unwrap_or(default)
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// When `url` is none, not exactly one of `get` and `hash` is given, `fields` is empty, names one twice or comes with
    /// `get`, `nodes` come without `cluster`, `ca_file` without encryption, or `connections` is not 1 to
    /// [`MAX_CONNECTIONS`].
    pub fn check(&self) -> Result<(), Error> {
        let is_encrypted = matches!(self.server_info()?.addr(), redis::ConnectionAddr::TcpTls { .. });
        let problem = match (&self.get, &self.hash, &self.fields) {
            (None, None, _) => "name what to `get`, or the `hash`, as in `get: \"user:{id}\"`",
            (Some(_), Some(_), _) => "`get` and `hash` exclude each other; remove one of them",
            (Some(_), _, Some(_)) => "`fields` belongs to `hash`; a string has none",
            (.., Some(fields)) if fields.is_empty() => "`fields` is empty; remove it to get all fields",
            (.., Some(fields)) if has_duplicates(fields) => "`fields` names a field twice",
            _ if !self.nodes.is_empty() && !self.cluster => "`nodes` belongs to `cluster: true`",
            _ if self.ca_file.is_some() && !is_encrypted => {
                "`ca_file` is only looked at with encryption; write `url` with rediss://, or remove it"
            }
            _ if !(1..=MAX_CONNECTIONS).contains(&self.connections) => "`connections` must be 1 to 64",
            _ => return self.node_infos().map(drop),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }

    /// The server of `url`, in the driver's own form.
    pub(super) fn server_info(&self) -> Result<redis::ConnectionInfo, Error> {
        // The driver's words might repeat a part of the URL, which has the password in it.
        let info = self.url.reveal().into_connection_info().map_err(|_| {
            let message = "`url` is not the URL of a Redis server; write redis://user:password@host:port/db";
            Error::new(ErrorKind::Config, message)
        })?;
        let mut settings = info.redis_settings().clone();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.reveal());
        }
        Ok(info.set_redis_settings(settings))
    }

    /// That of `url` and the `nodes`, which are connected to in the same way.
    pub(super) fn node_infos(&self) -> Result<Vec<redis::ConnectionInfo>, Error> {
        let first = self.server_info()?;
        let node = |text: &String| {
            let refuse = || {
                let message = format!("`nodes`: \"{text}\" is not a node of a cluster; write host:port");
                Error::new(ErrorKind::Config, message)
            };
            let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
            let (host, port) = (host.to_owned(), port.parse::<u16>().map_err(|_| refuse())?);
            Ok(first.clone().set_addr(match first.addr() {
                redis::ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                    let (insecure, tls_params) = (*insecure, tls_params.clone());
                    redis::ConnectionAddr::TcpTls { host, port, insecure, tls_params }
                }
                _ => redis::ConnectionAddr::Tcp(host, port),
            }))
        };
        let more = self.nodes.iter().map(node).collect::<Result<Vec<_>, Error>>()?;
        Ok([vec![first], more].concat())
    }
}

fn connections() -> usize {
    CONNECTIONS
}

fn has_duplicates(names: &[String]) -> bool {
    let mut seen = HashSet::new();
    !names.iter().all(|name| seen.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lookup(fields: serde_json::Value) -> Result<RedisLookupConfig, String> {
        let config: RedisLookupConfig = serde_json::from_value(fields).map_err(|error| error.to_string())?;
        config.check().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn strings_are_json_and_hashes_text_unless_said_otherwise() {
        let url = "redis://h";
        assert_eq!(lookup(json!({"url": url, "get": "{id}"})).unwrap().value(), RedisValue::Json);
        assert_eq!(lookup(json!({"url": url, "hash": "{id}", "fields": ["a"]})).unwrap().value(), RedisValue::Text);
        assert_eq!(lookup(json!({"url": url, "get": "{id}", "value": "text"})).unwrap().value(), RedisValue::Text);
    }

    #[test]
    fn user_and_password_may_stand_beside_the_url() {
        let config = json!({"url": "redis://h:7000/3", "user": "me", "password": "pw", "get": "{id}"});
        let info = lookup(config).unwrap().server_info().unwrap();
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("me"), Some("pw"), 3));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let url = "redis://me:hunter2@h";
        for (fields, expected) in [
            (json!({"get": "a"}), "missing field `url`"),
            (json!({"url": url}), "name what to `get`"),
            (json!({"url": url, "get": "a", "hash": "a"}), "exclude each other"),
            (json!({"url": url, "get": "a", "fields": ["b"]}), "belongs to `hash`"),
            (json!({"url": url, "hash": "a", "fields": []}), "is empty"),
            (json!({"url": url, "hash": "a", "fields": ["b", "b"]}), "twice"),
            (json!({"url": url, "get": "a", "nodes": ["h:1"]}), "belongs to `cluster"),
            (json!({"url": url, "get": "a", "cluster": true, "nodes": ["h"]}), "write host:port"),
            (json!({"url": url, "get": "a", "ca_file": "ca.pem"}), "rediss://"),
            (json!({"url": url, "get": "a", "connections": 0}), "1 to 64"),
            (json!({"url": url, "get": "a", "vale": "json"}), "unknown field `vale`"),
            (json!({"url": "hunter2 hunter2", "get": "a"}), "not the URL"),
            (json!({"url": "http://me:hunter2@h", "get": "a"}), "not the URL"),
        ] {
            let error = lookup(fields).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = lookup(json!({"url": "redis://me:hunter2@h", "password": "hunter3", "get": "a"})).unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
