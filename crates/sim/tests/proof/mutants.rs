//! Would this proof notice? Each of Flink's historic bugs, re-made in the queue, is found: by the rules alone, and by the model alone.

use inflight_core::Mutant;
use inflight_sim::{Options, Search, search};

use crate::threads;

const SEEDS: u64 = 10_000;

#[test]
fn every_historic_bug_is_found() {
    // A mutant may well panic; what it says is not of interest.
    std::panic::set_hook(Box::new(|_| {}));
    let found = Mutant::ALL.map(|mutant| {
        let by = |rules, model| {
            search(0, SEEDS, threads(), &Options { mutant: Some(mutant), rules, model, ..Options::default() })
        };
        (mutant, by(true, false), by(false, true))
    });
    let _ = std::panic::take_hook();
    println!(
        "{:<5}{:>7}  {:<38}{:>7}  {:<18} what it is",
        "bug", "seeds", "found by the rule", "seeds", "by the model"
    );
    for (mutant, rules, model) in &found {
        let ((seeds, rule), (others, differs)) = (verdict(rules), verdict(model));
        println!("{:<5}{seeds:>7}  {rule:<38}{others:>7}  {differs:<18} {}", format!("{mutant:?}"), mutant.describe());
    }
    for (mutant, rules, model) in found {
        assert!(rules.failure.is_some(), "no rule finds {mutant:?} within {SEEDS} seeds: {}", mutant.describe());
        assert!(
            model.failure.is_some(),
            "the model does not find {mutant:?} within {SEEDS} seeds: {}",
            mutant.describe()
        );
    }
}

/// After how many seeds, and what found it.
fn verdict(search: &Search) -> (String, &'static str) {
    match &search.failure {
        None => ("-".into(), "survives"),
        Some(failure) => ((failure.seed + 1).to_string(), failure.violation.rule.trim_start_matches("model: ")),
    }
}
