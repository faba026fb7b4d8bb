//! The proof of `inflight-core`: a hostile world in virtual time, made from one seed. That of crashes and checkpoints is in [`recovery`].
//!
//! [`run`] makes a [`Scenario`] from a seed and lives through it: a source, a service that answers, fails, hangs, answers twice or
//! too late, a consumer that is slow, a host that crashes and restores. Everything the queue does is
//! checked twice, by [`Checker`], which knows the rules, and by [`Reference`], which knows what comes next.
//!
//! ```
//! let report = inflight_sim::run(7, &inflight_sim::Options::default()).expect("seed 7 breaks no rule");
//! assert!(report.emitted > 0);
//! ```
//!
//! # How to run it
//!
//! ```text
//! cargo test -p inflight-sim                                      some thousand seeds, and everything else
//! cargo test --release -p inflight-sim                            100,000 seeds; -- --nocapture shows the tables
//! INFLIGHT_SEEDS=1000000 INFLIGHT_SEED=7 cargo test --release -p inflight-sim seeds
//! cargo run --release -p inflight-sim -- --seeds 10000000         a long run, with seeds per second
//! cargo run --release -p inflight-sim -- --seed 7 --trace         one seed, step by step
//! INFLIGHT_CRASH_SEEDS=1000 INFLIGHT_CRASHES=100 cargo test --release -p inflight-sim --test recovery
//! INFLIGHT_SEED=7 INFLIGHT_CRASH=40 cargo test --release -p inflight-sim --test recovery one_trial -- --ignored --nocapture
//! ```
//!
//! # Where is what
//!
//! | file | idea |
//! |---|---|
//! | `scenario` | what a seed stands for |
//! | `service` | what may happen to one call |
//! | `world` | time passes: source, service, consumer, crashes |
//! | `observed` | the queue with both checks around it |
//! | `check` | the rules, from what can be seen from outside |
//! | `reference` | the queue once more, by plain scans |
//! | `coverage` | which fault met which situation |
//! | `search` | many seeds on all cores |
//! | `disk` | a folder for checkpoints that crashes, fills up and rots |
//! | `shared` | operators that share a destination, and a server with an outage |
//! | `witness` | a breaker, as seen from outside |
//! | `closed_loop` | clients that always have more to ask, and servers of six shapes |
//! | `found` | what a limit that is found by trying promises |
//! | [`recovery`] | pipelines on several workers, and what becomes of them when the power goes |
#![forbid(unsafe_code)]

mod check;
mod closed_loop;
mod coverage;
mod disk;
mod found;
mod observed;
pub mod recovery;
mod reference;
mod rng;
mod scenario;
mod search;
mod service;
mod shared;
mod trace;
mod witness;
mod world;

pub use check::Checker;
pub use closed_loop::{ClosedLoop, Measured, Shape};
pub use coverage::{Coverage, Fault, Situation};
pub use disk::{Event, SimulatedDisk};
pub use found::found_limit;
pub use observed::{Observed, Restore, Restored, Saved, Step};
pub use reference::Reference;
pub use rng::Rng;
pub use scenario::{Arrival, Element, Finish, Scenario};
pub use search::{Failure, Search, search};
pub use shared::{Outage, Seconds, Shared, SharedMutant, shared};
pub use trace::Trace;
pub use world::{Report, run, run_scenario};

/// What the world's records are: a number each, their place in the source.
pub type Input = u64;

/// What the world's service answers: for which record, and in which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The record it belongs to.
    pub input: Input,
    /// The call it was made in, counted from 0 over the run.
    pub call: u64,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: &'static str,
    /// By what.
    pub what: String,
}

/// What to check and what to record.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The bug the queue has.
    pub mutant: Option<inflight_core::Mutant>,
    /// Check the rules.
    pub rules: bool,
    /// Compare with the reference model.
    pub model: bool,
    /// Time passes while the host works: when it polls, it has not heard of the latest.
    pub hears_late: bool,
    /// What to make of the trace.
    pub trace: Trace,
}

impl Default for Options {
    /// No bug, all checks, a host that is quick, no trace.
    fn default() -> Self {
        Self { mutant: None, rules: true, model: true, hears_late: false, trace: Trace::Off }
    }
}

/// Gives back a [`Violation`] of a rule unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $rule:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::Violation { rule: $rule, what: format!($($what)+) });
        }
    };
}
pub(crate) use ensure;
