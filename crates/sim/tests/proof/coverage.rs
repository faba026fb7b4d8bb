//! Does the world get into trouble? Every fault in every situation in every order.

use inflight_sim::{Options, search};

use crate::{number, threads};

#[test]
fn every_fault_meets_every_situation_in_every_order() {
    let search = search(number("INFLIGHT_SEED", 0), number("INFLIGHT_SEEDS", 12_000), threads(), &Options::default());
    println!("{}", search.coverage);
    let missing = search.coverage.missing();
    assert_eq!(missing, [], "cells that no seed reached");
}
