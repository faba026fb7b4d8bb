//! A world in virtual time around one queue: a source, a service, a consumer, and a host that sleeps, crashes and restores.

mod audit;
mod trouble;

use core::time::Duration;

use inflight_core::{CallId, Completion, Emit, EventTime, Order, Time};

use crate::observed::{Observed, Restore, Restored, Saved, Step};
use crate::scenario::{Element, Finish, Scenario, concurrency};
use crate::service::{Plan, Shape, Ticks};
use crate::{Coverage, Fault, Input, Options, Output, Rng, Violation, ensure};

/// What became of a run that broke no rule.
#[derive(Clone, Debug)]
pub struct Report {
    /// Records that left, and were not taken back by a crash.
    pub emitted: u64,
    /// Turns of the host.
    pub turns: u64,
    /// Crashes.
    pub crashes: u64,
    /// Of the trace, if it was asked for.
    pub hash: u64,
    /// What it went through.
    pub coverage: Coverage,
}

/// Lives through the scenario of a seed.
///
/// # Errors
/// The first rule that was broken.
pub fn run(seed: u64, options: &Options) -> Result<Report, Violation> {
    run_scenario(&Scenario::new(seed), options)
}

/// Lives through a scenario.
///
/// # Errors
/// The first rule that was broken.
pub fn run_scenario(scenario: &Scenario, options: &Options) -> Result<Report, Violation> {
    let mut world = World::new(scenario, *options)?;
    while !world.gone() {
        world.turns += 1;
        if !world.turn()? {
            world.sleep()?;
        }
    }
    world.all_is_there()?;
    Ok(Report {
        emitted: world.log.iter().filter(|emit| matches!(emit, Emit::Record(_))).count() as u64,
        turns: world.turns,
        crashes: world.crashes,
        hash: world.observed.tracer.hash(),
        coverage: world.coverage,
    })
}

struct World<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    now: Ticks,
    /// Everything that had happened by then has been handed in.
    heard: Ticks,
    hears_late: bool,
    turns: u64,
    observed: Observed,
    coverage: Coverage,
    /// The next element of the source, and when it is there.
    position: usize,
    available: Ticks,
    finish: Ending,
    events: Vec<(Ticks, Event)>,
    /// Calls of this life.
    calls: Vec<Call>,
    restored: Restored,
    /// When the consumer takes the next element.
    consumer: Ticks,
    wake_at: Option<Ticks>,
    saved: Saved,
    /// Where the source and the log were then.
    saved_at: (usize, usize),
    crashes: u64,
    log: Vec<Emit<Input, Output>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    Ended,
    /// The drain begins then.
    EndedUntil(Ticks),
    Draining,
    Over,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Answer(u64),
    Stopped(u64),
}

struct Call {
    id: CallId,
    number: u64,
    inputs: Vec<Input>,
    plan: Plan,
    answered: bool,
    cancelled: bool,
    /// It stopped, or was let go of.
    gone: bool,
    snapshot: bool,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, options: Options) -> Result<Self, Violation> {
        let mut observed = Observed::new(scenario.config.clone(), options)?;
        let saved = observed.snapshot(Time::ZERO)?;
        Ok(Self {
            scenario,
            rng: Rng::new(!scenario.seed),
            now: 0,
            heard: 0,
            hears_late: options.hears_late,
            turns: 0,
            observed,
            coverage: Coverage::default(),
            position: 0,
            available: 0,
            finish: Ending::Open,
            events: Vec::new(),
            calls: Vec::new(),
            restored: Restored::default(),
            consumer: 0,
            wake_at: None,
            saved,
            saved_at: (0, 0),
            crashes: 0,
            log: Vec::new(),
        })
    }

    const fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    /// The end has left, and the last straggler has come in.
    fn gone(&self) -> bool {
        self.finish == Ending::Over && self.events.is_empty()
    }

    /// Everything there is to do now, once. False if there was nothing.
    fn turn(&mut self) -> Result<bool, Violation> {
        let mut busy = self.take_answers()?;
        self.heard = self.now;
        if self.hears_late && self.rng.one_in(2) {
            self.now += self.rng.below(12);
        }
        busy |= self.take_source()?;
        busy |= self.finish_input()?;
        busy |= self.be_a_host()?;
        busy |= self.poll()?;
        while self.take_output()? {
            busy = true;
        }
        Ok(busy)
    }

    /// Time passes until something happens; now and then less, now and then more.
    fn sleep(&mut self) -> Result<(), Violation> {
        let source = self.position < self.scenario.source.len() && self.observed.has_room();
        let drain = if let Ending::EndedUntil(at) = self.finish { Some(at) } else { None };
        let next = [self.wake_at, self.events.iter().map(|(at, _)| *at).min(), source.then_some(self.available), drain];
        let consumer = (self.consumer > self.now).then_some(self.consumer);
        let next = next.into_iter().flatten().chain(consumer).min();
        ensure!(next.is_some(), "progress", "nothing will ever happen again: {:?}", self.observed.stats());
        let next = next.unwrap_or_default().max(self.now + 1);
        self.now = if self.rng.one_in(4) {
            self.rng.within(self.now + 1, next)
        } else {
            next + self.rng.below(self.scenario.host.oversleeps + 1)
        };
        let bound = self.scenario.bound();
        ensure!(self.now <= bound, "progress", "not over after {bound}: {:?}", self.observed.stats());
        Ok(())
    }

    /// Hands in what the service has for us; now and then something comes a moment later.
    fn take_answers(&mut self) -> Result<bool, Violation> {
        let mut later = Vec::new();
        let mut busy = false;
        while let Some(event) = self.due() {
            busy = true;
            if self.rng.one_in(8) {
                later.push((self.now, event));
            } else {
                self.hand_in(event)?;
            }
        }
        self.events.extend(later);
        Ok(busy)
    }

    /// Any of the events that are due.
    fn due(&mut self) -> Option<Event> {
        let due = self.events.iter().filter(|(at, _)| *at <= self.now).count() as u64;
        let chosen = if due == 0 { return None } else { self.rng.below(due) as usize };
        let place = (0..self.events.len()).filter(|place| self.events[*place].0 <= self.now).nth(chosen)?;
        Some(self.events.swap_remove(place).1)
    }

    fn hand_in(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.time();
        match event {
            Event::Answer(number) => self.answer(number),
            Event::Stopped(number) => {
                let Some(call) = self.calls.iter_mut().find(|call| call.number == number && !call.answered) else {
                    return Ok(());
                };
                call.gone = true;
                let id = call.id;
                self.observed.cancelled(now, id)
            }
        }
    }

    fn answer(&mut self, number: u64) -> Result<(), Violation> {
        let Some(place) = self.calls.iter().position(|call| call.number == number) else { return Ok(()) };
        let call = &self.calls[place];
        if call.gone && !call.plan.answers_anyway {
            return Ok(());
        }
        let completions = self.completions(place);
        self.count_answer(place, &completions);
        let call = &mut self.calls[place];
        if let (Some(again), false) = (call.plan.again, call.answered) {
            self.events.push((self.now + again, Event::Answer(number)));
        }
        call.answered = true;
        let id = call.id;
        self.observed.completion(self.time(), id, &completions)
    }

    fn completions(&mut self, place: usize) -> Vec<Completion<Output>> {
        let (service, rng) = (&self.scenario.service, &mut self.rng);
        let Call { number: call, inputs, plan, .. } = &self.calls[place];
        let complete = |&input: &Input| {
            let output = Output { input, call: *call };
            if rng.below(1000) < service.fails {
                let after = (rng.below(1000) < service.retry_after).then(|| Duration::from_nanos(rng.below(30)));
                Completion::Retry { last: output, after }
            } else {
                Completion::Done(output)
            }
        };
        let mut completions: Vec<_> = inputs.iter().map(complete).collect();
        match plan.shape {
            Shape::Whole => {}
            Shape::Short => completions.truncate(self.rng.within(1, (inputs.len() as u64 - 1).max(1)) as usize),
            Shape::Long => completions.push(Completion::Done(Output { input: Input::MAX, call: *call })),
            Shape::Panic => completions.clear(),
        }
        completions
    }

    fn take_source(&mut self) -> Result<bool, Violation> {
        let mut busy = false;
        while self.position < self.scenario.source.len() && self.available <= self.now && self.observed.has_room() {
            busy = true;
            if self.rng.one_in(8) {
                break;
            }
            let now = self.time();
            let input = self.position;
            match self.scenario.source[input].element {
                Element::Record { key, timestamp } => self.observed.record(now, key, timestamp, input as Input)?,
                Element::Watermark(at) => self.observed.watermark(now, at)?,
                Element::Idle => self.observed.idle(now)?,
            }
            self.position += 1;
            self.available = self.now + self.scenario.source.get(self.position).map_or(0, |arrival| arrival.gap);
        }
        Ok(busy)
    }

    fn finish_input(&mut self) -> Result<bool, Violation> {
        let now = self.time();
        match (self.finish, self.scenario.finish) {
            (Ending::Open, _) if self.position < self.scenario.source.len() => return Ok(false),
            (Ending::Open, Finish::End) => self.finish = Ending::Ended,
            (Ending::Open, Finish::EndThenDrain(wait, _)) => self.finish = Ending::EndedUntil(self.now + wait),
            (Ending::Open, Finish::Drain(limit)) | (Ending::EndedUntil(..), Finish::EndThenDrain(_, limit)) => {
                if let Ending::EndedUntil(at) = self.finish
                    && at > self.now
                {
                    return Ok(false);
                }
                self.finish = Ending::Draining;
                self.observed.drain(now, Duration::from_nanos(limit))?;
                return Ok(true);
            }
            _ => return Ok(false),
        }
        self.observed.end(now)?;
        Ok(true)
    }

    /// Changes its mind, takes a snapshot, dies. True if it died.
    fn be_a_host(&mut self) -> Result<bool, Violation> {
        let host = &self.scenario.host;
        let mut now_and_then = |times: u64| times > 0 && self.rng.one_in(times);
        let (reconfigures, snapshots) = (now_and_then(host.reconfigures), now_and_then(host.snapshots));
        let crashes = now_and_then(host.crashes) && self.crashes < host.most_crashes && self.finish != Ending::Over;
        let now = self.time();
        if reconfigures {
            let concurrency = concurrency(&mut self.rng, self.observed.config().capacity);
            self.observed.set_concurrency(now, concurrency)?;
        }
        if snapshots && self.finish != Ending::Over {
            self.saved = self.observed.snapshot(now)?;
            self.saved_at = (self.position, self.log.len());
            self.calls.iter_mut().for_each(|call| call.snapshot = true);
        }
        if crashes {
            self.crash()?;
        }
        Ok(crashes)
    }

    fn crash(&mut self) -> Result<(), Violation> {
        let rng = &mut self.rng;
        self.now += rng.below(20);
        self.heard = self.now;
        let now = Time::from_nanos(self.now);
        let mut config = self.observed.config().clone();
        config.event_time = rng.pick(&[config.event_time, config.event_time, EventTime::Frontier, EventTime::Strict]);
        if rng.one_in(2) {
            config.order = rng.pick(&Order::ALL);
            config.capacity = rng.within(1, 12) as usize;
            config.concurrency = concurrency(rng, config.capacity);
        }
        if rng.one_in(3) {
            config.deadline = config.deadline.map(|_| Duration::from_nanos(rng.within(8, 120)));
        }
        let restore = Restore { fresh: rng.one_in(3), forgets: rng.one_in(4) };
        self.crashes += 1;
        self.restored =
            self.observed.crash(now, self.saved.clone(), config, restore, |input| self.scenario.key(input))?;
        self.events.clear();
        self.calls.clear();
        (self.position, _) = self.saved_at;
        self.log.truncate(self.saved_at.1);
        self.finish = Ending::Open;
        self.available = self.now;
        Ok(())
    }

    /// Does what the queue says until it says that there is nothing more.
    fn poll(&mut self) -> Result<bool, Violation> {
        let mut busy = false;
        loop {
            match self.observed.poll(self.time(), Time::from_nanos(self.heard))? {
                Step::Call { id, number, inputs } => self.make_call(id, number, inputs)?,
                Step::Cancel(id) => self.cancel(id)?,
                Step::Forget(id) => {
                    self.calls.iter_mut().filter(|call| call.id == id).for_each(|call| call.gone = true)
                }
                Step::Idle(wake_at) => {
                    self.wake_at = wake_at.map(Time::as_nanos);
                    return Ok(busy || wake_at.is_some_and(|at| at <= self.time()));
                }
            }
            busy = true;
            if self.rng.one_in(6) {
                self.take_output()?;
            }
            if self.rng.one_in(6)
                && let Some(event) = self.due()
            {
                self.hand_in(event)?;
            }
            if self.rng.one_in(6) {
                self.be_a_host()?;
            }
        }
    }

    fn make_call(&mut self, id: CallId, number: u64, inputs: Vec<Input>) -> Result<(), Violation> {
        let plan = self.scenario.service.plan(&mut self.rng);
        let answer = plan.answer;
        self.calls.push(Call {
            id,
            number,
            inputs,
            plan,
            answered: false,
            cancelled: false,
            gone: false,
            snapshot: false,
        });
        match answer {
            Some(0) if self.rng.one_in(2) => self.answer(number)?,
            Some(latency) => self.events.push((self.now + latency, Event::Answer(number))),
            None => {}
        }
        Ok(())
    }

    fn cancel(&mut self, id: CallId) -> Result<(), Violation> {
        let now = self.time();
        // A name comes back when its call has ended: the last is meant.
        let Some(place) = self.calls.iter().rposition(|call| call.id == id) else { return Ok(()) };
        if self.calls[place].plan.answer.is_none() {
            self.count(Fault::Never, place);
        }
        let call = &mut self.calls[place];
        call.cancelled = true;
        match call.plan.stops {
            Some(0) => {
                call.gone = true;
                self.observed.cancelled(now, id)?;
            }
            Some(wait) => self.events.push((self.now + wait, Event::Stopped(call.number))),
            None => {}
        }
        Ok(())
    }

    /// The consumer takes the next element, if it is ready for one and there is one.
    fn take_output(&mut self) -> Result<bool, Violation> {
        if self.consumer > self.now {
            return Ok(false);
        }
        let Some(emit) = self.observed.emit(self.time())? else { return Ok(false) };
        self.consumer = self.now + self.rng.below(self.scenario.host.consumer + 1);
        match &emit {
            Emit::End => self.finish = Ending::Over,
            Emit::Record(emitted) => self.restored.decided.retain(|input| *input != emitted.input),
            _ => {}
        }
        self.log.push(emit);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_stands_still_is_noticed() {
        let mut scenario = Scenario::new(0);
        scenario.config.timeout = None;
        scenario.config.deadline = None;
        scenario.finish = Finish::End;
        scenario.service.lost = 1000;
        let violation =
            run_scenario(&scenario, &Options::default()).expect_err("no call ever answers, and no clock runs");
        assert_eq!(violation.rule, "progress");
    }

    #[test]
    fn a_world_that_takes_too_long_is_noticed() {
        let mut scenario = Scenario::new(0);
        scenario.service.latency = 5;
        let mut world = World::new(&scenario, Options::default()).expect("a sound scenario");
        world.now = scenario.bound();
        world.wake_at = Some(world.now + 1);
        world.rng = Rng::new(1);
        let violation = (0..9).find_map(|_| world.sleep().err()).expect("it is over time");
        assert_eq!(violation.rule, "progress");
    }
}
