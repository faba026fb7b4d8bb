//! Bugs that a destination could have, as switches of test builds (feature `mutants`): the simulation has to find each of them.

use super::{BreakerOptions, DestinationOptions, Ended};

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table in `describe` says what each is")]
pub enum DestinationMutant {
    FailuresEarn,
    EarnsTwice,
    SavesWithoutEnd,
    RefillsTwice,
    BurstsTwice,
    NeverHalfOpens,
    OpensAtOnce,
    ProbesWithoutEnd,
    OneProbeCloses,
    FailedProbesClose,
    OldCallsAreProbes,
    LeaksPermits,
    CallsPastTheLimit,
    ExtrasPastTheLimit,
    ExtrasAreFree,
    ExtrasWhileFailing,
    GrowsWhileIdle,
    IgnoresOverload,
    CutsForEach,
    NeverForgets,
}

impl DestinationMutant {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::FailuresEarn,
        Self::EarnsTwice,
        Self::SavesWithoutEnd,
        Self::RefillsTwice,
        Self::BurstsTwice,
        Self::NeverHalfOpens,
        Self::OpensAtOnce,
        Self::ProbesWithoutEnd,
        Self::OneProbeCloses,
        Self::FailedProbesClose,
        Self::OldCallsAreProbes,
        Self::LeaksPermits,
        Self::CallsPastTheLimit,
        Self::ExtrasPastTheLimit,
        Self::ExtrasAreFree,
        Self::ExtrasWhileFailing,
        Self::GrowsWhileIdle,
        Self::IgnoresOverload,
        Self::CutsForEach,
        Self::NeverForgets,
    ];

    /// What goes wrong.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::FailuresEarn => "a failure earns as much for the budget as an answer",
            Self::EarnsTwice => "the budget is twice what was said",
            Self::SavesWithoutEnd => "more tokens are saved up than the reserve",
            Self::RefillsTwice => "twice as many calls start in a second",
            Self::BurstsTwice => "more calls start at once than may",
            Self::NeverHalfOpens => "a breaker that is open stays so",
            Self::OpensAtOnce => "the first failure opens the breaker",
            Self::ProbesWithoutEnd => "all calls are probes",
            Self::OneProbeCloses => "the first good probe closes the breaker",
            Self::FailedProbesClose => "a failed probe is taken for a good one",
            Self::OldCallsAreProbes => "calls from before the breaker opened have a say in whether it closes",
            Self::LeaksPermits => "a call that was given up counts as on the wire for ever",
            Self::CallsPastTheLimit => "one call more than the limit",
            Self::ExtrasPastTheLimit => "extras are not held up by the limit",
            Self::ExtrasAreFree => "extras take no tokens",
            Self::ExtrasWhileFailing => "extras are not held up by the breaker",
            Self::GrowsWhileIdle => "the limit is looked for while the wire is not full",
            Self::IgnoresOverload => "the limit stays when the destination has too much to do",
            Self::CutsForEach => "of many calls that found too much to do each cuts the limit",
            Self::NeverForgets => "the limit stays when the destination has changed",
        }
    }
}

/// The bug of a destination: none, without the feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bug {
    #[cfg(feature = "mutants")]
    mutant: Option<DestinationMutant>,
}

impl Bug {
    #[allow(clippy::missing_const_for_fn, reason = "with the feature it reads the options")]
    pub(super) fn of(options: &DestinationOptions) -> Self {
        let _ = options;
        Self {
            #[cfg(feature = "mutants")]
            mutant: options.mutant,
        }
    }

    #[cfg(feature = "mutants")]
    #[inline]
    pub(super) fn is(self, mutant: DestinationMutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    #[allow(clippy::unused_self, reason = "it does use it with the feature")]
    pub(super) const fn is(self, _: DestinationMutant) -> bool {
        false
    }

    /// What the options become with a bug that is no more than another value of them.
    pub(super) fn twist(self, mut options: DestinationOptions) -> DestinationOptions {
        let times = |mutant| if self.is(mutant) { 2 } else { 1 };
        options.budget.per_mille *= times(DestinationMutant::EarnsTwice);
        options.rate_limit = options.rate_limit.map(|mut rate| {
            rate.per_second *= times(DestinationMutant::RefillsTwice);
            rate.burst *= times(DestinationMutant::BurstsTwice);
            rate
        });
        options.breaker = options.breaker.map(|breaker| self.twist_breaker(breaker));
        options
    }

    fn twist_breaker(self, mut breaker: BreakerOptions) -> BreakerOptions {
        if self.is(DestinationMutant::NeverHalfOpens) {
            breaker.open_for *= 1_000_000;
        }
        if self.is(DestinationMutant::OpensAtOnce) {
            (breaker.min_calls, breaker.failure_rate) = (1, f64::MIN_POSITIVE);
        }
        if self.is(DestinationMutant::OneProbeCloses) {
            breaker.probes = 1;
        }
        breaker
    }

    pub(super) fn passes_the_breaker(self) -> bool {
        self.is(DestinationMutant::ProbesWithoutEnd) || self.is(DestinationMutant::ExtrasWhileFailing)
    }

    /// What a probe's end becomes.
    pub(super) fn twist_probe(self, ended: Ended, failing: bool) -> Ended {
        if failing && ended == Ended::Failed && self.is(DestinationMutant::FailedProbesClose) {
            return Ended::Good;
        }
        ended
    }
}
