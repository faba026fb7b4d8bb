//! The server that the test command provides, and servers of a test's own.

#![allow(dead_code)] // no test file needs all of it

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Commands as _, Connection};
use tokio::runtime::{Builder, Runtime};

/// A server and a connection to look into it. Names of a test begin with the name of the test.
pub(crate) struct Redis {
    pub(crate) url: String,
    runtime: Runtime,
    connection: Connection,
}

/// What the test command says. None, said aloud, where it says nothing; in continuous integration that is a failure.
fn told(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    if value.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set");
        eprintln!("!!! SKIPPED: {variable} is not set; cargo xtask servers starts a server");
    }
    value
}

impl Redis {
    /// The server of the test command.
    pub(crate) fn shared() -> Option<Self> {
        told("INFLIGHT_TEST_REDIS").map(|url| Self::at(&url))
    }

    pub(crate) fn at(url: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = redis::Client::open(url).unwrap();
        let connection = (0..1_200).find_map(|_| {
            let connection = client.get_connection();
            connection.inspect_err(|_| std::thread::sleep(std::time::Duration::from_millis(50))).ok()
        });
        Self { url: url.to_owned(), runtime, connection: connection.expect("the server answers within a minute") }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.connection.set::<_, _, ()>(name, value).unwrap();
    }

    /// A command as one types it.
    pub(crate) fn run(&mut self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut self.connection).unwrap()
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// A server of a test's own, killed when it is dropped.
pub(crate) struct Own {
    process: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Own {
    /// With these settings besides; on a port that is free.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let program = told("INFLIGHT_TEST_REDIS_SERVER")?;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let process = spawn(&program, folder.path(), port, settings);
        Some(Self { process, port, folder })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Once more, at the same address.
    pub(crate) fn restart(&mut self) {
        let program = told("INFLIGHT_TEST_REDIS_SERVER").unwrap();
        self.process = spawn(&program, self.folder.path(), self.port, &[]);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(program: &str, folder: &std::path::Path, port: u16, settings: &[&str]) -> Child {
    let mut server = Command::new(program);
    server.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
    server.args(settings).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Stands between a client and a server, and can go silent: what is sent on connections made before arrives nowhere.
pub(crate) struct Between {
    pub(crate) port: u16,
    silent: Arc<std::sync::Mutex<Arc<AtomicBool>>>,
}

impl Between {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = Arc::new(std::sync::Mutex::new(Arc::new(AtomicBool::new(false))));
        let of_now = Arc::clone(&silent);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let silent = Arc::clone(&of_now.lock().unwrap());
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn({
                    let silent = Arc::clone(&silent);
                    move || pass_on(from, to, &silent)
                });
                std::thread::spawn(move || pass_on(server, client, &silent));
            }
        });
        Self { port, silent }
    }

    pub(crate) fn silence(&self) {
        let mut silent = self.silent.lock().unwrap();
        silent.store(true, Ordering::SeqCst);
        *silent = Arc::new(AtomicBool::new(false));
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !silent.load(Ordering::SeqCst) && to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
