//! The rules of a destination, from what the server and the records see.

use super::World;
use crate::{Violation, ensure};

impl World<'_> {
    pub(super) fn check_wire(&self) -> Result<(), Violation> {
        let stats = self.destination.stats(self.time());
        let of_records: usize = self.operators.iter().map(|operator| operator.queue.stats().on_wire).sum();
        let on_wire = of_records + self.extras.len();
        ensure!(on_wire <= stats.limit, "calls on the wire <= the limit", "{on_wire} of {}", stats.limit);
        ensure!(stats.on_wire == on_wire, "all calls are counted", "{on_wire}, not {}", stats.on_wire);
        Ok(())
    }

    pub(super) fn call_ended(&mut self, number: u64, good: bool) -> Result<(), Violation> {
        let failing = self.destination.is_failing();
        let next = self.numbers + 1;
        self.witness.as_mut().map_or(Ok(()), |witness| witness.call_ends(number, good, failing, next))
    }

    /// Retries (one token) and extras (two) are paid for from what was saved up, earned and given; to one token, since that comes bit by bit.
    pub(super) fn check_budget(&mut self) -> Result<(), Violation> {
        let budget = self.run.destination.budget;
        let (now, answered, paid) = self.accounted;
        let given = (self.now - now) as f64 / 1e9 * f64::from(budget.per_second);
        let earned = (self.answered - answered) as f64 * f64::from(budget.per_mille) / 1000.0;
        self.tokens = (self.tokens + given + earned).min(f64::from(budget.reserve)) - (self.paid - paid) as f64;
        self.accounted = (self.now, self.answered, self.paid);
        let in_debt = self.tokens <= -1.0;
        ensure!(!in_debt, "retries <= budget", "{} tokens at {} ms", self.tokens, self.now / 1_000_000);
        Ok(())
    }

    pub(super) fn check_rate(&self) -> Result<(), Violation> {
        let Some(rate) = self.run.destination.rate_limit else { return Ok(()) };
        let mut first = 0;
        for (last, end) in self.starts.iter().enumerate() {
            while self.starts[first] + 1_000_000_000 < *end {
                first += 1;
            }
            let span = (end - self.starts[first]) as f64 / 1e9 + 0.001;
            let most = f64::from(rate.burst) + span * f64::from(rate.per_second);
            let calls = last - first + 1;
            let too_many = calls as f64 > most + 1e-6;
            ensure!(!too_many, "the rate holds in any second", "{calls} calls in {span} s");
        }
        Ok(())
    }
}
