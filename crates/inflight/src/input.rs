//! What an operator can be put on: a stream of records, or of [`Element`]s.

use std::fmt;

use futures_core::Stream;
use inflight_core::Timestamp;

use crate::element::Element;
use crate::failure::Failure;

/// A stream as an operator's input: any `futures::Stream` of records, or [`elements`] of one that knows event time.
pub trait Input: Send + Sized + 'static {
    /// What is called for.
    type Record: Clone + Send + 'static;
    /// What comes out: results, or elements of results.
    type View: View;
    #[doc(hidden)]
    type Stream: Stream + Send + 'static;

    #[doc(hidden)]
    fn into_stream(self) -> Self::Stream;
    #[doc(hidden)]
    fn element(item: <Self::Stream as Stream>::Item) -> Element<Self::Record>;
}

impl<S: Stream<Item: Clone + Send + 'static> + Send + 'static> Input for S {
    type Record = S::Item;
    type View = Records;
    type Stream = S;

    fn into_stream(self) -> S {
        self
    }

    fn element(value: S::Item) -> Element<S::Item> {
        Element::Record { value, timestamp: None }
    }
}

/// A stream of [`Element`]s as an operator's input: records with timestamps, watermarks, idle statuses.
///
/// ```
/// use futures_util::{StreamExt, stream};
/// use inflight::{AsyncStreamExt, Element, Options, Timestamp, elements};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let input = stream::iter([Element::at(1, "a"), Element::Watermark(Timestamp(1)), Element::at(2, "b")]);
/// let double = |text: &'static str| async move { Ok::<_, ()>(text.repeat(2)) };
/// let output: Vec<_> = elements(input).ordered_wait(double, Options::new()).collect().await;
/// assert_eq!(output[1], Element::Watermark(Timestamp(1)));
/// assert_eq!(output[2], Element::at(2, Ok("bb".to_string())));
/// # });
/// ```
pub const fn elements<S>(stream: S) -> Elements<S> {
    Elements { stream }
}

/// See [`elements`].
pub struct Elements<S> {
    stream: S,
}

impl<S, T> Input for Elements<S>
where
    S: Stream<Item = Element<T>> + Send + 'static,
    T: Clone + Send + 'static,
{
    type Record = T;
    type View = InEventTime;
    type Stream = S;

    fn into_stream(self) -> S {
        self.stream
    }

    fn element(item: Element<T>) -> Element<T> {
        item
    }
}

impl<S> fmt::Debug for Elements<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").finish_non_exhaustive()
    }
}

/// How results come out.
pub trait View: Send + 'static {
    /// What the stream of results yields.
    type Item<I, O, E>;

    #[doc(hidden)]
    fn record<I, O, E>(timestamp: Option<Timestamp>, result: Result<O, Failure<I, E>>) -> Self::Item<I, O, E>;
    #[doc(hidden)]
    fn control<I, O, E>(control: Element<()>) -> Option<Self::Item<I, O, E>>;
}

/// A result for each record.
#[derive(Clone, Copy, Debug)]
pub enum Records {}

impl View for Records {
    type Item<I, O, E> = Result<O, Failure<I, E>>;

    fn record<I, O, E>(_: Option<Timestamp>, result: Result<O, Failure<I, E>>) -> Self::Item<I, O, E> {
        result
    }

    fn control<I, O, E>(_: Element<()>) -> Option<Self::Item<I, O, E>> {
        None
    }
}

/// An [`Element`] for each: results with the timestamps of their records, watermarks and idle statuses in between.
#[derive(Clone, Copy, Debug)]
pub enum InEventTime {}

impl View for InEventTime {
    type Item<I, O, E> = Element<Result<O, Failure<I, E>>>;

    fn record<I, O, E>(timestamp: Option<Timestamp>, value: Result<O, Failure<I, E>>) -> Self::Item<I, O, E> {
        Element::Record { value, timestamp }
    }

    fn control<I, O, E>(control: Element<()>) -> Option<Self::Item<I, O, E>> {
        match control {
            Element::Record { .. } => None,
            Element::Watermark(at) => Some(Element::Watermark(at)),
            Element::Idle => Some(Element::Idle),
        }
    }
}
