//! The proof that the queue keeps its rules, and that this proof would notice if it did not.

mod coverage;
mod exhaustive_small;
mod mutants;
mod regressions;
mod seeds;

/// All cores.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {text:?}")))
}
