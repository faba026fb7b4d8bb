//! The clock of the records, which stands still while what they wait for is left alone: their deadlines are that much later.
//!
//! Only deadlines go by it. Calls, backoffs and a drain go by the host's clock, whatever is the matter.

use alloc::vec::Vec;
use core::time::Duration;

use super::Queue;
use crate::entry::EntryId;
use crate::time::Time;
use crate::timers::Timer;

#[derive(Debug, Default)]
pub(super) struct Standing {
    /// How long it stood, all in all, in nanoseconds.
    nanos: u64,
    still: bool,
    /// Whose timers fired meanwhile.
    aside: Vec<EntryId>,
}

impl Standing {
    /// The time by the records' clock.
    #[inline]
    pub(super) const fn clock(&self, now: Time) -> Time {
        Time::from_nanos(now.as_nanos().saturating_sub(self.nanos))
    }
}

impl<I, O> Queue<I, O> {
    /// How long the records' deadlines have stood still up to now, all in all, and whether they do now. To be said before anything
    /// else, as time passes; it never becomes less.
    pub fn handle_standing(&mut self, stood: Duration, still: bool) {
        self.standing.nanos = self.standing.nanos.max(u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX));
        self.standing.still = still;
        if !still && !self.standing.aside.is_empty() {
            for id in core::mem::take(&mut self.standing.aside) {
                self.arm_again(id);
            }
        }
    }

    /// Whether a deadline's timer fires though there is time left, because the clock stood. It then fires again.
    #[inline]
    pub(super) fn is_early(&mut self, heard: Time, timer: Timer) -> bool {
        let Timer::Deadline(id) = timer else { return false };
        if self.standing.nanos == 0 || !self.is_live(timer) {
            return false;
        }
        let early = self.standing.clock(heard) < self.entries.at(id.index).deadline;
        if early && self.standing.still {
            self.set_aside(id);
        } else if early {
            self.arm_again(id);
        }
        early
    }

    fn set_aside(&mut self, id: EntryId) {
        let mut aside = core::mem::take(&mut self.standing.aside);
        aside.push(id);
        if aside.len() > 2 * self.stats.held + 64 {
            aside.retain(|&id| self.is_live(Timer::Deadline(id)));
        }
        self.standing.aside = aside;
    }

    fn arm_again(&mut self, id: EntryId) {
        if self.is_live(Timer::Deadline(id)) {
            let at = self.entries.at(id.index).deadline.plus_nanos(self.standing.nanos);
            self.arm(at, Timer::Deadline(id));
        }
    }
}
