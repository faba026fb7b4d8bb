//! Answers that need no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncFunction, AsyncStreamExt, BatchFunction, BatchResult, Cause, Failure, Options};

/// Knows the even ones; counts its calls.
#[derive(Clone, Default)]
struct Lookup {
    calls: Arc<AtomicUsize>,
}

impl AsyncFunction<u64> for Lookup {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, id: u64) -> Result<u64, ()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(id)
    }

    fn known(&self, id: &u64) -> Option<u64> {
        assert!(*id != 666, "what a number");
        id.is_multiple_of(2).then_some(*id)
    }
}

impl BatchFunction<u64> for Lookup {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<u64, ()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(ids.into_iter().map(Ok).collect())
    }

    fn known(&self, id: &u64) -> Option<u64> {
        id.is_multiple_of(2).then_some(*id)
    }
}

/// A function of one shape.
struct OneByOne(Lookup);

impl AsyncFunction<u64> for OneByOne {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, id: u64) -> Result<u64, ()> {
        AsyncFunction::invoke(&self.0, id).await
    }

    fn known(&self, id: &u64) -> Option<u64> {
        AsyncFunction::known(&self.0, id)
    }
}

struct InBatches(Lookup);

impl BatchFunction<u64> for InBatches {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<u64, ()> {
        BatchFunction::invoke(&self.0, ids).await
    }

    fn known(&self, id: &u64) -> Option<u64> {
        BatchFunction::known(&self.0, id)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_needs_no_call_and_keeps_its_place() {
    let lookup = Lookup::default();
    let results: Vec<_> = stream::iter(0..100).ordered_wait(OneByOne(lookup.clone()), Options::new()).collect().await;
    assert!(results.into_iter().map(Result::unwrap).eq(0..100), "in order");
    assert_eq!(lookup.calls.load(Ordering::SeqCst), 50);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_takes_no_place_in_a_batch() {
    let lookup = Lookup::default();
    let options = Options::new().batch(10, Duration::from_secs(1)).concurrency(1);
    let results: Vec<_> = stream::iter(0..100).ordered_wait(InBatches(lookup.clone()), options).collect().await;
    assert!(results.into_iter().map(Result::unwrap).eq(0..100), "in order");
    assert!(lookup.calls.load(Ordering::SeqCst) <= 6, "{lookup:?}", lookup = lookup.calls);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_does_not_wait_for_a_slot() {
    let lookup = Lookup::default();
    let options = Options::new().concurrency(1);
    let mut results = stream::iter([1, 3, 5, 4]).unordered_wait(OneByOne(lookup), options);
    assert_eq!(results.next().await.unwrap().unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_record_alone() {
    let results: Vec<_> =
        stream::iter([1, 666, 2]).ordered_wait(OneByOne(Lookup::default()), Options::new()).collect().await;
    assert!(results[0].is_ok() && results[2].is_ok());
    let Err(Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(letter.cause, Cause::Panicked("what a number".into()));
}
