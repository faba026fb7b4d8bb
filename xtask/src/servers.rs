//! Real servers for the tests: found or installed, started on loopback with data of their own, stopped afterwards.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::debian::install;

mod kafka;
mod mysql;
mod nats;
mod postgres;
mod redis;

/// A server that tests ask for.
struct Server {
    name: &'static str,
    /// Where the tests find its address.
    variable: &'static str,
    start: fn(&Ground) -> Result<Running, String>,
}

const SERVERS: [Server; 5] = [
    Server { name: "PostgreSQL", variable: "INFLIGHT_TEST_POSTGRES", start: postgres::start },
    Server { name: "MySQL", variable: "INFLIGHT_TEST_MYSQL", start: mysql::start },
    Server { name: "Redis", variable: "INFLIGHT_TEST_REDIS", start: redis::start },
    Server { name: "NATS", variable: "INFLIGHT_TEST_NATS", start: nats::start },
    Server { name: "Kafka", variable: "INFLIGHT_TEST_KAFKA", start: kafka::start },
];

/// How long a server may take until it answers.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to stop by itself.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(50);

/// Starts the servers for tests run by hand, until the input ends or Enter is pressed.
pub(crate) fn run(target: &Path) -> Result<(), String> {
    let servers = Servers::start(target);
    servers.variables().for_each(|(name, value)| println!("export {name}={value}"));
    println!("Press Enter to stop them.");
    std::io::stdin().read_line(&mut String::new()).map_err(|error| format!("cannot read the input: {error}"))?;
    servers.missing().map_or(Ok(()), Err)
}

/// All servers that could be started. They stop when this is dropped.
pub(crate) struct Servers {
    running: Vec<(&'static str, Running)>,
    missing: Vec<String>,
}

/// A server as it was started, and what the tests need to know.
struct Running {
    process: Child,
    /// Its folder, removed with it.
    folder: PathBuf,
    address: String,
    /// More variables for the tests.
    facts: Vec<(&'static str, String)>,
}

impl Servers {
    /// Starts all of them, each in a folder of its own under `target`; says aloud which could not be.
    pub(crate) fn start(target: &Path) -> Self {
        let (mut running, mut missing) = (Vec::new(), Vec::new());
        if let Err(why) = network_tools() {
            eprintln!("\n!!! No networks of our own: {why}\n!!! Tests that cut one are SKIPPED.\n");
            missing.push(format!("no network was cut: {why}"));
        }
        for server in &SERVERS {
            let started = Ground::prepare(target, server.name).and_then(|ground| {
                let leave_nothing = |_: &String| drop(fs::remove_dir_all(&ground.folder));
                (server.start)(&ground).inspect_err(leave_nothing)
            });
            match started {
                Ok(started) => {
                    println!("{} answers; {} tells the tests", server.name, server.variable);
                    running.push((server.variable, started));
                }
                Err(why) => {
                    eprintln!("\n!!! No {}: {why}\n!!! Its tests are SKIPPED.\n", server.name);
                    missing.push(format!("no test against {} ran: {why}", server.name));
                }
            }
        }
        Self { running, missing }
    }

    /// What tells the tests where the servers are.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.running.iter().flat_map(|(variable, server)| {
            let facts = server.facts.iter().map(|(name, value)| (*name, value.as_str()));
            facts.chain([(*variable, server.address.as_str())])
        })
    }

    /// The servers that could not be started, and why.
    pub(crate) fn missing(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| self.missing.join("; "))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // By signals, so that it ends its own children: PostgreSQL ends at once by the first, MariaDB listens to the second alone.
        // What does not listen is killed.
        for signal in ["-INT", "-TERM"] {
            let _ = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        }
        if !wait_until(STOPS_WITHIN, || !matches!(self.process.try_wait(), Ok(None))) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder for a server's data, and the user it runs as: servers refuse to run as root.
struct Ground {
    /// For what is fetched once and kept.
    target: PathBuf,
    folder: PathBuf,
    user: Option<User>,
}

#[derive(Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

impl Ground {
    fn prepare(target: &Path, name: &str) -> Result<Self, String> {
        let name = format!("{}-{}", name.to_lowercase(), std::process::id());
        let create = |folder: &Path| fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", shown(folder)));
        let folder = target.join("servers").join(&name);
        create(&folder)?;
        let is_root = fs::metadata(&folder).map_err(|error| format!("{}: {error}", shown(&folder)))?.uid() == 0;
        let user = if is_root { Some(unprivileged()?) } else { None };
        let target = target.to_owned();
        let ground = Self { target: target.clone(), folder, user }.owned()?;
        if ground.is_reachable() {
            return Ok(ground);
        }
        // The user of the server may not look into the folder the repository is in.
        let _ = fs::remove_dir_all(&ground.folder);
        let folder = std::env::temp_dir().join(name);
        create(&folder)?;
        Self { target, folder, user }.owned()
    }

    fn owned(self) -> Result<Self, String> {
        if let Some(user) = self.user {
            chown(&self.folder, Some(user.id), Some(user.group))
                .map_err(|error| format!("{}: {error}", shown(&self.folder)))?;
        }
        Ok(self)
    }

    fn is_reachable(&self) -> bool {
        self.command("test").arg("-w").arg(&self.folder).status().is_ok_and(|status| status.success())
    }

    /// A program run as the user of the server, in its folder, without our input.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.id).gid(user.group);
        }
        command
    }

    /// Runs a program to its end, quietly; its own words if it fails.
    fn call(&self, command: &mut Command) -> Result<(), String> {
        let output = command.current_dir(&self.folder).output();
        let output = output.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let words = String::from_utf8_lossy(&output.stderr);
        let program = command.get_program().display();
        if output.status.success() { Ok(()) } else { Err(format!("{program}: {}: {}", output.status, words.trim())) }
    }

    /// Writes a file that only the server may read.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.folder.join(name);
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            self.user.map_or(Ok(()), |user| chown(&path, Some(user.id), Some(user.group)))
        };
        write().map_err(|error| format!("{}: {error}", shown(&path)))?;
        Ok(path)
    }
}

/// `postgres` if there is such a user, else `nobody`.
fn unprivileged() -> Result<User, String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| user(&users, name))
        .ok_or_else(|| "run by root, and there is neither a user postgres nor nobody to run it as".to_owned())
}

fn user(users: &str, name: &str) -> Option<User> {
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
    Some(User { id: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
}

/// A port nobody listens on just now.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// Whether it became true in time.
fn wait_until(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() >= time {
            return false;
        }
        std::thread::sleep(GLANCE);
    }
    true
}

/// The program that makes several hosts of one machine, for the tests that cut the network between them.
fn network_tools() -> Result<(), String> {
    let is_there = || Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if is_there() { Ok(()) } else { install("iproute2") }
}

/// A certificate for `localhost` and its key, made with openssl where there is one.
fn certificate(ground: &Ground, folder: &Path, server: &str) -> Option<(PathBuf, PathBuf)> {
    let (path, key) = (folder.join("server.crt"), folder.join("server.key"));
    let mut openssl = ground.command("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    match ground.call(openssl.arg("-keyout").arg(&key).arg("-out").arg(&path)) {
        Ok(()) => Some((path, key)),
        Err(why) => {
            eprintln!("!!! {server} without TLS, whose test is SKIPPED: {why}");
            None
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        assert!(user(users, "postgres").is_some_and(|user| user.id == 101 && user.group == 104));
        assert!(user(users, "nobody").is_none());
        assert!(user("nobody:x", "nobody").is_none());
    }

    #[test]
    fn a_free_port_can_be_listened_on() {
        assert!(TcpListener::bind(("127.0.0.1", free_port().unwrap())).is_ok());
    }

    #[test]
    fn what_never_becomes_true_is_not_waited_for() {
        assert!(!wait_until(Duration::ZERO, || false));
        assert!(wait_until(Duration::ZERO, || true));
    }

    #[test]
    fn a_server_that_ends_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("inflight-server-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        drop(Running { process, folder: folder.clone(), address: String::new(), facts: Vec::new() });
        assert!(!folder.exists());
    }
}
