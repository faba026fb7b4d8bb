//! Counters and gauges: plain numbers, kept as things happen.

/// What a queue is doing and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records held: accepted, not yet left.
    pub held: usize,
    /// Held, and decided: waiting for their turn to leave.
    pub decided: usize,
    /// Held, and waiting for the next attempt.
    pub backing_off: usize,
    /// Calls on the wire, those given up included.
    pub on_wire: usize,
    /// Calls given up that have not ended.
    pub given_up: usize,
    /// Watermarks and idle statuses held.
    pub controls: usize,
    /// Timers armed, dead ones included that have not been swept out: at most a small multiple of what is held and on the wire.
    pub timers: usize,
    /// Records accepted.
    pub accepted: u64,
    /// Records that left.
    pub emitted: u64,
    /// Calls made.
    pub calls: u64,
    /// Attempts made for records; with batches, more than calls.
    pub attempts: u64,
    /// Attempts that were not the first.
    pub retries: u64,
    /// Retries that had to wait for a token of their destination's budget.
    pub retries_without_token: u64,
    /// Calls whose time was up.
    pub attempts_timed_out: u64,
    /// Records whose time was up: attempt, deadline or drain.
    pub timed_out: u64,
    /// Answers that came after their call had been given up, or twice.
    pub stragglers: u64,
    /// Nanoseconds that calls spent on the wire, summed when they end: over a span of time, the mean concurrency.
    pub wire_nanos: u64,
}
