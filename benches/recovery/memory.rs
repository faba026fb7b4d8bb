//! Memory over many records, one look-up in a hundred of a second.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use inflight::Order;
use inflight_timely::pipeline::install;
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::worker::Worker;

use crate::Effort;
use crate::numbers::{Counter, Load, Seen, pipeline};

/// One in a hundred of them takes a second, so some 6,000 are in flight at 600,000 records/s.
const IN_FLIGHT: usize = 10_000;

pub(crate) fn print(effort: &Effort) {
    let records = effort.records;
    println!(
        "\n### Memory over {records} records, 1 % of the look-ups take 1 s, a checkpoint every second, one worker\n"
    );
    println!("| records | resident MiB |");
    println!("|---|---|");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), Some(Instant::now()));
    let seen = Arc::new(Seen::default());
    let load = Load {
        in_flight: IN_FLIGHT,
        latency: Duration::from_secs(1),
        every: Some(Duration::from_secs(1)),
        order: Order::Unordered,
        skew: None,
    };
    let forever = Instant::now() + Duration::from_secs(24 * 3600);
    let pipeline = pipeline(load, 1, forever, Counter::of(&seen));
    let installed = install(&mut worker, pipeline, runtime.handle()).expect("nothing is restored");
    let mut next = records / 10;
    installed.run(&mut worker, |_| {
        let so_far = seen.records.load(Ordering::Relaxed);
        if so_far >= next {
            println!("| {so_far} | {:.1} |", resident() as f64 / f64::from(1 << 20));
            next += records / 10;
        }
        if so_far >= records { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("memory is measured on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number of kB");
    kib * 1024
}
