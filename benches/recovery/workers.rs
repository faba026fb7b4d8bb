//! One worker, two threads, two processes.

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use inflight::Order;
use inflight_timely::cluster::{Layout, execute};
use inflight_timely::pipeline::install;

use crate::Effort;
use crate::numbers::{Counter, Load, Seen, Watch, pipeline};

/// What the second process is started with.
pub(crate) const CHILD: &str = "--process-1";

#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    processes: usize,
    workers: usize,
}

const PLACES: [Place; 3] = [
    Place { name: "1 process, 1 worker", processes: 1, workers: 1 },
    Place { name: "1 process, 2 workers", processes: 1, workers: 2 },
    Place { name: "2 processes, 1 worker each", processes: 2, workers: 1 },
];

pub(crate) fn print(effort: &Effort) {
    println!("\n### Workers: records/s in all, 100-byte records dealt to all workers, all results to one sink\n");
    println!("| look-ups | {} |", PLACES.map(|place| place.name).join(" | "));
    println!("|---|{}", "---|".repeat(PLACES.len()));
    for (name, load) in loads() {
        let mut rounds = [const { Vec::new() }; PLACES.len()];
        for _ in 0..effort.rounds {
            for (samples, place) in rounds.iter_mut().zip(PLACES) {
                samples.push(measure(place, load, effort.window));
            }
        }
        let medians = rounds.map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            format!("{:.0}", samples[samples.len() / 2])
        });
        println!("| {name} | {} |", medians.join(" | "));
    }
}

fn loads() -> [(&'static str, Load); 6] {
    let load = |latency, in_flight| Load {
        in_flight,
        latency: Duration::from_millis(latency),
        every: None,
        order: Order::Unordered,
        skew: None,
    };
    let keyed = |order, skew| Load { order, skew: Some(skew), ..load(1, 1_000) };
    let ordered = Load { order: Order::Ordered, every: Some(Duration::from_secs(1)), ..load(10, 10_000) };
    [
        ("ready at once, unordered", load(0, 1_000)),
        ("10 ms, 10,000 in flight on each worker, unordered", load(10, 10_000)),
        ("the same in order, a checkpoint every second", ordered),
        ("1 ms, 1,000 in flight on each worker, in order of 10,000 keys", keyed(Order::KeyOrdered, 0)),
        ("the same, 50 % of the records on one key", keyed(Order::KeyOrdered, 50)),
        ("the same, one call of a key at a time", keyed(Order::KeySerial, 50)),
    ]
}

fn measure(place: Place, load: Load, window: Duration) -> f64 {
    if place.processes == 1 {
        return run(Layout { workers: place.workers, ..Layout::default() }, load, window);
    }
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let hosts = ports.map(|port| port.local_addr().expect("it is bound").to_string());
    let which = loads().iter().position(|(_, other)| *other == load);
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([CHILD, &hosts.join(","), &which.unwrap_or(0).to_string(), &window.as_millis().to_string()])
        .spawn()
        .expect("it starts again");
    let rate = run(Layout { hosts: hosts.to_vec(), ..Layout::default() }, load, window);
    child.wait().expect("it is our child");
    rate
}

/// The second process: measures nothing.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().unwrap_or_default();
    let hosts = next().split(',').map(str::to_owned).collect();
    let load = loads()[next().parse::<usize>().unwrap_or(0)].1;
    let window = Duration::from_millis(next().parse().unwrap_or(1_000));
    run(Layout { process: 1, hosts, ..Layout::default() }, load, window);
    ExitCode::SUCCESS
}

/// Records per second at the sink; 0 in the process that has none.
fn run(layout: Layout, load: Load, window: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let lost = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&lost);
    let alarm = Arc::new(move |_: &str| flag.store(true, Ordering::SeqCst));
    let rates = execute(&layout, "numbers", alarm, |worker| {
        let seen = Arc::new(Seen::default());
        let mut watch = Watch::new(&seen, window);
        let pipeline = pipeline(load, worker.peers() as u32, watch.until(), Counter::of(&seen));
        install(worker, pipeline, runtime.handle())?.run(worker, |_| {
            watch.look();
            if lost.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok(watch.rate())
    });
    rates.expect("no process is lost")[0]
}
