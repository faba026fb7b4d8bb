//! What the checks need of Debian, installed where they run as root.

use std::path::Path;
use std::process::{Command, Stdio};

/// Sees to it that librdkafka can be built with encryption. What is missing then is told by its build.
pub(crate) fn openssl() {
    let runs = |program: &str| {
        let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let has_headers = Path::new("/usr/include/openssl/ssl.h").exists();
    for (package, is_there) in [("libssl-dev", has_headers), ("pkg-config", runs("pkg-config"))] {
        if !is_there && let Err(why) = install(package) {
            eprintln!("\n!!! No {package}: {why}\n!!! Kafka cannot be built without, unless it is elsewhere.\n");
        }
    }
}

/// Installs a package of Debian, which only root can; if it is not found, once more with fresh lists of packages.
pub(crate) fn install(package: &str) -> Result<(), String> {
    let install = ["install", "--quiet", "--yes", "--no-install-recommends", package];
    apt_get(&install).or_else(|_| apt_get(&["update", "--quiet"]).and_then(|()| apt_get(&install)))
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    println!("$ apt-get {}", arguments.join(" "));
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("apt-get: {error}; install it by hand"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().last().unwrap_or_default();
    if output.status.success() { Ok(()) } else { Err(format!("apt-get {}: {last}", arguments.join(" "))) }
}
