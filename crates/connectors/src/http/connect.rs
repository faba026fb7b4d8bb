//! The client: connections that are kept and used again, encrypted or not.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, Client, Url, redirect};

use super::HttpLookupConfig;
use super::error::failed;
use super::request::Request;
use crate::{Error, ErrorKind, tls};

/// How long the server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A connection on which nothing is acknowledged for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// A connection that nobody has used for so long is closed: before most servers do.
const IDLE: Duration = Duration::from_secs(55);

/// A service, asked again and again.
pub(super) struct Service {
    client: Client,
    /// As many requests may be sent as there are permits.
    permits: tokio::sync::Semaphore,
    answer_bytes_max: usize,
    name: PathBuf,
}

/// What came back.
pub(super) struct Response {
    pub(super) status: reqwest::StatusCode,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Service {
    pub(super) fn new(config: &HttpLookupConfig) -> Result<Self, Error> {
        config.check()?;
        tls::choose_cryptography();
        let mut builder = Client::builder()
            .user_agent(concat!("inflight/", env!("CARGO_PKG_VERSION")))
            // An answer from elsewhere is no answer of this service; and headers with secrets stay here.
            .redirect(redirect::Policy::none())
            // Trying again is for the one who asks.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.connections)
            .tcp_keepalive(SILENCE);
        #[cfg(target_os = "linux")]
        {
            builder = builder.tcp_user_timeout(SILENCE);
        }
        if let Some(file) = &config.ca_file {
            let text = tls::certificates("ca_file", file)?;
            let refuse = |error| failed("`ca_file`", error).in_file(file);
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&text).map_err(refuse)?);
        }
        let client = builder.build().map_err(|error| failed("cannot set up the client", error))?;
        let permits = tokio::sync::Semaphore::new(config.connections);
        let name = Url::parse(config.url.reveal()).ok().map(|url| name(&url)).unwrap_or_default();
        Ok(Self { client, permits, answer_bytes_max: config.max_answer_bytes, name })
    }

    /// Host and port, for errors.
    pub(super) fn name(&self) -> &std::path::Path {
        &self.name
    }

    /// Sends a request when there is a permit, and reads the whole answer.
    pub(super) async fn ask(&self, request: Request) -> Result<Response, Error> {
        let closed = |_| Error::new(ErrorKind::Unavailable, "the client is closed");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let mut builder = self.client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            builder = builder.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut response = builder.send().await.map_err(|error| failed("cannot ask", error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed("cannot read the answer", error))? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                let message = format!(
                    "the answer is longer than {} bytes; see `max_answer_bytes`, or ask for less",
                    self.answer_bytes_max
                );
                return Err(Error::new(ErrorKind::TooLong, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }
}

fn name(url: &Url) -> PathBuf {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")).into()
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Service").field(&self.name).finish()
    }
}
