//! How much of what a bare driver reaches is left behind the operator, against real servers: tables in Markdown on stdout.
//!
//! ```text
//! cargo xtask servers                                         # in another terminal; export what it prints
//! cargo bench -p inflight-bench --bench systems               # everything, some minutes
//! cargo bench -p inflight-bench --bench systems -- --quick    # a smoke test: seconds, and figures that mean nothing
//! cargo bench -p inflight-bench --bench systems -- postgres   # only this system
//! cargo build --release -p inflight-cli --features kafka      # for the next one, which runs the program
//! cargo bench -p inflight-bench --bench systems --features kafka -- kafka
//! ```
//! Method and results: `benches/README.md`.

mod contest;
#[cfg(feature = "kafka")]
mod kafka;
mod keys;
#[path = "../speed/measure.rs"]
#[allow(dead_code, reason = "the other benches measure memory, too")]
mod measure;
mod operator;
mod postgres;
mod redis;
mod reuse;
mod throughput;

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

/// That of the program; the bare drivers gain by it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long to measure.
pub(crate) struct Effort {
    window: Duration,
    rounds: usize,
    /// In the table that is asked.
    rows: u64,
    /// Between two records when latency is measured: about one in a hundred of what a server can do.
    apart: Duration,
}

const APART: Duration = Duration::from_micros(500);

/// A system, where its server is told, and what measures it.
type Section = (&'static str, &'static str, fn(&Runtime, &Effort, &str));

const SECTIONS: &[Section] = &[
    ("postgres", "INFLIGHT_TEST_POSTGRES", postgres::print),
    ("redis", "INFLIGHT_TEST_REDIS", redis::print),
    #[cfg(feature = "kafka")]
    ("kafka", "INFLIGHT_TEST_KAFKA", kafka::print),
];

fn main() -> ExitCode {
    let mut effort = Effort { window: Duration::from_millis(1500), rounds: 5, rows: 1_000_000, apart: APART };
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => effort = Effort { window: Duration::from_millis(200), rounds: 1, rows: 10_000, apart: APART },
            // What cargo passes to every benchmark.
            "--bench" => {}
            name if SECTIONS.iter().any(|(section, ..)| *section == name) => wanted.push(argument),
            unknown => {
                let names: String = SECTIONS.iter().map(|(name, ..)| format!(" {name}")).collect();
                eprintln!("no section is called {unknown:?}; there are:{names}");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    for (name, variable, print) in SECTIONS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        match std::env::var(variable) {
            Ok(server) => print(&runtime, &effort, &server),
            Err(_) => eprintln!("!!! {name} is SKIPPED: {variable} does not say where a server is"),
        }
    }
    ExitCode::SUCCESS
}
