//! Many seeds, with many crashes each. `INFLIGHT_CRASHES` says how many of each seed at most, `INFLIGHT_CRASH_SEEDS` how many seeds,
//! `INFLIGHT_SEED` which is the first.

use inflight_sim::Trace;
use inflight_sim::recovery::{Laboratory, Trial, search};

use crate::number;

#[test]
fn no_crash_breaks_a_rule() {
    let search =
        search(number("INFLIGHT_SEED", 0), number("INFLIGHT_CRASH_SEEDS", 20), number("INFLIGHT_CRASHES", 40), None);
    println!("{search}");
    if let Some(failure) = search.failure {
        panic!("{failure}");
    }
}

#[test]
fn a_trial_runs_the_same_way_twice() {
    let mut laboratory = Laboratory::new();
    for seed in 0..20 {
        let mut run =
            |crash| laboratory.run(Trial { crash, trace: Trace::Hash, ..Trial::new(seed) }).expect("no rule is broken");
        let first = run(None);
        assert_eq!(first, run(None), "seed {seed}");
        let crash = Some(1 + seed % first.events);
        assert_eq!(run(crash), run(crash), "seed {seed}");
    }
}
