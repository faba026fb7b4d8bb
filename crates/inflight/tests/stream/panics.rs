//! A panic fails as little as it can.

use futures_util::{FutureExt, StreamExt, stream};
use inflight::{AsyncFunction, AsyncStreamExt, Cause, Failure, Options, Order};

use crate::service::{Failed, ms, wait};

fn causes(results: &[Result<u64, Failed>]) -> Vec<Result<u64, Cause<&'static str>>> {
    let cause = |result: &Result<u64, Failed>| match result {
        Ok(n) => Ok(*n),
        Err(Failure::Record(letter)) => Err(letter.cause.clone()),
        Err(other) => panic!("{other:?}"),
    };
    results.iter().map(cause).collect()
}

fn panicked(message: &str) -> Result<u64, Cause<&'static str>> {
    Err(Cause::Panicked(message.into()))
}

#[tokio::test(start_paused = true)]
async fn a_future_that_panics_fails_its_record_alone() {
    let shaky = |n: u64| async move {
        if n == 2 {
            panic!("at once, in record {n}");
        }
        tokio::time::sleep(ms(1)).await;
        if n == 3 {
            panic!("later");
        }
        Ok::<_, &str>(n)
    };
    for order in Order::ALL {
        let mut results: Vec<_> = wait(order, stream::iter(0..5), shaky, Options::new()).collect().await;
        results.sort_by_key(|result| match result {
            Ok(n) => *n,
            Err(Failure::Record(letter)) => letter.input,
            Err(_) => u64::MAX,
        });
        let expected = [Ok(0), Ok(1), panicked("at once, in record 2"), panicked("later"), Ok(4)];
        assert_eq!(causes(&results), expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invoke_that_panics_before_there_is_a_future_fails_its_record_alone() {
    let shaky = |n: u64| {
        assert!(n != 1, "not this one");
        std::future::ready(Ok::<_, &str>(n))
    };
    let results: Vec<_> = stream::iter(0..3).ordered_wait(shaky, Options::new()).collect().await;
    assert_eq!(causes(&results), [Ok(0), panicked("not this one"), Ok(2)]);
}

struct PanicsOnDrop(bool);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_cancellation_panics_stops_nothing_else() {
    let shaky = |n: u64| async move {
        let _guard = PanicsOnDrop(n == 1);
        tokio::time::sleep(ms(if n == 1 { 1_000 } else { 1 })).await;
        Ok::<_, &str>(n)
    };
    let options = Options::new().timeout(ms(100)).capacity(2);
    let results: Vec<_> = stream::iter(0..5).unordered_wait(shaky, options).collect().await;
    assert_eq!(results.len(), 5);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
}

async fn died<S>(results: S) -> (Vec<u64>, String)
where
    S: futures_util::Stream<Item = Result<u64, Failed>>,
{
    let mut results: Vec<_> = results.collect().await;
    match results.pop() {
        Some(Err(Failure::Died(message))) => (results.into_iter().map(Result::unwrap).collect(), message),
        other => panic!("not the last word of a dead operator: {other:?}"),
    }
}

async fn echo(n: u64) -> Result<u64, &'static str> {
    Ok(n)
}

#[tokio::test(start_paused = true)]
async fn an_input_that_panics_ends_the_stream_with_a_failure_that_says_so() {
    let input = stream::iter(0..).map(|n: u64| if n == 200 { panic!("broken source") } else { n });
    let (results, message) = died(input.ordered_wait(echo, Options::new().capacity(10))).await;
    assert!(results.iter().copied().eq(0..results.len() as u64), "what came out is right: {results:?}");
    assert!(message.contains("broken source"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_ends_the_stream_with_a_failure_that_says_so() {
    let key = |n: &u64| if *n == 3 { panic!("no key") } else { *n };
    let (_, message) = died(stream::iter(0..).key_ordered_wait(key, echo, Options::new())).await;
    assert!(message.contains("no key"), "{message}");
}

struct ShakyDoors {
    open: bool,
}

impl AsyncFunction<u64> for ShakyDoors {
    type Output = u64;
    type Error = &'static str;

    async fn invoke(&self, n: u64) -> Result<u64, &'static str> {
        Ok(n)
    }

    async fn open(&mut self) -> Result<(), &'static str> {
        assert!(self.open, "the door is stuck");
        Ok(())
    }

    async fn close(&mut self) -> Result<(), &'static str> {
        panic!("the lock is broken")
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_or_close_that_panics_is_a_failure_that_says_so() {
    let (results, message) = died(stream::iter(0..3).ordered_wait(ShakyDoors { open: false }, Options::new())).await;
    assert!(results.is_empty() && message.contains("the door is stuck"), "{message}");
    let (results, message) = died(stream::iter(0..3).ordered_wait(ShakyDoors { open: true }, Options::new())).await;
    assert_eq!(results, [0, 1, 2]);
    assert!(message.contains("the lock is broken"), "{message}");
}

#[test]
fn a_runtime_that_is_shut_down_ends_the_stream_with_a_failure() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let hang = |_: u64| std::future::pending::<Result<u64, &str>>();
    let mut results = stream::iter(0..).unordered_wait(hang, Options::new());
    runtime.block_on(async {
        assert!(results.next().now_or_never().is_none());
    });
    drop(runtime);
    let rest = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(results.collect::<Vec<_>>());
    assert!(matches!(rest[..], [Err(Failure::Died(_))]), "{rest:?}");
}
