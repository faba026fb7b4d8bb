//! How many calls may be on the wire: a number that is given, or one that is found.

use alloc::format;

use super::Verdict;
use super::knee::{Knee, START};
use super::mutant::Bug;
use crate::config::{ConfigError, count};
use crate::time::Time;

/// How many calls may be on the wire, over all operators that call the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(usize),
    /// As many as the destination works best with: the fewest with which it answers about as much as it can, found by trying.
    Auto {
        /// Never fewer, at least 1.
        min: usize,
        /// Never more. Clients in several processes cannot see one another, and each gets more at the others' cost when it asks more: they
        /// get the same, but push one another up to this. So give each its share of what the destination can bear.
        max: usize,
    },
}

impl Concurrency {
    pub(super) fn check(self) -> Result<(), ConfigError> {
        match self {
            Self::Fixed(calls) => count("a destination's concurrency", calls),
            Self::Auto { min, max } if min > max => Err(ConfigError::new(format!(
                "a destination's least concurrency of {min} must not be above its most of {max}"
            ))),
            Self::Auto { min, max } => {
                count("a destination's least concurrency", min)?;
                count("a destination's most concurrency", max)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Limit {
    calls: usize,
    /// Nobody looks for one that is fixed.
    knee: Option<Knee>,
}

impl Limit {
    pub(super) fn new(concurrency: Concurrency, bug: Bug) -> Self {
        match concurrency {
            Concurrency::Fixed(calls) => Self { calls, knee: None },
            Concurrency::Auto { min, max } => {
                Self { calls: START.clamp(min, max), knee: Some(Knee::new(min, max, bug)) }
            }
        }
    }

    #[inline]
    pub(super) const fn calls(&self) -> usize {
        self.calls
    }

    /// The wire is full.
    pub(super) fn was_reached(&mut self, now: Time) {
        if let Some(knee) = &mut self.knee {
            knee.was_reached(now);
        }
    }

    /// A call has ended, or is judged before it has.
    pub(super) fn ended(&mut self, now: Time, started: Time, verdict: Verdict, answered: usize) {
        let Some(knee) = &mut self.knee else { return };
        self.calls = match verdict {
            Verdict::Overloaded => knee.overloaded(now, started, self.calls),
            _ => knee.ended(now, started, answered, self.calls),
        };
    }

    /// Whether it has been lowered because the destination had too much to do, and has not been tried out since.
    pub(super) fn is_shrinking(&self) -> bool {
        self.knee.as_ref().is_some_and(Knee::was_cut)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::knee::OVERLOADED;
    use super::*;

    const MS: u64 = 1_000_000;

    fn auto(min: usize, max: usize) -> Limit {
        Limit::new(Concurrency::Auto { min, max }, Bug::default())
    }

    /// Makes `calls` calls of a server that answers as many at a time as it has `workers`, each in 10 ms. The limits it went through.
    fn drive(limit: &mut Limit, now: &mut Time, calls: usize, workers: usize) -> Vec<usize> {
        let mut limits = Vec::new();
        let mut on_wire = alloc::collections::VecDeque::new();
        let mut free = alloc::collections::VecDeque::from_iter(core::iter::repeat_n(*now, workers));
        for _ in 0..calls {
            while on_wire.len() < limit.calls() {
                let ends = free.pop_front().unwrap().max(*now).plus_nanos(10 * MS);
                free.push_back(ends);
                on_wire.push_back((ends, *now));
            }
            limit.was_reached(*now);
            let Some((ends, started)) = on_wire.pop_front() else { return limits };
            *now = ends.max(*now);
            limit.ended(*now, started, Verdict::Good, 1);
            limits.push(limit.calls());
        }
        limits
    }

    #[test]
    fn a_fixed_limit_stays() {
        let mut limit = Limit::new(Concurrency::Fixed(7), Bug::default());
        drive(&mut limit, &mut Time::ZERO.clone(), 10_000, 3);
        limit.ended(Time::ZERO, Time::ZERO, Verdict::Overloaded, 0);
        assert_eq!((limit.calls(), limit.is_shrinking()), (7, false));
    }

    #[test]
    fn it_finds_the_knee_below_and_above_where_it_starts() {
        for workers in [4, 16, 50, 200] {
            let mut limit = auto(1, 1_000);
            let limits = drive(&mut limit, &mut Time::ZERO.clone(), 100_000, workers);
            let late = &limits[50_000..];
            let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
            assert!(mean > 0.93 * workers as f64 && mean < 1.3 * workers as f64, "{workers} workers: {mean}");
        }
    }

    /// A driver hears of all calls at once that have ended since it looked last, and then fills the wire again.
    #[test]
    fn calls_that_are_heard_of_together_all_count() {
        let mut limit = auto(1, 300);
        let mut now = Time::ZERO;
        for _ in 0..2_000 {
            let started = now;
            limit.was_reached(now);
            now = now.plus_nanos(10 * MS);
            for _ in 0..limit.calls() {
                limit.ended(now, started, Verdict::Good, 1);
            }
        }
        assert!(limit.calls() >= 270, "a server without a knee: {}", limit.calls());
    }

    #[test]
    fn answers_of_a_batch_count_not_calls() {
        let mut limit = auto(1, 1_000);
        let mut now = Time::ZERO;
        drive(&mut limit, &mut now, 50_000, 30);
        let before = limit.calls();
        // Ten times the records in a call that takes ten times as long: the same throughput.
        let mut on_wire = alloc::collections::VecDeque::new();
        let mut free = alloc::collections::VecDeque::from_iter(core::iter::repeat_n(now, 30));
        let mut limits = Vec::new();
        for _ in 0..20_000 {
            while on_wire.len() < limit.calls() {
                let ends = free.pop_front().unwrap().max(now).plus_nanos(100 * MS);
                free.push_back(ends);
                on_wire.push_back((ends, now));
            }
            limit.was_reached(now);
            let (ends, started) = on_wire.pop_front().unwrap();
            now = ends.max(now);
            limit.ended(now, started, Verdict::Good, 10);
            limits.push(limit.calls());
        }
        let mean = limits[10_000..].iter().sum::<usize>() as f64 / 10_000.0;
        assert!(mean > 0.9 * before as f64 && mean < 1.3 * before as f64, "{before}, then {mean}");
    }

    #[test]
    fn a_destination_that_only_fails_is_not_asked_more() {
        let mut limit = auto(1, 1_000);
        for n in 0..20_000 {
            limit.was_reached(Time::from_nanos(n * MS));
            limit.ended(Time::from_nanos((n + 1) * MS), Time::from_nanos(n * MS), Verdict::Failed, 0);
            assert!(limit.calls() <= START * 3 / 2, "it is tried now and then");
        }
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut limit = auto(20, 30);
        let limits = drive(&mut limit, &mut Time::ZERO.clone(), 50_000, 1_000);
        assert!(limits.iter().all(|calls| (20..=30).contains(calls)));
        assert_eq!(limits.iter().max(), Some(&30));
        for n in 0..100 {
            let at = Time::from_nanos(n * 1_000_000_000_000);
            limit.ended(at, at, Verdict::Overloaded, 0);
        }
        assert_eq!(limit.calls(), 20);
    }

    #[test]
    fn a_wire_that_is_never_full_changes_nothing() {
        let mut limit = auto(1, 1_000);
        for n in 0..100_000 {
            limit.ended(Time::from_nanos((n + 1) * MS), Time::from_nanos(n * MS), Verdict::Good, 1);
        }
        assert_eq!(limit.calls(), START);
    }

    #[test]
    fn idle_times_between_full_ones_say_nothing() {
        let mut limit = auto(1, 1_000);
        let mut now = Time::ZERO;
        drive(&mut limit, &mut now, 50_000, 30);
        let before = limit.calls();
        for _ in 0..200 {
            drive(&mut limit, &mut now, 200, 30);
            limit.knee.as_mut().unwrap().empties();
            now = now.plus_nanos(60_000 * MS);
        }
        let after = limit.calls();
        assert!(after.abs_diff(before) <= before / 2, "{before} {after}");
    }

    #[test]
    fn one_overload_cuts_once_however_many_say_so() {
        let mut limit = auto(1, 1_000);
        let mut now = Time::ZERO;
        drive(&mut limit, &mut now, 50_000, 100);
        let before = limit.calls();
        for _ in 0..50 {
            limit.ended(now.plus_nanos(MS), now, Verdict::Overloaded, 0);
        }
        let once = limit.calls();
        assert!((0.6..=0.75).contains(&(once as f64 / before as f64)), "{before} {once}");
        assert!(limit.is_shrinking());
        let soon = now.plus_nanos(5 * MS);
        limit.ended(soon.plus_nanos(MS), soon, Verdict::Overloaded, 0);
        assert_eq!(limit.calls(), once, "it does not show yet");
        let later = now.plus_nanos(100 * MS);
        limit.ended(later.plus_nanos(MS), later, Verdict::Overloaded, 0);
        assert!(limit.calls().abs_diff((once as f64 * OVERLOADED) as usize) <= 1, "one that started since");
    }
}
