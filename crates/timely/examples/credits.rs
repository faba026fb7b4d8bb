//! A source that could produce millions of records a second, before calls of 10 ms, a thousand at a time: what it costs in memory, with
//! credits and without.
//!
//! `cargo run --release -p inflight-timely --example credits`

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use inflight::{Completed, Options};
use inflight_timely::AsyncWait;
use inflight_timely::flow::{Produced, sink, source};
use timely::worker::Worker;
use tokio::runtime::Handle;

const SECONDS: u64 = 4;
const CREDITS: u64 = 20_000;
const AT_ONCE: u64 = 4_096;
const RECORD: usize = 100;

type Record = Box<[u8; RECORD]>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = runtime.handle().clone();
    timely::execute_directly(move |worker| {
        // Peak memory only ever grows: the frugal one goes first.
        run(worker, &handle, "with credits", CREDITS);
        run(worker, &handle, "without", u64::MAX);
    });
    Ok(())
}

fn run(worker: &mut Worker, handle: &Handle, name: &str, credits: u64) {
    let (produced, consumed) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
    let (count_in, count_out) = (Rc::clone(&produced), Rc::clone(&consumed));
    let produce = move |room: u64| {
        let records = room.min(AT_ONCE);
        count_in.set(count_in.get() + records);
        Produced::Records((0..records).map(|_| Box::new([0; RECORD])).collect())
    };
    let consume = move |waiting: &mut VecDeque<Completed<Record, usize, ()>>| {
        count_out.set(count_out.get() + waiting.len() as u64);
        waiting.clear();
    };
    let lookup = |record: Record| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok::<_, ()>(record.len())
    };

    let index = worker.next_dataflow_index();
    worker.dataflow::<u64, _, _>(|scope| {
        let (records, returned) = source(scope, credits, |_| produce);
        let waited = records.unordered_wait(handle, lookup, Options::new().capacity(1_000));
        sink(waited.results, returned, |_| 0, |_| consume);
    });
    let (started, mut most) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(SECONDS) {
        worker.step_or_park(None);
        most = most.max(produced.get() - consumed.get());
    }
    println!(
        "{name:>12}: {:>9} produced, {:>7} consumed, {most:>9} in between at most, peak memory {:>5} MiB",
        produced.get(),
        consumed.get(),
        peak_memory() / 1024
    );
    worker.drop_dataflow(index);
}

/// In KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
