//! Where [mutants](crate::mutant) bite that are more than a condition. Without the feature all of this is compiled away.

use super::Queue;
use super::transitions::Turn;
use crate::entry::State;
use crate::gate::Open;
use crate::mutant::Mutant;
use crate::outcome::{Clock, Outcome};
use crate::time::Time;
use crate::timers::Timer;

impl<I, O> Queue<I, O> {
    pub(super) fn force_retries(&mut self) {
        for index in 0..self.entries.len() {
            if self.config.has(Mutant::S71) && self.entries.at(index).state == State::BackingOff {
                self.come_back(index);
            }
        }
    }

    pub(super) fn fire_dead(&mut self, timer: Timer) {
        match timer {
            Timer::Deadline(id) if self.config.has(Mutant::B12) => {
                let entry = self.entries.at_mut(id.index);
                if entry.generation == id.generation && entry.state == State::Decided {
                    entry.outcome = Some(Outcome::TimedOut { clock: Clock::Deadline, last: None });
                }
            }
            Timer::Backoff(id, _) if self.config.has(Mutant::B17) => {
                let entry = self.entries.at_mut(id.index);
                if entry.generation == id.generation && entry.state == State::Decided {
                    entry.state = State::Waiting;
                    self.line_up(id.index, Turn::First);
                }
            }
            _ => {}
        }
    }

    /// B3: only an answer makes the queue look for what may leave; it then finds those that timed out before.
    pub(super) fn misses_hook(&mut self, index: u32) -> bool {
        let timed_out = |outcome: &Option<Outcome<O>>| matches!(outcome, Some(Outcome::TimedOut { .. }));
        if !self.config.has(Mutant::B3) || timed_out(&self.entries.at(index).outcome) {
            return self.config.has(Mutant::B3);
        }
        for other in 0..self.entries.len() {
            let entry = self.entries.at_mut(other);
            // A decided record needs its `since` no more: it tells who has been found.
            if entry.state == State::Decided && timed_out(&entry.outcome) && entry.since != Time::NEVER {
                entry.since = Time::NEVER;
                self.departures.decide(other);
            }
        }
        false
    }

    /// Whether a timer that nobody waits for any more is not cancelled.
    pub(super) fn keeps(&self, timer: Timer) -> bool {
        self.config.has(Mutant::B2) || (self.config.has(Mutant::B17) && matches!(timer, Timer::Backoff(..)))
    }

    /// In Flink a retry may be due after the record's time is up (S57): two of its bugs need that.
    pub(super) fn waits_too_long(&self) -> bool {
        self.config.has(Mutant::B22) || self.config.has(Mutant::B24)
    }

    pub(super) fn starts_late(&self) -> bool {
        self.config.has(Mutant::B17) || self.waits_too_long()
    }

    pub(super) fn survives_deadline(&mut self, now: Time, index: u32) -> bool {
        if self.config.has(Mutant::B24) && self.entries.at(index).state == State::BackingOff {
            return true;
        }
        if self.config.has(Mutant::B22) && self.entries.at(index).state == State::Waiting {
            return self.retry_at(now, index, None, &Open).is_some();
        }
        false
    }
}
