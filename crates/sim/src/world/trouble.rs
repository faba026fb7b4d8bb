//! What trouble the world is in when something happens to a call: for the coverage table.

use inflight_core::Completion;

use super::{Ending, World};
use crate::{Fault, Output, Situation};

impl World<'_> {
    /// A call answers: which fault is that?
    pub(super) fn count_answer(&mut self, place: usize, completions: &[Completion<Output>]) {
        let call = &self.calls[place];
        let (inputs, done) =
            (call.inputs.len(), completions.iter().any(|completion| matches!(completion, Completion::Done(_))));
        let failed = completions.iter().any(|completion| matches!(completion, Completion::Retry { .. }));
        if call.answered {
            self.count(Fault::Twice, place);
        } else if call.gone {
            self.count(Fault::AfterCancel, place);
        } else if call.cancelled {
            self.count(Fault::AfterTimeout, place);
        } else if completions.is_empty() {
            self.count(Fault::Panic, place);
        } else {
            let earlier = self.calls[..place].iter().any(|call| !call.answered && !call.cancelled && !call.gone);
            let faults = [
                (done, Fault::Answer),
                (failed, Fault::Error),
                (earlier, Fault::OutOfOrder),
                (completions.len() < inputs, Fault::ShortBatch),
            ];
            faults.into_iter().filter(|(holds, _)| *holds).for_each(|(_, fault)| self.count(fault, place));
        }
    }

    /// In which situations was it met?
    pub(super) fn count(&mut self, fault: Fault, place: usize) {
        let (call, stats, config) = (&self.calls[place], self.observed.stats(), self.observed.config());
        let situations = [
            (stats.backing_off > 0, Situation::RetryPending),
            (call.inputs.len() < config.batch.size, Situation::BatchPartial),
            (call.snapshot, Situation::Snapshot),
            (call.inputs.iter().any(|input| self.restored.undecided.contains(input)), Situation::Restore),
            (!self.restored.decided.is_empty(), Situation::Carried),
            (self.finish == Ending::Draining, Situation::Drain),
            (matches!(self.finish, Ending::Ended | Ending::EndedUntil(_)), Situation::EndOfInput),
            (!self.observed.has_room(), Situation::FullQueue),
            (stats.on_wire > config.concurrency, Situation::ConcurrencyLowered),
        ];
        let order = config.order;
        let none = situations.iter().all(|(holds, _)| !holds);
        for (holds, situation) in situations.into_iter().chain([(none, Situation::Normal)]) {
            if holds {
                self.coverage.hit(order, fault, situation);
            }
        }
    }
}
