//! How many calls may be on the wire, and how that is found out: a climb on the hill of throughput over concurrency.
//!
//! ```text
//!            answers per time grow by less than calls do
//!   Climb ------------------------------------------------> Hold --- now and then ---> Down: fewer do as well? then fewer
//!     ^                                                      ^ |
//!     |                                                      | +---- now and then ---> Up: more do better? then climb
//!     +------------------------------------------------------+-----------------------------+
//! ```
//! What is compared is throughput, not latency: a latency that is measured while calls queue up drifts with the limit. It counts only
//! while the wire is full, so that an idle time, or a source that is slow, says nothing. Records are counted, not calls, so
//! that larger batches do not look like congestion.

use alloc::format;

use super::Verdict;
use crate::config::{ConfigError, count};
use crate::time::Time;

/// Where the search begins.
const START: usize = 16;
/// How much more is tried on the way up, and in search of more or less later.
const CLIMB: f64 = 1.5;
const UP: f64 = 1.25;
const DOWN: f64 = 0.87;
/// What is left of the limit when the destination says that it has too much to do.
const OVERLOADED: f64 = 0.7;
/// More calls are worth it if throughput grows by this power of what they grow by; 1 would be in proportion.
const CLIMB_IS_WORTH: f64 = 0.4;
const UP_IS_WORTH: f64 = 0.35;
/// Fewer calls are as good if throughput shrinks by less than this power.
const DOWN_IS_AS_GOOD: f64 = 0.25;
/// Throughput at an unchanged limit that is below this share of what it was: the destination has changed.
const CHANGED: f64 = 0.75;
/// After such a change: a little more than in proportion, since more is found out sooner than less.
const AFTER_CHANGE: f64 = 1.1;
/// Windows between two trials.
const HOLDS: u32 = 4;
/// Calls in a window: this many round trips, but at least so many for each unit of the squared coefficient of variation.
const CLIMB_TRIPS: usize = 4;
const CLIMB_CALLS: f64 = 100.0;
const TRIPS: usize = 6;
const CALLS: f64 = 500.0;
const LEAST_VARIATION: f64 = 1.0;
const MOST_VARIATION: f64 = 8.0;
/// Calls that the throughput at the present limit is remembered over, and those that the variation is.
const MEMORY: f64 = 3_000.0;
const VARIATION_MEMORY: f64 = 1_000.0;

/// How many calls may be on the wire, over all operators that call the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(usize),
    /// As many as the destination works best with: the fewest with which it answers about as much as it can, found by trying.
    Auto {
        /// Never fewer, at least 1.
        min: usize,
        /// Never more.
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
    climber: Option<Climber>,
}

impl Limit {
    pub(super) fn new(concurrency: Concurrency) -> Self {
        match concurrency {
            Concurrency::Fixed(calls) => Self { calls, climber: None },
            Concurrency::Auto { min, max } => {
                Self { calls: START.clamp(min, max), climber: Some(Climber::new(min, max)) }
            }
        }
    }

    #[inline]
    pub(super) const fn calls(&self) -> usize {
        self.calls
    }

    /// The wire is full.
    pub(super) fn was_reached(&mut self, now: Time) {
        if let Some(climber) = &mut self.climber {
            climber.full_since.get_or_insert(now);
        }
    }

    /// A call has ended, or is judged before it has.
    pub(super) fn ended(&mut self, now: Time, started: Time, verdict: Verdict, answered: usize) {
        let Some(climber) = &mut self.climber else { return };
        self.calls = match verdict {
            Verdict::Overloaded => climber.overloaded(now, started, self.calls),
            _ => climber.ended(now, started, answered, self.calls),
        };
    }

    /// Whether it has been lowered because the destination had too much to do, and has not been tried out since.
    pub(super) fn is_shrinking(&self) -> bool {
        self.climber.as_ref().is_some_and(|climber| climber.cut)
    }
}

#[derive(Debug)]
struct Climber {
    min: usize,
    max: usize,
    phase: Phase,
    /// The throughput that the next is compared with, and how many calls it was measured over. `None`: not measured yet.
    best: Option<(f64, f64)>,
    /// The limit it was measured at.
    best_at: usize,
    window: Window,
    variation: Variation,
    /// Since when the wire is full.
    full_since: Option<Time>,
    /// Calls that started before the last cut say nothing about the limit since.
    cut_at: Time,
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Climb,
    /// The next trial is for fewer calls, or for more.
    Hold {
        windows: u32,
        then_down: bool,
    },
    Down,
    Up,
}

const HOLD: Phase = Phase::Hold { windows: 0, then_down: true };

/// What has been measured since the limit changed.
#[derive(Debug, Default)]
struct Window {
    /// Calls still to end until only those that started since are left.
    skip: usize,
    calls: usize,
    answers: usize,
    /// How long the wire was full, in nanoseconds.
    full: u64,
}

impl Climber {
    fn new(min: usize, max: usize) -> Self {
        Self {
            min,
            max,
            phase: Phase::Climb,
            best: None,
            best_at: START.clamp(min, max),
            window: Window::default(),
            variation: Variation::default(),
            full_since: None,
            cut_at: Time::ZERO,
            cut: false,
        }
    }

    fn overloaded(&mut self, now: Time, started: Time, limit: usize) -> usize {
        self.full_since = None;
        if started < self.cut_at {
            return limit;
        }
        (self.cut_at, self.cut) = (now, true);
        (self.phase, self.best) = (HOLD, None);
        self.change(limit, (limit as f64 * OVERLOADED) as usize)
    }

    fn ended(&mut self, now: Time, started: Time, answered: usize, limit: usize) -> usize {
        self.variation.add(now.nanos_since(started) as f64);
        let Some(since) = self.full_since.take() else { return limit };
        if self.window.skip > 0 {
            self.window.skip -= 1;
            return limit;
        }
        self.window.full += now.nanos_since(since);
        self.window.calls += 1;
        self.window.answers += answered;
        if self.window.calls < self.window_calls(limit) {
            return limit;
        }
        self.cut = false;
        let Window { calls, answers, full, .. } = core::mem::take(&mut self.window);
        self.step(answers as f64 / full.max(1) as f64, calls as f64, limit)
    }

    fn window_calls(&self, limit: usize) -> usize {
        let (trips, calls) = if self.phase == Phase::Climb { (CLIMB_TRIPS, CLIMB_CALLS) } else { (TRIPS, CALLS) };
        (trips * limit).max((calls * self.variation.squared()) as usize)
    }

    /// A window is over, with this many answers per time in so many calls. The limit from now on.
    fn step(&mut self, rate: f64, calls: f64, limit: usize) -> usize {
        let Some((best, weight)) = self.best else {
            (self.best, self.best_at) = (Some((rate, calls)), limit);
            return if self.phase == Phase::Climb { self.climb(limit) } else { limit };
        };
        let more = limit as f64 / self.best_at as f64;
        match self.phase {
            Phase::Climb if rate > best * power(more, CLIMB_IS_WORTH) => {
                (self.best, self.best_at) = (Some((rate, calls)), limit);
                self.climb(limit)
            }
            Phase::Climb => {
                // As many as are busy: in proportion to what was gained.
                let busy = self.best_at as f64 * (rate / best).max(1.0);
                (self.phase, self.best) = (HOLD, None);
                self.change(limit, (busy + 0.5) as usize)
            }
            Phase::Hold { .. } if rate < best * CHANGED => {
                (self.phase, self.best) = (HOLD, None);
                self.change(limit, (limit as f64 * rate / best * AFTER_CHANGE) as usize)
            }
            Phase::Hold { windows, then_down } => {
                let mean = (best * weight + rate * calls) / (weight + calls);
                self.best = Some((mean, (weight + calls).min(MEMORY)));
                if windows + 1 < HOLDS {
                    self.phase = Phase::Hold { windows: windows + 1, then_down };
                    return limit;
                }
                self.try_another(limit, then_down)
            }
            Phase::Down if rate >= best * power(more, DOWN_IS_AS_GOOD) => {
                (self.best, self.best_at) = (Some((rate.min(best), calls)), limit);
                self.phase = HOLD;
                limit
            }
            Phase::Up if rate > best * power(more, UP_IS_WORTH) => {
                (self.best, self.best_at, self.phase) = (Some((rate, calls)), limit, Phase::Climb);
                self.climb(limit)
            }
            Phase::Down | Phase::Up => {
                self.phase = Phase::Hold { windows: 0, then_down: self.phase == Phase::Up };
                self.change(limit, self.best_at)
            }
        }
    }

    fn climb(&mut self, limit: usize) -> usize {
        if limit == self.max {
            self.phase = HOLD;
            return limit;
        }
        self.change(limit, grown(limit, CLIMB))
    }

    fn try_another(&mut self, limit: usize, down: bool) -> usize {
        self.best_at = limit;
        let other = if down { ((limit as f64 * DOWN) as usize).min(limit - 1) } else { grown(limit, UP) };
        let other = other.clamp(self.min, self.max);
        if other == limit {
            self.phase = Phase::Hold { windows: 0, then_down: !down };
            return limit;
        }
        self.phase = if down { Phase::Down } else { Phase::Up };
        self.change(limit, other)
    }

    fn change(&mut self, from: usize, to: usize) -> usize {
        let to = to.clamp(self.min, self.max);
        let skip = if from == to { 0 } else { from.max(to) };
        self.window = Window { skip, ..Window::default() };
        to
    }
}

/// The squared coefficient of variation of how long calls take: the more it is, the more calls it takes to see anything.
#[derive(Debug, Default)]
struct Variation {
    mean: f64,
    square: f64,
}

impl Variation {
    fn add(&mut self, nanos: f64) {
        if self.mean <= 0.0 {
            (self.mean, self.square) = (nanos, nanos * nanos);
        }
        self.mean += (nanos - self.mean) / VARIATION_MEMORY;
        self.square += (nanos * nanos - self.square) / VARIATION_MEMORY;
    }

    fn squared(&self) -> f64 {
        if self.mean <= 0.0 {
            return LEAST_VARIATION;
        }
        (self.square / (self.mean * self.mean) - 1.0).clamp(LEAST_VARIATION, MOST_VARIATION)
    }
}

fn grown(limit: usize, factor: f64) -> usize {
    ((limit as f64 * factor) as usize).max(limit + 1)
}

/// `base` to the power of `exponent`, for ratios of limits, which are near 1: without a standard library there is no other.
fn power(base: f64, exponent: f64) -> f64 {
    exponential(exponent * logarithm(base))
}

/// 2 (z + z³/3 + z⁵/5 + ...) with z = (x - 1) / (x + 1).
fn logarithm(x: f64) -> f64 {
    let z = (x - 1.0) / (x + 1.0);
    let (mut term, mut sum) = (z, 0.0);
    for odd in [1.0, 3.0, 5.0, 7.0, 9.0, 11.0] {
        sum += term / odd;
        term *= z * z;
    }
    2.0 * sum
}

fn exponential(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0] {
        term *= x / n;
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const MS: u64 = 1_000_000;

    fn auto(min: usize, max: usize) -> Limit {
        Limit::new(Concurrency::Auto { min, max })
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
        let mut limit = Limit::new(Concurrency::Fixed(7));
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
            limit.climber.as_mut().unwrap().full_since = None;
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
        assert_eq!(once, (before as f64 * OVERLOADED) as usize);
        assert!(limit.is_shrinking());
        let later = now.plus_nanos(5 * MS);
        limit.ended(later.plus_nanos(MS), later, Verdict::Overloaded, 0);
        assert_eq!(limit.calls(), (once as f64 * OVERLOADED) as usize, "one that started since");
    }

    #[test]
    fn powers_are_right_where_they_are_needed() {
        for base in [0.5, 0.7, 0.87, 1.0, 1.25, 1.5, 2.0] {
            for exponent in [0.25, 0.35, 0.4, 1.0] {
                assert!((power(base, exponent) - f64::powf(base, exponent)).abs() < 1e-4, "{base} {exponent}");
            }
        }
    }
}
