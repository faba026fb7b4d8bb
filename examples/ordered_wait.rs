//! Many requests in flight, results in the order of the records: a closure on a stream.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let lookup = |id: u64| async move {
        tokio::time::sleep(Duration::from_millis(10 + id * 37 % 50)).await; // a service that takes its time
        if id == 13 { Err("no such user") } else { Ok(format!("user {id}")) }
    };
    let mut users = stream::iter(0..20).ordered_wait(lookup, Options::new().timeout(Duration::from_millis(500)));
    while let Some(result) = users.next().await {
        match result {
            Ok(user) => println!("{user}"),
            Err(failure) => println!("{failure}"), // it carries the record; the stream goes on
        }
    }
}
