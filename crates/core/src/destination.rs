//! One external system, as all operators that call it see it together: how many calls may be on the wire, how many may start in a
//! second, whether it is well enough to be called at all, and how many calls besides it may be asked for.
//!
//! ```text
//!              may a call start?                                       how did it end?
//!   admit ---> breaker, limit, rate ---> Permit ---> judge, release ---> breaker, limit, budget
//!   retry, extra ------------------------------------------------------> budget
//! ```

mod breaker;
mod budget;
mod knee;
mod limit;
#[cfg_attr(
    not(feature = "mutants"),
    allow(dead_code, unreachable_pub, reason = "only test builds have bugs to choose from")
)]
mod mutant;
mod rate;

use core::time::Duration;

pub use self::breaker::{Breaker, BreakerOptions, BreakerState, Ended, Pass};
use self::budget::Budget;
pub use self::budget::RetryBudget;
pub use self::limit::Concurrency;
use self::limit::Limit;
use self::mutant::Bug;
#[cfg(feature = "mutants")]
pub use self::mutant::DestinationMutant;
#[cfg(not(feature = "mutants"))]
use self::mutant::DestinationMutant;
pub use self::rate::{RateLimit, TokenBucket};
use crate::config::ConfigError;
use crate::time::Time;

/// What a [`Destination`] is told once.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DestinationOptions {
    /// How many calls may be on the wire.
    pub concurrency: Concurrency,
    /// How many calls may start. Default `None`: no such limit.
    pub rate_limit: Option<RateLimit>,
    /// When the destination is left alone because it fails. Default: [`BreakerOptions::default`]. `None`: never.
    pub breaker: Option<BreakerOptions>,
    /// How many calls besides the first of each record there may be.
    pub budget: RetryBudget,
    /// The bug this destination has, in test builds.
    #[cfg(feature = "mutants")]
    pub mutant: Option<DestinationMutant>,
}

impl DestinationOptions {
    /// So many calls on the wire, no rate limit, a breaker and a budget as they are by default.
    #[must_use]
    pub fn new(concurrency: Concurrency) -> Self {
        Self {
            concurrency,
            rate_limit: None,
            breaker: Some(BreakerOptions::default()),
            budget: RetryBudget::default(),
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Whether a destination can be made of this.
    ///
    /// # Errors
    /// Names the first value that is out of its range. Zero never means "no limit".
    pub fn check(&self) -> Result<(), ConfigError> {
        self.concurrency.check()?;
        self.rate_limit.as_ref().map_or(Ok(()), RateLimit::check)?;
        self.breaker.as_ref().map_or(Ok(()), BreakerOptions::check)?;
        self.budget.check()
    }
}

/// What the end of a call says about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is well, whatever the answer was: "not found" is one.
    Good,
    /// It is not well.
    Failed,
    /// It has too much to do: it says so, or took too long. Failed, and a reason to call less.
    Overloaded,
    /// Nothing.
    Unjudged,
}

/// What a destination is doing and has done, for metrics and summaries.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DestinationStats {
    /// Calls that may be on the wire now.
    pub limit: usize,
    /// Calls on the wire, those given up and extras included.
    pub on_wire: usize,
    /// Whether calls are let through.
    pub breaker: BreakerState,
    /// Retries and extras that could be asked for now.
    pub tokens: u32,
    /// Calls started, extras included.
    pub calls: u64,
    /// Extras among them.
    pub extras: u64,
    /// Tokens that retries took.
    pub retries: u64,
    /// Times a call had to wait for the rate.
    pub rate_waits: u64,
    /// Times the breaker opened after it had been closed.
    pub pauses: u64,
    /// How long it was not closed, all in all.
    pub paused: Duration,
}

/// The right to have one call on the wire.
#[derive(Debug)]
#[must_use = "a call that is never released counts as on the wire for ever"]
pub struct Permit {
    started: Time,
    /// `None` once it is judged, or without a breaker.
    pass: Option<Pass>,
    judged: bool,
}

impl Permit {
    /// When its call started.
    #[must_use]
    pub const fn started(&self) -> Time {
        self.started
    }
}

/// Why a call may not start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not before then: the rate, or a breaker that is open.
    Until(Time),
    /// Not before a call ends: the limit is reached, or the probes of a half-open breaker are out.
    Full,
}

/// The state machine: no clock, no tasks, no randomness.
///
/// ```
/// use core::time::Duration;
/// use inflight_core::{Concurrency, Destination, DestinationOptions, Refusal, Time, Verdict};
///
/// let mut destination = Destination::new(DestinationOptions::new(Concurrency::Fixed(1)))?;
/// let now = Time::ZERO;
/// let mut permit = destination.admit(now).expect("the wire is empty");
/// assert_eq!(destination.admit(now).unwrap_err(), Refusal::Full);
///
/// let later = now + Duration::from_millis(5);
/// destination.judge(later, &mut permit, Verdict::Good, 1);
/// destination.release(later, permit);
/// assert_eq!(destination.stats(later).on_wire, 0);
/// # Ok::<(), inflight_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Destination {
    limit: Limit,
    rate: Option<TokenBucket>,
    breaker: Option<Breaker>,
    budget: Budget,
    on_wire: usize,
    /// The last refusal was by the rate: waits are counted once for each call.
    waits_for_rate: bool,
    /// Since when the breaker has not been closed.
    failing_since: Option<Time>,
    /// How long that was, before.
    failed_for: Duration,
    /// When the latest of the good calls started.
    well_at: Option<Time>,
    calls: u64,
    extras: u64,
    retries: u64,
    rate_waits: u64,
    pauses: u64,
    bug: Bug,
}

impl Destination {
    /// A destination that is believed to be well.
    ///
    /// # Errors
    /// If [`DestinationOptions::check`] refuses `options`.
    pub fn new(options: DestinationOptions) -> Result<Self, ConfigError> {
        options.check()?;
        let bug = Bug::of(&options);
        let options = bug.twist(options);
        Ok(Self {
            limit: Limit::new(options.concurrency, bug),
            rate: options.rate_limit.map(TokenBucket::new),
            breaker: options.breaker.map(Breaker::new),
            budget: Budget::full(options.budget, bug),
            on_wire: 0,
            waits_for_rate: false,
            failing_since: None,
            failed_for: Duration::ZERO,
            well_at: None,
            calls: 0,
            extras: 0,
            retries: 0,
            rate_waits: 0,
            pauses: 0,
            bug,
        })
    }

    /// Permits a call, or says why not.
    ///
    /// # Errors
    /// What the call has to wait for.
    pub fn admit(&mut self, now: Time) -> Result<Permit, Refusal> {
        if let Some(refusal) = self.refusal(now) {
            let by_rate = !self.is_failing() && refusal != Refusal::Full;
            self.rate_waits += u64::from(by_rate && !self.waits_for_rate);
            self.waits_for_rate |= by_rate;
            if self.on_wire >= self.limit.calls() {
                self.limit.was_reached(now);
            }
            return Err(refusal);
        }
        self.waits_for_rate = false;
        self.start(now)
    }

    /// Why a call would not be permitted now.
    #[must_use]
    pub fn refusal(&self, now: Time) -> Option<Refusal> {
        if let Some(refusal) = self.breaker.as_ref().and_then(|breaker| breaker.refuses(now))
            && !(refusal == Refusal::Full && self.bug.is(DestinationMutant::ProbesWithoutEnd))
        {
            return Some(refusal);
        }
        if self.on_wire >= self.limit.calls() + usize::from(self.bug.is(DestinationMutant::CallsPastTheLimit)) {
            return Some(Refusal::Full);
        }
        self.rate_wait(now).map(|wait| Refusal::Until(now + wait))
    }

    /// Permits a call besides those that records need: a hedge. It takes two tokens, and none is permitted when the limit is reached or
    /// has just been lowered, the rate is used up or the breaker is not closed.
    pub fn extra(&mut self, now: Time) -> Option<Permit> {
        if !self.has_to_spare(now)
            || !(self.bug.is(DestinationMutant::ExtrasAreFree) || self.budget.spend_on_extra(now))
        {
            return None;
        }
        self.extras += 1;
        self.start(now).ok()
    }

    /// Permits a call that no record waits for and that saves one later: what a cache fetches anew. As [`extra`](Self::extra), but it takes
    /// no token.
    pub fn spare(&mut self, now: Time) -> Option<Permit> {
        if self.has_to_spare(now) { self.start(now).ok() } else { None }
    }

    fn has_to_spare(&self, now: Time) -> bool {
        let room = self.on_wire < self.limit.calls() && !self.limit.is_shrinking();
        (room || self.bug.is(DestinationMutant::ExtrasPastTheLimit))
            && (!self.is_failing() || self.bug.is(DestinationMutant::ExtrasWhileFailing))
            && self.rate_wait(now).is_none()
    }

    /// Takes a token for a retry, if there is one.
    pub fn retry(&mut self, now: Time) -> bool {
        let allowed = self.budget.spend(now);
        self.retries += u64::from(allowed);
        allowed
    }

    /// When there will be a token, if no call is good until then.
    #[must_use]
    pub fn next_token(&mut self, now: Time) -> Time {
        self.budget.next(now)
    }

    /// What the end of a call says; once for each call, the first time counts. `answered`: the records that got an answer by it, for
    /// the budget. The call counts as on the wire until it is [released](Self::release).
    pub fn judge(&mut self, now: Time, permit: &mut Permit, verdict: Verdict, answered: usize) {
        if core::mem::replace(&mut permit.judged, true) {
            return;
        }
        if verdict == Verdict::Good {
            self.well_at = self.well_at.max(Some(permit.started));
        }
        self.limit.ended(now, permit.started, verdict, answered);
        let fails = verdict != Verdict::Good && self.bug.is(DestinationMutant::FailuresEarn);
        self.budget.earn(if fails { answered.max(1) } else { answered });
        let failing = self.is_failing();
        if let (Some(breaker), Some(pass)) = (&mut self.breaker, permit.pass.take()) {
            let pass = if self.bug.is(DestinationMutant::OldCallsAreProbes) { breaker.present() } else { pass };
            breaker.settle(now, pass, self.bug.twist_probe(verdict.into(), failing));
            self.note_state(now);
        }
    }

    /// Nobody waits for the call any more, and it has not ended: it counts as on the wire until it is [released](Self::release), and is
    /// judged at once. `too_slow`: it took longer than it may; otherwise that says nothing about the destination.
    pub fn give_up(&mut self, now: Time, permit: &mut Permit, too_slow: bool) {
        self.on_wire += usize::from(self.bug.is(DestinationMutant::LeaksPermits));
        if !too_slow {
            return self.judge(now, permit, Verdict::Unjudged, 0);
        }
        if self.breaker.as_ref().is_some_and(|breaker| !breaker.options().given_up_is_failure)
            && let (Some(breaker), Some(pass)) = (&mut self.breaker, permit.pass.take())
        {
            breaker.settle(now, pass, Ended::Unjudged);
        }
        self.judge(now, permit, Verdict::Overloaded, 0);
    }

    /// The call is on the wire no more.
    pub fn release(&mut self, now: Time, mut permit: Permit) {
        self.judge(now, &mut permit, Verdict::Unjudged, 0);
        self.on_wire -= 1;
    }

    /// How many calls may be on the wire.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit.calls()
    }

    /// Whether there is a rate limit.
    #[must_use]
    pub const fn has_rate_limit(&self) -> bool {
        self.rate.is_some()
    }

    /// Whether the breaker is not closed.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Whether a call was good that started at this time or later. Without a breaker nobody wants to know: yes.
    #[must_use]
    pub fn was_well_after(&self, time: Time) -> bool {
        self.breaker.is_none() || self.well_at.is_some_and(|at| time <= at)
    }

    /// How long the breaker has not been closed, all in all: so long records' deadlines stood still.
    #[must_use]
    pub fn stood_still(&self, now: Time) -> Duration {
        self.failed_for + self.failing_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// What it is doing and has done.
    #[must_use]
    pub fn stats(&self, now: Time) -> DestinationStats {
        DestinationStats {
            limit: self.limit.calls(),
            on_wire: self.on_wire,
            breaker: self.breaker.as_ref().map_or(BreakerState::Closed, |breaker| breaker.state(now)),
            tokens: self.budget.tokens(now),
            calls: self.calls,
            extras: self.extras,
            retries: self.retries,
            rate_waits: self.rate_waits,
            pauses: self.pauses,
            paused: self.stood_still(now),
        }
    }

    fn rate_wait(&self, now: Time) -> Option<Duration> {
        self.rate.as_ref().map(|rate| rate.wait(now)).filter(|wait| !wait.is_zero())
    }

    fn start(&mut self, now: Time) -> Result<Permit, Refusal> {
        let pass = match self.breaker.as_mut().map(|breaker| breaker.admit(now)) {
            Some(Err(wait)) if !self.bug.passes_the_breaker() => return Err(Refusal::Until(now + wait)),
            pass => pass.and_then(Result::ok),
        };
        if let Some(rate) = &mut self.rate {
            rate.take(now);
        }
        self.on_wire += 1;
        self.calls += 1;
        if self.on_wire == self.limit.calls() {
            self.limit.was_reached(now);
        }
        Ok(Permit { started: now, pass, judged: false })
    }

    fn note_state(&mut self, now: Time) {
        let closed = self.breaker.as_ref().is_none_or(|breaker| breaker.state(now) == BreakerState::Closed);
        match (self.failing_since, closed) {
            (None, false) => {
                self.failing_since = Some(now);
                self.pauses += 1;
            }
            (Some(since), true) => {
                self.failed_for += now.since(since);
                self.failing_since = None;
            }
            _ => {}
        }
    }
}
