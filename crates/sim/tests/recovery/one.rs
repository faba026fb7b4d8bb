//! One trial, step by step: `INFLIGHT_SEED` and `INFLIGHT_CRASH` say which.

use inflight_sim::Trace;
use inflight_sim::recovery::{Laboratory, Scenario, Trial};

use crate::number;

#[test]
#[ignore = "for people who look for something"]
fn one_trial() {
    let (seed, crash) = (number("INFLIGHT_SEED", 0), number("INFLIGHT_CRASH", 0));
    println!("{}", Scenario::new(seed));
    let trial = Trial { crash: Some(crash).filter(|crash| *crash > 0), trace: Trace::Print, ..Trial::new(seed) };
    println!("{:?}", Laboratory::new().run(trial));
}
