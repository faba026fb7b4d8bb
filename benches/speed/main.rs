//! What inflight costs, and what it saves: tables in Markdown on stdout, progress on stderr.
//!
//! ```text
//! cargo bench -p inflight-bench                     # everything, some ten minutes
//! cargo bench -p inflight-bench -- --quick          # a smoke test: seconds, and figures that mean nothing
//! cargo bench -p inflight-bench -- overhead memory  # only these
//! ```
//! Method and results: `benches/README.md`.

mod calls;
mod core_destination;
mod core_queue;
mod event_time;
mod grid;
mod in_flight;
mod latency;
mod lot;
mod measure;
mod memory;
mod overhead;
mod service;
mod subjects;

use std::process::ExitCode;

use crate::grid::Effort;

type Section = (&'static str, fn(&Effort));

const SECTIONS: [Section; 5] = [
    ("overhead", overhead::print),
    ("in-flight", in_flight::print),
    ("latency", latency::print),
    ("event-time", event_time::print),
    ("memory", memory::print),
];

fn main() -> ExitCode {
    let mut effort = Effort::full();
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => effort = Effort::quick(),
            memory::CHILD => return memory::child(arguments),
            // What cargo passes to every benchmark.
            "--bench" => {}
            name if SECTIONS.iter().any(|(section, _)| *section == name) => wanted.push(argument),
            unknown => {
                eprintln!(
                    "no section is called {unknown:?}; there are:{}",
                    SECTIONS.map(|(name, _)| format!(" {name}")).concat()
                );
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
