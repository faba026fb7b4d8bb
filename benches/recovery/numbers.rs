//! A pipeline of numbers: a source without end, one look-up that takes its time, a sink that counts.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use inflight::{AsyncFunction, Options, Order, Single};
use inflight_timely::pipeline::{
    Cut, Id, Partition, Pipeline, Position, Produced, Recovery, Row, Sink, Source, Stage, Step,
};
use serde::{Deserialize, Serialize};

/// A record of some hundred bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Number {
    partition: u32,
    number: u64,
    text: Arc<str>,
}

impl Row for Number {
    fn id(&self) -> Id {
        Id { partition: self.partition, number: self.number }
    }
}

/// One partition, without end.
pub(crate) struct Numbers {
    next: u64,
    partition: Option<u32>,
    text: Arc<str>,
}

/// Records produced at a time.
const BATCH: u64 = 512;

impl Numbers {
    pub(crate) fn new() -> Self {
        Self { next: 1, partition: None, text: "x".repeat(100).into() }
    }
}

impl Source<Number> for Numbers {
    fn assign(&mut self, partition: Partition) {
        self.partition = Some(partition.index);
    }

    fn produce(&mut self, most: u64) -> Produced<Number> {
        let Some(partition) = self.partition else { return Produced::Nothing };
        let first = self.next;
        self.next += most.min(BATCH);
        let number = |number| Number { partition, number, text: Arc::clone(&self.text) };
        Produced::Records((first..self.next).map(number).collect())
    }

    fn positions(&mut self) -> Vec<Position> {
        let at = (self.next - 1).to_string();
        self.partition.map(|partition| Position { partition, at }).into_iter().collect()
    }
}

/// Answers after a while.
pub(crate) struct Sleepy(pub(crate) Duration);

impl AsyncFunction<Number> for Sleepy {
    type Output = u64;
    type Error = String;

    async fn invoke(&self, number: Number) -> Result<u64, String> {
        tokio::time::sleep(self.0).await;
        Ok(number.number)
    }
}

/// What a run shows.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) records: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    /// Nanoseconds from the cut to the durable file, of the slowest.
    pub(crate) slowest: AtomicU64,
    pub(crate) carried: AtomicU64,
    completed: AtomicU64,
}

/// Counts, and makes real checkpoints: encoded, written and synced by a thread of their own.
pub(crate) struct Counter {
    pub(crate) seen: Arc<Seen>,
    pub(crate) file: PathBuf,
    pub(crate) waker: Waker,
}

impl Sink<Number> for Counter {
    fn take(&mut self, records: &mut VecDeque<Number>) {
        self.seen.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        records.clear();
    }

    fn checkpoint(&mut self, cut: Cut) {
        let (seen, path, waker, started) =
            (Arc::clone(&self.seen), self.file.clone(), self.waker.clone(), Instant::now());
        std::thread::spawn(move || {
            let bytes = (cut.encode)().expect("numbers can be encoded");
            let mut file = File::create(path).expect("the file can be made");
            file.write_all(&bytes).and_then(|()| file.sync_all()).expect("the file can be written");
            seen.slowest.fetch_max(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
            seen.carried.store(cut.carried, Ordering::Relaxed);
            seen.checkpoints.fetch_add(1, Ordering::Relaxed);
            seen.completed.store(cut.epoch, Ordering::Release);
            waker.wake();
        });
    }

    fn completed(&mut self) -> Option<u64> {
        Some(self.seen.completed.load(Ordering::Acquire))
    }
}

/// So many look-ups in flight, each of so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) latency: Duration,
    pub(crate) every: Option<Duration>,
    pub(crate) order: Order,
}

pub(crate) fn pipeline(
    load: Load,
    partitions: u32,
    sink: impl FnOnce(Waker) -> Counter + 'static,
) -> Pipeline<Number, Sleepy, Single> {
    let step = Step {
        function: Sleepy(load.latency),
        order: load.order,
        key: None,
        options: Options::new().capacity(load.in_flight).concurrency(load.in_flight),
    };
    let partition = |index: u32| Partition { index, name: index.to_string(), position: None };
    Pipeline {
        credits: 2 * load.in_flight as u64,
        source: Box::new(|_| Box::new(Numbers::new())),
        stages: vec![Stage { steps: vec![step], join: Box::new(|parts| Some(parts.into_iter().next()?.input)) }],
        sink: Box::new(|waker| Box::new(sink(waker))),
        ordered: load.order == Order::Ordered,
        partitions: (0..partitions).map(partition).collect(),
        recovery: load.every.map(|every| Recovery { every, restored: None }),
    }
}
