//! Calls as tasks of their own.

use futures_util::{StreamExt, stream};
use inflight::{AsyncFunction, AsyncStreamExt, Cause, Failure, Options, Order, spawned};

use crate::service::{Service, all_ok, ms, scatter, settle, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spawned_calls_give_the_same_results() {
    for order in Order::ALL {
        let lookup = spawned(|n: u64| async move {
            tokio::time::sleep(ms(scatter(n) % 3)).await;
            Ok::<_, ()>(n)
        });
        let mut results = all_ok(wait(order, stream::iter(0..200), lookup, Options::new())).await;
        results.sort_unstable();
        assert!(results.into_iter().eq(0..200), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spawned_call_that_panics_fails_its_record_alone() {
    let lookup = spawned(|n: u64| async move {
        assert!(n != 1, "not this one");
        Ok::<_, ()>(n)
    });
    let results: Vec<_> = stream::iter(0..3).ordered_wait(lookup, Options::new()).collect().await;
    let Err(Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(letter.cause, Cause::Panicked("not this one".into()));
    assert_eq!((&results[0], &results[2]), (&Ok(0), &Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn a_spawned_call_that_is_given_up_is_stopped() {
    let service = Service::default();
    let theirs = service.clone();
    let hang = spawned(move |_: u64| {
        let service = theirs.clone();
        async move { service.hang::<Result<u64, ()>>().await }
    });
    let input = stream::iter(0..3).chain(stream::pending());
    let mut results = input.unordered_wait(hang, Options::new().timeout(ms(10)));
    for _ in 0..3 {
        assert!(results.next().await.unwrap().is_err());
    }
    settle().await;
    assert_eq!(service.serving(), 0);
}

#[derive(Default)]
struct Doors {
    open: bool,
}

impl AsyncFunction<u64> for Doors {
    type Output = u64;
    type Error = &'static str;

    async fn open(&mut self) -> Result<(), &'static str> {
        self.open = true;
        Ok(())
    }

    async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
        tokio::time::sleep(ms(n * 100)).await;
        if self.open { Ok(n) } else { Err("not open") }
    }

    fn timeout(&self, n: u64) -> Option<Result<u64, &'static str>> {
        Some(Ok(n + 1_000))
    }

    async fn close(&mut self) -> Result<(), &'static str> {
        Err("stuck")
    }
}

#[tokio::test(start_paused = true)]
async fn open_timeout_and_close_reach_the_function_inside() {
    let results: Vec<_> = stream::iter([0, 1, 9])
        .ordered_wait(spawned(Doors::default()), Options::new().timeout(ms(500)))
        .collect()
        .await;
    assert_eq!(results, [Ok(0), Ok(1), Ok(1_009), Err(Failure::Close("stuck"))]);
}
