//! What checkpoints and more workers cost: tables in Markdown on stdout, progress on stderr.
//!
//! ```text
//! cargo bench -p inflight-bench --bench recovery              # everything, some minutes
//! cargo bench -p inflight-bench --bench recovery -- --quick   # a smoke test: seconds, and figures that mean nothing
//! ```
//! Method and results: `benches/README.md`.

mod epochs;
mod numbers;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

/// How long to measure.
struct Effort {
    window: Duration,
    rounds: usize,
}

fn main() -> ExitCode {
    let mut effort = Effort { window: Duration::from_secs(4), rounds: 5 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            workers::CHILD => return workers::child(arguments),
            "--quick" => effort = Effort { window: Duration::from_millis(300), rounds: 1 },
            // What cargo passes to every benchmark.
            "--bench" => {}
            unknown => {
                eprintln!("unknown option {unknown:?}; there is --quick");
                return ExitCode::from(2);
            }
        }
    }
    epochs::print(&effort);
    workers::print(&effort);
    ExitCode::SUCCESS
}
