//! How many keys are asked for when answers are used more than once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use inflight::layers::{Boxed, CacheOptions, boxed, cached, single_flight};
use inflight_connectors::{Answer, Error, Key};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::Effort;
use crate::keys::{Keys, Spread};
use crate::measure::median;
use crate::operator::{FIXED, Lookup, Users, operator};

/// Longer than the bench takes.
const TTL: Duration = Duration::from_secs(600);

type Function = Boxed<u64, Option<Value>, Error>;

/// Puts layers around a look-up.
type Layers<L> = fn(Users<Counted<L>>) -> Function;

/// Prints a table. `connect` makes a look-up of the connector. As in a pipeline, caches are empty at first.
pub(crate) fn print<L: Lookup>(runtime: &Runtime, effort: &Effort, connect: impl Fn(&Runtime) -> L) {
    let contestants: [(&str, Layers<L>); 4] = [
        ("neither", |users| boxed(users)),
        ("single flight", |users| boxed(single_flight(users, |key: &u64| *key))),
        ("single flight, cache of 10,000", |users| with_cache(users, 10_000)),
        ("single flight, cache of 100,000", |users| with_cache(users, 100_000)),
    ];
    println!("\n| Zipf keys, ordered | keys asked for, per record | look-ups/s |\n|---|---:|---:|");
    for (name, layers) in contestants {
        let (mut shares, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            let asked = Arc::new(AtomicU64::new(0));
            let users = layers(Users(Counted { lookup: connect(runtime), asked: Arc::clone(&asked) }));
            let keys = Keys::new(Spread::Zipf, effort.rows);
            let (sample, records) = runtime.block_on(operator(users, FIXED, true, keys, effort.window));
            shares.push(asked.load(Ordering::Relaxed) as f64 / records as f64);
            rates.push(sample.rate);
        }
        println!("| {name} | {:.2} | {:.0} |", median(&shares), median(&rates));
    }
}

fn with_cache<L: Lookup>(users: Users<L>, entries: usize) -> Function {
    let users = single_flight(users, |key: &u64| *key);
    boxed(cached(users, |key: &u64| *key, CacheOptions::new(entries, TTL)))
}

/// A look-up that knows how many keys it was asked for.
struct Counted<L> {
    lookup: L,
    asked: Arc<AtomicU64>,
}

impl<L: Lookup> Lookup for Counted<L> {
    async fn look_up(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.asked.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.lookup.look_up(keys).await
    }
}
