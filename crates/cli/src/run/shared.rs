//! What all workers of a process share of a step: the system that it asks, answers that are kept, keys on the wire, and what is counted.

use std::sync::{Arc, Mutex, PoisonError};

use inflight::layers::{Cache, CacheOptions, Flights, HedgeGauge, KeyedRates};
use inflight::{BreakerState, Destination};
use inflight_connectors::Error;
use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::lookup::key::{Asked, Found};
use super::outage::Outage;
use crate::pipeline::{Pipeline, Policies};

pub(super) struct Shared {
    pub(super) calls: Calls,
    pub(super) destination: Destination,
    /// Of all steps that ask the same system.
    pub(super) outage: Arc<Outage>,
    pub(super) cache: Option<Cache<Asked, Found>>,
    pub(super) flights: Option<Flights<Asked, Found, Error>>,
    pub(super) rates: Option<KeyedRates<Asked>>,
    hedges: Mutex<Vec<HedgeGauge>>,
}

/// What policies have done for a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PolicyCounts {
    /// Records answered from the cache.
    pub(super) hits: u64,
    /// Records that shared the call of another.
    pub(super) joined: u64,
    /// Second calls.
    pub(super) hedges: u64,
}

impl Shared {
    /// Of each step of the pipeline. Steps that ask the same system have the same destination.
    pub(super) fn of(pipeline: &Pipeline) -> anyhow::Result<Vec<Arc<Self>>> {
        let mut of_steps: Vec<Option<Arc<Self>>> = pipeline.steps.iter().map(|_| None).collect();
        for system in &pipeline.destinations {
            let destination = Destination::new(system.options(&pipeline.steps))?;
            let names: Vec<&str> = system.steps.iter().map(|&place| pipeline.steps[place].name.as_str()).collect();
            let outage = Arc::new(Outage::of_steps(&names, &pipeline.secrets));
            for &place in &system.steps {
                let policies = &pipeline.steps[place].policies;
                of_steps[place] = Some(Arc::new(Self::new(policies, destination.clone(), Arc::clone(&outage))));
            }
        }
        Ok(of_steps.into_iter().flatten().collect())
    }

    fn new(policies: &Policies, destination: Destination, outage: Arc<Outage>) -> Self {
        let cache = policies.cache.map(|cache| {
            Cache::new(CacheOptions {
                stale_for: cache.stale_for,
                ..CacheOptions::with_missing(cache.entries, cache.ttl, cache.missing_ttl)
            })
        });
        let flights = policies.single_flight.then(Flights::new);
        let rates = policies.per_key.map(KeyedRates::new);
        Self { calls: Calls::new(), destination, outage, cache, flights, rates, hedges: Mutex::default() }
    }

    pub(super) fn count_hedges_of(&self, gauge: HedgeGauge) {
        self.hedges.lock().unwrap_or_else(PoisonError::into_inner).push(gauge);
    }

    pub(super) fn counts(&self) -> PolicyCounts {
        let cache = self.cache.as_ref().map(|cache| cache.gauge().counts()).unwrap_or_default();
        let hedges = self.hedges.lock().unwrap_or_else(PoisonError::into_inner);
        PolicyCounts {
            hits: cache.hits + cache.stale,
            joined: self.flights.as_ref().map_or(0, Flights::joined),
            hedges: hedges.iter().map(|gauge| gauge.counts().hedges).sum(),
        }
    }

    /// Tells whether its system is left alone from now on, or no more, if that is news.
    pub(super) fn tell_of_outage(&self) {
        self.outage.is(self.destination.gauge().breaker != BreakerState::Closed);
    }
}

impl std::ops::Add for PolicyCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { hits: self.hits + other.hits, joined: self.joined + other.joined, hedges: self.hedges + other.hedges }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
