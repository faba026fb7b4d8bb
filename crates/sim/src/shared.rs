//! Operators that share a destination, in virtual time: queues in front of one server, which goes down, hangs or fails now and then.
//!
//! Sources are patient: what finds no room waits outside. After every step the rules of a destination are checked, from what the server
//! and the records see.

mod rules;

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use inflight_core::{
    Action, BreakerState, CallId, Completion, Config, Destination, DestinationOptions, Emit, Gate, Order, Outcome,
    Permit, Queue, Refusal, Time, Verdict,
};

use crate::witness::Witness;
use crate::{Rng, Violation, ensure};

/// A run, before it starts. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What happens by chance.
    pub seed: u64,
    /// How many operators there are.
    pub operators: usize,
    /// What each queue is told.
    pub config: Config,
    /// What the destination is told.
    pub destination: DestinationOptions,
    /// Records per second, over all operators, at random times.
    pub rate: f64,
    /// When the last record comes.
    pub until: u64,
    /// How long the server takes over a call; it has one worker, who takes calls as they come, wanted or not.
    pub takes: Duration,
    /// From when to when it is not well, and how.
    pub outage: (u64, u64, Outage),
    /// Somebody asks for extras now and then.
    pub extras: bool,
    /// The bug in whoever uses the destination.
    pub mutant: Option<SharedMutant>,
}

/// How the server is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It answers at once that it is down.
    Fails,
    /// It does not answer; what came meanwhile it works off afterwards.
    Hangs,
}

/// A bug of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say what each is")]
pub enum SharedMutant {
    CallsWithoutPermission,
    CountsNoGivenUpCalls,
    RetriesWithoutTokens,
    ForgivesNothing,
    LetsDeadlinesRun,
    JudgesNoGivenUpCalls,
}

impl SharedMutant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CallsWithoutPermission,
        Self::CountsNoGivenUpCalls,
        Self::RetriesWithoutTokens,
        Self::ForgivesNothing,
        Self::LetsDeadlinesRun,
        Self::JudgesNoGivenUpCalls,
    ];
}

/// What came of it: one entry for each second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seconds {
    /// Records that came to the sources.
    pub came: Vec<u64>,
    /// First attempts.
    pub firsts: Vec<u64>,
    /// Calls.
    pub calls: Vec<u64>,
    /// Records that got an answer.
    pub good: Vec<u64>,
    /// Records that did not.
    pub failed: Vec<u64>,
}

fn count(series: &mut Vec<u64>, now: u64) {
    let second = (now / 1_000_000_000) as usize;
    series.resize(series.len().max(second + 1), 0);
    series[second] += 1;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    /// An operator, a call, and how often its slot had been used.
    Answers(usize, CallId, u64, bool),
    ExtraEnds(u64),
    Wakes,
}

struct Operator {
    queue: Queue<u64, bool>,
    outside: VecDeque<u64>,
    permits: Vec<Option<(u64, Permit)>>,
    refused: Option<Refusal>,
    token_at: Option<Time>,
}

struct World<'a> {
    run: &'a Shared,
    rng: Rng,
    now: u64,
    destination: Destination,
    operators: Vec<Operator>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Those events that wake somebody: one for each moment.
    wakes: BTreeSet<u64>,
    /// When the server's worker is free.
    free_at: u64,
    numbers: u64,
    starts: Vec<u64>,
    answered: u64,
    paid: u64,
    /// What the budget has left, and when, at how many answers and retries that was.
    tokens: f64,
    accounted: (u64, u64, u64),
    extras: BTreeMap<u64, Permit>,
    witness: Option<Witness>,
    seconds: Seconds,
}

struct Door<'a> {
    destination: &'a mut Destination,
    next: &'a mut Option<Permit>,
    refused: &'a mut Option<Refusal>,
    token_at: &'a mut Option<Time>,
    paid: &'a mut u64,
    mutant: Option<SharedMutant>,
}

impl Gate for Door<'_> {
    fn call(&mut self, now: Time) -> bool {
        match self.destination.admit(now) {
            Ok(permit) => *self.next = Some(permit),
            Err(refusal) => *self.refused = Some(refusal),
        }
        self.next.is_some() || self.mutant == Some(SharedMutant::CallsWithoutPermission)
    }

    fn retry(&mut self, now: Time) -> bool {
        let allowed = self.destination.retry(now) || self.mutant == Some(SharedMutant::RetriesWithoutTokens);
        *self.token_at = if allowed { None } else { Some(self.destination.next_token(now)) };
        *self.paid += u64::from(allowed);
        allowed
    }

    fn is_failing(&self) -> bool {
        self.destination.is_failing() && self.mutant != Some(SharedMutant::ForgivesNothing)
    }

    fn was_well_after(&self, failure: Time) -> bool {
        self.destination.was_well_after(failure)
    }
}

impl Shared {
    /// Lives through it, to the last record.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run(&self) -> Result<Seconds, Violation> {
        let possible = |what: String| Violation { rule: "a scenario is possible", what };
        let destination = Destination::new(self.destination.clone()).map_err(|error| possible(error.to_string()))?;
        let operator = |_| {
            let queue = Queue::new(self.config.clone()).map_err(|error| possible(error.to_string()))?;
            Ok(Operator { queue, outside: VecDeque::new(), permits: Vec::new(), refused: None, token_at: None })
        };
        let operators = (0..self.operators).map(operator).collect::<Result<Vec<_>, _>>()?;
        let mut world = World {
            run: self,
            rng: Rng::new(self.seed),
            now: 0,
            destination,
            operators,
            events: BinaryHeap::new(),
            wakes: BTreeSet::new(),
            free_at: 0,
            numbers: 0,
            starts: Vec::new(),
            answered: 0,
            paid: 0,
            tokens: f64::from(self.destination.budget.reserve),
            accounted: (0, 0, 0),
            extras: BTreeMap::new(),
            witness: self.destination.breaker.map(Witness::new),
            seconds: Seconds::default(),
        };
        world.live()?;
        world.check_rate()?;
        Ok(world.seconds)
    }
}

impl World<'_> {
    const fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    fn live(&mut self) -> Result<(), Violation> {
        let (mut at, mut records) = (0.0, 0);
        while at < self.run.until as f64 * 1e6 {
            let by = self.rng.below(self.run.operators as u64) as usize;
            self.events.push(Reverse((at as u64, Event::Comes(by))));
            let chance = (self.rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
            at += -(1.0 - chance).ln() * 1e9 / self.run.rate;
            records += 1;
        }
        let mut left = 0;
        while left < records {
            let Some(Reverse((at, event))) = self.events.pop() else {
                return Err(Violation {
                    rule: "nobody is forgotten",
                    what: format!("{} of {records} left", records - left),
                });
            };
            self.now = self.now.max(at);
            ensure!(self.now < 10 * self.run.until * 1_000_000, "progress", "{left} of {records} have left");
            self.happens(event)?;
            let last = self.operators.len();
            // Who goes first changes, so that nobody has the first claim for ever.
            let first = self.rng.below(last as u64) as usize;
            for place in 0..last {
                left += self.turn((first + place) % last)?;
            }
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.time();
        match event {
            Event::Comes(by) => {
                count(&mut self.seconds.came, self.now);
                self.operators[by].outside.push_back(self.numbers);
                self.numbers += 1;
            }
            Event::Answers(by, call, number, good) => {
                let operator = &mut self.operators[by];
                let permit = &mut operator.permits[call.index()];
                // Who was given up does not listen any more.
                let Some((_, mut permit)) = permit.take_if(|(of, _)| *of == number) else { return Ok(()) };
                let verdict = if good { Verdict::Good } else { Verdict::Failed };
                self.destination.judge(now, &mut permit, verdict, usize::from(good));
                self.destination.release(now, permit);
                self.answered += u64::from(good);
                self.call_ended(number, good)?;
                self.check_budget()?;
                let operator = &mut self.operators[by];
                let completion =
                    if good { Completion::Done(true) } else { Completion::Retry { last: false, after: None } };
                let (mut next, mut refused) = (None, None);
                let mut door = Door {
                    destination: &mut self.destination,
                    next: &mut next,
                    refused: &mut refused,
                    token_at: &mut operator.token_at,
                    paid: &mut self.paid,
                    mutant: self.run.mutant,
                };
                operator.queue.handle_answers(now, call, [completion], &mut door);
                self.check_budget()?;
            }
            Event::ExtraEnds(number) => {
                if let Some(permit) = self.extras.remove(&number) {
                    self.destination.release(now, permit);
                }
            }
            Event::Wakes => {
                self.wakes.remove(&self.now);
            }
        }
        Ok(())
    }

    /// One operator's turn; how many records left it.
    fn turn(&mut self, by: usize) -> Result<u64, Violation> {
        let now = self.time();
        let mutant = self.run.mutant;
        if mutant != Some(SharedMutant::LetsDeadlinesRun) {
            let stood = self.destination.stood_still(now);
            self.operators[by].queue.handle_standing(stood, self.destination.is_failing());
        }
        while self.operators[by].queue.has_room()
            && let Some(record) = self.operators[by].outside.pop_front()
        {
            self.operators[by].queue.handle_record(now, 0, None, record);
        }
        loop {
            let operator = &mut self.operators[by];
            let mut next = None;
            operator.refused = None;
            let retries = operator.queue.stats().retries;
            let mut door = Door {
                destination: &mut self.destination,
                next: &mut next,
                refused: &mut operator.refused,
                token_at: &mut operator.token_at,
                paid: &mut self.paid,
                mutant,
            };
            match operator.queue.poll_heard(now, now, &mut door) {
                Action::Call(call) => {
                    let first = operator.queue.stats().retries == retries;
                    self.start(by, call, next, first)?;
                }
                Action::Cancel(call) => self.give_up(by, call)?,
                Action::Forget(_) => {}
                Action::Idle { wake_at } => {
                    self.check_budget()?;
                    self.sleep(by, wake_at);
                    break;
                }
            }
        }
        if self.run.extras && self.rng.one_in(16) {
            self.ask_for_an_extra()?;
        }
        let mut left = 0;
        while let Some(Emit::Record(record)) = self.operators[by].queue.emit() {
            left += 1;
            let good = record.outcome == Outcome::Done(true);
            count(if good { &mut self.seconds.good } else { &mut self.seconds.failed }, self.now);
        }
        Ok(left)
    }

    fn start(&mut self, by: usize, call: CallId, permit: Option<Permit>, first: bool) -> Result<(), Violation> {
        let stats = self.destination.stats(self.time());
        ensure!(permit.is_some() || stats.breaker != BreakerState::Open, "no call while open", "{stats:?}");
        self.numbers += 1;
        self.starts.push(self.now);
        count(&mut self.seconds.calls, self.now);
        if first {
            count(&mut self.seconds.firsts, self.now);
        }
        let operator = &mut self.operators[by];
        if operator.permits.len() <= call.index() {
            operator.permits.resize_with(call.index() + 1, || None);
        }
        let probes = permit.is_some();
        operator.permits[call.index()] = permit.map(|permit| (self.numbers, permit));
        self.check_wire()?;
        self.check_budget()?;
        if let Some(witness) = self.witness.as_mut().filter(|_| probes) {
            witness.call_starts()?;
        }
        let (ends, good) = self.serve();
        self.events.push(Reverse((ends, Event::Answers(by, call, self.numbers, good))));
        Ok(())
    }

    /// A call for a token, as a hedge is.
    fn ask_for_an_extra(&mut self) -> Result<(), Violation> {
        let Some(permit) = self.destination.extra(self.time()) else { return Ok(()) };
        (self.numbers, self.paid) = (self.numbers + 1, self.paid + 2);
        self.starts.push(self.now);
        self.extras.insert(self.numbers, permit);
        let stats = self.destination.stats(self.time());
        ensure!(stats.breaker == BreakerState::Closed, "no extra while not closed", "{stats:?}");
        self.check_wire()?;
        self.check_budget()?;
        let (ends, _) = self.serve();
        self.events.push(Reverse((ends, Event::ExtraEnds(self.numbers))));
        Ok(())
    }

    /// When the server has answered a call that comes now, and whether well.
    fn serve(&mut self) -> (u64, bool) {
        let (from, to, how) = self.run.outage;
        let down = (from * 1_000_000..to * 1_000_000).contains(&self.now);
        if down && how == Outage::Fails {
            return (self.now + 1_000_000, false);
        }
        let starts = if down { to * 1_000_000 } else { self.now };
        self.free_at = self.free_at.max(starts) + self.run.takes.as_nanos() as u64;
        (self.free_at, true)
    }

    fn give_up(&mut self, by: usize, call: CallId) -> Result<(), Violation> {
        let now = self.time();
        let operator = &mut self.operators[by];
        operator.queue.handle_cancelled(now, call);
        if self.run.mutant == Some(SharedMutant::CountsNoGivenUpCalls) {
            return Ok(());
        }
        if let Some((number, mut permit)) = operator.permits[call.index()].take() {
            let judged = self.run.mutant != Some(SharedMutant::JudgesNoGivenUpCalls);
            self.destination.give_up(now, &mut permit, judged);
            self.destination.release(now, permit);
            self.call_ended(number, false)?;
        }
        Ok(())
    }

    fn sleep(&mut self, by: usize, wake_at: Option<Time>) {
        let operator = &self.operators[by];
        let refused = match operator.refused {
            Some(Refusal::Until(at)) => Some(at),
            _ => None,
        };
        let (now, token_at) = (self.time(), operator.token_at);
        let wakes = [wake_at, refused, token_at].into_iter().flatten().filter(|at| *at > now);
        for at in wakes.map(Time::as_nanos) {
            if self.wakes.insert(at) {
                self.events.push(Reverse((at, Event::Wakes)));
            }
        }
    }
}

/// A run from a seed: all of it may be in it, and an outage that is longer than any record's deadline.
#[must_use]
pub fn shared(seed: u64) -> Shared {
    let mut rng = Rng::new(!seed);
    let mut config = Config::new(rng.pick(&[Order::Ordered, Order::Unordered]), rng.within(10, 200) as usize);
    config.timeout = Some(Duration::from_millis(100));
    config.deadline = Some(Duration::from_millis(2_000));
    config.retry = Some(inflight_core::Retry::exponential(4, Duration::from_millis(50), Duration::from_millis(200)));
    config.seed = seed;
    let limit = rng.within(1, 20) as usize;
    let mut destination =
        DestinationOptions::new(rng.pick(&[
            inflight_core::Concurrency::Fixed(limit),
            inflight_core::Concurrency::Auto { min: 1, max: limit },
        ]));
    // It opens before one record can use up its attempts.
    let min_calls = rng.within(2, 5) as usize;
    // Enough for an extra now and then, and scarce, so that who does not pay is found out.
    destination.budget = inflight_core::RetryBudget { per_mille: 20, reserve: 3, per_second: 7 };
    destination.breaker = Some(inflight_core::BreakerOptions {
        window: 2 * min_calls,
        min_calls,
        probes: rng.within(1, 3) as usize,
        open_for: Duration::from_millis(rng.pick(&[200, 500])),
        ..inflight_core::BreakerOptions::default()
    });
    destination.rate_limit =
        rng.one_in(3).then(|| inflight_core::RateLimit { per_second: 400, burst: rng.within(1, 20) as u32 });
    let how = rng.pick(&[Outage::Fails, Outage::Hangs]);
    Shared {
        seed,
        operators: rng.within(1, 3) as usize,
        config,
        destination,
        rate: 200.0,
        until: 9_000,
        takes: Duration::from_millis(2),
        outage: (2_000, 2_000 + rng.within(3_000, 5_000), how),
        extras: false,
        mutant: None,
    }
}
