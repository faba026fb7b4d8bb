//! The server that the test command provides, and a schema of its own for each test.

#![allow(dead_code)] // no test file needs all of it

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

/// A schema on the test server, where names without a schema are looked for.
pub(crate) struct Schema {
    pub(crate) url: String,
    runtime: Runtime,
    client: Client,
}

/// The address of the server. None, said aloud, where there is none; in continuous integration that is a failure.
pub(crate) fn server() -> Option<String> {
    let address = std::env::var("INFLIGHT_TEST_POSTGRES").ok();
    if address.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_POSTGRES is not set");
        eprintln!("!!! SKIPPED: INFLIGHT_TEST_POSTGRES is not set; cargo xtask servers starts a server");
    }
    address
}

impl Schema {
    /// Makes it anew, with tables in it.
    pub(crate) fn new(name: &str, tables: &str) -> Option<Self> {
        let url = format!("{}?options=-csearch_path%3D{name}", server()?);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        let schema = Self { url, runtime, client };
        schema.run(&format!(
            "set client_min_messages = warning; drop schema if exists {name} cascade; create schema {name}"
        ));
        schema.run(tables);
        Some(schema)
    }

    pub(crate) fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    /// The rows of a query, each as the server makes it JSON.
    pub(crate) fn rows(&self, query: &str) -> Value {
        let sql = format!("select coalesce(json_agg(r), '[]'::json) from ({query}) r");
        self.runtime.block_on(self.client.query_one(&sql, &[])).unwrap().get(0)
    }

    /// The value a query answers with.
    pub(crate) fn value(&self, query: &str) -> Value {
        let sql = format!("select to_json(({query}))");
        self.runtime.block_on(self.client.query_one(&sql, &[])).unwrap().get(0)
    }

    /// Does it on the runtime that also drives the connection of the schema.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits until the query answers true, which it does sooner or later unless something is broken.
    pub(crate) fn wait_for(&self, query: &str) {
        for _ in 0..12_000 {
            if self.value(query) == true {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("never became true: {query}");
    }
}
