//! Redis: the installed one, or Debian's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;

use super::{Ground, Running, STARTS_WITHIN, free_port, install, shown, wait_until};

const PASSWORD: &str = "of-the-test-server";

/// The program, for tests that start servers of their own: to restart them, or to make a cluster of them.
const PROGRAM: &str = "INFLIGHT_TEST_REDIS_SERVER";

pub(super) fn start(ground: &Ground) -> Result<Running, String> {
    let program = match program() {
        Some(program) => program,
        None => {
            install_debian(ground)?;
            program().ok_or("installed, and still no redis-server")?
        }
    };
    let port = free_port()?;
    // In a file, since all users could read a password among the arguments. It keeps nothing on the disk.
    let settings =
        format!("bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\nsave \"\"\ndir {}\n", shown(&ground.folder));
    let file = ground.write("settings", &settings)?;
    let mut server = ground.command(&program);
    server.arg(file).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(&ground.folder);
    let process = server.spawn().map_err(|error| format!("cannot start it: {error}"))?;
    let mut running = Running {
        process,
        folder: ground.folder.clone(),
        address: format!("redis://:{PASSWORD}@127.0.0.1:{port}"),
        facts: vec![(PROGRAM, shown(&program))],
    };
    let answers = || answers(port).unwrap_or(false);
    if wait_until(STARTS_WITHIN, || answers() || !matches!(running.process.try_wait(), Ok(None))) && answers() {
        return Ok(running);
    }
    Err("it does not answer".to_owned())
}

/// Whether a server of Redis is there: it answers a question, if only that it wants a password first.
fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"PING\r\n")?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(first == *b"+" || first == *b"-")
}

fn program() -> Option<PathBuf> {
    ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// In a container nothing is started by that; on a machine with systemd, the package starts a server of its own.
fn install_debian(ground: &Ground) -> Result<(), String> {
    if ground.user.is_none() {
        let message = "it is not installed, and only root may install it; get it with: apt-get install redis-server";
        return Err(message.to_owned());
    }
    install("redis-server")
}
