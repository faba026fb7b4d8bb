//! Many seeds. `INFLIGHT_SEEDS` says how many, `INFLIGHT_SEED` which is the first.

use inflight_sim::{Options, Trace, run, search};

use crate::{number, threads};

/// In a debug build a seed takes longer.
const SEEDS: u64 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };

#[test]
fn no_seed_breaks_a_rule() {
    let search = search(number("INFLIGHT_SEED", 0), number("INFLIGHT_SEEDS", SEEDS), threads(), &Options::default());
    println!("{search}");
    if let Some(failure) = search.failure {
        panic!("{failure}");
    }
}

/// The host hears of answers only after it looked at the clock. The model knows nothing of that, the rules do.
#[test]
fn no_seed_breaks_a_rule_when_the_host_is_busy() {
    let options = Options { hears_late: true, model: false, ..Options::default() };
    let search = search(number("INFLIGHT_SEED", 0), number("INFLIGHT_SEEDS", SEEDS) / 5, threads(), &options);
    println!("{search}");
    if let Some(failure) = search.failure {
        panic!("{failure} --hears-late");
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    let hash = |seed| run(seed, &Options { trace: Trace::Hash, ..Options::default() }).expect("no rule is broken").hash;
    let hashes: Vec<_> = (0..500).map(hash).collect();
    assert_eq!(hashes, (0..500).map(hash).collect::<Vec<_>>());
    let mut different = hashes;
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 500, "each seed is a run of its own");
}
