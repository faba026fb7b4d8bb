//! What is due when.
//!
//! Attempt timeouts and record deadlines are armed in the order they fall due, so a FIFO each is enough; what is irregular
//! (backoffs, deadlines after a restore, grace times) goes to a heap. Nothing is removed when it is no longer
//! needed: whoever looks asks `live`, and what is dead is swept out before it outnumbers the living.

use alloc::collections::{BinaryHeap, VecDeque};
use core::cmp::Reverse;

use crate::calls::CallId;
use crate::entry::EntryId;
use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The record's time is up.
    Deadline(EntryId),
    /// The call's time is up.
    Attempt(CallId),
    /// The record may try again. The number is the attempt that failed: a timer of an earlier one is dead.
    Backoff(EntryId, u32),
    /// A call that was given up no longer counts.
    Grace(CallId),
}

#[derive(Debug)]
pub(crate) struct Timers {
    attempts: VecDeque<(Time, CallId)>,
    deadlines: VecDeque<(Time, EntryId)>,
    irregular: BinaryHeap<Reverse<(Time, Timer)>>,
    /// Nothing is due before this; something may be at it.
    earliest: Time,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            attempts: VecDeque::new(),
            deadlines: VecDeque::new(),
            irregular: BinaryHeap::new(),
            earliest: Time::NEVER,
        }
    }

    #[inline(always)]
    pub(crate) fn arm(&mut self, at: Time, timer: Timer) {
        self.earliest = self.earliest.min(at);
        match timer {
            Timer::Attempt(call) if in_order(&self.attempts, at) => self.attempts.push_back((at, call)),
            Timer::Deadline(entry) if in_order(&self.deadlines, at) => self.deadlines.push_back((at, entry)),
            _ => self.irregular.push(Reverse((at, timer))),
        }
    }

    /// Takes a timer that is due; at equal times a record's deadline goes before its attempt's.
    #[inline]
    pub(crate) fn pop(&mut self, now: Time) -> Option<Timer> {
        if now < self.earliest {
            return None;
        }
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.irregular.peek().map(|Reverse((at, _))| *at)) {
            return self.irregular.pop().map(|Reverse((_, timer))| timer);
        }
        if due(self.deadlines.front().map(|(at, _)| *at)) {
            return self.deadlines.pop_front().map(|(_, entry)| Timer::Deadline(entry));
        }
        if due(self.attempts.front().map(|(at, _)| *at)) {
            return self.attempts.pop_front().map(|(_, call)| Timer::Attempt(call));
        }
        self.earliest = self.front();
        None
    }

    /// When the next living timer is due.
    #[inline]
    pub(crate) fn next(&mut self, live: impl Fn(Timer) -> bool) -> Option<Time> {
        while self.attempts.pop_front_if(|(_, call)| !live(Timer::Attempt(*call))).is_some() {}
        while self.deadlines.pop_front_if(|(_, entry)| !live(Timer::Deadline(*entry))).is_some() {}
        while self.irregular.peek().is_some_and(|Reverse((_, timer))| !live(*timer)) {
            self.irregular.pop();
        }
        self.earliest = self.front();
        (self.earliest != Time::NEVER).then_some(self.earliest)
    }

    /// Whether the dead may outnumber the living, of whom there are at most so many.
    #[inline]
    pub(crate) fn crowded(&self, entries: usize, calls: usize) -> bool {
        const SLACK: usize = 64;
        self.deadlines.len() > 2 * entries + SLACK
            || self.attempts.len() > 2 * calls + SLACK
            || self.irregular.len() > 2 * (2 * entries + calls) + SLACK
    }

    pub(crate) fn len(&self) -> usize {
        self.attempts.len() + self.deadlines.len() + self.irregular.len()
    }

    /// Throws out the dead.
    pub(crate) fn sweep(&mut self, live: impl Fn(Timer) -> bool) {
        self.attempts.retain(|&(_, call)| live(Timer::Attempt(call)));
        self.deadlines.retain(|&(_, entry)| live(Timer::Deadline(entry)));
        self.irregular.retain(|&Reverse((_, timer))| live(timer));
    }

    #[inline]
    fn front(&self) -> Time {
        let attempt = self.attempts.front().map_or(Time::NEVER, |(at, _)| *at);
        let deadline = self.deadlines.front().map_or(Time::NEVER, |(at, _)| *at);
        let irregular = self.irregular.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        attempt.min(deadline).min(irregular)
    }
}

#[inline]
fn in_order<T>(line: &VecDeque<(Time, T)>, at: Time) -> bool {
    line.back().is_none_or(|(last, _)| *last <= at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(index: u32) -> EntryId {
        EntryId { index, generation: 0 }
    }

    #[test]
    fn timers_fire_when_due_and_the_dead_do_not_wake_anybody() {
        let mut timers = Timers::new();
        timers.arm(Time::from_nanos(10), Timer::Deadline(entry(0)));
        timers.arm(Time::from_nanos(20), Timer::Deadline(entry(1)));
        timers.arm(Time::from_nanos(15), Timer::Deadline(entry(2)));
        assert_eq!(timers.pop(Time::from_nanos(9)), None);
        assert_eq!(timers.next(|timer| timer != Timer::Deadline(entry(0))), Some(Time::from_nanos(15)));
        assert_eq!(timers.pop(Time::from_nanos(15)), Some(Timer::Deadline(entry(2))));
        assert_eq!(timers.pop(Time::from_nanos(15)), None);
        assert_eq!(timers.pop(Time::from_nanos(20)), Some(Timer::Deadline(entry(1))));
        assert_eq!(timers.next(|_| true), None);
    }

    #[test]
    fn the_dead_are_swept_out_before_they_outnumber_the_living() {
        let mut timers = Timers::new();
        for round in 0..10_000 {
            timers.arm(Time::from_nanos(round), Timer::Deadline(entry(0)));
            if timers.crowded(1, 0) {
                timers.sweep(|_| false);
            }
        }
        assert!(timers.deadlines.len() <= 67);
    }
}
