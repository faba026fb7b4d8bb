//! Many seeds, with many crashes each. `INFLIGHT_CRASHES` says how many of each seed at most, `INFLIGHT_CRASH_SEEDS` how many seeds,
//! `INFLIGHT_SEED` which is the first.

use inflight_sim::Trace;
use inflight_sim::recovery::{Laboratory, Trial, search};

use crate::number;

/// In a debug build a trial takes longer.
const SEEDS: u64 = if cfg!(debug_assertions) { 10 } else { 120 };

/// Of each seed.
const CRASHES: u64 = 15;

/// With a crash at every step, unless they are longer than that.
const WHOLE_SEEDS: u64 = if cfg!(debug_assertions) { 2 } else { 10 };
const LONGEST: u64 = 100;

#[test]
fn no_crash_breaks_a_rule() {
    let search = search(
        number("INFLIGHT_SEED", 0),
        number("INFLIGHT_CRASH_SEEDS", SEEDS),
        number("INFLIGHT_CRASHES", CRASHES),
        None,
    );
    println!("{search}");
    if let Some(failure) = search.failure {
        panic!("{failure}");
    }
    assert!(search.carried > 0 && search.recorded > 0, "the world is too friendly");
}

#[test]
fn no_crash_at_any_step_breaks_a_rule() {
    let search = search(1_000_000, WHOLE_SEEDS, LONGEST, None);
    println!("{search}");
    if let Some(failure) = search.failure {
        panic!("{failure}");
    }
}

#[test]
fn a_trial_runs_the_same_way_twice() {
    let mut laboratory = Laboratory::new();
    for seed in 0..number("INFLIGHT_CRASH_SEEDS", SEEDS) / 3 {
        let mut run =
            |crash| laboratory.run(Trial { crash, trace: Trace::Hash, ..Trial::new(seed) }).expect("no rule is broken");
        let first = run(None);
        assert_eq!(first, run(None), "seed {seed}");
        let crash = Some(1 + seed % first.events);
        assert_eq!(run(crash), run(crash), "seed {seed}");
    }
}
