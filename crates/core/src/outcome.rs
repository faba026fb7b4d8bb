//! What goes in about a call, and what comes out about a record.

use core::time::Duration;

use crate::time::{Time, Timestamp};

/// The end of one attempt for one record, as whoever made the call judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion<O> {
    /// This is the record's result, good or bad.
    Done(O),
    /// Worth another attempt. When there is none left, `last` is the record's result.
    Retry {
        /// What this attempt brought.
        last: O,
        /// The service's own wish, from a `Retry-After`: the wait is at least this long.
        after: Option<Duration>,
    },
}

/// How a record ended. Every record accepted has exactly one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<O> {
    /// With the result of its last attempt.
    Done(O),
    /// One of the three clocks ran out first.
    TimedOut {
        /// Which.
        clock: Clock,
        /// What the attempt before brought, if there was one.
        last: Option<O>,
    },
    /// The call ended without a result for this record: a batch that answered short.
    Unanswered,
}

/// The three clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// One attempt took too long, and there was no other.
    Attempt,
    /// The record took too long, all attempts and waits included.
    Deadline,
    /// The drain at shutdown took too long.
    Drain,
}

/// What leaves the queue, in the order it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emit<I, O> {
    /// A record that was accepted, with its outcome.
    Record(Emitted<I, O>),
    /// No record with this timestamp or an earlier one follows, but those that were late when they came.
    Watermark(Timestamp),
    /// The input has gone idle: downstream need not wait for its watermark.
    Idle,
    /// Nothing follows, and no call is on the wire.
    End,
}

/// A record that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted<I, O> {
    /// Place among everything accepted, from 0: arrival order.
    pub sequence: u64,
    /// The record itself.
    pub input: I,
    /// Its timestamp.
    pub timestamp: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome<O>,
    /// Attempts started for it; 0 if its time ran out before the first.
    pub attempts: u32,
    /// When it was accepted.
    pub admitted: Time,
    /// When its outcome was decided.
    pub decided: Time,
}
