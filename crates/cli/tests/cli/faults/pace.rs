//! How long things take: as long as real ones, or as short as a test may be.

use std::time::Duration;

/// With a file to write figures to in it, the suite takes its time.
pub(super) const FIGURES: &str = "INFLIGHT_FAULTS_FIGURES";

/// The phases of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Records a second that go in.
    pub(super) rate: u64,
    /// Calls a second that the server can do: 70 % of that go in.
    pub(super) capacity: u32,
    pub(super) before: Duration,
    pub(super) fault: Duration,
    pub(super) after: Duration,
}

impl Pace {
    pub(super) fn read() -> Self {
        let (before, fault, after) = match std::env::var_os(FIGURES) {
            Some(_) => (3_000, 5_000, 8_000),
            None => (600, 1_200, 600),
        };
        let [before, fault, after] = [before, fault, after].map(Duration::from_millis);
        Self { rate: 700, capacity: 1_000, before, fault, after }
    }
}
