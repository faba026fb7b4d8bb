//! Latency hiding: how much of Little's law is reached, concurrency / mean latency.

use std::sync::Arc;
use std::time::Duration;

use inflight::Order;

use crate::calls::Answer;
use crate::grid::{Effort, Grid};
use crate::measure::Sample;
use crate::service::{Latency, Service};
use crate::subjects::{Futures, Place, futures, operator, options};

const LATENCIES: [Latency; 3] =
    [Latency::Constant(Duration::from_millis(1)), Latency::Constant(Duration::from_millis(10)), Latency::Mix];

/// Capacity for each call on the wire, where order is kept and the latency has a tail.
const ROOM: usize = 64;

pub(crate) fn print(effort: &Effort) {
    let effort = &effort.few_windows();
    let sizes: &[usize] = if effort.small { &[100] } else { &[100, 1000, 10_000] };
    let place = Place::new(1);
    for latency in LATENCIES {
        let title =
            format!("Latency {}, a service thread: records/s, % of Little's law, CPU µs per record", latency.name());
        let mut grid = Grid::new(title, "calls in flight");
        for &in_flight in sizes {
            add(&mut grid, effort, &place, latency, in_flight);
        }
        grid.measure(effort).print(|column, sample| show(latency, column, sample));
    }
    for latency in LATENCIES {
        let title =
            format!("Latency {}, tokio's timers: records/s, % of Little's law, CPU µs per record", latency.name());
        let mut grid = Grid::new(title, "calls in flight");
        for &in_flight in sizes {
            add_timers(&mut grid, effort, &place, latency, in_flight);
        }
        grid.measure(effort).print(|column, sample| show(latency, column, sample));
    }
}

pub(crate) fn show(latency: Latency, column: &str, sample: Sample) -> String {
    let in_flight: f64 = column.parse().unwrap_or(f64::NAN);
    let share = sample.rate * latency.mean().as_secs_f64() / in_flight;
    format!("{:.1}k, {:.0}%, {:.2}", sample.rate / 1e3, share * 100.0, sample.nanos / 1e3)
}

/// A call of the service.
pub(crate) async fn serve(service: Arc<Service>, latency: Latency, record: u64) -> Answer {
    // The service ends only with its callers.
    let _ = service.call(latency.of(record)).await;
    Ok(record)
}

fn add(grid: &mut Grid, effort: &Effort, place: &Place, latency: Latency, in_flight: usize) {
    let column = in_flight.to_string();
    let Effort { warm_up, length, .. } = *effort;
    let call = move || {
        let service = Service::start();
        move |record| serve(Arc::clone(&service), latency, record)
    };
    for order in [Order::Unordered, Order::Ordered] {
        for limited in [true, false] {
            let here = place.clone();
            let make = move || operator(order, options(in_flight, limited), call());
            let row = format!("inflight {order:?}{}", if limited { ", deadline" } else { "" });
            grid.add(&row, &column, move || here.watch(make, warm_up, length));
        }
    }
    if latency == Latency::Mix {
        let here = place.clone();
        let make = move || operator(Order::Ordered, options(in_flight * ROOM, true).concurrency(in_flight), call());
        let row = format!("inflight Ordered, deadline, capacity {ROOM} x concurrency");
        grid.add(&row, &column, move || here.watch(make, warm_up, length));
    }
    for (name, ordered) in [("buffer_unordered", false), ("buffered", true)] {
        for how in [Futures::Plain, Futures::Timeout] {
            let of = if how == Futures::Timeout { " of `tokio::time::timeout`" } else { "" };
            let here = place.clone();
            let make = move || futures(ordered, how, in_flight, call());
            grid.add(&format!("`{name}`{of}"), &column, move || here.watch(make, warm_up, length));
        }
    }
    let here = place.clone();
    let make = move || futures(false, Futures::Plain, in_flight, call());
    grid.add("`buffer_unordered`, unconstrained", &column, move || here.watch_unconstrained(make, warm_up, length));
}

fn add_timers(grid: &mut Grid, effort: &Effort, place: &Place, latency: Latency, in_flight: usize) {
    let column = in_flight.to_string();
    let Effort { warm_up, length, .. } = *effort;
    let call = move |record| async move {
        tokio::time::sleep(latency.of(record)).await;
        Ok(record)
    };
    let here = place.clone();
    let make = move || operator(Order::Unordered, options(in_flight, true), call);
    grid.add("inflight Unordered, deadline", &column, move || here.watch(make, warm_up, length));
    let here = place.clone();
    let make = move || futures(false, Futures::Plain, in_flight, call);
    grid.add("`buffer_unordered`", &column, move || here.watch(make, warm_up, length));
    let here = place.clone();
    let make = move || futures(false, Futures::Spawned, in_flight, call);
    grid.add("`buffer_unordered` of `tokio::spawn`", &column, move || here.watch(make, warm_up, length));
}
