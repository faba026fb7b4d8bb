//! Event time: which decided records may leave, and when a watermark may.
//!
//! Watermarks and idle statuses are numbered as they arrive. Each record knows two numbers:
//!
//! - `after`: how many of them must have left before it may leave itself,
//! - `blocks`: the first that may not leave before it does.
//!
//! | record | `after` | `blocks` |
//! |---|---|---|
//! | strict rule, or late on arrival, or without a timestamp | all that arrived before it | the next to arrive |
//! | frontier rule, on time | up to the last idle status | the first that covers it: a watermark at or past its timestamp, or an idle status |
//!
//! Late means at or before the last watermark that arrived. What is late stays exactly as late; what is on time stays on time
//! (`Watermark(t)`: afterwards nothing at or before `t`). An idle status is a fence in both rules: downstream stops waiting
//! for this input, so nothing may be left behind it (Flink lets it overtake: S19, B28).

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::config::EventTime;
use crate::entry::NONE;
use crate::snapshot::Held;
use crate::time::Timestamp;

/// What stands between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Watermark(Timestamp),
    Idle,
}

/// What may leave next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Record(u32),
    Control(Control),
}

impl<I, R> From<Control> for Held<I, R> {
    fn from(control: Control) -> Self {
        match control {
            Control::Watermark(at) => Self::Watermark(at),
            Control::Idle => Self::Idle,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Fences {
    rule: EventTime,
    /// How many have left.
    passed: u64,
    /// Those that have not, oldest first; the last has not even arrived.
    pending: VecDeque<Fence>,
    /// The last watermark that arrived.
    watermark: Option<Timestamp>,
    /// How many must have left before an on-time record may, because of idle statuses.
    idle_fence: u64,
    gates: Vec<Gate>,
    /// Records on time that no watermark covers yet, by timestamp; those that left in the meantime are dropped lazily.
    ahead: BinaryHeap<Reverse<(Timestamp, u64, u32)>>,
    ahead_live: usize,
    /// Decided, and free to leave.
    ready: VecDeque<u32>,
    /// Always true, but in the mutant B28.
    idle_waits: bool,
}

/// One watermark or idle status.
#[derive(Debug)]
struct Fence {
    /// `None`: has not arrived.
    control: Option<(u64, Control)>,
    /// Records held that it may not pass.
    blockers: u32,
    /// Decided records that may leave once it has: a list through [`Gate::next`].
    first: u32,
    last: u32,
}

impl Fence {
    const OPEN: Self = Self { control: None, blockers: 0, first: NONE, last: NONE };
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    sequence: u64,
    after: u64,
    blocks: u64,
    next: u32,
}

/// [`Gate::blocks`] of a record that no watermark covers yet.
const AHEAD: u64 = u64::MAX;

impl Fences {
    /// `watermark`: the last one that left before (after a restore).
    pub(crate) fn new(rule: EventTime, watermark: Option<Timestamp>, idle_waits: bool) -> Self {
        Self {
            rule,
            passed: 0,
            pending: VecDeque::from([Fence::OPEN]),
            watermark,
            idle_fence: 0,
            gates: Vec::new(),
            ahead: BinaryHeap::new(),
            ahead_live: 0,
            ready: VecDeque::new(),
            idle_waits,
        }
    }

    #[inline]
    pub(crate) fn admit(&mut self, index: u32, sequence: u64, timestamp: Option<Timestamp>) {
        let arrived = self.passed + self.pending.len() as u64 - 1;
        let on_time = timestamp.filter(|&at| self.rule == EventTime::Frontier && self.watermark.is_none_or(|w| at > w));
        let gate = match on_time {
            Some(at) => {
                self.ahead.push(Reverse((at, sequence, index)));
                self.ahead_live += 1;
                Gate { sequence, after: self.idle_fence, blocks: AHEAD, next: NONE }
            }
            None => {
                self.fence(arrived).blockers += 1;
                Gate { sequence, after: arrived, blocks: arrived, next: NONE }
            }
        };
        match self.gates.get_mut(index as usize) {
            Some(slot) => *slot = gate,
            None => {
                debug_assert_eq!(self.gates.len(), index as usize, "slots grow one by one");
                self.gates.push(gate);
            }
        }
    }

    /// A watermark or idle status arrives. One that tells nothing new is dropped: false.
    pub(crate) fn arrive(&mut self, sequence: u64, control: Control) -> bool {
        let number = self.passed + self.pending.len() as u64 - 1;
        match control {
            Control::Watermark(at) => {
                if self.watermark.is_some_and(|last| at <= last) {
                    return false;
                }
                self.watermark = Some(at);
                self.cover(number, at);
            }
            Control::Idle if !self.idle_waits => self.fence(number).blockers = 0,
            Control::Idle => {
                self.cover(number, Timestamp(i64::MAX));
                self.idle_fence = number + 1;
            }
        }
        self.fence(number).control = Some((sequence, control));
        self.pending.push_back(Fence::OPEN);
        true
    }

    /// The record may leave as far as order goes.
    #[inline]
    pub(crate) fn release(&mut self, index: u32) {
        let after = self.gates[index as usize].after;
        if after <= self.passed {
            self.ready.push_back(index);
            return;
        }
        let fence = self.fence(after - 1);
        let previous = fence.last;
        fence.last = index;
        if previous == NONE {
            fence.first = index;
        } else {
            self.gates[previous as usize].next = index;
        }
    }

    /// Takes what may leave next. A watermark goes first: nobody downstream gains by its waiting.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Exit> {
        if let Some(&Fence { control: Some((_, control)), blockers: 0, first, .. }) = self.pending.front() {
            self.pending.pop_front();
            self.passed += 1;
            self.open_gate(first);
            return Some(Exit::Control(control));
        }
        let index = self.ready.pop_front()?;
        self.leave(index);
        Some(Exit::Record(index))
    }

    /// Watermarks and idle statuses that have arrived and not left.
    pub(crate) fn controls(&self) -> impl Iterator<Item = (u64, Control)> {
        self.pending.iter().filter_map(|fence| fence.control)
    }

    #[inline]
    pub(crate) fn controls_held(&self) -> usize {
        self.pending.len() - 1
    }

    #[inline]
    fn fence(&mut self, number: u64) -> &mut Fence {
        let place = (number - self.passed) as usize;
        &mut self.pending[place]
    }

    /// Makes every record ahead with a timestamp up to `at` block fence `number`.
    fn cover(&mut self, number: u64, at: Timestamp) {
        while let Some(&Reverse((timestamp, sequence, index))) = self.ahead.peek()
            && timestamp <= at
        {
            self.ahead.pop();
            let gate = &mut self.gates[index as usize];
            if gate.sequence == sequence && gate.blocks == AHEAD {
                gate.blocks = number;
                self.ahead_live -= 1;
                self.fence(number).blockers += 1;
            }
        }
    }

    fn open_gate(&mut self, first: u32) {
        let mut index = first;
        while index != NONE {
            self.ready.push_back(index);
            index = core::mem::replace(&mut self.gates[index as usize].next, NONE);
        }
    }

    #[inline]
    fn leave(&mut self, index: u32) {
        let blocks = core::mem::replace(&mut self.gates[index as usize].blocks, 0);
        if blocks == AHEAD {
            self.ahead_live -= 1;
            if self.ahead.len() > 2 * self.ahead_live + 64 {
                let gates = &self.gates;
                self.ahead.retain(|&Reverse((_, sequence, index))| {
                    let gate = &gates[index as usize];
                    gate.sequence == sequence && gate.blocks == AHEAD
                });
            }
        } else {
            self.fence(blocks).blockers -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records 0.. arrive, watermarks arrive, some records are decided: what leaves?
    struct Story(Fences, u64);

    impl Story {
        fn new(rule: EventTime) -> Self {
            Self(Fences::new(rule, None, true), 0)
        }

        fn record(&mut self, index: u32, timestamp: i64) -> &mut Self {
            self.1 += 1;
            self.0.admit(index, self.1, Some(Timestamp(timestamp)));
            self
        }

        fn control(&mut self, control: Control) -> &mut Self {
            self.1 += 1;
            self.0.arrive(self.1, control);
            self
        }

        fn watermark(&mut self, at: i64) -> &mut Self {
            self.control(Control::Watermark(Timestamp(at)))
        }

        fn decide(&mut self, index: u32) -> Vec<Exit> {
            self.0.release(index);
            core::iter::from_fn(|| self.0.next()).collect()
        }
    }

    fn mark(at: i64) -> Exit {
        Exit::Control(Control::Watermark(Timestamp(at)))
    }

    #[test]
    fn strict_nothing_passes_a_watermark() {
        let mut story = Story::new(EventTime::Strict);
        story.record(0, 1).watermark(5).record(1, 9);
        assert_eq!(story.decide(1), []);
        assert_eq!(story.decide(0), [Exit::Record(0), mark(5), Exit::Record(1)]);
    }

    #[test]
    fn frontier_a_later_record_overtakes_a_pending_watermark() {
        let mut story = Story::new(EventTime::Frontier);
        story.record(0, 1).watermark(5).record(1, 9);
        assert_eq!(story.decide(1), [Exit::Record(1)]);
        assert_eq!(story.decide(0), [Exit::Record(0), mark(5)]);
    }

    #[test]
    fn frontier_a_watermark_does_not_wait_for_what_it_does_not_cover() {
        let mut story = Story::new(EventTime::Frontier);
        story.record(0, 9).record(1, 4).watermark(5);
        assert_eq!(story.decide(1), [Exit::Record(1), mark(5)]);
        story.watermark(9);
        assert_eq!(story.decide(0), [Exit::Record(0), mark(9)]);
    }

    #[test]
    fn frontier_a_late_record_stays_exactly_as_late() {
        let mut story = Story::new(EventTime::Frontier);
        story.record(0, 1).watermark(5).record(1, 3).watermark(8);
        assert_eq!(story.decide(1), [], "it was behind watermark 5 and must not overtake it");
        assert_eq!(story.decide(0), [Exit::Record(0), mark(5), Exit::Record(1), mark(8)]);
    }

    #[test]
    fn a_record_without_a_timestamp_keeps_its_place_among_watermarks() {
        let mut story = Story::new(EventTime::Frontier);
        story.record(0, 1).watermark(5);
        story.0.admit(1, 9, None);
        story.watermark(8);
        assert_eq!(story.decide(1), []);
        assert_eq!(story.decide(0), [Exit::Record(0), mark(5), Exit::Record(1), mark(8)]);
    }

    #[test]
    fn nothing_is_left_behind_an_idle_status() {
        for rule in [EventTime::Strict, EventTime::Frontier] {
            let mut story = Story::new(rule);
            story.record(0, 7).control(Control::Idle).record(1, 9);
            assert_eq!(story.decide(1), []);
            assert_eq!(story.decide(0), [Exit::Record(0), Exit::Control(Control::Idle), Exit::Record(1)]);
        }
    }

    #[test]
    fn a_watermark_that_does_not_advance_is_dropped() {
        let mut story = Story::new(EventTime::Frontier);
        story.watermark(5).watermark(5).watermark(3);
        assert_eq!(story.0.next(), Some(mark(5)));
        assert_eq!(story.0.next(), None);
    }

    #[test]
    fn records_that_left_do_not_pile_up_for_a_watermark_that_never_comes() {
        let mut story = Story::new(EventTime::Frontier);
        for timestamp in 0..100_000 {
            story.record(0, timestamp).decide(0);
        }
        assert!(story.0.ahead.len() <= 66, "{}", story.0.ahead.len());
    }
}
