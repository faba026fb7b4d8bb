//! A connection to the servers, and what they say when they cannot help.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use tokio::runtime::{Builder, Runtime};

use super::{NatsConfig, NatsSourceConfig, PUBLISHES_AHEAD, TRIES};
use crate::{Error, ErrorKind};

/// How long a connection or an answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Answers to what was published that the driver waits for, those included that nobody wants any more.
const ACKS_AWAITED: usize = 10 * PUBLISHES_AHEAD;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection, which reconnects by itself, and the thread that drives it.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) context: Context,
    /// The servers, for people.
    name: PathBuf,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl Connection {
    pub(super) fn open(config: &NatsConfig) -> Result<Arc<Self>, Error> {
        let addresses = addresses(config)?;
        let name = PathBuf::from(addresses.iter().map(shown).collect::<Vec<_>>().join(","));
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot start a thread for the connection", error))?;
        let mut options = ConnectOptions::new()
            .name("inflight")
            .connection_timeout(ANSWERS_WITHIN)
            .request_timeout(Some(ANSWERS_WITHIN));
        options = match credentials(config, &addresses) {
            Credentials::None => options,
            Credentials::Token(token) => options.token(token),
            Credentials::User(user, password) => options.user_and_password(user, password),
            Credentials::Key(seed) => options.nkey(seed),
            Credentials::File(file) => {
                let text = fs::read_to_string(&file).map_err(|error| Error::io("cannot read the credentials", error));
                // The driver's own words may have something of it.
                let problem = "this is no credentials file; it has a JWT and a seed between lines of dashes";
                let refused = |_| Error::new(ErrorKind::Config, problem);
                let known = text.and_then(|text| options.credentials(&text).map_err(refused));
                known.map_err(|error| error.in_file(&file))?
            }
        };
        if let Some(ca) = &config.ca {
            options = options.add_root_certificates(ca.clone());
        }
        let client = runtime.block_on(options.connect(addresses)).map_err(|error| {
            let (kind, advice) = match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    (ErrorKind::Permission, "check who asks: the user and the password, the token, or the key")
                }
                ConnectErrorKind::Tls => (ErrorKind::Permission, "check `tls://` and `ca`"),
                ConnectErrorKind::ServerParse | ConnectErrorKind::Dns => (ErrorKind::Config, "check the `url`"),
                _ => (ErrorKind::Unavailable, "check that the server runs and can be reached"),
            };
            Error::new(kind, format!("cannot connect: {}; {advice}", words(&error))).in_file(&name)
        })?;
        let context = {
            // It starts a task.
            let _entered = runtime.enter();
            ContextBuilder::new()
                .timeout(ANSWERS_WITHIN)
                .ack_timeout(ANSWERS_WITHIN)
                .max_ack_inflight(ACKS_AWAITED)
                .build(client.clone())
        };
        Ok(Arc::new(Self { client, context, name, runtime: Some(runtime) }))
    }

    /// The stream that listens to a subject.
    pub(super) fn stream_of(&self, subject: &str) -> Result<String, Error> {
        self.wait(self.context.stream_by_subject(subject))?.map_err(|error| {
            let problem = jetstream_error(&format!("subject {subject}"), &error);
            let message = match problem.kind() {
                ErrorKind::Config => format!("no stream listens to the subject {subject}; create one"),
                _ => problem.to_string(),
            };
            Error::new(problem.kind(), message).in_file(self.name())
        })
    }

    /// The same, with the name of the stream if there was only that of a subject.
    pub(super) fn with_stream(&self, config: &NatsSourceConfig) -> Result<NatsSourceConfig, Error> {
        let mut config = config.clone();
        if let ("", Some(subject)) = (config.stream.as_str(), &config.subject) {
            config.stream = self.stream_of(subject)?;
        }
        Ok(config)
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Waits for something on the thread of the connection. Not to be called where one may not block.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let runtime = self.runtime.as_ref().ok_or_else(|| Error::new(ErrorKind::Io, "the connection was closed"))?;
        Ok(runtime.block_on(future))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also where one may not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How often something was tried in vain.
#[derive(Default)]
pub(super) struct Patience {
    tries: u32,
}

impl Patience {
    pub(super) fn renew(&mut self) {
        self.tries = 0;
    }

    /// Waits for a while; the error when it was tried often enough, or when it is none that goes by.
    pub(super) async fn lose(&mut self, error: Error) -> Result<(), Error> {
        self.tries += 1;
        if !error.is_retryable() || self.tries >= TRIES {
            return Err(error);
        }
        tokio::time::sleep((FIRST_PAUSE * 2_u32.pow(self.tries.min(5) - 1)).min(LONGEST_PAUSE)).await;
        Ok(())
    }
}

fn addresses(config: &NatsConfig) -> Result<Vec<ServerAddr>, Error> {
    // The driver's own words have the address in them, and with it the password.
    let address = |text: &str| {
        ServerAddr::from_str(text.trim()).map_err(|_| {
            let message = "the `url` is not that of a server; write it as nats://user:password@host:4222";
            Error::new(ErrorKind::Config, message)
        })
    };
    config.url.reveal().split(',').map(address).collect()
}

enum Credentials {
    None,
    Token(String),
    User(String, String),
    /// Its seed.
    Key(String),
    File(PathBuf),
}

/// Who asks: what the keys say, else what the first address that says so does.
fn credentials(config: &NatsConfig, addresses: &[ServerAddr]) -> Credentials {
    if let Some(file) = &config.credentials {
        return Credentials::File(file.clone());
    }
    if let Some(seed) = &config.nkey {
        return Credentials::Key(seed.reveal().trim().to_owned());
    }
    if let Some(token) = &config.token {
        return Credentials::Token(token.reveal().to_owned());
    }
    if let Some(user) = &config.user {
        let password = config.password.as_ref().map(|password| password.reveal().to_owned());
        return Credentials::User(user.clone(), password.unwrap_or_default());
    }
    let named = addresses.iter().find_map(|address| Some((address.username()?, address.password())));
    match named {
        None => Credentials::None,
        Some((token, None)) => Credentials::Token(decoded(token)),
        Some((user, Some(password))) => Credentials::User(decoded(user), decoded(password)),
    }
}

/// Without the `%40` that a URL needs for an `@`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The address without who asks.
fn shown(address: &ServerAddr) -> String {
    format!("nats://{}:{}", address.host(), address.port())
}

/// The error of a request to JetStream while doing `what`: its answer tells what kind it is, or there was none.
pub(super) fn jetstream_error(what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let words = words(error);
    let code = causes(error).find_map(|cause| cause.downcast_ref::<jetstream::Error>()).map(jetstream::Error::code);
    let mentions = |what: &[&str]| what.iter().any(|what| words.to_lowercase().contains(what));
    let (kind, advice) = match code {
        Some(404) => (ErrorKind::Config, "check the name"),
        _ if mentions(&["not found"]) => (ErrorKind::Config, "check the name"),
        _ if mentions(&["permission", "authorization", "not enabled for account"]) => {
            (ErrorKind::Permission, "check what the user may do")
        }
        Some(503) => (ErrorKind::Unavailable, "try again when the server is well"),
        Some(400) => (ErrorKind::Config, "check the configuration"),
        _ if mentions(&["not enabled"]) => (ErrorKind::Config, "start the server with JetStream (-js)"),
        _ => (ErrorKind::Unavailable, "check that the server runs, has JetStream, and can be reached"),
    };
    Error::new(kind, format!("{what}: {words}; {advice}"))
}

/// An error with its causes, each of them once.
pub(super) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = String::new();
    for cause in causes(error).map(ToString::to_string).filter(|text| !text.is_empty()) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn std::error::Error + 'static)| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_who_asks() {
        let of = |url: &str| addresses(&NatsConfig::new(url)).map(|all| all.iter().map(shown).collect::<Vec<_>>());
        assert_eq!(of("nats://me:hunter2@a:1, tls://b").unwrap(), ["nats://a:1", "nats://b:4222"]);
        let wrong = of("nats://me:hunter2@:x").unwrap_err().to_string();
        assert!(wrong.contains("the `url`") && !wrong.contains("hunter2"), "{wrong}");
    }

    #[test]
    fn who_asks_stands_in_keys_or_in_the_address() {
        let of = |config: &NatsConfig| match credentials(config, &addresses(config).unwrap()) {
            Credentials::None => "nobody".to_owned(),
            Credentials::Token(token) => token,
            Credentials::User(user, password) => format!("{user} {password}"),
            Credentials::Key(seed) => seed,
            Credentials::File(file) => file.display().to_string(),
        };
        assert_eq!(of(&NatsConfig::new("nats://a")), "nobody");
        assert_eq!(of(&NatsConfig::new("nats://t0k%40en@a")), "t0k@en");
        assert_eq!(of(&NatsConfig::new("nats://a,nats://me:p%3Aw%25@b")), "me p:w%");
        let keys =
            NatsConfig { user: Some("you".to_owned()), password: Some("x".into()), ..NatsConfig::new("nats://t@a") };
        assert_eq!(of(&keys), "you x");
        let token = NatsConfig { token: Some("y".into()), ..keys };
        assert_eq!(of(&token), "y");
        let key = NatsConfig { nkey: Some("SU1\n".into()), ..token };
        assert_eq!(of(&key), "SU1");
        assert_eq!(of(&NatsConfig { credentials: Some("a.creds".into()), ..key }), "a.creds");
    }

    #[test]
    fn a_server_that_is_not_there_is_said_to_be_so() {
        let opened = Connection::open(&NatsConfig::new("nats://me:hunter2@127.0.0.1:1"));
        let error = opened.err().unwrap();
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().starts_with("nats://127.0.0.1:1: cannot connect: "), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
