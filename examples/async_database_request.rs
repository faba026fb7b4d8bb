//! The classic: a stream of keys, and a row for each from a database, first with one query after the other, then with a hundred in
//! flight.
//!
//! ```sh
//! cargo run --release -p inflight --example async_database_request
//! ```

mod database;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use inflight::{AsyncDataStream, AsyncFunction, ResultFuture};

use database::DatabaseClient;

/// Sends a query for each key, and completes a result future from the client's callback.
struct AsyncDatabaseRequest {
    address: SocketAddr,
    client: Option<DatabaseClient>,
}

impl AsyncFunction<u64> for AsyncDatabaseRequest {
    type Output = (u64, String);
    type Error = io::Error;

    async fn open(&mut self) -> io::Result<()> {
        self.client = Some(DatabaseClient::connect(self.address)?);
        Ok(())
    }

    async fn invoke(&self, key: u64) -> io::Result<(u64, String)> {
        let client = self.client.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let (result, completed) = ResultFuture::new();
        client.query(key, move |row| {
            // On the client's thread. Were the callback lost, the promise would be dropped, and that is an error and no lost slot.
            result.complete((key, row));
        })?;
        completed.await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.client = None;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = database::start()?;
    let keys = 0..300;

    let start = Instant::now();
    let client = DatabaseClient::connect(address)?;
    for key in keys.clone() {
        client.query_and_wait(key)?;
    }
    let synchronous = start.elapsed();

    let start = Instant::now();
    let request = AsyncDatabaseRequest { address, client: None };
    let mut rows =
        AsyncDataStream::unordered_wait(stream::iter(keys.clone()), request, Duration::from_millis(1000), 100);
    while let Some(result) = rows.next().await {
        let (key, row) = result.map_err(io::Error::other)?;
        assert_eq!(row, format!("user {key}"));
    }
    let asynchronous = start.elapsed();

    println!("{} queries of {:?} each", keys.end, database::LATENCY);
    println!("  one after the other   {synchronous:>9.1?}");
    println!("  a hundred in flight   {asynchronous:>9.1?}");
    Ok(())
}
