//! `cargo xtask faults`: the program while the world misbehaves, with outages as long as real ones, and a table of what came of it.

use std::fs;

use crate::servers::Servers;
use crate::step::call;
use crate::workspace::{Workspace, cargo};

/// Where the tests write a row of the table for each fault. They take their time then.
const FIGURES: &str = "INFLIGHT_FAULTS_FIGURES";
/// How soon after a fault as many records have to come out as before.
const BACK_WITHIN_S: f64 = 10.0;

const HEAD: &str = "\
| fault | what the user sees | lost | twice | calls per record, worst second | s until 95 % of the throughput | MB at most |
|---|---|---|---|---|---|---|";

/// Prints the table.
///
/// # Errors
/// When a test fails, or the program was not back soon enough.
pub(crate) fn run() -> Result<(), String> {
    let workspace = Workspace::read()?;
    let figures = workspace.target.join("faults.md");
    let _ = fs::remove_file(&figures);
    let servers = Servers::start(&workspace.target);
    let test =
        ["test", "--release", "--package", "inflight-cli", "--test", "cli", "faults::", "--", "--test-threads=1"];
    let tested = call(cargo().args(test).envs(servers.variables()).env(FIGURES, &figures));
    let rows = fs::read_to_string(&figures).map_err(|error| format!("{}: {error}", figures.display()))?;
    println!("\n{HEAD}\n{rows}");
    tested.map_err(|trouble| format!("{trouble:?}"))?;
    let late: Vec<&str> = rows.lines().filter(|row| !is_back_in_time(row)).collect();
    if !late.is_empty() {
        return Err(format!("not back within {BACK_WITHIN_S} s:\n{}", late.join("\n")));
    }
    servers.missing().map_or(Ok(()), |what| Err(format!("not everything was tried: {what}")))
}

fn is_back_in_time(row: &str) -> bool {
    let seconds = row.split(" | ").nth(5).and_then(|cell| cell.trim().parse::<f64>().ok());
    seconds.is_some_and(|seconds| seconds <= BACK_WITHIN_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_whether_it_was_soon_enough() {
        let row = |seconds: &str| format!("| hangs | waits: no answer | 0 | 0 | 1.02 | {seconds} | 31 |");
        assert!(is_back_in_time(&row("1.4")));
        assert!(!is_back_in_time(&row("10.1")) && !is_back_in_time(&row("never")));
    }
}
