//! The rules, checked from outside: from what went in, what came out, and what [`Queue::poll`](inflight_core::Queue::poll) said.
//!
//! Nothing here is taken from the queue's code. Where the rules leave it open what became of a record (jitter), the checker
//! keeps every possibility until the queue shows which it was.

mod clocks;
mod departures;

use core::time::Duration;

use inflight_core::{
    CallId, Completion, Config, EventTime, Held, Order, Outcome, Progress, Snapshot, Stats, Time, Timestamp,
};

use crate::{Input, Output, Violation, ensure};

/// Knows the rules, and what a run has shown so far.
#[derive(Clone, Debug)]
pub struct Checker {
    config: Config,
    /// Everything accepted that has not left, in arrival order.
    held: Vec<Element>,
    calls: Vec<Call>,
    /// Calls that do not count any more, which the queue has yet to say.
    overdue: Vec<Call>,
    /// Which inputs have left, over all lives.
    left: Vec<bool>,
    accepted: u64,
    emitted: u64,
    calls_made: u64,
    retries: u64,
    stragglers: u64,
    timed_out: u64,
    /// Controls accepted that tell something new, and those that left.
    controls_in: Controls,
    controls_out: Controls,
    restored_to: usize,
    ended: bool,
    over: bool,
    drain: Option<Time>,
    largest: usize,
}

/// One thing held.
#[derive(Clone, Debug)]
enum Element {
    Record(Box<Record>),
    Watermark(Timestamp),
    Idle,
}

/// Watermarks and idle statuses, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Controls {
    watermark: Option<Timestamp>,
    watermarks: u64,
    idles: u64,
}

#[derive(Clone, Debug)]
struct Record {
    input: Input,
    key: u64,
    timestamp: Option<Timestamp>,
    /// What had arrived before it.
    before: Controls,
    admitted: Time,
    deadline: Option<Time>,
    attempts: u32,
    /// Attempts before this queue's life.
    inherited: u32,
    /// In the call it is on the wire with.
    calling: bool,
    /// When it may be tried again: not before, and, if it may start then, not after.
    retry: Option<(Time, Time)>,
    /// Since when it is sure to have been in line: accepted, or back from a backoff.
    in_line: Option<Time>,
    last: Option<Output>,
    /// It may be undecided.
    open: bool,
    /// It may have been decided so, then.
    decided: Vec<(Outcome<Output>, Time)>,
}

#[derive(Clone, Debug)]
struct Call {
    id: CallId,
    started: Time,
    records: Vec<(Input, u64)>,
    given_up: Option<Time>,
    cancelled: bool,
}

impl Checker {
    /// For a queue made with this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            held: Vec::new(),
            calls: Vec::new(),
            overdue: Vec::new(),
            left: Vec::new(),
            accepted: 0,
            emitted: 0,
            calls_made: 0,
            retries: 0,
            stragglers: 0,
            timed_out: 0,
            controls_in: Controls::default(),
            controls_out: Controls::default(),
            restored_to: 0,
            ended: false,
            over: false,
            drain: None,
            largest: 0,
        }
    }

    /// The process died after `snapshot`, at which this checker was cloned; its records are about to be handed in again.
    #[must_use]
    pub(crate) fn restored(self, config: Config, watermark: Option<Timestamp>) -> Self {
        let controls = Controls { watermark, ..self.controls_out };
        let left = self.left;
        Self { left, controls_in: controls, controls_out: controls, ..Self::new(config) }
    }

    pub(crate) fn record(
        &mut self,
        now: Time,
        key: u64,
        timestamp: Option<Timestamp>,
        input: Input,
        progress: Option<Progress>,
    ) {
        let remaining = progress.and_then(|progress| progress.remaining);
        self.admit(Record {
            input,
            key,
            timestamp,
            before: self.controls_in,
            admitted: now,
            deadline: self.config.deadline.map(|all| now + remaining.unwrap_or(all)),
            attempts: progress.map_or(0, |progress| progress.attempts),
            inherited: progress.map_or(0, |progress| progress.attempts),
            calling: false,
            retry: None,
            in_line: Some(now),
            last: None,
            open: true,
            decided: Vec::new(),
        });
        if progress.is_some() {
            self.restored_to = self.records_held();
        }
    }

    /// A record that had its outcome when the snapshot was taken: it may not be called, and leaves with that very outcome.
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
        self.admit(Record {
            input,
            key,
            timestamp,
            before: self.controls_in,
            admitted,
            deadline: None,
            attempts,
            inherited: attempts,
            calling: false,
            retry: None,
            in_line: None,
            last: None,
            open: false,
            decided: vec![(outcome, admitted + elapsed)],
        });
        self.restored_to = self.records_held();
    }

    fn admit(&mut self, record: Record) {
        self.accepted += 1;
        self.held.push(Element::Record(Box::new(record)));
        self.largest = self.largest.max(self.held.len());
    }

    pub(crate) fn watermark(&mut self, at: Timestamp) {
        if self.controls_in.watermark.is_none_or(|last| at > last) {
            self.controls_in.watermark = Some(at);
            self.controls_in.watermarks += 1;
            self.held.push(Element::Watermark(at));
        }
    }

    pub(crate) fn idle(&mut self) {
        self.controls_in.idles += 1;
        self.held.push(Element::Idle);
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

    /// The queue said to make this call.
    pub(crate) fn call(&mut self, now: Time, id: CallId, inputs: &[Input]) -> Result<(), Violation> {
        ensure!(!self.over, "nothing runs after the end", "{id:?}");
        ensure!(!inputs.is_empty() && inputs.len() <= self.config.batch.size, "batch size", "{inputs:?}");
        ensure!(self.drain.is_none_or(|limit| now < limit), "no attempt at or after the drain's limit", "{inputs:?}");
        let on_wire = self.calls.len();
        ensure!(on_wire < self.config.concurrency, "on the wire <= concurrency", "{id:?} beside {on_wire} others");
        ensure!(self.calls.iter().all(|call| call.id != id), "a call has its own name", "{id:?}");
        self.calls_made += 1;
        let mut records = Vec::new();
        for (place, &input) in inputs.iter().enumerate() {
            ensure!(!inputs[..place].contains(&input), "a record is in a call once", "{input} in {inputs:?}");
            let key = self.start(now, input)?;
            let same_key = |(_, other): &(Input, u64)| *other == key;
            let serial = self.config.order == Order::KeySerial;
            let twice = serial && self.calls.iter().flat_map(|call| &call.records).chain(&records).any(same_key);
            ensure!(!twice, "one call of a key at a time", "{input} of key {key}, on the wire are {:?}", self.calls);
            records.push((input, key));
        }
        self.calls.push(Call { id, started: now, records, given_up: None, cancelled: false });
        Ok(())
    }

    /// One record of a call. Gives back its key.
    fn start(&mut self, now: Time, input: Input) -> Result<u64, Violation> {
        let place = self.place(input);
        ensure!(place.is_some(), "only what is held is called", "{input}");
        let place = place.unwrap_or_default();
        if self.config.order == Order::KeySerial {
            let key = self.at(place).map(|record| record.key);
            let earlier = self.held[..place].iter().filter_map(record).find(|other| Some(other.key) == key);
            ensure!(earlier.is_none(), "one call of a key at a time", "{input} before {earlier:?}");
        }
        let max = self.config.retry.as_ref().map_or(1, |retry| 1 + retry.max_retries);
        let Some(record) = self.at(place) else { return Ok(0) };
        ensure!(record.open && !record.calling, "no attempt once decided, or while one runs", "{record:?}");
        ensure!(
            record.deadline.is_none_or(|at| now < at),
            "no attempt at or after the deadline",
            "{record:?} at {now:?}"
        );
        ensure!(record.attempts < max, "attempts <= 1 + max_retries", "{record:?}");
        ensure!(record.retry.is_none_or(|(from, _)| now >= from), "backoff is kept", "{record:?} at {now:?}");
        let again = record.retry.take().is_some();
        record.in_line = None;
        record.attempts += 1;
        record.calling = true;
        record.decided.clear();
        let (key, first) = (record.key, record.attempts == 1);
        ensure!(first || again || record.attempts == record.inherited + 1, "a retry follows a failure", "{input}");
        self.retries += u64::from(again);
        Ok(key)
    }

    /// A call has ended, with these completions.
    pub(crate) fn completion(&mut self, now: Time, id: CallId, completions: &[Completion<Output>]) {
        let Some(place) = self.calls.iter().position(|call| call.id == id) else {
            self.stragglers += 1;
            return;
        };
        let call = self.calls.remove(place);
        if call.given_up.is_some() {
            self.stragglers += 1;
            return;
        }
        for (place, (input, _)) in call.records.iter().enumerate() {
            self.attempt_ended(now, *input, completions.get(place));
        }
    }

    pub(crate) fn cancelled(&mut self, id: CallId) {
        self.calls.retain(|call| call.id != id || call.given_up.is_none());
    }

    /// The queue said that nobody waits for this call.
    pub(crate) fn cancel(&mut self, id: CallId) -> Result<(), Violation> {
        ensure!(!self.over, "nothing runs after the end", "cancel {id:?}");
        let call = self.calls.iter_mut().find(|call| call.id == id);
        ensure!(call.is_some(), "only what is on the wire is cancelled", "{id:?}");
        if let Some(call) = call {
            ensure!(call.given_up.is_some(), "what is wanted is not cancelled", "{call:?}");
            ensure!(!call.cancelled, "a call is cancelled once", "{call:?}");
            call.cancelled = true;
        }
        Ok(())
    }

    /// The queue said that this call no longer counts.
    pub(crate) fn forget(&mut self, now: Time, id: CallId) -> Result<(), Violation> {
        ensure!(!self.over, "nothing runs after the end", "forget {id:?}");
        let place = self.overdue.iter().position(|call| call.id == id);
        ensure!(place.is_some(), "a call is forgotten after its grace", "{id:?} at {now:?}");
        let call = place.map(|place| self.overdue.remove(place));
        ensure!(call.as_ref().is_some_and(|call| call.cancelled), "what is given up is cancelled", "{call:?}");
        Ok(())
    }

    /// A snapshot holds what is held, in arrival order, and its outcome if it may have one.
    pub(crate) fn snapshot(&self, snapshot: &Snapshot<Input, Outcome<Output>>) -> Result<(), Violation> {
        ensure!(
            snapshot.watermark == self.controls_out.watermark,
            "a snapshot knows the last watermark",
            "{:?} instead of {:?}",
            snapshot.watermark,
            self.controls_out
        );
        let same = |(one, other): (&Held<Input, _>, &Element)| match (one, other) {
            (
                Held::Record { input, timestamp, .. } | Held::Decided { input, timestamp, .. },
                Element::Record(record),
            ) => *input == record.input && *timestamp == record.timestamp,
            (Held::Watermark(one), Element::Watermark(other)) => one == other,
            (one, other) => matches!((one, other), (Held::Idle, Element::Idle)),
        };
        let equal = snapshot.elements.len() == self.held.len() && snapshot.elements.iter().zip(&self.held).all(same);
        ensure!(equal, "snapshot + emitted = accepted", "{:?} instead of {:?}", snapshot.elements, self.held);
        let records =
            snapshot.elements.iter().zip(&self.held).filter_map(|(held, element)| Some((held, record(element)?)));
        for (held, record) in records {
            ensure!(record.may_be(held), "a snapshot has the outcomes", "{held:?} of {record:?}");
        }
        Ok(())
    }

    /// The queue's own counts, and whether it takes more.
    pub(crate) fn stats(&self, stats: &Stats, has_room: bool) -> Result<(), Violation> {
        let held = self.records_held();
        let controls = self.held.len() - held;
        let bound = self.config.capacity.max(self.restored_to);
        ensure!(held <= bound, "held <= capacity", "{held} of {bound}");
        let counted = if self.config.event_time == EventTime::Strict { held + controls } else { held.max(controls) };
        ensure!(
            has_room == (counted < self.config.capacity),
            "room while held < capacity",
            "{has_room} with {held} and {controls}"
        );
        let given_up = self.calls.iter().filter(|call| call.given_up.is_some()).count();
        let seen = Stats {
            held,
            controls,
            on_wire: self.calls.len(),
            given_up,
            accepted: self.accepted,
            emitted: self.emitted,
            calls: self.calls_made,
            stragglers: self.stragglers,
            ..*stats
        };
        ensure!(seen == *stats, "stats are what was observed", "{stats:?} instead of {seen:?}");
        let timers =
            6 * self.largest + 4 * (self.config.concurrency.max(self.calls.len()) + self.config.capacity) + 200;
        ensure!(stats.timers <= timers, "timers are bounded", "{}", stats.timers);
        Ok(())
    }

    fn records_held(&self) -> usize {
        self.held.iter().filter(|element| record(element).is_some()).count()
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.held.iter().filter_map(record)
    }

    fn place(&self, input: Input) -> Option<usize> {
        self.held.iter().position(|element| record(element).is_some_and(|record| record.input == input))
    }

    fn at(&mut self, place: usize) -> Option<&mut Record> {
        match &mut self.held[place] {
            Element::Record(record) => Some(record),
            _ => None,
        }
    }
}

impl Record {
    /// Whether a snapshot is right to say that it is decided so, or not decided.
    fn may_be(&self, held: &Held<Input, Outcome<Output>>) -> bool {
        match held {
            Held::Decided { outcome, attempts, elapsed, .. } => {
                let so = |(other, at): &(_, Time)| other == outcome && at.since(self.admitted) == *elapsed;
                *attempts == self.attempts && self.decided.iter().any(so)
            }
            _ => self.open,
        }
    }
}

fn record(element: &Element) -> Option<&Record> {
    match element {
        Element::Record(record) => Some(record),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
