//! The operator, and sources with credits, in real dataflows: tokio's timers and other threads wake the calls.

mod clients;
mod epochs;
mod event_time;
mod exchanges;
mod failures;
mod flow;
mod orders;
mod recovery;
mod wakes;
mod workers;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use inflight_timely::Waited;
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::{Input, Inspect};
use timely::worker::Worker;
use tokio::runtime::{Builder, Runtime};

/// Its one thread runs reactor and timers; the worker is the test's own.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Does something with a worker on this thread.
fn on_a_worker<R>(act: impl FnOnce(&mut Worker) -> R) -> R {
    let allocator = Allocator::Thread(Thread::default());
    act(&mut Worker::new(WorkerConfig::default(), allocator, Some(Instant::now())))
}

/// Runs batches of records through an operator, to the end: what came out, in order.
fn outcomes<I: Clone + 'static, D: Clone + 'static, E>(
    batches: Vec<Vec<I>>,
    operator: impl for<'s> FnOnce(StreamVec<'s, u64, I>) -> Waited<'s, u64, D, E>,
) -> Vec<D> {
    on_a_worker(move |worker| {
        let (mut input, out) = worker.dataflow(|scope| {
            let (input, records) = scope.new_input();
            (input, collected(operator(records).results))
        });
        for mut batch in batches {
            input.send_batch(&mut batch);
        }
        input.close();
        finish(worker);
        out.take()
    })
}

fn collected<D: Clone + 'static>(stream: StreamVec<'_, u64, D>) -> Rc<RefCell<Vec<D>>> {
    let out = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&out);
    stream.inspect(move |record| into.borrow_mut().push(record.clone()));
    out
}

/// Until all dataflows have ended.
fn finish(worker: &mut Worker) {
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
}

/// Until nothing more happens by itself.
fn settle(worker: &mut Worker) {
    for _ in 0..50 {
        worker.step();
    }
}
