//! The services that are called. What one does with a call follows from the seed, the record and how often it was called for.

use std::sync::Arc;
use std::time::Duration;

use inflight::{AsyncFunction, BatchFunction, BatchResult};

use super::history::End;
use super::row::{Answer, Record};
use super::scenario::Scenario;
use super::world::Shared;
use crate::Rng;

/// What a step calls for one record.
pub(super) struct Single(pub(super) Called);

/// What a step calls for several.
pub(super) struct Batch(pub(super) Called);

#[derive(Clone)]
pub(super) struct Called {
    pub(super) world: Shared,
    pub(super) scenario: Arc<Scenario>,
    pub(super) step: u32,
}

impl AsyncFunction<Record> for Single {
    type Output = Answer;
    type Error = u64;

    async fn invoke(&self, record: Record) -> Result<Answer, u64> {
        let mut answers = self.0.call(&[record]).await;
        answers.pop().unwrap_or(Err(0))
    }
}

impl BatchFunction<Record> for Batch {
    type Output = Answer;
    type Error = u64;

    async fn invoke(&self, records: Vec<Record>) -> BatchResult<Answer, u64> {
        Ok(self.0.call(&records).await)
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
struct Fate {
    takes: Option<Duration>,
    fails: bool,
}

impl Called {
    async fn call(&self, records: &[Record]) -> Vec<Result<Answer, u64>> {
        let Some(mut wire) = self.begin(records) else { return std::future::pending().await };
        match wire.fates.first().and_then(|fate| fate.takes) {
            None => std::future::pending().await,
            Some(Duration::ZERO) => {}
            Some(takes) => tokio::time::sleep(takes).await,
        }
        wire.answers()
    }

    /// None: there is no power.
    fn begin(&self, records: &[Record]) -> Option<OnTheWire> {
        let keys = self.scenario.steps().nth(self.step as usize)?.keys;
        let mut wire = OnTheWire { world: self.world.clone(), calls: Vec::new(), fates: Vec::new() };
        let mut world = self.world.lock();
        for record in records {
            let key = keys.map(|keys| record.key(keys));
            let Some(call) = world.call(record.id, self.step, key) else {
                drop(world);
                wire.calls.clear();
                return None;
            };
            wire.calls.push((call, key));
            wire.fates.push(self.fate(call, record));
        }
        drop(world);
        Some(wire)
    }

    fn fate(&self, call: usize, record: &Record) -> Fate {
        let seed =
            self.scenario.seed ^ (call as u64) << 40 ^ record.id.number << 20 ^ u64::from(record.id.partition) << 8;
        let mut rng = Rng::new(seed ^ u64::from(self.step));
        let Some(service) = self.scenario.steps().nth(self.step as usize).map(|step| step.service) else {
            return Fate { takes: None, fails: false };
        };
        let once_in = |rng: &mut Rng, times: u64| times > 0 && rng.one_in(times);
        let fails = once_in(&mut rng, service.fails);
        if once_in(&mut rng, service.hangs) {
            return Fate { takes: None, fails };
        }
        let most = if once_in(&mut rng, service.slow) { service.slow_takes } else { service.takes };
        Fate { takes: Some(Duration::from_micros(rng.within(0, most.as_micros() as u64))), fails }
    }
}

/// A call that has not ended. Dropped before, it was given up.
struct OnTheWire {
    world: Shared,
    calls: Vec<(usize, Option<u64>)>,
    fates: Vec<Fate>,
}

impl OnTheWire {
    fn answers(&mut self) -> Vec<Result<Answer, u64>> {
        let mut world = self.world.lock();
        let ends = self.calls.drain(..).zip(&self.fates).map(|((call, key), fate)| {
            world.end(call, key, if fate.fails { End::Failed } else { End::Answered });
            if fate.fails { Err(call as u64) } else { Ok(call as u64) }
        });
        ends.collect()
    }
}

impl Drop for OnTheWire {
    fn drop(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let mut world = self.world.lock();
        for (call, key) in self.calls.drain(..) {
            world.end(call, key, End::Dropped);
        }
    }
}
