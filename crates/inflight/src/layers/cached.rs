//! Answers that are used again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::Key;
use super::cache::{Cache, CacheGauge};
use super::store::Known;
use crate::batch::{BatchFunction, BatchResult};
use crate::destination::Destination;
use crate::function::{AsyncFunction, Cancellation, Function};

/// An [`AsyncFunction`] or [`BatchFunction`] that keeps the answers of `function` in `cache`: its options, or a [`Cache`] that others use
/// too. Errors are never kept, nor is what a
/// [`timeout`](AsyncFunction::timeout) falls back to.
///
/// A record whose answer is there needs no call: it is [known](AsyncFunction::known) when it comes in, and takes no place on the wire.
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
/// # Cancel safety
/// A call that is given up leaves the cache as it was. Background tasks belong to no record: they end with their call, with the old
/// answer's time, when the function is closed (it waits for that), or when it is dropped.
pub fn cached<I, K, F, Shape>(
    function: F,
    key: impl Fn(&I) -> K + Send + Sync + 'static,
    cache: impl Into<Cache<K, F::Output>>,
) -> Cached<I, K, F, F::Output>
where
    K: Key,
    F: Function<I, Shape, Output: Clone>,
{
    let (cache, function) = (cache.into(), Arc::new(function));
    Cached { function, key: Box::new(key), cache, destination: None, refreshes: Mutex::default() }
}

/// See [`cached`].
pub struct Cached<I, K, F, O> {
    function: Arc<F>,
    key: Box<dyn Fn(&I) -> K + Send + Sync>,
    cache: Cache<K, O>,
    destination: Option<Destination>,
    /// The background tasks.
    refreshes: Mutex<JoinSet<()>>,
}

impl<I, K: Key, F, O: Clone> Cached<I, K, F, O> {
    /// What is fetched in the background is a [spare](Destination::spare) call of this destination: while it has none, the old answer
    /// stays. Default: no permission is needed.
    #[must_use]
    pub fn calling(self, destination: Destination) -> Self {
        Self { destination: Some(destination), ..self }
    }

    /// Where the counts can be read while the function works.
    #[must_use]
    pub fn gauge(&self) -> CacheGauge {
        self.cache.gauge()
    }

    /// An answer that is there; for an old one it starts `fetch` in the background, unless that is under way or there is no room.
    fn look<Fetch>(&self, input: &I, fetch: impl FnOnce(Arc<F>, I) -> Fetch) -> Option<O>
    where
        I: Clone + Send + 'static,
        F: Send + Sync + 'static,
        O: Send + Sync + 'static,
        Fetch: Future<Output = Option<O>> + Send + 'static,
    {
        let key = (self.key)(input);
        let (output, gone_at) = match self.cache.look(&key) {
            Known::Fresh(output) => return Some(output),
            Known::Stale { output, gone_at } => (output, gone_at),
            Known::Nothing => return None,
        };
        let Some(refresh) = self.cache.refresh(key) else { return Some(output) };
        let spare = self.destination.as_ref().map(Destination::spare);
        if !matches!(spare, Some(None)) {
            let fetch = fetch(Arc::clone(&self.function), input.clone());
            let task = async move {
                let _spare = spare;
                refresh.by(fetch, gone_at).await;
            };
            let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
            while refreshes.try_join_next().is_some() {}
            refreshes.spawn(task);
        }
        Some(output)
    }
}

impl<I, K, F> AsyncFunction<I> for Cached<I, K, F, F::Output>
where
    I: Clone + Send + Sync + 'static,
    K: Key,
    F: AsyncFunction<I, Output: Clone + Sync>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, input: I) -> Result<F::Output, F::Error> {
        // It may have come meanwhile.
        if let Some(output) = AsyncFunction::known(self, &input) {
            return Ok(output);
        }
        self.cache.missed(1);
        let (key, since) = ((self.key)(&input), self.cache.now());
        let output = self.function.invoke(input).await?;
        self.cache.keep(key, output.clone(), since);
        Ok(output)
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        let output = self.look(input, |function, input| async move { function.invoke(input).await.ok() });
        output.or_else(|| self.function.known(input))
    }

    async fn open(&mut self) -> Result<(), F::Error> {
        match Arc::get_mut(&mut self.function) {
            Some(function) => function.open().await,
            None => Ok(()),
        }
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        self.function.timeout(input)
    }

    async fn close(&mut self) -> Result<(), F::Error> {
        self.refreshes.get_mut().unwrap_or_else(PoisonError::into_inner).shutdown().await;
        match Arc::get_mut(&mut self.function) {
            Some(function) => function.close().await,
            None => Ok(()),
        }
    }

    fn cancellation(&self) -> Cancellation {
        self.function.cancellation()
    }
}

impl<I, K, F> BatchFunction<I> for Cached<I, K, F, F::Output>
where
    I: Clone + Send + Sync + 'static,
    K: Key,
    F: BatchFunction<I, Output: Clone + Sync>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, inputs: Vec<I>) -> BatchResult<F::Output, F::Error> {
        // They may have come meanwhile.
        let known: Vec<Option<F::Output>> = inputs.iter().map(|input| BatchFunction::known(self, input)).collect();
        let missing = known.iter().zip(inputs).filter(|(known, _)| known.is_none());
        let asked: Vec<I> = missing.map(|(_, input)| input).collect();
        if asked.is_empty() {
            return Ok(known.into_iter().flatten().map(Ok).collect());
        }
        self.cache.missed(asked.len() as u64);
        let keys: Vec<K> = asked.iter().map(&self.key).collect();
        let since = self.cache.now();
        let answers = match self.function.invoke(asked).await {
            Ok(answers) if answers.len() == keys.len() => answers,
            Ok(_) => return Ok(Vec::new()),
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        };
        for (key, answer) in keys.into_iter().zip(&answers) {
            if let Ok(output) = answer {
                self.cache.keep(key, output.clone(), since);
            }
        }
        let mut answers = answers.into_iter();
        Ok(known.into_iter().filter_map(|known| known.map(Ok).or_else(|| answers.next())).collect())
    }

    fn known(&self, input: &I) -> Option<F::Output> {
        let fetch = |function: Arc<F>, input| async move { function.invoke(vec![input]).await.ok()?.pop()?.ok() };
        self.look(input, fetch).or_else(|| self.function.known(input))
    }

    async fn open(&mut self) -> Result<(), F::Error> {
        match Arc::get_mut(&mut self.function) {
            Some(function) => function.open().await,
            None => Ok(()),
        }
    }

    fn timeout(&self, input: I) -> Option<Result<F::Output, F::Error>> {
        self.function.timeout(input)
    }

    async fn close(&mut self) -> Result<(), F::Error> {
        self.refreshes.get_mut().unwrap_or_else(PoisonError::into_inner).shutdown().await;
        match Arc::get_mut(&mut self.function) {
            Some(function) => function.close().await,
            None => Ok(()),
        }
    }

    fn cancellation(&self) -> Cancellation {
        self.function.cancellation()
    }
}

impl<I, K: Key, F, O> fmt::Debug for Cached<I, K, F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("cache", &self.cache).finish_non_exhaustive()
    }
}
