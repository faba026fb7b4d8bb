//! What a seed stands for: a configuration, a source, a service, a consumer, and how the host behaves.

use core::fmt;
use core::time::Duration;

use inflight_core::{Backoff, Config, EventTime, Jitter, Order, Retry, Timestamp};

use crate::Rng;
use crate::service::{Service, Ticks};

/// So many elements make a long run. What piles up shows only there.
const LONG: usize = 300;

/// One run, before it starts.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it was made from.
    pub seed: u64,
    /// The first queue; after a crash another may go on.
    pub config: Config,
    /// What arrives, in this order.
    pub source: Vec<Arrival>,
    /// What happens when all of it has arrived.
    pub finish: Finish,
    pub(crate) service: Service,
    pub(crate) host: Host,
}

/// One element of the source.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// How long after the one before, at the earliest.
    pub gap: u64,
    /// What.
    pub element: Element,
}

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A record.
    Record {
        /// Its key.
        key: u64,
        /// Its timestamp.
        timestamp: Option<Timestamp>,
    },
    /// A watermark.
    Watermark(Timestamp),
    /// An idle status.
    Idle,
}

/// How the input ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With all the time that is needed.
    End,
    /// With so many ticks left.
    Drain(u64),
    /// First the one, then, after so many ticks, the other.
    EndThenDrain(u64, u64),
}

/// The process around the queue, and the consumer behind it. Chances are one in so many turns; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// It comes at most this much too late to poll.
    pub(crate) oversleeps: Ticks,
    /// The consumer takes at most this long over each element; 0: no time.
    pub(crate) consumer: Ticks,
    pub(crate) reconfigures: u64,
    pub(crate) snapshots: u64,
    pub(crate) crashes: u64,
    pub(crate) most_crashes: u64,
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = config(&mut rng);
        let source = source(&mut rng);
        let may_lose = config.timeout.is_some() || config.deadline.is_some();
        let limit = rng.pick(&[5, 60]);
        let limit = rng.below(limit);
        let mut scenario = Self {
            seed,
            source,
            finish: rng.pick(&[Finish::End, Finish::End, Finish::Drain(limit), Finish::EndThenDrain(limit, limit / 2)]),
            service: Service::make(&mut rng, may_lose, config.grace.is_some()),
            host: Host {
                oversleeps: rng.pick(&[0, 0, 3, 30]),
                consumer: rng.pick(&[0, 0, 4, 25]),
                reconfigures: rng.pick(&[0, 6]),
                snapshots: rng.pick(&[0, 3, 10]),
                crashes: rng.pick(&[0, 20, 60]),
                most_crashes: 3,
            },
            config,
        };
        if scenario.source.len() >= LONG {
            match rng.below(3) {
                0 => scenario.jam(),
                1 => scenario.hurry(),
                _ => {}
            }
        }
        if scenario.config.batch.size > 2 && rng.one_in(4) {
            scenario.service.broken = 400;
            scenario.host.reconfigures = 3;
        }
        scenario
    }

    /// The one slot on the wire is taken for ever, and records run out of time in front of it.
    fn jam(&mut self) {
        self.config.capacity = 32;
        self.config.concurrency = 1;
        self.config.timeout = None;
        self.config.deadline = Some(span(8));
        self.config.grace = Some(span(150));
        self.service = Service { lost: 800, stubborn: 1000, ..self.service };
        self.flood();
    }

    /// Most calls are over at once, some are not, and no clock ever runs out.
    fn hurry(&mut self) {
        self.config.capacity = 32;
        self.config.concurrency = 32;
        self.config.timeout = Some(span(400));
        self.config.deadline = Some(span(900));
        self.service = Service { latency: 1, slow: 0, lost: 5, broken: 0, fails: 0, ..self.service };
        self.flood();
    }

    fn flood(&mut self) {
        self.host = Host { oversleeps: 0, consumer: 0, reconfigures: 0, crashes: 0, ..self.host };
        self.source.iter_mut().for_each(|arrival| arrival.gap = 0);
    }

    pub(crate) fn key(&self, input: crate::Input) -> u64 {
        match self.source[input as usize].element {
            Element::Record { key, .. } => key,
            _ => 0,
        }
    }

    /// After this much time everything must be over: every record alone, at its slowest, as often as it may be tried, and
    /// that for every life.
    pub(crate) fn bound(&self) -> Ticks {
        let retry = self.config.retry.as_ref();
        let attempts = 1 + retry.map_or(0, |retry| u64::from(retry.max_retries));
        let wait = retry.map_or(0, |retry| (1..9).map(|n| retry.backoff.delay(n)).max().map_or(0, ticks)) + 50;
        let clock = |span: Option<Duration>| span.map_or(0, ticks);
        let each = attempts * (self.service.longest() + wait + clock(self.config.timeout) + clock(self.config.grace))
            + clock(self.config.deadline)
            + ticks(self.config.batch.linger)
            + self.host.oversleeps * 8
            + self.host.consumer
            + 100;
        let gaps: Ticks = self.source.iter().map(|arrival| arrival.gap).sum();
        (gaps + self.source.len() as u64 * each + 500) * (1 + self.host.most_crashes)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario {}", self.seed)?;
        writeln!(f, "  {:?}", self.config)?;
        writeln!(f, "  {:?}", self.service)?;
        writeln!(f, "  {:?}, {:?}", self.host, self.finish)?;
        write!(f, "  {} elements:", self.source.len())?;
        for Arrival { gap, element } in &self.source {
            match element {
                Element::Record { key, timestamp } => write!(f, " +{gap} k{key}@{:?}", timestamp.map(|at| at.0))?,
                Element::Watermark(at) => write!(f, " +{gap} W{}", at.0)?,
                Element::Idle => write!(f, " +{gap} idle")?,
            }
        }
        Ok(())
    }
}

fn ticks(duration: Duration) -> Ticks {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const fn span(ticks: Ticks) -> Duration {
    Duration::from_nanos(ticks)
}

fn config(rng: &mut Rng) -> Config {
    let capacity = if rng.one_in(2) { rng.within(1, 4) } else { rng.within(1, 32) } as usize;
    let mut config = Config::new(rng.pick(&Order::ALL), capacity);
    config.event_time = rng.pick(&[EventTime::Frontier, EventTime::Strict]);
    config.concurrency = concurrency(rng, capacity);
    if rng.one_in(2) {
        config.batch.size = rng.within(2, 8) as usize;
        config.batch.linger = span(rng.pick(&[0, 2, 15]));
        if rng.one_in(2) {
            // Few calls fill batches.
            config.concurrency = rng.within(1, 3) as usize;
        }
    }
    config.timeout = (!rng.one_in(3)).then(|| span(rng.within(4, 40)));
    config.deadline = (!rng.one_in(3)).then(|| span(rng.within(8, 120)));
    config.grace = rng.one_in(2).then(|| span(rng.within(1, 25)));
    config.retry = (!rng.one_in(3)).then(|| retry(rng));
    config.seed = rng.next();
    config
}

pub(crate) fn concurrency(rng: &mut Rng, capacity: usize) -> usize {
    match rng.below(4) {
        0 => 1,
        1 => capacity,
        2 => capacity + rng.within(1, 8) as usize,
        _ => rng.within(1, capacity as u64) as usize,
    }
}

fn retry(rng: &mut Rng) -> Retry {
    let max_retries = rng.within(1, 4) as u32;
    let delay = span(rng.pick(&[0, 1, 5, 20, 60]));
    let mut retry =
        if rng.one_in(2) { Retry::fixed(max_retries, delay) } else { Retry::exponential(max_retries, delay, span(80)) };
    if let Backoff::Exponential { multiplier, .. } = &mut retry.backoff {
        *multiplier = rng.pick(&[1.0, 2.0, 3.5]);
    }
    retry.jitter = rng.pick(&[Jitter::None, Jitter::None, Jitter::Full]);
    retry.timeouts = !rng.one_in(4);
    retry
}

fn source(rng: &mut Rng) -> Vec<Arrival> {
    let count = match rng.below(200) {
        0 => rng.within(LONG as u64, 900),
        1..50 => rng.within(20, 60),
        _ => rng.within(1, 20),
    };
    let keys = rng.pick(&[1, 2, 4, 1000]);
    let hot = rng.one_in(4);
    let (no_timestamps, disorder) = (rng.pick(&[0, 0, 20, 100]), rng.pick(&[0, 5, 40]));
    let watermarks = rng.pick(&[0, 10, 40, 100]);
    let (delay, idles, gap) = (rng.pick(&[0, 5, 30]), rng.pick(&[0, 0, 10]), rng.pick(&[0, 2, 20]));
    let mut time = 0;
    let mut latest = i64::MIN;
    let mut source = Vec::new();
    let mut push = |rng: &mut Rng, element| source.push(Arrival { gap: rng.below(gap + 1), element });
    for _ in 0..count {
        time += rng.below(10) as i64;
        let timestamp = time - rng.below(disorder + 1) as i64;
        let timestamp = (rng.below(100) >= no_timestamps).then_some(Timestamp(timestamp));
        let key = if hot && rng.one_in(2) { 0 } else { rng.below(keys) };
        push(rng, Element::Record { key, timestamp });
        latest = timestamp.map_or(latest, |at| latest.max(at.0));
        if rng.below(100) < watermarks && latest > i64::MIN {
            // Now and then one that does not advance.
            let back = if rng.one_in(8) { 20 } else { 0 };
            push(rng, Element::Watermark(Timestamp(latest - delay - back)));
        }
        if rng.below(100) < idles {
            push(rng, Element::Idle);
        }
    }
    source
}
