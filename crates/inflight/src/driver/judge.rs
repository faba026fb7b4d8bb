//! What a result, and the end of a call, say: about the record, and about the destination.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use inflight_core::{Completion, Config, Verdict};

use super::Answer;
use crate::blocking::panic_message;
use crate::failure::Cause;
use crate::options::Judge;

impl<O, E> Judge<O, E> {
    /// Whether a result is worth another attempt. Without a retry policy the queue does not care.
    #[inline]
    pub(super) fn judge(&self, result: Result<O, E>) -> Completion<Answer<O, E>> {
        match result {
            Err(_) => self.judge_by_predicates(result),
            Ok(_) if self.retry_if.is_some() => self.judge_by_predicates(result),
            Ok(output) => Completion::Done(Ok(output)),
        }
    }

    /// The same, and what it says about the destination.
    pub(super) fn judge_for_all(&self, result: Result<O, E>) -> (Completion<Answer<O, E>>, Verdict) {
        let said = self.failure_of.as_ref().map(|verdict| catch_unwind(AssertUnwindSafe(|| verdict(&result))));
        match said {
            Some(Err(panic)) => (in_a_predicate(&*panic), Verdict::Unjudged),
            Some(Ok(verdict)) => (self.judge(result), verdict),
            None => {
                let completion = self.judge(result);
                let verdict = match &completion {
                    Completion::Retry { .. } => Verdict::Failed,
                    Completion::Done(Err(Cause::Panicked(_))) => Verdict::Unjudged,
                    Completion::Done(_) => Verdict::Good,
                };
                (completion, verdict)
            }
        }
    }

    fn judge_by_predicates(&self, result: Result<O, E>) -> Completion<Answer<O, E>> {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let again = self.retry_if.as_ref().map_or_else(|| result.is_err(), |retry_if| retry_if(&result));
            let after = match (&self.retry_after, &result) {
                (Some(wish), Err(error)) if again => wish(error),
                _ => None,
            };
            again.then_some(after)
        }));
        match judged {
            Ok(Some(after)) => Completion::Retry { last: result.map_err(Cause::Error), after },
            Ok(None) => Completion::Done(result.map_err(Cause::Error)),
            Err(panic) => in_a_predicate(&*panic),
        }
    }
}

fn in_a_predicate<O, E>(panic: &(dyn std::any::Any + Send)) -> Completion<Answer<O, E>> {
    Completion::Done(Err(Cause::Panicked(format!("in a predicate: {}", panic_message(panic)))))
}

/// The verdicts on the records of one call, which is judged once.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) good: usize,
    failed: usize,
    overloaded: bool,
}

impl Tally {
    pub(super) fn add(&mut self, verdict: Verdict) {
        self.good += usize::from(verdict == Verdict::Good);
        self.failed += usize::from(matches!(verdict, Verdict::Failed | Verdict::Overloaded));
        self.overloaded |= verdict == Verdict::Overloaded;
    }

    /// Overloaded if one record says so; failed if half of those that say something do.
    pub(super) const fn verdict(&self) -> Verdict {
        if self.overloaded {
            Verdict::Overloaded
        } else if self.failed > 0 && self.failed >= self.good {
            Verdict::Failed
        } else if self.good > 0 {
            Verdict::Good
        } else {
            Verdict::Unjudged
        }
    }
}

/// Whether a call that was given up took as long as an attempt may, or most of the time that a record has.
pub(super) fn is_too_slow(config: &Config, took: Duration) -> bool {
    config.timeout.is_some_and(|timeout| took >= timeout)
        || config.deadline.is_some_and(|deadline| took >= deadline / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(verdicts: &[Verdict]) -> Verdict {
        let mut tally = Tally::default();
        verdicts.iter().for_each(|verdict| tally.add(*verdict));
        tally.verdict()
    }

    #[test]
    fn a_call_is_judged_by_most_of_its_records() {
        use Verdict::{Failed, Good, Overloaded, Unjudged};
        assert_eq!(verdict(&[Good, Good, Failed]), Good, "one bad record says little");
        assert_eq!(verdict(&[Good, Failed]), Failed);
        assert_eq!(verdict(&[Failed, Unjudged, Unjudged]), Failed);
        assert_eq!(verdict(&[Good, Good, Overloaded]), Overloaded);
        assert_eq!(verdict(&[Unjudged]), Unjudged);
        assert_eq!(verdict(&[]), Unjudged);
    }
}
