//! The program `inflight`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    inflight_cli::commands::main()
}
