//! A client that always has more to ask, and a server of some shape: what a limit on calls makes of the two.
//!
//! The server has workers that take calls first come, first served. Six shapes, and how long a call takes of a worker:
//!
//! | shape | workers | a call takes |
//! |---|---|---|
//! | constant | one for each call | 10 ms |
//! | knee | 16 | 10 ms on average, exponentially distributed |
//! | thrashing | 16 | the same, and the more the more calls are there, from 64 on |
//! | bimodal | 16 | 2 ms, and each tenth 82 ms |
//! | halves | 32, later 16 | as knee |
//! | doubles | 16, later 32 | as knee |

use core::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use inflight_core::{Concurrency, Destination, DestinationOptions, Time, Verdict};

use crate::Rng;

const MS: f64 = 1e6;
const SECOND: f64 = 1e9;

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Shape {
    Constant,
    Knee,
    Thrashing,
    Bimodal,
    Halves,
    Doubles,
}

impl Shape {
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::Constant, Self::Knee, Self::Thrashing, Self::Bimodal, Self::Halves, Self::Doubles];

    fn workers(self, late: bool) -> usize {
        match (self, late) {
            (Self::Constant, _) => usize::MAX,
            (Self::Halves, false) | (Self::Doubles, true) => 32,
            _ => 16,
        }
    }

    /// In nanoseconds.
    fn takes(self, rng: &mut Rng, there: usize) -> f64 {
        let mut exponential = || -(1.0 - uniform(rng)).ln() * 10.0 * MS;
        match self {
            Self::Constant => 10.0 * MS,
            Self::Thrashing => exponential() * (1.0 + there.saturating_sub(64) as f64 / 64.0),
            Self::Bimodal => (if uniform(rng) < 0.9 { 2.0 } else { 82.0 }) * MS,
            Self::Knee | Self::Halves | Self::Doubles => exponential(),
        }
    }
}

/// At least 0, less than 1.
fn uniform(rng: &mut Rng) -> f64 {
    (rng.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// What came of a span of time.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Answers per second.
    pub throughput: f64,
    /// Half of the calls were faster, in milliseconds.
    pub p50: f64,
}

/// One run of so many seconds; a server that changes does so in the middle.
#[derive(Clone, Copy, Debug)]
pub struct ClosedLoop {
    /// The server.
    pub shape: Shape,
    /// The client's limit.
    pub concurrency: Concurrency,
    /// What happens by chance.
    pub seed: u64,
    /// How long.
    pub seconds: f64,
}

impl ClosedLoop {
    /// Lives through it, and measures between these shares of the time. `limits` is told each limit, and since when it held.
    ///
    /// # Panics
    /// If the concurrency is refused.
    pub fn run(&self, between: (f64, f64), mut limits: impl FnMut(f64, usize)) -> Measured {
        let mut options = DestinationOptions::new(self.concurrency);
        options.breaker = None;
        let mut destination = Destination::new(options).expect("a sound concurrency");
        let mut rng = Rng::new(self.seed);
        let (mut working, mut waiting, mut times) = (BinaryHeap::new(), VecDeque::new(), Vec::new());
        let (mut now, mut limit, end) = (0_u64, 0, self.seconds * SECOND);
        let mut calls = Vec::new();
        loop {
            while let Ok(permit) = destination.admit(Time::from_nanos(now)) {
                waiting.push_back(calls.len());
                calls.push(Some(permit));
            }
            if destination.limit() != limit {
                limit = destination.limit();
                limits(now as f64 / SECOND, limit);
            }
            let there = working.len() + waiting.len();
            while working.len() < self.shape.workers(now as f64 > end / 2.0)
                && let Some(call) = waiting.pop_front()
            {
                working.push(Reverse((now + self.shape.takes(&mut rng, there) as u64, call)));
            }
            let Some(Reverse((at, call))) = working.pop() else { break };
            now = at;
            if now as f64 > end {
                break;
            }
            let Some(mut permit) = calls[call].take() else { break };
            let at = Time::from_nanos(now);
            if (between.0 * end..between.1 * end).contains(&(now as f64)) {
                times.push(at.since(permit.started()).as_nanos() as f64 / MS);
            }
            destination.judge(at, &mut permit, Verdict::Good, 1);
            destination.release(at, permit);
        }
        times.sort_by(f64::total_cmp);
        let throughput = times.len() as f64 / ((between.1 - between.0) * self.seconds);
        Measured { throughput, p50: times.get(times.len() / 2).copied().unwrap_or_default() }
    }
}
