//! The program `inflight`.

use std::process::ExitCode;

fn main() -> ExitCode {
    inflight_cli::commands::main()
}
