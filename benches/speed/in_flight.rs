//! Cost versus the number in flight.

use std::sync::Arc;

use inflight::Order;

use crate::core_queue;
use crate::grid::{Effort, Grid};
use crate::lot::{Lot, Pick};
use crate::subjects::{Futures, Place, futures, operator, options, sized};

/// Of 64 that may end next, one stays behind so many with a chance of one in 10^28.
const BEHIND_THE_HEAD: usize = 4096;

pub(crate) fn print(effort: &Effort) {
    let sizes: &[usize] = if effort.small { &[128] } else { &[128, 1024, 8192, 65_536] };
    let place = Place::new(1);
    for pick in [Pick::Near, Pick::Any] {
        let which = match pick {
            Pick::Near => "any of the 64 oldest ends next",
            Pick::Any => "any ends next",
        };
        let mut grid = Grid::new(format!("Cost versus calls in flight, {which}: CPU ns per record"), "");
        for &in_flight in sizes {
            add(&mut grid, effort, &place, pick, in_flight);
        }
        grid.measure(effort).print(|_, sample| format!("{:.0}", sample.nanos));
    }
}

fn add(grid: &mut Grid, effort: &Effort, place: &Place, pick: Pick, in_flight: usize) {
    let column = in_flight.to_string();
    let warm_up = 3 * in_flight as u64;
    let call = move || {
        let lot = Lot::new(in_flight, pick);
        move |record| Arc::clone(&lot).park(record)
    };
    for order in [Order::Unordered, Order::Ordered] {
        let here = place.clone();
        // In order, only capacity beyond the concurrency keeps the wire full.
        let capacity = if order == Order::Ordered { in_flight + BEHIND_THE_HEAD } else { in_flight };
        let make = move || operator(order, options(capacity, true).concurrency(in_flight), call());
        let run = move |records| here.count(make, warm_up, records);
        // The head may wait for ever when any call may end next.
        if order == Order::Unordered || pick == Pick::Near {
            grid.add(&format!("inflight {order:?}, deadline"), &column, sized(effort.work, run));
        }
    }
    let run = move |records| core_queue::steady(Order::Unordered, in_flight, pick, records);
    grid.add("... its queue alone, Unordered, deadline", &column, sized(effort.work, run));
    for (row, how) in
        [("`buffer_unordered`", Futures::Plain), ("`buffer_unordered` of `tokio::time::timeout`", Futures::Timeout)]
    {
        let here = place.clone();
        let run = move |records| here.count(move || futures(false, how, in_flight, call()), warm_up, records);
        grid.add(row, &column, sized(effort.work, run));
    }
}
