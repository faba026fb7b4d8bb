//! Real NATS servers: the one that the test command provides, and those that a test starts and kills by itself.

#![allow(dead_code)] // no test file needs all of it

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context, stream};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The variable with this name, or word that the test is skipped.
fn variable(name: &str) -> Option<String> {
    let found = std::env::var(name).ok();
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} is not set");
        eprintln!("!!! SKIPPED: {name} is not set; cargo xtask servers starts a server");
    }
    found
}

/// The server that all tests share.
pub(crate) fn shared() -> Option<String> {
    variable("INFLIGHT_TEST_NATS")
}

/// A server of a test's own.
pub(crate) struct Own {
    program: String,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Own {
    pub(crate) fn start() -> Option<Self> {
        Self::configured("")
    }

    /// With these lines in its configuration.
    pub(crate) fn configured(lines: &str) -> Option<Self> {
        let program = variable("INFLIGHT_TEST_NATS_PROGRAM")?;
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut own = Self { program, folder: tempfile::tempdir().unwrap(), port, process: None };
        std::fs::write(own.folder.path().join("nats.conf"), lines).unwrap();
        own.start_again();
        Some(own)
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn start_again(&mut self) {
        let mut server = Command::new(&self.program);
        server.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"]).arg(self.folder.path());
        server.arg("--config").arg(self.folder.path().join("nats.conf"));
        self.process = Some(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_until("the server answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A stream of a test's own, with a client to write to it and look into it.
pub(crate) struct Stream {
    pub(crate) url: String,
    pub(crate) name: String,
    runtime: Runtime,
    context: Context,
}

impl Stream {
    /// Listens to the subjects below its name.
    pub(crate) fn new(url: &str, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let context = runtime.block_on(async {
            // The driver does not take them from the address.
            let named = url.strip_prefix("nats://").and_then(|rest| rest.split_once('@')?.0.split_once(':'));
            let (user, password) = named.unwrap_or_default();
            let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
            let context = jetstream::new(options.connect(url).await.unwrap());
            let _ = context.delete_stream(name).await;
            let config =
                stream::Config { name: name.into(), subjects: vec![format!("{name}.>")], ..Default::default() };
            context.create_stream(config).await.unwrap();
            context
        });
        Self { url: url.to_owned(), name: name.to_owned(), runtime, context }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn publish(&self, subject: &str, records: impl IntoIterator<Item = Value>) {
        self.wait(async {
            let mut acks = Vec::new();
            for record in records {
                let subject = format!("{}.{subject}", self.name);
                acks.push(self.context.publish(subject, record.to_string().into()).await.unwrap());
                // The driver has no room for more than some thousand.
                if acks.len() == 1000 {
                    for ack in acks.drain(..) {
                        ack.await.unwrap();
                    }
                }
            }
            for ack in acks {
                ack.await.unwrap();
            }
        });
    }

    /// Messages in it.
    pub(crate) fn count(&self) -> u64 {
        self.wait(async { self.context.get_stream(&self.name).await.unwrap().cached_info().state.messages })
    }

    /// Their content, in order.
    pub(crate) fn content(&self) -> Vec<Value> {
        self.wait(async {
            let stream = self.context.get_stream(&self.name).await.unwrap();
            let state = stream.cached_info().state.clone();
            let mut content = Vec::new();
            for sequence in state.first_sequence..=state.last_sequence {
                let message = stream.get_raw_message(sequence).await.unwrap();
                content.push(serde_json::from_slice(&message.payload).unwrap());
            }
            content
        })
    }
}
