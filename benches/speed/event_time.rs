//! What watermarks and snapshots cost, with a service that has a tail.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::stream::{Stream, StreamExt, poll_fn};
use inflight::{AsyncStream, AsyncStreamExt, Element, Options, Order, Timestamp, elements};

use crate::grid::{Effort, Grid};
use crate::latency::{serve, show};
use crate::measure::{Sample, Window};
use crate::service::{Latency, Service};
use crate::subjects::{LIMIT, Place, operator, options};

const WATERMARK_EVERY: Duration = Duration::from_millis(200);
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn print(effort: &Effort) {
    let effort = &effort.few_windows();
    let place = Place::new(1);
    let title =
        "Event time and snapshots, latency mix, Unordered, deadline: records/s, % of Little's law, CPU µs per record";
    let mut grid = Grid::new(title, "calls in flight");
    let sizes: &[usize] = if effort.small { &[100] } else { &[100, 1000, 10_000] };
    for &in_flight in sizes {
        add(&mut grid, effort, &place, in_flight);
    }
    grid.measure(effort).print(|column, sample| show(Latency::Mix, column, sample));
}

fn add(grid: &mut Grid, effort: &Effort, place: &Place, in_flight: usize) {
    let column = in_flight.to_string();
    let Effort { warm_up, length, .. } = *effort;
    for (row, every, strict) in [
        ("timestamps, no watermarks", None, false),
        ("watermark every 200 ms, frontier", Some(WATERMARK_EVERY), false),
        ("watermark every 200 ms, strict (Flink's rule)", Some(WATERMARK_EVERY), true),
    ] {
        let here = place.clone();
        let make = move || {
            let service = Service::start();
            let call = move |record| serve(Arc::clone(&service), Latency::Mix, record);
            let options = Options::new().capacity(in_flight).deadline(LIMIT);
            let options = if strict { options.strict() } else { options };
            elements(clocked(every)).unordered_wait(call, options)
        };
        grid.add(row, &column, move || here.watch(make, warm_up, length));
    }
    for (row, every) in [("no snapshots", None), ("snapshot every 100 ms", Some(SNAPSHOT_EVERY))] {
        let here = place.clone();
        grid.add(row, &column, move || {
            here.run(async move {
                let service = Service::start();
                let call = move |record| serve(Arc::clone(&service), Latency::Mix, record);
                let mut results = operator(Order::Unordered, options(in_flight, true), call);
                consume(&mut results, every, warm_up).await;
                consume(&mut results, every, length).await
            })
        });
    }
}

/// Records stamped with the milliseconds since the start, and watermarks that follow them.
fn clocked(watermark_every: Option<Duration>) -> impl Stream<Item = Element<u64>> + Send {
    let start = Instant::now();
    let (mut record, mut watermarks) = (0, 0);
    poll_fn(move |_| {
        let elapsed = start.elapsed();
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        if watermark_every.is_some_and(|every| elapsed >= every * (watermarks + 1)) {
            watermarks += 1;
            return Poll::Ready(Some(Element::Watermark(Timestamp(millis - 1))));
        }
        record += 1;
        Poll::Ready(Some(Element::at(millis, record)))
    })
}

async fn consume<E>(
    results: &mut AsyncStream<u64, u64, E>,
    snapshot_every: Option<Duration>,
    length: Duration,
) -> Sample
where
    E: Send + 'static,
{
    let window = Window::open();
    let (mut records, mut snapshots) = (0, 0);
    while !window.is_over(length) {
        results.next().await;
        records += 1;
        if snapshot_every.is_some_and(|every| window.is_over(every * (snapshots + 1))) {
            snapshots += 1;
            let snapshot = results.snapshot().await.expect("the operator lives");
            assert!(!snapshot.elements.is_empty(), "calls are in flight");
        }
    }
    window.close(records)
}
