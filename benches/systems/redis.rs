//! Redis: strings by name.

use std::hint::black_box;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight_connectors::redis::{RedisLookup, RedisLookupConfig, RedisValue};
use inflight_connectors::{Answer, Error, Key};
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use crate::Effort;
use crate::contest::{Contestant, Count, print_latency};
use crate::keys::{Keys, Spread};
use crate::measure::Sample;
use crate::operator::{BATCH, DEPTH, Lookup, trickle};
use crate::throughput::Match;

const NAMES: &str = "inflight:bench:user:";
/// Strings set at a time.
const SET: u64 = 10_000;

pub(crate) fn print(runtime: &Runtime, effort: &Effort, server: &str) {
    runtime.block_on(fill(server, effort.rows));
    println!("\n## Redis, {} strings", effort.rows);
    for connections in [1, 2] {
        throughput(runtime, effort, server, connections, Spread::Uniform);
    }
    throughput(runtime, effort, server, 2, Spread::Zipf);
    print_latency(effort, |batch| {
        let (keys, users) = (Keys::new(Spread::Uniform, effort.rows), runtime.block_on(lookup(server, 2)));
        runtime.block_on(trickle(users, batch, keys, effort.apart, effort.window))
    });
}

fn throughput(runtime: &Runtime, effort: &Effort, server: &str, connections: usize, spread: Spread) {
    let bare: Vec<_> = (0..connections).map(|_| runtime.block_on(connect(server))).collect();
    let bare = Contestant::new(format!("redis, MGET of {BATCH} by hand"), |runtime, window| {
        runtime.block_on(bare_driver(&bare, Keys::new(spread, effort.rows), window))
    });
    let contest = Match { connections, spread, bare, connector: "RedisLookup" };
    contest.print(runtime, effort, |runtime| runtime.block_on(lookup(server, connections)));
}

impl Lookup for RedisLookup {
    async fn look_up(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.lookup(keys).await
    }
}

async fn lookup(server: &str, connections: usize) -> RedisLookup {
    let config = RedisLookupConfig::get(server, format!("{NAMES}{{id}}"));
    let config = RedisLookupConfig { connections, value: Some(RedisValue::Text), ..config };
    RedisLookup::connect(&config, &["id".to_owned()]).await.expect("the server is there")
}

async fn bare_driver(bare: &[MultiplexedConnection], keys: Keys, window: Duration) -> Sample {
    let batches = stream::iter(keys).map(name).chunks(BATCH).enumerate();
    let calls = batches.map(|(number, names)| {
        let mut connection = bare[number % bare.len()].clone();
        async move {
            let values: Vec<Option<String>> =
                redis::cmd("MGET").arg(&names).query_async(&mut connection).await.expect("the server answers");
            values.into_iter().map(black_box).count() as u64
        }
    });
    let mut answers = std::pin::pin!(calls.buffer_unordered(bare.len() * DEPTH));
    let mut count = Count::start(window);
    while count.add(answers.next().await.unwrap_or(0)) {}
    count.sample()
}

fn name(key: u64) -> String {
    format!("{NAMES}{key}")
}

async fn connect(server: &str) -> MultiplexedConnection {
    let client = redis::Client::open(server).expect("the variable has a URL");
    client.get_multiplexed_async_connection().await.expect("the server is there")
}

/// 100 bytes each.
async fn fill(server: &str, rows: u64) {
    let mut connection = connect(server).await;
    for first in (1..=rows).step_by(SET as usize) {
        let mut set = redis::cmd("MSET");
        for key in first..=rows.min(first + SET - 1) {
            set.arg(name(key)).arg(format!("{key:0100}"));
        }
        let () = set.query_async(&mut connection).await.expect("strings may be set");
    }
}
