//! The proof that recovery loses and doubles nothing, and that this proof would notice if it did.

mod faults;
mod one;
mod regressions;
mod seeds;
mod stuck;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {text:?}")))
}
