//! A service that fails is left alone and tried again; nothing that is given up keeps it closed off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use inflight::layers::{BreakerError, BreakerOpen, BreakerOptions, BreakerState, circuit_breaker};
use inflight::{AsyncFunction, AsyncStreamExt, Options, Retry};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::service::{Service, ms};

const OPTIONS: BreakerOptions = BreakerOptions {
    window: 10,
    failure_rate: 0.5,
    min_calls: 4,
    open_for: Duration::from_secs(5),
    probes: 2,
    given_up_is_failure: true,
};
const OPEN: BreakerError<Error> = BreakerError::Open(BreakerOpen { retry_after: OPTIONS.open_for });

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Error {
    #[error("down")]
    Down,
    #[error("bad request")]
    BadRequest,
}

/// The external system, in one of four moods.
#[derive(Clone, Default)]
struct Lookup {
    service: Service,
    mood: Arc<AtomicU8>,
}

const WELL: u8 = 0;
const DOWN: u8 = 1;
const HANGING: u8 = 2;
const PANICKING: u8 = 3;
const PICKY: u8 = 4;

impl Lookup {
    fn is(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

impl AsyncFunction<u64> for Lookup {
    type Output = u64;
    type Error = Error;

    async fn invoke(&self, id: u64) -> Result<u64, Error> {
        let _serving = self.service.serve();
        sleep(ms(10)).await;
        match self.mood.load(Ordering::SeqCst) {
            WELL => Ok(id),
            DOWN => Err(Error::Down),
            HANGING => std::future::pending().await,
            PANICKING => panic!("as it likes"),
            _ => Err(Error::BadRequest),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_service_is_left_alone_and_tried_again() {
    let lookup = Lookup::default();
    let users = circuit_breaker(lookup.clone(), OPTIONS);
    let gauge = users.gauge();
    assert_eq!(users.invoke(7).await, Ok(7));
    lookup.is(DOWN);
    for _ in 0..3 {
        assert_eq!(gauge.state(), BreakerState::Closed);
        assert_eq!(users.invoke(7).await, Err(BreakerError::Call(Error::Down)));
    }
    assert_eq!(gauge.state(), BreakerState::Open);
    assert_eq!(users.invoke(7).await, Err(OPEN));
    assert_eq!(OPEN.retry_after(), Some(OPTIONS.open_for));
    assert!(OPEN.to_string().ends_with("the next may be made in 5s"), "{OPEN}");
    assert_eq!(lookup.service.calls(), 4, "refused calls are not made");

    advance(OPTIONS.open_for).await;
    assert_eq!(gauge.state(), BreakerState::HalfOpen);
    assert_eq!(users.invoke(7).await, Err(BreakerError::Call(Error::Down)));
    assert_eq!(gauge.state(), BreakerState::Open);

    advance(OPTIONS.open_for).await;
    lookup.is(WELL);
    let results = join_all((0..10).map(|id| users.invoke(id))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), OPTIONS.probes, "{results:?}");
    assert_eq!(gauge.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn retries_wait_until_the_next_call_may_be_tried() {
    let lookup = Lookup::default();
    lookup.is(DOWN);
    let users = circuit_breaker(lookup.clone(), OPTIONS);
    let _ = join_all((0..4).map(|id| users.invoke(id))).await;
    lookup.is(WELL);
    let begin = Instant::now();
    let options = Options::new().retry(Retry::fixed(2, ms(10))).retry_after(BreakerError::retry_after);
    let results: Vec<_> = stream::iter([7]).ordered_wait(users, options).collect().await;
    assert_eq!(results, [Ok(7)], "with two attempts: one refused, one good");
    assert!(begin.elapsed() >= OPTIONS.open_for, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_failing() {
    let lookup = Lookup::default();
    lookup.is(HANGING);
    let users = circuit_breaker(lookup.clone(), OPTIONS);
    let gauge = users.gauge();
    let options = Options::new().concurrency(1).timeout(ms(100));
    let results: Vec<_> = stream::iter(0..100).ordered_wait(users, options).collect().await;
    assert_eq!((results.len(), lookup.service.calls()), (100, OPTIONS.min_calls));
    assert_eq!(gauge.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_is_failing() {
    let lookup = Lookup::default();
    lookup.is(PANICKING);
    let users = circuit_breaker(lookup.clone(), OPTIONS);
    let gauge = users.gauge();
    let results: Vec<_> = stream::iter(0..4).ordered_wait(users, Options::new()).collect().await;
    assert_eq!((results.len(), gauge.state()), (4, BreakerState::Open));
}

#[tokio::test(start_paused = true)]
async fn calls_given_up_can_be_left_out_of_account() {
    let lookup = Lookup::default();
    lookup.is(HANGING);
    let users = circuit_breaker(lookup.clone(), BreakerOptions { given_up_is_failure: false, ..OPTIONS });
    for id in 0..20 {
        assert!(timeout(ms(100), users.invoke(id)).await.is_err());
    }
    assert_eq!(users.gauge().state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probes_that_are_given_up_do_not_wedge_it() {
    for given_up_is_failure in [false, true] {
        let lookup = Lookup::default();
        lookup.is(DOWN);
        let users = circuit_breaker(lookup.clone(), BreakerOptions { given_up_is_failure, ..OPTIONS });
        let _ = join_all((0..4).map(|id| users.invoke(id))).await;
        lookup.is(HANGING);
        for _ in 0..5 {
            advance(OPTIONS.open_for).await;
            let calls = lookup.service.calls();
            let given_up = join_all((0..2).map(|id| timeout(ms(100), users.invoke(id)))).await;
            assert!(given_up.iter().all(Result::is_err), "both are probes");
            assert_eq!(lookup.service.calls(), calls + 2);
        }
        lookup.is(WELL);
        advance(OPTIONS.open_for).await;
        assert_eq!(join_all((0..2).map(|id| users.invoke(id))).await, [Ok(0), Ok(1)]);
        assert_eq!(users.gauge().state(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_that_are_the_callers_fault_can_be_told_apart() {
    let lookup = Lookup::default();
    lookup.is(PICKY);
    let users = circuit_breaker(lookup.clone(), OPTIONS).failure_if(|error| *error == Error::Down);
    for _ in 0..20 {
        assert_eq!(users.invoke(7).await, Err(BreakerError::Call(Error::BadRequest)));
    }
    assert_eq!(users.gauge().state(), BreakerState::Closed);
    lookup.is(DOWN);
    for _ in 0..5 {
        assert_eq!(users.invoke(7).await, Err(BreakerError::Call(Error::Down)));
    }
    assert_eq!(users.gauge().state(), BreakerState::Open);
}
