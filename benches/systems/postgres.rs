//! PostgreSQL: look-ups by primary key.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight_connectors::postgres::{PostgresLookup, PostgresLookupConfig};
use inflight_connectors::{Answer, Error, Key};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Effort;
use crate::contest::{Contestant, Count, print_latency};
use crate::keys::{Keys, Spread};
use crate::measure::Sample;
use crate::operator::{BATCH, DEPTH, Lookup, trickle};
use crate::reuse;
use crate::throughput::Match;

pub(crate) const TABLE: &str = "inflight_bench_users";

pub(crate) fn print(runtime: &Runtime, effort: &Effort, server: &str) {
    runtime.block_on(fill(server, effort.rows));
    println!("\n## PostgreSQL, {} rows", effort.rows);
    for connections in [1, 2] {
        for spread in [Spread::Uniform, Spread::Zipf] {
            throughput(runtime, effort, server, connections, spread);
        }
    }
    reuse::print(runtime, effort, |runtime| runtime.block_on(lookup(server, 2)));
    print_latency(effort, |batch| {
        let (keys, users) = (Keys::new(Spread::Uniform, effort.rows), runtime.block_on(lookup(server, 2)));
        runtime.block_on(trickle(users, batch, keys, effort.apart, effort.window))
    });
}

fn throughput(runtime: &Runtime, effort: &Effort, server: &str, connections: usize, spread: Spread) {
    let bare: Vec<Bare> = (0..connections).map(|_| runtime.block_on(Bare::connect(server))).collect();
    let bare = Contestant::new(format!("tokio-postgres, `= any` of {BATCH} by hand"), |runtime, window| {
        runtime.block_on(bare_driver(&bare, Keys::new(spread, effort.rows), window))
    });
    let contest = Match { connections, spread, bare, connector: "PostgresLookup" };
    contest.print(runtime, effort, |runtime| runtime.block_on(lookup(server, connections)));
}

impl Lookup for PostgresLookup {
    async fn look_up(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.lookup(keys).await
    }
}

async fn lookup(server: &str, connections: usize) -> PostgresLookup {
    let config = PostgresLookupConfig { connections, ..PostgresLookupConfig::table(server, TABLE) };
    PostgresLookup::connect(&config, &["id".to_owned()]).await.expect("the table is there")
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

async fn bare_driver(bare: &[Bare], keys: Keys, window: Duration) -> Sample {
    let batches = stream::iter(keys).map(|key| key as i64).chunks(BATCH).enumerate();
    let calls = batches.map(|(number, keys)| bare[number % bare.len()].look_up(keys));
    let mut answers = std::pin::pin!(calls.buffer_unordered(bare.len() * DEPTH));
    let mut count = Count::start(window);
    while count.add(answers.next().await.unwrap_or(0)) {}
    count.sample()
}

async fn connect(server: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await.expect("the server is there");
    tokio::spawn(connection);
    client
}

pub(crate) async fn fill(server: &str, rows: u64) {
    let fill = format!(
        "drop table if exists {TABLE};
         create table {TABLE} (id bigint primary key, name text not null, tier int not null);
         insert into {TABLE} select id, 'user ' || id, id % 7 from generate_series(1, {rows}) as id;"
    );
    let client = connect(server).await;
    client.batch_execute(&fill).await.expect("a table may be made");
    client.batch_execute(&format!("vacuum analyze {TABLE}")).await.expect("it can be vacuumed");
}
