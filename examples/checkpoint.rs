//! A checkpoint and a crash: what was in flight is called again, and each record comes out once.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncStream, AsyncStreamExt, Clocks, Failure, Options, Snapshot};

const RECORDS: u64 = 100;

type Results = AsyncStream<u64, u64, String>;

/// The operator on the source, from the beginning or from where a snapshot was taken.
fn start(from: Option<Snapshot<u64>>) -> Results {
    let square = |n: u64| async move {
        tokio::time::sleep(Duration::from_millis(1 + n * 7919 % 40)).await;
        Ok(n * n)
    };
    let options = Options::new().capacity(20).deadline(Duration::from_secs(1));
    let position = from.as_ref().map_or(0, |snapshot| snapshot.taken);
    let options = match from {
        Some(snapshot) => options.resume(snapshot, Clocks::Keep),
        None => options,
    };
    stream::iter(position..RECORDS).unordered_wait(square, options)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure<u64, String>> {
    let mut results = start(None);
    let mut written = Vec::new();
    for _ in 0..30 {
        written.extend(results.next().await.transpose()?);
    }
    // It waits for no call. Stored together with what was written, it is a checkpoint.
    let snapshot = results.snapshot().await.ok_or_else(|| Failure::Died("before the checkpoint".into()))?;
    println!("{} written, {} in the snapshot, {} read", written.len(), snapshot.elements.len(), snapshot.taken);

    drop(results); // the crash: calls on the wire are gone

    let mut results = start(Some(snapshot));
    while let Some(result) = results.next().await {
        written.push(result?);
    }
    written.sort_unstable();
    assert!(written.into_iter().eq((0..RECORDS).map(|n| n * n)), "each record once");
    println!("all {RECORDS} written, each once");
    Ok(())
}
