//! What a queue holds, as a checkpoint stores it.

use core::time::Duration;

use crate::time::Timestamp;

/// Everything accepted that has not left, in arrival order (Flink loses that order inside a segment: S81).
///
/// `I` is the record and `R` what came of it, in the form that the snapshot's owner stores. Taking it changes nothing and waits for
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<I, R> {
    /// The last watermark that left; hand it to [`Queue::resume`](crate::Queue::resume).
    pub watermark: Option<Timestamp>,
    /// What is held.
    pub elements: alloc::vec::Vec<Held<I, R>>,
}

/// One thing held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<I, R> {
    /// A record that is not decided, with what it takes to go on where it was. A call for it is made again after a restore.
    Record {
        /// The record.
        input: I,
        /// Its timestamp.
        timestamp: Option<Timestamp>,
        /// How far it was.
        progress: Progress,
    },
    /// A record that is decided and waits for its turn to leave. Hand it to [`Queue::handle_decided`](crate::Queue::handle_decided),
    /// and it is not called again; or to [`Queue::handle_restored`](crate::Queue::handle_restored) without its outcome, and it is, as
    /// in Flink (S83).
    Decided {
        /// The record.
        input: I,
        /// Its timestamp.
        timestamp: Option<Timestamp>,
        /// How it ended.
        outcome: R,
        /// Attempts started for it.
        attempts: u32,
        /// From acceptance to the decision.
        elapsed: Duration,
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
