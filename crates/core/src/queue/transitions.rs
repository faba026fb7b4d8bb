//! Every change of a record's state, and what follows from it.

use core::time::Duration;

use super::{Action, Input, Queue};
use crate::calls::{CallId, CallState};
use crate::entry::{NONE, State};
use crate::fences::Control;
use crate::gate::Gate;
use crate::mutant::Mutant;
use crate::outcome::{Clock, Completion, Emit, Emitted, Outcome};
use crate::retry::mix;
use crate::time::{Time, Timestamp};
use crate::timers::Timer;

/// Where in the line of those that may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Before all others: it has waited already.
    First,
    Last,
}

impl<I, O> Queue<I, O> {
    pub(super) fn handle_control(&mut self, control: Control) {
        assert!(self.input == Input::Open, "a watermark was handed in after the end of input");
        let sequence = self.next_sequence();
        self.departures.arrive(sequence, control);
    }

    #[inline]
    pub(super) fn next_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }

    /// Takes in a record, which holds up its key and the watermarks behind it from now on.
    #[inline(always)]
    pub(super) fn admit(&mut self, now: Time, key: u64, timestamp: Option<Timestamp>, input: I) -> u32 {
        assert!(self.input == Input::Open, "a record was handed in after the end of input");
        let sequence = self.next_sequence();
        let index = self.entries.insert(now, sequence, timestamp, input);
        self.departures.admit(index, sequence, key, timestamp);
        self.stats.held += 1;
        self.stats.accepted += 1;
        index
    }

    /// Waiting: puts the record in line, unless its key's turn or its own last call holds it back.
    #[inline]
    pub(super) fn line_up(&mut self, index: u32, turn: Turn) {
        let entry = self.entries.at(index);
        if entry.state != State::Waiting || entry.in_line || entry.call != NONE || !self.departures.may_start(index) {
            return;
        }
        let id = self.entries.id(index);
        self.entries.at_mut(index).in_line = true;
        self.in_line += 1;
        match turn {
            Turn::First => self.line.push_front(id),
            Turn::Last => self.line.push_back(id),
        }
        if self.line.len() > 2 * self.in_line + 64 {
            let entries = &self.entries;
            self.line.retain(|&id| entries.find(id).is_some_and(|entry| entry.in_line));
        }
    }

    /// Waiting -> Calling, for as many records as share a call.
    #[inline]
    pub(super) fn start_call(&mut self, now: Time, gate: &mut impl Gate) -> Option<CallId> {
        self.skip_dead(now);
        let full = self.in_line >= self.config.batch.size;
        if self.in_line == 0 || (!full && self.lingers_until(now).is_some()) {
            return None;
        }
        if !gate.call(now) {
            return None;
        }
        let call = self.calls.start(now);
        for place in 1..=self.config.batch.size {
            let Some(id) = self.line.pop_front() else { break };
            self.in_line -= 1;
            self.join(id.index, call);
            if place < self.config.batch.size {
                self.skip_dead(now);
            }
        }
        self.stats.calls += 1;
        if let Some(timeout) = self.config.timeout {
            self.arm(now + timeout, Timer::Attempt(call));
        }
        Some(call)
    }

    #[inline]
    fn join(&mut self, index: u32, id: CallId) {
        let entry = self.entries.at_mut(index);
        entry.in_line = false;
        entry.state = State::Calling;
        entry.attempts += 1;
        entry.call = id.index;
        entry.next_in_call = NONE;
        self.stats.attempts += 1;
        if entry.attempts > 1 {
            self.stats.retries += 1;
        }
        let call = self.calls.at_mut(id.index);
        call.live += 1;
        let last = core::mem::replace(&mut call.last, index);
        if last == NONE {
            call.first = index;
        } else {
            self.entries.at_mut(last).next_in_call = index;
        }
    }

    /// Until when a part-filled batch waits for more; `None` when it does not.
    fn lingers_until(&self, now: Time) -> Option<Time> {
        let linger = self.config.batch.linger;
        if linger.is_zero() || self.calls.on_wire() == 0 || self.input != Input::Open {
            return None;
        }
        let until = self.entries.at(self.line.front()?.index).since + linger;
        (now < until).then_some(until)
    }

    /// Passes over those at the front of the line who have timed out, or are about to: a call would come too late for them, also
    /// if the host is behind with what it has heard.
    #[inline]
    fn skip_dead(&mut self, now: Time) {
        let clock = self.standing.clock(now);
        while let Some(&id) = self.line.front() {
            let entry = self.entries.find(id).filter(|entry| entry.in_line);
            if entry.is_some_and(|entry| clock < entry.deadline || self.starts_late()) {
                return;
            }
            let about_to = entry.is_some();
            self.line.pop_front();
            if about_to {
                self.time_out(now, id.index, Clock::Deadline);
            }
        }
    }

    /// Calling -> Decided or BackingOff: an attempt has ended.
    #[inline(always)]
    pub(super) fn settle(&mut self, now: Time, index: u32, completion: Option<Completion<O>>, gate: &mut impl Gate) {
        match completion {
            Some(Completion::Done(output)) => self.decide(now, index, Outcome::Done(output)),
            Some(Completion::Retry { last, after }) => self.fail(now, index, last, after, gate),
            None => self.decide(now, index, Outcome::Unanswered),
        }
    }

    fn fail(&mut self, now: Time, index: u32, last: O, after: Option<Duration>, gate: &mut impl Gate) {
        match self.retry_at(now, index, after, gate) {
            Some(at) => self.back_off(now, index, at, Some(last), gate),
            None if self.config.has(Mutant::B27) => self.decide(now, index, Outcome::Unanswered),
            None => self.decide(now, index, Outcome::Done(last)),
        }
    }

    /// When to try again, if at all. A retry that could not start before the record's deadline does not happen: nobody gains by waiting for it.
    /// If everything fails, the attempt does not count, and deadlines stand still. Who notices first (nobody was answered since) has until its own.
    pub(super) fn retry_at(
        &mut self,
        now: Time,
        index: u32,
        after: Option<Duration>,
        gate: &impl Gate,
    ) -> Option<Time> {
        let retry = self.config.retry.as_ref()?;
        let entry = self.entries.at_mut(index);
        let failing = gate.is_failing();
        entry.to_blame |= entry.failed != Time::NEVER && gate.was_well_after(entry.failed);
        let forgiven = failing && !entry.to_blame;
        entry.suspect = failing && (entry.forgiven > 0 || entry.to_blame);
        entry.last_forgiven = forgiven;
        entry.forgiven += u32::from(forgiven);
        entry.failed = now;
        entry.failing_since = entry.failing_since.min(now);
        let counted = entry.attempts - entry.forgiven;
        let used_up = !forgiven && counted > retry.max_retries + u32::from(self.config.has(Mutant::S53));
        if used_up && gate.was_well_after(entry.failing_since) {
            return None;
        }
        let salt = self.config.seed ^ mix(entry.sequence).rotate_left(17) ^ u64::from(entry.attempts);
        let mut wait = retry.delay(counted, salt);
        if self.config.has(Mutant::B18) {
            wait = retry.delay(self.stats.retries as u32 + 1, salt);
        }
        let at = now + wait.max(after.unwrap_or_default());
        let too_late = !failing && self.standing.clock(at) >= entry.deadline;
        let drained = matches!(self.input, Input::Draining(limit) if at >= limit);
        if (too_late || drained) && !self.waits_too_long() {
            return None;
        }
        Some(at)
    }

    fn back_off(&mut self, now: Time, index: u32, at: Time, last: Option<O>, gate: &mut impl Gate) {
        let id = self.entries.id(index);
        let entry = self.entries.at_mut(index);
        entry.state = State::BackingOff;
        entry.last = last.or_else(|| entry.last.take());
        let attempts = entry.attempts;
        self.stats.backing_off += 1;
        if at <= now {
            self.want_token(now, index, gate);
        } else {
            self.arm(at, Timer::Backoff(id, attempts));
        }
    }

    /// The backoff is over: the record comes back if there is a token for it, or waits for one. What was forgiven costs none.
    fn want_token(&mut self, now: Time, index: u32, gate: &mut impl Gate) {
        let entry = self.entries.at(index);
        if entry.last_forgiven || (self.unpaid.is_empty() && gate.retry(now)) {
            return self.come_back(index);
        }
        self.stats.retries_without_token += 1;
        self.unpaid.push_back((self.entries.id(index), entry.attempts));
        if self.unpaid.len() > 2 * self.stats.backing_off + 64 {
            let waits = |timer| self.is_live(timer);
            let unpaid = self.unpaid.iter().copied().filter(|&(id, attempt)| waits(Timer::Backoff(id, attempt)));
            self.unpaid = unpaid.collect();
        }
    }

    /// Those that wait for a token get theirs, first come, first served.
    #[inline]
    pub(super) fn pay(&mut self, now: Time, gate: &mut impl Gate) {
        while let Some(&(id, attempt)) = self.unpaid.front() {
            let waits = self.is_live(Timer::Backoff(id, attempt));
            if waits && !gate.retry(now) {
                return;
            }
            self.unpaid.pop_front();
            if waits {
                self.come_back(id.index);
            }
        }
    }

    /// BackingOff -> Waiting.
    pub(super) fn come_back(&mut self, index: u32) {
        let entry = self.entries.at_mut(index);
        entry.state = State::Waiting;
        entry.since = entry.admitted;
        let turn = if entry.suspect { Turn::Last } else { Turn::First };
        self.stats.backing_off -= 1;
        self.line_up(index, turn);
    }

    /// Waiting, Calling or BackingOff -> Decided. Once.
    #[inline(always)]
    pub(super) fn decide(&mut self, now: Time, index: u32, outcome: Outcome<O>) {
        let entry = self.entries.at_mut(index);
        match entry.state {
            State::BackingOff => self.stats.backing_off -= 1,
            State::Waiting if entry.in_line => {
                entry.in_line = false;
                self.in_line -= 1;
            }
            _ => {}
        }
        self.stats.timed_out += u64::from(matches!(outcome, Outcome::TimedOut { .. }));
        entry.state = State::Decided;
        entry.decided = now;
        entry.last = None;
        entry.outcome = Some(outcome);
        self.stats.decided += 1;
        if !self.misses_hook(index) {
            self.departures.decide(index);
        }
    }

    /// The record's time is up, whatever it waits for.
    fn time_out(&mut self, now: Time, index: u32, clock: Clock) {
        if self.config.has(Mutant::B13) {
            return;
        }
        let entry = self.entries.at_mut(index);
        let (was_calling, call) = (entry.state == State::Calling, entry.call);
        let last = entry.last.take();
        self.decide(now, index, Outcome::TimedOut { clock, last });
        if was_calling {
            self.calls.at_mut(call).live -= 1;
            if self.calls.at(call).live == 0 {
                self.give_up(now, call);
            }
        }
    }

    pub(super) fn fire(&mut self, now: Time, timer: Timer, gate: &mut impl Gate) {
        if !self.is_live(timer) {
            self.fire_dead(timer);
            return;
        }
        match timer {
            Timer::Deadline(id) if self.survives_deadline(now, id.index) => {}
            Timer::Deadline(id) => self.time_out(now, id.index, Clock::Deadline),
            Timer::Attempt(call) => self.time_out_call(now, call, gate),
            Timer::Backoff(id, _) => self.want_token(now, id.index, gate),
            Timer::Grace(call) => {
                self.cancels.push_back(Action::Forget(call));
                self.end_call(now, call);
            }
        }
    }

    pub(super) fn is_live(&self, timer: Timer) -> bool {
        match timer {
            Timer::Deadline(id) => self
                .entries
                .find(id)
                .is_some_and(|entry| matches!(entry.state, State::Waiting | State::Calling | State::BackingOff)),
            Timer::Backoff(id, attempts) => self
                .entries
                .find(id)
                .is_some_and(|entry| entry.state == State::BackingOff && entry.attempts == attempts),
            Timer::Attempt(id) => self.calls.find(id).is_some_and(|call| call.state == CallState::OnWire),
            Timer::Grace(id) => self.calls.find(id).is_some_and(|call| call.state == CallState::GivenUp),
        }
    }

    /// The attempt's time is up for all records of the call that still wait for it.
    fn time_out_call(&mut self, now: Time, id: CallId, gate: &mut impl Gate) {
        self.stats.attempts_timed_out += 1;
        let mut index = self.calls.at(id.index).first;
        while index != NONE {
            let entry = self.entries.at(index);
            let next = entry.next_in_call;
            if entry.state == State::Calling {
                self.time_out_attempt(now, index, gate);
            }
            index = next;
        }
        self.give_up(now, id.index);
    }

    fn time_out_attempt(&mut self, now: Time, index: u32, gate: &mut impl Gate) {
        let again = self.config.retry.as_ref().is_some_and(|retry| retry.timeouts);
        match again.then(|| self.retry_at(now, index, None, gate)).flatten() {
            Some(at) => self.back_off(now, index, at, None, gate),
            None => {
                let last = self.entries.at_mut(index).last.take();
                self.decide(now, index, Outcome::TimedOut { clock: Clock::Attempt, last });
            }
        }
    }

    /// Nobody waits for the call any more. With `KeySerial` its records stay with it until it has ended, so that their keys wait too.
    fn give_up(&mut self, now: Time, index: u32) {
        let id = self.calls.id(index);
        self.calls.give_up(index);
        self.cancels.push_back(Action::Cancel(id));
        if let Some(grace) = self.config.grace {
            self.arm(now + grace, Timer::Grace(id));
        }
        if self.config.has(Mutant::S6) {
            self.end_call(now, id);
        } else if !self.serial {
            self.detach(index);
        }
    }

    /// What the host is to stop or to let go of. A call that has ended before it was told needs no stopping.
    #[inline]
    pub(super) fn next_cancel(&mut self) -> Option<Action> {
        let calls = &self.calls;
        while self
            .cancels
            .pop_front_if(|next| matches!(*next, Action::Cancel(call) if calls.find(call).is_none()))
            .is_some()
        {}
        self.cancels.pop_front()
    }

    /// OnWire or GivenUp -> ended.
    #[inline]
    pub(super) fn end_call(&mut self, now: Time, id: CallId) {
        self.stats.wire_nanos += now.nanos_since(self.calls.at(id.index).started);
        self.detach(id.index);
        self.calls.end(id.index);
    }

    /// Lets the call's records go: slots of those that have left become free, those that may try again line up.
    fn detach(&mut self, call: u32) {
        let mut index = self.take_records(call);
        while index != NONE {
            let entry = self.entries.at_mut(index);
            let next = entry.next_in_call;
            if entry.call == call {
                entry.call = NONE;
                self.let_go(index);
            }
            index = next;
        }
    }

    /// The first of the call's records; it no longer knows them.
    #[inline]
    pub(super) fn take_records(&mut self, call: u32) -> u32 {
        core::mem::replace(&mut self.calls.at_mut(call).first, NONE)
    }

    /// The record's call is over.
    pub(super) fn let_go(&mut self, index: u32) {
        match self.entries.at(index).state {
            State::Left => self.free(index),
            State::Waiting => self.line_up(index, Turn::First),
            _ => {}
        }
    }

    /// The drain's time is up.
    pub(super) fn give_up_all(&mut self, now: Time) {
        self.input = Input::Ended;
        for index in 0..self.entries.len() {
            if matches!(self.entries.at(index).state, State::Waiting | State::Calling | State::BackingOff) {
                self.time_out(now, index, Clock::Drain);
            }
        }
    }

    /// Decided -> Left.
    #[inline]
    pub(super) fn leave(&mut self, index: u32) -> Option<Emit<I, O>> {
        let entry = self.entries.at_mut(index);
        entry.state = State::Left;
        self.stats.decided -= 1;
        self.stats.held -= 1;
        self.stats.emitted += 1;
        let (input, outcome) = (entry.input.take(), entry.outcome.take());
        let (sequence, timestamp, attempts) = (entry.sequence, entry.timestamp, entry.attempts);
        let (admitted, decided) = (entry.admitted, entry.decided);
        if entry.call == NONE {
            self.free(index);
        }
        let (Some(input), Some(outcome)) = (input, outcome) else { return None };
        Some(Emit::Record(Emitted { sequence, input, timestamp, outcome, attempts, admitted, decided }))
    }

    /// Left -> free.
    #[inline]
    fn free(&mut self, index: u32) {
        let next = self.departures.remove(index);
        self.entries.free(index);
        if let Some(next) = next {
            self.line_up(next, Turn::Last);
        }
    }

    pub(super) fn end(&mut self) -> Option<Emit<I, O>> {
        let ended = matches!(self.input, Input::Ended | Input::Draining(_));
        let held = self.stats.held > 0 && !self.config.has(Mutant::B9);
        let controls = self.departures.controls_held() > 0 && !self.config.has(Mutant::B23);
        let to_forget = self.cancels.iter().any(|action| matches!(action, Action::Forget(_)));
        if !ended || held || controls || to_forget || self.calls.on_wire() > 0 {
            return None;
        }
        self.input = Input::Over;
        Some(Emit::End)
    }

    // Always inlined: the kind of timer is known where one is armed, and the rest of this falls away.
    #[inline(always)]
    pub(super) fn arm(&mut self, at: Time, timer: Timer) {
        self.timers.arm(at, timer);
        if self.timers.crowded(self.stats.held, self.calls.on_wire()) && !self.config.has(Mutant::B2) {
            self.sweep_timers();
        }
    }

    /// The timers go aside while they are swept: what is alive is asked of the rest of the queue.
    fn sweep_timers(&mut self) {
        let mut timers = core::mem::replace(&mut self.timers, crate::timers::Timers::new());
        timers.sweep(|timer| self.is_live(timer));
        self.timers = timers;
    }

    pub(super) fn wake_at(&mut self, now: Time) -> Option<Time> {
        let mut timers = core::mem::replace(&mut self.timers, crate::timers::Timers::new());
        let timer = timers.next(|timer| self.is_live(timer) || self.keeps(timer));
        self.timers = timers;
        let linger = if self.in_line > 0 && self.calls.on_wire() < self.config.concurrency {
            self.lingers_until(now)
        } else {
            None
        };
        let drain = match self.input {
            Input::Draining(limit) if self.stats.held > self.stats.decided => Some(limit),
            _ => None,
        };
        [timer, linger, drain].into_iter().flatten().min()
    }
}
