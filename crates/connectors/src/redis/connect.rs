//! Connections: single or to a cluster, with the settings we rely on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, RedisResult, TlsCertificates, Value};

use super::RedisLookupConfig;
use super::error::redis_error;
use crate::{Error, ErrorKind, tls};

/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A connection on which nothing is acknowledged for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// A node of a cluster that does not answer for so long is given up. Whoever waits gives up earlier.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Attempts of the driver to find the node of a cluster that has a key; all others are left to the one who asks.
const REDIRECTIONS: u32 = 3;

/// A server or a cluster, as it is connected to again and again.
pub(super) struct Server {
    client: Target,
    name: PathBuf,
}

enum Target {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Server {
    pub(super) fn new(config: &RedisLookupConfig) -> Result<Self, Error> {
        config.check()?;
        tls::choose_cryptography();
        let tcp = tcp_settings();
        let certificates = config.ca_file.as_ref().map(|file| tls::certificates("ca_file", file)).transpose()?;
        let certificates =
            certificates.map(|root_cert| TlsCertificates { client_tls: None, root_cert: Some(root_cert) });
        let failed = |error| redis_error("cannot set up the connection", error);
        let infos = config.node_infos()?.into_iter().map(|info| info.set_tcp_settings(tcp.clone()));
        let infos: Vec<_> = infos.collect();
        let name = infos.iter().map(|info| address(info.addr())).collect::<Vec<_>>().join(",").into();
        if config.cluster {
            let mut builder = ClusterClient::builder(infos)
                .connection_timeout(CONNECT_WITHIN)
                .response_timeout(ANSWERS_WITHIN)
                .retries(REDIRECTIONS)
                .tcp_settings(tcp);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            return Ok(Self { client: Target::Cluster(Box::new(builder.build().map_err(failed)?)), name });
        }
        let info = infos.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Config, "there is no server"))?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        Ok(Self { client: Target::Single(Box::new(client.map_err(failed)?)), name })
    }

    /// Host and port, for errors.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// A new connection, which a task of the current runtime drives until all who have it are gone.
    pub(super) async fn connect(&self) -> Result<Link, Error> {
        let link = match &self.client {
            Target::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_WITHIN))
                    // Whoever waits for an answer knows how long.
                    .set_response_timeout(None);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Single)
            }
            Target::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
        };
        link.map_err(|error| redis_error("cannot connect", error))
    }
}

impl Link {
    /// The answer to a command, which may be a refusal.
    pub(super) async fn ask(&self, command: &Cmd) -> RedisResult<Value> {
        match self.clone() {
            Self::Single(mut link) => link.send_packed_command(command).await,
            Self::Cluster(mut link) => whole(link.req_packed_command(command).await),
        }
    }

    /// The answers to commands that are sent at once.
    pub(super) async fn ask_all(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        match self.clone() {
            Self::Single(mut link) => {
                let count = commands.len();
                let mut pipeline = Pipeline::with_capacity(count);
                for command in commands {
                    pipeline.add_command(command);
                }
                link.send_packed_commands(&pipeline, 0, count).await
            }
            Self::Cluster(link) => {
                let ask = |command: Cmd| {
                    let mut link = link.clone();
                    async move { whole(link.req_packed_command(&command).await) }
                };
                join_all(commands.into_iter().map(ask)).await.into_iter().collect()
            }
        }
    }
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(TcpKeepalive::new().with_time(SILENCE));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}

/// A refusal is an answer, in a cluster too.
fn whole(result: RedisResult<Value>) -> RedisResult<Value> {
    result.or_else(|error| match error.clone().into_server_errors().as_deref() {
        Some([(_, refusal)]) => Ok(Value::ServerError(refusal.clone())),
        _ => Err(error),
    })
}

fn address(addr: &ConnectionAddr) -> String {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        other => other.to_string(),
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.name).finish()
    }
}
