//! What a layer does not change goes through it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::layers::{
    BreakerError, BreakerOptions, CacheOptions, HedgeDelay, RateLimit, cached, circuit_breaker, hedged, rate_limited,
    single_flight,
};
use inflight::{AsyncFunction, AsyncStreamExt, Cancellation, Failure, Options, spawned};

use crate::hedged::allows;
use crate::service::ms;

/// Tells what is done with it; never answers.
#[derive(Clone, Default)]
struct Lookup {
    told: Arc<Mutex<Vec<&'static str>>>,
    /// What opening and closing come to.
    trouble: Option<&'static str>,
}

impl Lookup {
    fn tell(&self, what: &'static str) {
        self.told.lock().unwrap().push(what);
    }
}

impl AsyncFunction<u64> for Lookup {
    type Output = u64;
    type Error = &'static str;

    async fn invoke(&self, _: u64) -> Result<u64, &'static str> {
        self.tell("invoke");
        std::future::pending().await
    }

    async fn open(&mut self) -> Result<(), &'static str> {
        self.tell("open");
        self.trouble.map_or(Ok(()), Err)
    }

    fn timeout(&self, id: u64) -> Option<Result<u64, &'static str>> {
        self.tell("timeout");
        Some(if id == 0 { Err("zero") } else { Ok(id + 100) })
    }

    async fn close(&mut self) -> Result<(), &'static str> {
        self.tell("close");
        Ok(())
    }

    fn cancellation(&self) -> Cancellation {
        Cancellation::Wait
    }
}

const HEDGE: HedgeDelay = HedgeDelay::Fixed(Duration::from_secs(3_600));
const RATE: RateLimit = RateLimit { per_second: 100, burst: 10 };

fn cache() -> CacheOptions<u64> {
    CacheOptions::new(10, ms(1_000))
}

/// Runs a record through the layer and looks at what arrived at the function, and at what came back.
async fn goes_through<F>(layer: impl Fn(Lookup) -> F, error: impl Fn(&'static str) -> F::Error)
where
    F: AsyncFunction<u64, Output = u64, Error: Clone + PartialEq + std::fmt::Debug>,
{
    let lookup = Lookup::default();
    let function = layer(lookup.clone());
    assert_eq!(function.cancellation(), Cancellation::Wait);
    assert_eq!(function.timeout(0), Some(Err(error("zero"))));
    lookup.told.lock().unwrap().clear();

    let options = Options::new().timeout(ms(100)).grace(ms(100));
    let results: Vec<_> = stream::iter([7]).ordered_wait(function, options).collect().await;
    assert_eq!(results, [Ok(107)]);
    assert_eq!(*lookup.told.lock().unwrap(), ["open", "invoke", "timeout", "close"]);

    let cannot_open = layer(Lookup { trouble: Some("no route"), ..Lookup::default() });
    let results: Vec<_> = stream::iter([7]).ordered_wait(cannot_open, Options::new()).collect().await;
    assert_eq!(results, [Err(Failure::Open(error("no route")))]);
}

#[tokio::test(start_paused = true)]
async fn every_layer_lets_life_cycle_timeout_and_cancellation_through() {
    goes_through(|lookup| cached(lookup, |id: &u64| *id, cache()), |error| error).await;
    goes_through(|lookup| single_flight(lookup, |id: &u64| *id), |error| error).await;
    goes_through(|lookup| rate_limited(lookup, RATE), |error| error).await;
    goes_through(|lookup| circuit_breaker(lookup, BreakerOptions::default()), BreakerError::Call).await;
    goes_through(|lookup| hedged(lookup, HEDGE, allows(10)), |error| error).await;
}

#[tokio::test(start_paused = true)]
async fn all_of_them_together_do() {
    let all = |lookup| {
        let lookup = circuit_breaker(hedged(lookup, HEDGE, allows(10)), BreakerOptions::default());
        let lookup = single_flight(rate_limited(lookup, RATE), |id: &u64| *id);
        cached(lookup, |id: &u64| *id, cache())
    };
    goes_through(all, BreakerError::Call).await;
    goes_through(|lookup| spawned(all(lookup)), BreakerError::Call).await;
}
