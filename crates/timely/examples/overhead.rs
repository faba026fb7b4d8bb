//! What the operator costs inside a dataflow: CPU time per record, against the same dataflow with a plain `map`.
//!
//! `cargo run --release -p inflight-timely --example overhead`, with a part of a name at the end for less than all.

use std::future::poll_fn;
use std::hint::black_box;
use std::task::Poll;
use std::time::Duration;

use inflight::{Completed, Options, Order};
use inflight_timely::AsyncWait;
use rustix::time::{ClockId, clock_gettime};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Input, Inspect};
use timely::worker::Worker;
use tokio::runtime::Handle;

const RECORDS: u64 = 4_000_000;
const BATCH: u64 = 512;
const CAPACITY: usize = 1_000;
const ROUNDS: usize = 5;

type Subject = (&'static str, Box<dyn Fn(&mut Worker, &Handle) -> f64 + Send + Sync>);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = runtime.handle().clone();
    timely::execute_directly(move |worker| {
        let wanted = std::env::args().nth(1).unwrap_or_default();
        let subjects = Vec::from_iter(subjects().into_iter().filter(|(name, _)| name.contains(&wanted)));
        let mut samples = vec![Vec::new(); subjects.len()];
        for _ in 0..ROUNDS {
            for (subject, samples) in subjects.iter().zip(&mut samples) {
                samples.push((subject.1)(worker, &handle));
            }
        }
        println!(
            "CPU ns per record, median of {ROUNDS} rounds of {RECORDS} records; capacity {CAPACITY}, batches of {BATCH}"
        );
        for ((name, _), samples) in subjects.iter().zip(&mut samples) {
            samples.sort_by(f64::total_cmp);
            println!("{:6.1}  {name}", samples[ROUNDS / 2]);
        }
    });
    Ok(())
}

fn subjects() -> Vec<Subject> {
    let mut subjects: Vec<Subject> = vec![
        ("map", Box::new(|worker, _| measure(worker, |records| discard(records.map(|number| number + 1))))),
        ("map to the same results", Box::new(|worker, _| measure(worker, |records| discard(records.map(completed))))),
    ];
    for (name, order, deadline) in [
        ("ready, unordered", Order::Unordered, false),
        ("ready, unordered, deadline", Order::Unordered, true),
        ("ready, ordered", Order::Ordered, false),
        ("ready, ordered, deadline", Order::Ordered, true),
    ] {
        let run = move |worker: &mut Worker, handle: &Handle| {
            let ready = |number: u64| async move { Ok::<_, ()>(number + 1) };
            measure(worker, |records| discard(records.wait(handle, order, None, ready, options(deadline)).results))
        };
        subjects.push((name, Box::new(run)));
    }
    for (name, order, deadline) in [
        ("yields once, unordered", Order::Unordered, false),
        ("yields once, unordered, deadline", Order::Unordered, true),
        ("yields once, ordered", Order::Ordered, false),
        ("yields once, ordered, deadline", Order::Ordered, true),
    ] {
        let run = move |worker: &mut Worker, handle: &Handle| {
            measure(worker, |records| {
                discard(records.wait(handle, order, None, yields_once, options(deadline)).results)
            })
        };
        subjects.push((name, Box::new(run)));
    }
    subjects
}

async fn yields_once(number: u64) -> Result<u64, ()> {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    Ok(number + 1)
}

const fn options(deadline: bool) -> Options<u64, u64, ()> {
    let options = Options::new().capacity(CAPACITY);
    if deadline { options.deadline(Duration::from_secs(60)) } else { options }
}

const fn completed(input: u64) -> Completed<u64, u64, ()> {
    Completed { input, timestamp: None, result: Ok(input + 1), attempts: 1, elapsed: Duration::ZERO }
}

fn discard<D: 'static>(records: StreamVec<'_, u64, D>) {
    records.inspect(|record| {
        black_box(record);
    });
}

/// CPU nanoseconds per record of a dataflow, with an epoch for each batch.
fn measure(worker: &mut Worker, build: impl for<'s> FnOnce(StreamVec<'s, u64, u64>)) -> f64 {
    let mut input = worker.dataflow::<u64, _, _>(|scope| {
        let (input, records) = scope.new_input();
        build(records);
        input
    });
    let before = cpu_time();
    for first in (0..RECORDS).step_by(BATCH as usize) {
        input.send_batch(&mut (first..first + BATCH).collect());
        input.advance_to(first / BATCH + 1);
        worker.step();
    }
    input.close();
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
    (cpu_time() - before).as_nanos() as f64 / RECORDS as f64
}

/// Of the whole process: the runtime's thread counts, too.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
