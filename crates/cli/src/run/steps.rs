//! The look-ups of a pipeline as the dataflow runs them, on one worker.

use std::sync::Arc;

use inflight::driver::Key;
use inflight::{Backoff, Batched, Jitter, Options, Retry};
use inflight_timely::pipeline::{self, Stage};

use super::join;
use super::lookup::{self, Answer, Lookup};
use super::row::Row;
use super::stop::Stop;
use super::tally::{self, Tally};
use crate::file::{Order, RetryOn};
use crate::pipeline::{Pipeline, Step};

/// Records between source and sink besides those that the steps hold: enough to keep them busy.
const CREDITS_BESIDES: u64 = 1024;

/// As many records as all steps of a worker together can hold, and some.
pub(super) fn credits(steps: &[Step]) -> u64 {
    steps.iter().map(|step| step.capacity as u64).sum::<u64>() + CREDITS_BESIDES
}

/// Whether all steps keep the order of the input, and so does the output.
pub(super) fn are_ordered(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.order == Order::Input)
}

/// The stages of one worker.
pub(super) fn stages(pipeline: &Pipeline, stop: &Arc<Stop>, tally: &Arc<Tally>) -> Vec<Stage<Row, Lookup, Batched>> {
    let stages = pipeline.stages.iter().map(|places| Stage {
        steps: places.iter().map(|&place| step(&pipeline.steps[place], tally.calls(place))).collect(),
        join: join::join(pipeline, places, Arc::clone(stop), Arc::clone(tally)),
    });
    stages.collect()
}

fn step(step: &Step, calls: Arc<tally::Calls>) -> pipeline::Step<Row, Lookup, Batched> {
    let mut options = Options::new()
        .capacity(step.capacity)
        .concurrency(step.concurrency)
        .batch(step.batch_size, step.batch_linger)
        .timeout(step.timeout)
        .deadline(step.deadline);
    if step.retries > 0 {
        let busy = step.retry_on.contains(&RetryOn::Busy);
        options = options
            .retry(Retry {
                max_retries: step.retries,
                backoff: Backoff::Exponential { initial: step.backoff.from, multiplier: 2.0, max: step.backoff.to },
                jitter: Jitter::Full,
                timeouts: step.retry_on.contains(&RetryOn::Timeout),
            })
            .retry_if(move |result: &Result<Answer, lookup::Error>| {
                matches!(result, Err(error) if busy && error.is_retryable())
            })
            .retry_after(lookup::Error::retry_after);
    }
    let order = match step.order {
        Order::Input => inflight::Order::Ordered,
        Order::Key => inflight::Order::KeyOrdered,
        Order::KeySerial => inflight::Order::KeySerial,
        Order::None => inflight::Order::Unordered,
    };
    let function = Lookup::new(step, calls);
    let key = order.is_keyed().then(|| -> Key<Row> { Box::new(function.key_number()) });
    pipeline::Step { function, order, key, options }
}
