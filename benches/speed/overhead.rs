//! Overhead: calls that cost nothing.

use std::future::Future;

use inflight::{Concurrency, Destination, DestinationOptions, Order};

use crate::calls::{Answer, ready, yields_once};
use crate::grid::{Effort, Grid};
use crate::subjects::{Futures, Place, futures, operator, options, sized};
use crate::{core_destination, core_queue};

pub(crate) fn print(effort: &Effort) {
    for threads in [1, 2] {
        let place = Place::new(threads);
        let mut grid = Grid::new(format!("Overhead, {}: CPU ns per record", place.name()), "");
        for capacity in [100, 1000] {
            add(&mut grid, effort, &place, &format!("ready, {capacity}"), capacity, ready);
            add(&mut grid, effort, &place, &format!("yields once, {capacity}"), capacity, yields_once);
        }
        grid.measure(effort).print(|_, sample| format!("{:.0}", sample.nanos));
    }
}

fn add<F, Fut>(grid: &mut Grid, effort: &Effort, place: &Place, column: &str, capacity: usize, function: F)
where
    F: Fn(u64) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let warm_up = 4 * capacity as u64 + 2_000;
    for order in [Order::Unordered, Order::Ordered, Order::KeyOrdered, Order::KeySerial] {
        for limited in [true, false] {
            let row = format!("inflight {order:?}, {}", if limited { "deadline" } else { "no deadline" });
            let place = place.clone();
            let run = move |records| {
                place.count(move || operator(order, options(capacity, limited), function), warm_up, records)
            };
            grid.add(&row, column, sized(effort.work, run));
        }
    }
    for order in [Order::Unordered, Order::Ordered] {
        let row = format!("inflight {order:?}, deadline, destination");
        let place = place.clone();
        let run = move |records| {
            let with_destination = move || {
                let destination = Destination::new(DestinationOptions::new(Concurrency::Fixed(capacity)));
                let destination = destination.unwrap_or_else(|error| unreachable!("the options are sound: {error}"));
                operator(order, options(capacity, true).destination(destination), function)
            };
            place.count(with_destination, warm_up, records)
        };
        grid.add(&row, column, sized(effort.work, run));
    }
    for order in [Order::Unordered, Order::Ordered] {
        let row = format!("... its queue alone, {order:?}, deadline");
        grid.add(&row, column, sized(effort.work, move |records| core_queue::rounds(order, 64, records)));
    }
    for (name, concurrency) in
        [("fixed", Concurrency::Fixed(capacity)), ("`auto`", Concurrency::Auto { min: 1, max: capacity })]
    {
        let row = format!("... a destination alone, {name}");
        grid.add(&row, column, sized(effort.work, move |records| core_destination::rounds(concurrency, 64, records)));
    }
    for how in [Futures::Plain, Futures::Timeout, Futures::Spawned] {
        for ordered in [false, true] {
            let name = if ordered { "buffered" } else { "buffer_unordered" };
            let row = match how {
                Futures::Plain => format!("`{name}`"),
                Futures::Timeout => format!("`{name}` of `tokio::time::timeout`"),
                Futures::Spawned => format!("`{name}` of `tokio::spawn`"),
            };
            let place = place.clone();
            let run = move |records| place.count(move || futures(ordered, how, capacity, function), warm_up, records);
            grid.add(&row, column, sized(effort.work, run));
        }
    }
}
