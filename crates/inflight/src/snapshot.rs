//! What an operator holds, for a checkpoint.

use inflight_core::{Progress, Timestamp};

/// Everything an operator has accepted and not handed out: inputs, not results.
///
/// What `next()` has returned is not in it; everything else accepted is. Store it together with the source's position, and
/// hand it to [`Options::resume`](crate::Options::resume).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<I> {
    /// The last watermark handed out.
    pub watermark: Option<Timestamp>,
    /// First what was decided and on its way out, in that order; then what is in flight or waits, in arrival order.
    pub elements: Vec<Held<I>>,
    /// Elements taken from the input so far (not counting what was resumed): the source's position.
    pub taken: u64,
}

/// One thing held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<I> {
    /// A record, with what it takes to go on where it was. A call for it is made after a restore, also if it was decided.
    Record {
        /// The record.
        input: I,
        /// Its timestamp.
        timestamp: Option<Timestamp>,
        /// How far it was.
        progress: Progress,
    },
    /// A watermark.
    Watermark(Timestamp),
    /// An idle status.
    Idle,
}

/// Whether records that are resumed go on with the time and the attempts they had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// They go on: a crash makes no deadline longer.
    Keep,
    /// They start afresh, as in Flink (S49, S63).
    Reset,
}

impl Clocks {
    pub(crate) fn apply(self, progress: Progress) -> Progress {
        match self {
            Self::Keep => progress,
            Self::Reset => Progress::default(),
        }
    }
}
