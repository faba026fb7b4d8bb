//! What goes over between workers, and into checkpoints: results, and what an operator holds.

use std::time::Duration;

use inflight::{Cause, Completed, Timestamp};
use inflight_core::{Clock, Progress};
use serde::{Deserialize, Serialize};

/// A record with what came of it, as [`Completed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done<I, O, E> {
    pub(crate) input: I,
    timestamp: Option<i64>,
    result: Result<O, Why<E>>,
    attempts: u32,
    elapsed: Duration,
}

impl<I, O, E> Done<I, O, E> {
    pub(crate) const fn has_failed(&self) -> bool {
        self.result.is_err()
    }
}

/// Something that an operator holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Held<I, O, E> {
    /// It waits for its answer.
    Record {
        input: I,
        timestamp: Option<i64>,
        attempts: u32,
        remaining: Option<Duration>,
    },
    /// It waits for its turn to leave.
    Done(Done<I, O, E>),
    Watermark(i64),
    Idle,
}

impl<I, O, E> Held<I, O, E> {
    pub(crate) const fn record(input: I, timestamp: Option<Timestamp>, progress: Progress) -> Self {
        let timestamp = match timestamp {
            Some(Timestamp(at)) => Some(at),
            None => None,
        };
        Self::Record { input, timestamp, attempts: progress.attempts, remaining: progress.remaining }
    }

    /// The record, if it is one.
    pub(crate) const fn input(&self) -> Option<&I> {
        match self {
            Self::Record { input, .. } | Self::Done(Done { input, .. }) => Some(input),
            Self::Watermark(_) | Self::Idle => None,
        }
    }
}

/// As [`Cause`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Why<E> {
    Error(E),
    Attempt(Option<E>),
    Deadline(Option<E>),
    Drain(Option<E>),
    Unanswered,
    Panicked(String),
}

impl<I, O, E> From<Completed<I, O, E>> for Done<I, O, E> {
    fn from(completed: Completed<I, O, E>) -> Self {
        let Completed { input, timestamp, result, attempts, elapsed } = completed;
        let result = result.map_err(|cause| match cause {
            Cause::Error(error) => Why::Error(error),
            Cause::TimedOut { clock: Clock::Attempt, last } => Why::Attempt(last),
            Cause::TimedOut { clock: Clock::Deadline, last } => Why::Deadline(last),
            Cause::TimedOut { clock: Clock::Drain, last } => Why::Drain(last),
            Cause::Unanswered => Why::Unanswered,
            Cause::Panicked(message) => Why::Panicked(message),
            _ => Why::Panicked("a cause that this version does not know".into()),
        });
        Self { input, timestamp: timestamp.map(|at| at.0), result, attempts, elapsed }
    }
}

impl<I, O, E> From<Done<I, O, E>> for Completed<I, O, E> {
    fn from(done: Done<I, O, E>) -> Self {
        let Done { input, timestamp, result, attempts, elapsed } = done;
        let result = result.map_err(|why| match why {
            Why::Error(error) => Cause::Error(error),
            Why::Attempt(last) => Cause::TimedOut { clock: Clock::Attempt, last },
            Why::Deadline(last) => Cause::TimedOut { clock: Clock::Deadline, last },
            Why::Drain(last) => Cause::TimedOut { clock: Clock::Drain, last },
            Why::Unanswered => Cause::Unanswered,
            Why::Panicked(message) => Cause::Panicked(message),
        });
        Self { input, timestamp: timestamp.map(Timestamp), result, attempts, elapsed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(result: Result<u32, Cause<String>>) -> Completed<u8, u32, String> {
        Completed { input: 7, timestamp: Some(Timestamp(-3)), result, attempts: 2, elapsed: Duration::from_millis(5) }
    }

    #[test]
    fn every_result_comes_back_as_it_was() {
        let late = |clock| Cause::TimedOut { clock, last: Some("before".to_owned()) };
        let causes = [
            Cause::Error("no".to_owned()),
            late(Clock::Attempt),
            late(Clock::Deadline),
            late(Clock::Drain),
            Cause::TimedOut { clock: Clock::Attempt, last: None },
            Cause::Unanswered,
            Cause::Panicked("oh".to_owned()),
        ];
        for result in causes.into_iter().map(Err).chain([Ok(1)]) {
            let before = completed(result);
            let bytes = postcard::to_stdvec(&Done::from(before.clone())).unwrap();
            let after: Done<u8, u32, String> = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(Completed::from(after), before);
        }
    }
}
