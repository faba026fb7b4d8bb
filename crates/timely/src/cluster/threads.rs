//! The workers of a process, each on a thread of its own.

use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::zero_copy::allocator::TcpBuilder;
use timely::communication::allocator::{ProcessBuilder, Thread};
use timely::worker::Worker;

use super::alarm::Alarm;
use super::error::ClusterError;
use super::panics::caught;

/// What a worker's channels are made of; goes to its thread.
pub(super) enum Builder {
    /// It has nobody to talk to.
    Alone,
    /// To other threads of this process.
    Threads(ProcessBuilder),
    /// To other processes besides.
    Processes(TcpBuilder),
}

impl Builder {
    fn build(self) -> Allocator {
        match self {
            Self::Alone => Allocator::Thread(Thread::default()),
            Self::Threads(builder) => Allocator::Process(builder.build()),
            Self::Processes(builder) => Allocator::Tcp(builder.build()),
        }
    }
}

/// Runs the workers until all have returned, the first of them having this index: what they returned, `None` for those that failed.
pub(super) fn run<T: Send>(
    mut builders: Vec<Builder>,
    first: usize,
    alarm: &Arc<Alarm>,
    work: impl Fn(&mut Worker) -> Result<T, String> + Sync,
) -> Vec<Option<T>> {
    if matches!(builders[..], [Builder::Alone]) {
        return builders.pop().map(|builder| run_worker(builder, first, alarm, &work)).into_iter().collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let mut threads: Vec<ScopedJoinHandle<'_, Option<T>>> = Vec::new();
        for (index, builder) in (first..).zip(builders) {
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            match thread.spawn_scoped(scope, move || run_worker(builder, index, alarm, work)) {
                Ok(thread) => threads.push(thread),
                Err(error) => alarm.raise(ClusterError::no_thread(error)),
            }
        }
        threads.into_iter().map(|thread| thread.join().unwrap_or(None)).collect()
    })
}

/// One worker, on this thread. The worker is dropped only after the alarm: its peers must not take it for one that is done.
fn run_worker<T>(
    builder: Builder,
    index: usize,
    alarm: &Arc<Alarm>,
    work: &(impl Fn(&mut Worker) -> Result<T, String> + Sync),
) -> Option<T> {
    alarm.unpark_me();
    let result = live(builder, index, alarm, work);
    alarm.gone();
    result
}

fn live<T>(
    builder: Builder,
    index: usize,
    alarm: &Arc<Alarm>,
    work: &(impl Fn(&mut Worker) -> Result<T, String> + Sync),
) -> Option<T> {
    if alarm.lost().is_some() {
        return None;
    }
    let raise = |message| alarm.raise(ClusterError::Panicked { worker: index, message });
    let build = || Worker::new(WorkerConfig::default(), builder.build(), Some(Instant::now()));
    let mut worker = caught(alarm, build).map_err(raise).ok()?;
    let result = caught(alarm, || work_to_the_end(&mut worker, work)).map_err(raise);
    let result = result
        .ok()
        .and_then(|result| result.map_err(|why| alarm.raise(ClusterError::Failed { worker: index, why })).ok());
    // When its peers are gone, timely lets it panic.
    caught(alarm, || drop(worker)).map_err(raise).ok()?;
    result
}

fn work_to_the_end<T>(worker: &mut Worker, work: &impl Fn(&mut Worker) -> Result<T, String>) -> Result<T, String> {
    let result = work(worker)?;
    if worker.has_dataflows() && worker.peers() > 1 {
        return Err("it left its dataflows unfinished, which the others would wait for for ever".to_owned());
    }
    Ok(result)
}
