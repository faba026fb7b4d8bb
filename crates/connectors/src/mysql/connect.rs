//! Connections: encrypted or not, with the settings we rely on.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Opts, OptsBuilder, SslOpts};

use super::error::{mysql_error, unknown_authentication};
use super::{MysqlLookupConfig, SslMode};
use crate::renewed::in_time;
use crate::{Error, ErrorKind, tls};

/// How long a host may take to accept a connection and to let us in.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A connection on which nothing is said for so long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// Statements that the driver keeps prepared: those of a look-up, and one that describes its table.
const STATEMENTS: usize = 16;

/// A server, as it is connected to again and again.
pub(super) struct Server {
    hosts: Vec<Opts>,
    /// One that does not encrypt will do.
    prefers_tls: bool,
    /// After how long it gives up a statement.
    statement_timeout: Option<Duration>,
    /// How many rows of a query are wanted.
    rows: Option<usize>,
    name: PathBuf,
}

impl Server {
    pub(super) fn new(config: &MysqlLookupConfig) -> Result<Self, Error> {
        config.check()?;
        tls::choose_cryptography();
        let ssl = ssl(config)?;
        let with_settings = |host: OptsBuilder| {
            let host = host.prefer_socket(false).tcp_keepalive(Some(SILENCE)).stmt_cache_size(STATEMENTS);
            Opts::from(host.ssl_opts(ssl.clone()))
        };
        let hosts: Vec<Opts> = config.server.hosts()?.into_iter().map(with_settings).collect();
        let prefers_tls = matches!(config.server.sslmode, None | Some(SslMode::Prefer));
        // A statement that we write has limits of its own.
        let rows = config.query.is_some().then(|| config.rows.asked_for());
        let name = name(&hosts);
        Ok(Self { hosts, prefers_tls, statement_timeout: config.statement_timeout, rows, name })
    }

    /// Hosts, ports and database, for errors.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// A new connection, to the first host that lets us in.
    pub(super) async fn connect(&self) -> Result<Conn, Error> {
        let mut failure = Error::new(ErrorKind::Config, "there is no host");
        for host in &self.hosts {
            match in_time(CONNECT_WITHIN, "cannot connect", self.connect_to(host)).await {
                Ok(conn) => return Ok(conn),
                Err(error) => failure = error,
            }
        }
        Err(failure.in_file(&self.name))
    }

    async fn connect_to(&self, host: &Opts) -> Result<Conn, Error> {
        let mut opened = open(host.clone()).await?;
        if let (Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)), true) =
            (&opened, self.prefers_tls)
        {
            opened = open(OptsBuilder::from_opts(host.clone()).ssl_opts(None).into()).await?;
        }
        let failed = |error| mysql_error("cannot connect", error);
        let mut conn = opened.map_err(failed)?;
        let version: Option<String> = conn.query_first("select version()").await.map_err(failed)?;
        let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
        conn.query_drop(self.settings(is_mariadb)).await.map_err(failed)?;
        conn.query_drop("set session transaction read only").await.map_err(failed)?;
        Ok(conn)
    }

    /// What is said first, about the session. Times are in UTC.
    fn settings(&self, is_mariadb: bool) -> String {
        let timeout = self.statement_timeout.map(|time| match is_mariadb {
            true => format!(", max_statement_time = {}", time.as_secs_f64()),
            false => format!(", max_execution_time = {}", time.as_millis()),
        });
        let rows = self.rows.map(|rows| format!(", sql_select_limit = {rows}"));
        format!("set time_zone = '+00:00'{}{}", timeout.unwrap_or_default(), rows.unwrap_or_default())
    }
}

/// Opens a connection. The driver panics where it is to prove itself in a way that was not built in.
async fn open(host: Opts) -> Result<Result<Conn, mysql_async::Error>, Error> {
    AssertUnwindSafe(Conn::new(host)).catch_unwind().await.map_err(|_| {
        let message = format!("cannot connect: {}", unknown_authentication("ed25519 or parsec"));
        Error::new(ErrorKind::Permission, message)
    })
}

/// Ends a connection and what the server does for it. It goes on with a statement after nobody is there to hear the answer.
pub(super) async fn kill(conn: Conn) {
    let (host, id) = (conn.opts().clone(), conn.id());
    let kill = async {
        let mut other = Conn::new(host).await?;
        other.query_drop(format!("kill {id}")).await?;
        other.disconnect().await
    };
    let _ = tokio::time::timeout(CONNECT_WITHIN, kill).await;
    close(conn).await;
}

/// Says good-bye, in so far as the server still listens.
pub(super) async fn close(conn: Conn) {
    let _ = tokio::time::timeout(CONNECT_WITHIN, conn.disconnect()).await;
}

fn ssl(config: &MysqlLookupConfig) -> Result<Option<SslOpts>, Error> {
    let server = &config.server;
    Ok(match (server.sslmode, &server.sslrootcert) {
        (Some(SslMode::Disable), _) => None,
        (Some(SslMode::VerifyFull), Some(file)) => {
            let trusted = tls::certificates("sslrootcert", file)?;
            Some(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(vec![trusted.into()]))
        }
        _ => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
    })
}

fn name(hosts: &[Opts]) -> PathBuf {
    let at = hosts.iter().map(|host| format!("{}:{}", host.ip_or_hostname(), host.tcp_port()));
    let at = at.collect::<Vec<_>>().join(",");
    let database = hosts.first().and_then(|host| host.db_name());
    database.map_or_else(|| at.clone(), |database| format!("{at}/{database}")).into()
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.name).finish()
    }
}
