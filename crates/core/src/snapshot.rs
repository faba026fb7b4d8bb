//! What a queue holds, as a checkpoint stores it.

use core::time::Duration;

use crate::time::Timestamp;

/// Everything accepted that has not left, in arrival order (Flink loses that order inside a segment: S81).
///
/// Inputs, not results: after a restore a call may be made again. Taking it changes nothing and waits for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<I> {
    /// The last watermark that left; hand it to [`Queue::resume`](crate::Queue::resume).
    pub watermark: Option<Timestamp>,
    /// What is held.
    pub elements: alloc::vec::Vec<Held<I>>,
}

/// One thing held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<I> {
    /// A record, with what it takes to go on where it was.
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

/// How far a record was when the snapshot was taken.
///
/// Hand it to [`Queue::handle_restored`](crate::Queue::handle_restored) to go on from there, or
/// [`Progress::default()`] to start afresh with all attempts and all the time, as Flink does (S49, S63).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Attempts that failed. One that was cut short by the snapshot is not among them.
    pub attempts: u32,
    /// What was left until its deadline; `None`: all of it.
    pub remaining: Option<Duration>,
}
