//! Answers that need no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inflight::{AsyncFunction, AsyncStreamExt, BatchFunction, BatchResult, Cause, Failure, Options};

/// Know the even ones, and count their calls.
struct OneByOne(Calls);
struct InBatches(Calls);

type Calls = Arc<AtomicUsize>;

fn even(id: &u64) -> Option<u64> {
    assert!(*id != 666, "what a number");
    id.is_multiple_of(2).then_some(*id)
}

async fn call(calls: &Calls) {
    calls.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(5)).await;
}

impl AsyncFunction<u64> for OneByOne {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, id: u64) -> Result<u64, ()> {
        call(&self.0).await;
        Ok(id)
    }

    fn known(&self, id: &u64) -> Option<u64> {
        even(id)
    }
}

impl BatchFunction<u64> for InBatches {
    type Output = u64;
    type Error = ();

    async fn invoke(&self, ids: Vec<u64>) -> BatchResult<u64, ()> {
        call(&self.0).await;
        Ok(ids.into_iter().map(Ok).collect())
    }

    fn known(&self, id: &u64) -> Option<u64> {
        even(id)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_needs_no_call_and_keeps_its_place() {
    let calls = Calls::default();
    let results: Vec<_> =
        stream::iter(0..100).ordered_wait(OneByOne(Arc::clone(&calls)), Options::new()).collect().await;
    assert!(results.into_iter().map(Result::unwrap).eq(0..100), "in order");
    assert_eq!(calls.load(Ordering::SeqCst), 50);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_takes_no_place_in_a_batch() {
    let calls = Calls::default();
    let options = Options::new().batch(10, Duration::from_secs(1)).concurrency(1);
    let results: Vec<_> = stream::iter(0..100).ordered_wait(InBatches(Arc::clone(&calls)), options).collect().await;
    assert!(results.into_iter().map(Result::unwrap).eq(0..100), "in order");
    assert!(calls.load(Ordering::SeqCst) <= 6, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_does_not_wait_for_a_slot() {
    let options = Options::new().concurrency(1);
    let mut results = stream::iter([1, 3, 5, 4]).unordered_wait(OneByOne(Calls::default()), options);
    assert_eq!(results.next().await.unwrap().unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_record_alone() {
    let results: Vec<_> =
        stream::iter([1, 666, 2]).ordered_wait(OneByOne(Calls::default()), Options::new()).collect().await;
    assert!(results[0].is_ok() && results[2].is_ok());
    let Err(Failure::Record(letter)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(letter.cause, Cause::Panicked("what a number".into()));
}
