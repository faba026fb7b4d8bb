//! What [`cached`](super::cached) functions share: answers, their ages, and which of them are being fetched anew.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight_core::Time;
use tokio::time::timeout_at;

use super::Key;
use super::store::{Known, Store};
use crate::clock::Clock;

/// What a [`Cache`] keeps, and for how long. Ages count from the start of the call that brought the answer.
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

/// Answers that are used again. A clone is the same cache: functions on several dataflow workers may share one, and what one of them
/// has fetched the others know.
pub struct Cache<K, O>(Arc<Shared<K, O>>);

struct Shared<K, O> {
    clock: Clock,
    store: Store<K, O>,
    counters: Arc<Counters>,
    /// Being fetched anew; at most `refreshes`.
    renewed: Mutex<HashSet<K>>,
    refreshes: usize,
}

impl<K: Key, O: Clone> Cache<K, O> {
    /// An empty cache.
    ///
    /// # Panics
    /// If `entries` is zero.
    #[must_use]
    pub fn new(options: CacheOptions<O>) -> Self {
        assert!(options.entries > 0, "a cache of zero entries keeps nothing");
        let (clock, refreshes, store) = (Clock::start(), options.refreshes, Store::new(options));
        Self(Arc::new(Shared { clock, store, counters: Arc::default(), renewed: Mutex::default(), refreshes }))
    }

    /// Where the counts can be read while functions use it.
    #[must_use]
    pub fn gauge(&self) -> CacheGauge {
        CacheGauge { counters: Arc::clone(&self.0.counters) }
    }

    pub(super) fn now(&self) -> Time {
        self.0.clock.now()
    }

    pub(super) fn look(&self, key: &K) -> Known<O> {
        let known = self.0.store.look(key, self.now());
        match known {
            Known::Fresh(_) => count(&self.0.counters.hits, 1),
            Known::Stale { .. } => count(&self.0.counters.stale, 1),
            Known::Nothing => {}
        }
        known
    }

    pub(super) fn missed(&self, records: u64) {
        count(&self.0.counters.misses, records);
    }

    pub(super) fn keep(&self, key: K, output: O, since: Time) {
        self.0.store.keep(key, output, since);
    }

    /// The right to fetch this key anew, unless that is under way or there is no room.
    pub(super) fn refresh(&self, key: K) -> Option<Refresh<K, O>> {
        let mut renewed = self.renewed();
        if renewed.len() >= self.0.refreshes || !renewed.insert(key.clone()) {
            return None;
        }
        Some(Refresh { cache: self.clone(), key })
    }

    fn renewed(&self) -> MutexGuard<'_, HashSet<K>> {
        self.0.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key being fetched anew, until it is dropped.
pub(super) struct Refresh<K: Key, O: Clone> {
    cache: Cache<K, O>,
    key: K,
}

impl<K: Key, O: Clone> Refresh<K, O> {
    /// Keeps what `fetch` brings, if it does before the old answer is gone.
    pub(super) async fn by(self, fetch: impl Future<Output = Option<O>>, gone_at: Time) {
        let since = self.cache.now();
        if let Ok(Some(output)) = timeout_at(self.cache.0.clock.instant(gone_at), fetch).await {
            self.cache.keep(self.key.clone(), output, since);
            count(&self.cache.0.counters.refreshed, 1);
        }
    }
}

impl<K: Key, O: Clone> Drop for Refresh<K, O> {
    fn drop(&mut self) {
        self.cache.renewed().remove(&self.key);
    }
}

impl<K: Key, O: Clone> From<CacheOptions<O>> for Cache<K, O> {
    fn from(options: CacheOptions<O>) -> Self {
        Self::new(options)
    }
}

impl<K, O> Clone for Cache<K, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, O> fmt::Debug for Cache<K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("counts", &self.0.counters).finish_non_exhaustive()
    }
}

/// Tells how a [`Cache`] is doing.
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

fn count(counter: &AtomicU64, records: u64) {
    counter.fetch_add(records, Ordering::Relaxed);
}
