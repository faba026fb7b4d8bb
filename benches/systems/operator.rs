//! What every system is asked through: the connector by hand, and the operator with the settings of a pipeline.

use std::future::Future;
use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, BatchFunction, BatchResult, Concurrency, Destination, DestinationOptions, Options};
use inflight_connectors::{Answer, Error, Key};
use serde_json::{Value, json};

use crate::contest::Count;
use crate::keys::Keys;
use crate::measure::{Sample, median};

/// Keys in a call.
pub(crate) const BATCH: usize = 100;
/// Calls under way on each connection of a bare driver: more bring it nothing.
pub(crate) const DEPTH: usize = 4;

/// A look-up of a connector.
pub(crate) trait Lookup: Send + Sync + 'static {
    fn look_up(&self, keys: &[Key]) -> impl Future<Output = Result<Vec<Answer>, Error>> + Send;
}

/// The connector without the operator.
pub(crate) async fn by_hand(lookup: &impl Lookup, depth: usize, keys: Keys, window: Duration) -> Sample {
    let calls = stream::iter(keys).map(|key| vec![json!(key)]).chunks(BATCH).map(|keys: Vec<Key>| async move {
        let answers = lookup.look_up(&keys).await.expect("the server answers");
        answers.into_iter().map(black_box).count() as u64
    });
    let mut answers = std::pin::pin!(calls.buffer_unordered(depth));
    let mut count = Count::start(window);
    while count.add(answers.next().await.unwrap_or(0)) {}
    count.sample()
}

/// A look-up as a function of an operator.
pub(crate) struct Users<L>(pub(crate) L);

impl<L: Lookup> BatchFunction<u64> for Users<L> {
    type Output = Option<Value>;
    type Error = Error;

    async fn invoke(&self, keys: Vec<u64>) -> BatchResult<Option<Value>, Error> {
        let keys: Vec<Key> = keys.into_iter().map(|key| vec![json!(key)]).collect();
        self.0.look_up(&keys).await
    }
}

/// As many calls as a step of a pipeline makes unless the file says otherwise.
pub(crate) const FIXED: Concurrency = Concurrency::Fixed(16);
/// As many as the server works best with.
pub(crate) const AUTO: Concurrency = Concurrency::Auto { min: 1, max: 64 };

/// As such a step is set up, breaker and budget included.
fn defaults(concurrency: Concurrency, batch: usize) -> Options<u64, Option<Value>, Error> {
    let (most, held) = match concurrency {
        Concurrency::Fixed(calls) => (calls, 2 * calls * BATCH),
        Concurrency::Auto { max: calls, .. } => (calls, calls * BATCH),
    };
    let destination = Destination::new(DestinationOptions::new(concurrency)).expect("the defaults make sense");
    Options::new()
        .capacity(held)
        .concurrency(most)
        .destination(destination)
        .batch(batch, Duration::from_millis(2))
        .timeout(Duration::from_secs(1))
        .deadline(Duration::from_secs(5))
}

/// A function behind the operator; how many records came out of it, besides.
pub(crate) async fn operator(
    users: impl BatchFunction<u64, Output = Option<Value>, Error = Error>,
    concurrency: Concurrency,
    ordered: bool,
    keys: Keys,
    window: Duration,
) -> (Sample, u64) {
    let (keys, options) = (stream::iter(keys), defaults(concurrency, BATCH));
    let mut answers = match ordered {
        true => keys.ordered_wait(users, options).left_stream(),
        false => keys.unordered_wait(users, options).right_stream(),
    };
    let mut count = Count::start(window);
    while let Some(answer) = answers.next().await {
        black_box(answer.expect("the server answers"));
        if !count.add(1) {
            break;
        }
    }
    (count.sample(), count.records())
}

/// The median latency in microseconds when there is a record in `apart`.
pub(crate) async fn trickle(
    lookup: impl Lookup,
    batch: usize,
    mut keys: Keys,
    apart: Duration,
    window: Duration,
) -> f64 {
    let count = (window.as_secs_f64() / apart.as_secs_f64()) as u32;
    let begins = Instant::now();
    let ticks = stream::iter(0..count).then(move |tick| async move {
        // Timers tick in milliseconds, and records of one tick would share a call: the clock is watched instead.
        while Instant::now() < begins + tick * apart {
            tokio::task::yield_now().await;
        }
    });
    let keys = ticks.map(move |()| keys.next().unwrap_or(1));
    let mut answers = keys.ordered_wait(Users(lookup), defaults(FIXED, batch));
    let mut latencies = Vec::new();
    while let Some(answer) = answers.next().await {
        black_box(answer.expect("the server answers"));
        let due = begins + latencies.len() as u32 * apart;
        latencies.push(due.elapsed().as_secs_f64() * 1e6);
    }
    median(&latencies)
}
