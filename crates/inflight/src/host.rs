//! What the driver lives in: where elements come from, and where results go.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use inflight_core::{Progress, Snapshot, Stats, Timestamp};

use crate::failure::{Cause, Completed};

/// A record with what the host wants back with it (an offset, a capability).
#[derive(Clone, Debug)]
pub struct Tagged<I, T> {
    /// The record.
    pub value: I,
    /// The host's own.
    pub tag: T,
}

/// Something that comes in.
#[derive(Debug)]
pub enum Incoming<I, T, O, E> {
    /// A record.
    Record {
        /// The record and its tag.
        input: Tagged<I, T>,
        /// Its event time.
        timestamp: Option<Timestamp>,
        /// How far it was, after a restore.
        progress: Option<Progress>,
    },
    /// A record that was decided when it was carried in a snapshot: no call is made for it, and it goes out with this result when it
    /// is its turn.
    Decided {
        /// The record and its tag.
        input: Tagged<I, T>,
        /// Its event time.
        timestamp: Option<Timestamp>,
        /// What came of it.
        result: Result<O, Cause<E>>,
        /// Attempts made.
        attempts: u32,
        /// From acceptance to the decision.
        elapsed: Duration,
    },
    /// A watermark.
    Watermark(Timestamp),
    /// An idle status.
    Idle,
    /// Nothing follows.
    End,
}

/// Something that goes out.
#[derive(Debug)]
pub enum Outgoing<I, T, O, E> {
    /// A record and what came of it.
    Record {
        /// The host's own.
        tag: T,
        /// The rest.
        completed: Completed<I, O, E>,
    },
    /// A watermark.
    Watermark(Timestamp),
    /// An idle status.
    Idle,
}

/// What an operator holds: records with their tags, and the results of those that are decided, as they would go out.
pub type Holdings<'a, I, T, O, E> = Snapshot<&'a Tagged<I, T>, &'a Result<O, Cause<E>>>;

/// What a host may want between turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Call [`Host::snapshot`].
    Snapshot,
    /// Take nothing more in, and finish within this time.
    Drain(Duration),
}

/// A futures stream and its consumer, or a dataflow worker: the driver does not care.
///
/// For those who write adapters to other engines; users of streams need none of it.
pub trait Host<I, O, E> {
    /// What the host wants back with each record.
    type Tag;

    /// What another operator held, element by element: taken in before the input, whatever the capacity. Default: nothing.
    fn restored(&mut self) -> Option<Incoming<I, Self::Tag, O, E>> {
        None
    }

    /// The next element. It is asked only while there is room for it.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Incoming<I, Self::Tag, O, E>>;

    /// What the host wants now, besides. Whenever the driver is polled, it asks this before it takes anything in or emits anything
    /// ([`restored`](Self::restored) included): what is requested before a poll is done for what was held when that began. Calls may have ended meanwhile.
    fn request(&mut self) -> Option<Request>;

    /// How many elements may go out now.
    fn room(&mut self) -> usize;

    /// Takes an element out.
    fn emit(&mut self, outgoing: Outgoing<I, Self::Tag, O, E>);

    /// What was emitted goes on its way, once for all of it.
    fn flush(&mut self, stats: Stats);

    /// The driver is about to sleep: `waker` is to be woken when there is a request, or room again. False: there is already.
    fn sleep(&mut self, waker: &Waker) -> bool;

    /// The snapshot that was requested: what the queue holds, in arrival order. While the function opens or closes, that is nothing;
    /// what [`restored`](Self::restored) has not given out yet is the host's.
    fn snapshot(&mut self, holdings: Holdings<'_, I, Self::Tag, O, E>);
}
