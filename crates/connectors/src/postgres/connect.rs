//! Connections: encrypted or not, with the settings we rely on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::postgres_error;
use super::{PostgresConfig, SslMode};
use crate::renewed::in_time;
use crate::{Error, ErrorKind};

/// How long a host may take to accept a connection, and then the server to let us in, unless the URL has a
/// `connect_timeout`.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A connection on which nothing is acknowledged for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// A server, as it is connected to again and again.
#[derive(Clone)]
pub(super) struct Server {
    parts: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// What is said to the server first, about the session.
    settings: String,
    name: PathBuf,
}

impl Server {
    /// `settings` are statements for the beginning of each session, besides those that everybody needs.
    pub(super) fn new(config: &PostgresConfig, settings: &str) -> Result<Self, Error> {
        config.check()?;
        let mut parts = config.parts()?;
        if parts.get_connect_timeout().is_none() {
            parts.connect_timeout(CONNECT_WITHIN);
        }
        if parts.get_application_name().is_none() {
            parts.application_name("inflight");
        }
        parts.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        let name = name(&parts);
        let tls = MakeRustlsConnect::new(tls(config)?);
        // Times without a zone are UTC, and so are those the server writes.
        Ok(Self { parts, tls, settings: format!("set timezone = 'UTC'; {settings}"), name })
    }

    /// Host, port and database, for errors.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// A new connection, which a task of the current runtime drives until the client is dropped.
    pub(super) async fn connect(&self) -> Result<Client, Error> {
        let failed = |error| postgres_error("cannot connect", error);
        let connect = async {
            let (client, connection) = self.parts.connect(self.tls.clone()).await.map_err(failed)?;
            // What ends the connection, the client's calls tell as well.
            tokio::spawn(async move { drop(connection.await) });
            client.batch_execute(&self.settings).await.map_err(failed)?;
            Ok(client)
        };
        self.in_time("cannot connect", connect).await.map_err(|error| error.in_file(&self.name))
    }

    /// Gives up when the server takes longer than it may take to connect.
    pub(super) async fn in_time<T>(
        &self,
        what: &str,
        doing: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.parts.get_connect_timeout().map_or(CONNECT_WITHIN, |limit| *limit);
        in_time(limit, what, doing).await
    }

    /// Asks the server to end what that connection is doing just now. Whether it does, shows there.
    pub(super) async fn cancel(&self, token: CancelToken) {
        let _ = tokio::time::timeout(CONNECT_WITHIN, token.cancel_query(self.tls.clone())).await;
    }
}

fn name(parts: &tokio_postgres::Config) -> PathBuf {
    let ports = parts.get_ports();
    let hosts = parts.get_hosts().iter().enumerate().map(|(at, host)| {
        // One port may be that of all hosts.
        let port = ports.get(at).or_else(|| ports.first()).map(|port| format!(":{port}")).unwrap_or_default();
        match host {
            Host::Tcp(name) => format!("{name}{port}"),
            Host::Unix(path) => format!("{}{port}", path.display()),
        }
    });
    let dbname = parts.get_dbname().or_else(|| parts.get_user()).unwrap_or_default();
    format!("{}/{dbname}", hosts.collect::<Vec<_>>().join(",")).into()
}

fn tls(config: &PostgresConfig) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Config, format!("cannot set up TLS: {error}")))?;
    let builder = match (&config.sslrootcert, config.sslmode) {
        (Some(file), Some(SslMode::VerifyFull)) => builder.with_root_certificates(trusted(file)?),
        _ => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    Ok(builder.with_no_client_auth())
}

fn trusted(file: &Path) -> Result<RootCertStore, Error> {
    let refuse = |problem: String| Error::new(ErrorKind::Config, format!("`sslrootcert`: {problem}")).in_file(file);
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| refuse(error.to_string()))?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        store.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    match store.is_empty() {
        true => Err(refuse("there is no certificate in it".to_owned())),
        false => Ok(store),
    }
}

/// Encrypts for whoever answers: what `require` and `prefer` mean in PostgreSQL.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.name).finish()
    }
}
