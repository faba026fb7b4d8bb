//! What checkpoints and more workers cost: tables in Markdown on stdout, progress on stderr.
//!
//! ```text
//! cargo bench -p inflight-bench --bench recovery              # everything, some minutes
//! cargo bench -p inflight-bench --bench recovery -- --quick   # a smoke test: seconds, and figures that mean nothing
//! cargo bench -p inflight-bench --bench recovery -- epochs    # only these
//! ```
//! Method and results: `benches/README.md`.

mod epochs;
mod memory;
mod numbers;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

/// How long to measure.
struct Effort {
    window: Duration,
    rounds: usize,
    /// To watch the memory over.
    records: u64,
}

type Section = (&'static str, fn(&Effort));

const SECTIONS: [Section; 4] =
    [("epochs", epochs::print), ("stuck", epochs::print_stuck), ("workers", workers::print), ("memory", memory::print)];

fn main() -> ExitCode {
    let mut effort = Effort { window: Duration::from_secs(3), rounds: 3, records: 100_000_000 };
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            workers::CHILD => return workers::child(arguments),
            "--quick" => effort = Effort { window: Duration::from_millis(300), rounds: 1, records: 100_000 },
            // What cargo passes to every benchmark.
            "--bench" => {}
            name if SECTIONS.iter().any(|(section, _)| *section == name) => wanted.push(argument),
            unknown => {
                let names = SECTIONS.map(|(name, _)| format!(" {name}")).concat();
                eprintln!("no section is called {unknown:?}; there are:{names}");
                return ExitCode::from(2);
            }
        }
    }
    for (name, print) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            print(&effort);
        }
    }
    ExitCode::SUCCESS
}
