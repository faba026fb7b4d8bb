//! Whether a service is well enough to be called: a circuit breaker, as a state machine without a clock.

use alloc::collections::VecDeque;
use alloc::format;
use core::time::Duration;

use super::{Refusal, Verdict};
use crate::config::ConfigError;
use crate::time::Time;

/// When a circuit breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerOptions {
    /// The latest calls that are looked at, at least 1. Default 100.
    pub window: usize,
    /// It opens when this share of them failed, above 0 and at most 1. Default 0.5.
    pub failure_rate: f64,
    /// But not before so many calls have ended since it closed last, at least 1 and at most `window`. Default 20.
    pub min_calls: usize,
    /// How long the service is left alone, more than zero. Default 1 s.
    pub open_for: Duration,
    /// Calls that then try whether it is back, at least 1. All of them must be good; others are refused meanwhile. Default 3.
    pub probes: usize,
    /// Whether a call that is given up (it took too long) or panics has failed; otherwise it does not count. Default true: a service
    /// that hangs never says so itself.
    pub given_up_is_failure: bool,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            window: 100,
            failure_rate: 0.5,
            min_calls: 20,
            open_for: Duration::from_secs(1),
            probes: 3,
            given_up_is_failure: true,
        }
    }
}

impl BreakerOptions {
    /// Whether a breaker can be made of this.
    ///
    /// # Errors
    /// Names the first value that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fault = if self.window == 0 {
            "a breaker's window of zero calls sees nothing: give it at least 1".into()
        } else if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            format!("a breaker's failure rate must be above 0 and at most 1, not {}", self.failure_rate)
        } else if !(1..=self.window).contains(&self.min_calls) {
            format!("a breaker's min_calls must be between 1 and its window of {}, not {}", self.window, self.min_calls)
        } else if self.open_for.is_zero() {
            "a breaker must be open for longer than zero".into()
        } else if self.probes == 0 {
            "a breaker without a probe would never close: give it at least 1".into()
        } else {
            return Ok(());
        };
        Err(ConfigError::new(fault))
    }
}

/// Whether a circuit breaker lets calls through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All of them.
    Closed,
    /// None.
    Open,
    /// A few, to try whether the service is back.
    HalfOpen,
}

/// Lets calls through, or not.
///
/// ```text
///            too many of the latest calls failed                open_for has passed
///   Closed --------------------------------------> Open -----------------------------> HalfOpen
///      ^                                            ^                                   |    |
///      |                                            +------------- a probe failed ------+    |
///      +------------------------------------ all probes were good ---------------------------+
/// ```
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: State,
    /// How often the state has changed. Calls that started before the last change have no say in the present.
    era: u64,
}

#[derive(Debug)]
enum State {
    Closed { window: VecDeque<Ended>, failures: usize },
    Open { until: Time },
    HalfOpen { running: usize, good: usize },
}

/// How a call ended, to a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well.
    Good,
    /// Not well.
    Failed,
    /// Says nothing about the service.
    Unjudged,
}

/// A [`Breaker`]'s permission to make one call; to be handed back when it ends, however it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    era: u64,
}

impl Breaker {
    /// A breaker that is closed. The options have been [checked](BreakerOptions::check).
    #[must_use]
    pub const fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed { window: VecDeque::new(), failures: 0 }, era: 0 }
    }

    pub(super) const fn options(&self) -> &BreakerOptions {
        &self.options
    }

    /// The state at this time.
    #[must_use]
    pub fn state(&self, now: Time) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Why a call would not be permitted.
    pub(super) fn refuses(&self, now: Time) -> Option<Refusal> {
        match self.state {
            State::Open { until } if now < until => Some(Refusal::Until(until)),
            State::HalfOpen { running, good } if running + good >= self.options.probes => Some(Refusal::Full),
            _ => None,
        }
    }

    /// Permits a call.
    ///
    /// # Errors
    /// How long to leave the service alone.
    pub fn admit(&mut self, now: Time) -> Result<Pass, Duration> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(until.since(now));
            }
            self.enter(State::HalfOpen { running: 0, good: 0 });
        }
        if let State::HalfOpen { running, good } = &mut self.state {
            if *running + *good >= self.options.probes {
                return Err(self.options.open_for);
            }
            *running += 1;
        }
        Ok(self.present())
    }

    /// Takes a permission back.
    pub fn settle(&mut self, now: Time, pass: Pass, ended: Ended) {
        if pass.era != self.era {
            return;
        }
        match &mut self.state {
            State::Closed { window, failures } => {
                if ended == Ended::Unjudged {
                    return;
                }
                if window.len() == self.options.window && window.pop_front() == Some(Ended::Failed) {
                    *failures -= 1;
                }
                window.push_back(ended);
                if ended != Ended::Failed {
                    return;
                }
                *failures += 1;
                let failing = *failures as f64 >= self.options.failure_rate * window.len() as f64;
                if failing && window.len() >= self.options.min_calls {
                    self.open(now);
                }
            }
            State::HalfOpen { running, good } => {
                *running -= 1;
                match ended {
                    Ended::Good => *good += 1,
                    Ended::Failed => return self.open(now),
                    Ended::Unjudged => {}
                }
                if *good >= self.options.probes {
                    self.enter(State::Closed { window: VecDeque::new(), failures: 0 });
                }
            }
            // No permit is given while it is open.
            State::Open { .. } => {}
        }
    }

    /// What a call that starts now would have.
    pub(super) const fn present(&self) -> Pass {
        Pass { era: self.era }
    }

    fn open(&mut self, now: Time) {
        self.enter(State::Open { until: now + self.options.open_for });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

impl From<Verdict> for Ended {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::Good,
            Verdict::Failed | Verdict::Overloaded => Self::Failed,
            Verdict::Unjudged => Self::Unjudged,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions {
        window: 10,
        failure_rate: 0.5,
        min_calls: 4,
        open_for: Duration::from_secs(5),
        probes: 2,
        given_up_is_failure: true,
    };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn call(breaker: &mut Breaker, now: Time, ended: Ended) {
        let permit = breaker.admit(now).unwrap();
        breaker.settle(now, permit, ended);
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(OPTIONS);
        for _ in 0..OPTIONS.min_calls {
            call(&mut breaker, at(0), Ended::Failed);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Open);
        breaker
    }

    #[test]
    fn a_few_failures_say_nothing_yet() {
        let mut breaker = Breaker::new(OPTIONS);
        for _ in 0..OPTIONS.min_calls - 1 {
            call(&mut breaker, at(0), Ended::Failed);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        call(&mut breaker, at(0), Ended::Failed);
        assert_eq!(breaker.state(at(0)), BreakerState::Open);
    }

    #[test]
    fn only_the_latest_calls_count() {
        let mut breaker = Breaker::new(OPTIONS);
        for _ in 0..1_000 {
            call(&mut breaker, at(0), Ended::Good);
        }
        for _ in 0..4 {
            call(&mut breaker, at(0), Ended::Failed);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        call(&mut breaker, at(0), Ended::Failed);
        assert_eq!(breaker.state(at(0)), BreakerState::Open, "5 of the latest 10");
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut breaker = Breaker::new(OPTIONS);
        for _ in 0..100 {
            for _ in 0..3 {
                call(&mut breaker, at(0), Ended::Good);
            }
            call(&mut breaker, at(0), Ended::Failed);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed, "a quarter fails, half would be too much");
    }

    #[test]
    fn open_it_says_how_long() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(0)), Err(Duration::from_secs(5)));
        assert_eq!(breaker.admit(at(3)), Err(Duration::from_secs(2)));
        assert_eq!(breaker.state(at(5)), BreakerState::HalfOpen);
        assert!(breaker.admit(at(5)).is_ok());
    }

    #[test]
    fn half_open_it_lets_the_probes_through_and_no_more() {
        let mut breaker = opened();
        let first = breaker.admit(at(5)).unwrap();
        let second = breaker.admit(at(5)).unwrap();
        assert_eq!(breaker.admit(at(5)), Err(OPTIONS.open_for));
        breaker.settle(at(6), first, Ended::Good);
        assert_eq!(breaker.admit(at(6)), Err(OPTIONS.open_for), "a good probe is not replaced by another");
        breaker.settle(at(6), second, Ended::Good);
        assert_eq!(breaker.state(at(6)), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let mut breaker = opened();
        let first = breaker.admit(at(5)).unwrap();
        let second = breaker.admit(at(5)).unwrap();
        breaker.settle(at(6), first, Ended::Failed);
        assert_eq!(breaker.admit(at(6)), Err(OPTIONS.open_for));
        breaker.settle(at(7), second, Ended::Good);
        assert_eq!(breaker.admit(at(7)), Err(Duration::from_secs(4)), "the other probe is too late to matter");
    }

    #[test]
    fn a_probe_without_a_verdict_makes_room_for_another() {
        let mut breaker = opened();
        for _ in 0..100 {
            call(&mut breaker, at(5), Ended::Unjudged);
        }
        assert_eq!(breaker.state(at(5)), BreakerState::HalfOpen);
        call(&mut breaker, at(5), Ended::Good);
        call(&mut breaker, at(5), Ended::Good);
        assert_eq!(breaker.state(at(5)), BreakerState::Closed);
    }

    #[test]
    fn stragglers_of_before_have_no_say() {
        let mut breaker = Breaker::new(OPTIONS);
        let stragglers: Vec<Pass> = (0..20).map(|_| breaker.admit(at(0)).unwrap()).collect();
        for _ in 0..OPTIONS.min_calls {
            call(&mut breaker, at(0), Ended::Failed);
        }
        let probes = [breaker.admit(at(5)).unwrap(), breaker.admit(at(5)).unwrap()];
        for straggler in &stragglers[..10] {
            breaker.settle(at(5), *straggler, Ended::Failed);
        }
        assert_eq!(breaker.state(at(5)), BreakerState::HalfOpen);
        for probe in probes {
            breaker.settle(at(5), probe, Ended::Good);
        }
        for straggler in &stragglers[10..] {
            breaker.settle(at(5), *straggler, Ended::Failed);
        }
        assert_eq!(breaker.state(at(5)), BreakerState::Closed);
    }

    /// Whatever happens in whatever order, it neither panics nor stays half open for ever.
    #[test]
    fn it_never_gets_stuck() {
        let mut seed = 7_u64;
        let mut dice = |sides: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % sides
        };
        let mut breaker = Breaker::new(OPTIONS);
        let (mut permits, mut seen, mut now) = (Vec::new(), [0; 3], Time::ZERO);
        for _ in 0..100_000 {
            now = now + Duration::from_millis(dice(500));
            if dice(2) == 0 {
                permits.extend(breaker.admit(now).ok());
            } else if !permits.is_empty() {
                let permit = permits.swap_remove(dice(permits.len() as u64) as usize);
                let ended = [Ended::Good, Ended::Good, Ended::Failed, Ended::Unjudged][dice(4) as usize];
                breaker.settle(now, permit, ended);
            }
            seen[breaker.state(now) as usize] += 1;
        }
        assert!(seen.iter().all(|&times| times > 1_000), "{seen:?}");
        for permit in permits {
            breaker.settle(now, permit, Ended::Unjudged);
        }
        now = now + OPTIONS.open_for;
        while breaker.state(now) != BreakerState::Closed {
            call(&mut breaker, now, Ended::Good);
        }
    }
}
