//! How many calls there may be besides the first of each record.

use core::time::Duration;

use super::mutant::{Bug, DestinationMutant};
use crate::config::ConfigError;
use crate::time::Time;

/// What a retry costs, and what a token is counted in.
const TOKEN: u64 = 1_000;
/// What an extra costs: nobody needs it, so it may take half as much as retries may.
const EXTRA: u64 = 2 * TOKEN;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Tokens that retries and hedges spend and answers earn, so that a failing service sees at most a fixed share of calls besides. A retry costs
/// one, a hedge two.
///
/// Jitter cures synchronisation, not overload: without a budget, retries keep a recovering service down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Tokens earned by 1,000 records that got an answer, at least 1. Default 100: ten percent.
    pub per_mille: u32,
    /// Tokens that may be saved up, at least 2; the budget starts with as many. Default 10.
    pub reserve: u32,
    /// Tokens that come every second besides, at least 1, so that nothing is stuck while nothing is answered. Default 10.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { per_mille: 100, reserve: 10, per_second: 10 }
    }
}

impl RetryBudget {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.per_mille == 0 || self.reserve < 2 || self.per_second == 0 {
            return Err(ConfigError::new(
                "a retry budget must earn and be given at least 1, and save up at least 2".into(),
            ));
        }
        Ok(())
    }
}

/// What is left of a [`RetryBudget`].
#[derive(Debug)]
pub(super) struct Budget {
    options: RetryBudget,
    /// In thousandths of a token.
    left: u64,
    /// Up to when those have been given that come every second.
    given: Time,
    bug: Bug,
}

impl Budget {
    pub(super) fn full(options: RetryBudget, bug: Bug) -> Self {
        Self { options, left: u64::from(options.reserve) * TOKEN, given: Time::ZERO, bug }
    }

    pub(super) fn earn(&mut self, answered: usize) {
        self.add((answered as u64).saturating_mul(u64::from(self.options.per_mille)));
    }

    /// Pays for a retry, if it can.
    pub(super) fn spend(&mut self, now: Time) -> bool {
        self.pay(TOKEN, now)
    }

    /// Pays for an extra, if it can.
    pub(super) fn spend_on_extra(&mut self, now: Time) -> bool {
        self.pay(EXTRA, now)
    }

    /// When there is a token, if none is earned.
    pub(super) fn next(&mut self, now: Time) -> Time {
        self.give(now);
        let missing = TOKEN.saturating_sub(self.left);
        if missing == 0 { now } else { self.given + self.interval() * u32::try_from(missing).unwrap_or(u32::MAX) }
    }

    pub(super) fn tokens(&self, now: Time) -> u32 {
        let given = now.nanos_since(self.given) / self.interval().as_nanos() as u64;
        let left = self.left.saturating_add(given).min(self.most());
        u32::try_from(left / TOKEN).unwrap_or(u32::MAX)
    }

    /// Gives what has come since the last time, in whole thousandths: what is left of the time counts the next time.
    fn give(&mut self, now: Time) {
        let interval = self.interval();
        let due = now.nanos_since(self.given) / interval.as_nanos() as u64;
        if self.left + due >= self.most() {
            self.left = self.most();
            self.given = self.given.max(now);
        } else {
            self.left += due;
            self.given = Time::from_nanos(self.given.as_nanos() + due * interval.as_nanos() as u64);
        }
    }

    fn pay(&mut self, thousandths: u64, now: Time) -> bool {
        self.give(now);
        let left = self.left.checked_sub(thousandths);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn add(&mut self, thousandths: u64) {
        self.left = self.left.saturating_add(thousandths).min(self.most());
    }

    /// From one thousandth to the next.
    fn interval(&self) -> Duration {
        Duration::from_nanos((NANOS_PER_SECOND / TOKEN / u64::from(self.options.per_second)).max(1))
    }

    fn most(&self) -> u64 {
        let times = if self.bug.is(DestinationMutant::SavesWithoutEnd) { 1_000 } else { 1 };
        u64::from(self.options.reserve) * TOKEN * times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: RetryBudget = RetryBudget { per_mille: 100, reserve: 10, per_second: 1 };

    const fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn spend_all(budget: &mut Budget, now: Time) -> u32 {
        core::iter::from_fn(|| budget.spend(now).then_some(())).count() as u32
    }

    #[test]
    fn ten_percent_of_a_thousand_answers_is_a_hundred_retries() {
        let mut budget = Budget::full(OPTIONS, Bug::default());
        let mut retries = 0;
        for _ in 0..1000 {
            budget.earn(1);
            retries += u32::from(budget.spend(Time::ZERO));
        }
        assert!((100..=110).contains(&retries), "{retries}");
    }

    #[test]
    fn of_the_same_answers_extras_get_half() {
        let mut budget = Budget::full(OPTIONS, Bug::default());
        let mut extras = 0;
        for _ in 0..1000 {
            budget.earn(1);
            extras += u32::from(budget.spend_on_extra(Time::ZERO));
        }
        assert!((50..=55).contains(&extras), "{extras}");
    }

    #[test]
    fn no_more_is_saved_up_than_the_reserve() {
        let mut budget = Budget::full(OPTIONS, Bug::default());
        budget.earn(1_000_000);
        assert_eq!(budget.tokens(at(3_600_000)), 10);
        assert_eq!(spend_all(&mut budget, at(3_600_000)), 10);
        assert_eq!(budget.tokens(at(3_600_000)), 0);
    }

    #[test]
    fn some_come_by_themselves_and_exactly_when_it_says() {
        let mut budget = Budget::full(RetryBudget { per_second: 7, ..OPTIONS }, Bug::default());
        assert_eq!(spend_all(&mut budget, at(0)), 10);
        let mut now = at(0);
        for _ in 0..70 {
            let next = budget.next(now);
            assert!(next > now && !budget.spend(Time::from_nanos(next.as_nanos() - 1)), "not before {next:?}");
            assert!(budget.spend(next), "at {next:?}");
            now = next;
        }
        assert!(now.since(at(0)).as_millis().abs_diff(10_000) < 20, "{now:?}");
    }

    #[test]
    fn a_clock_that_is_asked_often_gives_as_much() {
        let mut budget = Budget::full(OPTIONS, Bug::default());
        spend_all(&mut budget, at(0));
        let spent: u32 = (0..100_000_u64).map(|tick| u32::from(budget.spend(Time::from_nanos(tick * 99_991)))).sum();
        assert_eq!(spent, 9, "ten seconds, and the last is not quite over");
    }
}
