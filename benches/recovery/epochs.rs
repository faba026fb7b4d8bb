//! What checkpoints cost while a pipeline runs.

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
use crate::numbers::{Counter, Load, Look, Seen, Watch, pipeline};

const IN_FLIGHT: usize = 10_000;

pub(crate) fn print(effort: &Effort) {
    let columns = [None, Some(Duration::from_secs(1)), Some(Duration::from_millis(100))];
    println!("\n### Checkpoints with {IN_FLIGHT} look-ups of 10 ms in flight, one worker\n");
    println!("| order | every | records/s | of those without | CPU ns per record | checkpoints | carried | slowest |");
    println!("|---|---|---|---|---|---|---|---|");
    for order in [Order::Unordered, Order::Ordered] {
        let mut rounds = vec![Vec::new(); columns.len()];
        for _ in 0..effort.rounds {
            for (column, every) in columns.into_iter().enumerate() {
                let load = Load { in_flight: IN_FLIGHT, latency: Duration::from_millis(10), every, order, skew: None };
                rounds[column].push(measure(load, effort.window));
            }
        }
        let base = median(&rounds[0]).rate;
        for (every, samples) in columns.into_iter().zip(&rounds) {
            let sample = median(samples);
            let every = every.map_or_else(|| "never".to_owned(), |every| format!("{every:?}"));
            println!(
                "| {order:?} | {every} | {:.0} | {:.1} % | {:.0} | {} | {} | {:.1} ms |",
                sample.rate,
                100.0 * sample.rate / base,
                sample.cpu,
                sample.checkpoints,
                sample.carried,
                sample.slowest.as_secs_f64() * 1000.0,
            );
        }
    }
}

/// As many checkpoints as go, one after the other, while no look-up ends.
pub(crate) fn print_stuck(effort: &Effort) {
    println!("\n### Checkpoints while all look-ups hang, one after the other, one worker\n");
    println!("| in flight | records carried | ms from one checkpoint to the next | slowest file |");
    println!("|---|---|---|---|");
    for in_flight in [100, 1_000, IN_FLIGHT] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let allocator = Allocator::Thread(Thread::default());
        let mut worker = Worker::new(WorkerConfig::default(), allocator, Some(Instant::now()));
        let seen = Arc::new(Seen::default());
        let (latency, every) = (Duration::from_secs(600), Some(Duration::from_millis(1)));
        let load = Load { in_flight, latency, every, order: Order::Ordered, skew: None };
        let end = Instant::now() + effort.window;
        let installed = install(&mut worker, pipeline(load, 1, end, Counter::of(&seen)), runtime.handle());
        let begun = Instant::now();
        installed.expect("nothing is restored").run(&mut worker, |_| match Instant::now() < end {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        });
        let checkpoints = seen.checkpoints.load(Ordering::Relaxed) as f64;
        println!(
            "| {in_flight} | {} | {:.1} | {:.1} ms |",
            seen.carried.load(Ordering::Relaxed),
            begun.elapsed().as_secs_f64() * 1000.0 / checkpoints,
            seen.slowest.load(Ordering::Relaxed) as f64 / 1e6,
        );
    }
}

#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu: f64,
    checkpoints: u64,
    carried: u64,
    slowest: Duration,
}

/// By rate.
fn median(samples: &[Sample]) -> Sample {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    sorted[sorted.len() / 2]
}

fn measure(load: Load, window: Duration) -> Sample {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), Some(Instant::now()));
    let seen = Arc::new(Seen::default());
    let counter = Counter::of(&seen);
    let mut watch = Watch::new(&seen, window);
    let pipeline = pipeline(load, 1, watch.until(), counter);
    let installed = install(&mut worker, pipeline, runtime.handle()).expect("nothing is restored");
    let mut cpu = (Duration::ZERO, Duration::ZERO);
    installed.run(&mut worker, |_| {
        match watch.look() {
            Look::Begins => cpu.0 = cpu_time(),
            Look::Ends => cpu.1 = cpu_time(),
            Look::Goes => {}
        }
        ControlFlow::Continue(())
    });
    Sample {
        rate: watch.rate(),
        cpu: (cpu.1 - cpu.0).as_nanos() as f64 / watch.records() as f64,
        checkpoints: seen.checkpoints.load(Ordering::Relaxed),
        carried: seen.carried.load(Ordering::Relaxed),
        slowest: Duration::from_nanos(seen.slowest.load(Ordering::Relaxed)),
    }
}

/// CPU time of this process so far, user and system, all threads.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
