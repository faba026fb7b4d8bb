//! Would this proof notice? Each mistake in the surroundings of the pipeline is found.

use inflight_sim::recovery::{Fault, search};

const SEEDS: u64 = 200;

/// Of each seed.
const CRASHES: u64 = 8;

#[test]
fn every_fault_is_found() {
    let found = Fault::ALL.map(|fault| (fault, search(0, SEEDS, CRASHES, Some(fault))));
    for (fault, search) in &found {
        let failure = search.failure.as_ref().map_or_else(|| "survives".to_owned(), |failure| failure.to_string());
        println!("{fault:?}, after {} trials: {failure}", search.trials);
    }
    for (fault, search) in found {
        assert!(search.failure.is_some(), "no rule finds {fault:?} within {SEEDS} seeds");
    }
}
