//! A pipeline of numbers: a source without end, one look-up that takes its time, a sink that counts.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use inflight::driver::hashed;
use inflight::{AsyncFunction, Options, Order, Single};
use inflight_timely::pipeline::{
    Cut, Id, Partition, Pipeline, Position, Produced, Readers, Recovery, Row, Sink, Source, Stage, Step,
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

/// One partition, until it is time.
pub(crate) struct Numbers {
    until: Instant,
    next: u64,
    partition: Option<u32>,
    text: Arc<str>,
}

/// Records produced at a time.
const BATCH: u64 = 512;

impl Numbers {
    fn new(until: Instant) -> Self {
        Self { until, next: 1, partition: None, text: "x".repeat(100).into() }
    }
}

impl Source<Number> for Numbers {
    fn assign(&mut self, partition: Partition) {
        self.partition = Some(partition.index);
    }

    fn produce(&mut self, most: u64) -> Produced<Number> {
        let Some(partition) = self.partition.filter(|_| Instant::now() < self.until) else { return Produced::End };
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

/// Answers after a while, or at once. One second is for one in a hundred, the others are ready.
pub(crate) struct Sleepy(Duration);

const RARE: Duration = Duration::from_secs(1);

impl AsyncFunction<Number> for Sleepy {
    type Output = u64;
    type Error = String;

    async fn invoke(&self, number: Number) -> Result<u64, String> {
        if !self.0.is_zero() && (self.0 != RARE || number.number.is_multiple_of(100)) {
            tokio::time::sleep(self.0).await;
        }
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
    seen: Arc<Seen>,
    file: PathBuf,
    waker: Waker,
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

impl Counter {
    pub(crate) fn of(seen: &Arc<Seen>) -> impl FnOnce(Waker) -> Self + use<> {
        let seen = Arc::clone(seen);
        let file = std::env::temp_dir().join(format!("inflight-bench-{}", std::process::id()));
        move |waker| Self { seen, file, waker }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Without checkpoints there is none.
        drop(std::fs::remove_file(&self.file));
    }
}

/// Watches the sink for a window of time, after a warm-up.
pub(crate) struct Watch {
    seen: Arc<Seen>,
    window: Duration,
    begins: Instant,
    begun: Option<(Instant, u64)>,
    ended: Option<(Instant, u64)>,
}

/// What a look at the clock shows.
pub(crate) enum Look {
    Begins,
    Goes,
    Ends,
}

impl Watch {
    pub(crate) fn new(seen: &Arc<Seen>, window: Duration) -> Self {
        Self { seen: Arc::clone(seen), window, begins: Instant::now() + window / 4, begun: None, ended: None }
    }

    /// When the sources may end.
    pub(crate) fn until(&self) -> Instant {
        self.begins + self.window + self.window / 4
    }

    pub(crate) fn look(&mut self) -> Look {
        let (now, records) = (Instant::now(), self.seen.records.load(Ordering::Relaxed));
        match self.begun {
            None if now >= self.begins && records > 0 => {
                self.begun = Some((now, records));
                Look::Begins
            }
            Some((begun, _)) if self.ended.is_none() && now - begun >= self.window => {
                self.ended = Some((now, records));
                Look::Ends
            }
            _ => Look::Goes,
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.begun.zip(self.ended).map_or(0, |((_, before), (_, after))| after - before)
    }

    /// Records per second.
    pub(crate) fn rate(&self) -> f64 {
        let time = self.begun.zip(self.ended).map(|((begun, _), (ended, _))| ended - begun);
        self.records() as f64 / time.unwrap_or(Duration::MAX).as_secs_f64()
    }
}

/// So many look-ups in flight, each of so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) latency: Duration,
    pub(crate) every: Option<Duration>,
    pub(crate) order: Order,
    /// How many records in a hundred have the same key; the others have 10,000 keys.
    pub(crate) skew: Option<u64>,
}

impl Number {
    /// Numbers jump about, so that no worker has all keys of a batch.
    fn key(&self, skew: u64) -> u64 {
        let mixed = self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        if mixed % 100 < skew { 0 } else { 1 + mixed % 10_000 }
    }
}

pub(crate) fn pipeline(
    load: Load,
    partitions: u32,
    until: Instant,
    sink: impl FnOnce(Waker) -> Counter + 'static,
) -> Pipeline<Number, Sleepy, Single> {
    let step = Step {
        function: Sleepy(load.latency),
        order: load.order,
        key: load.skew.map(|skew| hashed(move |number: &Number| number.key(skew))),
        options: Options::new().capacity(load.in_flight).concurrency(load.in_flight),
    };
    let partition = |index: u32| Partition { index, name: index.to_string(), position: None };
    Pipeline {
        credits: 2 * load.in_flight as u64,
        source: Box::new(move |_| Box::new(Numbers::new(until))),
        stages: vec![Stage { steps: vec![step], join: Box::new(|parts| Some(parts.into_iter().next()?.input)) }],
        sink: Box::new(|waker| Box::new(sink(waker))),
        ordered: load.order == Order::Ordered,
        partitions: (0..partitions).map(partition).collect(),
        readers: Readers::All,
        recovery: load.every.map(|every| Recovery { every, carry: true, restored: None }),
    }
}
