//! PostgreSQL: the installed one, or Debian's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Ground, Running, STARTS_WITHIN, certificate, free_port, install, shown, wait_until};

const PASSWORD: &str = "of-the-test-server";

/// The certificate the server shows, if it speaks TLS: the tests of TLS need it.
const CERTIFICATE: &str = "INFLIGHT_TEST_POSTGRES_CERTIFICATE";

pub(super) fn start(ground: &Ground) -> Result<Running, String> {
    let programs = match programs() {
        Some(programs) => programs,
        None => {
            install_debian(ground)?;
            programs().ok_or("installed, and still not under /usr/lib/postgresql")?
        }
    };
    let data = ground.folder.join("data");
    let password = ground.write("password", PASSWORD)?;
    let mut initdb = ground.command(programs.join("initdb"));
    initdb.args(["--username=inflight", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    ground.call(initdb.arg("--pwfile").arg(password).arg("--pgdata").arg(&data))?;

    let certificate = certificate(ground, &data, "PostgreSQL");
    let port = free_port()?;
    // It need not outlive the machine: no fsync.
    let mut settings = format!("listen_addresses=127.0.0.1 port={port} unix_socket_directories= fsync=off ");
    settings += "max_connections=200 log_min_messages=fatal";
    if certificate.is_some() {
        settings += " ssl=on";
    }
    let log = ground.write("log", "").and_then(|log| {
        fs::OpenOptions::new().append(true).open(&log).map_err(|error| format!("{}: {error}", shown(&log)))
    })?;
    let mut server = ground.command(programs.join("postgres"));
    server.arg("-D").arg(&data).stdout(Stdio::null()).stderr(log).current_dir(&ground.folder);
    server.args(settings.split(' ').flat_map(|setting| ["-c", setting]));
    let process = server.spawn().map_err(|error| format!("cannot start it: {error}"))?;
    let mut running = Running {
        process,
        folder: ground.folder.clone(),
        address: format!("postgres://inflight:{PASSWORD}@127.0.0.1:{port}/postgres"),
        facts: certificate.map(|(path, _)| (CERTIFICATE, shown(&path))).into_iter().collect(),
    };

    let answers = || {
        let mut ready = Command::new(programs.join("pg_isready"));
        ready.args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    };
    if wait_until(STARTS_WITHIN, || answers() || !matches!(running.process.try_wait(), Ok(None))) && answers() {
        return Ok(running);
    }
    let log = fs::read_to_string(ground.folder.join("log")).unwrap_or_default();
    Err(format!("it does not answer: {}", log.lines().last().unwrap_or("and says nothing")))
}

/// The folder with the programs of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/postgres").is_file())
        .max_by_key(|path| version(path))
        .map(|path| path.join("bin"))
}

/// The package makes a cluster of its own and starts it, unless it is told not to between its parts.
fn install_debian(ground: &Ground) -> Result<(), String> {
    if ground.user.is_none() {
        return Err("it is not installed, and only root may install it; get it with: apt-get install postgresql".into());
    }
    install("postgresql-common")?;
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    let text = fs::read_to_string(settings).unwrap_or_default() + "\ncreate_main_cluster = false\n";
    fs::write(settings, text).map_err(|error| format!("{}: {error}", shown(settings)))?;
    install("postgresql")
}
