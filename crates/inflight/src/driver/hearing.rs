//! Who was woken and is yet to be polled, and up to when everybody has been.

use std::sync::Arc;
use std::task::Waker;

use inflight_core::Time;

use crate::woken::Woken;

pub(super) struct Hearing {
    woken: Arc<Woken>,
    /// Swapped with the list in `woken`; the last is polled next.
    to_poll: Vec<u32>,
    /// Polls in a round: few, if each brings the results of a batch. What they make room for is called before the next are heard.
    per_round: usize,
    left_in_round: usize,
    /// When the list was swapped. How long the calls on it took does not depend on when it is their turn to be polled.
    woken_by: Time,
    /// When the reactor began its last turn.
    turned: Time,
    /// `turned` when the list was swapped: everything that was ready by then was on it, or on one before.
    listed: Time,
    heard: Time,
}

impl Hearing {
    pub(super) const fn new(woken: Arc<Woken>, per_round: usize) -> Self {
        let [woken_by, turned, listed, heard] = [Time::ZERO; 4];
        Self { woken, to_poll: Vec::new(), per_round, left_in_round: 0, woken_by, turned, listed, heard }
    }

    /// The reactor has been looked at since then.
    pub(super) const fn turned(&mut self, begun: Time) {
        self.turned = begun;
    }

    /// Begins a round; whether there is anybody to poll. Once all are polled, those who were woken meanwhile are listed.
    pub(super) fn listen(&mut self, now: Time) -> bool {
        self.left_in_round = self.per_round;
        if self.to_poll.is_empty() {
            self.woken.take(&mut self.to_poll);
            self.to_poll.reverse();
            (self.woken_by, self.listed) = (now, self.turned);
        }
        !self.to_poll.is_empty()
    }

    /// The slot to poll next in this round, and by when it was woken.
    pub(super) fn next(&mut self) -> Option<(u32, Time)> {
        self.left_in_round = self.left_in_round.checked_sub(1)?;
        Some((self.to_poll.pop()?, self.woken_by))
    }

    /// Everything that was ready by then has been polled, if the slots that were [`next`](Self::next) have.
    pub(super) const fn heard(&mut self) -> Time {
        if self.to_poll.is_empty() {
            self.heard = self.listed;
        }
        self.heard
    }

    /// As [`Woken::sleep`], with nobody to poll.
    pub(super) fn sleep(&self, driver: &Waker) -> bool {
        self.woken.sleep(driver)
    }
}
