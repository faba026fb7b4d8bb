//! The look-ups of a pipeline as the dataflow runs them, on one worker.

use std::sync::Arc;

use inflight::driver::Key;
use inflight::{Backoff, Batched, Jitter, Options, Retry, Verdict};
use inflight_connectors::ErrorKind;
use inflight_timely::pipeline::{self, Stage};

use super::join;
use super::lookup::{Answer, Error, Lookup};
use super::row::Row;
use super::shared::Shared;
use super::stop::Stop;
use super::tally::Tally;
use crate::file::{OnError, Order, RetryOn};
use crate::pipeline::{Breaker, Pipeline, Step};

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
        steps: places.iter().map(|&place| step(&pipeline.steps[place], tally.shared(place))).collect(),
        join: join::join(pipeline, places, Arc::clone(stop), Arc::clone(tally)),
    });
    stages.collect()
}

fn step(step: &Step, shared: &Arc<Shared>) -> pipeline::Step<Row, Lookup, Batched> {
    let mut options = Options::new()
        .capacity(step.capacity)
        .concurrency(step.concurrency)
        .destination(shared.destination.clone())
        .failure_of(verdict)
        .batch(step.batch_size, step.batch_linger)
        .timeout(step.timeout)
        .deadline(step.deadline);
    if step.retries > 0 {
        let retried = step.retry_on.clone();
        let is_waited_for = step.on_error != OnError::Fail && step.policies.system.breaker != Some(Breaker::Off);
        options = options
            .retry(Retry {
                max_retries: step.retries,
                backoff: Backoff::Exponential { initial: step.backoff.from, multiplier: 2.0, max: step.backoff.to },
                jitter: Jitter::Full,
                timeouts: step.retry_on.contains(&RetryOn::Timeout),
            })
            .retry_if(move |result: &Result<Answer, Error>| {
                let Err(error) = result else { return false };
                reason(error).is_some_and(|reason| retried.contains(&reason)) || is_waited_for && is_misfit(error)
            })
            .retry_after(Error::retry_after);
    }
    let order = match step.order {
        Order::Input => inflight::Order::Ordered,
        Order::Key => inflight::Order::KeyOrdered,
        Order::KeySerial => inflight::Order::KeySerial,
        Order::None => inflight::Order::Unordered,
    };
    let function = Lookup::new(step, Arc::clone(shared));
    let key = order.is_keyed().then(|| -> Key<Row> { Box::new(function.key_number()) });
    pipeline::Step { function, order, key, options }
}

/// Why another attempt may be worth it, if it may.
fn reason(error: &Error) -> Option<RetryOn> {
    error.is_retryable().then(|| match error.kind() {
        ErrorKind::Timeout => RetryOn::Timeout,
        ErrorKind::Unavailable => RetryOn::Connection,
        _ => RetryOn::Busy,
    })
}

/// Whether the system has changed, or we may not ask it any more: no record is to blame for that.
fn is_misfit(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Permission)
}

/// What a result says about the system, whether or not it is worth another attempt.
fn verdict(result: &Result<Answer, Error>) -> Verdict {
    match result {
        Ok(_) => Verdict::Good,
        Err(error) if is_misfit(error) => Verdict::Failed,
        Err(error) => match (reason(error), error.kind()) {
            (Some(RetryOn::Connection), _) => Verdict::Failed,
            (Some(RetryOn::Timeout | RetryOn::Busy), _) => Verdict::Overloaded,
            // It has looked at what it was asked.
            (None, ErrorKind::Malformed) => Verdict::Good,
            (None, _) => Verdict::Unjudged,
        },
    }
}
