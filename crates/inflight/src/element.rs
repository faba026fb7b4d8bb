//! What flows in a stream that knows event time.

use inflight_core::Timestamp;

/// A record, or what stands between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element<T> {
    /// A record, with its event time if it has one.
    Record {
        /// The record.
        value: T,
        /// Its event time. A record without one keeps its place among the watermarks.
        timestamp: Option<Timestamp>,
    },
    /// No record with this timestamp or an earlier one follows, but late ones.
    Watermark(Timestamp),
    /// The stream is idle until the next record or watermark: nobody need wait for its watermark.
    Idle,
}

impl<T> Element<T> {
    /// A record at `timestamp`.
    pub const fn at(timestamp: i64, value: T) -> Self {
        Self::Record { value, timestamp: Some(Timestamp(timestamp)) }
    }

    /// The same element with another value, if it is a record.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Element<U> {
        match self {
            Self::Record { value, timestamp } => Element::Record { value: f(value), timestamp },
            Self::Watermark(at) => Element::Watermark(at),
            Self::Idle => Element::Idle,
        }
    }
}
