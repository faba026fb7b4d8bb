//! The model's calls and clocks: what starts, what runs out of time, what is tried again.

use core::time::Duration;

use inflight_core::{Action, CallId, Clock, Completion, Jitter, Outcome, Time};

use super::{Call, Record, Reference, State};
use crate::{Input, Output, Rng, Violation, ensure};

/// A record in line: its place, what it is, and until when it may wait for others to share a call with.
type Waiting = (i64, Input, Time);

impl Reference {
    pub(crate) fn drain(&mut self, now: Time, limit: Duration) {
        if !self.over {
            self.ended = true;
            self.drain = Some(now + limit);
        }
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
        let linger = self.config.batch.linger;
        let in_line = |record: &Record| Some((record.line?, record.input, record.admitted + linger));
        let mut line: Vec<_> = self.records().filter_map(in_line).collect();
        line.sort_unstable();
        let room = self.calls.len() < self.config.concurrency;
        line.truncate(if room { line.len() } else { 0 });
        match action {
            Action::Call(id) => {
                self.right_call(now, inputs, &line)?;
                self.start(now, id, inputs);
                Ok(())
            }
            Action::Idle { wake_at } => self.right_wait(now, wake_at, &line),
            Action::Cancel(_) | Action::Forget(_) => {
                ensure!(false, "model: actions", "{action:?} for no reason");
                Ok(())
            }
        }
    }

    /// As many as fit, in the order of their places; those with the same place in any order.
    fn right_call(&self, now: Time, inputs: &[Input], line: &[Waiting]) -> Result<(), Violation> {
        let place = |input: &Input| line.iter().find(|other| other.1 == *input).map(|other| other.0);
        let places: Vec<_> = inputs.iter().map(place).collect();
        let first: Vec<_> = line.iter().take(self.config.batch.size).map(|other| Some(other.0)).collect();
        ensure!(!inputs.is_empty() && places == first, "model: calls", "called {inputs:?}, in line {line:?}");
        let early = self.waits_for_more(line).is_some_and(|firsts| firsts.iter().all(|until| now < *until));
        ensure!(!early, "model: calls", "{inputs:?} did not wait for more, in line {line:?}");
        Ok(())
    }

    fn right_wait(&self, now: Time, wake_at: Option<Time>, line: &[Waiting]) -> Result<(), Violation> {
        let timers = self.timers().into_iter().min();
        let mut right = vec![timers];
        if !line.is_empty() {
            let firsts = self.waits_for_more(line).unwrap_or_default().into_iter().filter(|until| now < *until);
            right = firsts.map(|until| Some(timers.map_or(until, |other| other.min(until)))).collect();
        }
        ensure!(!right.is_empty(), "model: calls", "idle, but in line are {line:?}");
        ensure!(right.contains(&wake_at), "model: wake_at", "{wake_at:?} instead of {right:?}");
        Ok(())
    }

    /// Until when a part-filled batch waits: for as long as the first in line may. Those with the same place may each be it.
    fn waits_for_more(&self, line: &[Waiting]) -> Option<Vec<Time>> {
        let (first, ..) = line.first()?;
        let goes = self.calls.is_empty() || self.ended || line.len() >= self.config.batch.size;
        let firsts = line.iter().filter(|(place, ..)| place == first).map(|(.., until)| *until);
        (!goes && !self.config.batch.linger.is_zero()).then(|| firsts.collect())
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

    fn start(&mut self, now: Time, id: CallId, inputs: &[Input]) {
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
        }
        self.stats.calls += 1;
        self.calls.push(Call { id, started: now, records, given_up: None });
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

    fn end_call(&mut self, now: Time, id: CallId) {
        let ended =
            self.calls.iter().filter(|call| call.id == id).map(|call| now.since(call.started).as_nanos() as u64);
        self.stats.wire_nanos += ended.sum::<u64>();
        self.calls.retain(|call| call.id != id);
        self.cancels.retain(|(_, cancel)| *cancel != Action::Cancel(id));
    }

    fn decide(&mut self, now: Time, input: Input, outcome: Outcome<Output>) {
        self.stats.timed_out += u64::from(matches!(outcome, Outcome::TimedOut { .. }));
        let record = self.at(input);
        record.line = None;
        record.state = State::Decided(outcome, now);
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
            Some(at)
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
}
