//! PostgreSQL: look-ups by primary key.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, BatchFunction, BatchResult, Options};
use inflight_connectors::postgres::{PostgresLookup, PostgresLookupConfig};
use inflight_connectors::{Error, Key};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Effort;
use crate::contest::{Contestant, Count, compete, print as print_table};
use crate::keys::{Keys, Spread};
use crate::measure::{Sample, median};

const TABLE: &str = "inflight_bench_users";
/// Keys in a call.
const BATCH: usize = 100;
/// Calls under way on each connection of the bare driver: more bring it nothing.
const DEPTH: usize = 4;

pub(crate) fn print(effort: &Effort, server: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(fill(server, effort.rows));
    println!("\n## PostgreSQL, {} rows", effort.rows);
    for connections in [1, 2] {
        for spread in [Spread::Uniform, Spread::Zipf] {
            throughput(&runtime, effort, server, connections, spread);
        }
    }
    latency(&runtime, effort, server);
}

fn throughput(runtime: &Runtime, effort: &Effort, server: &str, connections: usize, spread: Spread) {
    let bare: Vec<Bare> = (0..connections).map(|_| runtime.block_on(Bare::connect(server))).collect();
    let keys = || Keys::new(spread, effort.rows);
    let by_hand = runtime.block_on(lookup(server, connections));
    let users = |ordered: bool| Contestant {
        name: format!("inflight, {}", if ordered { "ordered" } else { "unordered" }),
        run: Box::new(move |runtime: &Runtime, window| {
            let users = Users(runtime.block_on(lookup(server, connections)));
            runtime.block_on(operator(users, ordered, keys(), window))
        }),
    };
    let contestants = [
        Contestant {
            name: format!("tokio-postgres, `= any` of {BATCH} by hand"),
            run: Box::new(|runtime, window| runtime.block_on(bare_driver(&bare, keys(), window))),
        },
        Contestant {
            name: "`PostgresLookup` by hand".to_owned(),
            run: Box::new(|runtime, window| runtime.block_on(connector(&by_hand, connections * DEPTH, keys(), window))),
        },
        users(false),
        users(true),
    ];
    let title = format!("{connections} connections, {spread:?} keys");
    print_table(&title, &compete(runtime, effort, &contestants));
}

/// A connection without anything of ours.
struct Bare {
    client: Client,
    statement: Statement,
}

impl Bare {
    async fn connect(server: &str) -> Self {
        let client = connect(server).await;
        let query = format!("select id, name, tier from {TABLE} where id = any($1)");
        let statement = client.prepare(&query).await.expect("the table is there");
        Self { client, statement }
    }

    /// What a careful user would write: answers by key.
    async fn look_up(&self, keys: Vec<i64>) -> u64 {
        let rows = self.client.query(&self.statement, &[&keys]).await.expect("the server answers");
        let found: HashMap<i64, (String, i32)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        keys.iter().for_each(|key| drop(black_box(found.get(key).cloned())));
        keys.len() as u64
    }
}

async fn connect(server: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await.expect("the server is there");
    tokio::spawn(connection);
    client
}

async fn fill(server: &str, rows: u64) {
    let fill = format!(
        "drop table if exists {TABLE};
         create table {TABLE} (id bigint primary key, name text not null, tier int not null);
         insert into {TABLE} select id, 'user ' || id, id % 7 from generate_series(1, {rows}) as id;"
    );
    let client = connect(server).await;
    client.batch_execute(&fill).await.expect("a table may be made");
    client.batch_execute(&format!("vacuum analyze {TABLE}")).await.expect("it can be vacuumed");
}

async fn lookup(server: &str, connections: usize) -> PostgresLookup {
    let config = PostgresLookupConfig { connections, ..PostgresLookupConfig::table(server, TABLE) };
    PostgresLookup::connect(&config, &["id".to_owned()]).await.expect("the table is there")
}

async fn bare_driver(bare: &[Bare], keys: Keys, window: Duration) -> Sample {
    let batches = stream::iter(keys).map(|key| key as i64).chunks(BATCH).enumerate();
    let calls = batches.map(|(number, keys)| bare[number % bare.len()].look_up(keys));
    let mut answers = std::pin::pin!(calls.buffer_unordered(bare.len() * DEPTH));
    let mut count = Count::start(window);
    while count.add(answers.next().await.unwrap_or(0)) {}
    count.sample()
}

async fn connector(lookup: &PostgresLookup, depth: usize, keys: Keys, window: Duration) -> Sample {
    let calls = stream::iter(keys).map(|key| vec![json!(key)]).chunks(BATCH).map(|keys: Vec<Key>| async move {
        let answers = lookup.lookup(&keys).await.expect("the server answers");
        answers.into_iter().map(black_box).count() as u64
    });
    let mut answers = std::pin::pin!(calls.buffer_unordered(depth));
    let mut count = Count::start(window);
    while count.add(answers.next().await.unwrap_or(0)) {}
    count.sample()
}

struct Users(PostgresLookup);

impl BatchFunction<u64> for Users {
    type Output = Option<Value>;
    type Error = Error;

    async fn invoke(&self, keys: Vec<u64>) -> BatchResult<Option<Value>, Error> {
        let keys: Vec<Key> = keys.into_iter().map(|key| vec![json!(key)]).collect();
        self.0.lookup(&keys).await
    }
}

/// As a step of a pipeline is set up unless the file says otherwise.
fn defaults(batch: usize) -> Options<u64, Option<Value>, Error> {
    Options::new()
        .capacity(16 * BATCH)
        .concurrency(16)
        .batch(batch, Duration::from_millis(2))
        .timeout(Duration::from_secs(1))
        .deadline(Duration::from_secs(5))
}

async fn operator(users: Users, ordered: bool, keys: Keys, window: Duration) -> Sample {
    let (keys, options) = (stream::iter(keys), defaults(BATCH));
    let mut answers = if ordered {
        keys.ordered_wait(users, options).left_stream()
    } else {
        keys.unordered_wait(users, options).right_stream()
    };
    let mut count = Count::start(window);
    while let Some(answer) = answers.next().await {
        black_box(answer.expect("the server answers"));
        if !count.add(1) {
            break;
        }
    }
    count.sample()
}

/// A record in 500 µs, which is about one in a hundred of what the server could do.
const APART: Duration = Duration::from_micros(500);

/// Median latencies at 1 % load, batched and not, in turn.
fn latency(runtime: &Runtime, effort: &Effort, server: &str) {
    let mut medians = [Vec::new(), Vec::new()];
    for _ in 0..effort.rounds {
        for (batch, medians) in [1, BATCH].into_iter().zip(&mut medians) {
            medians.push(runtime.block_on(trickle(server, batch, effort)));
        }
    }
    let [alone, batched] = medians.map(|medians| median(&medians));
    println!("\n| one look-up in {APART:?} | p50 us |\n|---|---:|\n| a call each | {alone:.0} |");
    println!("| batches of up to {BATCH} | {batched:.0} ({:+.1} %) |", 100.0 * (batched / alone - 1.0));
}

/// The median latency in microseconds.
async fn trickle(server: &str, batch: usize, effort: &Effort) -> f64 {
    let users = Users(lookup(server, 2).await);
    let mut keys = Keys::new(Spread::Uniform, effort.rows);
    let count = (effort.window.as_secs_f64() / APART.as_secs_f64()) as usize;
    let begins = Instant::now();
    let ticks = stream::iter(0..count as u32).then(move |tick| async move {
        // Timers tick in milliseconds: two records at a time would share a call. So the last bit is waited for with open eyes.
        let due = begins + tick * APART;
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
    });
    let keys = ticks.map(move |()| keys.next().unwrap_or(1));
    let mut answers = keys.unordered_wait(users, defaults(batch));
    let mut latencies = Vec::with_capacity(count);
    let mut started = begins;
    while let Some(answer) = answers.next().await {
        black_box(answer.expect("the server answers"));
        let now = Instant::now();
        latencies.push((now - started).as_secs_f64() * 1e6);
        started = begins + latencies.len() as u32 * APART;
    }
    median(&latencies)
}
