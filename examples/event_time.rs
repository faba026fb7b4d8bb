//! Event time: what a watermark means for results that come as they complete, by either rule.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, Element, Options, Timestamp, elements};

/// Readings of a sensor with the second they were taken in. The watermark says: no more readings up to second 2.
const READINGS: [Element<&str>; 5] = [
    Element::at(1, "slow"),
    Element::at(2, "fast"),
    Element::Watermark(Timestamp(2)),
    Element::at(3, "fast too"),
    Element::Watermark(Timestamp(3)),
];

async fn lookup(reading: &'static str) -> Result<&'static str, ()> {
    let latency = if reading == "slow" { 100 } else { 10 };
    tokio::time::sleep(Duration::from_millis(latency)).await;
    Ok(reading)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("the frontier rule: a later record may overtake the watermark, which waits for what it covers");
    show(Options::new()).await;
    println!("the strict rule, Flink's: nothing passes a watermark");
    show(Options::new().strict()).await;
}

async fn show(options: Options<&'static str, &'static str, ()>) {
    let mut results = elements(stream::iter(READINGS)).unordered_wait(lookup, options);
    while let Some(element) = results.next().await {
        match element {
            Element::Record { value, timestamp } => println!("  {value:?} at {timestamp:?}"),
            Element::Watermark(at) => println!("  -- watermark {at:?} --"),
            Element::Idle => println!("  -- idle --"),
        }
    }
}
