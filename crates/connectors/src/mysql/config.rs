//! What a user writes about MySQL in a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::select::{Rows, Select};
use crate::sslmode::SslMode;
use crate::{Error, ErrorKind, Secret};

/// Most connections of a look-up unless the configuration says otherwise.
pub const CONNECTIONS: usize = 16;

/// Where the server is, and as whom to ask it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct MysqlConfig {
    /// `mysql://user:password@host:port/database`, of MariaDB too; several hosts with commas between them are tried in turn.
    pub url: Secret,
    /// The user; also in addition to a `url` that names none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password; also in addition to a `url` that has none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Whether to encrypt. Default: `prefer`.
    #[serde(default)]
    pub sslmode: Option<SslMode>,
    /// A file of certificates (PEM) that the server's must be signed by, for `verify-full`.
    #[serde(default)]
    pub sslrootcert: Option<PathBuf>,
}

/// A table to look up by its key columns, or a query with named parameters in its place.
///
/// ```
/// use inflight_connectors::mysql::MysqlLookupConfig;
///
/// let config = MysqlLookupConfig {
///     columns: Some(vec!["name".to_owned(), "tier".to_owned()]),
///     ..MysqlLookupConfig::table("mysql://reader@db.example/shop", "users")
/// };
/// config.check().unwrap();
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlLookupConfig {
    /// Where the server is.
    #[serde(flatten)]
    pub server: MysqlConfig,
    /// The table or view to look up, with its database before a dot unless that is the one of `url`. Either this or `query`.
    #[serde(default)]
    pub table: Option<String>,
    /// The columns that make the answer. Default: all of the table.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// A `select` in place of `table` and `columns`, naming each key column as a parameter, and asked for each key by itself:
    /// `select name from users where id = $id order by since limit 1`.
    #[serde(default)]
    pub query: Option<String>,
    /// What to do with several rows for one key. Default: `first`.
    #[serde(default)]
    pub rows: Rows,
    /// Most connections, each with one statement under way; at most 64. They are made when they are needed. Default: 16.
    #[serde(default = "connections")]
    pub connections: usize,
    /// After how long the server gives up a statement; best the time after which nobody waits for it any more. Default: what
    /// the server has been told.
    #[serde(default, with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub statement_timeout: Option<Duration>,
}

impl MysqlConfig {
    /// A server by its URL.
    pub fn url(url: impl Into<String>) -> Self {
        Self { url: Secret::from(url), user: None, password: None, sslmode: None, sslrootcert: None }
    }

    /// Whether the configuration makes sense, as far as can be told without the server.
    ///
    /// # Errors
    ///
    /// When the URL is none, or `sslmode` and `sslrootcert` do not fit.
    pub fn check(&self) -> Result<(), Error> {
        SslMode::check(self.sslmode, self.sslrootcert.as_deref())?;
        self.hosts().map(drop)
    }

    /// The hosts in the driver's own form, with user, password and database.
    pub(super) fn hosts(&self) -> Result<Vec<mysql_async::OptsBuilder>, Error> {
        // The driver's words might repeat a part of the URL, which has the password in it.
        let refuse = || {
            let message = "`url` is not the URL of a MySQL server; write mysql://user:password@host:port/database";
            Error::new(ErrorKind::Config, message)
        };
        let url = self.url.reveal();
        let rest = url.strip_prefix("mysql://").or_else(|| url.strip_prefix("mariadb://")).ok_or_else(refuse)?;
        if rest.contains(['?', '#']) {
            let message =
                "`url` has something behind `?` or `#`; write settings beside it, and %3F or %23 for the character";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let host = |host: &str| {
            let one = mysql_async::Opts::from_url(&format!("mysql://{user}{host}{path}")).map_err(|_| refuse())?;
            let mut builder = mysql_async::OptsBuilder::from_opts(one.clone());
            if let Some(user) = &self.user {
                builder = builder.user(Some(user));
            }
            if let Some(password) = &self.password {
                builder = builder.pass(Some(password.reveal()));
            }
            Ok(builder)
        };
        hosts.split(',').map(host).collect()
    }
}

impl MysqlLookupConfig {
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
            server: MysqlConfig::url(url),
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
    /// Those of [`MysqlConfig::check`]; when not exactly one of `table` and `query` is given, `columns` is empty, names
    /// a column twice or comes with a query, `connections` is not 1 to [`MAX_CONNECTIONS`](super::MAX_CONNECTIONS), or
    /// `statement_timeout` is zero or above a day.
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

    fn lookup(fields: serde_json::Value) -> Result<MysqlLookupConfig, String> {
        let config: MysqlLookupConfig = serde_json::from_value(fields).map_err(|error| error.to_string())?;
        config.check().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn each_host_has_user_password_and_database() {
        let config = lookup(json!({"url": "mysql://me:p%40ss@a:3307,b/shop", "table": "t", "rows": "all"})).unwrap();
        assert_eq!((config.rows, config.connections), (Rows::All, CONNECTIONS));
        let hosts: Vec<mysql_async::Opts> =
            config.server.hosts().unwrap().into_iter().map(mysql_async::Opts::from).collect();
        let at: Vec<_> = hosts.iter().map(|host| (host.ip_or_hostname(), host.tcp_port())).collect();
        assert_eq!(at, [("a", 3307), ("b", 3306)]);
        for host in &hosts {
            assert_eq!((host.user(), host.pass(), host.db_name()), (Some("me"), Some("p@ss"), Some("shop")));
        }
        let beside = json!({"url": "mariadb://h", "user": "me", "password": "pw", "query": "select $id"});
        let host: mysql_async::Opts = lookup(beside).unwrap().server.hosts().unwrap().remove(0).into();
        assert_eq!((host.user(), host.pass(), host.db_name()), (Some("me"), Some("pw"), None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let url = "mysql://me:hunter2@h/db";
        for (fields, expected) in [
            (json!({"table": "t"}), "missing field `url`"),
            (json!({"url": url}), "name the `table`"),
            (json!({"url": url, "table": "t", "query": "select 1"}), "exclude each other"),
            (json!({"url": url, "query": "select 1", "columns": ["a"]}), "belongs to `table`"),
            (json!({"url": url, "table": "t", "columns": []}), "is empty"),
            (json!({"url": url, "table": "t", "columns": ["a", "a"]}), "twice"),
            (json!({"url": url, "table": "t", "connections": 65}), "1 to 64"),
            (json!({"url": url, "table": "t", "statement_timeout": "0ms"}), "1ms to 24h"),
            (json!({"url": url, "table": "t", "sslmode": "verify-full"}), "needs `sslrootcert`"),
            (json!({"url": url, "table": "t", "sslrootcert": "a.pem"}), "only looked at"),
            (json!({"url": url, "tabel": "t"}), "unknown field `tabel`"),
            (json!({"url": "hunter2 hunter2", "table": "t"}), "not the URL"),
            (json!({"url": "postgres://me:hunter2@h/db", "table": "t"}), "not the URL"),
            (json!({"url": "mysql://me:hunter2@h:port/db", "table": "t"}), "not the URL"),
            (json!({"url": "mysql://me:hunter2@h,/db", "table": "t"}), "not the URL"),
            (json!({"url": "mysql://me:hunter2@h/db?require_ssl=true", "table": "t"}), "beside it"),
        ] {
            let error = lookup(fields).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = lookup(json!({"url": "mysql://me:hunter2@h/db", "password": "hunter3", "table": "t"})).unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
