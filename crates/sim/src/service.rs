//! The external service: what may happen to one call.

use crate::Rng;

/// How many nanoseconds.
pub(crate) type Ticks = u64;

/// What will happen to a call.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// When it answers; `None`: never.
    pub(crate) answer: Option<Ticks>,
    /// How long after that it answers again.
    pub(crate) again: Option<Ticks>,
    pub(crate) shape: Shape,
    /// How long it takes to stop when cancelled; `None`: it does not.
    pub(crate) stops: Option<Ticks>,
    /// It answers although it was cancelled.
    pub(crate) answers_anyway: bool,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A completion for each record.
    Whole,
    /// Fewer completions than records, but one.
    Short,
    /// More.
    Long,
    /// None at all: whoever made the call died.
    Panic,
}

/// How the service behaves, on the whole. Of a thousand calls, so many ...
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// ... take at most this long.
    pub(crate) latency: Ticks,
    /// ... take ten times as long.
    pub(crate) slow: u64,
    /// ... never answer.
    pub(crate) lost: u64,
    /// ... answer twice.
    pub(crate) twice: u64,
    /// ... answer short, long, or die.
    pub(crate) broken: u64,
    /// ... stop at once when cancelled; others later.
    pub(crate) stops: u64,
    /// ... never stop.
    pub(crate) stubborn: u64,
    /// Of a thousand records, so many fail in an attempt, and may be tried again.
    pub(crate) fails: u64,
    /// Of a thousand failures, so many come with a wish.
    pub(crate) retry_after: u64,
}

impl Service {
    pub(crate) fn make(rng: &mut Rng, may_lose: bool, may_be_stubborn: bool) -> Self {
        let mut share = |choices: &[u64]| rng.pick(choices);
        Self {
            latency: share(&[1, 5, 10, 30]),
            slow: share(&[0, 10, 100, 500]),
            lost: if may_lose { share(&[0, 0, 50, 300]) } else { 0 },
            twice: share(&[0, 50, 200]),
            broken: share(&[0, 0, 100, 300]),
            stops: share(&[0, 500, 1000]),
            stubborn: if may_be_stubborn { share(&[0, 100, 800]) } else { 0 },
            fails: share(&[0, 100, 400, 1000]),
            retry_after: share(&[0, 200]),
        }
    }

    pub(crate) fn plan(&self, rng: &mut Rng) -> Plan {
        let mut of_a_thousand = |share: u64| rng.below(1000) < share;
        let (slow, lost, twice, broken) =
            (of_a_thousand(self.slow), of_a_thousand(self.lost), of_a_thousand(self.twice), of_a_thousand(self.broken));
        let (at_once, stubborn) = (of_a_thousand(self.stops), of_a_thousand(self.stubborn));
        let latency = rng.below(self.latency + 1) * if slow { 10 } else { 1 };
        Plan {
            answer: (!lost).then_some(latency),
            again: twice.then(|| rng.below(20)),
            shape: if broken {
                rng.pick(&[Shape::Short, Shape::Short, Shape::Long, Shape::Panic])
            } else {
                Shape::Whole
            },
            stops: if stubborn { None } else { Some(if at_once { 0 } else { rng.within(1, 30) }) },
            answers_anyway: rng.one_in(3),
        }
    }

    /// The longest a call can be on the wire after it was given up, or takes to answer.
    pub(crate) const fn longest(&self) -> Ticks {
        self.latency * 10 + 60
    }
}
