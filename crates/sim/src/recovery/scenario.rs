//! What a seed stands for.

use std::fmt;
use std::time::Duration;

use inflight::Order;

use crate::Rng;

/// Most workers of a run.
pub(super) const WORKERS: u64 = 3;

/// A pipeline, its records, and how its world behaves.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What everything follows from.
    pub seed: u64,
    /// How many records each partition has.
    pub partitions: Vec<u64>,
    /// Steps by stage.
    pub stages: Vec<Vec<Step>>,
    /// Calls are made for batches.
    pub batched: bool,
    /// The sink gets each partition in its order.
    pub ordered: bool,
    /// Of each worker.
    pub credits: u64,
    /// Between two epochs.
    pub every: Duration,
    /// A writer of its own, with room for so many records; none: the sink writes by itself.
    pub writer: Option<usize>,
    /// The writer makes each record durable at once, and the next run is told of those behind the checkpoint.
    pub journal: bool,
    /// All runs have one worker.
    pub alone: bool,
}

/// One look-up.
#[derive(Clone, Debug)]
pub struct Step {
    /// In which order records leave it.
    pub order: Order,
    /// Its keys are the numbers below this.
    pub keys: Option<u64>,
    /// Records held at most.
    pub capacity: usize,
    /// Calls on the wire at most.
    pub concurrency: usize,
    /// Most records of a call.
    pub batch: usize,
    /// How long a batch waits to be filled.
    pub linger: Duration,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// For all of them.
    pub deadline: Option<Duration>,
    /// Retries at most, if any, and the wait before.
    pub retry: Option<(u32, Duration)>,
    /// How its service behaves.
    pub service: Service,
}

/// How a service behaves.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Most calls take at most so long.
    pub takes: Duration,
    /// One call in so many takes several epochs; 0: none.
    pub slow: u64,
    /// Those take at most so long.
    pub slow_takes: Duration,
    /// One call in so many fails; 0: none.
    pub fails: u64,
    /// One call in so many never ends; 0: none.
    pub hangs: u64,
}

impl Scenario {
    /// That of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x005E_ED0F_CAFE);
        let rng = &mut rng;
        let batched = rng.one_in(3);
        // Everything else is measured by it, or there would be thousands of epochs.
        let every = Duration::from_millis(rng.pick(&[1, 2, 20, 500]));
        // The pipeline deals 64 records of a partition to one worker before it comes to the next.
        let records = |rng: &mut Rng| match rng.below(12) {
            0 => 0,
            1 => rng.within(60, 140),
            _ => rng.within(1, 12),
        };
        let partitions = (0..rng.within(1, 3)).map(|_| records(rng)).collect();
        let stages = (0..rng.within(1, 2)).map(|_| {
            let steps = if rng.one_in(3) { 2 } else { 1 };
            (0..steps).map(|_| Step::new(rng, batched, every)).collect()
        });
        Self {
            seed,
            partitions,
            stages: stages.collect(),
            batched,
            ordered: rng.one_in(2),
            credits: rng.pick(&[1, 3, 8, 20, 100]),
            every,
            writer: (!rng.one_in(3)).then(|| rng.pick(&[1, 4, 64])),
            alone: rng.one_in(6),
            journal: rng.one_in(4),
        }
    }

    /// All steps, counted through.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flatten()
    }

    /// All records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions.iter().sum()
    }
}

impl Step {
    fn new(rng: &mut Rng, batched: bool, every: Duration) -> Self {
        let order = rng.pick(&[Order::Ordered, Order::Unordered, Order::KeyOrdered, Order::KeySerial]);
        let capacity = rng.pick(&[1, 2, 4, 16, 100]);
        let timeout = rng.one_in(2).then(|| rng.pick(&[every / 2, every * 2, every * 6]));
        let deadline = rng.one_in(3).then(|| rng.pick(&[every, every * 5, every * 15]));
        let often = |rng: &mut Rng| rng.pick(&[0, 0, 4, 12]);
        Self {
            order,
            keys: (order.is_keyed() || rng.one_in(4)).then(|| rng.pick(&[1, 3, 50])),
            capacity,
            concurrency: 1 + rng.below(capacity as u64) as usize,
            batch: if batched { rng.pick(&[1, 2, 5]) } else { 1 },
            linger: rng.pick(&[Duration::ZERO, every / 4, every * 2]),
            timeout,
            deadline,
            retry: rng.one_in(2).then(|| (rng.within(1, 3) as u32, rng.pick(&[Duration::ZERO, every / 4, every * 3]))),
            service: Service {
                takes: rng.pick(&[Duration::ZERO, every / 2, every * 2]),
                slow: rng.pick(&[0, 0, 0, 12]),
                slow_takes: every * 15,
                fails: often(rng),
                hangs: if timeout.is_some() || deadline.is_some() { often(rng) } else { 0 },
            },
        }
    }

    /// Attempts at most.
    pub(super) fn attempts(&self) -> u32 {
        1 + self.retry.map_or(0, |(retries, _)| retries)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#?}")
    }
}
