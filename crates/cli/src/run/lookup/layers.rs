//! What a step has around its look-up, as the pipeline says: the order is that of [`inflight::layers`].

use std::sync::Arc;

use inflight::layers::{Boxed, bisected, boxed, cached, hedged, keyed_rate_limited, single_flight};
use inflight_connectors::{Error, ErrorKind};

use super::asking::Asking;
use super::key::{Asked, Found};
use crate::pipeline::Step;
use crate::run::shared::Shared;

pub(super) fn layered(step: Arc<Step>, shared: Arc<Shared>) -> Boxed<Asked, Found, Error> {
    let asking = Asking::new(Arc::clone(&step), Arc::clone(&shared));
    let mut layered = match step.policies.hedge {
        Some(delay) => {
            let hedged = hedged(asking, delay, shared.destination.clone());
            shared.count_hedges_of(hedged.gauge());
            boxed(hedged)
        }
        None => boxed(asking),
    };
    if step.batch_size > 1 {
        layered = boxed(bisected(layered, concerns_data));
    }
    if let Some(rates) = &shared.rates {
        layered = boxed(keyed_rate_limited(layered, Asked::clone, rates));
    }
    if let Some(flights) = &shared.flights {
        layered = boxed(single_flight(layered, Asked::clone).sharing(flights));
    }
    if let Some(cache) = &shared.cache {
        layered = boxed(cached(layered, Asked::clone, cache.clone()).calling(shared.destination.clone()));
    }
    layered
}

/// Whether a key may be to blame that shares the call with others.
fn concerns_data(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Query)
}
