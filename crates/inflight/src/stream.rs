//! The operator on a `futures::Stream`.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use inflight_core::{Order, Stats, Timestamp};
use tokio::task::AbortHandle;

use crate::driver::{Key, Setup, hashed};
use crate::element::Element;
use crate::failure::Failure;
use crate::function::Function;
use crate::host::{Outgoing, Request};
use crate::input::{Input, Records, View};
use crate::options::Options;
use crate::snapshot::Snapshot;
use crate::stream_host::{Delivery, Shared, held, run};

/// Flink's entry points, by their names: static functions over a stream, with a timeout and a capacity.
///
/// `timeout` is Flink's: one clock over all attempts of a record ([`Options::deadline`]). For everything else there is
/// [`AsyncStreamExt`], which takes [`Options`].
#[derive(Clone, Copy, Debug)]
pub struct AsyncDataStream;

impl AsyncDataStream {
    /// Results in the order of the records.
    ///
    /// # Panics
    /// If `timeout` or `capacity` is zero.
    pub fn ordered_wait<S: Input, F: Function<S::Record, Shape>, Shape: 'static>(
        stream: S,
        function: F,
        timeout: Duration,
        capacity: usize,
    ) -> AsyncStream<S::Record, F::Output, F::Error, S::View> {
        stream.ordered_wait(function, Options::new().deadline(timeout).capacity(capacity))
    }

    /// Results as they come.
    ///
    /// # Panics
    /// If `timeout` or `capacity` is zero.
    pub fn unordered_wait<S: Input, F: Function<S::Record, Shape>, Shape: 'static>(
        stream: S,
        function: F,
        timeout: Duration,
        capacity: usize,
    ) -> AsyncStream<S::Record, F::Output, F::Error, S::View> {
        stream.unordered_wait(function, Options::new().deadline(timeout).capacity(capacity))
    }

    /// Results in order for each key, calls of one key at the same time.
    ///
    /// # Panics
    /// If `timeout` or `capacity` is zero.
    pub fn key_ordered_wait<S: Input, F: Function<S::Record, Shape>, Shape: 'static, K: Hash>(
        stream: S,
        key: impl Fn(&S::Record) -> K + Send + Sync + 'static,
        function: F,
        timeout: Duration,
        capacity: usize,
    ) -> AsyncStream<S::Record, F::Output, F::Error, S::View> {
        stream.key_ordered_wait(key, function, Options::new().deadline(timeout).capacity(capacity))
    }

    /// Results in order for each key, one call of a key at a time.
    ///
    /// # Panics
    /// If `timeout` or `capacity` is zero.
    pub fn key_serial_wait<S: Input, F: Function<S::Record, Shape>, Shape: 'static, K: Hash>(
        stream: S,
        key: impl Fn(&S::Record) -> K + Send + Sync + 'static,
        function: F,
        timeout: Duration,
        capacity: usize,
    ) -> AsyncStream<S::Record, F::Output, F::Error, S::View> {
        stream.key_serial_wait(key, function, Options::new().deadline(timeout).capacity(capacity))
    }
}

/// The four orders as methods of any stream of records, and of [`elements`](crate::elements) of a stream that knows event time.
///
/// ```
/// use futures_util::{StreamExt, stream};
/// use inflight::{AsyncStreamExt, Options};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let lookup = |id: u32| async move { if id == 2 { Err("no such user") } else { Ok(format!("user {id}")) } };
/// let mut users = stream::iter([1, 2, 3]).ordered_wait(lookup, Options::new().capacity(100));
///
/// let mut names = Vec::new();
/// while let Some(result) = users.next().await {
///     match result {
///         Ok(name) => names.push(name),
///         Err(failure) => eprintln!("{failure}"), // a dead letter: the record and why; the stream goes on
///     }
/// }
/// assert_eq!(names, ["user 1", "user 3"]);
/// # });
/// ```
pub trait AsyncStreamExt: Input {
    /// Results in the order of the records (Flink: `orderedWait`).
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options.
    fn ordered_wait<F: Function<Self::Record, Shape>, Shape: 'static>(
        self,
        function: F,
        options: Options<Self::Record, F::Output, F::Error>,
    ) -> AsyncStream<Self::Record, F::Output, F::Error, Self::View> {
        AsyncStream::new(self, function, Order::Ordered, None, options)
    }

    /// Results as they come, as far as watermarks allow (Flink: `unorderedWait`).
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options.
    fn unordered_wait<F: Function<Self::Record, Shape>, Shape: 'static>(
        self,
        function: F,
        options: Options<Self::Record, F::Output, F::Error>,
    ) -> AsyncStream<Self::Record, F::Output, F::Error, Self::View> {
        AsyncStream::new(self, function, Order::Unordered, None, options)
    }

    /// Results in order for each key; calls of one key run at the same time, and keys do not wait for each other.
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options.
    fn key_ordered_wait<F: Function<Self::Record, Shape>, Shape: 'static, K: Hash>(
        self,
        key: impl Fn(&Self::Record) -> K + Send + Sync + 'static,
        function: F,
        options: Options<Self::Record, F::Output, F::Error>,
    ) -> AsyncStream<Self::Record, F::Output, F::Error, Self::View> {
        AsyncStream::new(self, function, Order::KeyOrdered, Some(hashed(key)), options)
    }

    /// Results in order for each key, one call of a key at a time: for writes (Flink: FLIP-519). Keys do not wait for each other.
    ///
    /// # Panics
    /// If [`Options::check`] refuses the options.
    fn key_serial_wait<F: Function<Self::Record, Shape>, Shape: 'static, K: Hash>(
        self,
        key: impl Fn(&Self::Record) -> K + Send + Sync + 'static,
        function: F,
        options: Options<Self::Record, F::Output, F::Error>,
    ) -> AsyncStream<Self::Record, F::Output, F::Error, Self::View> {
        AsyncStream::new(self, function, Order::KeySerial, Some(hashed(key)), options)
    }
}

impl<S: Input> AsyncStreamExt for S {}

/// The stream of results.
///
/// It starts when it is first polled, on the tokio runtime it is polled in, as a task of its own: from then on calls run and clocks
/// tick whether or not it is polled again. It holds up to the capacity in records, and up to 256 results on their way to the consumer.
///
/// # Cancel safety
/// Dropping a `next()` loses nothing. Dropping the stream stops the task: calls on the wire are dropped where they stand.
#[must_use = "streams do nothing unless polled"]
pub struct AsyncStream<I, O, E, V = Records> {
    shared: Arc<Shared<I, O, E>>,
    start: Option<Start>,
    task: Option<AbortHandle>,
    /// Taken over from the task, and not yet by the consumer.
    taken: VecDeque<Delivery<I, O, E>>,
    /// The last watermark the consumer has seen.
    watermark: Option<Timestamp>,
    ended: bool,
    view: PhantomData<fn() -> V>,
}

type Start = Box<dyn FnOnce() -> AbortHandle + Send>;

impl<I, O, E, V> AsyncStream<I, O, E, V>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Send + 'static,
    V: View,
{
    fn new<S, F, Shape>(input: S, function: F, order: Order, key: Option<Key<I>>, mut options: Options<I, O, E>) -> Self
    where
        S: Input<Record = I, View = V>,
        F: Function<I, Shape, Output = O, Error = E>,
        Shape: 'static,
    {
        let watermark = options.resume.as_ref().and_then(|(snapshot, _)| snapshot.watermark);
        let resume = options.resume.take();
        let setup = match Setup::new(order, key, watermark, options) {
            Ok(setup) => setup,
            Err(error) => panic!("the options of an operator: {error}"),
        };
        let shared = Arc::new(Shared::new());
        let theirs = Arc::clone(&shared);
        let start = move || tokio::spawn(run(input, function, setup, resume, theirs)).abort_handle();
        Self {
            shared,
            start: Some(Box::new(start)),
            task: None,
            taken: VecDeque::new(),
            watermark,
            ended: false,
            view: PhantomData,
        }
    }

    /// Everything accepted that `next()` has not returned. Waits only for the task to look up, never for a call.
    ///
    /// `None`: the operator died ([`Failure::Died`], [`Failure::Open`]), and what it held is lost. The snapshot before still holds.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn snapshot(&mut self) -> Option<Snapshot<I>> {
        self.ensure_started();
        self.shared.request(Request::Snapshot);
        let rest = poll_fn(|cx| self.shared.poll_snapshot(cx)).await;
        let (elements, taken) = match rest {
            Some(rest) => rest,
            None if self.shared.is_lost() => return None,
            None => (self.shared.look(|items| items.iter().filter_map(held).collect()), self.shared.news().1),
        };
        let elements = self.taken.iter().filter_map(held).chain(elements).collect();
        Some(Snapshot { watermark: self.watermark, elements, taken })
    }

    /// Takes nothing more from the input. What is held is finished within `limit`; what is not times out by
    /// [`Clock::Drain`](inflight_core::Clock::Drain). Keep polling: the results still come, and then the end.
    pub fn drain(&mut self, limit: Duration) {
        self.ensure_started();
        self.shared.request(Request::Drain(limit));
    }

    /// What the operator is doing and has done, as of its last turn.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.news().0
    }

    fn ensure_started(&mut self) {
        if let Some(start) = self.start.take() {
            self.task = Some(start());
        }
    }

    fn view(&mut self, delivery: Delivery<I, O, E>) -> Option<V::Item<I, O, E>> {
        match delivery {
            Ok(Outgoing::Record { completed, .. }) => {
                let timestamp = completed.timestamp;
                Some(V::record(timestamp, completed.into_result().map_err(Failure::Record)))
            }
            Ok(Outgoing::Watermark(at)) => {
                self.watermark = Some(at);
                V::control(Element::Watermark(at))
            }
            Ok(Outgoing::Idle) => V::control(Element::Idle),
            Err(failure) => Some(V::record(None, Err(failure))),
        }
    }
}

impl<I, O, E, V> Stream for AsyncStream<I, O, E, V>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    E: Send + 'static,
    V: View,
{
    type Item = V::Item<I, O, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            while let Some(delivery) = this.taken.pop_front() {
                if let Some(item) = this.view(delivery) {
                    return Poll::Ready(Some(item));
                }
            }
            if this.ended {
                return Poll::Ready(None);
            }
            this.ensure_started();
            if !ready!(this.shared.poll_take(&mut this.taken, cx)) {
                this.ended = true;
            }
        }
    }
}

// Nothing in it is pinned.
impl<I, O, E, V> Unpin for AsyncStream<I, O, E, V> {}

impl<I, O, E, V> Drop for AsyncStream<I, O, E, V> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<I, O, E, V> fmt::Debug for AsyncStream<I, O, E, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}
