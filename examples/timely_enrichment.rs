//! Enrichment inside a dataflow of timely: orders come in, a directory is asked for each customer's name, and orders go on in their
//! order, at most a thousand of them on their way at any time.
//!
//! `cargo run -p inflight-timely --example timely_enrichment`

use std::collections::VecDeque;
use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use inflight::{AsyncFunction, Completed, Options, Retry};
use inflight_timely::AsyncWait;
use inflight_timely::flow::{Produced, sink, source};

const ORDERS: u64 = 2_000;

#[derive(Clone, Debug)]
struct Order {
    number: u64,
    customer: u64,
}

/// Stands for a remote service: it takes 10 ms, and does not know every customer.
struct Directory;

impl AsyncFunction<Order> for Directory {
    type Output = String;
    type Error = Error;

    async fn invoke(&self, order: Order) -> Result<String, Error> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match order.customer {
            13 => Err(Error::new(ErrorKind::NotFound, "no such customer")),
            customer => Ok(format!("customer {customer}")),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Timers and sockets have a thread of their own, since the worker sleeps when it has nothing to do.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = runtime.handle().clone();

    let started = Instant::now();
    let mut orders = (0..ORDERS).map(|number| Order { number, customer: number % 40 });
    let produce = move |room: u64| {
        let batch = Vec::from_iter(orders.by_ref().take(room as usize));
        if batch.is_empty() { Produced::End } else { Produced::Records(batch) }
    };
    let consume = |waiting: &mut VecDeque<Completed<Order, String, Error>>| {
        for Completed { input, result, attempts, .. } in waiting.drain(..).filter(|done| done.input.number % 333 == 13)
        {
            match result {
                Ok(name) => println!("order {:>4}: {name}", input.number),
                Err(cause) => println!("order {:>4}: {cause} (asked {attempts} times)", input.number),
            }
        }
    };

    timely::execute_directly(move |worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let options = Options::new()
                .capacity(500)
                .concurrency(100)
                .deadline(Duration::from_secs(5))
                .retry(Retry::fixed(3, Duration::from_millis(5)));
            let (orders, credits) = source(scope, 1_000, |_| produce);
            let named = orders.ordered_wait(&handle, Directory, options);
            sink(named.results, credits, |_| 0, |_| consume);
        });
    });
    println!("{ORDERS} look-ups of 10 ms each took {:.1?}", started.elapsed());
    Ok(())
}
