//! One life of the pipeline: it is built, its workers and its writer take turns, time passes, until it is complete or the power goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inflight::{Function, Options, Retry};
use inflight_timely::pipeline::{Partition, Pipeline, Readers, Recovery, Row, Stage, Step, install};
use tokio::runtime::Handle;

use super::clock::Clock;
use super::fault::Fault;
use super::hands::{Hands, Install, State};
use super::media::Media;
use super::row::{Answer, Record};
use super::scenario::{self, Scenario};
use super::service::{Batch, Called, Single};
use super::sink::{Counter, Desk};
use super::source::Numbers;
use super::world::Shared;
use super::writer::{Found, Writer};
use crate::Rng;

/// No run of these few records takes so long.
const TOO_LONG: Duration = Duration::from_secs(1200);
/// Nor so many steps.
const TOO_MANY: u64 = 50_000;

/// What ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Complete,
    Crashed,
    /// A rule is broken: the world knows which.
    Stuck,
}

/// What a life is made of.
pub(super) struct Life<'a> {
    pub(super) hands: &'a mut Hands,
    pub(super) world: &'a Shared,
    pub(super) scenario: &'a Arc<Scenario>,
    pub(super) media: Media,
    pub(super) fault: Option<Fault>,
    pub(super) workers: usize,
    pub(super) rng: Rng,
}

impl Life<'_> {
    /// Lives it, and gives back the output there is if it is complete.
    pub(super) fn run(mut self) -> Ended {
        let run = self.world.lock().history.runs.len();
        let Ok((writer, found)) = Writer::open(self.media.clone(), run) else {
            return self.without_power("the folder opens when there is power");
        };
        self.begin(&found);
        if found.complete {
            return Ended::Complete;
        }
        let clock = Clock::new();
        let desk = Desk::new(writer);
        self.hands.build(self.workers);
        let restored = found.from.map_or(1, |(_, epoch)| epoch + 1);
        let mut found = Some(found);
        for worker in 0..self.workers {
            let install = self.install(worker, &desk, found.take_if(|_| worker == 0), restored, clock.handle());
            let world = self.world.clone();
            let turn = self.hands.install(worker, install, Box::new(move || world.lock().event()));
            self.complain(worker, &turn.state);
        }
        let ended = self.take_turns(&clock, &desk);
        for worker in 0..self.workers {
            let turn = self.hands.end(worker);
            self.complain(worker, &turn.state);
        }
        ended
    }

    fn begin(&self, found: &Found) {
        let mut world = self.world.lock();
        world.begin_run(found.from, self.workers);
        let read = found.positions.iter().filter_map(|(partition, at)| Some((*partition, at.parse().ok()?)));
        let recorded = found.restored.iter().flat_map(|restored| &restored.recorded).map(Row::id);
        world.place(&read.collect(), found.output.iter().map(Row::id), recorded.collect());
    }

    /// Workers and writer, one at a time; time passes when none of them has anything to do.
    fn take_turns(&mut self, clock: &Clock, desk: &Desk) -> Ended {
        let mut busy = vec![true; self.workers];
        let mut over = vec![false; self.workers];
        loop {
            {
                let mut world = self.world.lock();
                if !world.is_on() {
                    return Ended::Crashed;
                }
                let (now, events) = (world.now, world.events());
                world.check(now < TOO_LONG && events < TOO_MANY, "a run ends", || {
                    format!("after {events} steps in {now:?}")
                });
                if world.violation.is_some() {
                    return Ended::Stuck;
                }
            }
            let writing = desk.lock().is_busy();
            let able = (0..self.workers).filter(|worker| busy[*worker]).chain(writing.then_some(self.workers));
            let able: Vec<usize> = able.collect();
            if able.is_empty() {
                if over.iter().all(|over| *over) {
                    let complete = desk.lock().complete;
                    return if complete {
                        Ended::Complete
                    } else {
                        self.without_power("a run ends with its last checkpoint")
                    };
                }
                if !clock.advance() {
                    return self.without_power("somebody has something to do until the end");
                }
                self.world.lock().now = clock.now();
                busy.iter_mut().zip(&over).for_each(|(busy, over)| *busy = !over);
                continue;
            }
            let turn = self.rng.pick(&able);
            if turn == self.workers {
                self.write(desk);
                busy[0] = !over[0];
                continue;
            }
            let most = self.rng.within(1, 6) as u32;
            let done = self.hands.step(turn, most);
            self.complain(turn, &done.state);
            self.world.lock().note(format_args!("worker {turn}: {} steps, {:?}", done.steps, done.state));
            over[turn] |= done.state == State::Over;
            if done.steps > 0 || over[turn] {
                busy.iter_mut().zip(&over).for_each(|(busy, over)| *busy = !over);
            }
            busy[turn] = done.state == State::Busy;
        }
    }

    fn write(&self, desk: &Desk) {
        if let Err(error) = desk.lock().work() {
            let mut world = self.world.lock();
            let on = world.is_on();
            world.check(!on, "the writer fails only without power", || error.to_string());
        }
    }

    fn without_power(&self, rule: &'static str) -> Ended {
        let mut world = self.world.lock();
        if !world.is_on() {
            return Ended::Crashed;
        }
        world.check(false, rule, || "there is power, and yet".to_owned());
        Ended::Stuck
    }

    fn complain(&self, worker: usize, state: &State) {
        if let State::Panicked(said) = state {
            self.world.lock().check(false, "no worker panics", || format!("worker {worker}: {said}"));
        }
    }

    /// What a worker is to run. Only the first gets what was found.
    fn install(&self, worker: usize, desk: &Desk, found: Option<Found>, epoch: u64, runtime: &Handle) -> Install {
        let (restored, positions) = found.map_or_else(Default::default, |found| (found.restored, found.positions));
        let partitions = (0..self.scenario.partitions.len() as u32).map(|index| Partition {
            index,
            name: index.to_string(),
            position: positions.get(&index).cloned(),
        });
        let parts = Parts {
            world: self.world.clone(),
            scenario: Arc::clone(self.scenario),
            desk: desk.clone(),
            fault: self.fault,
            seed: self.rng.clone().next() ^ worker as u64,
            epoch,
            partitions: partitions.collect(),
            recovery: Recovery { every: self.scenario.every, carry: true, restored },
            runtime: runtime.clone(),
        };
        Box::new(move |worker| {
            let runtime = parts.runtime.clone();
            if parts.scenario.batched {
                install(worker, parts.pipeline(Batch), &runtime).map(drop)
            } else {
                install(worker, parts.pipeline(Single), &runtime).map(drop)
            }
        })
    }
}

/// What one worker's pipeline is made of.
struct Parts {
    world: Shared,
    scenario: Arc<Scenario>,
    desk: Desk,
    fault: Option<Fault>,
    seed: u64,
    epoch: u64,
    partitions: Vec<Partition>,
    recovery: Recovery<Record>,
    runtime: Handle,
}

impl Parts {
    fn pipeline<F, Shape>(self, function: fn(Called) -> F) -> Pipeline<Record, F, Shape>
    where
        F: Function<Record, Shape, Output = Answer, Error = u64>,
    {
        let Self { world, scenario, desk, fault, seed, epoch, partitions, recovery, .. } = self;
        let mut number = 0..;
        let stages = scenario.stages.iter().map(|steps| Stage {
            steps: steps
                .iter()
                .zip(&mut number)
                .map(|(step, number)| {
                    let called = Called { world: world.clone(), scenario: Arc::clone(&scenario), step: number };
                    planned(step, function(called))
                })
                .collect(),
            join: Box::new(Record::joined),
        });
        let (stages, credits, ordered, room) = (stages.collect(), scenario.credits, scenario.ordered, scenario.writer);
        let reading = world.clone();
        Pipeline {
            credits,
            source: Box::new(move |waker| {
                let rng = Rng::new(seed);
                Box::new(Numbers { world: reading, waker, rng, epoch, partitions: BTreeMap::new(), fault })
            }),
            stages,
            sink: Box::new(move |waker| {
                desk.lock().waker = Some(waker);
                Box::new(Counter { desk, world, room })
            }),
            ordered,
            partitions,
            readers: Readers::All,
            recovery: Some(recovery),
        }
    }
}

fn planned<F, Shape>(plan: &scenario::Step, function: F) -> Step<Record, F, Shape>
where
    F: Function<Record, Shape, Output = Answer, Error = u64>,
{
    let mut options =
        Options::new().capacity(plan.capacity).concurrency(plan.concurrency).batch(plan.batch, plan.linger);
    if let Some(timeout) = plan.timeout {
        options = options.timeout(timeout);
    }
    if let Some(deadline) = plan.deadline {
        options = options.deadline(deadline);
    }
    if let Some((retries, wait)) = plan.retry {
        options = options.retry(Retry::fixed(retries, wait));
    }
    let key = plan.keys.map(|keys| Box::new(move |record: &Record| record.key(keys)) as _);
    Step { function, order: plan.order, key, options }
}
