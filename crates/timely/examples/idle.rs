//! What a worker costs while it waits: calls of a second each are on the wire, and nothing else happens.
//!
//! `cargo run --release -p inflight-timely --example idle`

use std::time::{Duration, Instant};

use inflight::Options;
use inflight_timely::AsyncWait;
use rustix::time::{ClockId, clock_gettime};
use timely::dataflow::operators::ToStream;

const CALLS: u64 = 1_000;
const ROUNDS: u64 = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = runtime.handle().clone();
    timely::execute_directly(move |worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let slow = |number: u64| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, ()>(number)
            };
            let options = Options::new().capacity(CALLS as usize).deadline(Duration::from_secs(60));
            let numbers = (0..CALLS * ROUNDS).to_stream(scope).container::<Vec<_>>();
            let _waited = numbers.ordered_wait(&handle, slow, options);
        });
        let (started, before, mut steps) = (Instant::now(), cpu_time(), 0);
        while worker.has_dataflows() {
            worker.step_or_park(None);
            steps += 1;
        }
        let (cpu, wall) = (cpu_time() - before, started.elapsed());
        println!("{ROUNDS} times {CALLS} calls of one second each");
        println!(
            "{wall:.2?} of wall time, {cpu:.2?} of CPU time ({:.2} %)",
            100.0 * cpu.as_secs_f64() / wall.as_secs_f64()
        );
        println!("{steps} steps of the worker");
    });
    Ok(())
}

/// Of the whole process: the runtime's thread counts, too.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
