//! Time: deadlines, attempt timeouts, backoffs, grace, drain, and when to wake up.

use core::time::Duration;

use inflight_core::{Clock, Completion, Jitter, Order, Outcome, Time};

use super::{Call, Checker, Record};
use crate::{Input, Output, Violation, ensure};

/// What may follow a failed attempt.
enum Next {
    Again(Time, Time),
    Final,
    Either(Time, Time),
}

impl Checker {
    /// The queue is polled: every clock is looked at, as it stood when the host heard of what had happened last.
    pub(crate) fn polled(&mut self, now: Time, heard: Time) {
        let due = |record: &Record, time: Time| record.open && record.deadline.is_some_and(|at| at <= time);
        for input in self.inputs(|record| due(record, heard)) {
            self.time_out(now, input, Clock::Deadline);
        }
        for input in self.inputs(|record| !record.calling && due(record, now)) {
            // There is nothing to hear: it may time out at once, or when the host has caught up.
            self.time_out(now, input, Clock::Deadline);
            self.place(input).and_then(|place| self.at(place)).into_iter().for_each(|record| record.open = true);
        }
        let due = |started: Time| self.config.timeout.is_some_and(|timeout| started + timeout <= heard);
        let calls: Vec<_> =
            self.calls.iter().filter(|call| call.given_up.is_none() && due(call.started)).cloned().collect();
        for call in calls {
            for (input, _) in call.records {
                self.attempt_timed_out(now, input);
            }
        }
        for input in self.inputs(|record| record.in_line.is_none() && record.retry.is_some_and(|(_, to)| to <= heard)) {
            self.place(input)
                .and_then(|place| self.at(place))
                .into_iter()
                .for_each(|record| record.in_line = Some(now));
        }
        if self.drain.is_some_and(|limit| limit <= heard) {
            for input in self.inputs(|record| record.open) {
                self.time_out(now, input, Clock::Drain);
            }
        }
        let calling = self.inputs(|record| record.calling);
        for call in self.calls.iter_mut().filter(|call| call.given_up.is_none()) {
            if !call.records.iter().any(|(input, _)| calling.contains(input)) {
                call.given_up = Some(now);
            }
        }
        let over =
            |call: &Call| call.given_up.is_some_and(|at| self.config.grace.is_some_and(|grace| at + grace <= heard));
        self.overdue.extend(self.calls.iter().filter(|call| over(call)).cloned());
        self.calls.retain(|call| !over(call));
    }

    /// The queue said it has nothing to do before `wake_at`.
    pub(crate) fn idle_until(&mut self, now: Time, heard: Time, wake_at: Option<Time>) -> Result<(), Violation> {
        ensure!(wake_at.is_none_or(|at| at > heard), "it wakes up later", "{wake_at:?} at {now:?}");
        if self.over {
            ensure!(wake_at.is_none(), "nothing runs after the end", "{wake_at:?}");
        }
        let uncancelled = self.calls.iter().find(|call| call.given_up.is_some() && !call.cancelled);
        ensure!(uncancelled.is_none(), "what is given up is cancelled", "{uncancelled:?}");
        ensure!(self.overdue.is_empty(), "a call is forgotten after its grace", "{:?}", self.overdue);
        let startable: Vec<_> = self.startable(heard).collect();
        let room = self.calls.len() < self.config.concurrency;
        let linger = self.config.batch.linger;
        let lingers =
            !linger.is_zero() && !self.calls.is_empty() && !self.ended && startable.len() < self.config.batch.size;
        let too_late = self.drain.is_some_and(|limit| limit <= now);
        if room && !startable.is_empty() && !too_late {
            ensure!(lingers, "what may start starts", "idle at {now:?} with {startable:?}");
            let until = startable.iter().filter_map(|record| record.in_line).min().map(|since| since + linger);
            let in_time = until.is_some_and(|until| heard < until && wake_at.is_some_and(|at| at <= until));
            // With keys it may have waited for its turn until now.
            ensure!(
                in_time || self.config.order == Order::KeySerial,
                "a batch waits no longer than it may",
                "until {until:?}, not {wake_at:?}"
            );
        }
        let first = self.clocks(now).min();
        let late = first.is_some_and(|first| wake_at.is_none_or(|at| at > first));
        ensure!(!late, "it wakes up in time", "{wake_at:?}, but there is something at {first:?}");
        Ok(())
    }

    /// Everything that is sure to fall due, unless something happens before.
    fn clocks(&self, now: Time) -> impl Iterator<Item = Time> {
        let open = |record: &&Record| record.open && record.decided.is_empty();
        let deadlines = self.records().filter(open).filter_map(|record| record.deadline);
        // With jitter it may be back already, and wait for room, for a batch, for its key.
        let waits_for_none = self.config.batch.linger.is_zero() && self.config.order != Order::KeySerial;
        let room = self.calls.len() < self.config.concurrency && waits_for_none;
        let sure = move |(from, to): &(Time, Time)| *to > now && (room || from == to);
        let backoffs = self.records().filter(open).filter_map(|record| record.retry).filter(sure).map(|(_, to)| to);
        let wanted = self.calls.iter().filter(|call| call.given_up.is_none());
        let attempts = wanted.filter_map(|call| Some(call.started + self.config.timeout?));
        let drain = self.drain.filter(|_| self.records().any(|record| open(&record)));
        deadlines.chain(backoffs).chain(attempts).chain(self.grace_over()).chain(drain)
    }

    fn grace_over(&self) -> impl Iterator<Item = Time> {
        self.calls.iter().filter_map(|call| Some(call.given_up? + self.config.grace?))
    }

    /// Records that are sure to be free to start.
    fn startable(&self, now: Time) -> impl Iterator<Item = &Record> {
        let serial = self.config.order == Order::KeySerial;
        let called = move |key: u64| self.calls.iter().flat_map(|call| &call.records).any(|(_, other)| *other == key);
        let first = move |record: &&Record| {
            let earliest = self.records().find(|other| other.key == record.key);
            !serial || (!called(record.key) && earliest.is_some_and(|other| other.input == record.input))
        };
        let waits = move |record: &&Record| {
            record.open && !record.calling && record.decided.is_empty() && record.retry.is_none_or(|(_, to)| to <= now)
        };
        self.records().filter(waits).filter(first)
    }

    /// A call has ended: what that means for one of its records.
    pub(super) fn attempt_ended(&mut self, now: Time, input: Input, completion: Option<&Completion<Output>>) {
        let Some(record) = self.records().find(|record| record.input == input && record.calling).cloned() else {
            return;
        };
        match completion {
            Some(Completion::Done(output)) => self.decided(input, Outcome::Done(*output), now),
            None => self.decided(input, Outcome::Unanswered, now),
            Some(Completion::Retry { last, after }) => {
                let next = self.after_failure(now, &record, *after);
                self.failed(input, &next, (Outcome::Done(*last), now), Some(*last));
            }
        }
    }

    fn attempt_timed_out(&mut self, now: Time, input: Input) {
        let Some(record) = self.records().find(|record| record.input == input && record.calling).cloned() else {
            return;
        };
        let again = self.config.retry.as_ref().is_some_and(|retry| retry.timeouts);
        let next = if again { self.after_failure(now, &record, None) } else { Next::Final };
        self.failed(input, &next, (Outcome::TimedOut { clock: Clock::Attempt, last: record.last }, now), None);
    }

    fn after_failure(&self, now: Time, record: &Record, after: Option<Duration>) -> Next {
        let Some(retry) = &self.config.retry else { return Next::Final };
        let full = retry.backoff.delay(record.attempts);
        let shortest = if retry.jitter == Jitter::Full { Duration::ZERO } else { full };
        let after = after.unwrap_or_default();
        let (from, to) = (now + shortest.max(after), now + full.max(after));
        let late = |at: Time| [record.deadline, self.drain].into_iter().flatten().any(|limit| at >= limit);
        if record.attempts > retry.max_retries || late(from) {
            Next::Final
        } else if !late(to) {
            Next::Again(from, to)
        } else {
            Next::Either(from, to)
        }
    }

    fn failed(&mut self, input: Input, next: &Next, otherwise: (Outcome<Output>, Time), last: Option<Output>) {
        let Some(record) = self.place(input).and_then(|place| self.at(place)) else { return };
        record.calling = false;
        record.last = last.or(record.last);
        record.open = !matches!(next, Next::Final);
        if let Next::Again(from, to) | Next::Either(from, to) = *next {
            record.retry = Some((from, to));
        }
        if !matches!(next, Next::Again(..)) {
            record.decided.push(otherwise);
        }
    }

    fn time_out(&mut self, now: Time, input: Input, clock: Clock) {
        let last = self.records().find(|record| record.input == input).and_then(|record| record.last);
        self.decided(input, Outcome::TimedOut { clock, last }, now);
    }

    fn decided(&mut self, input: Input, outcome: Outcome<Output>, now: Time) {
        let Some(record) = self.place(input).and_then(|place| self.at(place)) else { return };
        record.calling = false;
        record.open = false;
        record.retry = None;
        record.decided.push((outcome, now));
    }

    fn inputs(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Input> {
        self.records().filter(|record| wanted(record)).map(|record| record.input).collect()
    }
}
