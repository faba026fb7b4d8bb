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

use inflight_core::{Concurrency, Destination, DestinationMutant, DestinationOptions, Permit, Time, Verdict};

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
    /// The bug of the client's destination.
    pub mutant: Option<DestinationMutant>,
}

/// Who asks.
struct Client {
    destination: Destination,
    starts: u64,
    limit: usize,
    /// How long its calls took that are measured, in milliseconds.
    times: Vec<f64>,
}

struct Call {
    client: usize,
    permit: Permit,
}

impl ClosedLoop {
    /// Lives through it, and measures between these shares of the time. `limits` is told each limit, and since when it held.
    ///
    /// # Panics
    /// If the concurrency is refused.
    pub fn run(&self, between: (f64, f64), mut limits: impl FnMut(f64, usize)) -> Measured {
        let measured = self.run_clients(&[0.0], between, |_, at, limit| limits(at, limit));
        measured.into_iter().next().expect("one client")
    }

    /// The same with several clients that know nothing of each other, and start at these seconds. `limits` is told whose it is.
    ///
    /// # Panics
    /// If the concurrency is refused.
    pub fn run_clients(
        &self,
        starts: &[f64],
        between: (f64, f64),
        mut limits: impl FnMut(usize, f64, usize),
    ) -> Vec<Measured> {
        let mut clients: Vec<Client> = starts.iter().map(|starts| self.client(*starts)).collect();
        let mut rng = Rng::new(self.seed);
        let (mut working, mut waiting, mut calls) = (BinaryHeap::new(), VecDeque::new(), Slots::default());
        let (mut now, end) = (0_u64, self.seconds * SECOND);
        let measured = between.0 * end..between.1 * end;
        loop {
            // Who goes first changes, so that nobody has the first claim for ever.
            let first = rng.below(clients.len() as u64) as usize;
            for place in 0..clients.len() {
                let client = (first + place) % clients.len();
                let asks = &mut clients[client];
                while now >= asks.starts
                    && let Ok(permit) = asks.destination.admit(Time::from_nanos(now))
                {
                    waiting.push_back(calls.insert(Call { client, permit }));
                }
                if asks.destination.limit() != asks.limit {
                    asks.limit = asks.destination.limit();
                    limits(client, now as f64 / SECOND, asks.limit);
                }
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
            let Some(Call { client, mut permit }) = calls.remove(call) else { break };
            let (client, at) = (&mut clients[client], Time::from_nanos(now));
            if measured.contains(&(now as f64)) {
                client.times.push(at.since(permit.started()).as_nanos() as f64 / MS);
            }
            client.destination.judge(at, &mut permit, Verdict::Good, 1);
            client.destination.release(at, permit);
        }
        let span = (between.1 - between.0) * self.seconds;
        clients.into_iter().map(|client| client.measured(span)).collect()
    }

    fn client(&self, starts: f64) -> Client {
        let mut options = DestinationOptions::new(self.concurrency);
        (options.breaker, options.mutant) = (None, self.mutant);
        let destination = Destination::new(options).expect("a sound concurrency");
        Client { destination, starts: (starts * SECOND) as u64, limit: 0, times: Vec::new() }
    }
}

impl Client {
    fn measured(mut self, seconds: f64) -> Measured {
        self.times.sort_by(f64::total_cmp);
        let throughput = self.times.len() as f64 / seconds;
        Measured { throughput, p50: self.times.get(self.times.len() / 2).copied().unwrap_or_default() }
    }
}

/// Calls by number, with the numbers of those that have ended used again.
#[derive(Default)]
struct Slots {
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
}

impl Slots {
    fn insert(&mut self, call: Call) -> usize {
        let number = self.free.pop().unwrap_or(self.calls.len());
        if number == self.calls.len() {
            self.calls.push(None);
        }
        self.calls[number] = Some(call);
        number
    }

    fn remove(&mut self, number: usize) -> Option<Call> {
        self.free.push(number);
        self.calls[number].take()
    }
}
