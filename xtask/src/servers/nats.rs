//! NATS with JetStream: the installed one, or Debian's.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::{Ground, Running, STARTS_WITHIN, free_port, install, shown, wait_until};

const PROGRAM: &str = "nats-server";
const PASSWORD: &str = "of-the-test-server";

/// The program, for tests that kill a server of their own and start it again.
const TELLS_PROGRAM: &str = "INFLIGHT_TEST_NATS_PROGRAM";

pub(super) fn start(ground: &Ground) -> Result<Running, String> {
    if !is_there() {
        if ground.user.is_none() {
            return Err(format!(
                "it is not installed, and only root may install it; get it with: apt-get install {PROGRAM}"
            ));
        }
        install(PROGRAM)?;
    }
    let port = free_port()?;
    let data = ground.folder.join("data");
    let settings = format!(
        "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: \"{}\" }}\n\
         authorization {{ user: inflight, password: \"{PASSWORD}\" }}\n",
        shown(&data)
    );
    let settings = ground.write("nats.conf", &settings)?;
    let mut server = ground.command(PROGRAM);
    server.arg("--config").arg(settings).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(&ground.folder);
    let process = server.spawn().map_err(|error| format!("cannot start it: {error}"))?;
    let mut running = Running {
        process,
        folder: ground.folder.clone(),
        address: format!("nats://inflight:{PASSWORD}@127.0.0.1:{port}"),
        facts: vec![(TELLS_PROGRAM, PROGRAM.to_owned())],
    };
    let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    if wait_until(STARTS_WITHIN, || answers() || !matches!(running.process.try_wait(), Ok(None))) && answers() {
        return Ok(running);
    }
    Err("it does not answer".to_owned())
}

fn is_there() -> bool {
    Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
