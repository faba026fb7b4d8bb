//! When a circuit breaker lets calls through: a state machine without a clock.

use std::collections::VecDeque;
use std::time::Duration;

use inflight_core::Time;

use super::circuit_breaker::{BreakerOptions, BreakerState};

/// ```text
///            too many of the latest calls failed                open_for has passed
///   Closed --------------------------------------> Open -----------------------------> HalfOpen
///      ^                                            ^                                   |    |
///      |                                            +------------- a probe failed ------+    |
///      +------------------------------------ all probes were good ---------------------------+
/// ```
#[derive(Debug)]
pub(crate) struct Breaker {
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

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Good,
    Failed,
    /// Says nothing about the service.
    Unjudged,
}

/// The permission to make one call; to be handed back when it ends, however it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    era: u64,
}

impl Breaker {
    pub(crate) const fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed { window: VecDeque::new(), failures: 0 }, era: 0 }
    }

    pub(crate) fn state(&self, now: Time) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Permits a call, or says how long to leave the service alone.
    pub(crate) fn admit(&mut self, now: Time) -> Result<Permit, Duration> {
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
        Ok(Permit { era: self.era })
    }

    /// Takes a permit back.
    pub(crate) fn settle(&mut self, now: Time, permit: Permit, ended: Ended) {
        if permit.era != self.era {
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
                *failures += usize::from(ended == Ended::Failed);
                let failing = *failures as f64 >= self.options.failure_rate * window.len() as f64;
                if ended == Ended::Failed && failing && window.len() >= self.options.min_calls {
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

    fn open(&mut self, now: Time) {
        self.enter(State::Open { until: now + self.options.open_for });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
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
        let stragglers: Vec<Permit> = (0..20).map(|_| breaker.admit(at(0)).unwrap()).collect();
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
