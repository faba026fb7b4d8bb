//! Answers that are used again.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inflight_core::Time;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout_at;

use super::Key;
use super::store::{Known, Store};
use crate::clock::Clock;
use crate::function::{AsyncFunction, Cancellation};

/// What a [`cached`] function keeps, and for how long. Ages count from the start of the call that brought the answer.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions<O> {
    /// Answers kept, about; at least 1. Those that are used often stay.
    pub entries: usize,
    /// How long an answer is used.
    pub ttl: Duration,
    /// How long it is used when it says that there is nothing: until then, a key that is new to the service is not seen. Default: `ttl`.
    pub missing_ttl: Duration,
    /// Which answers say that there is nothing. Default: none does.
    pub is_missing: fn(&O) -> bool,
    /// How long after its `ttl` an answer is still given out while a newer one is fetched in the background. Not for missing keys.
    /// Default: not at all.
    pub stale_for: Duration,
    /// Answers that are fetched in the background at a time, which come on top of the operator's `concurrency`. Beyond them answers
    /// stay stale. Default 16.
    pub refreshes: usize,
}

impl<O> CacheOptions<O> {
    /// The defaults.
    pub fn new(entries: usize, ttl: Duration) -> Self {
        Self { entries, ttl, missing_ttl: ttl, is_missing: |_| false, stale_for: Duration::ZERO, refreshes: 16 }
    }
}

impl<T> CacheOptions<Option<T>> {
    /// The defaults for look-ups that answer `None` when there is nothing.
    pub fn with_missing(entries: usize, ttl: Duration, missing_ttl: Duration) -> Self {
        Self { missing_ttl, is_missing: Option::is_none, ..Self::new(entries, ttl) }
    }
}

/// An [`AsyncFunction`] that keeps the answers of `function`. Errors are never kept, nor is what a
/// [`timeout`](AsyncFunction::timeout) falls back to.
///
/// The key must tell apart everything the answer depends on. Two records of one key that both find nothing make two calls, unless there
/// is a [`single_flight`](super::single_flight) inside. (Then an answer may be older than its age says, by as much as a call takes.)
///
/// An answer past its `ttl`, within `stale_for`, is given out at once, and the first record that gets it starts a task that fetches a
/// newer one: one per key at a time, with the time the old answer has left. If that fails the next record tries again.
///
/// ```
/// use std::time::Duration;
/// use inflight::layers::{CacheOptions, cached};
///
/// const MINUTE: Duration = Duration::from_secs(60);
///
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>((id < 1_000).then(|| format!("user {id}"))) };
/// let options = CacheOptions { stale_for: 5 * MINUTE, ..CacheOptions::with_missing(100_000, 10 * MINUTE, MINUTE) };
/// let lookup = cached(lookup, |id: &u64| *id, options);
/// let gauge = lookup.gauge();                     // can be read while the stream runs
/// assert_eq!(gauge.counts().hits, 0);
/// ```
///
/// # Panics
/// If `entries` is zero.
///
/// # Cancel safety
/// A call that is given up leaves the cache as it was. Background tasks belong to no record: they end with their call, with the old
/// answer's time, when the function is closed (it waits for that), or when it is dropped.
pub fn cached<I, K, F>(
    function: F,
    key: impl Fn(&I) -> K + Send + Sync + 'static,
    options: CacheOptions<F::Output>,
) -> Cached<I, K, F>
where
    K: Key,
    F: AsyncFunction<I, Output: Clone>,
{
    assert!(options.entries > 0, "a cache of zero entries keeps nothing");
    let refreshes = Refreshes { most: options.refreshes, tasks: JoinSet::new(), by_key: HashMap::new() };
    let inner = Inner { function, clock: Clock::start(), store: Store::new(options), counters: Arc::default() };
    Cached { inner: Arc::new(inner), key: Box::new(key), refreshes: Mutex::new(refreshes) }
}

/// See [`cached`].
pub struct Cached<I, K, F: AsyncFunction<I>> {
    inner: Arc<Inner<K, F, F::Output>>,
    key: Box<dyn Fn(&I) -> K + Send + Sync>,
    refreshes: Mutex<Refreshes<K>>,
}

/// What calls and background tasks share.
struct Inner<K, F, O> {
    function: F,
    clock: Clock,
    store: Store<K, O>,
    counters: Arc<Counters>,
}

impl<I, K: Key, F: AsyncFunction<I>> Cached<I, K, F> {
    /// Where the counts can be read while the function works.
    #[must_use]
    pub fn gauge(&self) -> CacheGauge {
        CacheGauge { counters: Arc::clone(&self.inner.counters) }
    }
}

impl<I, K, F> AsyncFunction<I> for Cached<I, K, F>
where
    I: Send + 'static,
    K: Key,
    F: AsyncFunction<I, Output: Clone + Sync>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        let key = (self.key)(&input);
        let counters = &self.inner.counters;
        match self.inner.store.look(&key, self.inner.clock.now()) {
            Known::Fresh(output) => {
                count(&counters.hits);
                Ok(output)
            }
            Known::Stale { output, gone_at } => {
                count(&counters.stale);
                self.refresh(key, input, gone_at);
                Ok(output)
            }
            Known::Nothing => {
                count(&counters.misses);
                self.inner.fetch(key, input).await
            }
        }
    }

    async fn open(&mut self) -> Result<(), F::Error> {
        match Arc::get_mut(&mut self.inner) {
            Some(inner) => inner.function.open().await,
            None => Ok(()),
        }
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        self.inner.function.timeout(input)
    }

    async fn close(&mut self) -> Result<(), F::Error> {
        self.refreshes.get_mut().unwrap_or_else(PoisonError::into_inner).tasks.shutdown().await;
        match Arc::get_mut(&mut self.inner) {
            Some(inner) => inner.function.close().await,
            None => Ok(()),
        }
    }

    fn cancellation(&self) -> Cancellation {
        self.inner.function.cancellation()
    }
}

impl<I, K, F> Cached<I, K, F>
where
    I: Send + 'static,
    K: Key,
    F: AsyncFunction<I, Output: Clone + Sync>,
{
    /// Fetches a newer answer in the background, unless one is under way or there is no room.
    fn refresh(&self, key: K, input: I, gone_at: Time) {
        let inner = Arc::clone(&self.inner);
        let task_key = key.clone();
        let task = async move {
            let fetched = timeout_at(inner.clock.instant(gone_at), inner.fetch(task_key, input)).await;
            if let Ok(Ok(_)) = fetched {
                count(&inner.counters.refreshed);
            }
        };
        self.refreshes.lock().unwrap_or_else(PoisonError::into_inner).start(key, task);
    }
}

impl<K: Key, F, O: Clone> Inner<K, F, O> {
    async fn fetch<I>(&self, key: K, input: I) -> Result<O, F::Error>
    where
        F: AsyncFunction<I, Output = O>,
    {
        let since = self.clock.now();
        let output = self.function.invoke(input).await?;
        self.store.keep(key, output.clone(), since);
        Ok(output)
    }
}

/// The background tasks.
struct Refreshes<K> {
    most: usize,
    tasks: JoinSet<()>,
    by_key: HashMap<K, AbortHandle>,
}

impl<K: Key> Refreshes<K> {
    fn start(&mut self, key: K, task: impl Future<Output = ()> + Send + 'static) {
        if self.by_key.get(&key).is_some_and(|task| !task.is_finished()) {
            return;
        }
        while self.tasks.try_join_next().is_some() {}
        self.by_key.retain(|_, task| !task.is_finished());
        if self.by_key.len() < self.most {
            self.by_key.insert(key, self.tasks.spawn(task));
        }
    }
}

/// Tells how a [`cached`] function is doing.
#[derive(Clone, Debug)]
pub struct CacheGauge {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    stale: AtomicU64,
    misses: AtomicU64,
    refreshed: AtomicU64,
}

/// Where answers came from. All calls that were answered or tried to be: `hits + stale + misses`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// From the cache.
    pub hits: u64,
    /// From the cache, past their `ttl`.
    pub stale: u64,
    /// From the function, or its error.
    pub misses: u64,
    /// Stale answers that were replaced in the background.
    pub refreshed: u64,
}

impl CacheGauge {
    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let Counters { hits, stale, misses, refreshed } = &*self.counters;
        let [hits, stale, misses, refreshed] =
            [hits, stale, misses, refreshed].map(|counter| counter.load(Ordering::Relaxed));
        CacheCounts { hits, stale, misses, refreshed }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<I, K: Key, F: AsyncFunction<I>> fmt::Debug for Cached<I, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("counts", &self.gauge().counts()).finish_non_exhaustive()
    }
}
