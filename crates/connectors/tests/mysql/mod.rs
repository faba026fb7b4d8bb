//! The server that the test command provides, and a database of its own for each test.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

/// A database on the test server.
pub(crate) struct Database {
    pub(crate) url: String,
    runtime: Runtime,
    conn: Mutex<Conn>,
}

/// The address of the server. None, said aloud, where there is none; in continuous integration that is a failure.
pub(crate) fn server() -> Option<String> {
    let address = std::env::var("INFLIGHT_TEST_MYSQL").ok();
    if address.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_MYSQL is not set");
        eprintln!("!!! SKIPPED: INFLIGHT_TEST_MYSQL is not set; cargo xtask servers starts a server");
    }
    address
}

impl Database {
    /// Makes it anew, with tables in it.
    pub(crate) fn new(name: &str, tables: &str) -> Option<Self> {
        let server = server()?;
        let url = format!("{server}/{name}");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let opts: Opts = OptsBuilder::from_opts(Opts::from_url(&server).unwrap()).prefer_socket(false).into();
        let conn = runtime.block_on(Conn::new(opts)).unwrap();
        let database = Self { url, runtime, conn: Mutex::new(conn) };
        database
            .run(&format!("drop database if exists {name}; create database {name} character set utf8mb4; use {name}"));
        database.run(tables);
        Some(database)
    }

    /// Statements, with semicolons between them.
    pub(crate) fn run(&self, sql: &str) {
        let run = async {
            for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
                self.conn.lock().await.query_drop(statement).await.unwrap();
            }
        };
        self.runtime.block_on(run);
    }

    /// One statement, which may have semicolons in it.
    pub(crate) fn run_one(&self, sql: &str) {
        self.runtime.block_on(async { self.conn.lock().await.query_drop(sql).await }).unwrap();
    }

    /// The number a query answers with.
    pub(crate) fn count(&self, query: &str) -> u64 {
        self.runtime.block_on(async { self.conn.lock().await.query_first(query).await.unwrap().unwrap() })
    }

    /// Does it on the runtime that also drives the connections.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits until the query answers with this, which it does sooner or later unless something is broken.
    pub(crate) fn wait_for(&self, query: &str, expected: u64) {
        for _ in 0..12_000 {
            if self.count(query) == expected {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("never became {expected}: {query}");
    }
}
