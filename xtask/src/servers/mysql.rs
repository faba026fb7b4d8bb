//! MySQL: the installed MariaDB, or Debian's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Ground, Running, STARTS_WITHIN, certificate, free_port, install, shown, wait_until};

const PASSWORD: &str = "of-the-test-server";

/// The certificate the server shows, if it speaks TLS: the tests of TLS need it.
const CERTIFICATE: &str = "INFLIGHT_TEST_MYSQL_CERTIFICATE";

pub(super) fn start(ground: &Ground) -> Result<Running, String> {
    let server = match program() {
        Some(server) => server,
        None => {
            install_debian(ground)?;
            program().ok_or("installed, and still no mariadbd")?
        }
    };
    let data = ground.folder.join("data");
    let mut install_db = ground.command("mariadb-install-db");
    install_db.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin"]);
    ground.call(install_db.arg(format!("--datadir={}", shown(&data))))?;

    let users = format!(
        "create user inflight@'127.0.0.1' identified by '{PASSWORD}';\n\
         grant all on *.* to inflight@'127.0.0.1' with grant option;\ncreate database inflight;\n"
    );
    let users = ground.write("users.sql", &users)?;
    let certificate = certificate(ground, &ground.folder, "MySQL");
    let (port, socket) = (free_port()?, ground.folder.join("socket"));
    let mut mariadb = ground.command(&server);
    mariadb.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=200"]);
    // It need not outlive the machine.
    mariadb.args(["--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"]);
    mariadb.args([
        format!("--port={port}"),
        format!("--datadir={}", shown(&data)),
        format!("--socket={}", shown(&socket)),
    ]);
    mariadb
        .args([format!("--init-file={}", shown(&users)), format!("--pid-file={}", shown(&ground.folder.join("pid")))]);
    if let Some((certificate, key)) = &certificate {
        mariadb.args([format!("--ssl-cert={}", shown(certificate)), format!("--ssl-key={}", shown(key))]);
    }
    let log = ground.write("log", "").and_then(|log| {
        fs::OpenOptions::new().append(true).open(&log).map_err(|error| format!("{}: {error}", shown(&log)))
    })?;
    mariadb.stdout(Stdio::null()).stderr(log).current_dir(&ground.folder);
    let process = mariadb.spawn().map_err(|error| format!("cannot start it: {error}"))?;
    let mut running = Running {
        process,
        folder: ground.folder.clone(),
        address: format!("mysql://inflight:{PASSWORD}@127.0.0.1:{port}"),
        facts: certificate.map(|(path, _)| (CERTIFICATE, shown(&path))).into_iter().collect(),
    };
    let answers = || answers(port);
    if wait_until(STARTS_WITHIN, || answers() || !matches!(running.process.try_wait(), Ok(None))) && answers() {
        return Ok(running);
    }
    let log = fs::read_to_string(ground.folder.join("log")).unwrap_or_default();
    Err(format!("it does not answer: {}", log.lines().last().unwrap_or("and says nothing")))
}

/// Whether the user is let in, who is made before anybody else is.
fn answers(port: u16) -> bool {
    let mut admin = Command::new("mariadb-admin");
    admin.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=inflight", "ping"]);
    admin.arg(format!("--port={port}")).env("MYSQL_PWD", PASSWORD).stdout(Stdio::null()).stderr(Stdio::null());
    admin.status().is_ok_and(|status| status.success())
}

fn program() -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|folder| Path::new(folder).join("mariadbd"));
    folders.into_iter().find(|path| path.is_file())
}

/// In a container nothing is started by that; on a machine with systemd, the package starts a server of its own.
fn install_debian(ground: &Ground) -> Result<(), String> {
    if ground.user.is_none() {
        let message = "it is not installed, and only root may install it; get it with: apt-get install mariadb-server";
        return Err(message.to_owned());
    }
    install("mariadb-server")
}
