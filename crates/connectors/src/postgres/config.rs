//! What a user writes about PostgreSQL in a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::select::{Rows, Select, has_duplicates};
use crate::sslmode::SslMode;
use crate::{Error, ErrorKind, Secret};

/// Connections of a look-up unless the configuration says otherwise.
pub const CONNECTIONS: usize = 2;

/// Where the server is, and as whom to ask it: a `url`, or its parts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/dbname`; several hosts with commas between them are tried in turn.
    #[serde(default)]
    pub url: Option<Secret>,
    /// The host, in place of `url`.
    #[serde(default)]
    pub host: Option<String>,
    /// The port. Default: 5432.
    #[serde(default)]
    pub port: Option<u16>,
    /// The user; also in addition to a `url` that names none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; also in addition to a `url` that has none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The database. Default: the one with the name of the user.
    #[serde(default)]
    pub dbname: Option<String>,
    /// Whether to encrypt. Default: what `url` says, else `prefer`.
    #[serde(default)]
    pub sslmode: Option<SslMode>,
    /// A file of certificates (PEM) that the server's must be signed by, for `verify-full`.
    #[serde(default)]
    pub sslrootcert: Option<PathBuf>,
}

/// A table to write to.
///
/// ```
/// use inflight_connectors::postgres::PostgresSinkConfig;
///
/// let mut config = PostgresSinkConfig::new("postgres://writer@db.example/shop", "sales.orders");
/// config.key = Some(vec!["id".to_owned()]);
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSinkConfig {
    /// Where the server is.
    #[serde(flatten)]
    pub server: PostgresConfig,
    /// The table, with its schema before a dot unless it is found without.
    pub table: String,
    /// The columns that tell rows apart. A row that is there already is overwritten (upsert); they need a unique index.
    /// Default: none, every record is a new row.
    #[serde(default)]
    pub key: Option<Vec<String>>,
    /// The columns to write, each from the field of its name; other fields are left out. Default: all columns that have
    /// no default of their own, and then a record may have no other fields.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
}

/// A table to look up by its key columns, or a query with named parameters in its place.
///
/// ```
/// use inflight_connectors::postgres::PostgresLookupConfig;
///
/// let config = PostgresLookupConfig {
///     columns: Some(vec!["name".to_owned(), "tier".to_owned()]),
///     ..PostgresLookupConfig::table("postgres://reader@db.example/shop", "users")
/// };
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresLookupConfig {
    /// Where the server is.
    #[serde(flatten)]
    pub server: PostgresConfig,
    /// The table or view to look up, with its schema before a dot unless it is found without. Either this or `query`.
    #[serde(default)]
    pub table: Option<String>,
    /// The columns that make the answer. Default: all of the table.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// A `select` in place of `table` and `columns`, naming each key column as a parameter:
    /// `select name from users where id = $id order by since limit 1`.
    #[serde(default)]
    pub query: Option<String>,
    /// What to do with several rows for one key. Default: `first`.
    #[serde(default)]
    pub rows: Rows,
    /// Connections, each with many queries under way; at most 64. Default: 2.
    #[serde(default = "connections")]
    pub connections: usize,
    /// After how long the server gives up a query; best the time after which nobody waits for it any more. Default: what
    /// the server has been told.
    #[serde(default, with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub statement_timeout: Option<Duration>,
}

impl PostgresConfig {
    /// A server by its URL.
    pub fn url(url: impl Into<String>) -> Self {
        Self { url: Some(Secret::from(url)), ..Self::default() }
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// When neither or both of `url` and `host` are given, the URL is none, or `sslmode` and `sslrootcert` do not fit.
    pub fn check(&self) -> Result<(), Error> {
        let problem = match (&self.url, &self.host) {
            (None, None) => "name the server by its `url`, or by `host`, `user` and `dbname`",
            (Some(_), Some(_)) => "`url` and `host` exclude each other; remove one of them",
            (Some(_), _) if self.port.is_some() || self.dbname.is_some() => {
                "`port` and `dbname` belong to `host`; with `url` they are part of it"
            }
            (None, _) if self.user.is_none() => "`user` is missing",
            _ => {
                SslMode::check(self.sslmode, self.sslrootcert.as_deref())?;
                return self.parts().map(drop);
            }
        };
        Err(Error::new(ErrorKind::Config, problem))
    }

    /// The driver's own form.
    pub(super) fn parts(&self) -> Result<tokio_postgres::Config, Error> {
        let mut parts = match &self.url {
            // The driver's words might repeat a part of the URL, which has the password in it.
            Some(url) => url.reveal().parse().map_err(|_| {
                let message =
                    "`url` is not the URL of a PostgreSQL server; write postgres://user:password@host:port/dbname";
                Error::new(ErrorKind::Config, message)
            })?,
            None => tokio_postgres::Config::new(),
        };
        if let Some(host) = &self.host {
            parts.host(host);
        }
        if let Some(port) = self.port {
            parts.port(port);
        }
        if let Some(user) = &self.user {
            parts.user(user);
        }
        if let Some(password) = &self.password {
            parts.password(password.reveal());
        }
        if let Some(dbname) = &self.dbname {
            parts.dbname(dbname);
        }
        if let Some(mode) = self.sslmode {
            use tokio_postgres::config::SslMode as Driver;
            parts.ssl_mode(match mode {
                SslMode::Disable => Driver::Disable,
                SslMode::Prefer => Driver::Prefer,
                SslMode::Require | SslMode::VerifyFull => Driver::Require,
            });
        }
        Ok(parts)
    }
}

impl PostgresSinkConfig {
    /// A table to insert into, everything else left to the defaults.
    pub fn new(url: impl Into<String>, table: impl Into<String>) -> Self {
        Self { server: PostgresConfig::url(url), table: table.into(), key: None, columns: None }
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresConfig::check`]; when `table`, `key` or `columns` is empty, one of the latter names a column
    /// twice, or `columns` lacks a column of the key.
    pub fn check(&self) -> Result<(), Error> {
        self.server.check()?;
        let problem = match (&self.key, &self.columns) {
            _ if self.table.is_empty() => "`table` is empty",
            (Some(key), _) if key.is_empty() => "`key` is empty; remove it to insert every record as a new row",
            (Some(key), _) if has_duplicates(key) => "`key` names a column twice",
            (_, Some(columns)) if columns.is_empty() => "`columns` is empty; remove it to write all of them",
            (_, Some(columns)) if has_duplicates(columns) => "`columns` names a column twice",
            (Some(key), Some(columns)) if !key.iter().all(|name| columns.contains(name)) => {
                "a column of `key` is not among `columns`; add it"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, problem))
    }
}

impl PostgresLookupConfig {
    /// All columns of a table.
    pub fn table(url: impl Into<String>, table: impl Into<String>) -> Self {
        Self { table: Some(table.into()), ..Self::new(url.into()) }
    }

    /// The rows of a query.
    pub fn query(url: impl Into<String>, query: impl Into<String>) -> Self {
        Self { query: Some(query.into()), ..Self::new(url.into()) }
    }

    fn new(url: String) -> Self {
        Self {
            server: PostgresConfig::url(url),
            table: None,
            columns: None,
            query: None,
            rows: Rows::First,
            connections: CONNECTIONS,
            statement_timeout: None,
        }
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresConfig::check`]; when not exactly one of `table` and `query` is given, `columns` is empty, names
    /// a column twice or comes with a query, `connections` is not 1 to [`MAX_CONNECTIONS`](super::MAX_CONNECTIONS), or `statement_timeout` is
    /// zero or above a day.
    pub fn check(&self) -> Result<(), Error> {
        self.server.check()?;
        let Self { table, columns, query, connections, statement_timeout, .. } = self;
        Select { table, columns, query, connections: *connections, statement_timeout: *statement_timeout }.check()
    }
}

fn connections() -> usize {
    CONNECTIONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sink(fields: serde_json::Value) -> Result<PostgresSinkConfig, String> {
        let config: PostgresSinkConfig = serde_json::from_value(fields).map_err(|error| error.to_string())?;
        config.check().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_a_url_or_its_parts() {
        sink(json!({"url": "postgres://me:pw@h:5433/db", "table": "t", "key": ["a"], "columns": ["a", "b"]})).unwrap();
        sink(json!({"host": "h", "user": "me", "password": "pw", "sslmode": "require", "table": "t"})).unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let url = "postgres://me:hunter2@h/db";
        for (fields, expected) in [
            (json!({"table": "t"}), "name the server"),
            (json!({"url": url, "host": "h", "table": "t"}), "exclude each other"),
            (json!({"url": url, "port": 1, "table": "t"}), "belong to `host`"),
            (json!({"host": "h", "table": "t"}), "`user` is missing"),
            (json!({"url": url, "sslmode": "verify-full", "table": "t"}), "needs `sslrootcert`"),
            (json!({"url": url, "sslrootcert": "a.pem", "table": "t"}), "only looked at"),
            (json!({"url": url, "table": ""}), "`table` is empty"),
            (json!({"url": url, "table": "t", "key": []}), "`key` is empty"),
            (json!({"url": url, "table": "t", "key": ["a"], "columns": ["b"]}), "not among"),
            (json!({"url": url, "tabel": "t"}), "missing field `table`"),
            (json!({"url": url, "table": "t", "kye": ["a"]}), "unknown field `kye`"),
            (json!({"url": "hunter2 hunter2", "table": "t"}), "not the URL"),
            (json!({"url": "postgres://me:hunter2@h:port/db", "table": "t"}), "not the URL"),
        ] {
            let error = sink(fields).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_lookup_is_configured_by_data() {
        let config: PostgresLookupConfig = serde_json::from_value(json!({
            "url": "postgres://me@h/db", "table": "users", "rows": "all", "statement_timeout": "250ms",
        }))
        .unwrap();
        config.check().unwrap();
        assert_eq!((config.rows, config.connections), (Rows::All, CONNECTIONS));
        assert_eq!(config.statement_timeout, Some(Duration::from_millis(250)));
        assert_eq!(serde_json::to_value(&config).unwrap()["statement_timeout"], "250ms");
    }

    #[test]
    fn a_lookup_that_makes_no_sense_is_refused() {
        let table = PostgresLookupConfig::table("postgres://me@h/db", "t");
        let columns = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        for (config, expected) in [
            (PostgresLookupConfig { table: None, ..table.clone() }, "name the `table`"),
            (PostgresLookupConfig { query: Some("select 1".to_owned()), ..table.clone() }, "exclude each other"),
            (PostgresLookupConfig { columns: columns(&[]), ..table.clone() }, "is empty"),
            (PostgresLookupConfig { columns: columns(&["a", "a"]), ..table.clone() }, "twice"),
            (PostgresLookupConfig { connections: 0, ..table.clone() }, "1 to 64"),
            (PostgresLookupConfig { connections: 65, ..table.clone() }, "1 to 64"),
            (PostgresLookupConfig { statement_timeout: Some(Duration::ZERO), ..table }, "1ms to 24h"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = sink(json!({"url": "postgres://me@h/db", "password": "hunter2", "table": "t"})).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
        let config = PostgresSinkConfig::new("postgres://me:hunter2@h/db", "t");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
