//! The reference model: the queue once more, as a list in arrival order and two questions asked by looking at all of it,
//! [`may_start`](Reference::may_start) and [`may_leave`](Reference::may_leave).
//!
//! It follows the real queue call by call and objects to the first thing it would not have done. Where the rules leave a choice,
//! any choice is right: timers due in the same poll may fire in any order. Apart from that, records start in the order they came
//! (those tried again before all others) and leave in the order they became free to ([`Record::free`]), watermarks first.

use core::time::Duration;

use inflight_core::{
    Action, CallId, Clock, Completion, Config, Emit, Emitted, EventTime, Held, Jitter, Order, Outcome, Progress,
    Snapshot, Stats, Time, Timestamp,
};

use crate::rng::Rng;
use crate::{Input, Output, Violation, ensure};

/// What the queue should be.
#[derive(Clone, Debug)]
pub struct Reference {
    config: Config,
    elements: Vec<Element>,
    calls: Vec<Call>,
    cancels: Vec<(i64, Action)>,
    /// The highest watermark that arrived, and the last that left.
    watermark: (Option<Timestamp>, Option<Timestamp>),
    /// Thousandths of a retry.
    tokens: u64,
    ended: bool,
    over: bool,
    drain: Option<Time>,
    sequence: u64,
    /// Counts what was done with the queue; what happened in the same step happened at once.
    step: i64,
    stats: Stats,
}

#[derive(Clone, Debug)]
enum Element {
    Record(Box<Record>),
    Watermark(Timestamp),
    Idle,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Waiting,
    Calling,
    BackingOff(Time),
    Decided(Outcome<Output>, Time),
}

#[derive(Clone, Debug)]
struct Record {
    input: Input,
    key: u64,
    timestamp: Option<Timestamp>,
    /// Keeps its place among watermarks: late, without a timestamp, or by the strict rule.
    fixed: bool,
    sequence: u64,
    admitted: Time,
    deadline: Time,
    attempts: u32,
    state: State,
    last: Option<Output>,
    tried_again: bool,
    /// Place in the line of those that may start: lowest first.
    line: Option<i64>,
    /// When it was its key's turn, and when it was free to leave.
    released: Option<i64>,
    free: Option<i64>,
}

#[derive(Clone, Debug)]
struct Call {
    id: CallId,
    started: Time,
    records: Vec<(Input, u64)>,
    given_up: Option<Time>,
}

impl Reference {
    /// See [`Queue::resume`](inflight_core::Queue::resume).
    #[must_use]
    pub fn new(config: Config, watermark: Option<Timestamp>) -> Self {
        let tokens =
            config.retry.as_ref().and_then(|retry| retry.budget).map_or(0, |budget| u64::from(budget.reserve) * 1000);
        Self {
            config,
            elements: Vec::new(),
            calls: Vec::new(),
            cancels: Vec::new(),
            watermark: (watermark, watermark),
            tokens,
            ended: false,
            over: false,
            drain: None,
            sequence: 0,
            step: 0,
            stats: Stats::default(),
        }
    }

    pub(crate) fn record(
        &mut self,
        now: Time,
        key: u64,
        timestamp: Option<Timestamp>,
        input: Input,
        progress: Progress,
    ) {
        let late = timestamp.is_none_or(|at| self.watermark.0.is_some_and(|watermark| at <= watermark));
        let time = self.config.deadline.map(|all| progress.remaining.unwrap_or(all));
        self.stats.accepted += 1;
        self.elements.push(Element::Record(Box::new(Record {
            input,
            key,
            timestamp,
            fixed: late || self.config.event_time == EventTime::Strict,
            sequence: self.sequence,
            admitted: now,
            deadline: time.map_or(Time::NEVER, |time| now + time),
            attempts: progress.attempts,
            state: State::Waiting,
            last: None,
            tried_again: false,
            line: None,
            released: None,
            free: None,
        })));
        self.sequence += 1;
        self.next_step();
    }

    pub(crate) fn watermark(&mut self, at: Timestamp) {
        if self.watermark.0.is_none_or(|last| at > last) {
            self.watermark.0 = Some(at);
            self.elements.push(Element::Watermark(at));
        }
        self.sequence += 1;
    }

    pub(crate) fn idle(&mut self) {
        self.elements.push(Element::Idle);
        self.sequence += 1;
    }

    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn drain(&mut self, now: Time, limit: Duration) {
        if !self.over {
            self.ended = true;
            self.drain = Some(now + limit);
        }
    }

    pub(crate) const fn set_concurrency(&mut self, concurrency: usize) {
        self.config.concurrency = concurrency;
    }

    pub(crate) fn cancelled(&mut self, now: Time, call: CallId) {
        if self.calls.iter().any(|other| other.id == call && other.given_up.is_some()) {
            self.end_call(now, call);
            self.next_step();
        }
    }

    pub(crate) fn completion(&mut self, now: Time, call: CallId, completions: &[Completion<Output>]) {
        let found = self.calls.iter().find(|other| other.id == call).cloned();
        let wanted = found.as_ref().is_some_and(|call| call.given_up.is_none());
        self.stats.stragglers += u64::from(!wanted);
        let Some(found) = found else { return };
        for (place, &(input, _)) in found.records.iter().enumerate() {
            if wanted && self.find(input).is_some_and(|record| record.state == State::Calling) {
                match completions.get(place).cloned() {
                    Some(Completion::Done(output)) => self.decide(now, input, Outcome::Done(output)),
                    Some(Completion::Retry { last, after }) => {
                        self.retry_or(now, input, after, Some(last), Outcome::Done(last));
                    }
                    None => self.decide(now, input, Outcome::Unanswered),
                }
            }
        }
        self.end_call(now, call);
        self.next_step();
    }

    /// What [`Queue::poll`](inflight_core::Queue::poll) did: was it right?
    pub(crate) fn poll(&mut self, now: Time, action: Action, inputs: &[Input]) -> Result<(), Violation> {
        self.fire(now);
        if let Some(first) = self.cancels.first().map(|(step, _)| *step) {
            let place = self.cancels.iter().position(|&(step, cancel)| step == first && cancel == action);
            ensure!(place.is_some(), "model: actions", "{action:?}, but there is {:?} to do", self.cancels);
            place.map(|place| self.cancels.remove(place));
            return Ok(());
        }
        let mut line: Vec<_> =
            self.records().filter_map(|record| Some((record.line?, record.input, record.admitted))).collect();
        line.sort_unstable();
        let room = self.calls.len() < self.config.concurrency;
        let count = if room { line.len().min(self.config.batch.size) } else { 0 };
        let waits = !self.config.batch.linger.is_zero()
            && !self.calls.is_empty()
            && !self.ended
            && count < self.config.batch.size;
        // Those first in line may have got there at once: a batch may wait for either.
        let firsts =
            line.iter().take_while(|other| other.0 == line[0].0).map(|other| other.2 + self.config.batch.linger);
        let lingers: Vec<_> = firsts.filter(|until| count > 0 && waits && now < *until).collect();
        match action {
            Action::Call(id) => {
                let must = line.iter().filter(|other| count == 0 || other.0 < line[count - 1].0).count();
                let chosen: Vec<_> =
                    inputs.iter().filter_map(|input| line.iter().find(|other| other.1 == *input)).collect();
                let in_turn = chosen.is_sorted_by_key(|other| other.0)
                    && chosen.iter().filter(|other| line[count - 1].0 > other.0).count() == must
                    && chosen.iter().all(|other| other.0 <= line[count - 1].0);
                ensure!(
                    count > 0 && chosen.len() == count && inputs.len() == count && in_turn,
                    "model: calls",
                    "called {inputs:?}, in line {line:?}"
                );
                self.start(now, id, inputs);
            }
            Action::Idle { wake_at } => {
                ensure!(count == 0 || !lingers.is_empty(), "model: calls", "idle, but in line are {line:?}");
                let timers = self.timers().into_iter().min();
                let all: Vec<_> = if lingers.is_empty() {
                    vec![timers]
                } else {
                    lingers.iter().map(|at| Some(timers.map_or(*at, |other| other.min(*at)))).collect()
                };
                ensure!(all.contains(&wake_at), "model: wake_at", "{wake_at:?} instead of {all:?}");
            }
            other => ensure!(false, "model: actions", "{other:?} for no reason"),
        }
        Ok(())
    }

    fn timers(&self) -> Vec<Time> {
        let open = || self.records().filter(|record| !matches!(record.state, State::Decided(..)));
        let attempts = self
            .calls
            .iter()
            .filter(|call| call.given_up.is_none())
            .filter_map(|call| Some(call.started + self.config.timeout?));
        let graces = self.calls.iter().filter_map(|call| Some(call.given_up? + self.config.grace?));
        let backoffs =
            open().filter_map(|record| if let State::BackingOff(at) = record.state { Some(at) } else { None });
        let deadlines = open().map(|record| record.deadline).filter(|at| *at != Time::NEVER);
        let drain = self.drain.filter(|_| open().count() > 0);
        attempts.chain(graces).chain(backoffs).chain(deadlines).chain(drain).collect()
    }

    fn fire(&mut self, now: Time) {
        let records: Vec<_> = self.records().cloned().collect();
        for record in records.iter().filter(|record| !matches!(record.state, State::Decided(..))) {
            if record.deadline <= now {
                self.time_out(now, record.input, Clock::Deadline);
            } else if matches!(record.state, State::BackingOff(at) if at <= now) {
                self.at(record.input).state = State::Waiting;
            }
        }
        for call in self.calls.clone() {
            if call.given_up.is_some_and(|at| self.config.grace.is_some_and(|grace| at + grace <= now)) {
                self.cancels.push((self.step, Action::Forget(call.id)));
                self.end_call(now, call.id);
            } else if call.given_up.is_none()
                && self.config.timeout.is_some_and(|timeout| call.started + timeout <= now)
            {
                self.time_out_call(now, &call);
            }
        }
        if self.drain.is_some_and(|limit| limit <= now) {
            self.drain = None;
            for record in records {
                if self.find(record.input).is_some_and(|record| !matches!(record.state, State::Decided(..))) {
                    self.time_out(now, record.input, Clock::Drain);
                }
            }
        }
        self.next_step();
    }

    fn time_out(&mut self, now: Time, input: Input, clock: Clock) {
        let last = self.at(input).last;
        self.decide(now, input, Outcome::TimedOut { clock, last });
        let calling = |input| self.find(input).is_some_and(|record| record.state == State::Calling);
        let unwanted = |call: &&Call| call.given_up.is_none() && !call.records.iter().any(|(input, _)| calling(*input));
        let given_up: Vec<_> = self.calls.iter().filter(unwanted).map(|call| call.id).collect();
        given_up.into_iter().for_each(|call| self.give_up(now, call));
    }

    fn time_out_call(&mut self, now: Time, call: &Call) {
        self.stats.attempts_timed_out += 1;
        let again = self.config.retry.as_ref().is_some_and(|retry| retry.timeouts);
        for &(input, _) in &call.records {
            if let Some(record) = self.find(input).filter(|record| record.state == State::Calling) {
                let outcome = Outcome::TimedOut { clock: Clock::Attempt, last: record.last };
                if again {
                    self.retry_or(now, input, None, None, outcome);
                } else {
                    self.decide(now, input, outcome);
                }
            }
        }
        self.give_up(now, call.id);
    }

    fn give_up(&mut self, now: Time, id: CallId) {
        self.calls.iter_mut().filter(|call| call.id == id).for_each(|call| call.given_up = Some(now));
        self.cancels.push((self.step, Action::Cancel(id)));
    }

    fn retry_or(
        &mut self,
        now: Time,
        input: Input,
        after: Option<Duration>,
        last: Option<Output>,
        otherwise: Outcome<Output>,
    ) {
        let at = self.config.retry.clone().and_then(|retry| {
            let record = self.find(input)?.clone();
            let mut wait = retry.backoff.delay(record.attempts);
            if retry.jitter == Jitter::Full {
                let salt =
                    self.config.seed ^ Rng::new(record.sequence).next().rotate_left(17) ^ u64::from(record.attempts);
                wait = Duration::from_nanos(Rng::new(salt).below(wait.as_nanos() as u64 + 1));
            }
            let at = now + wait.max(after.unwrap_or_default());
            let late = at >= record.deadline || self.drain.is_some_and(|limit| at >= limit);
            if record.attempts > retry.max_retries || late {
                return None;
            }
            let refused = retry.budget.is_some() && self.tokens < 1000;
            self.stats.retries_refused += u64::from(refused);
            self.tokens -= if retry.budget.is_some() && !refused { 1000 } else { 0 };
            (!refused).then_some(at)
        });
        match at {
            None => self.decide(now, input, otherwise),
            Some(at) => {
                let record = self.at(input);
                record.last = last.or(record.last);
                record.tried_again = true;
                record.state = if at <= now { State::Waiting } else { State::BackingOff(at) };
            }
        }
    }

    fn start(&mut self, now: Time, id: CallId, inputs: &[Input]) {
        let budget = self.config.retry.as_ref().and_then(|retry| retry.budget);
        let mut records = Vec::new();
        for &input in inputs {
            let record = self.at(input);
            record.state = State::Calling;
            record.line = None;
            record.attempts += 1;
            let first = record.attempts == 1;
            records.push((input, record.key));
            self.stats.attempts += 1;
            self.stats.retries += u64::from(!first);
            if let Some(budget) = budget.filter(|_| first) {
                self.tokens = (self.tokens + u64::from(budget.per_mille)).min(u64::from(budget.reserve) * 1000);
            }
        }
        self.stats.calls += 1;
        self.calls.push(Call { id, started: now, records, given_up: None });
    }

    fn decide(&mut self, now: Time, input: Input, outcome: Outcome<Output>) {
        self.stats.timed_out += u64::from(matches!(outcome, Outcome::TimedOut { .. }));
        let record = self.at(input);
        record.line = None;
        record.state = State::Decided(outcome, now);
    }

    fn end_call(&mut self, now: Time, id: CallId) {
        let ended =
            self.calls.iter().filter(|call| call.id == id).map(|call| now.since(call.started).as_nanos() as u64);
        self.stats.wire_nanos += ended.sum::<u64>();
        self.calls.retain(|call| call.id != id);
        self.cancels.retain(|(_, cancel)| *cancel != Action::Cancel(id));
    }

    /// Whether the element at `place` may start now, as far as its key goes.
    fn may_start(&self, place: usize) -> bool {
        let Element::Record(record) = &self.elements[place] else { return false };
        let same_key = |other: &&Element| matches!(other, Element::Record(other) if other.key == record.key);
        let serial = self.config.order == Order::KeySerial;
        let called = self.calls.iter().flat_map(|call| &call.records).any(|(_, key)| *key == record.key);
        record.state == State::Waiting
            && !(serial && (called || self.elements[..place].iter().any(|other| same_key(&other))))
    }

    /// Whether no earlier record of its key is in the way.
    fn key_turn(&self, place: usize) -> bool {
        let Element::Record(record) = &self.elements[place] else { return true };
        let in_the_way = |other: &Element| matches!(other, Element::Record(other) if other.key == record.key);
        !self.config.order.is_keyed() || !self.elements[..place].iter().any(in_the_way)
    }

    /// Whether the element at `place` may leave now.
    fn may_leave(&self, place: usize) -> bool {
        let before = &self.elements[..place];
        if self.config.order == Order::Ordered && place > 0 {
            return false;
        }
        match &self.elements[place] {
            Element::Record(record) => {
                let fence = |other: &Element| {
                    matches!(other, Element::Idle) || record.fixed && !matches!(other, Element::Record(_))
                };
                matches!(record.state, State::Decided(..)) && self.key_turn(place) && !before.iter().any(fence)
            }
            Element::Idle => before.is_empty(),
            Element::Watermark(at) => !before.iter().any(|other| match other {
                Element::Record(record) => record.fixed || record.timestamp.is_some_and(|timestamp| timestamp <= *at),
                _ => true,
            }),
        }
    }

    /// Notes who may start and who may leave since the last step.
    fn next_step(&mut self) {
        self.step += 1;
        for place in 0..self.elements.len() {
            let (start, turn, leave) = (self.may_start(place), self.key_turn(place), self.may_leave(place));
            let step = self.step;
            let Element::Record(record) = &mut self.elements[place] else { continue };
            if start && record.line.is_none() {
                record.line = Some(if record.tried_again { -step } else { step });
            }
            if turn && matches!(record.state, State::Decided(..)) && record.released.is_none() {
                record.released = Some(step);
            }
            if leave && record.free.is_none() {
                record.free = Some(step);
            }
        }
    }

    /// What [`Queue::emit`](inflight_core::Queue::emit) gave: was it right?
    pub(crate) fn emit(&mut self, emit: Option<&Emit<Input, Output>>) -> Result<(), Violation> {
        let control = (0..self.elements.len())
            .find(|place| !matches!(self.elements[*place], Element::Record(_)) && self.may_leave(*place));
        let first = self.records().filter_map(|record| Some((record.free?, record.released?))).min();
        let place = control.or_else(|| {
            let given = |record: &Record| matches!(emit, Some(Emit::Record(emitted)) if emitted.input == record.input);
            let is_first = |record: &Record| record.free.zip(record.released) == first;
            let chosen =
                |element: &Element| matches!(element, Element::Record(record) if is_first(record) && given(record));
            first.and_then(|_| self.elements.iter().position(chosen))
        });
        let Some(place) = place else {
            ensure!(first.is_none(), "model: emissions", "{emit:?}, but {first:?} may leave: {:?}", self.elements);
            let end = self.ended
                && !self.over
                && self.elements.is_empty()
                && self.calls.is_empty()
                && self.cancels.is_empty();
            ensure!(
                emit.is_none() != end && matches!(emit, None | Some(Emit::End)),
                "model: emissions",
                "{emit:?} instead of the end ({end})"
            );
            self.over |= end;
            return Ok(());
        };
        let expected = match self.elements.remove(place) {
            Element::Watermark(at) => {
                self.watermark.1 = Some(at);
                Emit::Watermark(at)
            }
            Element::Idle => Emit::Idle,
            Element::Record(record) => {
                self.stats.emitted += 1;
                let State::Decided(outcome, decided) = record.state else { return Ok(()) };
                let Record { sequence, input, timestamp, attempts, admitted, .. } = *record;
                Emit::Record(Emitted { sequence, input, timestamp, outcome, attempts, admitted, decided })
            }
        };
        self.next_step();
        ensure!(emit == Some(&expected), "model: emissions", "{emit:?} instead of {expected:?}");
        Ok(())
    }

    pub(crate) fn snapshot(&self, now: Time) -> Snapshot<Input> {
        let elements = self.elements.iter().map(|element| match element {
            Element::Watermark(at) => Held::Watermark(*at),
            Element::Idle => Held::Idle,
            Element::Record(record) => {
                let again = u32::from(matches!(record.state, State::Calling | State::Decided(..)));
                let answered = matches!(record.state, State::Decided(Outcome::Done(_) | Outcome::Unanswered, _));
                let remaining = (record.deadline != Time::NEVER && !answered).then(|| record.deadline.since(now));
                let progress = Progress { attempts: record.attempts.saturating_sub(again), remaining };
                Held::Record { input: record.input, timestamp: record.timestamp, progress }
            }
        });
        Snapshot { watermark: self.watermark.1, elements: elements.collect() }
    }

    /// All but `timers`, of which there is only a bound.
    pub(crate) fn stats(&self) -> Stats {
        let count = |wanted: fn(&Record) -> bool| self.records().filter(|record| wanted(record)).count();
        let held = self.records().count();
        Stats {
            held,
            decided: count(|record| matches!(record.state, State::Decided(..))),
            backing_off: count(|record| matches!(record.state, State::BackingOff(_))),
            on_wire: self.calls.len(),
            given_up: self.calls.iter().filter(|call| call.given_up.is_some()).count(),
            controls: self.elements.len() - held,
            ..self.stats
        }
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.elements
            .iter()
            .filter_map(|element| if let Element::Record(record) = element { Some(&**record) } else { None })
    }

    fn find(&self, input: Input) -> Option<&Record> {
        self.records().find(|record| record.input == input)
    }

    #[allow(clippy::expect_used, reason = "the model's own mistake")]
    fn at(&mut self, input: Input) -> &mut Record {
        let records = self
            .elements
            .iter_mut()
            .filter_map(|element| if let Element::Record(record) = element { Some(record) } else { None });
        records.into_iter().find(|record| record.input == input).expect("a record that is held")
    }
}
