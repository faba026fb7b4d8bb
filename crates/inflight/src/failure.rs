//! How a record, or the operator itself, fails.

use std::fmt;
use std::time::Duration;

use inflight_core::{Clock, Timestamp};

/// A record that left the operator: the input with how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<I, O, E> {
    /// The record.
    pub input: I,
    /// Its event time.
    pub timestamp: Option<Timestamp>,
    /// What came of it.
    pub result: Result<O, Cause<E>>,
    /// Attempts made; 0 if its time ran out before the first.
    pub attempts: u32,
    /// From acceptance to the decision: waits and retries included, waiting for its turn to leave not.
    pub elapsed: Duration,
}

/// A record that got no result: what a dead-letter queue stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<I, E> {
    /// The record.
    pub input: I,
    /// Its event time.
    pub timestamp: Option<Timestamp>,
    /// Why it got none.
    pub cause: Cause<E>,
    /// Attempts made; 0 if its time ran out before the first.
    pub attempts: u32,
    /// From acceptance to the decision.
    pub elapsed: Duration,
}

/// Why a record got no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause<E> {
    /// The function failed, and no retry was left.
    Error(E),
    /// A clock ran out, and the function has no [`timeout`](crate::AsyncFunction::timeout) fallback.
    TimedOut {
        /// Which clock.
        clock: Clock,
        /// The error of the attempt before, if there was one.
        last: Option<E>,
    },
    /// The batch had not exactly one result per record, so none could be told to be this one's.
    Unanswered,
    /// The function, or a predicate of the options, panicked.
    Panicked(String),
}

/// What a stream of results yields instead of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure<I, E> {
    /// A record failed; the stream goes on.
    Record(DeadLetter<I, E>),
    /// [`open`](crate::AsyncFunction::open) failed; the stream ends.
    Open(E),
    /// [`close`](crate::AsyncFunction::close) failed after all results; the stream ends.
    Close(E),
    /// The operator's task died: its runtime was shut down, or the input stream, a key, `open` or `close` panicked. The stream ends,
    /// and is not complete.
    Died(String),
}

impl<I, O, E> Completed<I, O, E> {
    /// The result, or the record with the story of its failure.
    ///
    /// # Errors
    /// The dead letter, when there is no result.
    pub fn into_result(self) -> Result<O, DeadLetter<I, E>> {
        let Self { input, timestamp, result, attempts, elapsed } = self;
        result.map_err(|cause| DeadLetter { input, timestamp, cause, attempts, elapsed })
    }
}

impl<E: fmt::Display> fmt::Display for Cause<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::TimedOut { clock, last } => {
                f.write_str(match clock {
                    Clock::Attempt => "the attempt timed out",
                    Clock::Deadline => "the record's deadline passed",
                    Clock::Drain => "the drain's limit passed",
                })?;
                last.as_ref().map_or(Ok(()), |last| write!(f, " (the attempt before failed: {last})"))
            }
            Self::Unanswered => f.write_str("the batch had not exactly one result per record"),
            Self::Panicked(message) => write!(f, "the function panicked: {message}"),
        }
    }
}

impl<I, E: fmt::Display> fmt::Display for Failure<I, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(DeadLetter { cause, attempts, elapsed, .. }) => {
                let plural = if *attempts == 1 { "" } else { "s" };
                write!(f, "a record failed after {attempts} attempt{plural} in {elapsed:.1?}: {cause}")
            }
            Self::Open(error) => write!(f, "the function could not be opened: {error}"),
            Self::Close(error) => write!(f, "the function could not be closed: {error}"),
            Self::Died(message) => write!(f, "the operator died: {message}"),
        }
    }
}

impl<I: fmt::Debug, E: std::error::Error + 'static> std::error::Error for Failure<I, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Record(DeadLetter { cause: Cause::Error(error), .. }) | Self::Open(error) | Self::Close(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}
