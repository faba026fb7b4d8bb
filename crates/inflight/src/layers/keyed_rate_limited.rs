//! No more than so many calls per second for each key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight_core::{RateLimit, Time, TokenBucket};

use super::Key;
use super::handed_on::handed_on;
use crate::batch::{BatchFunction, BatchResult};
use crate::clock::Clock;
use crate::function::AsyncFunction;

/// Keys that are known at a time, at most: those that were called of late. Others wait until one of them is forgotten.
const KEYS_MAX: usize = 1_000_000;
/// Keys before those that may call again as if they were new are looked for.
const KEYS_BEFORE_SWEEP: usize = 1_024;

/// When each key was called. A clone is the same: functions that share it (one on each dataflow worker) keep the rate together.
///
/// A key that has not been called for as long as its burst takes to come back is forgotten, so what is kept is bounded by what is
/// called; a million keys are the most.
pub struct KeyedRates<K>(Arc<Shared<K>>);

struct Shared<K> {
    clock: Clock,
    limit: RateLimit,
    buckets: Mutex<Buckets<K>>,
}

struct Buckets<K> {
    by_key: HashMap<K, TokenBucket>,
    sweep_at: usize,
}

impl<K: Key> KeyedRates<K> {
    /// So much for each key.
    ///
    /// # Panics
    /// If `per_second` or `burst` is zero.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        assert!(limit.per_second > 0, "at a rate of zero no call would ever start");
        assert!(limit.burst > 0, "with a burst of zero no call would ever start");
        let buckets = Mutex::new(Buckets { by_key: HashMap::new(), sweep_at: KEYS_BEFORE_SWEEP });
        Self(Arc::new(Shared { clock: Clock::start(), limit, buckets }))
    }

    /// Waits until all of these keys may be called.
    async fn turn(&self, keys: Vec<K>) {
        let mut waiting = keys;
        loop {
            let (turn, left) = self.take(waiting);
            if turn.at > self.0.clock.now() {
                self.0.clock.sleep_until(turn.at).await;
            }
            turn.used();
            if left.is_empty() {
                return;
            }
            self.0.clock.sleep_until(self.0.clock.now() + Duration::from_secs(1) / self.0.limit.per_second).await;
            waiting = left;
        }
    }

    /// A place in the line of each key, and the keys for which there is no room.
    fn take(&self, keys: Vec<K>) -> (Turn<'_, K>, Vec<K>) {
        let now = self.0.clock.now();
        let (mut at, mut taken, mut left) = (now, Vec::with_capacity(keys.len()), Vec::new());
        let mut buckets = self.buckets();
        for key in keys {
            let Some(bucket) = buckets.of(&key, self.0.limit, now) else {
                left.push(key);
                continue;
            };
            let start = now + bucket.wait(now);
            bucket.take(start);
            at = at.max(start);
            taken.push(key);
        }
        (Turn { rates: self, at, taken }, left)
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets<K>> {
        self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> Buckets<K> {
    fn of(&mut self, key: &K, limit: RateLimit, now: Time) -> Option<&mut TokenBucket> {
        if self.by_key.len() >= self.sweep_at && !self.by_key.contains_key(key) {
            self.by_key.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = (2 * self.by_key.len()).clamp(KEYS_BEFORE_SWEEP, KEYS_MAX);
            if self.by_key.len() >= KEYS_MAX {
                return None;
            }
        }
        Some(self.by_key.entry(key.clone()).or_insert_with(|| TokenBucket::new(limit)))
    }
}

/// Places in line, which are given back if they are not used.
struct Turn<'a, K: Key> {
    rates: &'a KeyedRates<K>,
    at: Time,
    taken: Vec<K>,
}

impl<K: Key> Turn<'_, K> {
    fn used(mut self) {
        self.taken.clear();
    }
}

impl<K: Key> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut buckets = self.rates.buckets();
        for key in self.taken.drain(..) {
            if let Some(bucket) = buckets.by_key.get_mut(&key) {
                bucket.give_back();
            }
        }
    }
}

/// A function that calls `function` for each key no faster than `rates` says; others wait. A batch waits until all of its keys may be
/// called, so where some keys are much busier than others small batches are better.
///
/// Waiting is part of the attempt, as with [`rate_limited`](super::rate_limited).
///
/// ```
/// use inflight::layers::{KeyedRates, RateLimit, keyed_rate_limited};
///
/// let lookup = |id: u64| async move { Ok::<_, std::io::Error>(format!("user {id}")) };
/// let rates = KeyedRates::new(RateLimit { per_second: 5, burst: 2 });
/// let lookup = keyed_rate_limited(lookup, |id: &u64| *id, &rates);
/// # fn is_function(_: impl inflight::AsyncFunction<u64>) {}
/// # is_function(lookup);
/// ```
///
/// # Cancel safety
/// A call that is given up while it waits gives its turn back; one that was let through has used it.
pub fn keyed_rate_limited<I, K: Key, F>(
    function: F,
    key: impl Fn(&I) -> K + Send + Sync + 'static,
    rates: &KeyedRates<K>,
) -> KeyedRateLimited<I, K, F> {
    KeyedRateLimited { function, key: Box::new(key), rates: rates.clone() }
}

/// See [`keyed_rate_limited`].
pub struct KeyedRateLimited<I, K, F> {
    function: F,
    key: Box<dyn Fn(&I) -> K + Send + Sync>,
    rates: KeyedRates<K>,
}

impl<I, K, F> AsyncFunction<I> for KeyedRateLimited<I, K, F>
where
    I: Send + 'static,
    K: Key,
    F: AsyncFunction<I>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        self.rates.turn(vec![(self.key)(&input)]).await;
        self.function.invoke(input).await
    }

    handed_on!(I, F);
}

impl<I, K, F> BatchFunction<I> for KeyedRateLimited<I, K, F>
where
    I: Send + 'static,
    K: Key,
    F: BatchFunction<I>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, inputs: Vec<I>) -> BatchResult<F::Output, F::Error> {
        let keys = inputs.iter().map(&self.key).collect();
        self.rates.turn(keys).await;
        self.function.invoke(inputs).await
    }

    handed_on!(I, F);
}

impl<K> Clone for KeyedRates<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for KeyedRates<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner).by_key.len();
        f.debug_struct("KeyedRates").field("limit", &self.0.limit).field("keys", &keys).finish_non_exhaustive()
    }
}

impl<I, K, F> fmt::Debug for KeyedRateLimited<I, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimited").field("rates", &self.rates).finish_non_exhaustive()
    }
}
