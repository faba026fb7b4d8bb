//! Would this proof notice? Each bug that a destination could have is found: by the rules of those who share it, or by what a limit that
//! is found by trying promises.

use std::panic::catch_unwind;

use inflight_core::DestinationMutant;
use inflight_sim::{Seconds, Violation, found_limit, shared};

const SEEDS: u64 = 100;

type Way = fn(u64, Option<DestinationMutant>) -> Result<(), Violation>;

/// How a seed is lived through. Where somebody asks for all the tokens there are, or there is no breaker, records may fail.
const WAYS: [Way; 4] = [
    |_, mutant| found_limit(mutant),
    |seed, mutant| {
        let mut run = shared(seed);
        run.destination.mutant = mutant;
        let failed = run.run()?.failed.iter().sum::<u64>();
        if failed == 0 {
            Ok(())
        } else {
            Err(Violation { rule: "an outage fails no record", what: failed.to_string() })
        }
    },
    |seed, mutant| {
        let mut run = shared(seed);
        (run.extras, run.destination.mutant) = (true, mutant);
        run.run().map(|_: Seconds| ())
    },
    |seed, mutant| {
        let mut run = shared(seed);
        (run.destination.breaker, run.destination.mutant) = (None, mutant);
        run.run().map(|_: Seconds| ())
    },
];

#[test]
fn no_rule_is_broken() {
    for (way, live) in WAYS.iter().enumerate() {
        for seed in 0..if way == 0 { 1 } else { SEEDS } {
            live(seed, None).unwrap_or_else(|violation| panic!("way {way}, seed {seed}: {violation:?}"));
        }
    }
}

#[test]
fn every_bug_of_a_destination_is_found() {
    // A mutant may well panic; what it says is not of interest.
    std::panic::set_hook(Box::new(|_| {}));
    let found = DestinationMutant::ALL.map(|mutant| {
        let by_seed = |seed: u64| WAYS.iter().find_map(|live| Some((seed + 1, broken(seed, mutant, *live)?)));
        (mutant, (0..SEEDS).find_map(by_seed))
    });
    let _ = std::panic::take_hook();
    println!("{:<20}{:>6}  {:<42} what it is", "bug", "seeds", "found by the rule");
    for (mutant, found) in &found {
        let (seeds, rule) = found.unwrap_or((0, "SURVIVES"));
        println!("{:<20}{seeds:>6}  {rule:<42} {}", format!("{mutant:?}"), mutant.describe());
    }
    let survive: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).map(|(mutant, _)| mutant).collect();
    assert!(survive.is_empty(), "{survive:?}");
}

/// The rule that a bug breaks.
fn broken(seed: u64, mutant: DestinationMutant, live: Way) -> Option<&'static str> {
    match catch_unwind(|| live(seed, Some(mutant))) {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation.rule),
        Err(_) => Some("no panic"),
    }
}
