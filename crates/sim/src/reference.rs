//! The reference model: the queue once more, as a list in arrival order and two questions asked by looking at all of it,
//! [`may_start`](Reference::may_start) and [`may_leave`](Reference::may_leave).
//!
//! It follows the real queue call by call and objects to the first thing it would not have done. Where the rules leave a choice,
//! any choice is right: timers due in the same poll may fire in any order. Apart from that, records start in the order they came
//! (those tried again before all others) and leave in the order they became free to ([`Record::free`]), watermarks first.

mod calls;

use core::time::Duration;

use inflight_core::{
    Action, CallId, Config, Emit, Emitted, EventTime, Held, Order, Outcome, Progress, Snapshot, Stats, Time, Timestamp,
};

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
        Self {
            config,
            elements: Vec::new(),
            calls: Vec::new(),
            cancels: Vec::new(),
            watermark: (watermark, watermark),
            ended: false,
            over: false,
            drain: None,
            sequence: 0,
            step: 0,
            stats: Stats::default(),
        }
    }

    pub(crate) fn record(&mut self, now: Time, key: u64, timestamp: Option<Timestamp>, input: Input, spent: Progress) {
        self.admit(now, key, timestamp, input, spent, State::Waiting);
    }

    pub(crate) fn record_decided(
        &mut self,
        (now, elapsed): (Time, Duration),
        key: u64,
        timestamp: Option<Timestamp>,
        input: Input,
        outcome: Outcome<Output>,
        attempts: u32,
    ) {
        let admitted = Time::ZERO + now.since(Time::ZERO).saturating_sub(elapsed);
        self.stats.timed_out += u64::from(matches!(outcome, Outcome::TimedOut { .. }));
        let (spent, state) = (Progress { attempts, remaining: None }, State::Decided(outcome, admitted + elapsed));
        self.admit(admitted, key, timestamp, input, spent, state);
    }

    fn admit(
        &mut self,
        now: Time,
        key: u64,
        timestamp: Option<Timestamp>,
        input: Input,
        spent: Progress,
        state: State,
    ) {
        let late = timestamp.is_none_or(|at| self.watermark.0.is_some_and(|watermark| at <= watermark));
        let time = self.config.deadline.map(|all| spent.remaining.unwrap_or(all));
        self.stats.accepted += 1;
        self.elements.push(Element::Record(Box::new(Record {
            input,
            key,
            timestamp,
            fixed: late || self.config.event_time == EventTime::Strict,
            sequence: self.sequence,
            admitted: now,
            deadline: time.map_or(Time::NEVER, |time| now + time),
            attempts: spent.attempts,
            state,
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

    pub(crate) const fn set_concurrency(&mut self, concurrency: usize) {
        self.config.concurrency = concurrency;
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

    pub(crate) fn snapshot(&self, now: Time) -> Snapshot<Input, Outcome<Output>> {
        let elements = self.elements.iter().map(|element| match element {
            Element::Watermark(at) => Held::Watermark(*at),
            Element::Idle => Held::Idle,
            Element::Record(record) => {
                let Record { input, timestamp, attempts, .. } = **record;
                if let State::Decided(outcome, decided) = &record.state {
                    let (outcome, elapsed) = (outcome.clone(), decided.since(record.admitted));
                    return Held::Decided { input, timestamp, outcome, attempts, elapsed };
                }
                let again = u32::from(record.state == State::Calling);
                let remaining = (record.deadline != Time::NEVER).then(|| record.deadline.since(now));
                let progress = Progress { attempts: attempts.saturating_sub(again), remaining };
                Held::Record { input, timestamp, progress }
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
